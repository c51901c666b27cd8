/* SPDX-License-Identifier: MIT */
/* How many rows there are, by counting or by the planner. */

#include "core/page/page.h"

#include "core/page/private.h"
#include "pg/sql/plan.h"

bool
lm_page_count(struct lm_conn *conn, const struct lm_base_query *query,
              const struct lm_key *bound, int64_t *total, int64_t *beyond,
              struct lm_err *err)
{
    struct lm_page_request request;
    struct lm_answer *answer = NULL;
    bool ok;

    lm_request_init(&request, query);
    lm_buf_puts(&request.sql, "SELECT pg_catalog.count(*)");
    if (!lm_key_is_empty(bound)) {
        lm_buf_puts(&request.sql, ", pg_catalog.count(*) FILTER (WHERE ");
        lm_request_add_key_after(&request, bound);
        lm_buf_putc(&request.sql, ')');
    }
    lm_request_add_source(&request);
    ok = lm_request_ask(&request, conn,
                        lm_key_is_empty(bound) ? "1: n" : "1: n n", &answer,
                        err);
    lm_request_release(&request);
    if (!ok)
        return false;
    *total = lm_answer_int(answer, 0, 0);
    *beyond = lm_answer_int(answer, 0, 1);
    lm_answer_free(answer);
    return true;
}

bool
lm_page_count_left(struct lm_conn *conn, const struct lm_base_query *query,
                   const struct lm_key *cursor, const struct lm_key *bound,
                   int64_t *rows, struct lm_err *err)
{
    struct lm_page_request request;
    struct lm_answer *answer = NULL;
    bool ok;

    lm_request_init(&request, query);
    lm_buf_puts(&request.sql, "SELECT pg_catalog.count(*) FROM (");
    lm_request_add_range(&request, (struct lm_bounds){cursor, bound});
    lm_buf_puts(&request.sql, ") AS page");
    ok = lm_request_ask(&request, conn, "1: n", &answer, err);
    lm_request_release(&request);
    if (ok)
        *rows = lm_answer_int(answer, 0, 0);
    lm_answer_free(answer);
    return ok;
}

int64_t
lm_page_estimate(struct lm_conn *conn, const struct lm_base_query *query,
                 const struct lm_key *cursor, const struct lm_key *bound)
{
    struct lm_page_request request;
    struct lm_plan plan;
    struct lm_answer *answer = NULL;
    struct lm_err ignored;
    int64_t rows = -1;

    lm_request_init(&request, query);
    lm_buf_puts(&request.sql, "EXPLAIN (FORMAT JSON) ");
    lm_request_add_range(&request, (struct lm_bounds){cursor, bound});
    if (lm_conn_ask_typed(conn, lm_buf_text(&request.sql), "1: t",
                          request.types,
                          (struct lm_values){request.texts, request.count},
                          &answer, &ignored)) {
        if (lm_plan_read(&plan, lm_answer_text(answer, 0, 0)))
            rows = (int64_t)lm_plan_rows_returned(&plan);
        lm_plan_release(&plan);
        lm_answer_free(answer);
    }
    lm_request_release(&request);
    return rows;
}
