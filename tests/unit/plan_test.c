/* SPDX-License-Identifier: MIT */
/* Plans as servers have shown them: what is read from them, and judged. */

#include "unit.h"

#include "core/check/private.h"

#include <stdio.h>

#define SCAN(name, rows, more)                                          \
    "{\"Node Type\": \"" name "\", \"Parent Relationship\": \"Outer\"," \
    " \"Relation Name\": \"t\", \"Schema\": \"public\","                \
    " \"Alias\": \"t\", \"Plan Rows\": " rows more "}"
#define LIMIT(rows, more, child)                           \
    "{\"Node Type\": \"Limit\", \"Plan Rows\": " rows more \
    ", \"Plans\": [" child "]}"
#define SORT(rows, child)                                           \
    "{\"Node Type\": \"Sort\", \"Parent Relationship\": \"Outer\"," \
    " \"Plan Rows\": " rows ", \"Plans\": [" child "]}"
#define ACTUAL(rows, loops) \
    ", \"Actual Rows\": " rows ", \"Actual Loops\": " loops
#define EXPECTED(plan) "[{\"Plan\": " plan "}]"
#define MEASURED(plan) "[{\"Plan\": " plan ", \"Execution Time\": 12.5}]"

static struct lm_plan
read_plan(const char *json)
{
    struct lm_plan plan;

    assert_true(lm_plan_read(&plan, json));
    return plan;
}

static void
set_table_rows(struct lm_plan *plan, double rows)
{
    for (int i = 0; i < plan->count; i++) {
        if (lm_plan_scans(&plan->nodes[i]))
            plan->nodes[i].table_rows = rows;
    }
}

static void
assert_reads(const char *json, double table_rows, double expected)
{
    struct lm_plan plan = read_plan(json);

    set_table_rows(&plan, table_rows);
    assert_float_equal(lm_plan_rows_read(&plan), expected, 0.5);
    lm_plan_release(&plan);
}

static void
test_rows_thrown_away_were_read(void **state)
{
    (void)state;
    assert_reads(
        MEASURED(LIMIT(
            "10", ACTUAL("10", "1"),
            SCAN("Seq Scan", "10",
                 ACTUAL("3", "3") ", \"Rows Removed by Filter\": 1000"
                                  ", \"Rows Removed by Index Recheck\": 7"))),
        0, 3 * (3 + 1000 + 7));
}

static void
test_a_plan_that_was_not_run_read_nothing(void **state)
{
    (void)state;
    assert_reads(MEASURED(LIMIT("10", ACTUAL("0", "1"),
                                SCAN("Seq Scan", "10", ACTUAL("0", "0")))),
                 1000, 0);
}

static void
test_a_limit_ends_a_scan_early(void **state)
{
    (void)state;
    assert_reads(EXPECTED(LIMIT("1001", "",
                                SCAN("Index Scan", "1000000",
                                     ", \"Index Name\": \"t_pkey\""))),
                 1000000, 1001);
}

static void
test_a_filter_makes_a_scan_read_more_than_it_gives(void **state)
{
    (void)state;
    assert_reads(EXPECTED(LIMIT("1000", "",
                                SCAN("Index Scan", "10000",
                                     ", \"Index Name\": \"t_pkey\""
                                     ", \"Filter\": \"(n > 0)\""))),
                 1000000, 100000);
}

static void
test_a_condition_leads_to_the_rows(void **state)
{
    (void)state;
    assert_reads(
        EXPECTED(LIMIT("10", "",
                       SORT("10", SCAN("Index Scan", "10",
                                       ", \"Index Name\": \"t_status\""
                                       ", \"Index Cond\": \"(status = 2)\"")))),
        1000000, 10);
}

static void
test_a_sort_reads_all_its_input_first(void **state)
{
    (void)state;
    assert_reads(
        EXPECTED(
            LIMIT("1001", "", SORT("500000", SCAN("Seq Scan", "500000", "")))),
        1000000, 1000000);
}

static void
test_an_inner_side_is_read_again_and_again(void **state)
{
    static const char join[] =
        "{\"Node Type\": \"Nested Loop\", \"Parent Relationship\": \"Outer\","
        " \"Plan Rows\": 10000, \"Plans\": [" SCAN(
            "Seq Scan", "1000",
            "") ","
                "{\"Node Type\": \"Index Scan\", \"Parent Relationship\": "
                "\"Inner\","
                " \"Index Cond\": \"x\", \"Index Name\": \"u_t\","
                " \"Relation Name\": \"u\", \"Schema\": \"public\","
                " \"Plan Rows\": 10}]}";
    char json[2048];

    (void)state;
    snprintf(json, sizeof json,
             "[{\"Plan\": {\"Node Type\": \"Limit\", \"Plan Rows\": 100,"
             " \"Plans\": [%s]}}]",
             join);
    /* A hundredth of the outer side, and ten rows for each of those. */
    assert_reads(json, 0, 10 + 10 * 10);
}

static void
test_a_subplan_that_is_hashed_is_read_once(void **state)
{
    static const char plan[] =
        "[{\"Plan\": {\"Node Type\": \"Result\", \"Plan Rows\": 1000,"
        " \"Filter\": \"(NOT (%sSubPlan 1))\", \"Plans\": ["
        "{\"Node Type\": \"Seq Scan\", \"Parent Relationship\": \"SubPlan\","
        " \"Subplan Name\": \"SubPlan 1\", \"Relation Name\": \"u\","
        " \"Schema\": \"public\", \"Plan Rows\": 5000}]}}]";
    char json[1024];

    (void)state;
    snprintf(json, sizeof json, plan, "hashed ");
    assert_reads(json, 5000, 5000);
    snprintf(json, sizeof json, plan, "");
    assert_reads(json, 5000, 1000 * 5000.0);
}

static void
test_tables_are_counted_once(void **state)
{
    struct lm_plan plan = read_plan(EXPECTED(
        "{\"Node Type\": \"Append\", \"Plan Rows\": 20, \"Plans\": [" SCAN(
            "Seq Scan", "10", "") "," SCAN("Index Scan", "10", "") "]}"));

    (void)state;
    set_table_rows(&plan, 10);
    assert_float_equal(lm_plan_table_rows(&plan), 10, 0);
    lm_plan_release(&plan);
}

static void
test_members_that_are_not_known_are_passed_over(void **state)
{
    struct lm_plan plan = read_plan(
        "[ {\"Settings\": {\"a\": [1, -2.5e3, \"x\\\"]}\", null, true, {}, "
        "[]]},"
        "\"Plan\": {\"New\": {\"Plans\": [{\"Node Type\": \"No\"}]},"
        " \"Node Type\": \"Seq Scan\", \"Filter\": \"(a = '\\\\\\u0001\\n')\"},"
        " \"Triggers\": []} ]");

    (void)state;
    assert_int_equal(plan.count, 1);
    assert_string_equal(plan.nodes[0].filter, "(a = '\\?\n')");
    assert_false(lm_plan_is_measured(&plan));
    lm_plan_release(&plan);
}

#define TASK(plan) \
    "{\"Query\": \"SELECT\", \"Remote Plan\": [[{\"Plan\": " plan "}]]}"
#define TASKS(count, tasks)                                                \
    "{\"Node Type\": \"Custom Scan\", \"Parent Relationship\": \"Outer\"," \
    " \"Plan Rows\": 100000, \"Distributed Query\": {\"Job\": {"           \
    "\"Task Count\": " count ", \"Tasks Shown\": \"some\","                \
    " \"Tasks\": [" tasks "]}}}"

static void
test_citus_shows_one_of_many_tasks(void **state)
{
    struct lm_plan plan =
        read_plan(EXPECTED(TASKS("32", TASK(SCAN("Index Scan", "626", "")))));

    (void)state;
    assert_float_equal(lm_plan_rows_returned(&plan), 32 * 626, 0.5);
    assert_float_equal(lm_plan_rows_read(&plan), 32 * 626, 0.5);
    lm_plan_release(&plan);
    /* Each task has a limit of its own, and what comes of all is sorted. */
    assert_reads(
        EXPECTED(LIMIT(
            "10", "",
            SORT("100000",
                 TASKS("4",
                       TASK(LIMIT("10", "", SCAN("Index Scan", "500", ""))))))),
        0, 40);
    assert_reads(
        MEASURED(TASKS("4", TASK(SCAN("Seq Scan", "7", ACTUAL("5", "1"))))), 0,
        20);
    /* All are shown. */
    assert_reads(EXPECTED(TASKS("2", TASK(SCAN("Seq Scan", "7", "")) ", " TASK(
                                         SCAN("Seq Scan", "8", "")))),
                 0, 15);
}

static void
test_a_text_that_is_not_a_plan_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "[",
        "[]",
        "{}",
        "[{}]",
        "[{\"Plan\": {}}]",
        "[{\"Plan\": 1}]",
        "[{\"Plan\": {\"Node Type\": \"Sort\"",
        "[{\"Plan\": {\"Node Type\"}}]",
        "[{\"Plan\": {\"Node Type\": \"x\\",
        "[{\"Plan\": {\"Node Type\": \"x\", \"Plans\": [{}]}}]"};
    struct lm_buf deep = LM_BUF_INIT;
    struct lm_plan plan;

    (void)state;
    for (size_t i = 0; i < LM_COUNT(texts); i++) {
        assert_false(lm_plan_read(&plan, texts[i]));
        lm_plan_release(&plan);
    }
    for (int i = 0; i < 100000; i++)
        lm_buf_putc(&deep, '[');
    assert_false(lm_plan_read(&plan, lm_buf_text(&deep)));
    lm_plan_release(&plan);
    lm_buf_release(&deep);
}

static void
test_every_prefix_of_a_plan_is_refused(void **state)
{
    static const char json[] =
        MEASURED(LIMIT("10", ACTUAL("10", "1"),
                       SORT("10", SCAN("Seq Scan", "10", ACTUAL("3", "3")))));
    struct lm_plan plan;

    (void)state;
    for (size_t len = 0; len + 1 < sizeof json; len++) {
        char *text = lm_strndup(json, len);

        assert_false(lm_plan_read(&plan, text));
        lm_plan_release(&plan);
        free(text);
    }
}

static const struct {
    const char *what;
    struct lm_page_cost
        cost; /* read, returned, pages, rows of the table, tasks */
    enum lm_check_verdict verdict;
} judged[] = {
    {"the key's index", {1001, 1000, 1000, 1e6, 1}, LM_VERDICT_OK},
    {"a sort of everything", {1e6, 1000, 1000, 1e6, 1}, LM_VERDICT_ERROR},
    {"a needle, in one page", {1e6, 10, 1, 1e6, 1}, LM_VERDICT_OK},
    {"one in a thousand", {1e5, 100, 10, 1e6, 1}, LM_VERDICT_OK},
    {"few rows by their own index", {10, 10, 1, 1e6, 1}, LM_VERDICT_OK},
    {"ten sorts of everything", {1e6, 1000, 10, 1e6, 1}, LM_VERDICT_WARNING},
    {"a small table, sorted", {9000, 10, 900, 9000, 1}, LM_VERDICT_OK},
    {"a table of some size", {90000, 10, 9000, 90000, 1}, LM_VERDICT_WARNING},
    {"a join of five tables", {50000, 10000, 1000, 1e7, 1}, LM_VERDICT_OK},
    {"a page of each of 32 shards",
     {320032, 10000, 100, 1e6, 32},
     LM_VERDICT_OK},
    {"a sort in each of 32 shards", {1e7, 100, 1e5, 1e7, 32}, LM_VERDICT_ERROR},
    {"a table that nobody knows", {1e6, 1000, 1000, 0, 1}, LM_VERDICT_OK},
};

static void
test_a_run_is_judged_by_what_it_reads_in_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < LM_COUNT(judged); i++) {
        if (lm_page_cost_judge(&judged[i].cost) != judged[i].verdict)
            fail_msg("%s", judged[i].what);
    }
}

static void
assert_predicate(const char *filter, const char *expected)
{
    struct lm_buf json = LM_BUF_INIT;
    struct lm_buf out = LM_BUF_INIT;
    struct lm_plan plan;

    lm_buf_printf(&json,
                  "[{\"Plan\": {\"Node Type\": \"Seq Scan\", \"Relation Name\":"
                  " \"t\", \"Alias\": \"u\", \"Filter\": \"%s\"}}]",
                  filter);
    plan = read_plan(lm_buf_text(&json));
    assert_int_equal(lm_plan_add_predicate(&plan, &out), expected != NULL);
    if (expected != NULL)
        assert_buf(&out, expected);
    lm_buf_release(&json);
    lm_buf_release(&out);
    lm_plan_release(&plan);
}

static void
test_a_simple_condition_may_stand_in_an_index(void **state)
{
    (void)state;
    assert_predicate("(u.step IS NULL)", "(step IS NULL)");
    assert_predicate("((u.a = 1) AND (NOT u.b))", "((a = 1) AND (NOT b))");
    assert_predicate("u.wanted", "wanted");
    assert_predicate("(u.at < now())", NULL);
    assert_predicate("(u.day < CURRENT_DATE)", NULL);
    assert_predicate("(u.a = $1)", NULL);
    assert_predicate("(hashed SubPlan 1)", NULL);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_thrown_away_were_read),
        cmocka_unit_test(test_a_plan_that_was_not_run_read_nothing),
        cmocka_unit_test(test_a_limit_ends_a_scan_early),
        cmocka_unit_test(test_a_filter_makes_a_scan_read_more_than_it_gives),
        cmocka_unit_test(test_a_condition_leads_to_the_rows),
        cmocka_unit_test(test_a_sort_reads_all_its_input_first),
        cmocka_unit_test(test_an_inner_side_is_read_again_and_again),
        cmocka_unit_test(test_a_subplan_that_is_hashed_is_read_once),
        cmocka_unit_test(test_tables_are_counted_once),
        cmocka_unit_test(test_members_that_are_not_known_are_passed_over),
        cmocka_unit_test(test_citus_shows_one_of_many_tasks),
        cmocka_unit_test(test_a_text_that_is_not_a_plan_is_refused),
        cmocka_unit_test(test_every_prefix_of_a_plan_is_refused),
        cmocka_unit_test(test_a_run_is_judged_by_what_it_reads_in_all),
        cmocka_unit_test(test_a_simple_condition_may_stand_in_an_index),
    };

    return UNIT_RUN(tests);
}
