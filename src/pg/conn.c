/* SPDX-License-Identifier: MIT */
/*
 * The connection: opening it, sending a statement, waiting for the answer,
 * and turning what libpq says into struct lm_err.
 *
 * Owns the PGconn and the prepared statements. The socket is non-blocking and
 * there is one place that waits, wait_for_result, so that signals and the
 * deadline are heard everywhere. Nothing here retries or reconnects: only the
 * runner knows whether that is safe.
 */

#include "pg/conn.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stop.h"
#include "pg/stmt.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lm_conn {
    PGconn *pg;
    char *target;
    struct lm_stmt_cache statements;
    int64_t deadline_ms;
    bool interruptible;
    bool cancel_sent; /* for the statement in flight */
};

struct lm_result {
    PGresult *pg;
};

/* SQLSTATEs that say the session is over or of no use, whatever libpq thinks
 * of the socket: shutdowns, and timeouts that end a session. */
static bool
is_lost_state(const char *state)
{
    static const char *const lost[] = {"57P01", "57P02", "57P03",
                                       "57P05", "25P03", "25P04"};

    if (strncmp(state, "08", 2) == 0)
        return true;
    for (size_t i = 0; i < LM_COUNT(lost); i++) {
        if (strcmp(state, lost[i]) == 0)
            return true;
    }
    return false;
}

/* libpq's texts end with a newline and may have several lines. */
static void
copy_message(char *field, size_t size, const char *text)
{
    size_t len = strlen(text);

    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
        len--;
    lm_err_copy(field, size, text, len);
}

static bool
fail_lost(const struct lm_conn *self, const char *message, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_LOST, "the connection to %s was lost", self->target);
    LM_ERR_COPY(err->sqlstate, "08006");
    copy_message(err->detail, sizeof err->detail, message);
    return false;
}

static void
copy_field(char *field, size_t size, const PGresult *result, int code)
{
    const char *text = PQresultErrorField(result, code);

    if (text != NULL)
        copy_message(field, size, text);
}

static bool
fail_result(const struct lm_conn *self, const PGresult *result, const char *sql,
            struct lm_err *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    enum lm_err_kind kind = LM_ERR_DATABASE;

    if (state == NULL)
        return fail_lost(self, PQresultErrorMessage(result), err);
    if (is_lost_state(state)) {
        kind = LM_ERR_LOST;
    } else if (self->cancel_sent && strcmp(state, "57014") == 0) {
        kind = LM_ERR_INTERRUPT;
    }
    lm_err_set(err, kind, "%s", primary != NULL ? primary : "unknown error");
    LM_ERR_COPY(err->sqlstate, state);
    copy_field(err->detail, sizeof err->detail, result, PG_DIAG_MESSAGE_DETAIL);
    copy_field(err->hint, sizeof err->hint, result, PG_DIAG_MESSAGE_HINT);
    copy_field(err->constraint, sizeof err->constraint, result,
               PG_DIAG_CONSTRAINT_NAME);
    if (sql != NULL)
        LM_ERR_COPY(err->sql, sql);
    return false;
}

static void
on_notice(void *arg, const char *message)
{
    char text[1024];

    (void)arg;
    copy_message(text, sizeof text, message);
    lm_log(LM_LOG_INFO, "server: %s", text);
}

/* Hosts, ports and database as libpq settled them; no secrets. */
static char *
describe_target(PGconn *pg)
{
    struct lm_buf buf = LM_BUF_INIT;
    const char *host = PQhost(pg);

    lm_buf_printf(&buf, "%s:%s/%s", host != NULL ? host : "", PQport(pg),
                  PQdb(pg) != NULL ? PQdb(pg) : "");
    return lm_buf_take(&buf);
}

/* libpq quotes what it cannot read, which may hold a password, so its own
 * words are not shown. */
static bool
check_conninfo(const char *conninfo, struct lm_err *err)
{
    char *ignored = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &ignored);

    PQfreemem(ignored);
    if (options != NULL) {
        PQconninfoFree(options);
        return true;
    }
    lm_err_set(err, LM_ERR_CONNECT,
               "the database URL is not one that libpq understands");
    lm_err_hint(err, "Write it as postgresql://user@host:5432/database or as "
                     "\"host=... dbname=...\"; parameters that other tools "
                     "put behind \"?\" are not accepted.");
    return false;
}

static PGconn *
connect_blocking(const char *conninfo, const char *application_name)
{
    /* What stands before dbname may be overridden by the conninfo. */
    const char *const keys[] = {"connect_timeout",  "application_name",
                                "dbname",           "client_encoding",
                                "keepalives_idle",  "keepalives_interval",
                                "keepalives_count", NULL};
    const char *const values[] = {
        "10", application_name, conninfo, "UTF8", "10", "10", "3", NULL};

    return PQconnectdbParams(keys, values, 1);
}

bool
lm_conn_open(struct lm_conn **out, const char *conninfo,
             const char *application_name, struct lm_err *err)
{
    struct lm_conn *self;

    if (*conninfo != '\0' && !check_conninfo(conninfo, err))
        return false;
    self = lm_calloc(1, sizeof *self);
    self->interruptible = true;
    self->pg = connect_blocking(conninfo, application_name);
    self->target = describe_target(self->pg);
    if (PQstatus(self->pg) != CONNECTION_OK) {
        lm_err_set(err, LM_ERR_CONNECT, "could not connect to %s",
                   self->target);
        copy_message(err->detail, sizeof err->detail, PQerrorMessage(self->pg));
        lm_conn_close(self);
        return false;
    }
    PQsetnonblocking(self->pg, 1);
    PQsetNoticeProcessor(self->pg, on_notice, NULL);
    *out = self;
    return true;
}

bool
lm_conn_is_starting(const char *conninfo)
{
    return PQping(conninfo) == PQPING_REJECT;
}

void
lm_conn_close(struct lm_conn *self)
{
    if (self == NULL)
        return;
    lm_stmt_cache_release(&self->statements);
    PQfinish(self->pg);
    free(self->target);
    free(self);
}

bool
lm_conn_is_up(const struct lm_conn *self)
{
    return PQstatus(self->pg) == CONNECTION_OK;
}

bool
lm_conn_in_transaction(const struct lm_conn *self)
{
    return PQtransactionStatus(self->pg) == PQTRANS_INTRANS;
}

bool
lm_conn_has_transaction(const struct lm_conn *self)
{
    PGTransactionStatusType status = PQtransactionStatus(self->pg);

    return status != PQTRANS_IDLE && status != PQTRANS_UNKNOWN;
}

int
lm_conn_server_version(const struct lm_conn *self)
{
    return PQserverVersion(self->pg);
}

int
lm_conn_backend_pid(const struct lm_conn *self)
{
    return PQbackendPID(self->pg);
}

const char *
lm_conn_target(const struct lm_conn *self)
{
    return self->target;
}

void
lm_conn_set_deadline(struct lm_conn *self, int64_t deadline_ms)
{
    self->deadline_ms = deadline_ms;
}

void
lm_conn_set_interruptible(struct lm_conn *self, bool interruptible)
{
    self->interruptible = interruptible;
}

static void
cancel_statement(struct lm_conn *self)
{
    char ignored[256];
    PGcancel *cancel = PQgetCancel(self->pg);

    self->cancel_sent = true;
    if (cancel == NULL)
        return;
    PQcancel(cancel, ignored, sizeof ignored);
    PQfreeCancel(cancel);
}

/* libpq takes a NULL connection for one that is down. */
static void
shut(struct lm_conn *self)
{
    PQfinish(self->pg);
    self->pg = NULL;
}

/* The server was silent for too long: nothing that it might still say can be
 * trusted to belong to anything, so the socket is shut. */
static bool
give_up(struct lm_conn *self, struct lm_err *err)
{
    char limit[32];

    lm_clock_format(limit, sizeof limit, self->deadline_ms);
    lm_err_set(err, LM_ERR_LOST, "%s has not answered for %s", self->target,
               limit);
    LM_ERR_COPY(err->sqlstate, "08006");
    shut(self);
    return false;
}

/* One turn of the wait: sleeps until the server, a signal or the deadline. */
static bool
wait_turn(struct lm_conn *self, bool want_write, int64_t deadline,
          struct lm_err *err)
{
    struct pollfd fds[2] = {{PQsocket(self->pg), POLLIN, 0},
                            {lm_stop_fd(), POLLIN, 0}};
    int64_t left = deadline > 0 ? deadline - lm_clock_ms() : 60000;

    if (left <= 0)
        return give_up(self, err);
    if (want_write)
        fds[0].events |= POLLOUT;
    if (poll(fds, fds[1].fd >= 0 ? 2 : 1, left > 60000 ? 60000 : (int)left) <
        0) {
        if (errno == EINTR)
            return true;
        return fail_lost(self, strerror(errno), err);
    }
    lm_stop_drain();
    if (fds[0].revents != 0 && PQconsumeInput(self->pg) == 0)
        return fail_lost(self, PQerrorMessage(self->pg), err);
    return true;
}

static int64_t
deadline_from_now(const struct lm_conn *self)
{
    return self->deadline_ms > 0 ? lm_clock_ms() + self->deadline_ms : 0;
}

/* Pushes everything queued in libpq out to the server. */
static bool
flush(struct lm_conn *self, struct lm_err *err)
{
    int64_t deadline = deadline_from_now(self);
    int left;

    while ((left = PQflush(self->pg)) != 0) {
        if (left < 0)
            return fail_lost(self, PQerrorMessage(self->pg), err);
        if (!wait_turn(self, true, deadline, err))
            return false;
    }
    return true;
}

static bool
wait_for_result(struct lm_conn *self, struct lm_err *err)
{
    int64_t deadline = deadline_from_now(self);

    while (PQisBusy(self->pg)) {
        if (self->interruptible && !self->cancel_sent && lm_stop_level() >= 2)
            cancel_statement(self);
        if (!wait_turn(self, false, deadline, err))
            return false;
    }
    return true;
}

/* COPY would take over the protocol; nothing luamig sends may start one. */
static bool
refuse_copy(struct lm_conn *self, const char *sql, struct lm_err *err)
{
    shut(self);
    lm_err_set(err, LM_ERR_FAILED, "COPY cannot be used in a migration");
    LM_ERR_COPY(err->sql, sql);
    return false;
}

/* Reads the answer to one request: the last result, or the first error. */
static bool
read_answer(struct lm_conn *self, const char *sql, PGresult **out,
            struct lm_err *err)
{
    PGresult *last = NULL;
    PGresult *next;
    bool ok = true;

    for (;;) {
        ExecStatusType status;

        if (!wait_for_result(self, err)) {
            PQclear(last);
            return false;
        }
        next = PQgetResult(self->pg);
        if (next == NULL)
            break;
        status = PQresultStatus(next);
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT ||
            status == PGRES_COPY_BOTH) {
            PQclear(next);
            PQclear(last);
            return refuse_copy(self, sql, err);
        }
        if (ok && (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE))
            ok = fail_result(self, next, sql, err);
        PQclear(last);
        last = next;
    }
    if (ok && last == NULL)
        ok = fail_lost(self, PQerrorMessage(self->pg), err);
    if (!ok) {
        PQclear(last);
        return false;
    }
    *out = last;
    return true;
}

/* Called after a PQsend... function: sent is its result. */
static bool
finish_request(struct lm_conn *self, int sent, const char *sql, PGresult **out,
               struct lm_err *err)
{
    self->cancel_sent = false;
    if (sent == 0) {
        if (lm_conn_is_up(self)) {
            lm_err_set(err, LM_ERR_INTERNAL, "could not send a statement");
            copy_message(err->detail, sizeof err->detail,
                         PQerrorMessage(self->pg));
            return false;
        }
        return fail_lost(self, PQerrorMessage(self->pg), err);
    }
    return flush(self, err) && read_answer(self, sql, out, err);
}

bool
lm_conn_command(struct lm_conn *self, const char *sql, struct lm_err *err)
{
    PGresult *result = NULL;

    if (!finish_request(self, PQsendQuery(self->pg, sql), sql, &result, err))
        return false;
    PQclear(result);
    return true;
}

bool
lm_conn_commit(struct lm_conn *self, const char *before, const char *sent,
               struct lm_err *err)
{
    PGresult *result = NULL;
    bool committed;

    (void)before;
    (void)sent;
    LM_FAULT(before);
    self->cancel_sent = false;
    if (PQsendQuery(self->pg, "COMMIT") == 0)
        return fail_lost(self, PQerrorMessage(self->pg), err);
    if (!flush(self, err))
        return false;
    LM_FAULT(sent);
    if (!read_answer(self, "COMMIT", &result, err))
        return false;
    /* The server answers COMMIT in a failed transaction with ROLLBACK. */
    committed = strcmp(PQcmdStatus(result), "COMMIT") == 0;
    PQclear(result);
    if (!committed) {
        return lm_err_set(err, LM_ERR_INTERNAL,
                          "the server rolled back instead of committing");
    }
    return true;
}

void
lm_conn_rollback(struct lm_conn *self)
{
    struct lm_err ignored;
    bool interruptible = self->interruptible;

    if (!lm_conn_is_up(self) || !lm_conn_has_transaction(self))
        return;
    self->interruptible = false;
    if (!lm_conn_command(self, "ROLLBACK", &ignored))
        lm_log(LM_LOG_DEBUG, "rollback: %s", ignored.message);
    self->interruptible = interruptible;
}

static struct lm_result *
wrap_result(PGresult *pg)
{
    struct lm_result *result = lm_alloc(sizeof *result);

    result->pg = pg;
    return result;
}

bool
lm_conn_query_typed(struct lm_conn *self, const char *sql,
                    const uint32_t *types, struct lm_values values,
                    struct lm_result **out, struct lm_err *err)
{
    PGresult *result = NULL;
    int sent = PQsendQueryParams(self->pg, sql, values.count, types,
                                 values.texts, NULL, NULL, 0);

    if (!finish_request(self, sent, sql, &result, err))
        return false;
    *out = wrap_result(result);
    return true;
}

bool
lm_conn_query(struct lm_conn *self, const char *sql, struct lm_values values,
              struct lm_result **out, struct lm_err *err)
{
    return lm_conn_query_typed(self, sql, NULL, values, out, err);
}

static void
describe(struct lm_stmt *stmt, const PGresult *result)
{
    stmt->param_count = PQnparams(result);
    stmt->param_types =
        lm_calloc((size_t)stmt->param_count, sizeof *stmt->param_types);
    for (int i = 0; i < stmt->param_count; i++)
        stmt->param_types[i] = PQparamtype(result, i);
    stmt->column_count = PQnfields(result);
    stmt->columns =
        lm_calloc((size_t)stmt->column_count, sizeof *stmt->columns);
    for (int i = 0; i < stmt->column_count; i++) {
        stmt->columns[i].name = lm_strdup(PQfname(result, i));
        stmt->columns[i].type = PQftype(result, i);
        stmt->columns[i].table = PQftable(result, i);
        stmt->columns[i].table_column = PQftablecol(result, i);
    }
}

static bool
parse_and_describe(struct lm_conn *self, struct lm_stmt *stmt,
                   const uint32_t *types, int type_count, struct lm_err *err)
{
    PGresult *result = NULL;
    int sent =
        PQsendPrepare(self->pg, stmt->name, stmt->sql, type_count, types);

    if (!finish_request(self, sent, stmt->sql, &result, err))
        return false;
    PQclear(result);
    sent = PQsendDescribePrepared(self->pg, stmt->name);
    if (!finish_request(self, sent, stmt->sql, &result, err))
        return false;
    describe(stmt, result);
    PQclear(result);
    return true;
}

/* Makes room in the cache, on the server as well. */
static bool
evict(struct lm_conn *self, struct lm_err *err)
{
    char sql[64];
    struct lm_stmt *old = lm_stmt_cache_oldest(&self->statements);
    bool ok;

    if (old == NULL)
        return true;
    snprintf(sql, sizeof sql, "DEALLOCATE %s", old->name);
    ok = lm_conn_command(self, sql, err);
    lm_stmt_cache_drop(&self->statements, old);
    return ok;
}

bool
lm_conn_prepare(struct lm_conn *self, const char *sql, const uint32_t *types,
                int type_count, struct lm_stmt **out, struct lm_err *err)
{
    struct lm_stmt *stmt =
        lm_stmt_cache_find(&self->statements, sql, types, type_count);

    if (stmt == NULL) {
        if (!evict(self, err))
            return false;
        stmt = lm_stmt_cache_add(&self->statements, sql, types, type_count);
        if (!parse_and_describe(self, stmt, types, type_count, err)) {
            lm_stmt_cache_drop(&self->statements, stmt);
            return false;
        }
    }
    *out = stmt;
    return true;
}

bool
lm_conn_has_prepared(struct lm_conn *self, const char *sql)
{
    return lm_stmt_cache_find(&self->statements, sql, NULL, 0) != NULL;
}

bool
lm_conn_execute(struct lm_conn *self, const struct lm_stmt *stmt,
                struct lm_values values, struct lm_result **out,
                struct lm_err *err)
{
    PGresult *result = NULL;
    int sent = PQsendQueryPrepared(self->pg, stmt->name, values.count,
                                   values.texts, NULL, NULL, 0);

    if (!finish_request(self, sent, stmt->sql, &result, err))
        return false;
    *out = wrap_result(result);
    return true;
}

void
lm_result_free(struct lm_result *self)
{
    if (self == NULL)
        return;
    PQclear(self->pg);
    free(self);
}

int
lm_result_rows(const struct lm_result *self)
{
    return PQntuples(self->pg);
}

int
lm_result_columns(const struct lm_result *self)
{
    return PQnfields(self->pg);
}

const char *
lm_result_column_name(const struct lm_result *self, int column)
{
    return PQfname(self->pg, column);
}

uint32_t
lm_result_column_type(const struct lm_result *self, int column)
{
    return PQftype(self->pg, column);
}

const char *
lm_result_text(const struct lm_result *self, int row, int column)
{
    if (PQgetisnull(self->pg, row, column))
        return NULL;
    return PQgetvalue(self->pg, row, column);
}

size_t
lm_result_length(const struct lm_result *self, int row, int column)
{
    return (size_t)PQgetlength(self->pg, row, column);
}

int64_t
lm_result_affected(const struct lm_result *self)
{
    return strtoll(PQcmdTuples(self->pg), NULL, 10);
}

int64_t
lm_result_int(const struct lm_result *self, int row, int column)
{
    return strtoll(PQgetvalue(self->pg, row, column), NULL, 10);
}

bool
lm_result_bool(const struct lm_result *self, int row, int column)
{
    return *PQgetvalue(self->pg, row, column) == 't';
}
