/* SPDX-License-Identifier: MIT */
/*
 * The connection: prepares and sends statements, and reads results. connect.c
 * makes the connection, pipeline.c carries requests and answers.
 *
 * Owns the PGconn and the prepared statements. Nothing here retries or
 * reconnects: only the runner knows whether that is safe.
 */

#include "base/log.h"
#include "pg/conn/own.h"
#include "pg/conn/private.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OFTEN = 3 }; /* how many uses make a statement worth keeping */

void
lm_conn_close(struct lm_conn *self)
{
    if (self == NULL)
        return;
    lm_pipeline_drop(self);
    lm_stmt_cache_release(&self->statements);
    free(self->queue);
    PQfinish(self->pg);
    free(self->target);
    free(self->conninfo);
    free(self->path);
    free(self);
}

bool
lm_conn_is_up(const struct lm_conn *self)
{
    return PQstatus(self->pg) == CONNECTION_OK;
}

int
lm_conn_server_version(const struct lm_conn *self)
{
    return PQserverVersion(self->pg);
}

const char *
lm_conn_setting(const struct lm_conn *self, const char *name)
{
    return PQparameterStatus(self->pg, name);
}

const char *
lm_conn_database(const struct lm_conn *self)
{
    return PQdb(self->pg);
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
lm_conn_set_statement_limit(struct lm_conn *self, int64_t limit_ms)
{
    self->deadline_ms = limit_ms > 0 ? limit_ms + self->silence_ms : 0;
}

void
lm_conn_set_idle_limit(struct lm_conn *self, int64_t limit_ms)
{
    self->idle_limit_ms = limit_ms;
    self->idled_ms = 0;
}

bool
lm_conn_ran_own(const struct lm_conn *self)
{
    return self->own_txn;
}

int64_t
lm_conn_idled_ms(const struct lm_conn *self)
{
    return self->idled_ms;
}

void
lm_conn_limit_answer(struct lm_conn *self, size_t bytes)
{
    self->answer_limit = bytes;
}

void
lm_conn_set_interruptible(struct lm_conn *self, bool interruptible)
{
    self->interruptible = interruptible;
}

bool
lm_conn_is_pooled(const struct lm_conn *self)
{
    return self->pooled;
}

bool
lm_conn_is_citus(const struct lm_conn *self)
{
    return self->citus;
}

uint64_t
lm_conn_next_number(void)
{
    static atomic_uint_least64_t last;

    return atomic_fetch_add(&last, 1) + 1;
}

uint64_t
lm_conn_serial(const struct lm_conn *self)
{
    return self->serial;
}

uint64_t
lm_conn_transaction(const struct lm_conn *self)
{
    return self->transaction;
}

int64_t
lm_conn_backend_pid(const struct lm_conn *self)
{
    return self->backend_pid;
}

/* -- behind a pooler -------------------------------------------------- */

/*
 * What other clients of the pooler have set in the session, such as a role or
 * a search path, is set back for this transaction. What poolers themselves
 * hand on from client to client stays. A block, because SET LOCAL by itself
 * warns in the implicit transaction of a statement.
 */
static const char defaults_sql[] =
    "DO $luamig$ BEGIN"
    " SET LOCAL search_path = " LM_OWN_PATH ";"
    " SET LOCAL session_authorization TO DEFAULT;"
    " SET LOCAL role TO DEFAULT;"
    " PERFORM pg_catalog.set_config(name, reset_val, true)"
    "  FROM pg_catalog.pg_settings WHERE source = 'session'"
    "  AND context IN ('user', 'superuser') AND setting <> reset_val"
    "  AND name NOT LIKE 'transaction%' AND name NOT IN ('search_path',"
    "   'application_name', 'client_encoding', 'DateStyle', 'TimeZone',"
    "   'standard_conforming_strings');"
    " SET LOCAL search_path TO DEFAULT;"
    " END $luamig$";

bool
lm_conn_post_defaults(struct lm_conn *self, struct lm_err *err)
{
    struct lm_pending request = {.sql = defaults_sql};
    int sent;

    if (!self->pooled)
        return true;
    sent =
        PQsendQueryParams(self->pg, defaults_sql, 0, NULL, NULL, NULL, NULL, 0);
    return lm_pipeline_queue(self, sent, request, err);
}

static bool
post_path(struct lm_conn *self, const char *sql, const char *path,
          struct lm_err *err)
{
    struct lm_pending request = {.sql = sql};
    int sent = PQsendQueryParams(self->pg, sql, 1, NULL, &path, NULL, NULL, 0);

    return lm_pipeline_queue(self, sent, request, err);
}

bool
lm_conn_post_path(struct lm_conn *self, const char *path, struct lm_err *err)
{
    return post_path(self,
                     "SELECT pg_catalog.set_config('search_path', $1, true)",
                     path, err);
}

bool
lm_conn_post_alone(struct lm_conn *self, const char *path, struct lm_err *err)
{
    return post_path(self,
                     "SELECT pg_catalog.set_config('search_path', $1, true),"
                     " pg_catalog.set_config('statement_timeout', '0', true)",
                     path, err);
}

void
lm_conn_set_path(struct lm_conn *self, const char *path)
{
    free(self->path);
    self->path = path != NULL ? lm_strdup(path) : NULL;
}

/* Outside of a transaction, a statement and what is queued here make up an
 * implicit one, up to the next sync. */
static bool
begin_alone(struct lm_conn *self, struct lm_err *err)
{
    const char *path = self->own_alone ? LM_OWN_PATH : self->path;

    if (self->count > 0 || lm_conn_has_transaction(self))
        return true;
    return lm_conn_post_defaults(self, err) &&
           (path == NULL || lm_conn_post_alone(self, path, err));
}

/* -- statements ------------------------------------------------------- */

void
lm_conn_log_server_message(const struct lm_conn *self, enum lm_log_level level,
                           const char *text)
{
    if (!self->quiet)
        lm_log(level, "server: %s", text);
}

/* A request whose result the caller waits for. */
static bool
ask(struct lm_conn *self, int sent, struct lm_pending request,
    struct lm_err *err)
{
    if (lm_pipeline_post(self, sent, request, err)) {
        return lm_pipeline_sync(self, err) &&
               (request.keep == NULL ||
                lm_answer_is_there(*request.keep, request.sql, err));
    }
    lm_conn_drain(self);
    return false;
}

bool
lm_conn_command(struct lm_conn *self, const char *sql, struct lm_err *err)
{
    struct lm_pending request = {.sql = sql};

    lm_conn_leave_ahead(self);
    return ask(self,
               PQsendQueryParams(self->pg, sql, 0, NULL, NULL, NULL, NULL, 0),
               request, err);
}

bool
lm_conn_post_command(struct lm_conn *self, const char *sql, struct lm_err *err)
{
    struct lm_pending request = {.sql = NULL}; /* the caller's text may go */

    lm_conn_leave_ahead(self);
    return lm_pipeline_post(
        self, PQsendQueryParams(self->pg, sql, 0, NULL, NULL, NULL, NULL, 0),
        request, err);
}

bool
lm_conn_script(struct lm_conn *self, const char *sql, struct lm_err *err)
{
    return lm_conn_flush(self, err) && lm_pipeline_script(self, sql, err);
}

bool
lm_conn_flush(struct lm_conn *self, struct lm_err *err)
{
    lm_conn_leave_ahead(self);
    if (self->count == 0 && !self->failed && lm_conn_is_up(self))
        return true;
    return lm_pipeline_sync(self, err);
}

/* Runs a statement once. */
static bool
query(struct lm_conn *self, const char *sql, const char *shape,
      const uint32_t *types, struct lm_values values, PGresult **out,
      struct lm_err *err)
{
    const char *text = lm_own_text(sql);
    struct lm_pending request = {.sql = text, .shape = shape, .keep = out};
    bool ok = lm_own_begin(self, sql, values, err) && begin_alone(self, err);

    ok = ok && ask(self,
                   PQsendQueryParams(self->pg, text, values.count, types,
                                     values.texts, NULL, NULL, 0),
                   request, err);
    if (lm_own_end(self, sql, ok, err))
        return true;
    PQclear(*out); /* it may have come before the end did */
    return false;
}

bool
lm_conn_ask_typed(struct lm_conn *self, const char *sql, const char *shape,
                  const uint32_t *types, struct lm_values values,
                  struct lm_answer **out, struct lm_err *err)
{
    PGresult *result = NULL;

    if (!query(self, sql, shape, types, values, &result, err))
        return false;
    *out = lm_answer_new(result, sql, shape);
    return true;
}

bool
lm_conn_ask(struct lm_conn *self, const char *sql, const char *shape,
            struct lm_values values, struct lm_answer **out, struct lm_err *err)
{
    return lm_conn_ask_typed(self, sql, shape, NULL, values, out, err);
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
        stmt->columns[i].modifier = PQfmod(result, i);
    }
}

/* Behind a pooler every statement is the unnamed one. */
static const char *
name_on_server(const struct lm_conn *self, const struct lm_stmt *stmt)
{
    return self->pooled ? "" : stmt->name;
}

/*
 * Some versions of libpq take the description of more parameters than 7,498,
 * a message of more than 30,000 bytes, for nonsense, and end the connection.
 * That would happen again on another one.
 */
static bool
explain_unread(const char *sql, struct lm_err *err)
{
    int version = PQlibVersion();

    if (err->kind != LM_ERR_LOST ||
        strstr(err->detail, "got message type \"t\"") == NULL)
        return false;
    lm_err_set(err, LM_ERR_FAILED,
               "libpq %d.%d cannot read the server's description of a "
               "statement with so many parameters",
               version / 10000, version % 10000);
    LM_ERR_COPY(err->sql, sql);
    lm_err_hint(err, "Pass one array, as in \"id = ANY ($1::bigint[])\", use "
                     "at most 7498 parameters, or install a later libpq.");
    return false;
}

static bool
parse_and_describe(struct lm_conn *self, struct lm_stmt *stmt,
                   const uint32_t *types, int type_count, struct lm_err *err)
{
    const char *text = lm_own_text(stmt->sql);
    struct lm_pending parse = {.sql = text};
    const char *name = name_on_server(self, stmt);
    PGresult *result = NULL;
    struct lm_pending request = {.sql = text, .keep = &result};
    bool ok = lm_own_begin(self, stmt->sql, LM_NO_VALUES, err) &&
              begin_alone(self, err);

    if (ok) {
        int sent = PQsendPrepare(self->pg, name, text, type_count, types);

        sent = sent != 0 && lm_pipeline_queue(self, sent, parse, err) &&
               PQsendDescribePrepared(self->pg, name) != 0;
        ok = ask(self, sent, request, err);
    }
    ok = lm_own_end(self, stmt->sql, ok, err);
    if (ok)
        describe(stmt, result);
    stmt->kept = ok;
    PQclear(result);
    return ok || explain_unread(text, err);
}

/* The types are those of the description, as they would be in a statement that
 * the server keeps. */
static int
send_execute(struct lm_conn *self, const struct lm_stmt *stmt,
             struct lm_values values)
{
    if (self->pooled || !stmt->kept) {
        return PQsendQueryParams(self->pg, lm_own_text(stmt->sql), values.count,
                                 stmt->param_types, values.texts, NULL, NULL,
                                 0);
    }
    return PQsendQueryPrepared(self->pg, stmt->name, values.count, values.texts,
                               NULL, NULL, 0);
}

/* A COMMIT in flight is to be answered first. */
static bool
may_wait(const struct lm_conn *self, struct lm_err *err)
{
    return !self->behind ||
           lm_err_set(err, LM_ERR_INTERNAL,
                      "a statement cannot be prepared behind COMMIT");
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
    if (!may_wait(self, err))
        return false;
    if (!lm_conn_flush(self, err)) /* requests in flight refer to it */
        return false;
    snprintf(sql, sizeof sql, "DEALLOCATE %s", old->name);
    ok = self->pooled || !old->kept || lm_conn_command(self, sql, err);
    lm_stmt_cache_drop(&self->statements, old);
    return ok;
}

/* Finds the statement in the cache, or adds it there. */
static bool
find_or_add(struct lm_conn *self, const char *sql, const uint32_t *types,
            int type_count, struct lm_stmt **out, struct lm_err *err)
{
    *out = lm_stmt_cache_find(&self->statements, sql, types, type_count);
    if (*out == NULL) {
        if (!evict(self, err))
            return false;
        *out = lm_stmt_cache_add(&self->statements, sql, types, type_count);
    }
    return true;
}

/* Has the server keep and describe a statement that it does not have. */
static bool
keep(struct lm_conn *self, struct lm_stmt *stmt, const uint32_t *types,
     int type_count, struct lm_err *err)
{
    if (stmt->kept)
        return true;
    if (!may_wait(self, err))
        return false;
    if (parse_and_describe(self, stmt, types, type_count, err))
        return true;
    lm_stmt_cache_drop(&self->statements, stmt);
    return false;
}

bool
lm_conn_prepare(struct lm_conn *self, const char *sql, const uint32_t *types,
                int type_count, struct lm_stmt **out, struct lm_err *err)
{
    return find_or_add(self, sql, types, type_count, out, err) &&
           keep(self, *out, types, type_count, err);
}

static void
on_parsed(void *arg, const struct lm_result *result, struct lm_err *err)
{
    struct lm_stmt *stmt = arg;

    (void)err;
    stmt->kept = result != NULL;
    stmt->times = 0;
}

/* Has the server keep a statement, from its answer on, without waiting for it.
 */
static bool
keep_later(struct lm_conn *self, struct lm_stmt *stmt, struct lm_err *err)
{
    const char *text = lm_own_text(stmt->sql);
    struct lm_pending request = {
        .sql = text, .listener = on_parsed, .arg = stmt};
    bool ok = lm_own_begin(self, stmt->sql, LM_NO_VALUES, err) &&
              lm_pipeline_post(
                  self, PQsendPrepare(self->pg, stmt->name, text, 0, NULL),
                  request, err);

    return lm_own_end(self, stmt->sql, ok, err);
}

bool
lm_conn_prepare_rare(struct lm_conn *self, const char *sql,
                     struct lm_stmt **out, struct lm_err *err)
{
    if (!find_or_add(self, sql, NULL, 0, out, err))
        return false;
    if (self->pooled || (*out)->kept || ++(*out)->times < OFTEN)
        return true;
    return self->behind ? keep_later(self, *out, err)
                        : keep(self, *out, NULL, 0, err);
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
    return self->pooled || lm_conn_command(self, "DEALLOCATE ALL", err);
}

static bool
execute(struct lm_conn *self, const struct lm_stmt *stmt, const char *shape,
        struct lm_values values, PGresult **out, struct lm_err *err)
{
    struct lm_pending request = {
        .sql = lm_own_text(stmt->sql), .shape = shape, .keep = out};
    bool ok = lm_own_begin(self, stmt->sql, values, err) &&
              begin_alone(self, err) &&
              ask(self, send_execute(self, stmt, values), request, err);

    if (lm_own_end(self, stmt->sql, ok, err))
        return true;
    PQclear(*out); /* it may have come before the end did */
    return false;
}

static struct lm_result *
wrap_result(PGresult *pg)
{
    struct lm_result *result = lm_alloc(sizeof *result);

    result->pg = pg;
    return result;
}

bool
lm_conn_execute(struct lm_conn *self, const struct lm_stmt *stmt,
                struct lm_values values, struct lm_result **out,
                struct lm_err *err)
{
    PGresult *result = NULL;

    if (!execute(self, stmt, NULL, values, &result, err))
        return false;
    *out = wrap_result(result);
    return true;
}

bool
lm_conn_ask_prepared(struct lm_conn *self, const struct lm_stmt *stmt,
                     const char *shape, struct lm_values values,
                     struct lm_answer **out, struct lm_err *err)
{
    PGresult *result = NULL;

    if (!execute(self, stmt, shape, values, &result, err))
        return false;
    *out = lm_answer_new(result, stmt->sql, shape);
    return true;
}

static bool
post(struct lm_conn *self, const struct lm_stmt *stmt, struct lm_values values,
     struct lm_pending request, struct lm_err *err)
{
    bool ok =
        lm_own_begin(self, stmt->sql, values, err) &&
        lm_pipeline_post(self, send_execute(self, stmt, values), request, err);

    return lm_own_end(self, stmt->sql, ok, err);
}

bool
lm_conn_post(struct lm_conn *self, const struct lm_stmt *stmt,
             struct lm_values values, lm_conn_listener listener, void *arg,
             struct lm_err *err)
{
    struct lm_pending request = {
        .sql = lm_own_text(stmt->sql), .listener = listener, .arg = arg};

    return post(self, stmt, values, request, err);
}

bool
lm_conn_post_query(struct lm_conn *self, const struct lm_stmt *stmt,
                   struct lm_values values, struct lm_result **out,
                   struct lm_err *err)
{
    struct lm_pending request = {.sql = lm_own_text(stmt->sql)};

    *out = wrap_result(NULL);
    request.keep = &(*out)->pg;
    if (post(self, stmt, values, request, err))
        return true;
    if (!self->behind)
        lm_conn_drain(self); /* the caller frees what the answer goes to */
    return false;
}

bool
lm_conn_await(struct lm_conn *self, const struct lm_result *result,
              const char *sql, struct lm_err *err)
{
    return lm_conn_flush(self, err) && lm_answer_is_there(result->pg, sql, err);
}

bool
lm_conn_post_question(struct lm_conn *self, const struct lm_stmt *stmt,
                      const char *shape, struct lm_values values,
                      lm_conn_answer_listener answer_listener, void *arg,
                      struct lm_err *err)
{
    struct lm_pending request = {.sql = lm_own_text(stmt->sql),
                                 .shape = shape,
                                 .answer_listener = answer_listener,
                                 .arg = arg};

    return post(self, stmt, values, request, err);
}
