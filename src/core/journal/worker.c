/* SPDX-License-Identifier: MIT */
/* The sessions that work on a run: their rows, and their leases. */

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stop.h"
#include "base/text.h"
#include "core/journal/private.h"

#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    SLICE_MS = 50,
    COMMIT_GRACE_MS = 10000,   /* for a batch in flight to end by itself */
    INSIST_PATIENCE_MS = 30000 /* and after it was asked to end */
};

/* A version 4 UUID. */
bool
lm_journal_make_token(char *token, size_t size, struct lm_err *err)
{
    unsigned char b[16];

    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b)
        return lm_err_set(err, LM_ERR_INTERNAL, "could not get random bytes");
    b[6] = (unsigned char)((b[6] & 0x0F) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3F) | 0x80);
    snprintf(token, size,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
             "%02x%02x%02x%02x%02x%02x",
             b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10],
             b[11], b[12], b[13], b[14], b[15]);
    return true;
}

bool
lm_journal_init(struct lm_journal *self, struct lm_err *err)
{
    return self->process[0] != '\0' ||
           lm_journal_make_token(self->process, sizeof self->process, err);
}

/* This connection is the worker's session now. */
static bool
add_session(struct lm_journal *self, int64_t run_id, struct lm_err *err)
{
    return lm_journal_command(
        self,
        "INSERT INTO {schema}.worker (id, run_id, process, number, host,"
        " pid, backend_pid, backend_start, lease_until) VALUES"
        " ($1::uuid, $2, $3::uuid, $4, $5, $6, $7,"
        " (SELECT a.backend_start FROM pg_catalog.pg_stat_activity a"
        "  WHERE a.pid = $7),"
        " clock_timestamp() + $8::bigint * interval '1 ms')",
        LM_VALUES(self->worker, LM_DIGITS(run_id), self->process,
                  LM_DIGITS(self->number), LM_JOURNAL_HOST, LM_DIGITS(getpid()),
                  LM_DIGITS(lm_journal_backend_pid(self)),
                  LM_DIGITS(self->lease_ms)),
        err);
}

bool
lm_journal_add_session(struct lm_journal *self, int64_t run_id,
                       struct lm_err *err)
{
    return lm_journal_make_token(self->worker, sizeof self->worker, err) &&
           add_session(self, run_id, err);
}

/* The worker's sessions before this one; the COMMIT of the last may have been
 * without an answer. */
#define BEFORE                                           \
    "FROM {schema}.worker w WHERE w.run_id = $1::bigint" \
    " AND w.process = $2::uuid AND w.number = $3::integer"

/* The old server processes do not have the range's new token. */
static bool
take_range(struct lm_journal *self, int64_t run_id, struct lm_range *range,
           struct lm_err *err)
{
    struct lm_answer *answer = NULL;
    char token[sizeof range->owner];

    if (!lm_journal_make_token(token, sizeof token, err) ||
        !lm_journal_ask(self,
                        "UPDATE {schema}.range g SET owner = $4::uuid,"
                        " worker = $5::uuid WHERE g.run_id = $1::bigint"
                        " AND NOT g.closed AND g.worker IN (SELECT w.id " BEFORE
                        ") RETURNING " LM_JOURNAL_RANGE,
                        LM_JOURNAL_RANGE_SHAPE,
                        LM_VALUES(LM_DIGITS(run_id), self->process,
                                  LM_DIGITS(self->number), token, self->worker),
                        &answer, err))
        return false;
    lm_journal_read_range_row(answer, token, range);
    lm_answer_free(answer);
    return true;
}

static bool
take_over_from_before(struct lm_journal *self, int64_t run_id,
                      struct lm_range *range, struct lm_err *err)
{
    return take_range(self, run_id, range, err) &&
           lm_journal_command(self, "DELETE " BEFORE " AND w.id <> $4::uuid",
                              LM_VALUES(LM_DIGITS(run_id), self->process,
                                        LM_DIGITS(self->number), self->worker),
                              err);
}

bool
lm_journal_enter(struct lm_journal *self, int64_t run_id,
                 struct lm_range *range, struct lm_err *err)
{
    return lm_journal_make_token(self->worker, sizeof self->worker, err) &&
           take_over_from_before(self, run_id, range, err) &&
           add_session(self, run_id, err);
}

/* A transaction of its own: if this process freezes while it keeps the row of
 * progress locked, others must see whose server process that is. */
static bool
announce(struct lm_journal *self, int64_t run_id, struct lm_err *err)
{
    return lm_journal_open_lightly(self, err) &&
           lm_journal_add_session(self, run_id, err) &&
           lm_journal_commit(self, err);
}

bool
lm_journal_come_back(struct lm_journal *self, const struct lm_run *run,
                     struct lm_range *range, struct lm_err *err)
{
    struct lm_range found = {.id = 0};

    if (announce(self, run->id, err) &&
        lm_journal_end_sessions_before(self, run->id, err) &&
        lm_journal_open(self, err) &&
        lm_journal_command(self,
                           "SELECT FROM {schema}.progress WHERE run_id = $1"
                           " FOR UPDATE",
                           LM_VALUES(LM_DIGITS(run->id)), err) &&
        take_over_from_before(self, run->id, &found, err) &&
        lm_journal_commit(self, err)) {
        lm_range_release(range);
        *range = found;
        return true;
    }
    lm_range_release(&found);
    lm_conn_rollback(self->conn);
    return false;
}

bool
lm_journal_free_ranges(struct lm_journal *self, int64_t run_id,
                       struct lm_err *err)
{
    return lm_journal_command(self,
                              "UPDATE {schema}.range SET owner = NULL,"
                              " worker = NULL, seq = seq + 1"
                              " WHERE run_id = $1 AND owner IS NOT NULL"
                              " AND NOT closed",
                              LM_VALUES(LM_DIGITS(run_id)), err);
}

bool
lm_journal_displace(struct lm_journal *self, int64_t run_id, struct lm_err *err)
{
    return lm_journal_free_ranges(self, run_id, err) &&
           lm_journal_command(self,
                              "DELETE FROM {schema}.worker WHERE run_id = $1",
                              LM_VALUES(LM_DIGITS(run_id)), err) &&
           lm_journal_add_session(self, run_id, err);
}

bool
lm_journal_leave(struct lm_journal *self, int64_t run_id, struct lm_err *err)
{
    return lm_journal_command(
               self,
               "UPDATE {schema}.range g SET owner = NULL, worker = NULL,"
               " seq = seq + 1 FROM {schema}.worker w WHERE w.id = g.worker"
               " AND w.run_id = $1 AND w.process = $2::uuid AND NOT g.closed",
               LM_VALUES(LM_DIGITS(run_id), self->process), err) &&
           lm_journal_command(self,
                              "DELETE FROM {schema}.worker WHERE run_id = $1"
                              " AND process = $2::uuid",
                              LM_VALUES(LM_DIGITS(run_id), self->process), err);
}

bool
lm_journal_end_session(struct lm_journal *self, struct lm_err *err)
{
    if (lm_journal_open_lightly(self, err) &&
        lm_journal_command(self,
                           "DELETE FROM {schema}.worker WHERE id = $1::uuid",
                           LM_VALUES(self->worker), err) &&
        lm_journal_commit(self, err))
        return true;
    lm_conn_rollback(self->conn);
    return false;
}

/* Ends the backends that may still hold a batch open, those of all workers or
 * of this one, where the role may and
 * it is that very backend: of this database, since a copy of the journal names
 * the original's, and of luamig. One that works may be committing and is left
 * alone, unless it had its time; one that awaits a standby always is. */
void
lm_journal_terminate(struct lm_journal *self, int64_t run_id,
                     const char *process, int number, bool had_its_time)
{
    struct lm_err ignored;

    if (!lm_journal_command(
            self,
            "SELECT pg_catalog.pg_terminate_backend(a.pid)"
            " FROM {schema}.worker w JOIN pg_catalog.pg_stat_activity a"
            " ON a.pid = w.backend_pid AND a.backend_start = w.backend_start"
            " AND a.datname = pg_catalog.current_database()"
            " AND a.application_name LIKE 'luamig: %'"
            " AND a.wait_event IS DISTINCT FROM 'SyncRep'"
            " WHERE w.run_id = $1 AND a.pid <> pg_catalog.pg_backend_pid()"
            " AND ($3::uuid IS NULL OR w.process = $3::uuid AND w.number = $4)"
            " AND ($2 OR a.state LIKE 'idle in transaction%'"
            "  OR a.state = 'active' AND a.wait_event = 'ClientRead')",
            LM_VALUES(LM_DIGITS(run_id), had_its_time ? "t" : "f", process,
                      LM_DIGITS(number)),
            &ignored)) {
        lm_log(LM_LOG_DEBUG, "could not end the old server process: %s",
               ignored.message);
    }
}

bool
lm_journal_insist(struct lm_journal *self, int64_t run_id, const char *process,
                  int64_t begun_ms)
{
    int64_t waited_ms = lm_clock_ms() - begun_ms;

    /* "cancel --now" interrupts as well, but nobody gives up. */
    if ((lm_stop_level() >= 2 && lm_stop_signal()[0] != '\0') ||
        waited_ms > LM_FAULT_PATIENCE(INSIST_PATIENCE_MS))
        return false;
    lm_journal_terminate(self, run_id, process, self->number,
                         waited_ms > COMMIT_GRACE_MS);
    return true;
}

/* Has the server a transaction of this worker's sessions before? One that
 * awaits a standby is none that may be ended. */
static bool
has_transaction_before(struct lm_journal *self, int64_t run_id, bool *has,
                       struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    if (!lm_journal_ask(self,
                        "SELECT EXISTS (SELECT FROM {schema}.worker w"
                        " JOIN pg_catalog.pg_stat_activity a"
                        " ON a.pid = w.backend_pid"
                        " AND a.backend_start = w.backend_start"
                        " AND a.datname = pg_catalog.current_database()"
                        " WHERE w.run_id = $1 AND w.process = $2::uuid"
                        " AND w.number = $3"
                        " AND a.pid <> pg_catalog.pg_backend_pid()"
                        " AND a.state IN ('active', 'idle in transaction',"
                        "  'idle in transaction (aborted)')"
                        " AND a.wait_event IS DISTINCT FROM 'SyncRep')",
                        "1: b",
                        LM_VALUES(LM_DIGITS(run_id), self->process,
                                  LM_DIGITS(self->number)),
                        &answer, err))
        return false;
    *has = lm_answer_bool(answer, 0, 0);
    lm_answer_free(answer);
    return true;
}

bool
lm_journal_end_sessions_before(struct lm_journal *self, int64_t run_id,
                               struct lm_err *err)
{
    int64_t begun_ms = lm_clock_ms();
    bool has = false;

    do {
        if (!has_transaction_before(self, run_id, &has, err))
            return false;
    } while (has && lm_journal_insist(self, run_id, self->process, begun_ms) &&
             lm_stop_sleep_ms(SLICE_MS));
    return true;
}

bool
lm_journal_delete_idle_sessions(struct lm_journal *self, struct lm_err *err)
{
    return lm_journal_command(self,
                              "DELETE FROM {schema}.worker w"
                              " USING {schema}.run r WHERE r.id = w.run_id"
                              " AND r.state NOT IN " LM_JOURNAL_MAY_GO_ON,
                              LM_NO_VALUES, err);
}

bool
lm_journal_forget_workers(struct lm_journal *self, struct lm_err *err)
{
    if (lm_journal_open_lightly(self, err) &&
        lm_journal_delete_idle_sessions(self, err) &&
        lm_conn_commit(self->conn, "forget_before_commit",
                       "forget_after_commit_sent", err))
        return true;
    lm_conn_rollback(self->conn);
    return false;
}

/* -- leases --------------------------------------------------------------- */

bool
lm_journal_renew_leases(struct lm_journal *self, int64_t run_id,
                        const struct lm_journal_note *note, struct lm_err *err)
{
    char text[sizeof note->workers_note];

    LM_ERR_COPY(text, note->workers_note);
    lm_conn_fit_text(self->conn, text, sizeof text);
    return lm_journal_command(
        self,
        "UPDATE {schema}.worker SET lease_until ="
        " clock_timestamp() + $3::bigint"
        " * interval '1 ms', workers = $4, note = $5"
        " WHERE run_id = $1 AND process = $2::uuid",
        LM_VALUES(LM_DIGITS(run_id), self->process, LM_DIGITS(self->lease_ms),
                  LM_DIGITS(note->workers), text[0] != '\0' ? text : NULL),
        err);
}

/* -- room for more -------------------------------------------------------- */

/* A tenth of the server's connections stays free, and two of a role's or a
 * database's. All sessions count that have a user: the role may not see which
 * of them belong to clients. */
bool
lm_journal_count_room(struct lm_journal *self, int64_t run_id, int *room,
                      struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    if (!lm_journal_ask(
            self,
            "SELECT w.mine + f.free / greatest(1, w.processes)"
            " FROM (SELECT count(DISTINCT process) AS processes,"
            "  count(*) FILTER (WHERE process = $2::uuid) AS mine"
            "  FROM {schema}.worker WHERE run_id = $1) w,"
            " (SELECT least("
            "  current_setting('max_connections')::int"
            "  - current_setting('superuser_reserved_connections')::int"
            "  - coalesce(nullif(current_setting('reserved_connections', true),"
            "   '')::int, 0)"
            "  - ceil(current_setting('max_connections')::int * 0.1)::int"
            "  - count(*) FILTER (WHERE a.usesysid IS NOT NULL),"
            "  min(nullif(r.rolconnlimit, -1)) - 2"
            "  - count(*) FILTER (WHERE a.usesysid = r.oid),"
            "  min(nullif(d.datconnlimit, -1)) - 2 - count(*) FILTER"
            "   (WHERE a.datid = d.oid AND a.usesysid IS NOT NULL)) AS free"
            "  FROM pg_catalog.pg_stat_activity a, pg_catalog.pg_roles r,"
            "  pg_catalog.pg_database d WHERE r.rolname = session_user"
            "  AND d.datname = current_database()) f",
            "1: i", LM_VALUES(LM_DIGITS(run_id), self->process), &answer, err))
        return false;
    *room = (int)lm_answer_int(answer, 0, 0);
    lm_answer_free(answer);
    return true;
}

bool
lm_journal_note_prepare(struct lm_journal *self, int64_t run_id, int64_t for_ms,
                        struct lm_err *err)
{
    if (lm_journal_open_lightly(self, err) &&
        lm_journal_command(
            self,
            "UPDATE {schema}.progress p SET waits_for = 'prepare',"
            " waits_since = clock_timestamp() - $3::bigint * interval '1 ms'"
            " FROM {schema}.worker w WHERE p.run_id = $1 AND w.id = p.leader"
            " AND w.process = $2::uuid",
            LM_VALUES(LM_DIGITS(run_id), self->process, LM_DIGITS(for_ms)),
            err) &&
        lm_journal_commit(self, err))
        return true;
    lm_conn_rollback(self->conn);
    return false;
}

bool
lm_journal_keep(struct lm_journal *self, int64_t run_id, struct lm_err *err)
{
    if (lm_journal_open_lightly(self, err) &&
        lm_journal_command(
            self,
            "UPDATE {schema}.worker SET kept_until ="
            " clock_timestamp() + $3::bigint * interval '1 ms',"
            " keeper_pid = $4::integer, keeper_start = ("
            "  SELECT a.backend_start FROM pg_catalog.pg_stat_activity a"
            "  WHERE a.pid = $4::integer)"
            " WHERE run_id = $1 AND process = $2::uuid",
            LM_VALUES(LM_DIGITS(run_id), self->process,
                      LM_DIGITS(self->lease_ms),
                      LM_DIGITS(lm_journal_backend_pid(self))),
            err) &&
        lm_conn_commit(self->conn, "keep_before_commit",
                       "keep_after_commit_sent", err))
        return true;
    lm_conn_rollback(self->conn);
    return false;
}
