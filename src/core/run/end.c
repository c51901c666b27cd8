/* SPDX-License-Identifier: MIT */
/* How a run ends for this runner: done, stopped, cancelled, failed, or taken
 * over. Writes the last state to the journal, and the rest to the outcome. */

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/run/runner.h"
#include "core/run/team.h"
#include "pg/conn/own.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT_TIMEOUT_MS = 5000, LOCK_MS = 5000, LOOK_MS = 100 };

/* In a process that does not lead: the leader carries a cancel out. If it is
 * gone, or has not done it when it would have ended the sessions that hold it
 * up, this process does; a frozen leader cannot commit any more. */
static bool
see_cancel_through(struct lm_runner *self, int64_t begun_ms, struct lm_err *err)
{
    struct lm_journal *journal = &self->lane.journal;
    int64_t patience = begun_ms + LM_FAULT_GRACE(LOCK_MS) * 3 / 2;
    bool ignored;
    struct lm_lead lead;

    for (;;) {
        if (!lm_journal_look_at_lead(journal, &self->run, &lead, err))
            return false;
        self->ended = strncmp(self->run.state, "done", 4) == 0;
        if (self->ended || strcmp(self->run.state, "cancelled") == 0)
            return true;
        if (lead.leads && lm_clock_ms() < patience) {
            (void)lm_stop_wait_ms(LOOK_MS);
        } else if (!lm_journal_cancel(journal, self->run.id, &ignored, err)) {
            return false;
        }
    }
}

/* The end of a process that does not lead: the run's own, if it has failed. */
static bool
leave(struct lm_runner *self, int exit_code, const struct lm_err *error,
      int64_t begun_ms, struct lm_err *err)
{
    struct lm_journal *journal = &self->lane.journal;

    if (self->requests.cancelled) {
        return see_cancel_through(self, begun_ms, err) &&
               lm_journal_leave_run(journal, self->run.id, err);
    }
    self->outcome->others =
        error == NULL && strcmp(self->run.state, "stopped") != 0;
    return error != NULL
               ? lm_journal_fail_run(journal, &self->run, error, exit_code, err)
               : lm_journal_leave_run(journal, self->run.id, err);
}

static bool
try_record_end(struct lm_runner *self, const char *state, int exit_code,
               const struct lm_err *error, int64_t begun_ms, struct lm_err *err)
{
    struct lm_txn txn = lm_lane_txn(&self->lane);
    struct lm_journal_end end = {state, exit_code,
                                 self->lane.attempt.uncounted_retries, error};

    lm_conn_rollback(self->lane.conn);
    if (!self->leads)
        return leave(self, exit_code, error, begun_ms, err);
    if (error == NULL && strcmp(state, "cancelled") != 0) {
        if (!lm_journal_has_others(&self->lane.journal, self->run.id,
                                   &self->outcome->others, err))
            return false;
        if (self->outcome->others)
            return lm_journal_leave_run(&self->lane.journal, self->run.id, err);
    }
    txn.own = true;
    txn.lock_timeout_ms = LM_FAULT_GRACE(LOCK_MS);
    txn.statement_timeout_ms = 60000;
    return lm_txn_begin(self->lane.conn, &txn, err) &&
           lm_runner_answer(self, err) &&
           lm_journal_finish(&self->lane.journal, &self->run, &self->lane.range,
                             &end, err) &&
           lm_conn_commit(self->lane.conn, "end_before_commit",
                          "end_after_commit_sent", err);
}

/* Is the journal to blame, which lacks something? */
static bool
blames_journal(struct lm_runner *self, const struct lm_err *why,
               struct lm_err *err)
{
    if (self->lane.conn == NULL || !lm_conn_is_up(self->lane.conn))
        return false;
    lm_conn_rollback(self->lane.conn);
    return lm_journal_blames_loss(&self->lane.journal, &self->run, why, err);
}

/* Another runner has taken the run over, or a command has cancelled it: says
 * which. The error of this runner is logged as well. */
static bool
blames_another(struct lm_runner *self, const struct lm_err *error,
               struct lm_err *err)
{
    struct lm_err who;

    lm_conn_rollback(self->lane.conn);
    if (lm_journal_refresh(&self->lane.journal, &self->run, &who) ||
        (who.kind != LM_ERR_FENCED && who.kind != LM_ERR_CANCELLED))
        return false;
    if (error == NULL) {
        *err = who;
    } else {
        lm_log(LM_LOG_WARNING, "%s; the end of this runner is not recorded",
               who.message);
    }
    return true;
}

/* A cancel request may arrive later than the statement it was meant for: then
 * tries once more. If others have rows locked, they get some time. A run that
 * is cancelled or has failed takes the ranges of all workers back, also of
 * those that are frozen. */
static bool
may_record_again(struct lm_runner *self, int *failures, bool takes_all,
                 int64_t begun_ms, const struct lm_err *why)
{
    if (!lm_err_is_state(why, "55P03"))
        return ++*failures < 2;
    lm_conn_rollback(self->lane.conn);
    return lm_journal_insist(&self->lane.journal, self->run.id,
                             takes_all ? NULL : self->lane.journal.process,
                             begun_ms);
}

/* Whoever cancelled the run counts on it. */
static bool
fail_unrecorded_cancel(const struct lm_runner *self, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_LOST,
               "could not record in the journal that run %" PRId64
               " is cancelled",
               self->run.id);
    return lm_err_hint(err,
                       "It works no more, and its last batch is complete or "
                       "rolled back. Cancel it again: luamig cancel %" PRId64,
                       self->run.id);
}

/* Writes the last state of a run that did not reach its end. False
 * when the journal lacks something, the run is somebody else's and this
 * runner has not failed, or a cancel is not recorded; err says so. */
static bool
record_end(struct lm_runner *self, const char *state, int exit_code,
           const struct lm_err *error, struct lm_err *err)
{
    bool takes_all = error != NULL || strcmp(state, "cancelled") == 0;
    int64_t begun_ms = lm_clock_ms();
    int failures = 0; /* other than by locks */
    struct lm_err why;

    if (self->lane.conn != NULL)
        lm_conn_set_interruptible(self->lane.conn, false);
    while (self->lane.conn != NULL && lm_conn_is_up(self->lane.conn)) {
        if (try_record_end(self, state, exit_code, error, begun_ms, &why)) {
            return error == NULL || !lm_err_is_state(error, "42883") ||
                   !blames_journal(self, error, err);
        }
        lm_log(LM_LOG_DEBUG, "%s", why.message);
        if (lm_err_is_state(&why, LM_JOURNAL_FENCED) &&
            blames_another(self, error, err))
            return error != NULL;
        if (!may_record_again(self, &failures, takes_all, begun_ms, &why))
            break;
    }
    if (blames_journal(self, error != NULL ? error : &why, err))
        return false;
    if (strcmp(state, "cancelled") == 0 && error == NULL)
        return fail_unrecorded_cancel(self, err);
    lm_log(LM_LOG_WARNING,
           "could not record in the journal that run %" PRId64
           " is %s; the same command still resumes it",
           self->run.id, state);
    return true;
}

void
lm_runner_call_on_stop(struct lm_runner *self, const char *reason)
{
    const struct lm_migration *m = self->migration;
    struct lm_run_info info = lm_lane_info(&self->lane, self->run.batches);

    m->ops->on_stop(m->self, &info, reason);
}

static void
count_matching(struct lm_runner *self)
{
    struct lm_outcome *outcome = self->outcome;
    struct lm_txn txn = lm_lane_read_txn(&self->lane);
    struct lm_conn *conn = lm_lane_reader(&self->lane);
    struct lm_err err;

    if (self->migration->one_shot || conn == NULL)
        return;
    txn.statement_timeout_ms = COUNT_TIMEOUT_MS;
    outcome->counted =
        lm_txn_begin(conn, &txn, &err) &&
        lm_page_count(conn, &self->lane.query, &self->run.bound,
                      &outcome->matching, &outcome->beyond, &err);
    if (!outcome->counted) {
        lm_log(LM_LOG_INFO, "the rows that still match were not counted: %s",
               err.message);
    }
    lm_conn_rollback(conn);
}

static void
fill_counts(struct lm_runner *self)
{
    self->outcome->rows = self->run.rows;
    self->outcome->batches = self->run.batches;
    self->outcome->failures = self->run.failures;
}

static void
fill_outcome(struct lm_runner *self)
{
    struct lm_outcome *outcome = self->outcome;
    struct lm_buf cursor = LM_BUF_INIT;
    struct lm_buf held = LM_BUF_INIT;

    outcome->run_id = self->run.id;
    outcome->one_shot = self->migration->one_shot;
    outcome->takes_all =
        self->lane.query.takes_all || lm_lane_reads_elsewhere(&self->lane);
    outcome->retries = self->run.retries;
    fill_counts(self);
    outcome->begun = self->acquired;
    outcome->refused = self->input.refused;
    if (!self->acquired)
        return;
    outcome->retries = self->gauge.progress.retries;
    outcome->own_rows = lm_account_own(&self->account).rows;
    outcome->own_batches = lm_account_own(&self->account).batches;
    outcome->own_retries = self->gauge.progress.retries - self->retries_before;
    outcome->own_failures = self->run.failures - self->failures_before;
    outcome->elapsed_ms = lm_clock_ms() - self->gauge.progress.started_ms;
    lm_held_describe(&self->holding.held, &held);
    if (held.len > 0)
        outcome->held = lm_buf_take(&held);
    if (!lm_key_is_empty(&self->run.cursor) &&
        self->run.cursor.count == self->lane.query.key_count) {
        lm_key_describe(&self->run.cursor, &self->lane.query, &cursor);
        outcome->cursor = lm_buf_take(&cursor);
    }
}

/* In the journal, while this runner could not hear of it. */
static void
conclude_cancelled(struct lm_runner *self)
{
    struct lm_outcome *outcome = self->outcome;

    outcome->ending = LM_END_CANCELLED;
    snprintf(outcome->reason, sizeof outcome->reason, "another command");
    lm_runner_call_on_stop(self, "cancel");
}

static void
conclude_done(struct lm_runner *self)
{
    struct lm_err ignored;

    self->outcome->ending = LM_END_DONE;
    if (!lm_journal_forget_workers(&self->lane.journal, &ignored))
        lm_log(LM_LOG_DEBUG, "%s", ignored.message);
    count_matching(self);
}

static void
conclude_stop(struct lm_runner *self, struct lm_err *err)
{
    const char *state = self->requests.cancelled ? "cancelled"
                        : self->requests.paused  ? "paused"
                                                 : "stopped";
    int code = self->requests.cancelled ? LM_EXIT_CANCELLED : LM_EXIT_STOPPED;

    self->outcome->ending =
        self->requests.cancelled ? LM_END_CANCELLED : LM_END_STOPPED;
    if (!record_end(self, state, code, NULL, err)) {
        if (err->kind == LM_ERR_CANCELLED) {
            conclude_cancelled(self);
            return;
        }
        self->outcome->ending = LM_END_FAILED;
    } else if (self->ended) { /* the cancel came too late */
        fill_counts(self);
        conclude_done(self);
        return;
    }
    lm_runner_call_on_stop(self, self->requests.cancelled ? "cancel" : "stop");
}

/* The table of an INSERT of luamig's own, as SQL; NULL: the statement is not
 * one. */
static char *
table_of_insert(const char *sql)
{
    static const char head[] = "INSERT INTO ";
    bool quoted = false;
    const char *at;

    if (strncmp(sql, head, strlen(head)) != 0)
        return NULL;
    at = sql += strlen(head);
    for (; *at != '\0' && (quoted || *at != ' '); at++)
        quoted = quoted != (*at == '"');
    return lm_strndup(sql, (size_t)(at - sql));
}

/* The columns of on_conflict in a structured insert, where all of its names are
 * quoted; NULL in other statements. */
static char *
target_of_insert(const char *sql)
{
    static const char head[] = " ON CONFLICT (\"";
    const char *at = strstr(sql, head);
    const char *end = at != NULL ? strstr(at, "\") DO ") : NULL;

    if (end == NULL)
        return NULL;
    at += strlen(head) - 1;
    return lm_strndup(at, (size_t)(end + 1 - at));
}

/* The server found no index for on_conflict. An index with a condition does
 * not fit, but that cannot be seen from its columns. */
static void
explain_on_conflict(struct lm_runner *self, struct lm_err *err)
{
    static const char sql[] = LM_OWN_ABOUT_TABLE
        "SELECT pg_catalog.string_agg(pg_catalog.pg_get_indexdef(i.indexrelid),"
        " '; ') FROM pg_catalog.pg_index i"
        " WHERE i.indrelid = " LM_OWN_TABLE
        " AND i.indisunique AND i.indisvalid AND i.indpred IS NOT NULL"
        " AND ARRAY(SELECT '\"' || pg_catalog.replace(a.attname, '\"', '\"\"')"
        "   || '\"' FROM pg_catalog.pg_attribute a"
        "  WHERE a.attrelid = i.indrelid AND a.attnum = ANY ("
        "   (i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]) ORDER BY 1)"
        " = ARRAY(SELECT c FROM pg_catalog.regexp_split_to_table($2, ', ') c"
        "  ORDER BY 1)";
    char *table = table_of_insert(err->sql);
    char *target = target_of_insert(err->sql);
    struct lm_answer *found = NULL;
    struct lm_err ignored;

    if (table != NULL && target != NULL && lm_conn_is_up(self->lane.conn)) {
        lm_conn_rollback(self->lane.conn);
        if (lm_conn_ask(self->lane.conn, sql, "1: t?", LM_VALUES(table, target),
                        &found, &ignored) &&
            !lm_answer_is_null(found, 0, 0)) {
            lm_err_hint(err,
                        "on_conflict names only columns, but this index has a "
                        "condition: %s. Write raw SQL: repo:execute(\"INSERT "
                        "INTO ... ON CONFLICT (...) WHERE ... DO ...\", ...).",
                        lm_answer_text(found, 0, 0));
        } else {
            lm_err_hint(
                err, "on_conflict needs all columns of one unique index. Name "
                     "those, or create a unique index on these columns.");
        }
        lm_answer_free(found);
    }
    free(target);
    free(table);
}

/* Then nobody of this process writes any more, and the journal has all. */
static void
stop_team(struct lm_runner *self)
{
    struct lm_err ignored;

    lm_team_stop(self->team);
    self->team = NULL;
    if (self->lane.conn == NULL || !lm_conn_is_up(self->lane.conn))
        return;
    lm_conn_rollback(self->lane.conn);
    if (lm_journal_count_run(&self->lane.journal, &self->run, &ignored))
        lm_runner_note_run(self);
}

void
lm_runner_conclude(struct lm_runner *self, bool ok, bool stopped,
                   struct lm_err *err)
{
    struct lm_outcome *outcome = self->outcome;

    lm_lane_rest(&self->lane); /* what follows may wait for others */
    if (self->team != NULL || !self->leads)
        stop_team(self);
    if (self->acquired)
        lm_runner_follow_account(self);
    lm_progress_end(&self->gauge.progress);
    lm_runner_stop_watching(self);
    if (!ok && err->kind == LM_ERR_INTERRUPT && self->acquired) {
        lm_runner_empty_mailbox(self);
        (void)lm_runner_should_stop(self);
        ok = stopped = true;
    }
    fill_outcome(self);
    if (self->acquired && !self->ended)
        lm_runner_note_held(self);
    if (!ok && err->kind == LM_ERR_CANCELLED) {
        conclude_cancelled(self);
    } else if (!ok) {
        outcome->ending = LM_END_FAILED;
        if (!self->acquired || err->kind == LM_ERR_KILLED)
            return;
        if (lm_err_is_state(err, "42P10") && err->hint[0] == '\0')
            explain_on_conflict(self, err);
        if (err->kind != LM_ERR_FENCED &&
            !lm_err_is_state(err, LM_JOURNAL_VANISHED)) {
            (void)record_end(self, self->input.refused ? "cancelled" : "failed",
                             lm_err_exit_code(err->kind), err, err);
        }
        lm_runner_call_on_stop(self, "error");
    } else if (stopped) {
        conclude_stop(self, err);
    } else if (self->acquired) {
        conclude_done(self);
    }
    if (self->acquired)
        lm_runner_leave_input(self);
}
