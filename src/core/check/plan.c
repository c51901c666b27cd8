/* SPDX-License-Identifier: MIT */
/* Turns the pages of a run (check/pages.c) into a finding: the verdict on
 * their plan, the index that would help, and an estimate of the run. */

#include "base/text.h"
#include "core/check/private.h"
#include "core/page/page.h"

#include "base/clock.h"
#include "pg/conn/own.h"
#include "pg/sql/sql.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NODES = 12 }; /* of a plan that is shown */

static const char OUT_OF_REACH[] =
    "The server cannot use the key to read fewer rows of the table. The cause "
    "is a subquery with OFFSET, LIMIT, DISTINCT, GROUP BY or a window "
    "function, or a join that reads another table from its beginning. Read "
    "that data in migrate, or put it into a table of its own.";

/* -- what would help ---------------------------------------------------------- */

/* Is the text free of function calls, and does it depend only on the row? Each
 * parenthesis groups, because none follows a name. */
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

/* Where an index on the key's columns ($4) belongs: the key's table ($1), or
 * its partition or heir that is scanned ($2, $3); whether it is there, and
 * whether one has these columns in another order. An index of another operator
 * class or collation than those of the key ($5, $6) has no order for it. */
static const char place_sql[] = LM_OWN
    "WITH RECURSIVE heir AS (SELECT $1::pg_catalog.oid AS oid UNION SELECT"
    "  h.inhrelid FROM heir JOIN pg_catalog.pg_inherits h"
    "  ON h.inhparent = heir.oid),"
    " place AS (SELECT coalesce((SELECT c.oid FROM heir"
    "  JOIN pg_catalog.pg_class c ON c.oid = heir.oid"
    "  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    "  WHERE n.nspname = $2 AND c.relname = $3), $1) AS oid),"
    " index AS (SELECT (SELECT pg_catalog.array_agg(y.name ORDER BY k.place)"
    "   FROM ROWS FROM (pg_catalog.unnest(i.indkey::int2[]),"
    "    pg_catalog.unnest(i.indclass::oid[]),"
    "    pg_catalog.unnest(i.indcollation::oid[])) WITH ORDINALITY"
    "   AS k (attnum, class, coll, place) JOIN pg_catalog.pg_attribute a"
    "   ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
    "   LEFT JOIN ROWS FROM (pg_catalog.unnest($4::text[]),"
    "    pg_catalog.unnest($5::oid[]), pg_catalog.unnest($6::oid[]))"
    "   AS y (name, class, coll) ON y.name = a.attname AND y.coll = k.coll"
    "    AND EXISTS (SELECT FROM pg_catalog.pg_opclass o"
    "     JOIN pg_catalog.pg_opclass of ON of.opcfamily = o.opcfamily"
    "     WHERE o.oid = k.class AND of.oid = y.class)"
    "   WHERE k.place <= pg_catalog.cardinality($4::text[])) AS columns"
    "  FROM place JOIN pg_catalog.pg_index i ON i.indrelid = place.oid"
    "  JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
    "  JOIN pg_catalog.pg_am m ON m.oid = c.relam AND m.amname = 'btree'"
    "  WHERE i.indisvalid AND i.indpred IS NULL)"
    " SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.oid <> $1,"
    "  n.nspname = $2 AND c.relname = $3, c.reltuples >= 0"
    "   AND (c.relpages > 0 OR c.reltuples > 0),"
    "  EXISTS (SELECT FROM index WHERE columns = $4::text[]),"
    "  (SELECT pg_catalog.array_to_string(columns, ', ') FROM index"
    "   WHERE columns @> $4::text[] AND columns <@ $4::text[] LIMIT 1)"
    " FROM place JOIN pg_catalog.pg_class c ON c.oid = place.oid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace";

enum place_column {
    PLACE_TABLE,
    PLACE_IS_HEIR,
    PLACE_IS_SCANNED, /* it is what most rows are read from */
    PLACE_IS_ANALYZED,
    PLACE_HAS_INDEX,
    PLACE_ORDER
};

static bool
ask_place(struct lm_checking *self, const struct lm_plan_node *scan,
          struct lm_answer **out)
{
    const struct lm_base_query *query = &self->query;
    const char **names = lm_calloc((size_t)query->key_count, sizeof *names);
    struct lm_buf columns = LM_BUF_INIT;
    struct lm_buf classes = LM_BUF_INIT;
    struct lm_buf collations = LM_BUF_INIT;
    struct lm_err ignored;
    bool ok;

    for (int i = 0; i < query->key_count; i++) {
        char separator = i > 0 ? ',' : '{';

        names[i] = query->sources[query->key_source[i]].column;
        lm_buf_printf(&classes, "%c%" PRIu32, separator,
                      query->order[i].opclass);
        lm_buf_printf(&collations, "%c%" PRIu32, separator,
                      query->order[i].collation);
    }
    lm_buf_putc(&classes, '}');
    lm_buf_putc(&collations, '}');
    lm_sql_add_array(&columns, names, query->key_count);
    ok = lm_check_begin(self, LM_CHECK_MS, &ignored) &&
         lm_conn_ask(
             self->conn, place_sql, "?: t b b? b b t?",
             LM_VALUES(LM_DIGITS(query->sources[query->key_source[0]].table),
                       scan->schema, scan->relation, lm_buf_text(&columns),
                       lm_buf_text(&classes), lm_buf_text(&collations)),
             out, &ignored);
    lm_check_end(self, ok);
    lm_buf_release(&columns);
    lm_buf_release(&classes);
    lm_buf_release(&collations);
    free(names);
    return ok;
}

/* True when the index has a condition. */
static bool
add_index(const struct lm_checking *self, const struct lm_answer *place,
          const struct lm_plan *plan, struct lm_buf *out)
{
    const struct lm_base_query *query = &self->query;
    struct lm_buf predicate = LM_BUF_INIT;
    bool partial;

    lm_buf_printf(out, "CREATE INDEX CONCURRENTLY ON %s (",
                  lm_answer_text(place, 0, PLACE_TABLE));
    for (int i = 0; i < query->key_count; i++) {
        lm_buf_puts(out, i > 0 ? ", " : "");
        lm_sql_add_identifier(out, query->sources[query->key_source[i]].column);
    }
    lm_buf_putc(out, ')');
    partial =
        query->param_count == 0 && lm_plan_add_predicate(plan, &predicate);
    if (partial)
        lm_buf_printf(out, " WHERE %s", lm_buf_text(&predicate));
    lm_buf_putc(out, ';');
    if (lm_answer_bool(place, 0, PLACE_IS_HEIR)) {
        lm_buf_puts(
            out,
            " and the same for the other partitions, or tables that inherit");
    }
    lm_buf_release(&predicate);
    return partial;
}

/* Is the first page quick, and the one in the middle not? */
static bool
serves_first_only(const struct lm_pages *pages)
{
    return pages->middle.known &&
           pages->middle.rows_read >
               LM_PAGE_FEW_FOR_EACH * pages->first.rows_read;
}

/* Are the key's columns those of one table? */
static bool
has_key_table(struct lm_checking *self)
{
    struct lm_err ignored;
    char *table = NULL;
    bool ok = lm_check_begin(self, LM_CHECK_MS, &ignored) &&
              lm_page_key_table(self->conn, &self->query, &table, &ignored);
    bool found = ok && table != NULL;

    lm_check_end(self, ok);
    free(table);
    return found;
}

/* Are most rows read from another table than that of the key? */
static bool
reads_another(const struct lm_answer *place)
{
    return lm_answer_is_null(place, 0, PLACE_IS_SCANNED) ||
           !lm_answer_bool(place, 0, PLACE_IS_SCANNED);
}

/* Does the server read all rows before the key is compared, as for a window
 * function? Then no index on the key helps, and no ANALYZE. */
static bool
computes_first(const struct lm_plan *plan)
{
    static const char *const types[] = {"WindowAgg", "SetOp", "Unique",
                                        "Recursive Union"};

    int below = 0; /* the page's LIMIT; above it the page is looked at */

    while (below < plan->count && strcmp(plan->nodes[below].type, "Limit") != 0)
        below++;
    for (int i = below; i < plan->count; i++) {
        for (size_t t = 0; t < LM_COUNT(types); t++) {
            if (strcmp(plan->nodes[i].type, types[t]) == 0)
                return true;
        }
    }
    return false;
}

/* There is an index on the key, and the planner reads something else. */
static void
hint_at_statistics(const struct lm_answer *place, const char *partial,
                   struct lm_finding *finding)
{
    const char *table = lm_answer_text(place, 0, PLACE_TABLE);

    if (!lm_answer_bool(place, 0, PLACE_IS_ANALYZED)) {
        lm_finding_hint(
            finding,
            "There is an index on the key. The planner does not choose it, "
            "because it has no statistics of the table: ANALYZE %s;%s%s",
            table,
            partial != NULL ? " or create an index on these rows only: " : "",
            partial != NULL ? partial : "");
    } else if (partial != NULL) {
        lm_finding_hint(finding,
                        "There is an index on the key. An index on these rows "
                        "only may help: %s",
                        partial);
    } else {
        lm_finding_hint(finding, "%s", OUT_OF_REACH);
    }
}

static void
hint_at_key_index(struct lm_checking *self, const struct lm_plan *plan,
                  const struct lm_answer *place, struct lm_finding *finding)
{
    struct lm_buf index = LM_BUF_INIT;
    bool partial = add_index(self, place, plan, &index);

    if (reads_another(place) || computes_first(plan)) {
        lm_finding_hint(finding, "%s", OUT_OF_REACH);
    } else if (lm_answer_bool(place, 0, PLACE_HAS_INDEX)) {
        hint_at_statistics(place, partial ? lm_buf_text(&index) : NULL,
                           finding);
    } else if (!lm_answer_is_null(place, 0, PLACE_ORDER)) {
        lm_finding_hint(
            finding,
            "There is an index on the key's columns in another order: name "
            "them in that order in config.key (%s), or %s",
            lm_answer_text(place, 0, PLACE_ORDER), lm_buf_text(&index));
    } else {
        lm_finding_hint(finding, "%s", lm_buf_text(&index));
    }
    lm_buf_release(&index);
}

static void
hint_at_index(struct lm_checking *self, const struct lm_pages *pages,
              struct lm_finding *finding)
{
    const struct lm_plan *plan = &pages->first.plan;
    const struct lm_plan_node *scan = lm_plan_largest_scan(plan);
    struct lm_answer *place = NULL;

    if (serves_first_only(pages)) {
        lm_finding_hint(finding, "%s", OUT_OF_REACH);
        return;
    }
    if (scan != NULL && lm_plan_is_in_subquery(plan, scan)) {
        lm_finding_hint(finding,
                        "A subquery on %s reads most of these rows, again for "
                        "each page. Read them in migrate, or put the "
                        "subquery's result into a table of its own.",
                        scan->relation);
        return;
    }
    if (!self->proved)
        return; /* there may be another key soon */
    if (scan == NULL || !has_key_table(self)) {
        lm_finding_hint(finding,
                        "An index helps only if all key columns belong to one "
                        "table. Choose such a key with config.key.");
        return;
    }
    if (ask_place(self, scan, &place) && lm_answer_rows(place) == 1)
        hint_at_key_index(self, plan, place, finding);
    lm_answer_free(place);
}

/* -- telling ------------------------------------------------------------------ */

static struct lm_clock_text
count_text(double value)
{
    return lm_clock_count(value < 9e18 ? (int64_t)value : INT64_MAX);
}

/* Adds how the figures were found. */
static void
add_how_measured(const struct lm_pages *pages, struct lm_finding *finding)
{
    const struct lm_page_probe *middle = &pages->middle;

    if (pages->near_rows > 0) {
        lm_finding_detail(finding,
                          "Measured: %s rows for the first page, %s for one "
                          "%d pages further on.",
                          count_text(pages->first.rows_read).text,
                          count_text(pages->near_rows).text,
                          LM_PAGE_NEAR_PAGES);
    } else if (pages->first.timed_out || middle->timed_out) {
        lm_finding_detail(finding,
                          "The %s took longer than %dms and was stopped; the "
                          "number of rows is the planner's estimate.",
                          pages->first.timed_out ? "first page"
                                                 : "page in the middle",
                          LM_PAGE_PROBE_MS);
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
add_plan(const struct lm_pages *pages, struct lm_finding *finding)
{
    const struct lm_page_probe *shown =
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
    struct lm_clock_text rows_read = count_text(cost->rows_read);
    struct lm_clock_text rows_returned = count_text(cost->rows_returned);

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
                        "would read the table %s times",
                        rows_read.text, rows_returned.text,
                        count_text(passes).text);
}

/* A page that may not come to its end in time is walked in windows. */
static void
judge_time(struct lm_checking *self, const struct lm_pages *pages,
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
                    "If a page reaches the statement timeout, the run reads "
                    "the key in windows. An index that fits the condition is "
                    "better. EXPLAIN ANALYZE of the base query shows more.");
}

static void
add_plan_finding(struct lm_checking *self, const struct lm_pages *pages)
{
    struct lm_finding *finding = add_verdict(self->check, &pages->cost);
    int at = self->check->count - 1;

    add_how_measured(pages, finding);
    add_plan(pages, finding);
    judge_time(self, pages, finding);
    if (lm_page_cost_judge(&pages->cost) != LM_VERDICT_OK)
        hint_at_index(self, pages, &self->check->findings[at]);
}

/* Rows, batches, and how long it takes to read them and to pause. */
static void
estimate_run(struct lm_checking *self, const struct lm_pages *pages)
{
    struct lm_check *check = self->check;
    double page_ms = pages->middle.known ? (pages->first.plan.execution_ms +
                                            pages->middle.plan.execution_ms) /
                                               2
                                         : pages->first.plan.execution_ms;

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
    lm_check_add(check, LM_VERDICT_OK, "estimate",
                 "about %s rows in %s batch%s; a guess: %s to read them and to "
                 "pause, plus the time of the writes",
                 count_text((double)check->rows).text,
                 count_text((double)check->batches).text,
                 check->batches == 1 ? "" : "es",
                 lm_clock_span(check->duration_ms).text);
}

/* A page that the server refuses. */
static bool
add_refused(struct lm_checking *self, bool run, const struct lm_err *err)
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
    struct lm_pages pages;
    bool ok = lm_pages_look(self, run, &pages, err);

    if (!ok) {
        ok = add_refused(self, run, err);
    } else if (run || pages.cost.pages > 0) {
        add_plan_finding(self, &pages);
        estimate_run(self, &pages);
    }
    self->plan = pages.first.plan;
    memset(&pages.first.plan, 0, sizeof pages.first.plan);
    lm_pages_release(&pages);
    return ok;
}

void
lm_check_page(struct lm_check *self, struct lm_conn *conn,
              const struct lm_migration *migration,
              const struct lm_base_query *query, const struct lm_key *cursor,
              const struct lm_key *bound)
{
    struct lm_checking checking = {
        .check = self, .conn = conn, .migration = migration, .query = *query};
    struct lm_err ignored;
    struct lm_pages pages;

    memset(&pages, 0, sizeof pages);
    if (lm_page_probe(&checking, cursor, bound, false, &pages.first,
                      &ignored)) {
        struct lm_finding *finding =
            lm_check_add(self, LM_VERDICT_WARNING, "plan",
                         "the next page's plan reads about %s rows to return "
                         "%s",
                         count_text(pages.first.rows_read).text,
                         count_text(pages.first.rows_returned).text);

        add_plan(&pages, finding);
    }
    lm_pages_release(&pages);
}
