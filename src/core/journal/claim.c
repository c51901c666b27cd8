/* SPDX-License-Identifier: MIT */
/* Begins a run, or takes one over: which runner has the run, whether it is
 * alive, and the fresh owner token, after which the old runner cannot commit.
 */

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/text.h"
#include "core/journal/input.h"
#include "core/journal/private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* For a killed runner's backend to go. */
enum { ALIVE_GRACE_MS = 3000 };

/* -- beginning -------------------------------------------------------- */

bool
lm_journal_hold_script(struct lm_journal *self, const char *script,
                       struct lm_err *err)
{
    return lm_journal_command(self,
                              "SELECT pg_advisory_xact_lock("
                              "hashtextextended($1 || ' begins ' || $2, 0))",
                              LM_VALUES(self->schema, script), err);
}

/* Between the look for the run and here another runner may have begun one, and
 * have finished it. */
static bool
is_still_none(struct lm_journal *self, const struct lm_run_request *request,
              struct lm_run *run, bool *none, struct lm_err *err)
{
    enum lm_journal_found found = LM_JOURNAL_NONE;
    bool ok = lm_journal_find(self, request, &found, run, err);

    *none = ok && found == LM_JOURNAL_NONE;
    return ok;
}

static bool
insert_run(struct lm_journal *self, const struct lm_run_request *request,
           struct lm_run *run, bool *begun, struct lm_err *err)
{
    char *source = lm_journal_bytea(request->source, strlen(request->source));
    struct lm_answer *result = NULL;
    bool ok = lm_journal_ask(
        self,
        "WITH begun AS (INSERT INTO {schema}.run (script, args, sha256,"
        " config, state, version, given, file, path, fingerprint)"
        " VALUES ($1, $2::jsonb, pg_catalog.encode("
        "pg_catalog.sha256($3::bytea), 'hex'), $4::jsonb, 'running', $5,"
        " $6::jsonb, $7, $8, $9::jsonb) ON CONFLICT DO NOTHING RETURNING id)"
        " SELECT begun.id IS NOT NULL, begun.id"
        " FROM (SELECT) AS one LEFT JOIN begun ON true",
        "!: b n",
        LM_VALUES(request->script, request->args_json, source,
                  request->config_json, LUAMIG_VERSION,
                  request->arguments.given, request->origin.file,
                  request->origin.path,
                  request->settled ? request->fingerprint : NULL),
        &result, err);

    free(source);
    if (!ok)
        return false;
    *begun = lm_answer_bool(result, 0, 0);
    if (*begun)
        run->id = lm_answer_int(result, 0, 1);
    lm_answer_free(result);
    return true;
}

static bool
insert_progress(struct lm_journal *self, const struct lm_run_request *request,
                const struct lm_key *cursor, struct lm_run *run,
                struct lm_err *err)
{
    char *columns = lm_journal_array(request->key_columns, request->key_count);
    char *cursor_text = lm_journal_key_array(cursor);
    struct lm_answer *result = NULL;
    bool ok = lm_journal_ask(
        self,
        "INSERT INTO {schema}.progress (run_id, key_columns,"
        " cursor, host, pid, leader) VALUES ($1, $2, $3, $4, $5, $6::uuid)"
        " RETURNING owner, seq, mark",
        "1: t n t",
        LM_VALUES(LM_DIGITS(run->id), columns, cursor_text, LM_JOURNAL_HOST,
                  LM_DIGITS(getpid()), self->worker),
        &result, err);

    free(columns);
    free(cursor_text);
    if (!ok)
        return false;
    LM_ERR_COPY(run->owner, lm_answer_text(result, 0, 0));
    run->seq = lm_answer_int(result, 0, 1);
    LM_ERR_COPY(run->mark, lm_answer_text(result, 0, 2));
    lm_answer_free(result);
    return true;
}

static void
start_counting(struct lm_run *run, const struct lm_key *cursor)
{
    run->rows = run->batches = run->retries = run->failures = 0;
    run->ranges = 0;
    run->started = run->script_changed = run->bound_is_empty = false;
    LM_ERR_COPY(run->state, "running");
    LM_ERR_COPY(run->held_json, "{}");
    lm_key_release(&run->bound);
    lm_key_copy(&run->cursor, cursor);
}

/* A session of luamig in this database whose COMMIT waits for a standby is what
 * others of luamig wait for. Outside of a transaction; true when there is one,
 * and err says so. */
bool
lm_journal_blames_standby(struct lm_journal *self, struct lm_err *err)
{
    struct lm_answer *answer = NULL;
    struct lm_err ignored;
    int64_t pid = 0;

    if (!lm_journal_ask(self,
                        "SELECT coalesce(max(a.pid), 0)"
                        " FROM pg_catalog.pg_stat_activity a"
                        " WHERE a.datname = pg_catalog.current_database()"
                        " AND a.application_name LIKE 'luamig%'"
                        " AND a.wait_event = 'SyncRep'",
                        "1: n", LM_NO_VALUES, &answer, &ignored))
        return false;
    pid = lm_answer_int(answer, 0, 0);
    lm_answer_free(answer);
    if (pid > 0)
        lm_conn_fail_awaiting_standby(self->conn, pid, err);
    return pid > 0;
}

bool
lm_journal_fail_to_hold(struct lm_journal *self, struct lm_err *err)
{
    if (!lm_err_is_state(err, "55P03") || lm_journal_blames_standby(self, err))
        return false;
    lm_err_set(err, LM_ERR_BUSY,
               "another runner is just beginning a run of this script");
    return lm_err_hint(
        err,
        "Try again in a moment: the same command says how far the run is.");
}

static bool
begin(struct lm_journal *self, const struct lm_run_request *request,
      const struct lm_key *cursor, struct lm_run *run, bool *begun,
      struct lm_err *err)
{
    return lm_journal_open(self, err) &&
           lm_journal_hold_script(self, request->script, err) &&
           is_still_none(self, request, run, begun, err) &&
           (!*begun || insert_run(self, request, run, begun, err)) &&
           (!*begun ||
            (lm_journal_delete_idle_sessions(self, err) &&
             lm_journal_add_session(self, run->id, err) &&
             insert_progress(self, request, cursor, run, err) &&
             lm_journal_add_input(self, run->id, &request->file, err) &&
             lm_journal_commit(self, err)));
}

bool
lm_journal_begin(struct lm_journal *self, const struct lm_run_request *request,
                 const struct lm_key *cursor, struct lm_run *run, bool *begun,
                 struct lm_err *err)
{
    bool ok;

    *begun = false;
    ok = begin(self, request, cursor, run, begun, err);
    *begun = *begun && ok;
    if (!*begun)
        lm_conn_rollback(self->conn);
    if (!ok)
        return lm_journal_fail_to_hold(self, err);
    if (*begun)
        start_counting(run, cursor);
    return true;
}

/* -- taking over ------------------------------------------------------ */

/* The runner of a run, as far as it can be seen. */
struct runner {
    char owner[40];
    char lease_until[48];
    int64_t seq;
    bool lives;
    bool seen; /* its server process exists, or that is unknown */
    char host[256];
    int64_t pid;
    int64_t backend_pid;
    char user[128];
    char since[48];
    bool leads_nobody; /* a process that only helped has ended the run */
};

static void
read_runner(const struct lm_answer *result, struct runner *runner)
{
    LM_ERR_COPY(runner->owner, lm_answer_text(result, 0, 0));
    runner->seq = lm_answer_int(result, 0, 1);
    LM_ERR_COPY(runner->lease_until, lm_answer_text(result, 0, 2));
    runner->lives = lm_answer_bool(result, 0, 3);
    LM_ERR_COPY(runner->host, lm_answer_text(result, 0, 4));
    runner->pid = lm_answer_int(result, 0, 5);
    runner->backend_pid = lm_answer_int(result, 0, 6);
    runner->seen = lm_answer_bool(result, 0, 7);
    LM_ERR_COPY(runner->user, lm_answer_text(result, 0, 8));
    LM_ERR_COPY(runner->since, lm_answer_text(result, 0, 9));
    runner->leads_nobody = lm_answer_bool(result, 0, 10);
}

#define HELD LM_JOURNAL_HELD("$2::bigint")

/* What changes while a runner works: steps of the run, batches, leases. */
#define STEPS                                                \
    "p.seq + (SELECT coalesce(sum(g.seq + g.id), 0)::bigint" \
    "  FROM {schema}.range g WHERE g.run_id = p.run_id)"

static bool
look_at_runner(struct lm_journal *self, const struct lm_run *run,
               struct runner *runner, struct lm_err *err)
{
    struct lm_answer *result = NULL;

    if (!lm_journal_ask(
            self,
            "SELECT p.owner, " STEPS ", coalesce((SELECT max(w.lease_until)"
            "  FROM {schema}.worker w WHERE w.run_id = p.run_id)::text, ''),"
            " coalesce(" HELD ", false),"
            " p.host, p.pid, coalesce(l.backend_pid, 0), l.seen, r.started_by,"
            " date_trunc('second', coalesce(r.resumed_at, r.started_at)),"
            " p.leader IS NULL FROM {schema}.progress p"
            " JOIN {schema}.run r ON r.id = p.run_id"
            " LEFT JOIN LATERAL (SELECT w.backend_pid, w.backend_pid = 0"
            "  OR EXISTS (SELECT FROM " LM_JOURNAL_BACKEND ") AS seen"
            "  FROM {schema}.worker w WHERE w.run_id = p.run_id"
            "  ORDER BY w.id = p.leader DESC LIMIT 1) l ON true"
            " WHERE p.run_id = $1",
            "?: t n t b t 2n b? t t b",
            LM_VALUES(LM_DIGITS(run->id), LM_DIGITS(self->lease_ms)), &result,
            err))
        return false;
    if (lm_answer_rows(result) == 0) {
        lm_answer_free(result);
        (void)lm_journal_fail_vanished(self, run, err);
        return false;
    }
    read_runner(result, runner);
    lm_answer_free(result);
    return true;
}

static bool
fail_busy(struct lm_journal *self, const struct lm_run *run,
          const struct runner *runner, struct lm_err *err)
{
    char backend[64] = "through a connection pooler";

    if (lm_journal_blames_standby(self, err))
        return false;
    if (runner->backend_pid > 0) {
        snprintf(backend, sizeof backend, "server process %" PRId64,
                 runner->backend_pid);
    }
    lm_err_set(err, LM_ERR_BUSY, "run %" PRId64 " is already running", run->id);
    lm_err_detail(err,
                  "Process %" PRId64 " on host \"%s\" runs it as role \"%s\" "
                  "since %s (%s).",
                  runner->pid, runner->host, runner->user, runner->since,
                  backend);
    lm_err_hint(
        err, "Wait for it, or stop it there. luamig never repeats its work.%s",
        runner->backend_pid > 0
            ? ""
            : " If it has been killed, the same command takes the run "
              "over when its lease has ended.");
    return false;
}

static bool
is_alive(const struct runner *runner, const struct lm_run *run)
{
    return runner->lives && strcmp(runner->owner, run->owner) != 0 &&
           strcmp(runner->owner, run->next_owner) != 0;
}

/*
 * Waits a little until the run is free. A killed runner's server process stays
 * for a moment; a living runner makes its next checkpoint: that tells them
 * apart. If this runner itself began or took the run by a COMMIT without an
 * answer, there is nothing to wait for.
 */
static bool
wait_until_free(struct lm_journal *self, const struct lm_run *run,
                struct runner *runner, struct lm_err *err)
{
    int64_t patience = lm_clock_ms() + LM_FAULT_GRACE(ALIVE_GRACE_MS);
    struct runner first;

    if (!look_at_runner(self, run, runner, err))
        return false;
    first = *runner;
    while (is_alive(runner, run)) {
        if (lm_clock_ms() > patience || runner->seq != first.seq ||
            strcmp(runner->lease_until, first.lease_until) != 0 ||
            !lm_stop_sleep_ms(100))
            return fail_busy(self, run, runner, err);
        if (!look_at_runner(self, run, runner, err))
            return false;
    }
    return true;
}

static void
read_key(const struct lm_answer *result, int column, struct lm_key *key)
{
    lm_key_release(key);
    key->count = lm_answer_texts(result, 0, column, &key->texts);
}

/* Of progress p with its LM_JOURNAL_TOTALS t. A key with NULL in it does not
 * fit: its reader says so, and what to do. */
#define PROGRESS                                               \
    "p.owner, p.seq, t.rows, t.batches, t.retries, p.started," \
    " " LM_JOURNAL_CURSOR ", p.bound, t.failures, p.held, t.ranges, p.mark"
static const char progress_shape[] = "?: t 4n b t?[]? t?[]? n t n t";

static void
read_progress(const struct lm_answer *result, struct lm_run *run)
{
    LM_ERR_COPY(run->owner, lm_answer_text(result, 0, 0));
    run->seq = lm_answer_int(result, 0, 1);
    run->rows = lm_answer_int(result, 0, 2);
    run->batches = lm_answer_int(result, 0, 3);
    run->retries = lm_answer_int(result, 0, 4);
    run->started = lm_answer_bool(result, 0, 5);
    read_key(result, 6, &run->cursor);
    read_key(result, 7, &run->bound);
    run->bound_is_empty =
        !lm_answer_is_null(result, 0, 7) && run->bound.count == 0;
    run->failures = lm_answer_int(result, 0, 8);
    LM_ERR_COPY(run->held_json, lm_answer_text(result, 0, 9));
    run->ranges = (int)lm_answer_int(result, 0, 10);
    LM_ERR_COPY(run->mark, lm_answer_text(result, 0, 11));
}

/* Writes the token run->next_owner if the token is still old_owner, or if a
 * claim without an answer to its COMMIT has written it already. Waits for the
 * row's lock, so for a batch in flight. */
static bool
write_owner(struct lm_journal *self, const char *old_owner, struct lm_run *run,
            bool *claimed, struct lm_err *err)
{
    struct lm_answer *result = NULL;

    if (!lm_journal_ask(
            self,
            "UPDATE {schema}.progress SET owner = $3::uuid, host = $4, pid = $5"
            " WHERE run_id = $1 AND owner IN ($2::uuid, $3::uuid)"
            " RETURNING run_id",
            "?: n",
            LM_VALUES(LM_DIGITS(run->id), old_owner, run->next_owner,
                      LM_JOURNAL_HOST, LM_DIGITS(getpid())),
            &result, err))
        return false;
    *claimed = lm_answer_rows(result) == 1;
    lm_answer_free(result);
    return true;
}

/* After write_owner: this session leads the run. It takes the range of the
 * worker's session before, or frees all ranges of a run that had no runner.
 * Waits for batches in flight. */
static bool
write_session(struct lm_journal *self, bool alone, const struct lm_run *run,
              struct lm_range *range, struct lm_err *err)
{
    return (alone ? lm_journal_displace(self, run->id, err)
                  : lm_journal_enter(self, run->id, range, err)) &&
           lm_journal_command(self,
                              "UPDATE {schema}.progress SET leader = $2::uuid"
                              " WHERE run_id = $1",
                              LM_VALUES(LM_DIGITS(run->id), self->worker), err);
}

/* The progress of a run whose owner token this is, or of any (NULL). */
static bool
ask_for_progress(struct lm_journal *self, struct lm_run *run, const char *owner,
                 bool *mine, struct lm_err *err)
{
    struct lm_answer *result = NULL;

    if (!lm_journal_ask(
            self,
            "SELECT " PROGRESS " FROM {schema}.progress p"
            " CROSS JOIN LATERAL " LM_JOURNAL_TOTALS " WHERE p.run_id = $1"
            " AND ($2::uuid IS NULL OR p.owner = $2::uuid)",
            progress_shape, LM_VALUES(LM_DIGITS(run->id), owner), &result, err))
        return false;
    *mine = lm_answer_rows(result) == 1;
    if (*mine)
        read_progress(result, run);
    lm_answer_free(result);
    return true;
}

bool
lm_journal_ask_for_any_progress(struct lm_journal *self, struct lm_run *run,
                                struct lm_err *err)
{
    bool there = false;

    return ask_for_progress(self, run, NULL, &there, err) &&
           (there || lm_journal_fail_vanished(self, run, err));
}

static bool
write_resumed(struct lm_journal *self, const struct lm_run_request *request,
              struct lm_run *run, struct lm_err *err)
{
    char *source = lm_journal_bytea(request->source, strlen(request->source));
    struct lm_answer *result = NULL;
    bool ok = lm_journal_ask(
        self,
        "WITH resumed AS (UPDATE {schema}.run r SET state = 'running',"
        " resumed_at = clock_timestamp(), finished_at = NULL,"
        " error = NULL, error_sqlstate = NULL, exit_code = NULL,"
        " sha256 = pg_catalog.encode(pg_catalog.sha256($2::bytea),"
        " 'hex'), config = $3::jsonb, version = $4, args = $5::jsonb,"
        " given = CASE WHEN $12::bool THEN $6::jsonb"
        "  ELSE coalesce(r.given, $6::jsonb) END,"
        " script = $11, file = $7, path = $8,"
        " fingerprint = CASE WHEN $10::bool OR (SELECT p.started"
        "  FROM {schema}.progress p WHERE p.run_id = r.id)"
        "  THEN $9::jsonb ELSE r.fingerprint END"
        " FROM {schema}.run old WHERE r.id = $1 AND old.id = r.id"
        " AND ($12::bool OR r.script = $11)"
        " AND r.state IN " LM_JOURNAL_MAY_GO_ON
        " RETURNING old.sha256 <> r.sha256 AS changed, old.state)"
        " SELECT resumed.state IS NOT NULL, resumed.changed, resumed.state"
        " FROM (SELECT) AS one LEFT JOIN resumed ON true",
        "!: b b t",
        LM_VALUES(LM_DIGITS(run->id), source, request->config_json,
                  LUAMIG_VERSION, request->args_json, request->arguments.given,
                  request->origin.file, request->origin.path,
                  request->fingerprint, request->settled ? "t" : "f",
                  request->script, run->adopted ? "t" : "f"),
        &result, err);

    free(source);
    if (!ok)
        return lm_journal_fail_adopting(request, err);
    run->adopted = false;
    run->script_changed = lm_answer_bool(result, 0, 1);
    LM_ERR_COPY(run->state,
                lm_answer_text(result, 0, 2)); /* "": it has ended */
    lm_answer_free(result);
    return true;
}

/* A statement of its own, so that it sees the changes of a COMMIT that the
 * UPDATE before has waited for. */
static bool
read_state(struct lm_journal *self, struct lm_run *run, struct lm_err *err)
{
    struct lm_answer *result = NULL;

    if (!lm_journal_ask(self, "SELECT state FROM {schema}.run WHERE id = $1",
                        "1: t", LM_VALUES(LM_DIGITS(run->id)), &result, err))
        return false;
    LM_ERR_COPY(run->state, lm_answer_text(result, 0, 0));
    lm_answer_free(result);
    return true;
}

/* What a claim has found. */
struct claim {
    struct lm_run run;
    struct lm_range range;
    bool claimed;
};

/* Copies the result of a claim into the run, once its COMMIT is answered. */
static void
adopt(struct claim *found, struct lm_run *run, struct lm_range *range)
{
    lm_run_release(run);
    *run = found->run;
    run->next_owner[0] = '\0';
    if (range != NULL) {
        lm_range_release(range);
        *range = found->range;
    }
    memset(found, 0, sizeof *found);
}

/* Writes the request's name and arguments into the run's row, unless the run
 * has ended meanwhile. */
static bool
resume(struct lm_journal *self, const struct lm_run_request *request,
       struct lm_run *found, struct lm_err *err)
{
    return write_resumed(self, request, found, err) &&
           (request->restart || found->state[0] == '\0' ||
            request->accepts(request->arg, found, err));
}

/* Inside the transaction of a claim; request is NULL on reconnect, where the
 * run's row stays as it is. */
static bool
write_claim(struct lm_journal *self, const struct lm_run_request *request,
            const char *old_owner, struct claim *found, struct lm_err *err)
{
    struct lm_run *run = &found->run;
    bool mine = false;

    if (!write_owner(self, old_owner, run, &found->claimed, err))
        return false;
    return !found->claimed ||
           (write_session(self, request != NULL, run, &found->range, err) &&
            ask_for_progress(self, run, run->next_owner, &mine, err) &&
            (request != NULL ? resume(self, request, run, err)
                             : read_state(self, run, err)) &&
            lm_journal_commit(self, err));
}

/* One durable transaction that claims the run. */
static bool
claim_once(struct lm_journal *self, const struct lm_run_request *request,
           const char *old_owner, struct lm_run *run, struct lm_range *range,
           bool *claimed, struct lm_err *err)
{
    struct claim found = {.run = *run};
    bool held;
    bool ok;

    memset(&found.run.cursor, 0, sizeof found.run.cursor);
    memset(&found.run.bound, 0, sizeof found.run.bound);
    held = lm_journal_open(self, err) &&
           (request == NULL || !run->adopted ||
            lm_journal_hold_script(self, request->script, err));
    ok = held && write_claim(self, request, old_owner, &found, err);
    *claimed = ok && found.claimed;
    if (*claimed) {
        adopt(&found, run, range);
    } else {
        lm_conn_rollback(self->conn);
    }
    lm_range_release(&found.range);
    lm_run_release(&found.run);
    return held ? ok : lm_journal_fail_to_hold(self, err);
}

static bool
fail_held(const struct lm_run *run, int64_t backend, struct lm_err *err)
{
    char where[64] = "behind a connection pooler";

    if (backend > 0)
        snprintf(where, sizeof where, "in server process %" PRId64, backend);
    lm_err_set(err, LM_ERR_BUSY,
               "run %" PRId64 " is locked by a transaction that is still open "
               "%s",
               run->id, where);
    if (backend > 0) {
        lm_err_hint(err, "End its server process with pg_terminate_backend, as "
                         "its role or as a superuser, and run the same "
                         "command.");
    } else {
        lm_err_hint(err,
                    "In pg_stat_activity its application_name begins with "
                    "\"luamig: run %" PRId64 " of\". End that process with "
                    "pg_terminate_backend, as its role or as a superuser, and "
                    "run the same command.",
                    run->id);
    }
    return false;
}

/* Claims the run, ending the old backend if it sits on the row for long. */
static bool
claim(struct lm_journal *self, const struct lm_run_request *request,
      const struct runner *runner, const char *old_owner, struct lm_run *run,
      struct lm_range *range, bool *claimed, struct lm_err *err)
{
    int64_t begun = lm_clock_ms();

    if (run->next_owner[0] == '\0' &&
        !lm_journal_make_token(run->next_owner, sizeof run->next_owner, err))
        return false;
    while (!claim_once(self, request, old_owner, run, range, claimed, err)) {
        if (!lm_err_is_state(err, "55P03") || lm_stop_level() >= 2)
            return false;
        if (lm_journal_blames_standby(self, err))
            return false;
        if (!lm_journal_insist(self, run->id,
                               request != NULL ? NULL : self->process, begun))
            return fail_held(run, runner->backend_pid, err);
    }
    return true;
}

bool
lm_journal_take(struct lm_journal *self, const struct lm_run_request *request,
                struct lm_run *run, bool *ended, struct lm_err *err)
{
    struct runner runner;
    bool claimed = false;

    while (!claimed) {
        if (!wait_until_free(self, run, &runner, err) ||
            (!request->restart && !lm_journal_fits(self, request, run, err)))
            return false;
        if (runner.seen)
            lm_journal_terminate(self, run->id, NULL, 0, true);
        if (!claim(self, request, &runner, runner.owner, run, NULL, &claimed,
                   err))
            return false;
    }
    *ended = run->state[0] == '\0';
    return true;
}

static bool
fail_fenced(struct lm_journal *self, const struct lm_run *run,
            struct lm_err *err)
{
    struct lm_run current = {.id = run->id};
    struct runner runner;

    if (!look_at_runner(self, run, &runner, err) ||
        !read_state(self, &current, err))
        return false;
    if (strcmp(current.state, "failed") == 0 && runner.leads_nobody)
        return lm_journal_fail_elsewhere(run, err);
    if (strcmp(current.state, "cancelled") == 0) {
        return lm_err_set(err, LM_ERR_CANCELLED,
                          "run %" PRId64 " has been cancelled", run->id);
    }
    lm_err_set(err, LM_ERR_FENCED,
               "run %" PRId64 " has been taken over by process %" PRId64
               " on host \"%s\"",
               run->id, runner.pid, runner.host);
    LM_ERR_COPY(err->sqlstate, LM_JOURNAL_FENCED);
    lm_err_detail(err, "The server rolled back the uncommitted work of this "
                       "runner. Nothing is lost or done twice.");
    return false;
}

bool
lm_journal_reclaim(struct lm_journal *self, struct lm_run *run,
                   struct lm_range *range, struct lm_err *err)
{
    char mine[sizeof run->owner];
    struct runner runner;
    bool claimed = false;

    memcpy(mine, run->owner, sizeof mine);
    if (!look_at_runner(self, run, &runner, err) ||
        !lm_journal_end_sessions_before(self, run->id, err) ||
        !claim(self, NULL, &runner, mine, run, range, &claimed, err))
        return false;
    return claimed || fail_fenced(self, run, err);
}

bool
lm_journal_refresh(struct lm_journal *self, struct lm_run *run,
                   struct lm_err *err)
{
    char owner[sizeof run->owner];
    bool mine = false;

    memcpy(owner, run->owner, sizeof owner);
    return ask_for_progress(self, run, owner, &mine, err) &&
           (mine || fail_fenced(self, run, err));
}
