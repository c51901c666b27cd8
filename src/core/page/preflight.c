/* SPDX-License-Identifier: MIT */
/*
 * What can be known before the first row: the server, the base query's
 * columns, and whether the key is NOT NULL and unique.
 *
 * There are two sources. The server says from which table column an output
 * column comes, and what the catalog says about that column. The parse tree
 * says whether the query keeps what the table promises. Neither is enough
 * alone. Rows prove nothing, because there may be other rows tomorrow.
 */

#include "core/page/preflight_private.h"

#include "base/text.h"
#include "pg/conn/own.h"
#include "pg/query/query.h"
#include "pg/sql/sql.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIN_SERVER_VERSION = 130000, MAX_VIEW_DEPTH = 8 };

bool
lm_preflight_identity(struct lm_conn *conn, char *text, size_t size,
                      struct lm_err *err)
{
    static const char sql[] = LM_OWN "SELECT system_identifier::text"
                                     " FROM pg_catalog.pg_control_system()";
    struct lm_answer *result = NULL;

    text[0] = '\0';
    if (!lm_conn_ask(conn, sql, "1: t", LM_NO_VALUES, &result, err))
        return err->kind == LM_ERR_DATABASE && lm_err_is_state(err, "42");
    snprintf(text, size, "%s", lm_answer_text(result, 0, 0));
    lm_answer_free(result);
    return true;
}

/* A node of Citus has all tables too, but the journal is the coordinator's. */
static bool
check_node(struct lm_conn *conn, struct lm_err *err)
{
    static const char sql[] =
        LM_OWN "SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_local_group"
               "  WHERE groupid <> 0), (SELECT nodename || ':' || nodeport"
               "  FROM pg_catalog.pg_dist_node WHERE groupid = 0"
               "  AND noderole = 'primary')";
    struct lm_answer *row = NULL;
    bool is_node;

    if (!lm_conn_is_citus(conn))
        return true;
    if (!lm_conn_ask(conn, sql, "1: b t?", LM_NO_VALUES, &row, err))
        return false;
    is_node = lm_answer_bool(row, 0, 0);
    if (is_node) {
        lm_err_set(err, LM_ERR_CONNECT,
                   "the server at %s is a node of Citus, not the coordinator",
                   lm_conn_target(conn));
        lm_err_hint(err, "Connect to the coordinator: %s.",
                    lm_answer_text_or(row, 0, 1,
                                      "its address is not known "
                                      "here"));
    }
    lm_answer_free(row);
    return !is_node;
}

bool
lm_preflight_version(struct lm_conn *conn, struct lm_err *err)
{
    return lm_conn_server_version(conn) >= MIN_SERVER_VERSION ||
           lm_err_set(
               err, LM_ERR_CONNECT,
               "the server has version %d; luamig needs PostgreSQL 13 or newer",
               lm_conn_server_version(conn) / 10000);
}

bool
lm_preflight_server(struct lm_conn *conn, struct lm_err *err)
{
    static const char sql[] = LM_OWN
        "SELECT pg_catalog.pg_is_in_recovery(),"
        " pg_catalog.current_setting('default_transaction_read_only') = 'on'";
    struct lm_answer *result = NULL;
    bool in_recovery;
    bool read_only;

    if (!lm_preflight_version(conn, err) ||
        !lm_conn_ask(conn, sql, "1: b b", LM_NO_VALUES, &result, err))
        return false;
    in_recovery = lm_answer_bool(result, 0, 0);
    read_only = lm_answer_bool(result, 0, 1);
    lm_answer_free(result);
    if (!in_recovery && !read_only)
        return check_node(conn, err);
    lm_err_set(err, LM_ERR_CONNECT, "the server at %s is read-only",
               lm_conn_target(conn));
    lm_err_detail(err, "%s",
                  in_recovery ? "It is in recovery: a standby, or a server "
                                "that is still starting."
                              : "default_transaction_read_only is on.");
    lm_err_hint(err, "%s",
                in_recovery ? "Connect to the primary, for example with "
                              "target_session_attrs=read-write in the URL."
                            : "The server, the database or the role sets it: "
                              "use another role, or ALTER ROLE ... SET "
                              "default_transaction_read_only = off.");
    return false;
}

/* -- columns ---------------------------------------------------------- */

void
lm_base_query_release(struct lm_base_query *self)
{
    free(self->sql);
    lm_free_texts(self->params, self->param_count);
    free(self->param_types);
    lm_free_texts(self->columns, self->column_count);
    lm_free_texts(self->key, self->key_count);
    free(self->key_index);
    free(self->key_types);
    free(self->key_origins);
    for (int i = 0; self->order != NULL && i < self->key_count; i++)
        lm_order_release(&self->order[i]);
    free(self->order);
    for (int i = 0; i < self->source_count; i++)
        free(self->sources[i].column);
    free(self->sources);
    free(self->key_source);
    free(self->volatile_calls);
    memset(self, 0, sizeof *self);
}

static bool
fail_script(struct lm_err *err, const char *context)
{
    if (err->kind == LM_ERR_DATABASE)
        err->kind = LM_ERR_SCRIPT;
    return lm_err_prefix(err, "%s", context);
}

static bool
take_params(struct lm_base_query *out, const struct lm_stmt *stmt,
            const char *const *params, int count, struct lm_err *err)
{
    if (lm_stmt_param_count(stmt) != count) {
        lm_err_set(err, LM_ERR_SCRIPT,
                   "the base query has %d parameters, but %d values are given",
                   lm_stmt_param_count(stmt), count);
        return lm_err_hint(err, "Return them after the SQL: base_query = "
                                "function(args) return sql, args.tenant end.");
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
            return lm_err_hint(err, "Give one of them another name with AS.");
        }
        out->columns[out->column_count++] = lm_strdup(name);
    }
    return true;
}

static bool
fail_no_key(const struct lm_base_query *query, const char *name,
            struct lm_err *err)
{
    static const char way_out[] =
        "Add it to the select list, or name the key with config.key.";
    int nearest = lm_text_nearest(name, (const char *const *)query->columns,
                                  (size_t)query->column_count);

    lm_err_set(err, LM_ERR_SCRIPT,
               "the base query does not return the key column \"%s\"", name);
    if (nearest >= 0) {
        lm_err_hint(err, "It returns \"%s\": did you mean that? %s",
                    query->columns[nearest], way_out);
    } else {
        lm_err_hint(err, "%s", way_out);
    }
    return false;
}

static bool
take_key(struct lm_base_query *out, const struct lm_stmt *stmt,
         const char *const *key, int count, struct lm_err *err)
{
    out->key = lm_calloc((size_t)count, sizeof *out->key);
    out->key_index = lm_calloc((size_t)count, sizeof *out->key_index);
    out->key_types = lm_calloc((size_t)count, sizeof *out->key_types);
    out->key_origins = lm_calloc((size_t)count, sizeof *out->key_origins);
    for (int i = 0; i < count; i++) {
        int index = find_text(out->columns, out->column_count, key[i]);
        const struct lm_column *column;

        if (index < 0)
            return fail_no_key(out, key[i], err);
        out->key[i] = lm_strdup(key[i]);
        out->key_count = i + 1;
        out->key_index[i] = index;
        column = lm_stmt_column(stmt, index);
        out->key_types[i] = column->type;
        out->key_origins[i] =
            (struct lm_key_origin){column->table, column->table_column};
    }
    return true;
}

/* -- proofs ----------------------------------------------------------- */

/* Where an output column comes from. */
struct origin {
    char relation[200];
    char column[200];
    bool not_null;
    char validate[512]; /* the statement that makes it so; "" when none does */
    char *view;         /* its definition when it is a view; owned */
};

/* A table promises NOT NULL if all its children do, unless the query says
 * ONLY. A foreign table promises nothing, because nothing enforces its
 * declaration. */
static const char origin_sql[] =
    LM_OWN "WITH RECURSIVE family AS (SELECT $1::pg_catalog.oid AS oid UNION"
           "  SELECT h.inhrelid FROM pg_catalog.pg_inherits h"
           "  JOIN family f ON f.oid = h.inhparent WHERE NOT $3::bool)"
           " SELECT c.relname, a.attname, NOT EXISTS ("
           "  SELECT FROM family f JOIN pg_catalog.pg_class r ON r.oid = f.oid"
           "  JOIN pg_catalog.pg_attribute m"
           "  ON m.attrelid = r.oid AND m.attname = a.attname"
           "  WHERE r.relkind = 'f' OR NOT m.attnotnull OR EXISTS ("
           "   SELECT FROM pg_catalog.pg_constraint n WHERE n.conrelid = r.oid"
           "   AND n.contype = 'n' AND n.conkey = ARRAY[m.attnum]"
           "   AND NOT n.convalidated)),"
           " CASE WHEN c.relkind = 'v'"
           "  THEN pg_catalog.pg_get_viewdef(c.oid) END,"
           " (SELECT pg_catalog.format('ALTER TABLE %s VALIDATE CONSTRAINT %I',"
           "   n.conrelid::regclass, n.conname) FROM pg_catalog.pg_constraint n"
           "  WHERE n.conrelid = c.oid AND n.contype = 'n'"
           "  AND n.conkey = ARRAY[a.attnum] AND NOT n.convalidated LIMIT 1)"
           " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a"
           " ON a.attrelid = c.oid"
           " WHERE c.oid = $1::pg_catalog.oid AND a.attnum = $2::int2";

/* Looks the column's table and column up; all empty when they are gone. */
static bool
find_origin(struct lm_conn *conn, const struct lm_column *column,
            bool from_only, struct origin *out, struct lm_err *err)
{
    struct lm_answer *result = NULL;

    memset(out, 0, sizeof *out);
    if (!lm_conn_ask(conn, origin_sql, "?: t t b t? t?",
                     LM_VALUES(LM_DIGITS(column->table),
                               LM_DIGITS(column->table_column),
                               from_only ? "t" : "f"),
                     &result, err))
        return false;
    if (lm_answer_rows(result) == 1) {
        LM_ERR_COPY(out->relation, lm_answer_text(result, 0, 0));
        LM_ERR_COPY(out->column, lm_answer_text(result, 0, 1));
        out->not_null = lm_answer_bool(result, 0, 2);
        out->view = lm_answer_copy(result, 0, 3);
        if (!lm_answer_is_null(result, 0, 4))
            LM_ERR_COPY(out->validate, lm_answer_text(result, 0, 4));
    }
    lm_answer_free(result);
    return true;
}

/* Since version 18 NOT NULL may be NOT VALID: rows from before are exempt. */
static void
hint_at_validating(struct lm_conn *conn, const struct lm_column *column,
                   struct lm_err *err)
{
    struct origin origin;
    struct lm_err ignored;

    if (column->table == 0 ||
        !find_origin(conn, column, false, &origin, &ignored))
        return;
    if (origin.validate[0] != '\0') {
        lm_err_hint(err,
                    "The column's NOT NULL constraint is NOT VALID, so older "
                    "rows may be NULL. If no row is NULL, run %s.",
                    origin.validate);
    }
    free(origin.view);
}

/* Prepares a view's definition, which the server has written under luamig's own
 * path. NULL, and the transaction as it was, where the server refuses: the view
 * may read by its owner's rights what the role may not. */
static struct lm_stmt *
prepare_view(struct lm_conn *conn, const char *definition)
{
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_stmt *stmt = NULL;
    struct lm_err ignored;
    bool ok;

    if (!lm_conn_command(conn, "SAVEPOINT luamig_view", &ignored))
        return NULL;
    lm_buf_printf(&sql, LM_OWN "%s", definition);
    ok = lm_conn_prepare(conn, lm_buf_text(&sql), NULL, 0, &stmt, &ignored);
    lm_buf_release(&sql);
    if (!lm_conn_command(conn,
                         ok ? "RELEASE SAVEPOINT luamig_view"
                            : "ROLLBACK TO SAVEPOINT luamig_view",
                         &ignored))
        return NULL; /* the next query reports why */
    return ok ? stmt : NULL;
}

/* Where the server says that a column of a view's definition comes from. False
 * if unknown; *out has a name of its own. */
static bool
look_into_view(struct lm_conn *conn, const char *definition, int attnum,
               struct lm_column *out)
{
    struct lm_stmt *stmt = prepare_view(conn, definition);

    if (stmt == NULL || attnum < 1 || attnum > lm_stmt_column_count(stmt))
        return false;
    *out = *lm_stmt_column(stmt, attnum - 1);
    out->name = lm_strdup(out->name);
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
    struct lm_err ignored;
    bool ok = true;

    if (depth >= MAX_VIEW_DEPTH ||
        !lm_query_inspect(definition, &shape, &ignored))
        return true;
    if (look_into_view(conn, shape.text, attnum, &column)) {
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
    if (!find_origin(conn, column, lm_query_from_only(shape), &origin, err))
        return false;
    if (lm_query_keeps_not_null(shape, column->name, origin.relation)) {
        *proved = origin.not_null;
        if (origin.view != NULL) {
            ok = prove_in_view(conn, origin.view, column->table_column, depth,
                               proved, err);
        }
    }
    free(origin.view);
    return ok;
}

static bool
fail_unproved(const struct lm_query_shape *shape, const char *column,
              struct lm_err *err)
{
    struct lm_buf name = LM_BUF_INIT;

    lm_err_set(err, LM_ERR_SCRIPT, "the key column \"%s\" may be NULL", column);
    lm_err_detail(err, "The run would silently skip rows with a NULL key: no "
                       "key comparison finds them.");
    if (lm_query_add_nullable(shape, column, &name)) {
        lm_err_hint(err,
                    "Add \"WHERE %s IS NOT NULL\" to the base query to leave "
                    "them out, declare the column NOT NULL, or name "
                    "another key with config.key.",
                    lm_buf_text(&name));
    } else {
        lm_sql_add_name(&name, column);
        lm_err_hint(err,
                    "Write SELECT * FROM (base query) AS q WHERE q.%s IS NOT "
                    "NULL to leave them out, or name another key with "
                    "config.key.",
                    lm_buf_text(&name));
    }
    lm_buf_release(&name);
    return false;
}

static bool
check_not_null(struct lm_conn *conn, const struct lm_query_shape *shape,
               const struct lm_column *column, struct lm_err *err)
{
    bool proved = false;

    if (!prove_not_null(conn, shape, column, 0, &proved, err))
        return false;
    if (!proved) {
        fail_unproved(shape, column->name, err);
        hint_at_validating(conn, column, err);
    }
    return proved;
}

static bool
fail_system_column(const char *name, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_SCRIPT,
               "\"%s\" is a system column and cannot be the key: it changes "
               "with every update",
               name);
    lm_err_hint(err, "Name a unique column of the table with config.key.");
    return false;
}

static void
add_source(struct lm_base_query *out, uint32_t table,
           const struct origin *origin)
{
    LM_ADD(out->sources, out->source_count) = (struct lm_key_source){
        table, lm_strdup(origin->column), origin->view != NULL};
}

/* Notes where a key column comes from: the table, or the view and the tables
 * below it, as far as the server knows. */
static bool
trace_column(struct lm_conn *conn, const struct lm_column *column,
             struct lm_base_query *out, struct lm_err *err)
{
    struct lm_column at = *column;
    char *owned = NULL; /* the name of at, below the first view */
    bool ok = true;
    bool deeper = true;

    for (int depth = 0; ok && deeper && at.table != 0; depth++) {
        struct origin origin;

        if (at.table_column < 0) {
            ok = fail_system_column(column->name, err);
            break;
        }
        ok = find_origin(conn, &at, false, &origin, err);
        if (!ok)
            break;
        add_source(out, at.table, &origin);
        deeper = origin.view != NULL && depth < MAX_VIEW_DEPTH &&
                 look_into_view(conn, origin.view, at.table_column, &at);
        if (deeper) {
            free(owned);
            owned = at.name;
        }
        free(origin.view);
    }
    free(owned);
    return ok;
}

/* Is there an index that makes the attnums of table, or some of them, unique
 * at any time, by the equality that the key comparison uses? A table that
 * Citus distributes by append is unique in each shard only. */
#define UNIQUE(more)                                                      \
    LM_OWN                                                                \
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_index i"                    \
    "  WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid"       \
    "  AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL"   \
    "  AND NOT EXISTS (SELECT FROM"                                       \
    "   ROWS FROM (unnest(i.indkey::int2[]), unnest(i.indcollation"       \
    "    ::oid[]), unnest(i.indclass::oid[])) AS k (attnum, coll, class)" \
    "   JOIN pg_catalog.pg_attribute a"                                   \
    "   ON a.attrelid = c.oid AND a.attnum = k.attnum"                    \
    "   WHERE k.coll IS NOT NULL AND (k.attnum <> ALL ($2::int2[])"       \
    "    OR k.coll <> a.attcollation OR NOT EXISTS (SELECT FROM"          \
    "     pg_catalog.pg_opclass o JOIN pg_catalog.pg_amop p"              \
    "     ON p.amopfamily = o.opcfamily AND p.amoplefttype = o.opcintype" \
    "     AND p.amoprighttype = o.opcintype AND p.amopstrategy = 3"       \
    "     JOIN ROWS FROM (unnest($2::int2[]), unnest($4::oid[]))"         \
    "     AS e (attnum, equality) ON e.equality = p.amopopr"              \
    "     WHERE o.oid = k.class AND e.attnum = k.attnum))))"              \
    " AND (c.relkind = 'p' OR $3 OR NOT EXISTS ("                         \
    "  SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid))"  \
    " FROM pg_catalog.pg_class c WHERE c.oid = $1::pg_catalog.oid" more

static bool
prove_unique(struct lm_conn *conn, uint32_t table, const char *attnums,
             const char *equalities, bool from_only, bool *proved,
             struct lm_err *err)
{
    static const char sql[] = UNIQUE("");
    static const char citus_sql[] =
        UNIQUE(" AND NOT EXISTS (SELECT FROM pg_catalog.pg_dist_partition d"
               "  WHERE d.logicalrelid = c.oid AND d.partmethod = 'a')");
    struct lm_answer *result = NULL;

    if (!lm_conn_ask(conn, lm_conn_is_citus(conn) ? citus_sql : sql, "?: b",
                     LM_VALUES(LM_DIGITS(table), attnums, from_only ? "t" : "f",
                               equalities),
                     &result, err))
        return false;
    *proved = lm_answer_bool(result, 0, 0);
    lm_answer_free(result);
    return true;
}

/* Is the key unique in the table that all of it comes from, and does the query
 * keep it so? */
static bool
prove_unique_key(struct lm_conn *conn, const struct lm_query_shape *shape,
                 const struct lm_column *columns, struct lm_base_query *out,
                 struct lm_err *err)
{
    struct lm_buf attnums = LM_BUF_INIT;
    struct lm_buf equalities = LM_BUF_INIT;
    bool ok;

    if (!lm_query_keeps_unique(shape))
        return true;
    for (int i = 0; i < out->key_count; i++) {
        if (columns[i].table == 0 || columns[i].table != columns[0].table)
            return true;
    }
    for (int i = 0; i < out->key_count; i++) {
        lm_buf_printf(&attnums, "%s%d", i > 0 ? "," : "{",
                      columns[i].table_column);
        lm_buf_printf(&equalities, "%s%" PRIu32, i > 0 ? "," : "{",
                      out->order[i].equality);
    }
    lm_buf_putc(&attnums, '}');
    lm_buf_putc(&equalities, '}');
    ok = prove_unique(conn, columns[0].table, lm_buf_text(&attnums),
                      lm_buf_text(&equalities), lm_query_from_only(shape),
                      &out->key_is_unique, err);
    lm_buf_release(&attnums);
    lm_buf_release(&equalities);
    return ok;
}

static bool
trace_key(struct lm_conn *conn, const struct lm_column *columns,
          struct lm_base_query *out, struct lm_err *err)
{
    out->key_source =
        lm_calloc((size_t)out->key_count, sizeof *out->key_source);
    for (int i = 0; i < out->key_count; i++) {
        int before = out->source_count;

        if (!trace_column(conn, &columns[i], out, err))
            return false;
        out->key_source[i] =
            out->source_count > before ? out->source_count - 1 : -1;
    }
    return true;
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
    return out->key_is_unique ||
           prove_unique_key(conn, shape, columns, out, err);
}

/* The statement may be dropped from the cache during the proofs, so the facts
 * about the key columns are copied; their names are the base query's own. */
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
    out->sql = lm_strdup(shape.text);
    out->key_is_unique = assume_unique;
    out->takes_all = lm_query_takes_all(&shape);
    if (!lm_conn_prepare(conn, out->sql, NULL, 0, &stmt, err)) {
        fail_script(err, "the server refuses the base query");
        goto out;
    }
    if (!shape.parsed) {
        lm_query_refuse_unparsed(sql, key[0], err);
        goto out;
    }
    if (!lm_preflight_refuse_temporary(conn, &shape, err) ||
        !take_params(out, stmt, params, param_count, err) ||
        !take_columns(out, stmt, err))
        goto out;
    if (!take_key(out, stmt, key, key_count, err)) {
        lm_query_show_columns(&shape, sql, err);
        goto out;
    }
    columns = copy_key_columns(out, stmt);
    ok = trace_key(conn, columns, out, err);
    /* A view may leave rows out. */
    out->takes_all = out->takes_all && out->source_count == out->key_count;
    ok = ok && lm_preflight_check_constant(conn, &shape, sql, out, err) &&
         lm_preflight_find_order(conn, out, err) &&
         prove_key(conn, &shape, columns, out, err) &&
         lm_preflight_find_volatile(conn, &shape, out, err);
out:
    free(columns);
    lm_query_release(&shape);
    return ok;
}
