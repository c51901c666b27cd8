/* SPDX-License-Identifier: MIT */
/*
 * The connection: opening it, preparing and sending statements, reading
 * results. How requests and answers travel is in pipeline.c.
 *
 * Owns the PGconn and the prepared statements. Nothing here retries or
 * reconnects: only the runner knows whether that is safe.
 */

#include "base/fault.h"
#include "base/log.h"
#include "pg/conn_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
on_notice(void *arg, const char *message)
{
    char text[1024];

    (void)arg;
    lm_pipeline_copy_message(text, sizeof text, message);
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

static bool
is_uri(const char *conninfo)
{
    return strncmp(conninfo, "postgresql://", 13) == 0 ||
           strncmp(conninfo, "postgres://", 11) == 0;
}

/* Is there an "@" in what libpq takes for hosts, ports and database of a URI?
 * Then the user or the password ended too early, and a part of the password
 * has become a host. An escaped one is a part of the name. */
static bool
has_stray_at(const char *uri)
{
    const char *place = strstr(uri, "://") + 3;
    size_t user = strcspn(place, "@/");

    if (place[user] == '@')
        place += user + 1;
    return memchr(place, '@', strcspn(place, "?")) != NULL;
}

/* "user:password/database", without a host, makes the password a port. */
static bool
has_numeric_ports(const PQconninfoOption *options)
{
    for (; options->keyword != NULL; options++) {
        if (strcmp(options->keyword, "port") == 0 && options->val != NULL)
            return options->val[strspn(options->val, "0123456789,")] == '\0';
    }
    return true;
}

static bool
check_uri(const char *uri, const PQconninfoOption *options, struct lm_err *err)
{
    static const char escapes[] = "Write @ as %40, / as %2F, : as %3A in a "
                                  "user name or password.";

    if (has_stray_at(uri)) {
        lm_err_set(err, LM_ERR_CONNECT,
                   "the database URL has a character that must be escaped");
        lm_err_hint(err, "%s", escapes);
        return false;
    }
    if (!has_numeric_ports(options)) {
        lm_err_set(err, LM_ERR_CONNECT,
                   "the port in the database URL is not a number");
        lm_err_hint(err,
                    "With a password, a URL has a host as well: "
                    "postgresql://user:password@host:5432/database. %s",
                    escapes);
        return false;
    }
    return true;
}

/* libpq quotes what it cannot read or find, which may hold a password, so
 * what looks misread is refused without a word of it. */
static bool
check_conninfo(const char *conninfo, struct lm_err *err)
{
    char *ignored = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &ignored);
    bool ok;

    PQfreemem(ignored);
    if (options != NULL) {
        ok = !is_uri(conninfo) || check_uri(conninfo, options, err);
        PQconninfoFree(options);
        return ok;
    }
    lm_err_set(err, LM_ERR_CONNECT,
               "the database URL is not one that libpq understands");
    lm_err_hint(err, "Write it as postgresql://user@host:5432/database or as "
                     "\"host=... dbname=...\"; parameters that other tools "
                     "put behind \"?\" are not accepted.");
    return false;
}

/* A password that is a name as well, or hardly a word, gives nothing away
 * where libpq's text has it, and without it the text would say nothing. */
static bool
is_secret(PGconn *pg, const char *password)
{
    enum { SHORTEST = 4 };
    const char *const names[] = {PQuser(pg), PQdb(pg), PQhost(pg)};

    if (password == NULL || strlen(password) < SHORTEST)
        return false;
    for (size_t i = 0; i < LM_COUNT(names); i++) {
        if (names[i] != NULL && strcmp(names[i], password) == 0)
            return false;
    }
    return true;
}

/* Why there is no connection, in libpq's words but for the password. */
static void
copy_reason(char *field, size_t size, PGconn *pg)
{
    const char *password = PQpass(pg);
    const char *text = PQerrorMessage(pg);
    struct lm_buf shown = LM_BUF_INIT;
    const char *found;

    while (is_secret(pg, password) &&
           (found = strstr(text, password)) != NULL) {
        lm_buf_add(&shown, text, (size_t)(found - text));
        lm_buf_puts(&shown, "***");
        text = found + strlen(password);
    }
    lm_buf_puts(&shown, text);
    lm_pipeline_copy_message(field, size, lm_buf_text(&shown));
    lm_buf_release(&shown);
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
        copy_reason(err->detail, sizeof err->detail, self->pg);
        lm_conn_close(self);
        return false;
    }
    PQsetnonblocking(self->pg, 1);
    PQenterPipelineMode(self->pg);
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
    free(self->queue);
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
    PGTransactionStatusType status = PQtransactionStatus(self->pg);

    /* With requests in flight, libpq does not know yet. */
    return status == PQTRANS_INTRANS ||
           (status == PQTRANS_ACTIVE && self->count > 0);
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

/* A request whose result the caller waits for; keep may be NULL. */
static bool
ask(struct lm_conn *self, int sent, const char *sql, PGresult **keep,
    struct lm_err *err)
{
    struct lm_pending request = {.sql = sql, .keep = keep};
    struct lm_err ignored;

    if (lm_pipeline_post(self, sent, request, err))
        return lm_pipeline_sync(self, err);
    /* The server skips what follows an error until it is told to go on. */
    if (lm_conn_is_up(self) && !lm_pipeline_sync(self, &ignored))
        lm_log(LM_LOG_DEBUG, "%s", ignored.message);
    return false;
}

bool
lm_conn_command(struct lm_conn *self, const char *sql, struct lm_err *err)
{
    int sent = PQsendQueryParams(self->pg, sql, 0, NULL, NULL, NULL, NULL, 0);

    return ask(self, sent, sql, NULL, err);
}

bool
lm_conn_post_command(struct lm_conn *self, const char *sql, struct lm_err *err)
{
    struct lm_pending request = {.sql = NULL}; /* the caller's text may go */
    int sent = PQsendQueryParams(self->pg, sql, 0, NULL, NULL, NULL, NULL, 0);

    return lm_pipeline_post(self, sent, request, err);
}

bool
lm_conn_script(struct lm_conn *self, const char *sql, struct lm_err *err)
{
    return lm_conn_flush(self, err) && lm_pipeline_script(self, sql, err);
}

bool
lm_conn_push(struct lm_conn *self, struct lm_err *err)
{
    return lm_pipeline_push(self, err);
}

bool
lm_conn_flush(struct lm_conn *self, struct lm_err *err)
{
    if (self->count == 0 && !self->failed && lm_conn_is_up(self))
        return true;
    return lm_pipeline_sync(self, err);
}

static bool
post_commit(struct lm_conn *self, PGresult **result, struct lm_err *err)
{
    static const char sql[] = "COMMIT";
    struct lm_pending request = {.sql = sql, .keep = result};
    int sent = PQsendQueryParams(self->pg, sql, 0, NULL, NULL, NULL, NULL, 0);

    return lm_pipeline_post(self, sent, request, err) &&
           lm_pipeline_send_sync(self, err);
}

bool
lm_conn_commit(struct lm_conn *self, const char *before, const char *sent,
               struct lm_err *err)
{
    PGresult *result = NULL;
    bool committed;
    bool ok;

#ifdef LUAMIG_FAULTS
    /* What the fault point promises: all but COMMIT is on the server. */
    if (lm_fault_is_armed(before) && !lm_conn_flush(self, err))
        return false;
#endif
    LM_FAULT(before);
    (void)before;
    if (!post_commit(self, &result, err))
        return false;
    LM_FAULT(sent);
    (void)sent;
    ok = lm_pipeline_read(self, err);
    /* The server answers COMMIT in a failed transaction with ROLLBACK. What
     * fails after COMMIT's answer, a cancel that came late, undoes nothing. */
    committed = result != NULL && strcmp(PQcmdStatus(result), "COMMIT") == 0;
    PQclear(result);
    if (!ok)
        return committed && lm_conn_is_up(self);
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

    self->interruptible = false;
    if (lm_conn_is_up(self) && !lm_conn_flush(self, &ignored))
        lm_log(LM_LOG_DEBUG, "before rollback: %s", ignored.message);
    if (lm_conn_is_up(self) && lm_conn_has_transaction(self) &&
        !lm_conn_command(self, "ROLLBACK", &ignored))
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

    if (!ask(self, sent, sql, &result, err)) {
        PQclear(result); /* it may have come before the end did */
        return false;
    }
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
    struct lm_pending parse = {.sql = stmt->sql};
    PGresult *result = NULL;
    int sent =
        PQsendPrepare(self->pg, stmt->name, stmt->sql, type_count, types);
    bool ok;

    sent = sent != 0 && lm_pipeline_post(self, sent, parse, err) &&
           PQsendDescribePrepared(self->pg, stmt->name) != 0;
    ok = ask(self, sent, stmt->sql, &result, err);
    if (ok)
        describe(stmt, result);
    PQclear(result);
    return ok;
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
    if (!lm_conn_flush(self, err)) /* requests in flight refer to it */
        return false;
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

struct lm_stmt *
lm_conn_find_prepared(struct lm_conn *self, const char *sql)
{
    return lm_stmt_cache_find(&self->statements, sql, NULL, 0);
}

bool
lm_conn_forget(struct lm_conn *self, struct lm_err *err)
{
    if (!lm_conn_flush(self, err)) /* requests in flight refer to them */
        return false;
    lm_stmt_cache_clear(&self->statements);
    return lm_conn_command(self, "DEALLOCATE ALL", err);
}

bool
lm_conn_execute(struct lm_conn *self, const struct lm_stmt *stmt,
                struct lm_values values, struct lm_result **out,
                struct lm_err *err)
{
    PGresult *result = NULL;
    int sent = PQsendQueryPrepared(self->pg, stmt->name, values.count,
                                   values.texts, NULL, NULL, 0);

    if (!ask(self, sent, stmt->sql, &result, err)) {
        PQclear(result); /* it may have come before the end did */
        return false;
    }
    *out = wrap_result(result);
    return true;
}

bool
lm_conn_post(struct lm_conn *self, const struct lm_stmt *stmt,
             struct lm_values values, lm_conn_listener listener, void *arg,
             struct lm_err *err)
{
    struct lm_pending request = {
        .sql = stmt->sql, .listener = listener, .arg = arg};
    int sent = PQsendQueryPrepared(self->pg, stmt->name, values.count,
                                   values.texts, NULL, NULL, 0);

    return lm_pipeline_post(self, sent, request, err);
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
