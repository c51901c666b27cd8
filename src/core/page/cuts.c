/* SPDX-License-Identifier: MIT */
/*
 * Keys at which a range may be cut. Any key will do: a cut decides which worker
 * migrates a row, and never whether it is migrated. So a table's keys are read
 * from a sample of its blocks, which takes milliseconds for a table of any
 * size.
 */

#include "base/text.h"
#include "core/page/page.h"
#include "core/page/private.h"
#include "pg/conn/own.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    SAMPLED_BLOCKS = 400,
    SAMPLED_ROWS = 4000,
    ROWS_A_BLOCK = 100 /* for a guess */
};

bool
lm_page_is_key_after(struct lm_conn *conn, const struct lm_base_query *query,
                     const struct lm_key *key, const struct lm_key *other,
                     bool *after, struct lm_err *err)
{
    struct lm_page_request request;
    struct lm_answer *answer = NULL;
    bool ok;

    lm_request_init(&request, query);
    request.count = 0;
    lm_buf_puts(&request.sql, "SELECT ");
    lm_request_add_key_after(&request, other);
    lm_buf_puts(&request.sql, " FROM (SELECT ");
    lm_request_add_key_values(&request, key);
    lm_buf_puts(&request.sql, ") AS page");
    ok = lm_conn_ask_typed(
        conn, lm_buf_text(&request.sql), "1: b", request.types,
        (struct lm_values){request.texts, request.count}, &answer, err);
    lm_request_release(&request);
    *after = ok && lm_answer_bool(answer, 0, 0);
    lm_answer_free(answer);
    return ok;
}

/* The coordinator has no block of a table that Citus has distributed. */
#define SIZE_HERE(table) "pg_relation_size(" table ")"
#define SIZE_ON_NODES(table)                                              \
    "CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_dist_partition d"        \
    "  WHERE d.logicalrelid = " table ") THEN citus_relation_size(" table \
    ") ELSE " SIZE_HERE(table) " END"
#define BLOCKS(size)                                                  \
    "SELECT greatest(coalesce(sum(" size("t.relid") "), 0), " size(   \
        "$1::oid::regclass") ")::float8"                              \
                             " / current_setting('block_size')::int4" \
                             " FROM pg_partition_tree($1::oid::regclass) t"

/* How many blocks the key's table has, with its partitions. */
static bool
count_blocks(struct lm_conn *conn, const struct lm_base_query *query,
             double *blocks, struct lm_err *err)
{
    static const char sql[] = LM_OWN BLOCKS(SIZE_HERE);
    static const char citus_sql[] = LM_OWN BLOCKS(SIZE_ON_NODES);
    char oid[16];
    struct lm_answer *answer = NULL;
    bool ok;

    snprintf(oid, sizeof oid, "%u", query->key_origins[0].table);
    ok = lm_conn_ask(conn, lm_conn_is_citus(conn) ? citus_sql : sql, "1: r",
                     LM_VALUES(oid), &answer, err);
    *blocks = ok ? lm_answer_real(answer, 0, 0) : 0;
    lm_answer_free(answer);
    return ok;
}

/* "SELECT k1, k2, count FROM (SELECT k1, k2, row_number() ..., count(*) ..."; a
 * FROM follows. */
static void
begin_numbered(struct lm_page_request *self)
{
    lm_buf_puts(&self->sql, "SELECT ");
    lm_request_add_keys(self, "page", "");
    lm_buf_puts(&self->sql, ", \"luamig count\" FROM (SELECT ");
    lm_request_add_keys(self, "page", "");
    lm_buf_puts(&self->sql, ", pg_catalog.row_number() OVER (ORDER BY ");
    lm_request_add_keys(self, "page", "");
    lm_buf_puts(&self->sql, ") AS \"luamig number\", pg_catalog.count(*)"
                            " OVER () AS \"luamig count\"");
}

/* Each of the rows whose number is a multiple of a part. */
static void
add_sample(struct lm_page_request *self, const char *table,
           struct lm_bounds range, double blocks, int most, double *rows_each)
{
    char sample[64];
    double share = blocks > SAMPLED_BLOCKS ? SAMPLED_BLOCKS / blocks : 1;
    double kept = fmin(1, SAMPLED_ROWS / (blocks * share * ROWS_A_BLOCK + 1));

    *rows_each = 1 / (share * kept);
    snprintf(sample, sizeof sample, " TABLESAMPLE SYSTEM (%.9f)", share * 100);
    self->count = 0;
    lm_buf_puts(&self->sql, LM_OWN);
    begin_numbered(self);
    lm_request_add_key_source(self, table, sample);
    lm_buf_printf(&self->sql, " WHERE random() < %.6f", kept);
    if (!lm_key_is_empty(range.cursor)) {
        lm_buf_puts(&self->sql, " AND ");
        lm_request_add_key_after(self, range.cursor);
    }
    if (!lm_key_is_empty(range.bound)) {
        lm_buf_puts(&self->sql, " AND ");
        lm_request_add_key_before(self, range.bound);
    }
    lm_buf_printf(&self->sql,
                  ") AS page WHERE \"luamig number\" %% greatest(1,"
                  " \"luamig count\" / %d) = 0"
                  " ORDER BY \"luamig number\" LIMIT %d",
                  most + 1, most);
}

/* Sends the request; the last column of the answer is a count. */
static bool
ask_for_cuts(struct lm_page_request *request, struct lm_conn *conn, int most,
             struct lm_cuts *out, struct lm_err *err)
{
    const struct lm_base_query *query = request->query;
    struct lm_answer *answer = NULL;
    char shape[24];

    lm_cuts_release(out);
    snprintf(shape, sizeof shape, "*: %dt n", query->key_count);
    if (!lm_conn_ask_typed(
            conn, lm_buf_text(&request->sql), shape, request->types,
            (struct lm_values){request->texts, request->count}, &answer, err))
        return false;
    if (lm_answer_rows(answer) > 0)
        out->seen = lm_answer_int(answer, 0, query->key_count);
    out->rows = out->seen;
    out->of = lm_calloc((size_t)most, sizeof *out->of);
    for (; out->count < lm_answer_rows(answer) && out->count < most;
         out->count++)
        lm_page_take_key(answer, out->count, 0, query, &out->of[out->count]);
    lm_answer_free(answer);
    return true;
}

void
lm_cuts_release(struct lm_cuts *self)
{
    for (int i = 0; i < self->count; i++)
        lm_key_release(&self->of[i]);
    free(self->of);
    *self = (struct lm_cuts){.of = NULL};
}

bool
lm_page_sample_cuts(struct lm_conn *conn, const struct lm_base_query *query,
                    const char *table, const struct lm_key *cursor,
                    const struct lm_key *bound, int most, struct lm_cuts *out,
                    struct lm_err *err)
{
    struct lm_page_request request;
    double blocks = 0;
    double rows_each = 1;
    bool ok;

    if (!count_blocks(conn, query, &blocks, err))
        return false;
    lm_request_init(&request, query);
    add_sample(&request, table, (struct lm_bounds){cursor, bound}, blocks, most,
               &rows_each);
    ok = ask_for_cuts(&request, conn, most, out, err);
    out->rows = (int64_t)((double)out->seen * rows_each);
    lm_request_release(&request);
    return ok;
}

bool
lm_page_walk_to_cut(struct lm_conn *conn, const struct lm_base_query *query,
                    const struct lm_key *cursor, const struct lm_key *bound,
                    int64_t most, struct lm_cuts *out, struct lm_err *err)
{
    struct lm_page_request request;
    const char *limit = LM_DIGITS(most);
    bool ok;

    lm_request_init(&request, query);
    begin_numbered(&request);
    lm_buf_puts(&request.sql, " FROM (");
    lm_request_add_key_page(&request, (struct lm_bounds){cursor, bound}, limit);
    lm_buf_printf(&request.sql,
                  ") AS page) AS page WHERE \"luamig number\""
                  " OPERATOR(pg_catalog.=) CASE WHEN \"luamig count\""
                  " OPERATOR(pg_catalog.<) %s THEN \"luamig count\""
                  " OPERATOR(pg_catalog./) 2 ELSE %s END",
                  limit, limit);
    ok = ask_for_cuts(&request, conn, 1, out, err);
    lm_request_release(&request);
    return ok;
}
