/* SPDX-License-Identifier: MIT */
/*
 * Finds the volatile functions that a base query calls: the parse tree names
 * the functions, the catalog says what they are. Does not resolve overloaded
 * names by their arguments; such a name counts when all its functions are
 * volatile. Does not look into functions, views and operators.
 */

#include "core/page/preflight_private.h"

#include "pg/sql/sql.h"

#include <stdlib.h>

struct names {
    const char **schemas;
    const char **names;
    int count;
};

static void
add_name(const char *schema, const char *name, void *arg)
{
    struct names *self = arg;
    size_t count = (size_t)self->count + 1;

    self->schemas = lm_realloc(self->schemas, count, sizeof *self->schemas);
    self->names = lm_realloc(self->names, count, sizeof *self->names);
    self->schemas[self->count] = schema;
    self->names[self->count++] = name;
}

static bool
ask(struct lm_conn *conn, const struct names *called, struct lm_base_query *out,
    struct lm_err *err)
{
    static const char sql[] =
        "SELECT pg_catalog.string_agg(v.name, ', ' ORDER BY v.name) FROM ("
        " SELECT c.name FROM ROWS FROM ("
        "  pg_catalog.unnest($1::pg_catalog.text[]),"
        "  pg_catalog.unnest($2::pg_catalog.text[])) AS c (schema, name)"
        " JOIN pg_catalog.pg_proc p"
        " ON p.proname::pg_catalog.text OPERATOR(pg_catalog.=) c.name"
        " JOIN pg_catalog.pg_namespace n"
        " ON n.oid OPERATOR(pg_catalog.=) p.pronamespace"
        " WHERE CASE WHEN c.schema IS NULL"
        "  THEN pg_catalog.pg_function_is_visible(p.oid)"
        "  ELSE n.nspname::pg_catalog.text OPERATOR(pg_catalog.=) c.schema END"
        " GROUP BY c.name HAVING pg_catalog.bool_and("
        "  p.provolatile OPERATOR(pg_catalog.=) 'v')) v";
    struct lm_buf schemas = LM_BUF_INIT;
    struct lm_buf names = LM_BUF_INIT;
    struct lm_answer *result = NULL;
    bool ok;

    lm_sql_add_array(&schemas, called->schemas, called->count);
    lm_sql_add_array(&names, called->names, called->count);
    ok = lm_conn_ask(conn, sql, "1: t?",
                     LM_VALUES(lm_buf_text(&schemas), lm_buf_text(&names)),
                     &result, err);
    if (ok)
        out->volatile_calls = lm_answer_copy(result, 0, 0);
    lm_answer_free(result);
    lm_buf_release(&schemas);
    lm_buf_release(&names);
    return ok;
}

bool
lm_preflight_find_volatile(struct lm_conn *conn,
                           const struct lm_query_shape *shape,
                           struct lm_base_query *out, struct lm_err *err)
{
    struct names called = {.count = 0};
    bool ok;

    lm_query_each_call(shape, add_name, &called);
    ok = called.count == 0 || ask(conn, &called, out, err);
    free(called.schemas);
    free(called.names);
    return ok;
}
