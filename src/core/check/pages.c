/* SPDX-License-Identifier: MIT */
/*
 * Judges pages by the rows that the server reads for them, not by the names of
 * the plan's nodes. A healthy run reads the tables about once. A page that
 * reads a million rows because one in a million matches is fine: there is only
 * one such page. A page that reads a million rows to return a thousand is not,
 * if there are a thousand such pages.
 *
 * luamig runs the first page and one in the middle of the table, because a
 * plan may be good at the beginning only. Rows that the server skips once, on
 * the way to matching rows, are no problem: if a page reads much, luamig looks
 * whether the page after it reads less.
 */

#include "core/check/private.h"
#include "core/page/page.h"
#include "core/page/position.h"
#include "pg/conn/own.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    FEW_ROWS = 10000, /* that a page may read however many it returns */
    FEW_PASSES = 3,   /* over the tables */
    TOO_MANY_ROWS = 100000,
    TOO_MANY_PASSES = 20
};

/* Whatever reads more rows than a run is refused for costs more than this: at
 * 0.01 a row, which is cpu_tuple_cost. */
static const double CHEAP = 1000;

/* -- judging ---------------------------------------------------------------- */

double
lm_page_cost_passes(const struct lm_page_cost *self)
{
    return self->table_rows > 0
               ? self->pages * self->rows_read / self->table_rows
               : 0;
}

enum lm_check_verdict
lm_page_cost_judge(const struct lm_page_cost *self)
{
    double tasks = self->tasks > 1 ? self->tasks : 1;
    double passes = lm_page_cost_passes(self) / tasks;
    double rows_read = self->rows_read / tasks;

    if (rows_read <= FEW_ROWS || passes <= FEW_PASSES ||
        rows_read <= LM_PAGE_FEW_FOR_EACH * self->rows_returned)
        return LM_VERDICT_OK;
    return rows_read > TOO_MANY_ROWS && passes > TOO_MANY_PASSES
               ? LM_VERDICT_ERROR
               : LM_VERDICT_WARNING;
}

/* -- looking at a page -------------------------------------------------------- */

static void
probe_release(struct lm_page_probe *self)
{
    lm_plan_release(&self->plan);
    memset(self, 0, sizeof *self);
}

/* Rows of the tables of a plan: rows per page at the last ANALYZE, times the
 * pages of now; without ANALYZE, a hundred bytes a row. */
static const char sizes_sql[] = LM_OWN
    "SELECT n.nspname, c.relname, (CASE WHEN c.relkind = 'f' THEN c.reltuples"
    "  WHEN c.relpages > 0 AND c.reltuples >= 0 THEN c.reltuples / c.relpages"
    "   * (pg_catalog.pg_relation_size(c.oid)"
    "   / pg_catalog.current_setting('block_size')::int)"
    "  ELSE pg_catalog.pg_relation_size(c.oid) / 100 END)::bigint"
    " FROM ROWS FROM (pg_catalog.unnest($1::text[]),"
    "  pg_catalog.unnest($2::text[])) AS w (schema, name)"
    " JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema"
    " JOIN pg_catalog.pg_class c"
    "  ON c.relnamespace = n.oid AND c.relname = w.name";

static void
take_sizes(struct lm_plan *plan, const struct lm_answer *rows)
{
    for (int i = 0; i < plan->count; i++) {
        struct lm_plan_node *node = &plan->nodes[i];

        for (int row = 0; lm_plan_scans(node) && row < lm_answer_rows(rows);
             row++) {
            if (strcmp(node->schema, lm_answer_text(rows, row, 0)) == 0 &&
                strcmp(node->relation, lm_answer_text(rows, row, 1)) == 0 &&
                !lm_answer_is_null(rows, row, 2))
                node->table_rows = (double)lm_answer_int(rows, row, 2);
        }
    }
}

/* Inside the transaction of the plan. */
static bool
ask_sizes(struct lm_checking *self, struct lm_plan *plan, struct lm_err *err)
{
    struct lm_buf schemas = LM_BUF_INIT;
    struct lm_buf names = LM_BUF_INIT;
    struct lm_answer *rows = NULL;
    bool ok;

    lm_check_add_scanned(plan, &schemas, &names);
    ok = lm_conn_ask(self->conn, sizes_sql, "*: t t n?",
                     LM_VALUES(lm_buf_text(&schemas), lm_buf_text(&names)),
                     &rows, err);
    if (ok)
        take_sizes(plan, rows);
    lm_answer_free(rows);
    lm_buf_release(&schemas);
    lm_buf_release(&names);
    return ok;
}

static bool
explain(struct lm_checking *self, const struct lm_key *cursor,
        const struct lm_key *bound, bool run, struct lm_plan *out,
        struct lm_err *err)
{
    struct lm_answer *json = NULL;
    bool ok = lm_check_begin(self, run ? LM_PAGE_PROBE_MS : LM_CHECK_MS, err) &&
              lm_page_explain(self->conn, &self->query, cursor, bound,
                              self->migration->batch_size, run, &json, err);

    if (ok && !lm_plan_read(out, lm_answer_text(json, 0, 0))) {
        lm_plan_release(out);
        ok = lm_answer_fail(json, "its plan cannot be read", err);
    }
    if (ok && (run || out->nodes[0].total_cost >= CHEAP))
        ok = ask_sizes(self, out, err) && lm_check_name_shards(self, out, err);
    lm_answer_free(json);
    lm_check_end(self, ok);
    return ok;
}

bool
lm_page_probe(struct lm_checking *self, const struct lm_key *cursor,
              const struct lm_key *bound, bool run, struct lm_page_probe *out,
              struct lm_err *err)
{
    memset(out, 0, sizeof *out);
    if (!explain(self, cursor, bound, run, &out->plan, err)) {
        lm_plan_release(&out->plan);
        out->timed_out = run && lm_err_is_state(err, "57014") &&
                         !lm_check_is_over(self->conn, err);
        if (!out->timed_out ||
            !explain(self, cursor, bound, false, &out->plan, err))
            return false;
    }
    out->known = true;
    out->rows_read = lm_plan_rows_read(&out->plan);
    out->rows_returned = lm_plan_rows_returned(&out->plan);
    return true;
}

/* The last key of a page that is followed by another one; empty: there is no
 * such page, or it takes too long. */
static void
find_next_cursor(struct lm_checking *self, const struct lm_key *cursor,
                 struct lm_key *out)
{
    struct lm_page page;
    struct lm_err ignored;

    if (lm_check_begin(self, LM_PAGE_PROBE_MS, &ignored) &&
        lm_page_fetch(self->conn, &self->query, cursor, NULL,
                      self->migration->batch_size, &page, &ignored)) {
        if (page.more)
            lm_page_copy_key(&page, &self->query, page.rows - 1, out);
        lm_page_release(&page);
    }
    lm_conn_rollback(self->conn);
}

/* The key after so many rows of the table, found by the key's index, if that
 * is fast. Empty: none. */
static void
count_off(struct lm_checking *self, double rows, struct lm_key *out)
{
    struct lm_err ignored;
    char *table = NULL;

    if (rows >= 1 && lm_check_begin(self, LM_PAGE_PROBE_MS, &ignored) &&
        lm_page_key_table(self->conn, &self->query, &table, &ignored) &&
        table != NULL &&
        !lm_page_window_end(self->conn, &self->query, table, NULL, NULL,
                            (int64_t)rows, out, &ignored))
        lm_key_release(out);
    lm_conn_rollback(self->conn);
    free(table);
}

/* A key in the middle of the table, by the columns' statistics if there are
 * any. It need not exist. */
static void
find_middle(struct lm_checking *self, double table_rows, struct lm_key *out)
{
    const struct lm_base_query *query = &self->query;
    struct lm_err ignored;
    bool ok = true;

    out->texts = lm_calloc((size_t)query->key_count, sizeof *out->texts);
    out->count = query->key_count;
    for (int i = 0; ok && i < query->key_count; i++) {
        ok = lm_check_begin(self, LM_CHECK_MS, &ignored);
        out->texts[i] = ok ? lm_position_middle(self->conn, query, i) : NULL;
        ok = out->texts[i] != NULL;
        lm_conn_rollback(self->conn);
    }
    if (ok)
        return;
    lm_key_release(out);
    count_off(self, table_rows / 2, out);
}

/* -- the run as a whole ------------------------------------------------------- */

void
lm_pages_release(struct lm_pages *self)
{
    probe_release(&self->first);
    probe_release(&self->middle);
}

/* A page that ends early has shown all rows that there are. */
static bool
is_only_page(const struct lm_checking *self, const struct lm_page_probe *first)
{
    return lm_plan_is_measured(&first->plan) &&
           first->rows_returned <= (double)self->migration->batch_size;
}

static double
find_total(struct lm_checking *self, const struct lm_page_probe *first)
{
    struct lm_err ignored;
    int64_t rows = -1;

    if (is_only_page(self, first))
        return first->rows_returned;
    if (lm_check_begin(self, LM_CHECK_MS, &ignored))
        rows = lm_page_estimate(self->conn, &self->query, NULL, NULL);
    lm_check_end(self, rows >= 0);
    return rows >= 0 ? (double)rows : lm_plan_table_rows(&first->plan);
}

/* How much a page reads on average, if the cost grows evenly from the first
 * page to the middle one. */
static double
average_rows_read(const struct lm_pages *pages)
{
    double half = (pages->first.rows_read + pages->middle.rows_read) / 2;

    if (!pages->middle.known)
        return pages->first.rows_read;
    return pages->middle.rows_read > half ? pages->middle.rows_read : half;
}

static void
add_up(struct lm_checking *self, struct lm_pages *pages)
{
    double batch = (double)self->migration->batch_size;
    double tables = lm_plan_table_rows(&pages->first.plan);
    double at_middle = lm_plan_table_rows(&pages->middle.plan);

    pages->cost.rows_read = average_rows_read(pages);
    pages->cost.rows_returned =
        pages->total_rows < batch ? pages->total_rows : batch;
    pages->cost.pages =
        pages->total_rows > batch ? ceil(pages->total_rows / batch) : 1;
    pages->cost.table_rows = tables > at_middle ? tables : at_middle;
    pages->cost.tasks = lm_plan_tasks(&pages->first.plan);
}

/* Whether the page after a page that reads much reads as much. */
static bool
look_further(struct lm_checking *self, const struct lm_key *cursor,
             const struct lm_pages *pages, struct lm_page_probe *probe,
             struct lm_err *err)
{
    struct lm_page_cost cost = pages->cost;
    struct lm_page_probe next;
    struct lm_key key = {NULL, 0};
    bool ok;

    cost.rows_read = probe->rows_read;
    if (!probe->known || probe->timed_out ||
        lm_page_cost_judge(&cost) == LM_VERDICT_OK)
        return true;
    find_next_cursor(self, cursor, &key);
    if (lm_key_is_empty(&key))
        return lm_conn_is_up(self->conn);
    ok = lm_page_probe(self, &key, NULL, true, &next, err);
    lm_key_release(&key);
    if (ok && next.rows_read < probe->rows_read)
        probe->rows_read = next.rows_read;
    probe_release(&next);
    return ok;
}

/* The first page was measured, but the middle one took too long. Does the
 * server read everything before a page? Then a page that is a little further
 * on shows it. */
static bool
look_nearby(struct lm_checking *self, struct lm_pages *pages,
            struct lm_err *err)
{
    double before = (double)(LM_PAGE_NEAR_PAGES * self->migration->batch_size);
    struct lm_page_probe near;
    struct lm_key key = {NULL, 0};
    bool ok;

    if (!pages->middle.timed_out || pages->first.timed_out)
        return true;
    count_off(self, before, &key);
    if (lm_key_is_empty(&key))
        return lm_conn_is_up(self->conn);
    ok = lm_page_probe(self, &key, NULL, true, &near, err);
    lm_key_release(&key);
    if (ok && near.rows_read > before / 2 &&
        near.rows_read > LM_PAGE_FEW_FOR_EACH * pages->first.rows_read) {
        pages->near_rows = near.rows_read;
        pages->middle.rows_read =
            near.rows_read * pages->cost.table_rows / 2 / before;
    }
    probe_release(&near);
    return ok;
}

static bool
look_at_middle(struct lm_checking *self, struct lm_pages *pages,
               struct lm_err *err)
{
    struct lm_key key = {NULL, 0};
    bool ok;

    /* The first pages are bad enough. */
    if (!self->proved || pages->cost.pages < 2 ||
        lm_page_cost_judge(&pages->cost) == LM_VERDICT_ERROR)
        return true;
    find_middle(self, pages->cost.table_rows, &key);
    if (lm_key_is_empty(&key))
        return true;
    ok = lm_page_probe(self, &key, NULL, true, &pages->middle, err) &&
         look_further(self, &key, pages, &pages->middle, err) &&
         look_nearby(self, pages, err);
    lm_key_release(&key);
    return ok;
}

bool
lm_pages_look(struct lm_checking *self, bool run, struct lm_pages *pages,
              struct lm_err *err)
{
    memset(pages, 0, sizeof *pages);
    if (!lm_page_probe(self, NULL, NULL, run, &pages->first, err))
        return false;
    if (!run && pages->first.plan.nodes[0].total_cost < CHEAP)
        return true;
    pages->total_rows = find_total(self, &pages->first);
    add_up(self, pages);
    if (!run)
        return true;
    if (!look_further(self, NULL, pages, &pages->first, err))
        return false;
    add_up(self, pages);
    if (!look_at_middle(self, pages, err))
        return false;
    add_up(self, pages);
    return true;
}
