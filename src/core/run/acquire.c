/* SPDX-License-Identifier: MIT */
/* Finds the run and takes it over, or begins one. If it refuses, the journal
 * is unchanged. */

#include "core/journal/input.h"
#include "core/run/runner.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/page/preflight.h"

#include <inttypes.h>
#include <string.h>

enum { ACQUIRE_ATTEMPTS = 10, ACQUIRE_BASE_MS = 50, ACQUIRE_CAP_MS = 2000 };

/* A start_after that is no key would stay in the journal for ever. */
bool
lm_runner_check_start(struct lm_runner *self, const struct lm_key *key,
                      struct lm_err *err)
{
    struct lm_txn txn = lm_lane_read_txn(&self->lane);
    struct lm_conn *conn = lm_lane_reader(&self->lane);
    bool nested = lm_conn_has_transaction(conn);
    bool ok;

    if (lm_key_is_empty(key))
        return true;
    ok = (nested || lm_txn_begin(conn, &txn, err)) &&
         lm_page_check_key(conn, &self->lane.query, key, err);
    if (!nested)
        lm_conn_rollback(conn);
    if (!ok && lm_err_is_state(err, "22")) {
        struct lm_buf text = LM_BUF_INIT;

        lm_key_describe(key, &self->lane.query, &text);
        lm_err_prefix(err, "config.start_after does not fit the key: %s",
                      lm_buf_text(&text));
        err->kind = LM_ERR_SCRIPT;
        if (self->unseen) {
            lm_err_hint(err, "The run has begun with it: correct it, and begin "
                             "anew with --restart.");
        }
        lm_buf_release(&text);
    }
    return ok;
}

bool
lm_runner_find_start(struct lm_runner *self, struct lm_key *cursor,
                     struct lm_err *err)
{
    const struct lm_migration *m = self->migration;

    if (m->start_after != NULL)
        lm_key_set(cursor, m->start_after, m->key_count);
    return !lm_lane_knows_query(&self->lane) ||
           lm_runner_check_start(self, cursor, err);
}

void
lm_runner_warn_of_volatile_calls(const struct lm_runner *self)
{
    if (self->lane.query.volatile_calls == NULL)
        return;
    lm_log(
        LM_LOG_WARNING,
        "the base query calls volatile functions (%s). luamig may read a page "
        "again: its rows and their keys must not depend on these functions",
        self->lane.query.volatile_calls);
}

static bool
begin_run(struct lm_runner *self, bool *begun, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_key cursor = {NULL, 0};
    struct lm_run_request request;
    bool ok;

    LM_FAULT("before_begin");
    if (m->input != NULL && self->options->input == NULL)
        return lm_journal_fail_without_input(m->name, err);
    lm_runner_forget_input(self); /* another run may have loaded one */
    request = lm_runner_request(self);
    ok = lm_runner_find_start(self, &cursor, err) &&
         lm_journal_begin(&self->lane.journal, &request, &cursor, &self->run,
                          begun, err);
    lm_key_release(&cursor);
    if (ok && *begun) {
        lm_log(LM_LOG_INFO, "run %" PRId64 " of %s on %s", self->run.id,
               m->name, lm_conn_target(self->lane.conn));
        lm_runner_warn_of_volatile_calls(self);
    }
    return ok;
}

static void
log_resumed(const struct lm_runner *self)
{
    struct lm_buf where = LM_BUF_INIT;

    if (!lm_key_is_empty(&self->run.cursor) &&
        self->run.cursor.count == self->lane.query.key_count) {
        lm_buf_puts(&where, " after ");
        lm_key_describe(&self->run.cursor, &self->lane.query, &where);
    }
    lm_log(LM_LOG_INFO,
           "resuming run %" PRId64 " of %s on %s%s: %s rows are done",
           self->run.id, self->migration->name, lm_conn_target(self->lane.conn),
           lm_buf_text(&where), lm_clock_count(self->run.rows).text);
    if (self->run.script_changed) {
        lm_log(
            LM_LOG_WARNING,
            "the script has changed since run %" PRId64
            " began; the rows that are left are migrated with the new version",
            self->run.id);
    }
    lm_runner_warn_of_volatile_calls(self);
    lm_buf_release(&where);
}

/* --restart: ends the unfinished run that was just taken over. */
static bool
abandon_run(struct lm_runner *self, struct lm_err *err)
{
    struct lm_txn txn = lm_lane_txn(&self->lane);
    struct lm_journal_end end = {"cancelled", LM_EXIT_CANCELLED, 0, NULL};

    txn.own = true;
    if (!lm_txn_begin(self->lane.conn, &txn, err) ||
        !lm_journal_finish(&self->lane.journal, &self->run, &self->lane.range,
                           &end, err) ||
        !lm_conn_commit(self->lane.conn, "abandon_before_commit",
                        "abandon_after_commit_sent", err))
        return false;
    lm_log(LM_LOG_WARNING,
           "run %" PRId64 " is abandoned after %s rows in %" PRId64
           " batches; its changes stay",
           self->run.id, lm_clock_count(self->run.rows).text,
           self->run.batches);
    lm_journal_drop_inputs(&self->lane.journal); /* it may have had one */
    return true;
}

/* Whether a run ends at a bound is settled when it begins. */
static bool
check_follow_new(const struct lm_runner *self, const struct lm_run *run,
                 struct lm_err *err)
{
    bool follows = lm_key_is_empty(&run->bound) && !run->bound_is_empty;

    if (self->migration->one_shot || !run->started ||
        follows == self->migration->follow_new)
        return true;
    lm_err_set(err, LM_ERR_SCRIPT,
               "config.follow_new was %s when run %" PRId64 " began",
               follows ? "true" : "false", run->id);
    return lm_err_hint(err, "Change it back, or abandon that run and begin a "
                            "new one with --restart.");
}

static bool
accepts(void *arg, const struct lm_run *run, struct lm_err *err)
{
    struct lm_runner *self = arg;

    return (!run->started || lm_lane_check_source(&self->lane, run->id, err)) &&
           (!self->input.ready ||
            lm_lane_check_keys(&self->lane, &run->cursor, &run->bound, false,
                               err)) &&
           lm_runner_may_load(self, run, err) &&
           check_follow_new(self, run, err);
}

/* The runner of a paused run may be alive; then that runner continues. */
static bool
ask_to_resume(struct lm_runner *self, struct lm_err *err)
{
    int64_t ignored;

    lm_log(LM_LOG_INFO, "run %" PRId64 " is paused; asking it to continue",
           self->run.id);
    return lm_journal_request(&self->lane.journal, self->run.id, "resume",
                              false, NULL, NULL, &ignored, err);
}

static bool
take_run(struct lm_runner *self, const struct lm_run_request *request,
         bool *taken, struct lm_err *err)
{
    bool ended = false;

    if (strcmp(self->run.state, "paused") == 0 && !request->restart &&
        request->adopt == 0 && !ask_to_resume(self, err))
        return false;
    LM_FAULT("before_take");
    if (!lm_journal_take(&self->lane.journal, request, &self->run, &ended, err))
        return false;
    *taken = false;
    if (ended)
        return true;
    if (request->restart)
        return abandon_run(self, err);
    *taken = true;
    log_resumed(self);
    return lm_lane_warn_of_modules(&self->lane, false, err);
}

/* --join: works with those that have the run. If nobody has it, takes it. */
static bool
join_run(struct lm_runner *self, const struct lm_run_request *request,
         bool *joined, struct lm_err *err)
{
    if (self->migration->one_shot) {
        return lm_err_set(err, LM_ERR_USAGE,
                          "a one-shot is the work of one process: there is "
                          "nothing to join");
    }
    if (!lm_journal_join(&self->lane.journal, request, &self->run, joined, err))
        return false;
    if (!*joined)
        return take_run(self, request, joined, err);
    self->leads = false;
    lm_log(LM_LOG_INFO, "joining run %" PRId64 " of %s on %s: %s rows are done",
           self->run.id, self->migration->name, lm_conn_target(self->lane.conn),
           lm_clock_count(self->run.rows).text);
    return true;
}

static void
warn_of_change(const struct lm_runner *self)
{
    if (self->run.script_changed) {
        lm_log(LM_LOG_WARNING,
               "the script has changed since run %" PRId64
               ", which is done; --again runs the new version",
               self->run.id);
    }
}

static bool
look(struct lm_runner *self, const struct lm_run_request *request,
     enum lm_journal_found *found, struct lm_err *err)
{
    return lm_journal_examine(&self->lane.journal, request, err) &&
           lm_journal_find(&self->lane.journal, request, found, &self->run,
                           err);
}

/* Takes over the run that was found, or begins one. Another runner may do the
 * same at this moment; the later one looks again. */
static bool
take_or_begin(struct lm_runner *self, const struct lm_run_request *request,
              enum lm_journal_found found, struct lm_err *err)
{
    for (;;) {
        switch (found) {
        case LM_JOURNAL_FINISHED:
            if ((self->options->adopt == 0 && self->migration->input == NULL &&
                 !lm_runner_check_done(self, err)) ||
                (self->run.adopted &&
                 !lm_journal_adopt(&self->lane.journal, request, &self->run,
                                   err)))
                return false;
            warn_of_change(self);
            if (!lm_lane_warn_of_modules(&self->lane, true, err))
                return false;
            self->outcome->ending = LM_END_DONE_ALREADY;
            return true;
        case LM_JOURNAL_CANCELLED:
            self->outcome->ending = LM_END_CANCELLED_ALREADY;
            return true;
        case LM_JOURNAL_NONE:
            if (!begin_run(self, &self->acquired, err))
                return false;
            break;
        case LM_JOURNAL_UNFINISHED:
            if (!(self->options->join ? join_run : take_run)(
                    self, request, &self->acquired, err))
                return false;
            break;
        }
        if (self->acquired)
            return true;
        if (!lm_journal_find(&self->lane.journal, request, &found, &self->run,
                             err))
            return false;
    }
}

/* Is there a journal, and is it whole? One of an earlier version is brought up
 * to date. */
static bool
check_journal(struct lm_runner *self, struct lm_err *err)
{
    int version = 0;

    if (!lm_journal_installed(&self->lane.journal, &version, err))
        return lm_err_is_state(err, "42501"); /* install will explain */
    if (version > 0 && version < lm_journal_version()) {
        if (!lm_journal_install(&self->lane.journal, err))
            return false;
        version = lm_journal_version();
    }
    self->has_journal = version == lm_journal_version();
    return !self->has_journal ||
           lm_journal_check_whole(&self->lane.journal, version, err);
}

/* What on_start is to make is looked at after it; a base query that reads a
 * file, when the file is loaded. */
static bool
check_query(struct lm_runner *self, enum lm_journal_found found,
            struct lm_err *err)
{
    bool started = found == LM_JOURNAL_UNFINISHED && self->run.started;

    self->unseen = false;
    if (!self->input.ready)
        return lm_runner_check_input(self, err);
    if (lm_lane_check_query(&self->lane, err))
        return lm_runner_check(self, err);
    return lm_runner_may_look_later(self, started, err);
}

/* What must be right before a run begins or goes on. */
static bool
check_all(struct lm_runner *self, enum lm_journal_found found,
          struct lm_err *err)
{
    return check_query(self, found, err) &&
           (self->has_journal
                ? lm_journal_prepare_citus(&self->lane.journal, err)
                : lm_journal_install(&self->lane.journal, err)) &&
           (!self->input.ready || self->unseen ||
            lm_runner_take_fingerprint(self, err));
}

/* A finished run is reported without looking at the query: its table may be
 * gone by then. With --restart a look may write, so the checks come first. */
static bool
acquire_once(struct lm_runner *self, struct lm_run_request *request,
             struct lm_err *err)
{
    enum lm_journal_found found = LM_JOURNAL_NONE;
    bool looked;

    if (!check_journal(self, err) ||
        !lm_runner_identify_input(self, request, err))
        return false;
    looked = self->has_journal && !request->restart;
    if (looked && !look(self, request, &found, err))
        return false;
    if (found != LM_JOURNAL_FINISHED && found != LM_JOURNAL_CANCELLED &&
        (!lm_runner_look_at_input(self, found == LM_JOURNAL_UNFINISHED, err) ||
         !check_all(self, found, err)))
        return false;
    *request = lm_runner_request(self);
    /* Checks may take long, and the run may have gone on meanwhile. */
    if ((!looked || found == LM_JOURNAL_UNFINISHED) &&
        !look(self, request, &found, err))
        return false;
    return take_or_begin(self, request, found, err);
}

/* Nothing has happened yet, so it may be looked at again. */
static bool
may_acquire_again(struct lm_runner *self, int attempt, struct lm_err *err)
{
    if (attempt > ACQUIRE_ATTEMPTS || lm_stop_level() > 0)
        return false;
    if (err->kind == LM_ERR_LOST) {
        struct lm_err why = *err;

        return lm_lane_connect_again(&self->lane, &why, err);
    }
    if (!lm_lane_is_blocked_by_other_session(err))
        return false;
    lm_log(LM_LOG_DEBUG, "%s (SQLSTATE %s); trying again", err->message,
           err->sqlstate);
    lm_lane_rollback(&self->lane);
    return lm_stop_sleep_ms(
        lm_clock_backoff_ms(attempt, ACQUIRE_BASE_MS, ACQUIRE_CAP_MS));
}

struct lm_run_request
lm_runner_request(struct lm_runner *self)
{
    const struct lm_migration *m = self->migration;
    struct lm_run_request request = {
        .script = self->names.script,
        .origin = {.file = self->names.file,
                   .path = self->names.path,
                   .typed = self->names.typed,
                   .root = m->origin.root,
                   .marked = m->origin.marked},
        .source = m->source,
        .args_json = m->args_json,
        .arguments = m->arguments,
        .settled = m->one_shot || !m->ops->has(m->self, LM_CALL_ON_START),
        .config_json = m->config_json,
        .fingerprint = self->fingerprint,
        .key_columns = m->key,
        .key_count = m->one_shot ? 0 : m->key_count,
        .again = self->options->adopt == 0 &&
                 (self->options->again || m->repeatable),
        .restart = self->options->restart,
        .adopt = self->options->adopt,
        .accepts = accepts,
        .arg = self};

    lm_runner_describe_input(self, &request);
    return request;
}

bool
lm_runner_acquire(struct lm_runner *self, struct lm_err *err)
{
    struct lm_run_request request;

    if (!lm_runner_connect(self, err))
        return false;
    request = lm_runner_request(self);
    for (int attempt = 1; !acquire_once(self, &request, err); attempt++) {
        if (!may_acquire_again(self, attempt, err))
            return false;
    }
    lm_lane_name_session(&self->lane, "luamig", self->lane.application_name,
                         sizeof self->lane.application_name);
    return true;
}
