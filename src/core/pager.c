/* SPDX-License-Identifier: MIT */
/*
 * Asks for pages (pager_sql.c builds the queries) and checks what comes back.
 * Where the key is not proved unique, the server compares each row's key with
 * the one before, by its own idea of equality.
 */

#include "core/pager.h"

#include "core/pager_private.h"
#include "pg/sql.h"

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

/* -- asking ----------------------------------------------------------- */

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
add_whole_page(struct lm_request *self, char *const *cursor, char *const *bound,
               const char *limit)
{
    struct lm_range range = {cursor, bound};

    if (self->query->key_is_unique) {
        lm_request_add_page(self, range, limit);
    } else {
        lm_request_add_watched_page(self, range, limit);
    }
}

static bool
send(struct lm_request *self, struct lm_conn *conn, struct lm_result **out,
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
send_page(struct lm_request *request, struct lm_conn *conn,
          const struct lm_base_query *query, struct lm_page *out,
          struct lm_err *err)
{
    bool ok = send(request, conn, &out->result, err);

    lm_request_release(request);
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
    struct lm_request request;
    struct row_limit text = one_row_more(limit);
    bool ok;

    memset(out, 0, sizeof *out);
    lm_request_init(&request, query);
    add_whole_page(&request, cursor, bound, text.text);
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
    struct lm_request request;

    memset(out, 0, sizeof *out);
    lm_request_init(&request, query);
    lm_buf_puts(&request.sql, "SELECT ");
    lm_request_add_columns(&request, "page");
    if (!query->key_is_unique)
        lm_buf_puts(&request.sql, ", false");
    lm_request_add_source(&request);
    lm_buf_puts(&request.sql, " WHERE ");
    lm_request_add_key_is(&request, key);
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
    struct lm_request request;
    struct lm_result *result = NULL;
    bool ok;

    *texts = NULL;
    lm_request_init(&request, query);
    lm_buf_puts(&request.sql, "SELECT ");
    lm_request_add_keys(&request, "page", "");
    lm_request_add_source(&request);
    lm_buf_puts(&request.sql, " ORDER BY ");
    lm_request_add_keys(&request, "page", " DESC");
    lm_buf_puts(&request.sql, " LIMIT 1");
    ok = send(&request, conn, &result, err) &&
         take_key(result, query, texts, err);
    lm_request_release(&request);
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

bool
lm_page_window_end(struct lm_conn *conn, const struct lm_base_query *query,
                   const char *table, char *const *cursor, char *const *bound,
                   int64_t rows, char ***texts, struct lm_err *err)
{
    struct lm_request request;
    struct lm_result *result = NULL;
    char text[24];
    bool ok;

    *texts = NULL;
    snprintf(text, sizeof text, "%" PRId64, rows);
    lm_request_init(&request, query);
    lm_request_add_window_end(&request, table, (struct lm_range){cursor, bound},
                              text);
    ok = send(&request, conn, &result, err) &&
         take_key(result, query, texts, err);
    lm_request_release(&request);
    lm_result_free(result);
    return ok;
}

bool
lm_page_count(struct lm_conn *conn, const struct lm_base_query *query,
              char *const *bound, int64_t *total, int64_t *beyond,
              struct lm_err *err)
{
    struct lm_request request;
    struct lm_result *result = NULL;
    bool ok;

    lm_request_init(&request, query);
    lm_buf_puts(&request.sql, "SELECT pg_catalog.count(*)");
    if (bound != NULL) {
        lm_buf_puts(&request.sql, ", pg_catalog.count(*) FILTER (WHERE ");
        lm_request_add_key_after(&request, bound);
        lm_buf_putc(&request.sql, ')');
    }
    lm_request_add_source(&request);
    ok = send(&request, conn, &result, err);
    lm_request_release(&request);
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
    struct lm_request request;
    struct lm_result *result = NULL;
    bool ok;

    lm_request_init(&request, query);
    lm_buf_puts(&request.sql, "SELECT pg_catalog.count(*) FROM (");
    lm_request_add_range(&request, (struct lm_range){cursor, bound});
    lm_buf_puts(&request.sql, ") AS page");
    ok = send(&request, conn, &result, err);
    lm_request_release(&request);
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
    struct lm_request request;
    struct lm_result *result = NULL;
    struct lm_err ignored;
    int64_t rows = -1;

    lm_request_init(&request, query);
    lm_buf_puts(&request.sql, "EXPLAIN (FORMAT JSON) ");
    lm_request_add_range(&request, (struct lm_range){cursor, bound});
    if (lm_conn_query_typed(conn, lm_buf_text(&request.sql), request.types,
                            (struct lm_values){request.texts, request.count},
                            &result, &ignored)) {
        const char *found = strstr(lm_result_text(result, 0, 0), mark);

        if (found != NULL)
            rows = strtoll(found + sizeof mark - 1, NULL, 10);
        lm_result_free(result);
    }
    lm_request_release(&request);
    return rows;
}

bool
lm_page_explain(struct lm_conn *conn, const struct lm_base_query *query,
                char *const *cursor, char *const *bound, int64_t limit,
                bool run, struct lm_result **out, struct lm_err *err)
{
    struct lm_request request;
    struct row_limit text = one_row_more(limit);
    bool ok;

    lm_request_init(&request, query);
    lm_buf_printf(&request.sql, "EXPLAIN (%sVERBOSE, FORMAT JSON) ",
                  run ? "ANALYZE, TIMING OFF, " : "");
    add_whole_page(&request, cursor, bound, text.text);
    ok = lm_conn_query_typed(conn, lm_buf_text(&request.sql), request.types,
                             (struct lm_values){request.texts, request.count},
                             out, err);
    lm_request_release(&request);
    return ok;
}
