/* SPDX-License-Identifier: MIT */
/*
 * Builds the page query and checks what comes back.
 *
 *     SELECT page.a, page.b, ... FROM (base query) AS page
 *     WHERE (k1, k2) > ($n, $m) AND (k1, k2) <= ($o, $p)
 *     ORDER BY k1, k2 LIMIT $q
 *
 * The comparison is of rows, which an index on the key answers in one step,
 * and its parameters have the key columns' own types: with any other type the
 * server would compare by a cast and not use the index. Where the key is not
 * proved unique, the server compares each row's key with the one before, by
 * its own idea of equality.
 *
 * The columns are listed by name, so that a page has those that preflight saw,
 * where it saw them, whatever becomes of the tables behind a "SELECT *".
 */

#include "core/pager.h"

#include "pg/sql.h"
#include "pg/types.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
lm_page_release(struct lm_page *page)
{
    lm_result_free(page->result);
    memset(page, 0, sizeof *page);
}

const char *
lm_page_key(const struct lm_page *page, const struct lm_base_query *query,
            int row, int i)
{
    return lm_result_text(page->result, row, query->key_index[i]);
}

void
lm_page_describe_key(struct lm_buf *buf, const struct lm_base_query *query,
                     char *const *texts)
{
    lm_buf_putc(buf, '(');
    for (int i = 0; i < query->key_count; i++)
        lm_buf_printf(buf, "%s%s", i > 0 ? ", " : "", query->key[i]);
    lm_buf_puts(buf, ") = (");
    for (int i = 0; i < query->key_count; i++) {
        lm_buf_printf(buf, "%s%s", i > 0 ? ", " : "",
                      texts[i] != NULL ? texts[i] : "NULL");
    }
    lm_buf_putc(buf, ')');
}

/* -- SQL -------------------------------------------------------------- */

/* The parameters of one request: the base query's, then keys, then others. */
struct request {
    struct lm_buf sql;
    const char **texts;
    uint32_t *types;
    int count;
};

static void
request_init(struct request *self, const struct lm_base_query *query)
{
    size_t keys = (size_t)query->key_count;
    size_t room = (size_t)query->param_count + 2 * keys + 1;

    memset(self, 0, sizeof *self);
    self->texts = lm_calloc(room, sizeof *self->texts);
    self->types = lm_calloc(room, sizeof *self->types);
    for (int i = 0; i < query->param_count; i++) {
        self->texts[self->count] = query->params[i];
        self->types[self->count++] = query->param_types[i];
    }
}

static void
request_release(struct request *self)
{
    lm_buf_release(&self->sql);
    free(self->texts);
    free(self->types);
}

/* Adds a parameter and its place in the text. */
static void
add_param(struct request *self, const char *text, uint32_t type)
{
    self->texts[self->count] = text;
    self->types[self->count++] = type;
    lm_buf_printf(&self->sql, "$%d", self->count);
}

static void
add_columns(struct lm_buf *sql, const struct lm_base_query *query,
            const char *table)
{
    for (int i = 0; i < query->column_count; i++) {
        lm_buf_printf(sql, "%s%s.", i > 0 ? ", " : "", table);
        lm_sql_add_identifier(sql, query->columns[i]);
    }
}

static void
add_key_list(struct lm_buf *sql, const struct lm_base_query *query,
             const char *table, const char *suffix)
{
    for (int i = 0; i < query->key_count; i++) {
        lm_buf_printf(sql, "%s%s.", i > 0 ? ", " : "", table);
        lm_sql_add_identifier(sql, query->key[i]);
        lm_buf_puts(sql, suffix);
    }
}

/* "(k1, k2) > ($3, $4)", or without parentheses for a single column. */
static void
add_comparison(struct request *self, const struct lm_base_query *query,
               const char *operator, char * const * key)
{
    lm_buf_putc(&self->sql, '(');
    add_key_list(&self->sql, query, "page", "");
    lm_buf_printf(&self->sql, ") %s (", operator);
    for (int i = 0; i < query->key_count; i++) {
        if (i > 0)
            lm_buf_puts(&self->sql, ", ");
        add_param(self, key[i], query->key_types[i]);
    }
    lm_buf_putc(&self->sql, ')');
}

static void
add_source(struct lm_buf *sql, const struct lm_base_query *query)
{
    /* The line break ends a -- comment. */
    lm_buf_printf(sql, " FROM (%s\n) AS page", query->sql);
}

static void
add_where(struct request *self, const struct lm_base_query *query,
          char *const *cursor, char *const *bound)
{
    if (cursor != NULL || bound != NULL)
        lm_buf_puts(&self->sql, " WHERE ");
    if (cursor != NULL)
        add_comparison(self, query, ">", cursor);
    if (cursor != NULL && bound != NULL)
        lm_buf_puts(&self->sql, " AND ");
    if (bound != NULL)
        add_comparison(self, query, "<=", bound);
}

/* The rows after cursor and up to bound, without order and limit. */
static void
add_range(struct request *self, const struct lm_base_query *query,
          char *const *cursor, char *const *bound)
{
    lm_buf_puts(&self->sql, "SELECT ");
    add_columns(&self->sql, query, "page");
    add_source(&self->sql, query);
    add_where(self, query, cursor, bound);
}

static void
add_page(struct request *self, const struct lm_base_query *query,
         char *const *cursor, char *const *bound, const char *limit)
{
    add_range(self, query, cursor, bound);
    lm_buf_puts(&self->sql, " ORDER BY ");
    add_key_list(&self->sql, query, "page", "");
    lm_buf_puts(&self->sql, " LIMIT ");
    add_param(self, limit, LM_TYPE_INT8);
}

static void
add_watched_page(struct request *self, const struct lm_base_query *query,
                 char *const *cursor, char *const *bound, const char *limit)
{
    lm_buf_puts(&self->sql, "SELECT ");
    add_columns(&self->sql, query, "watched");
    lm_buf_puts(&self->sql, ", (");
    add_key_list(&self->sql, query, "watched", "");
    lm_buf_puts(&self->sql, ") = (");
    for (int i = 0; i < query->key_count; i++) {
        lm_buf_puts(&self->sql, i > 0 ? ", pg_catalog.lag(watched."
                                      : "pg_catalog.lag(watched.");
        lm_sql_add_identifier(&self->sql, query->key[i]);
        lm_buf_puts(&self->sql, ") OVER keys");
    }
    lm_buf_puts(&self->sql, ") FROM (");
    add_page(self, query, cursor, bound, limit);
    lm_buf_puts(&self->sql, ") AS watched WINDOW keys AS (ORDER BY ");
    add_key_list(&self->sql, query, "watched", "");
    lm_buf_puts(&self->sql, ") ORDER BY ");
    add_key_list(&self->sql, query, "watched", "");
}

/* The limit of a page, one row more than the batch has. */
struct row_limit {
    char text[24];
};

static struct row_limit
one_row_more(int64_t limit)
{
    struct row_limit out;

    snprintf(out.text, sizeof out.text, "%" PRId64, limit + 1);
    return out;
}

static void
add_whole_page(struct request *self, const struct lm_base_query *query,
               char *const *cursor, char *const *bound, const char *limit)
{
    if (query->key_is_unique) {
        add_page(self, query, cursor, bound, limit);
    } else {
        add_watched_page(self, query, cursor, bound, limit);
    }
}

static bool
send(struct request *self, struct lm_conn *conn, struct lm_result **out,
     struct lm_err *err)
{
    struct lm_values values = {self->texts, self->count};
    struct lm_stmt *stmt;

    return lm_conn_prepare(conn, lm_buf_text(&self->sql), self->types,
                           self->count, &stmt, err) &&
           lm_conn_execute(conn, stmt, values, out, err);
}

/* -- checks ----------------------------------------------------------- */

/* The texts of a row's key; the array is to be freed. */
static char **
key_texts(const struct lm_page *page, const struct lm_base_query *query,
          int row)
{
    char **texts = lm_calloc((size_t)query->key_count, sizeof *texts);

    for (int i = 0; i < query->key_count; i++)
        texts[i] = (char *)lm_page_key(page, query, row, i);
    return texts;
}

static bool
fail_key(const struct lm_base_query *query, char *const *texts,
         const char *what, struct lm_err *err)
{
    struct lm_buf key = LM_BUF_INIT;

    lm_page_describe_key(&key, query, texts);
    lm_err_set(err, LM_ERR_FAILED, "%s: %s", what, lm_buf_text(&key));
    lm_buf_release(&key);
    return false;
}

static bool
check_not_null(const struct lm_base_query *query, char *const *texts,
               struct lm_err *err)
{
    for (int i = 0; i < query->key_count; i++) {
        if (texts[i] != NULL)
            continue;
        fail_key(query, texts, "a row of the base query has a NULL key", err);
        lm_err_hint(err, "Leave such rows out with \"WHERE %s IS NOT NULL\".",
                    query->key[i]);
        return false;
    }
    return true;
}

static const char changed[] =
    "the base query's columns have changed since the run began";

static void
hint_changed(struct lm_err *err)
{
    lm_err_hint(err, "Run the same command again: it looks at the query "
                     "afresh.");
}

/* Is what came back what preflight was told of? */
static bool
check_columns(const struct lm_result *result, const struct lm_base_query *query,
              struct lm_err *err)
{
    int count = query->column_count + (query->key_is_unique ? 0 : 1);
    bool same = lm_result_columns(result) == count;

    for (int i = 0; same && i < query->key_count; i++) {
        int column = query->key_index[i];

        same =
            lm_result_column_type(result, column) == query->key_types[i] &&
            strcmp(lm_result_column_name(result, column), query->key[i]) == 0;
    }
    if (same)
        return true;
    lm_err_set(err, LM_ERR_FAILED, "%s", changed);
    hint_changed(err);
    return false;
}

/* Is the key of this row and the one before the same? */
static bool
is_duplicate(const struct lm_page *page, const struct lm_base_query *query,
             int row)
{
    return !query->key_is_unique &&
           lm_result_text(page->result, row, page->columns) != NULL &&
           lm_result_bool(page->result, row, page->columns);
}

static bool
has_null(const struct lm_page *page, const struct lm_base_query *query, int row)
{
    for (int i = 0; i < query->key_count; i++) {
        if (lm_page_key(page, query, row, i) == NULL)
            return true;
    }
    return false;
}

static bool
check_row(const struct lm_page *page, const struct lm_base_query *query,
          int row, struct lm_err *err)
{
    char **texts;

    if (!has_null(page, query, row) && !is_duplicate(page, query, row))
        return true;
    texts = key_texts(page, query, row);
    if (check_not_null(query, texts, err)) {
        fail_key(query, texts, "two rows of the base query have one key", err);
        lm_err_hint(err, "Name a unique key with config.key; a list of "
                         "columns will do: key = { \"tenant\", \"id\" }.");
    }
    free(texts);
    return false;
}

static bool
check_page(const struct lm_page *page, const struct lm_base_query *query,
           struct lm_err *err)
{
    bool ok = check_columns(page->result, query, err);

    for (int row = 0; ok && row < page->rows; row++)
        ok = check_row(page, query, row, err);
    return ok;
}

static bool
send_page(struct request *request, struct lm_conn *conn,
          const struct lm_base_query *query, struct lm_page *out,
          struct lm_err *err)
{
    bool ok = send(request, conn, &out->result, err);

    request_release(request);
    if (ok) {
        out->columns = query->column_count;
        out->rows = lm_result_rows(out->result);
    } else if (lm_err_is_state(err, "42703")) {
        lm_err_prefix(err, "%s", changed);
        hint_changed(err);
    }
    return ok;
}

bool
lm_page_fetch(struct lm_conn *conn, const struct lm_base_query *query,
              char *const *cursor, char *const *bound, int64_t limit,
              struct lm_page *out, struct lm_err *err)
{
    struct request request;
    struct row_limit text = one_row_more(limit);
    bool ok;

    memset(out, 0, sizeof *out);
    request_init(&request, query);
    add_whole_page(&request, query, cursor, bound, text.text);
    if (!send_page(&request, conn, query, out, err))
        return false;
    ok = check_page(out, query, err);
    out->more = out->rows > limit;
    if (out->more)
        out->rows--;
    if (!ok)
        lm_page_release(out);
    return ok;
}

bool
lm_page_fetch_row(struct lm_conn *conn, const struct lm_base_query *query,
                  char *const *key, struct lm_page *out, struct lm_err *err)
{
    struct request request;

    memset(out, 0, sizeof *out);
    request_init(&request, query);
    lm_buf_puts(&request.sql, "SELECT ");
    add_columns(&request.sql, query, "page");
    if (!query->key_is_unique)
        lm_buf_puts(&request.sql, ", false");
    add_source(&request.sql, query);
    lm_buf_puts(&request.sql, " WHERE ");
    add_comparison(&request, query, "=", key);
    lm_buf_puts(&request.sql, " LIMIT 2");
    if (!send_page(&request, conn, query, out, err))
        return false;
    if (check_page(out, query, err))
        return true;
    lm_page_release(out);
    return false;
}

bool
lm_page_check_key(struct lm_conn *conn, const struct lm_base_query *query,
                  char *const *key, struct lm_err *err)
{
    struct lm_values values = {(const char *const *)key, query->key_count};
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_result *result = NULL;
    bool ok;

    lm_buf_puts(&sql, "SELECT ");
    for (int i = 0; i < query->key_count; i++)
        lm_buf_printf(&sql, "%s$%d", i > 0 ? ", " : "", i + 1);
    ok = lm_conn_query_typed(conn, lm_buf_text(&sql), query->key_types, values,
                             &result, err);
    lm_result_free(result);
    lm_buf_release(&sql);
    return ok;
}

/* The key in the one row of a result, or NULL texts without a row. */
static bool
take_key(const struct lm_result *result, const struct lm_base_query *query,
         char ***texts, struct lm_err *err)
{
    char **key;

    *texts = NULL;
    if (lm_result_rows(result) == 0)
        return true;
    key = lm_calloc((size_t)query->key_count, sizeof *key);
    for (int i = 0; i < query->key_count; i++)
        key[i] = (char *)lm_result_text(result, 0, i);
    if (!check_not_null(query, key, err)) {
        free(key);
        return false;
    }
    for (int i = 0; i < query->key_count; i++)
        key[i] = lm_strdup(key[i]);
    *texts = key;
    return true;
}

bool
lm_page_highest(struct lm_conn *conn, const struct lm_base_query *query,
                char ***texts, struct lm_err *err)
{
    struct request request;
    struct lm_result *result = NULL;
    bool ok;

    *texts = NULL;
    request_init(&request, query);
    lm_buf_puts(&request.sql, "SELECT ");
    add_key_list(&request.sql, query, "page", "");
    add_source(&request.sql, query);
    lm_buf_puts(&request.sql, " ORDER BY ");
    add_key_list(&request.sql, query, "page", " DESC");
    lm_buf_puts(&request.sql, " LIMIT 1");
    ok = send(&request, conn, &result, err) &&
         take_key(result, query, texts, err);
    request_release(&request);
    lm_result_free(result);
    return ok;
}

bool
lm_page_key_table(struct lm_conn *conn, const struct lm_base_query *query,
                  char **table, struct lm_err *err)
{
    static const char sql[] =
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
        " ON n.oid = c.relnamespace"
        " WHERE c.oid = $1::pg_catalog.oid AND c.relkind IN ('r', 'p', 'm')";
    char oid[16];
    const char *texts[] = {oid};
    struct lm_values values = {texts, 1};
    struct lm_result *result = NULL;

    *table = NULL;
    for (int i = 0; i < query->key_count; i++) {
        int source = query->key_source[i];

        if (source < 0 || query->sources[source].table !=
                              query->sources[query->key_source[0]].table)
            return true;
    }
    snprintf(oid, sizeof oid, "%" PRIu32,
             query->sources[query->key_source[0]].table);
    if (!lm_conn_query(conn, sql, values, &result, err))
        return false;
    if (lm_result_rows(result) == 1)
        *table = lm_strdup(lm_result_text(result, 0, 0));
    lm_result_free(result);
    return true;
}

/* The key columns of the table, under the names of the base query, which may
 * have left out those that are NULL. */
static void
add_key_source(struct lm_buf *sql, const struct lm_base_query *query,
               const char *table)
{
    lm_buf_puts(sql, " FROM (SELECT ");
    for (int i = 0; i < query->key_count; i++) {
        const char *column = query->sources[query->key_source[i]].column;

        lm_buf_puts(sql, i > 0 ? ", " : "");
        lm_sql_add_identifier(sql, column);
        lm_buf_puts(sql, " AS ");
        lm_sql_add_identifier(sql, query->key[i]);
    }
    lm_buf_printf(sql, " FROM %s) AS page", table);
}

static void
add_key_not_null(struct lm_buf *sql, const struct lm_base_query *query,
                 bool first)
{
    for (int i = 0; i < query->key_count; i++) {
        lm_buf_puts(sql, first && i == 0 ? " WHERE page." : " AND page.");
        lm_sql_add_identifier(sql, query->key[i]);
        lm_buf_puts(sql, " IS NOT NULL");
    }
}

bool
lm_page_window_end(struct lm_conn *conn, const struct lm_base_query *query,
                   const char *table, char *const *cursor, char *const *bound,
                   int64_t rows, char ***texts, struct lm_err *err)
{
    struct request request;
    struct lm_result *result = NULL;
    char offset[24];
    bool ok;

    *texts = NULL;
    snprintf(offset, sizeof offset, "%" PRId64, rows - 1);
    request_init(&request, query);
    request.count = 0; /* those of the base query have no place here */
    lm_buf_puts(&request.sql, "SELECT ");
    add_key_list(&request.sql, query, "page", "");
    add_key_source(&request.sql, query, table);
    add_where(&request, query, cursor, bound);
    add_key_not_null(&request.sql, query, cursor == NULL && bound == NULL);
    lm_buf_puts(&request.sql, " ORDER BY ");
    add_key_list(&request.sql, query, "page", "");
    lm_buf_puts(&request.sql, " LIMIT 1 OFFSET ");
    add_param(&request, offset, LM_TYPE_INT8);
    ok = send(&request, conn, &result, err) &&
         take_key(result, query, texts, err);
    request_release(&request);
    lm_result_free(result);
    return ok;
}

bool
lm_page_count(struct lm_conn *conn, const struct lm_base_query *query,
              char *const *bound, int64_t *total, int64_t *beyond,
              struct lm_err *err)
{
    struct request request;
    struct lm_result *result = NULL;
    bool ok;

    request_init(&request, query);
    lm_buf_puts(&request.sql, "SELECT pg_catalog.count(*)");
    if (bound != NULL) {
        lm_buf_puts(&request.sql, ", pg_catalog.count(*) FILTER (WHERE ");
        add_comparison(&request, query, ">", bound);
        lm_buf_putc(&request.sql, ')');
    }
    add_source(&request.sql, query);
    ok = send(&request, conn, &result, err);
    request_release(&request);
    if (!ok)
        return false;
    *total = lm_result_int(result, 0, 0);
    *beyond = bound != NULL ? lm_result_int(result, 0, 1) : 0;
    lm_result_free(result);
    return true;
}

bool
lm_page_count_left(struct lm_conn *conn, const struct lm_base_query *query,
                   char *const *cursor, char *const *bound, int64_t *rows,
                   struct lm_err *err)
{
    struct request request;
    struct lm_result *result = NULL;
    bool ok;

    request_init(&request, query);
    lm_buf_puts(&request.sql, "SELECT pg_catalog.count(*) FROM (");
    add_range(&request, query, cursor, bound);
    lm_buf_puts(&request.sql, ") AS page");
    ok = send(&request, conn, &result, err);
    request_release(&request);
    if (ok)
        *rows = lm_result_int(result, 0, 0);
    lm_result_free(result);
    return ok;
}

int64_t
lm_page_estimate(struct lm_conn *conn, const struct lm_base_query *query,
                 char *const *cursor, char *const *bound)
{
    static const char mark[] = "\"Plan Rows\":";
    struct request request;
    struct lm_result *result = NULL;
    struct lm_err ignored;
    int64_t rows = -1;

    request_init(&request, query);
    lm_buf_puts(&request.sql, "EXPLAIN (FORMAT JSON) ");
    add_range(&request, query, cursor, bound);
    if (lm_conn_query_typed(conn, lm_buf_text(&request.sql), request.types,
                            (struct lm_values){request.texts, request.count},
                            &result, &ignored)) {
        const char *found = strstr(lm_result_text(result, 0, 0), mark);

        if (found != NULL)
            rows = strtoll(found + sizeof mark - 1, NULL, 10);
        lm_result_free(result);
    }
    request_release(&request);
    return rows;
}

bool
lm_page_explain(struct lm_conn *conn, const struct lm_base_query *query,
                char *const *cursor, char *const *bound, int64_t limit,
                bool run, struct lm_result **out, struct lm_err *err)
{
    struct request request;
    struct row_limit text = one_row_more(limit);
    bool ok;

    request_init(&request, query);
    lm_buf_printf(&request.sql, "EXPLAIN (%sVERBOSE, FORMAT JSON) ",
                  run ? "ANALYZE, TIMING OFF, " : "");
    add_whole_page(&request, query, cursor, bound, text.text);
    ok = lm_conn_query_typed(conn, lm_buf_text(&request.sql), request.types,
                             (struct lm_values){request.texts, request.count},
                             out, err);
    request_release(&request);
    return ok;
}
