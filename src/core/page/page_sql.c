/* SPDX-License-Identifier: MIT */
/*
 * Builds the page query.
 *
 *     SELECT page.a, page.b, ... FROM (base query) AS page
 *     WHERE (k1, k2) OPERATOR(s.>) ($n, $m) AND (k1, k2) OPERATOR(s.<=) ($o, $p)
 *     ORDER BY k1, k2 LIMIT $q
 *
 * The comparison is of rows, which an index on the key answers in one step,
 * and its parameters have the key columns' own types: with any other type the
 * server would compare by a cast and not use the index. The operators are those
 * that ORDER BY uses (pg/conn/order.h).
 *
 * A comparison of rows has one operator for all columns. Key columns whose
 * operators have other names or schemas are told apart: successive columns of
 * one operator are a run. Rows after a cursor are then those that are equal to
 * it in the first runs and after it in the next one, a branch for each run,
 * and each branch is a step in the index:
 *
 *     SELECT ... FROM ((SELECT ... WHERE k1 = $n AND k2 > $m ORDER BY ... LIMIT)
 *     UNION ALL (SELECT ... WHERE k1 > $n ORDER BY ... LIMIT)) AS page
 *     ORDER BY k1, k2 LIMIT $q
 *
 * The server merges the branches as it needs rows of them.
 *
 * The columns are listed by name, so that a page has those that preflight saw,
 * where it saw them, whatever becomes of the tables behind a "SELECT *".
 */

#include "core/page/private.h"

#include "pg/conn/types.h"
#include "pg/sql/sql.h"

#include <stdlib.h>
#include <string.h>

void
lm_request_init(struct lm_page_request *self, const struct lm_base_query *query)
{
    size_t keys = (size_t)query->key_count;
    size_t room = (size_t)query->param_count + 2 * keys + 1;

    memset(self, 0, sizeof *self);
    self->query = query;
    self->texts = lm_calloc(room, sizeof *self->texts);
    self->types = lm_calloc(room, sizeof *self->types);
    for (int i = 0; i < query->param_count; i++)
        lm_request_param(self, query->params[i], query->param_types[i]);
}

void
lm_request_release(struct lm_page_request *self)
{
    lm_buf_release(&self->sql);
    free(self->texts);
    free(self->types);
}

int
lm_request_param(struct lm_page_request *self, const char *text, uint32_t type)
{
    self->texts[self->count] = text;
    self->types[self->count++] = type;
    return self->count;
}

/* Adds a key as parameters; returns the number of the first. */
static int
add_key_params(struct lm_page_request *self, const struct lm_key *key)
{
    int first = self->count + 1;

    for (int i = 0; i < self->query->key_count; i++)
        lm_request_param(self, key->texts[i], self->query->key_types[i]);
    return first;
}

void
lm_request_add_columns(struct lm_page_request *self, const char *table)
{
    if (self->query->keys_only) {
        lm_request_add_keys(self, table, "");
        return;
    }
    for (int i = 0; i < self->query->column_count; i++) {
        lm_buf_printf(&self->sql, "%s%s.", i > 0 ? ", " : "", table);
        lm_sql_add_identifier(&self->sql, self->query->columns[i]);
    }
}

void
lm_request_add_keys(struct lm_page_request *self, const char *table,
                    const char *suffix)
{
    for (int i = 0; i < self->query->key_count; i++) {
        lm_buf_printf(&self->sql, "%s%s.", i > 0 ? ", " : "", table);
        lm_sql_add_identifier(&self->sql, self->query->key[i]);
        lm_buf_puts(&self->sql, suffix);
    }
}

void
lm_request_add_source(struct lm_page_request *self)
{
    /* The line break ends a -- comment. */
    lm_buf_printf(&self->sql, " FROM (%s\n) AS page", self->query->sql);
}

static void
add_order(struct lm_page_request *self, const char *table)
{
    lm_buf_puts(&self->sql, " ORDER BY ");
    lm_request_add_keys(self, table, "");
}

/* -- comparisons ------------------------------------------------------ */

/* A key column, prepared for its operator. */
static void
add_operand(struct lm_page_request *self, const char *table, int i)
{
    lm_buf_printf(&self->sql, "%s.", table);
    lm_sql_add_identifier(&self->sql, self->query->key[i]);
    lm_order_add_cast(&self->sql, &self->query->order[i], false);
}

static void
add_param_operand(struct lm_page_request *self, int first, int i)
{
    lm_buf_printf(&self->sql, "$%d", first + i);
    lm_order_add_cast(&self->sql, &self->query->order[i], true);
}

/* Key columns from, and those after it that share its operators. Returns the
 * column after them. */
static int
end_of_run(const struct lm_base_query *query, int from)
{
    int end = from + 1;

    while (end < query->key_count &&
           lm_order_same_operators(&query->order[from], &query->order[end]))
        end++;
    return end;
}

static bool
is_one_run(const struct lm_base_query *query)
{
    return end_of_run(query, 0) == query->key_count;
}

/* Key column i as a comparison has it, and its parameter. A condition for a
 * statement of the script says type and collation of the parameter, too: its
 * columns may be others than those of the base query. */
static void
add_column(struct lm_page_request *self, int i)
{
    const struct lm_page_where *where = self->where;

    if (where == NULL) {
        add_operand(self, "page", i);
    } else if (where->columns != NULL) {
        lm_buf_printf(&self->sql, "(%s)", where->columns[i]);
        lm_order_add_cast(&self->sql, &self->query->order[i], false);
    } else {
        if (where->table != NULL)
            lm_buf_printf(&self->sql, "%s.", where->table);
        lm_sql_add_identifier(&self->sql, self->query->key[i]);
        lm_order_add_cast(&self->sql, &self->query->order[i], false);
    }
}

static void
add_value(struct lm_page_request *self, int first, int i)
{
    const struct lm_order *order = &self->query->order[i];

    if (self->where == NULL) {
        add_param_operand(self, first, i);
        return;
    }
    lm_buf_printf(&self->sql, "$%d::%s", first + i, order->type_name);
    lm_order_add_cast(&self->sql, order, true);
    if (order->collate == NULL)
        lm_order_add_own_collation(&self->sql, order);
}

/* "(page.k1, page.k2) OPERATOR(s.>) ($3, $4)", for the columns of one run. */
static void
add_run(struct lm_page_request *self, enum lm_compare compare, int from,
        int end, int first)
{
    lm_buf_putc(&self->sql, '(');
    for (int i = from; i < end; i++) {
        lm_buf_puts(&self->sql, i > from ? ", " : "");
        add_column(self, i);
    }
    lm_buf_printf(&self->sql, ") %s (",
                  self->query->order[from].operators[compare]);
    for (int i = from; i < end; i++) {
        lm_buf_puts(&self->sql, i > from ? ", " : "");
        add_value(self, first, i);
    }
    lm_buf_putc(&self->sql, ')');
}

/* "page.k1 OPERATOR(s.=) $3 AND ...", for the first columns. */
static void
add_equal(struct lm_page_request *self, int count, int first)
{
    for (int i = 0; i < count; i++) {
        lm_buf_puts(&self->sql, i > 0 ? " AND " : "");
        add_run(self, LM_EQUAL, i, i + 1, first);
    }
}

/*
 * The key is less than the parameters, or greater; compare says whether it may
 * equal them. Several runs: the first one bounds the rows for an index, the
 * rest is left to a filter.
 */
static void
add_comparison(struct lm_page_request *self, enum lm_compare compare, int first)
{
    bool less = compare == LM_LESS || compare == LM_LESS_EQUAL;
    enum lm_compare strict = less ? LM_LESS : LM_GREATER;
    const int count = self->query->key_count;
    int depth = 0;

    for (int from = 0, end; from < count; from = end) {
        end = end_of_run(self->query, from);
        if (end == count) {
            add_run(self, compare, from, end, first);
            break;
        }
        if (from == 0) {
            add_run(self, less ? LM_LESS_EQUAL : LM_GREATER_EQUAL, 0, end,
                    first);
            lm_buf_puts(&self->sql, " AND ");
        }
        lm_buf_putc(&self->sql, '(');
        add_run(self, strict, from, end, first);
        lm_buf_puts(&self->sql, " OR (");
        for (int i = from; i < end; i++) {
            add_run(self, LM_EQUAL, i, i + 1, first);
            lm_buf_puts(&self->sql, " AND ");
        }
        depth++;
    }
    while (depth-- > 0)
        lm_buf_puts(&self->sql, "))");
}

void
lm_request_add_key_is(struct lm_page_request *self, const struct lm_key *key)
{
    add_equal(self, self->query->key_count, add_key_params(self, key));
}

void
lm_request_add_key_after(struct lm_page_request *self, const struct lm_key *key)
{
    add_comparison(self, LM_GREATER, add_key_params(self, key));
}

void
lm_request_add_key_before(struct lm_page_request *self,
                          const struct lm_key *key)
{
    add_comparison(self, LM_LESS, add_key_params(self, key));
}

void
lm_request_add_key_values(struct lm_page_request *self,
                          const struct lm_key *key)
{
    int first = add_key_params(self, key);

    for (int i = 0; i < self->query->key_count; i++) {
        lm_buf_printf(&self->sql, "%s$%d AS ", i > 0 ? ", " : "", first + i);
        lm_sql_add_identifier(&self->sql, self->query->key[i]);
    }
}

/* -- ranges ----------------------------------------------------------- */

/* The numbers of the parameters that a range is made of; 0: open. */
struct ends {
    int cursor;
    int bound;
};

static struct ends
add_ends(struct lm_page_request *self, struct lm_bounds range)
{
    struct ends ends = {0, 0};

    if (!lm_key_is_empty(range.cursor))
        ends.cursor = add_key_params(self, range.cursor);
    if (!lm_key_is_empty(range.bound))
        ends.bound = add_key_params(self, range.bound);
    return ends;
}

static void
add_where(struct lm_page_request *self, struct ends ends)
{
    if (ends.cursor != 0 || ends.bound != 0)
        lm_buf_puts(&self->sql, " WHERE ");
    if (ends.cursor != 0)
        add_comparison(self, LM_GREATER, ends.cursor);
    if (ends.cursor != 0 && ends.bound != 0)
        lm_buf_puts(&self->sql, " AND ");
    if (ends.bound != 0)
        add_comparison(self, LM_LESS_EQUAL, ends.bound);
}

void
lm_page_add_where(struct lm_buf *sql, const struct lm_base_query *query,
                  const struct lm_page_where *where)
{
    struct lm_page_request request = {
        .query = query, .sql = *sql, .where = where};
    int upto = where->first + (where->has_after ? query->key_count : 0);

    lm_buf_putc(&request.sql, '(');
    if (where->has_after) {
        add_comparison(&request, LM_GREATER, where->first);
        lm_buf_puts(&request.sql, " AND ");
    }
    add_comparison(&request, LM_LESS_EQUAL, upto);
    lm_buf_putc(&request.sql, ')');
    *sql = request.sql;
}

void
lm_request_add_range(struct lm_page_request *self, struct lm_bounds range)
{
    lm_buf_puts(&self->sql, "SELECT ");
    lm_request_add_columns(self, "page");
    lm_request_add_source(self);
    add_where(self, add_ends(self, range));
}

/* -- what is ordered -------------------------------------------------- */

/* Under the names of the base query, which may have left out those that are
 * NULL. */
void
lm_request_add_key_source(struct lm_page_request *self, const char *table,
                          const char *how)
{
    const struct lm_base_query *query = self->query;

    lm_buf_puts(&self->sql, " FROM (SELECT ");
    for (int i = 0; i < query->key_count; i++) {
        lm_buf_puts(&self->sql, i > 0 ? ", " : "");
        lm_sql_add_identifier(&self->sql,
                              query->sources[query->key_source[i]].column);
        lm_buf_puts(&self->sql, " AS ");
        lm_sql_add_identifier(&self->sql, query->key[i]);
    }
    lm_buf_printf(&self->sql, " FROM %s%s", table, how);
    for (int i = 0; i < query->key_count; i++) {
        lm_buf_puts(&self->sql, i > 0 ? " AND " : " WHERE ");
        lm_sql_add_identifier(&self->sql,
                              query->sources[query->key_source[i]].column);
        lm_buf_puts(&self->sql, " IS NOT NULL");
    }
    lm_buf_puts(&self->sql, ") AS page");
}

/* The base query's columns, or only the keys that a table has (table may be
 * NULL). */
static void
add_select(struct lm_page_request *self, const char *table)
{
    lm_buf_puts(&self->sql, "SELECT ");
    if (table == NULL) {
        lm_request_add_columns(self, "page");
        lm_request_add_source(self);
    } else {
        lm_request_add_keys(self, "page", "");
        lm_request_add_key_source(self, table, "");
    }
}

/* The rows that equal the cursor in the columns before from, and follow it in
 * the run that begins there. */
static void
add_branch(struct lm_page_request *self, const char *table, int from,
           struct ends ends, int limit)
{
    lm_buf_putc(&self->sql, '(');
    add_select(self, table);
    lm_buf_puts(&self->sql, " WHERE ");
    add_equal(self, from, ends.cursor);
    lm_buf_puts(&self->sql, from > 0 ? " AND " : "");
    add_run(self, LM_GREATER, from, end_of_run(self->query, from), ends.cursor);
    if (ends.bound != 0) {
        lm_buf_puts(&self->sql, " AND ");
        add_comparison(self, LM_LESS_EQUAL, ends.bound);
    }
    add_order(self, "page");
    lm_buf_printf(&self->sql, " LIMIT $%d)", limit);
}

/* All rows of the range in order; in branches, no more than limit is of use. */
static void
add_ordered(struct lm_page_request *self, const char *table,
            struct lm_bounds range, int limit)
{
    struct ends ends = add_ends(self, range);

    if (ends.cursor == 0 || is_one_run(self->query)) {
        add_select(self, table);
        add_where(self, ends);
    } else {
        lm_buf_puts(&self->sql, "SELECT ");
        if (table == NULL) {
            lm_request_add_columns(self, "page");
        } else {
            lm_request_add_keys(self, "page", "");
        }
        lm_buf_puts(&self->sql, " FROM (");
        for (int from = 0; from < self->query->key_count;
             from = end_of_run(self->query, from)) {
            lm_buf_puts(&self->sql, from > 0 ? " UNION ALL " : "");
            add_branch(self, table, from, ends, limit);
        }
        lm_buf_puts(&self->sql, ") AS page");
    }
    add_order(self, "page");
}

void
lm_request_add_page(struct lm_page_request *self, struct lm_bounds range,
                    const char *limit)
{
    int param = lm_request_param(self, limit, LM_TYPE_INT8);

    add_ordered(self, NULL, range, param);
    lm_buf_printf(&self->sql, " LIMIT $%d", param);
}

void
lm_request_add_page_end(struct lm_page_request *self, struct lm_bounds range,
                        const char *limit)
{
    int param = lm_request_param(self, limit, LM_TYPE_INT8);

    add_ordered(self, NULL, range, param);
    lm_buf_printf(&self->sql, " LIMIT 2 OFFSET $%d OPERATOR(pg_catalog.-) 2",
                  param);
}

void
lm_request_add_key_page(struct lm_page_request *self, struct lm_bounds range,
                        const char *limit)
{
    lm_buf_puts(&self->sql, "SELECT ");
    lm_request_add_keys(self, "page", "");
    lm_buf_puts(&self->sql, " FROM (");
    lm_request_add_page(self, range, limit);
    lm_buf_puts(&self->sql, ") AS page");
    add_order(self, "page");
}

/* "watched.k1 = lag(watched.k1) OVER keys AND ..." */
static void
add_is_repeated(struct lm_page_request *self)
{
    for (int i = 0; i < self->query->key_count; i++) {
        const struct lm_order *order = &self->query->order[i];

        lm_buf_puts(&self->sql, i > 0 ? " AND " : "");
        add_operand(self, "watched", i);
        lm_buf_printf(&self->sql, " %s (pg_catalog.lag(watched.",
                      order->operators[LM_EQUAL]);
        lm_sql_add_identifier(&self->sql, self->query->key[i]);
        lm_buf_puts(&self->sql, ") OVER keys)");
        lm_order_add_cast(&self->sql, order, false);
    }
}

bool
lm_request_may_round(const struct lm_base_query *query)
{
    for (int i = 0; i < query->key_count; i++) {
        if (query->order[i].may_round)
            return true;
    }
    return false;
}

void
lm_request_add_is_exact(struct lm_page_request *self, const char *table)
{
    const struct lm_base_query *query = self->query;
    const char *and = "";

    for (int i = 0; i < query->key_count; i++) {
        const struct lm_order *order = &query->order[i];

        if (!order->may_round)
            continue;
        lm_buf_printf(&self->sql, "%spg_catalog.format('%%s', %s.", and, table);
        lm_sql_add_identifier(&self->sql, query->key[i]);
        lm_buf_printf(&self->sql, ")::%s", order->type_name);
        lm_order_add_cast(&self->sql, order, true);
        lm_buf_printf(&self->sql, " %s ", order->operators[LM_EQUAL]);
        add_operand(self, table, i);
        and = " AND ";
    }
}

void
lm_request_add_watched_page(struct lm_page_request *self,
                            struct lm_bounds range, const char *limit)
{
    const struct lm_base_query *query = self->query;

    lm_buf_puts(&self->sql, "SELECT ");
    lm_request_add_columns(self, "watched");
    if (!query->key_is_unique) {
        lm_buf_puts(&self->sql, ", ");
        add_is_repeated(self);
    }
    if (lm_request_may_round(query)) {
        lm_buf_puts(&self->sql, ", ");
        lm_request_add_is_exact(self, "watched");
    }
    lm_buf_puts(&self->sql, " FROM (");
    lm_request_add_page(self, range, limit);
    lm_buf_puts(&self->sql, ") AS watched WINDOW keys AS (ORDER BY ");
    lm_request_add_keys(self, "watched", "");
    lm_buf_puts(&self->sql, ")");
    add_order(self, "watched");
}

void
lm_request_add_highest(struct lm_page_request *self, const char *table,
                       const struct lm_key *below)
{
    lm_buf_puts(&self->sql, "SELECT ");
    lm_request_add_keys(self, "page", "");
    if (table == NULL) {
        lm_request_add_source(self);
    } else {
        self->count = 0;
        lm_request_add_key_source(self, table, "");
    }
    if (!lm_key_is_empty(below)) {
        lm_buf_puts(&self->sql, " WHERE ");
        add_comparison(self, LM_LESS, add_key_params(self, below));
    }
    lm_buf_puts(&self->sql, " ORDER BY ");
    lm_request_add_keys(self, "page", " DESC");
    lm_buf_puts(&self->sql, " LIMIT 1");
}

void
lm_request_add_window_end(struct lm_page_request *self, const char *table,
                          struct lm_bounds range, const char *rows)
{
    int param;

    self->count = 0; /* those of the base query have no place here */
    param = lm_request_param(self, rows, LM_TYPE_INT8);
    add_ordered(self, table, range, param);
    lm_buf_printf(&self->sql, " LIMIT 1 OFFSET $%d OPERATOR(pg_catalog.-) 1",
                  param);
}
