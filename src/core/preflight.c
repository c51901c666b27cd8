/* SPDX-License-Identifier: MIT */
/*
 * What can be known before the first row: the server, the base query's
 * columns, and whether the key is NOT NULL and unique.
 *
 * Two witnesses are heard: the server, which says from which table column an
 * output column comes and what its catalog holds of it, and the parse tree,
 * which says whether the query keeps what the table promises. Neither is
 * enough alone. Nothing is proved by looking at rows: there may be others
 * tomorrow.
 */

#include "core/preflight.h"

#include "base/log.h"
#include "base/text.h"
#include "pg/query.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_SERVER_VERSION = 130000, MAX_VIEW_DEPTH = 8 };

bool
lm_preflight_server(struct lm_conn *conn, struct lm_err *err)
{
    static const char sql[] =
        "SELECT pg_catalog.pg_is_in_recovery(),"
        " pg_catalog.current_setting('default_transaction_read_only') = 'on'";
    struct lm_values none = {NULL, 0};
    struct lm_result *result = NULL;
    bool in_recovery;
    bool read_only;

    if (lm_conn_server_version(conn) < MIN_SERVER_VERSION) {
        return lm_err_set(err, LM_ERR_CONNECT,
                          "the server is of version %d; luamig needs "
                          "PostgreSQL 13 or newer",
                          lm_conn_server_version(conn) / 10000);
    }
    if (!lm_conn_query(conn, sql, none, &result, err))
        return false;
    in_recovery = lm_result_bool(result, 0, 0);
    read_only = lm_result_bool(result, 0, 1);
    lm_result_free(result);
    if (!in_recovery && !read_only)
        return true;
    lm_err_set(err, LM_ERR_CONNECT, "the server at %s is read-only",
               lm_conn_target(conn));
    lm_err_detail(err, "%s",
                  in_recovery ? "It is in recovery: a standby, or a server "
                                "that is still starting."
                              : "default_transaction_read_only is on.");
    lm_err_hint(err, "Connect to the primary, for example with "
                     "target_session_attrs=read-write in the URL.");
    return false;
}

/* -- columns ---------------------------------------------------------- */

static void
free_texts(char **texts, int count)
{
    for (int i = 0; texts != NULL && i < count; i++)
        free(texts[i]);
    free(texts);
}

void
lm_base_query_release(struct lm_base_query *self)
{
    free(self->sql);
    free_texts(self->params, self->param_count);
    free(self->param_types);
    free_texts(self->columns, self->column_count);
    free_texts(self->key, self->key_count);
    free(self->key_index);
    free(self->key_types);
    free_texts(self->table_key, self->key_count);
    memset(self, 0, sizeof *self);
}

static bool
fail_script(struct lm_err *err, const char *context)
{
    if (err->kind == LM_ERR_DATABASE)
        err->kind = LM_ERR_SCRIPT;
    lm_err_prefix(err, "%s", context);
    return false;
}

static bool
take_params(struct lm_base_query *out, const struct lm_stmt *stmt,
            const char *const *params, int count, struct lm_err *err)
{
    if (lm_stmt_param_count(stmt) != count) {
        lm_err_set(err, LM_ERR_SCRIPT,
                   "the base query has %d parameters, but %d values are given",
                   lm_stmt_param_count(stmt), count);
        lm_err_hint(err, "Return them after the SQL: base_query = "
                         "function(args) return sql, args.tenant end.");
        return false;
    }
    out->param_count = count;
    out->params = lm_calloc((size_t)count, sizeof *out->params);
    out->param_types = lm_calloc((size_t)count, sizeof *out->param_types);
    for (int i = 0; i < count; i++) {
        out->params[i] = params[i] != NULL ? lm_strdup(params[i]) : NULL;
        out->param_types[i] = lm_stmt_param_type(stmt, i);
    }
    return true;
}

static int
find_text(char **texts, int count, const char *text)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(texts[i], text) == 0)
            return i;
    }
    return -1;
}

static bool
take_columns(struct lm_base_query *out, const struct lm_stmt *stmt,
             struct lm_err *err)
{
    int count = lm_stmt_column_count(stmt);

    out->columns = lm_calloc((size_t)count, sizeof *out->columns);
    for (int i = 0; i < count; i++) {
        const char *name = lm_stmt_column(stmt, i)->name;

        if (find_text(out->columns, out->column_count, name) >= 0) {
            lm_err_set(err, LM_ERR_SCRIPT,
                       "the base query returns two columns named \"%s\"", name);
            lm_err_hint(err, "Give one of them another name with AS.");
            return false;
        }
        out->columns[out->column_count++] = lm_strdup(name);
    }
    return true;
}

static bool
fail_no_key(const struct lm_base_query *query, const char *name,
            struct lm_err *err)
{
    int nearest = lm_text_nearest(name, (const char *const *)query->columns,
                                  (size_t)query->column_count);

    lm_err_set(err, LM_ERR_SCRIPT,
               "the base query does not return the key column \"%s\"", name);
    if (nearest >= 0) {
        lm_err_detail(err, "It returns \"%s\": did you mean that?",
                      query->columns[nearest]);
    }
    lm_err_hint(err, "Add it to the select list, or name the key with "
                     "config.key.");
    return false;
}

static bool
take_key(struct lm_base_query *out, const struct lm_stmt *stmt,
         const char *const *key, int count, struct lm_err *err)
{
    out->key = lm_calloc((size_t)count, sizeof *out->key);
    out->key_index = lm_calloc((size_t)count, sizeof *out->key_index);
    out->key_types = lm_calloc((size_t)count, sizeof *out->key_types);
    for (int i = 0; i < count; i++) {
        int index = find_text(out->columns, out->column_count, key[i]);

        if (index < 0)
            return fail_no_key(out, key[i], err);
        out->key[i] = lm_strdup(key[i]);
        out->key_count = i + 1;
        out->key_index[i] = index;
        out->key_types[i] = lm_stmt_column(stmt, index)->type;
    }
    return true;
}

/* -- proofs ----------------------------------------------------------- */

/* Where an output column comes from. */
struct origin {
    uint32_t table;
    int attnum;
    char relation[200];
    char column[200];
    bool not_null;
    char *view; /* its definition when it is a view; owned */
};

static bool
find_origin(struct lm_conn *conn, uint32_t table, int attnum,
            struct origin *out, struct lm_err *err)
{
    static const char sql[] =
        "SELECT c.relname, a.attname, a.attnotnull AND NOT EXISTS ("
        "  SELECT FROM pg_catalog.pg_constraint n WHERE n.conrelid = c.oid"
        "  AND n.contype = 'n' AND n.conkey = ARRAY[a.attnum]"
        "  AND NOT n.convalidated),"
        " CASE WHEN c.relkind = 'v'"
        "  THEN pg_catalog.pg_get_viewdef(c.oid) END"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a"
        " ON a.attrelid = c.oid"
        " WHERE c.oid = $1::pg_catalog.oid AND a.attnum = $2::int2";
    char table_text[16];
    char attnum_text[16];
    const char *texts[] = {table_text, attnum_text};
    struct lm_values values = {texts, 2};
    struct lm_result *result = NULL;

    memset(out, 0, sizeof *out);
    snprintf(table_text, sizeof table_text, "%" PRIu32, table);
    snprintf(attnum_text, sizeof attnum_text, "%d", attnum);
    if (!lm_conn_query(conn, sql, values, &result, err))
        return false;
    if (lm_result_rows(result) == 1) {
        const char *view = lm_result_text(result, 0, 3);

        out->table = table;
        out->attnum = attnum;
        LM_ERR_COPY(out->relation, lm_result_text(result, 0, 0));
        LM_ERR_COPY(out->column, lm_result_text(result, 0, 1));
        out->not_null = lm_result_bool(result, 0, 2);
        out->view = view != NULL ? lm_strdup(view) : NULL;
    }
    lm_result_free(result);
    return true;
}

static bool prove_not_null(struct lm_conn *conn,
                           const struct lm_query_shape *shape,
                           const struct lm_column *column, int depth,
                           bool *proved, struct lm_err *err);

/* A view's column is NOT NULL when its definition says so. */
static bool
prove_in_view(struct lm_conn *conn, const char *definition, int attnum,
              int depth, bool *proved, struct lm_err *err)
{
    struct lm_query_shape shape;
    struct lm_column column;
    struct lm_stmt *stmt;
    struct lm_err ignored;
    bool ok = true;

    if (depth >= MAX_VIEW_DEPTH ||
        !lm_query_inspect(definition, &shape, &ignored))
        return true;
    if (lm_conn_prepare(conn, shape.text, NULL, 0, &stmt, &ignored) &&
        attnum <= lm_stmt_column_count(stmt)) {
        column = *lm_stmt_column(stmt, attnum - 1);
        column.name = lm_strdup(column.name);
        ok = prove_not_null(conn, &shape, &column, depth + 1, proved, err);
        free(column.name);
    }
    lm_query_release(&shape);
    return ok;
}

static bool
prove_not_null(struct lm_conn *conn, const struct lm_query_shape *shape,
               const struct lm_column *column, int depth, bool *proved,
               struct lm_err *err)
{
    struct origin origin;
    bool ok = true;

    *proved = lm_query_column_excludes_null(shape, column->name);
    if (*proved || column->table == 0)
        return true;
    if (!find_origin(conn, column->table, column->table_column, &origin, err))
        return false;
    if (lm_query_keeps_not_null(shape, column->name, origin.relation)) {
        *proved = origin.not_null;
        if (origin.view != NULL) {
            ok = prove_in_view(conn, origin.view, origin.attnum, depth, proved,
                               err);
        }
    }
    free(origin.view);
    return ok;
}

static bool
check_not_null(struct lm_conn *conn, const struct lm_query_shape *shape,
               const struct lm_column *column, struct lm_err *err)
{
    bool proved = false;

    if (!prove_not_null(conn, shape, column, 0, &proved, err))
        return false;
    if (proved)
        return true;
    lm_err_set(err, LM_ERR_SCRIPT, "the key column \"%s\" may be NULL",
               column->name);
    lm_err_detail(err, "Rows with a NULL key would be passed over in "
                       "silence: no key comparison ever finds them.");
    lm_err_hint(err,
                "Add \"WHERE %s IS NOT NULL\" to the base query if they "
                "are to be left out, declare the column NOT NULL, or name "
                "another key with config.key.",
                column->name);
    return false;
}

/* Is there an index that makes the attnums of table, or some of them, unique
 * at any time, by the equality that the key comparison uses? */
static bool
prove_unique(struct lm_conn *conn, uint32_t table, const char *attnums,
             bool from_only, bool *proved, struct lm_err *err)
{
    static const char sql[] =
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_index i"
        "  WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid"
        "  AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL"
        "  AND NOT EXISTS (SELECT FROM"
        "   ROWS FROM (unnest(i.indkey::int2[]), unnest(i.indcollation"
        "    ::oid[])) AS k (attnum, coll)"
        "   JOIN pg_catalog.pg_attribute a"
        "   ON a.attrelid = c.oid AND a.attnum = k.attnum"
        "   WHERE k.coll IS NOT NULL AND (k.attnum <> ALL ($2::int2[])"
        "    OR k.coll <> a.attcollation)))"
        " AND (c.relkind = 'p' OR $3 OR NOT EXISTS ("
        "  SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid))"
        " FROM pg_catalog.pg_class c WHERE c.oid = $1::pg_catalog.oid";
    char table_text[16];
    const char *texts[] = {table_text, attnums, from_only ? "t" : "f"};
    struct lm_values values = {texts, 3};
    struct lm_result *result = NULL;

    snprintf(table_text, sizeof table_text, "%" PRIu32, table);
    if (!lm_conn_query(conn, sql, values, &result, err))
        return false;
    *proved = lm_result_rows(result) == 1 && lm_result_bool(result, 0, 0);
    lm_result_free(result);
    return true;
}

/* Notes where the key comes from, when all of it comes from one table, and
 * whether it is unique there and in the query. */
static bool
trace_key(struct lm_conn *conn, const struct lm_query_shape *shape,
          const struct lm_column *columns, struct lm_base_query *out,
          struct lm_err *err)
{
    struct lm_buf attnums = LM_BUF_INIT;
    bool ok = true;

    for (int i = 0; i < out->key_count; i++) {
        if (columns[i].table == 0 || columns[i].table != columns[0].table)
            return true;
    }
    out->table = columns[0].table;
    out->table_key = lm_calloc((size_t)out->key_count, sizeof *out->table_key);
    for (int i = 0; ok && i < out->key_count; i++) {
        struct origin origin;

        ok = find_origin(conn, out->table, columns[i].table_column, &origin,
                         err);
        if (!ok)
            break;
        out->table_key[i] = lm_strdup(origin.column);
        free(origin.view);
        lm_buf_printf(&attnums, "%s%d", i > 0 ? "," : "{",
                      columns[i].table_column);
    }
    lm_buf_putc(&attnums, '}');
    if (ok && !out->key_is_unique && lm_query_keeps_unique(shape)) {
        ok = prove_unique(conn, out->table, lm_buf_text(&attnums),
                          lm_query_from_only(shape), &out->key_is_unique, err);
    }
    lm_buf_release(&attnums);
    return ok;
}

static bool
prove_key(struct lm_conn *conn, const struct lm_query_shape *shape,
          const struct lm_column *columns, struct lm_base_query *out,
          struct lm_err *err)
{
    for (int i = 0; i < out->key_count; i++) {
        if (!check_not_null(conn, shape, &columns[i], err))
            return false;
    }
    return trace_key(conn, shape, columns, out, err);
}

/* The statement may be evicted while proofs are made, so what it says of the
 * key columns is copied; the names are the base query's own. */
static struct lm_column *
copy_key_columns(const struct lm_base_query *query, const struct lm_stmt *stmt)
{
    struct lm_column *columns =
        lm_calloc((size_t)query->key_count, sizeof *columns);

    for (int i = 0; i < query->key_count; i++) {
        columns[i] = *lm_stmt_column(stmt, query->key_index[i]);
        columns[i].name = query->key[i];
    }
    return columns;
}

bool
lm_preflight_query(struct lm_conn *conn, const char *sql,
                   const char *const *params, int param_count,
                   const char *const *key, int key_count, bool assume_unique,
                   struct lm_base_query *out, struct lm_err *err)
{
    struct lm_query_shape shape;
    struct lm_column *columns = NULL;
    struct lm_stmt *stmt;
    bool ok = false;

    memset(out, 0, sizeof *out);
    if (!lm_query_inspect(sql, &shape, err))
        return false;
    if (!shape.parsed) {
        lm_log(LM_LOG_DEBUG, "the base query could not be parsed here; the "
                             "server decides");
    }
    out->sql = lm_strdup(shape.text);
    out->key_is_unique = assume_unique;
    if (!lm_conn_prepare(conn, out->sql, NULL, 0, &stmt, err)) {
        fail_script(err, "the server refuses the base query");
        goto out;
    }
    if (!take_params(out, stmt, params, param_count, err) ||
        !take_columns(out, stmt, err) ||
        !take_key(out, stmt, key, key_count, err))
        goto out;
    columns = copy_key_columns(out, stmt);
    ok = prove_key(conn, &shape, columns, out, err);
out:
    free(columns);
    lm_query_release(&shape);
    return ok;
}
