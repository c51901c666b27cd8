/* SPDX-License-Identifier: MIT */
/*
 * Judges the plan of a page by the rows that the server reads for it, not by
 * the names of its nodes. A healthy run reads the tables about once, whatever
 * the pages look like: a page that reads a million rows because one in a
 * million matches is fine, since there is one such page; a page that reads a
 * million rows to return a thousand is not, when there are a thousand of them.
 *
 * The first page is run, and one in the middle of the table, for a plan may
 * serve the beginning only. Rows that are passed over once, on the way to those
 * that match, are no fault: a page that reads much is given the chance to show
 * that the page after it does not.
 */

#include "core/check_private.h"
#include "core/pager.h"
#include "core/position.h"

#include "base/clock.h"
#include "pg/sql.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGE_MS = 400,     /* that a page may take to be measured */
    MOST_NODES = 12,   /* of a plan that is shown */
    NEAR_PAGES = 20,   /* to one that is looked at instead of a slow one */
    FEW_ROWS = 10000,  /* that a page may read however many it returns */
    FEW_FOR_EACH = 10, /* row returned, likewise: joins and filters */
    FEW_PASSES = 3,    /* over the tables */
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
    double passes = lm_page_cost_passes(self);

    if (self->rows_read <= FEW_ROWS || passes <= FEW_PASSES ||
        self->rows_read <= FEW_FOR_EACH * self->rows_returned)
        return LM_VERDICT_OK;
    return self->rows_read > TOO_MANY_ROWS && passes > TOO_MANY_PASSES
               ? LM_VERDICT_ERROR
               : LM_VERDICT_WARNING;
}

/* -- looking at a page -------------------------------------------------------- */

struct probe {
    bool known;
    bool timed_out; /* it was not measured for that reason */
    struct lm_plan plan;
    double rows_read;
    double rows_returned;
};

static void
probe_release(struct probe *self)
{
    lm_plan_release(&self->plan);
    memset(self, 0, sizeof *self);
}

/* Rows of the tables of a plan: what the last ANALYZE has found on a page, and
 * the pages that there are; without one, a hundred bytes a row. */
static const char sizes_sql[] =
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
take_sizes(struct lm_plan *plan, const struct lm_result *rows)
{
    for (int i = 0; i < plan->count; i++) {
        struct lm_plan_node *node = &plan->nodes[i];

        for (int row = 0; lm_plan_scans(node) && row < lm_result_rows(rows);
             row++) {
            if (strcmp(node->schema, lm_result_text(rows, row, 0)) == 0 &&
                strcmp(node->relation, lm_result_text(rows, row, 1)) == 0 &&
                lm_result_text(rows, row, 2) != NULL)
                node->table_rows = (double)lm_result_int(rows, row, 2);
        }
    }
}

/* Inside the transaction of the plan. */
static bool
ask_sizes(struct lm_checking *self, struct lm_plan *plan, struct lm_err *err)
{
    struct lm_buf schemas = LM_BUF_INIT;
    struct lm_buf names = LM_BUF_INIT;
    struct lm_result *rows = NULL;
    bool ok;

    lm_check_add_scanned(plan, &schemas, &names);
    ok = lm_conn_query(
        self->conn, sizes_sql,
        (struct lm_values){
            (const char *[]){lm_buf_text(&schemas), lm_buf_text(&names)}, 2},
        &rows, err);
    if (ok)
        take_sizes(plan, rows);
    lm_result_free(rows);
    lm_buf_release(&schemas);
    lm_buf_release(&names);
    return ok;
}

static bool
explain(struct lm_checking *self, char *const *cursor, char *const *bound,
        bool run, struct lm_plan *out, struct lm_err *err)
{
    struct lm_result *json = NULL;
    bool ok = lm_check_begin(self->conn, run ? PAGE_MS : LM_CHECK_MS, err) &&
              lm_page_explain(self->conn, &self->query, cursor, bound,
                              self->migration->batch_size, run, &json, err);

    if (ok && !lm_plan_read(out, lm_result_text(json, 0, 0))) {
        lm_plan_release(out);
        ok = lm_err_set(err, LM_ERR_INTERNAL,
                        "the server's EXPLAIN could not be understood");
    }
    if (ok && (run || out->nodes[0].total_cost >= CHEAP))
        ok = ask_sizes(self, out, err);
    lm_result_free(json);
    lm_check_end(self, ok);
    return ok;
}

static bool
look_at(struct lm_checking *self, char *const *cursor, char *const *bound,
        bool run, struct probe *out, struct lm_err *err)
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

/* The last key of a page that is followed by another one; NULL: there is no
 * such page, or it takes too long. */
static char **
find_next_cursor(struct lm_checking *self, char *const *cursor)
{
    struct lm_page page;
    struct lm_err ignored;
    char **key = NULL;

    if (lm_check_begin(self->conn, PAGE_MS, &ignored) &&
        lm_page_fetch(self->conn, &self->query, cursor, NULL,
                      self->migration->batch_size, &page, &ignored)) {
        if (page.more) {
            key = lm_calloc((size_t)self->query.key_count, sizeof *key);
            for (int i = 0; i < self->query.key_count; i++) {
                key[i] = lm_strdup(
                    lm_page_key(&page, &self->query, page.rows - 1, i));
            }
        }
        lm_page_release(&page);
    }
    lm_conn_rollback(self->conn);
    return key;
}

/* The key so many rows into the table, counted off along the key's index as
 * long as that is quick. NULL: there is none. */
static char **
count_off(struct lm_checking *self, double rows)
{
    struct lm_err ignored;
    char *table = NULL;
    char **key = NULL;

    if (rows >= 1 && lm_check_begin(self->conn, PAGE_MS, &ignored) &&
        lm_page_key_table(self->conn, &self->query, &table, &ignored) &&
        table != NULL &&
        !lm_page_window_end(self->conn, &self->query, table, NULL, NULL,
                            (int64_t)rows, &key, &ignored))
        key = NULL;
    lm_conn_rollback(self->conn);
    free(table);
    return key;
}

/* A key in the middle of the table, by the columns' statistics if there are
 * any. It need not exist. */
static char **
find_middle(struct lm_checking *self, double table_rows)
{
    const struct lm_base_query *query = &self->query;
    char **key = lm_calloc((size_t)query->key_count, sizeof *key);
    struct lm_err ignored;
    bool ok = true;

    for (int i = 0; ok && i < query->key_count; i++) {
        ok = lm_check_begin(self->conn, LM_CHECK_MS, &ignored);
        key[i] = ok ? lm_position_middle(self->conn, query, i) : NULL;
        ok = key[i] != NULL;
        lm_conn_rollback(self->conn);
    }
    if (ok)
        return key;
    lm_sql_free_array(key, query->key_count);
    return count_off(self, table_rows / 2);
}

/* -- the run as a whole ------------------------------------------------------- */

/* What is known of the pages of a run. */
struct pages {
    struct probe first;
    struct probe middle;
    double near_rows;  /* read by the page after NEAR_PAGES; 0: not told */
    double total_rows; /* that the query returns */
    struct lm_page_cost cost;
};

static void
pages_release(struct pages *self)
{
    probe_release(&self->first);
    probe_release(&self->middle);
}

/* A page that ends early has shown all rows that there are. */
static bool
is_only_page(const struct lm_checking *self, const struct probe *first)
{
    return lm_plan_is_measured(&first->plan) &&
           first->rows_returned <= (double)self->migration->batch_size;
}

static double
find_total(struct lm_checking *self, const struct probe *first)
{
    struct lm_err ignored;
    int64_t rows = -1;

    if (is_only_page(self, first))
        return first->rows_returned;
    if (lm_check_begin(self->conn, LM_CHECK_MS, &ignored))
        rows = lm_page_estimate(self->conn, &self->query, NULL, NULL);
    lm_check_end(self, rows >= 0);
    return rows >= 0 ? (double)rows : lm_plan_table_rows(&first->plan);
}

/* What a page reads on the average, if the first one and the one in the middle
 * lie on a line. */
static double
average_rows_read(const struct pages *pages)
{
    double half = (pages->first.rows_read + pages->middle.rows_read) / 2;

    if (!pages->middle.known)
        return pages->first.rows_read;
    return pages->middle.rows_read > half ? pages->middle.rows_read : half;
}

static void
add_up(struct lm_checking *self, struct pages *pages)
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
}

/* Whether the page after a page that reads much reads as much. */
static bool
look_further(struct lm_checking *self, char *const *cursor,
             const struct pages *pages, struct probe *probe, struct lm_err *err)
{
    struct lm_page_cost cost = pages->cost;
    struct probe next;
    char **key;
    bool ok;

    cost.rows_read = probe->rows_read;
    if (!probe->known || probe->timed_out ||
        lm_page_cost_judge(&cost) == LM_VERDICT_OK)
        return true;
    key = find_next_cursor(self, cursor);
    if (key == NULL)
        return lm_conn_is_up(self->conn);
    ok = look_at(self, key, NULL, true, &next, err);
    lm_sql_free_array(key, self->query.key_count);
    if (ok && next.rows_read < probe->rows_read)
        probe->rows_read = next.rows_read;
    probe_release(&next);
    return ok;
}

/* The page in the middle could not be measured, the first one could. Does the
 * server read all that lies before a page? Then one that is not far off shows
 * it. */
static bool
look_nearby(struct lm_checking *self, struct pages *pages, struct lm_err *err)
{
    double before = (double)(NEAR_PAGES * self->migration->batch_size);
    struct probe near;
    char **key;
    bool ok;

    if (!pages->middle.timed_out || pages->first.timed_out)
        return true;
    key = count_off(self, before);
    if (key == NULL)
        return lm_conn_is_up(self->conn);
    ok = look_at(self, key, NULL, true, &near, err);
    lm_sql_free_array(key, self->query.key_count);
    if (ok && near.rows_read > before / 2 &&
        near.rows_read > FEW_FOR_EACH * pages->first.rows_read) {
        pages->near_rows = near.rows_read;
        pages->middle.rows_read =
            near.rows_read * pages->cost.table_rows / 2 / before;
    }
    probe_release(&near);
    return ok;
}

static bool
look_at_middle(struct lm_checking *self, struct pages *pages,
               struct lm_err *err)
{
    char **key;
    bool ok;

    /* What the first pages are found to do is bad enough. */
    if (!self->proved || pages->cost.pages < 2 ||
        lm_page_cost_judge(&pages->cost) == LM_VERDICT_ERROR)
        return true;
    key = find_middle(self, pages->cost.table_rows);
    if (key == NULL)
        return true;
    ok = look_at(self, key, NULL, true, &pages->middle, err) &&
         look_further(self, key, pages, &pages->middle, err) &&
         look_nearby(self, pages, err);
    lm_sql_free_array(key, self->query.key_count);
    return ok;
}

static bool
look_at_pages(struct lm_checking *self, bool run, struct pages *pages,
              struct lm_err *err)
{
    memset(pages, 0, sizeof *pages);
    if (!look_at(self, NULL, NULL, run, &pages->first, err))
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

/* -- what would help ---------------------------------------------------------- */

/* Does the text call no function, and depend on nothing but the row? Each
 * parenthesis groups, since none stands behind a name. */
static bool
is_simple(const char *condition)
{
    static const char *const others[] = {
        "$", "SubPlan", "InitPlan", "CURRENT_", "LOCALTI", "SESSION_", "USER"};

    for (size_t i = 0; i < LM_COUNT(others); i++) {
        if (strstr(condition, others[i]) != NULL)
            return false;
    }
    for (const char *at = condition; (at = strchr(at, '(')) != NULL; at++) {
        if (at > condition && at[-1] != '(' && at[-1] != ' ')
            return false;
    }
    return strlen(condition) < 200;
}

static void
add_without_alias(struct lm_buf *out, const char *condition, const char *alias)
{
    size_t len = strlen(alias);

    for (const char *at = condition; *at != '\0'; at++) {
        bool begins = at == condition || strchr(" (", at[-1]) != NULL;

        if (begins && strncmp(at, alias, len) == 0 && at[len] == '.')
            at += len + 1;
        lm_buf_putc(out, *at);
    }
}

bool
lm_plan_add_predicate(const struct lm_plan *plan, struct lm_buf *out)
{
    const struct lm_plan_node *scan = NULL;
    const char *condition = NULL;

    for (int i = 0; i < plan->count; i++) {
        const struct lm_plan_node *node = &plan->nodes[i];

        if (lm_plan_scans(node) && scan != NULL)
            return false;
        if (lm_plan_scans(node))
            scan = node;
        if (node->index_cond != NULL)
            condition = node->index_cond;
    }
    if (scan == NULL || scan->alias == NULL)
        return false;
    if (scan->filter != NULL && condition != NULL)
        return false;
    if (condition == NULL)
        condition = scan->filter;
    if (condition == NULL || !is_simple(condition))
        return false;
    add_without_alias(out, condition, scan->alias);
    return true;
}

static void
add_index(const struct lm_checking *self, const char *table,
          const struct lm_plan *plan, struct lm_buf *out)
{
    const struct lm_base_query *query = &self->query;
    struct lm_buf predicate = LM_BUF_INIT;

    lm_buf_printf(out, "CREATE INDEX CONCURRENTLY ON %s (", table);
    for (int i = 0; i < query->key_count; i++) {
        lm_buf_puts(out, i > 0 ? ", " : "");
        lm_sql_add_identifier(out, query->sources[query->key_source[i]].column);
    }
    lm_buf_putc(out, ')');
    if (query->param_count == 0 && lm_plan_add_predicate(plan, &predicate))
        lm_buf_printf(out, " WHERE %s", lm_buf_text(&predicate));
    lm_buf_putc(out, ';');
    lm_buf_release(&predicate);
}

/* Is the first page quick, and the one in the middle not? */
static bool
serves_first_only(const struct pages *pages)
{
    return pages->middle.known &&
           pages->middle.rows_read > FEW_FOR_EACH * pages->first.rows_read;
}

static char *
find_key_table(struct lm_checking *self)
{
    struct lm_err ignored;
    char *table = NULL;
    bool ok = lm_check_begin(self->conn, LM_CHECK_MS, &ignored) &&
              lm_page_key_table(self->conn, &self->query, &table, &ignored);

    lm_check_end(self, ok);
    return table;
}

static void
hint_at_index(struct lm_checking *self, const struct pages *pages,
              struct lm_finding *finding)
{
    bool has_index =
        self->query.key_is_unique && !self->migration->assume_unique;
    struct lm_buf index = LM_BUF_INIT;
    char *table;

    if (serves_first_only(pages)) {
        lm_finding_hint(finding,
                        "The key comparison does not reach the table: a "
                        "subquery with OFFSET, LIMIT, DISTINCT, GROUP BY or a "
                        "window function keeps it out. Let migrate ask for "
                        "that, or put it into a table of its own.");
        return;
    }
    if (!self->proved)
        return; /* there may be another key soon */
    table = find_key_table(self);
    if (table == NULL) {
        lm_finding_hint(finding, "An index serves a key whose columns are "
                                 "those of one table: choose such a key with "
                                 "config.key.");
        return;
    }
    add_index(self, table, &pages->first.plan, &index);
    if (has_index) {
        lm_finding_hint(finding,
                        "There is an index on the key that the planner does "
                        "not choose: ANALYZE %s; or, for these rows alone, %s",
                        table, lm_buf_text(&index));
    } else {
        lm_finding_hint(finding, "%s", lm_buf_text(&index));
    }
    lm_buf_release(&index);
    free(table);
}

/* -- telling ------------------------------------------------------------------ */

struct count {
    char text[32];
};

static struct count
count_text(double value)
{
    struct count out;

    lm_clock_format_count(out.text, sizeof out.text,
                          value < 9e18 ? (int64_t)value : INT64_MAX);
    return out;
}

/* How it is known what the pages read. */
static void
tell_how(const struct pages *pages, struct lm_finding *finding)
{
    const struct probe *middle = &pages->middle;

    if (pages->near_rows > 0) {
        lm_finding_detail(finding,
                          "Measured: %s rows for the first page, %s for one "
                          "%d pages further on.",
                          count_text(pages->first.rows_read).text,
                          count_text(pages->near_rows).text, NEAR_PAGES);
    } else if (pages->first.timed_out || middle->timed_out) {
        lm_finding_detail(finding,
                          "The %s took longer than %dms and was given up; what "
                          "it reads is the planner's estimate.",
                          pages->first.timed_out ? "first page"
                                                 : "page in the middle",
                          PAGE_MS);
    } else if (!lm_plan_is_measured(&pages->first.plan)) {
        lm_finding_detail(finding,
                          "These are the planner's estimates; \"luamig "
                          "check\" measures.");
    } else if (middle->known) {
        lm_finding_detail(finding,
                          "Measured: %s rows for the first page, %s for one in "
                          "the middle of the table.",
                          count_text(pages->first.rows_read).text,
                          count_text(middle->rows_read).text);
    } else if (pages->cost.pages > 1) {
        lm_finding_detail(finding, "Measured on the first page.");
    }
}

static void
add_plan(const struct pages *pages, struct lm_finding *finding)
{
    const struct probe *shown =
        pages->middle.known && pages->middle.rows_read > pages->first.rows_read
            ? &pages->middle
            : &pages->first;
    struct lm_buf text = LM_BUF_INIT;

    lm_plan_describe(&shown->plan, MOST_NODES, &text);
    finding->plan = lm_buf_take(&text);
}

static struct lm_finding *
add_verdict(struct lm_check *check, const struct lm_page_cost *cost)
{
    enum lm_check_verdict verdict = lm_page_cost_judge(cost);
    double passes = lm_page_cost_passes(cost);
    struct count rows_read = count_text(cost->rows_read);
    struct count rows_returned = count_text(cost->rows_returned);

    if (cost->pages < 2) {
        return lm_check_add(check, verdict, "plan",
                            "one page reads %s rows to return %s",
                            rows_read.text, rows_returned.text);
    }
    if (verdict == LM_VERDICT_OK) {
        return lm_check_add(check, verdict, "plan",
                            "each page reads about %s rows to return %s",
                            rows_read.text, rows_returned.text);
    }
    return lm_check_add(check, verdict, "plan",
                        "each page reads about %s rows to return %s; the run "
                        "would read the table %s times over",
                        rows_read.text, rows_returned.text,
                        count_text(passes).text);
}

/* A page that may not come to its end in time is walked in windows. */
static void
judge_time(struct lm_checking *self, const struct pages *pages,
           struct lm_finding *finding)
{
    int64_t limit_ms = self->migration->statement_timeout_ms;
    double page_ms = pages->first.plan.execution_ms;
    bool is_slow = pages->first.timed_out || pages->middle.timed_out ||
                   (limit_ms > 0 && page_ms > (double)limit_ms);

    if (!is_slow || finding->verdict != LM_VERDICT_OK)
        return;
    finding->verdict = LM_VERDICT_WARNING;
    lm_finding_hint(finding,
                    "Where pages reach the statement timeout, the run walks "
                    "the key in windows; an index that fits the condition is "
                    "better. EXPLAIN ANALYZE of the base query shows more.");
}

static void
tell(struct lm_checking *self, const struct pages *pages)
{
    struct lm_finding *finding = add_verdict(self->check, &pages->cost);
    int at = self->check->count - 1;

    tell_how(pages, finding);
    add_plan(pages, finding);
    judge_time(self, pages, finding);
    if (lm_page_cost_judge(&pages->cost) != LM_VERDICT_OK)
        hint_at_index(self, pages, &self->check->findings[at]);
}

/* Rows, batches, and how long it takes to read them and to pause. */
static void
estimate_run(struct lm_checking *self, const struct pages *pages)
{
    struct lm_check *check = self->check;
    double page_ms = pages->middle.known ? (pages->first.plan.execution_ms +
                                            pages->middle.plan.execution_ms) /
                                               2
                                         : pages->first.plan.execution_ms;
    char took[32];

    check->rows = (int64_t)pages->total_rows;
    check->batch_size = self->migration->batch_size;
    check->batches = pages->total_rows > 0 ? (int64_t)pages->cost.pages : 0;
    check->page_rows_read = (int64_t)pages->cost.rows_read;
    if (!lm_plan_is_measured(&pages->first.plan) || pages->middle.timed_out) {
        lm_check_add(check, LM_VERDICT_OK, "estimate",
                     "about %s rows in %s batch%s",
                     count_text((double)check->rows).text,
                     count_text((double)check->batches).text,
                     check->batches == 1 ? "" : "es");
        return;
    }
    check->page_ms = (int64_t)(page_ms + 0.5);
    check->duration_ms =
        (int64_t)((double)check->batches *
                  (page_ms + (double)self->migration->throttle_ms));
    lm_clock_format(took, sizeof took, check->duration_ms);
    lm_check_add(check, LM_VERDICT_OK, "estimate",
                 "about %s rows in %s batch%s; a guess: %s to read them and to "
                 "pause, and what the writes take",
                 count_text((double)check->rows).text,
                 count_text((double)check->batches).text,
                 check->batches == 1 ? "" : "es", took);
}

/* A page that the server refuses. */
static bool
tell_refused(struct lm_checking *self, bool run, const struct lm_err *err)
{
    bool lacks_right = lm_err_is_state(err, "42501");
    struct lm_finding *finding;

    if (lm_check_is_over(self->conn, err))
        return false;
    if (!run && !lacks_right)
        return true; /* it passes, or the run meets it and says so */
    finding =
        lm_check_add_err(self->check, lacks_right ? "privileges" : "plan", err);
    if (lacks_right) {
        lm_finding_hint(finding, "Let the table's owner GRANT SELECT on it to "
                                 "the role that runs migrations.");
    } else if (lm_err_is_state(err, "57014") || lm_err_is_state(err, "55P03")) {
        finding->verdict = LM_VERDICT_WARNING;
    }
    return true;
}

bool
lm_check_plan(struct lm_checking *self, bool run, struct lm_err *err)
{
    struct pages pages;
    bool ok = look_at_pages(self, run, &pages, err);

    if (!ok) {
        ok = tell_refused(self, run, err);
    } else if (run || pages.cost.pages > 0) {
        tell(self, &pages);
        estimate_run(self, &pages);
    }
    self->plan = pages.first.plan;
    memset(&pages.first.plan, 0, sizeof pages.first.plan);
    pages_release(&pages);
    return ok;
}

void
lm_check_page(struct lm_check *self, struct lm_conn *conn,
              const struct lm_migration *migration,
              const struct lm_base_query *query, char *const *cursor,
              char *const *bound)
{
    struct lm_checking checking = {
        .check = self, .conn = conn, .migration = migration, .query = *query};
    struct lm_err ignored;
    struct pages pages;

    memset(&pages, 0, sizeof pages);
    if (look_at(&checking, cursor, bound, false, &pages.first, &ignored)) {
        struct lm_finding *finding =
            lm_check_add(self, LM_VERDICT_WARNING, "plan",
                         "the next page's plan reads about %s rows to return "
                         "%s",
                         count_text(pages.first.rows_read).text,
                         count_text(pages.first.rows_returned).text);

        add_plan(&pages, finding);
    }
    pages_release(&pages);
}
