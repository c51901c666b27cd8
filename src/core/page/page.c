/* SPDX-License-Identifier: MIT */
/* Reads pages (page/page_sql.c builds the queries) and checks the answers. If
 * the key is not proved unique, the server compares each row's key with the
 * row before, by the type's own equality. */

#include "core/page/page.h"

#include "base/text.h"
#include "core/page/private.h"
#include "pg/conn/own.h"
#include "pg/sql/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
lm_page_release(struct lm_page *page)
{
    lm_result_free(page->result);
    memset(page, 0, sizeof *page);
}

size_t
lm_page_bytes(const struct lm_page *page)
{
    return lm_result_bytes(page->result);
}

int
lm_page_key_index(const struct lm_base_query *query, int i)
{
    return query->keys_only ? i : query->key_index[i];
}

const char *
lm_page_key(const struct lm_page *page, const struct lm_base_query *query,
            int row, int i)
{
    return lm_result_text(page->result, row - page->skipped,
                          lm_page_key_index(query, i));
}

void
lm_page_copy_key(const struct lm_page *page, const struct lm_base_query *query,
                 int row, struct lm_key *out)
{
    const char **texts = lm_calloc((size_t)query->key_count, sizeof *texts);

    for (int i = 0; i < query->key_count; i++)
        texts[i] = lm_page_key(page, query, row, i);
    lm_key_set(out, texts, query->key_count);
    free(texts);
}

/* -- asking ----------------------------------------------------------- */

static int
own_columns(const struct lm_base_query *query)
{
    return query->keys_only ? query->key_count : query->column_count;
}

/* The columns that a page has after those. */
static int
watched_columns(const struct lm_base_query *query)
{
    return (query->key_is_unique ? 0 : 1) + lm_request_may_round(query);
}

static void
add_whole_page(struct lm_page_request *self, struct lm_bounds range,
               const char *limit)
{
    if (watched_columns(self->query) > 0) {
        lm_request_add_watched_page(self, range, limit);
    } else {
        lm_request_add_page(self, range, limit);
    }
}

bool
lm_request_ask(const struct lm_page_request *self, struct lm_conn *conn,
               const char *shape, struct lm_answer **out, struct lm_err *err)
{
    struct lm_values values = {self->texts, self->count};
    struct lm_stmt *stmt;

    return lm_conn_prepare(conn, lm_buf_text(&self->sql), self->types,
                           self->count, &stmt, err) &&
           lm_conn_ask_prepared(conn, stmt, shape, values, out, err);
}

/* -- checks ----------------------------------------------------------- */

static bool
fail_key(const struct lm_base_query *query, const struct lm_key *key,
         const char *what, struct lm_err *err)
{
    struct lm_buf text = LM_BUF_INIT;

    lm_key_describe(key, query, &text);
    lm_err_set(err, LM_ERR_FAILED, "%s: %s", what, lm_buf_text(&text));
    lm_buf_release(&text);
    return false;
}

static bool
check_not_null(const struct lm_base_query *query, const struct lm_key *key,
               struct lm_err *err)
{
    struct lm_buf name = LM_BUF_INIT;

    for (int i = 0; i < query->key_count; i++) {
        if (key->texts[i] != NULL)
            continue;
        fail_key(query, key, "a row of the base query has a NULL key", err);
        lm_sql_add_name(&name, query->key[i]);
        lm_err_hint(err,
                    "Leave such rows out: SELECT * FROM (base query) AS q "
                    "WHERE q.%s IS NOT NULL.",
                    lm_buf_text(&name));
        lm_buf_release(&name);
        return false;
    }
    return true;
}

static const char changed[] =
    "the base query's columns have changed since the run began";

static void
hint_changed(struct lm_err *err)
{
    lm_err_hint(err, "Run the same command again: it checks the query again.");
}

/* The rows that the run has not met are those after its last key only in the
 * table that this is a key of. Of a page that is put together with UNION the
 * server does not tell. */
static bool
check_origin(const struct lm_result *result, const struct lm_base_query *query,
             int key, struct lm_err *err)
{
    int column = lm_page_key_index(query, key);
    uint32_t table = lm_result_column_table(result, column);

    if (table == 0 || (table == query->key_origins[key].table &&
                       lm_result_table_column(result, column) ==
                           query->key_origins[key].column))
        return true;
    return lm_err_set(err, LM_ERR_FAILED,
                      "the key column \"%s\" came from another table or "
                      "another column when the command began",
                      query->key[key]);
}

/* Has the answer the columns that preflight found? */
static bool
check_columns(const struct lm_result *result, const struct lm_base_query *query,
              const char *sql, struct lm_err *err)
{
    int count = own_columns(query) + watched_columns(query);
    bool same = lm_result_columns(result) == count;

    for (int i = 0; same && i < query->key_count; i++) {
        int column = lm_page_key_index(query, i);

        same =
            lm_result_column_type(result, column) == query->key_types[i] &&
            strcmp(lm_result_column_name(result, column), query->key[i]) == 0;
    }
    if (!same)
        lm_err_set(err, LM_ERR_FAILED, "%s", changed);
    for (int i = 0; same && i < query->key_count; i++)
        same = check_origin(result, query, i, err);
    if (same)
        return true;
    LM_ERR_COPY(err->sql, sql);
    hint_changed(err);
    return false;
}

/* Is the key of this row the same as in the row before, by the server: "t",
 * "f", or NULL, as for the first row. */
static const char *
sameness(const struct lm_page *page, const struct lm_base_query *query, int row)
{
    return query->key_is_unique
               ? "f"
               : lm_result_text(page->result, row, page->columns);
}

/* Has the text of this key the key's value, by the server: "t", "f", or NULL
 * if the key cannot round. */
static const char *
exactness(const struct lm_page *page, const struct lm_base_query *query,
          int row)
{
    return lm_request_may_round(query)
               ? lm_result_text(page->result, row,
                                page->columns + watched_columns(query) - 1)
               : "t";
}

static bool
is_bool(const char *text)
{
    return text != NULL && (strcmp(text, "t") == 0 || strcmp(text, "f") == 0);
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
          int row, const char *sql, struct lm_err *err)
{
    const char *same = sameness(page, query, row);
    bool null = has_null(page, query, row);
    struct lm_key key = {NULL, 0};

    if (!null && !is_bool(same) && (same != NULL || row > 0)) {
        return lm_answer_fail_of(
            sql, "it does not say whether two keys are the same", err);
    }
    if (!null && !is_bool(exactness(page, query, row))) {
        return lm_answer_fail_of(
            sql, "it does not say whether a text has the value of its key",
            err);
    }
    if (!null && (same == NULL || *same == 'f'))
        return true;
    lm_page_copy_key(page, query, row, &key);
    if (check_not_null(query, &key, err)) {
        fail_key(query, &key, "two rows of the base query have the same key",
                 err);
        lm_err_hint(err, "Name a unique key with config.key. It may have "
                         "several columns: key = { \"tenant\", \"id\" }.");
    }
    lm_key_release(&key);
    return false;
}

static bool
check_page(const struct lm_page *page, const struct lm_base_query *query,
           const char *sql, struct lm_err *err)
{
    bool ok = check_columns(page->result, query, sql, err);

    for (int row = 0; ok && row < page->rows; row++)
        ok = check_row(page, query, row, sql, err);
    return ok;
}

void
lm_page_question_release(struct lm_page_question *self)
{
    lm_result_free(self->result);
    free(self->sql);
    memset(self, 0, sizeof *self);
}

static void
explain_changed(struct lm_err *err)
{
    if (!lm_err_is_state(err, "42703"))
        return;
    lm_err_prefix(err, "%s", changed);
    hint_changed(err);
}

/* Releases the request. */
static bool
post_page(struct lm_page_request *request, struct lm_conn *conn,
          struct lm_page_question *out, struct lm_err *err)
{
    struct lm_values values = {request->texts, request->count};
    struct lm_stmt *stmt;
    bool ok = lm_conn_prepare(conn, lm_buf_text(&request->sql), request->types,
                              request->count, &stmt, err) &&
              lm_conn_post_query(conn, stmt, values, &out->result, err);

    if (!ok)
        explain_changed(err);
    out->sql = lm_buf_take(&request->sql);
    lm_request_release(request);
    return ok;
}

/* Waits for what post_page asked, and checks it. Releases the question. */
static bool
read_rows(struct lm_page_question *question, struct lm_conn *conn,
          const struct lm_base_query *query, struct lm_page *out,
          struct lm_err *err)
{
    bool ok = lm_conn_await(conn, question->result, question->sql, err);

    if (ok) {
        out->result = question->result;
        question->result = NULL;
        out->columns = own_columns(query);
        out->rows = lm_result_rows(out->result);
        ok = check_page(out, query, question->sql, err);
        if (!ok)
            lm_page_release(out);
    } else {
        explain_changed(err);
    }
    lm_page_question_release(question);
    return ok;
}

/* -- keys whose texts round ------------------------------------------------ */

static bool
fail_rounded(const struct lm_base_query *query, const struct lm_key *key,
             struct lm_err *err)
{
    fail_key(query, key, "the text of a key has another value than the key",
             err);
    lm_err_detail(err,
                  "luamig keeps the text of the last key. If that text is "
                  "rounded, the run would skip rows or migrate rows twice.");
    return lm_err_hint(
        err, "Page by another key: name it with config.key, and begin a new "
             "run with --restart. The new run begins at the first row.");
}

/* The cursor after the page is the text of its last key. */
static bool
check_rounding(const struct lm_base_query *query, const struct lm_page *page,
               struct lm_err *err)
{
    struct lm_key last = {NULL, 0};

    if (page->rows == 0 || *exactness(page, query, page->rows - 1) == 't')
        return true;
    lm_page_copy_key(page, query, page->rows - 1, &last);
    fail_rounded(query, &last, err);
    lm_key_release(&last);
    return false;
}

bool
lm_page_ask(struct lm_conn *conn, const struct lm_base_query *query,
            const struct lm_key *cursor, const struct lm_key *bound,
            int64_t limit, bool skip, struct lm_page_question *out,
            struct lm_err *err)
{
    struct lm_page_request request;
    const char *count = LM_DIGITS(limit + 1);
    struct lm_bounds range = {cursor, bound};

    lm_page_question_release(out);
    out->limit = limit;
    out->skip = skip;
    lm_request_init(&request, query);
    if (skip) {
        lm_request_add_page_end(&request, range, count);
    } else {
        add_whole_page(&request, range, count);
    }
    return post_page(&request, conn, out, err);
}

bool
lm_page_read(struct lm_conn *conn, const struct lm_base_query *query,
             struct lm_page_question *question, struct lm_page *out,
             struct lm_err *err)
{
    int64_t limit = question->limit;
    bool skip = question->skip;

    memset(out, 0, sizeof *out);
    if (!read_rows(question, conn, query, out, err))
        return false;
    if (skip && out->rows > 0) {
        out->more = out->rows > 1;
        out->rows = (int)limit;
        out->skipped = out->rows - 1;
    }
    if (skip)
        return true;
    out->more = out->rows > limit;
    if (out->more)
        out->rows--;
    if (check_rounding(query, out, err))
        return true;
    lm_page_release(out);
    return false;
}

bool
lm_page_fetch(struct lm_conn *conn, const struct lm_base_query *query,
              const struct lm_key *cursor, const struct lm_key *bound,
              int64_t limit, struct lm_page *out, struct lm_err *err)
{
    struct lm_page_question question = {.result = NULL};
    bool ok =
        lm_page_ask(conn, query, cursor, bound, limit, false, &question, err) &&
        lm_page_read(conn, query, &question, out, err);

    lm_page_question_release(&question);
    return ok;
}

bool
lm_page_may_skip(const struct lm_base_query *query)
{
    return query->keys_only && watched_columns(query) == 0;
}

bool
lm_page_fetch_row(struct lm_conn *conn, const struct lm_base_query *query,
                  const struct lm_key *key, struct lm_page *out,
                  struct lm_err *err)
{
    struct lm_page_question question = {.result = NULL};
    struct lm_page_request request;
    bool ok;

    memset(out, 0, sizeof *out);
    lm_request_init(&request, query);
    lm_buf_puts(&request.sql, "SELECT ");
    lm_request_add_columns(&request, "page");
    if (!query->key_is_unique)
        lm_buf_puts(&request.sql, ", false");
    if (lm_request_may_round(query))
        lm_buf_puts(&request.sql, ", true");
    lm_request_add_source(&request);
    lm_buf_puts(&request.sql, " WHERE ");
    lm_request_add_key_is(&request, key);
    lm_buf_puts(&request.sql, " LIMIT 2");
    ok = post_page(&request, conn, &question, err) &&
         read_rows(&question, conn, query, out, err);
    lm_page_question_release(&question);
    return ok;
}

bool
lm_page_check_key(struct lm_conn *conn, const struct lm_base_query *query,
                  const struct lm_key *key, struct lm_err *err)
{
    struct lm_values values = {(const char *const *)key->texts, key->count};
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_answer *answer = NULL;
    char shape[16];
    bool ok;

    snprintf(shape, sizeof shape, "1: %dt?", query->key_count);
    lm_buf_puts(&sql, "SELECT ");
    for (int i = 0; i < query->key_count; i++)
        lm_buf_printf(&sql, "%s$%d", i > 0 ? ", " : "", i + 1);
    ok = lm_conn_ask_typed(conn, lm_buf_text(&sql), shape, query->key_types,
                           values, &answer, err);
    lm_answer_free(answer);
    lm_buf_release(&sql);
    return ok;
}

/* Begins a query for one key that always returns a row, so that "no key" is
 * not confused with a lost row. */
static void
begin_key(struct lm_page_request *request)
{
    lm_buf_puts(&request->sql, "SELECT coalesce(found.luamig_found, false), ");
    lm_request_add_keys(request, "found", "");
    if (lm_request_may_round(request->query)) {
        lm_buf_puts(&request->sql, ", found.luamig_found AND coalesce(");
        lm_request_add_is_exact(request, "found");
        lm_buf_puts(&request->sql, ", true)");
    }
    lm_buf_puts(&request->sql, " FROM (SELECT) AS one LEFT JOIN (SELECT true"
                               " AS luamig_found, key.* FROM (");
}

void
lm_page_take_key(const struct lm_answer *answer, int row, int column,
                 const struct lm_base_query *query, struct lm_key *out)
{
    lm_key_release(out);
    out->texts = lm_calloc((size_t)query->key_count, sizeof *out->texts);
    out->count = query->key_count;
    for (int i = 0; i < out->count; i++)
        out->texts[i] = lm_answer_copy(answer, row, column + i);
}

/* Ends it and asks. out is empty when there is no key. */
static bool
ask_key(struct lm_page_request *request, struct lm_conn *conn,
        struct lm_key *out, struct lm_err *err)
{
    const struct lm_base_query *query = request->query;
    struct lm_answer *answer = NULL;
    bool rounds = lm_request_may_round(query);
    char shape[24];
    bool ok = true;

    lm_key_release(out);
    lm_buf_puts(&request->sql, ") AS key) AS found ON true");
    snprintf(shape, sizeof shape, "!: b %dt?%s", query->key_count,
             rounds ? " b" : "");
    if (!lm_request_ask(request, conn, shape, &answer, err))
        return false;
    if (lm_answer_bool(answer, 0, 0)) {
        lm_page_take_key(answer, 0, 1, query, out);
        ok = check_not_null(query, out, err) &&
             (!rounds || lm_answer_bool(answer, 0, query->key_count + 1) ||
              fail_rounded(query, out, err));
    }
    lm_answer_free(answer);
    if (!ok) {
        lm_key_release(out);
        LM_ERR_COPY(err->sql, lm_buf_text(&request->sql));
    }
    return ok;
}

bool
lm_page_key_before(struct lm_conn *conn, const struct lm_base_query *query,
                   const char *table, const struct lm_key *key,
                   struct lm_key *out, struct lm_err *err)
{
    struct lm_page_request request;
    bool ok;

    lm_request_init(&request, query);
    begin_key(&request);
    lm_request_add_highest(&request, table, key);
    ok = ask_key(&request, conn, out, err);
    lm_request_release(&request);
    return ok;
}

bool
lm_page_highest(struct lm_conn *conn, const struct lm_base_query *query,
                const char *table, struct lm_key *out, struct lm_err *err)
{
    return lm_page_key_before(conn, query, table, NULL, out, err);
}

bool
lm_page_key_ahead(struct lm_conn *conn, const struct lm_base_query *query,
                  const struct lm_key *cursor, const struct lm_key *bound,
                  int64_t rows, struct lm_key *out, int64_t *found,
                  struct lm_err *err)
{
    struct lm_page_request request;
    struct lm_bounds range = {cursor, bound};
    struct lm_answer *answer = NULL;
    char shape[24];
    bool ok;

    lm_key_release(out);
    *found = 0;
    snprintf(shape, sizeof shape, "*: %dt?", query->key_count);
    lm_request_init(&request, query);
    lm_request_add_key_page(&request, range, LM_DIGITS(rows));
    ok = lm_request_ask(&request, conn, shape, &answer, err);
    if (ok)
        *found = lm_answer_rows(answer);
    if (*found > 0) {
        lm_page_take_key(answer, (int)*found - 1, 0, query, out);
        ok = check_not_null(query, out, err);
        if (!ok) {
            lm_key_release(out);
            LM_ERR_COPY(err->sql, lm_buf_text(&request.sql));
        }
    }
    lm_request_release(&request);
    lm_answer_free(answer);
    return ok;
}

bool
lm_page_key_table(struct lm_conn *conn, const struct lm_base_query *query,
                  char **table, struct lm_err *err)
{
    static const char sql[] = LM_OWN
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
        " ON n.oid = c.relnamespace"
        " WHERE c.oid = $1::pg_catalog.oid AND c.relkind IN ('r', 'p', 'm')";
    struct lm_answer *answer = NULL;

    *table = NULL;
    for (int i = 0; i < query->key_count; i++) {
        int source = query->key_source[i];

        if (source < 0 || query->sources[source].table !=
                              query->sources[query->key_source[0]].table)
            return true;
    }
    if (!lm_conn_ask(
            conn, sql, "?: t",
            LM_VALUES(LM_DIGITS(query->sources[query->key_source[0]].table)),
            &answer, err))
        return false;
    *table = lm_answer_copy(answer, 0, 0);
    lm_answer_free(answer);
    return true;
}

bool
lm_page_window_end(struct lm_conn *conn, const struct lm_base_query *query,
                   const char *table, const struct lm_key *cursor,
                   const struct lm_key *bound, int64_t rows, struct lm_key *out,
                   struct lm_err *err)
{
    struct lm_page_request request;
    bool ok;

    lm_request_init(&request, query);
    begin_key(&request);
    lm_request_add_window_end(
        &request, table, (struct lm_bounds){cursor, bound}, LM_DIGITS(rows));
    ok = ask_key(&request, conn, out, err);
    lm_request_release(&request);
    return ok;
}

bool
lm_page_explain(struct lm_conn *conn, const struct lm_base_query *query,
                const struct lm_key *cursor, const struct lm_key *bound,
                int64_t limit, bool run, struct lm_answer **out,
                struct lm_err *err)
{
    struct lm_page_request request;
    bool ok;

    lm_request_init(&request, query);
    lm_buf_printf(&request.sql, "EXPLAIN (%sVERBOSE, FORMAT JSON) ",
                  run ? "ANALYZE, TIMING OFF, " : "");
    add_whole_page(&request, (struct lm_bounds){cursor, bound},
                   LM_DIGITS(limit + 1));
    ok = lm_conn_ask_typed(
        conn, lm_buf_text(&request.sql), "1: t", request.types,
        (struct lm_values){request.texts, request.count}, out, err);
    lm_request_release(&request);
    return ok;
}
