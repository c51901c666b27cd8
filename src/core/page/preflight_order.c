/* SPDX-License-Identifier: MIT */
/* How the key columns compare. The server says which collation each has in the
 * base query, and whether it has an order. The catalog says which operators
 * compare it. */

#include "core/page/preflight_private.h"

#include "pg/conn/answer.h"
#include "pg/sql/sql.h"

#include <stdio.h>
#include <stdlib.h>

/* Adds "page.k1, page.k2". */
static void
add_keys(struct lm_buf *sql, const struct lm_base_query *query)
{
    for (int i = 0; i < query->key_count; i++) {
        lm_buf_puts(sql, i > 0 ? ", page." : "page.");
        lm_sql_add_identifier(sql, query->key[i]);
    }
}

static bool
takes_collation(const struct lm_base_query *query)
{
    for (int i = 0; i < query->key_count; i++) {
        if (query->order[i].own_collation != 0)
            return true;
    }
    return false;
}

/* Asks for the collations, and whether the key can be ordered by. The query is
 * described by it, never run. */
static bool
ask_collations(struct lm_conn *conn, const struct lm_base_query *query,
               struct lm_answer **row, struct lm_err *err)
{
    struct lm_values values = {(const char *const *)query->params,
                               query->param_count};
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_stmt *stmt;
    char shape[16];
    bool ok;

    for (int i = 0; i < query->key_count; i++) {
        lm_buf_puts(&sql, i > 0 ? ", " : "SELECT ");
        if (query->order[i].own_collation == 0) {
            lm_buf_puts(&sql, "0");
            continue;
        }
        lm_buf_puts(&sql, "pg_catalog.pg_collation_for(page.");
        lm_sql_add_identifier(&sql, query->key[i]);
        lm_buf_puts(&sql, ")::pg_catalog.regcollation::pg_catalog.oid");
    }
    /* The line break ends a -- comment. */
    lm_buf_printf(&sql,
                  " FROM (VALUES (1)) AS one LEFT JOIN (%s\n) AS page ON false"
                  " ORDER BY ",
                  query->sql);
    add_keys(&sql, query);
    snprintf(shape, sizeof shape, "1: %do?", query->key_count);
    ok = takes_collation(query)
             ? lm_conn_ask_typed(conn, lm_buf_text(&sql), shape,
                                 query->param_types, values, row, err)
             : lm_conn_prepare(conn, lm_buf_text(&sql), query->param_types,
                               query->param_count, &stmt, err);
    lm_buf_release(&sql);
    return ok;
}

static bool
fail_without_order(const char *column, const struct lm_order *order,
                   struct lm_err *err)
{
    lm_err_set(err, LM_ERR_SCRIPT,
               "the key column \"%s\" is of type %s; its values have no order",
               column, order->type_name);
    lm_err_detail(err, "luamig pages through the rows in the order of the key, "
                       "by the default btree operator class of its type.");
    lm_err_hint(err,
                "Name another key with config.key, or page by its text: SELECT "
                "*, \"%s\"::text AS key_text FROM (base query) AS q WHERE "
                "\"%s\"::text IS NOT NULL, with key = \"key_text\".",
                column, column);
    return false;
}

static bool
fail_without_collation(const char *column, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_SCRIPT,
               "the key column \"%s\" has no collation to order it by", column);
    lm_err_detail(err, "The expression mixes values of different collations.");
    return lm_err_hint(err,
                       "Name the collation in the base query: (expression) "
                       "COLLATE \"C\" AS %s.",
                       column);
}

/* Its text is a name, or holds one: another one tomorrow, and perhaps that of
 * something else. */
static bool
fail_name(const char *column, const struct lm_order *order, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_SCRIPT,
               "the key column \"%s\" is of type %s; its text is the name of "
               "an object, so the key is not constant",
               column, order->type_name);
    lm_err_detail(err, "luamig keeps the text of the last key. The object may "
                       "be renamed, and another object may get its name.");
    if (order->cast != NULL) {
        lm_err_hint(err,
                    "Page by its number: SELECT *, \"%s\"::oid AS key_oid FROM "
                    "(base query) AS q WHERE \"%s\"::oid IS NOT NULL, with "
                    "key = \"key_oid\".",
                    column, column);
    } else {
        lm_err_hint(err, "Name another key with config.key.");
    }
    return false;
}

static bool
fail_pseudo(const char *column, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_SCRIPT,
               "the key column \"%s\" is a row without a named type, and "
               "luamig cannot send such a row back to the server",
               column);
    lm_err_hint(err, "Return its fields as columns of their own, and name "
                     "those: key = { \"a\", \"b\" }.");
    return false;
}

static bool
check_order(const char *column, const struct lm_order *order,
            struct lm_err *err)
{
    if (order->opclass == 0)
        return fail_without_order(column, order, err);
    if (order->is_pseudo)
        return fail_pseudo(column, err);
    return !order->is_name || fail_name(column, order, err);
}

/* The server finds no order in a part of the key, such as an array's
 * elements, or no collation. */
static bool
fail_refused(const struct lm_base_query *query, struct lm_err *err)
{
    for (int i = 0; lm_err_is_state(err, "42P22") && i < query->key_count;
         i++) {
        if (query->order[i].own_collation != 0)
            return fail_without_collation(query->key[i], err);
    }
    if (lm_err_is_state(err, "42883")) {
        lm_err_prefix(err, "the server cannot order the base query by its key");
        lm_err_hint(err, "Name another key with config.key.");
        err->kind = LM_ERR_SCRIPT;
    }
    return false;
}

static bool
set_collations(struct lm_conn *conn, struct lm_base_query *out,
               const struct lm_answer *row, struct lm_err *err)
{
    for (int i = 0; i < out->key_count; i++) {
        if (lm_answer_is_null(row, 0, i))
            return fail_without_collation(out->key[i], err);
        if (!lm_order_set_collation(&out->order[i], conn,
                                    lm_answer_oid(row, 0, i), err))
            return false;
    }
    return true;
}

static bool
find_orders(struct lm_conn *conn, struct lm_base_query *out, struct lm_err *err)
{
    struct lm_answer *row = NULL;
    bool ok;

    for (int i = 0; i < out->key_count; i++) {
        if (!lm_order_find(conn, out->key_types[i], &out->order[i], err) ||
            !check_order(out->key[i], &out->order[i], err))
            return false;
    }
    if (!ask_collations(conn, out, &row, err))
        return fail_refused(out, err);
    ok = !takes_collation(out) || set_collations(conn, out, row, err);
    lm_answer_free(row);
    return ok;
}

bool
lm_preflight_find_order(struct lm_conn *conn, struct lm_base_query *out,
                        struct lm_err *err)
{
    out->order = lm_calloc((size_t)out->key_count, sizeof *out->order);
    if (find_orders(conn, out, err))
        return true;
    if (lm_err_is_state(err, "42501")) {
        lm_err_prefix(err, "the server refuses the base query");
        err->kind = LM_ERR_SCRIPT;
        return false; /* the order by the types is known anyway */
    }
    for (int i = 0; i < out->key_count; i++)
        lm_order_release(&out->order[i]);
    free(out->order);
    out->order = NULL;
    return false;
}
