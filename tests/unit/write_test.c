/* SPDX-License-Identifier: MIT */
/* The SQL of each structured write, shape by shape. */

#include "unit.h"

#include "core/repo/write.h"

static const char *const one[] = {"a"};
static const char *const two[] = {"b", "c \"d\""};
static const struct lm_names none = {NULL, 0};
static const struct lm_names names1 = {one, 1};
static const struct lm_names names2 = {two, 2};

static void
assert_one(const struct lm_form *form, const char *expected)
{
    struct lm_buf sql = LM_BUF_INIT;

    assert_true(lm_write_one(&sql, form, NULL));
    assert_buf(&sql, expected);
    lm_buf_release(&sql);
}

static void
test_update_numbers_changes_before_the_key(void **state)
{
    struct lm_form form = {.verb = LM_VERB_UPDATE, .table = "t"};

    (void)state;
    form.changes = form.key = names1;
    assert_one(&form, "UPDATE \"t\" SET \"a\" = $1 WHERE \"a\" = $2");
    form.table = "s.t";
    form.changes = form.key = names2;
    assert_one(&form, "UPDATE \"s\".\"t\" SET \"b\" = $1, \"c \"\"d\"\"\" = $2"
                      " WHERE \"b\" = $3 AND \"c \"\"d\"\"\" = $4");
}

static void
test_delete_names_the_whole_key(void **state)
{
    struct lm_form form = {.verb = LM_VERB_DELETE, .table = "t"};

    (void)state;
    form.key = names1;
    assert_one(&form, "DELETE FROM \"t\" WHERE \"a\" = $1");
    form.key = names2;
    assert_one(&form, "DELETE FROM \"t\" WHERE \"b\" = $1 AND"
                      " \"c \"\"d\"\"\" = $2");
}

static void
test_insert_in_every_shape(void **state)
{
    static const struct {
        const struct lm_names *columns;
        enum lm_conflict conflict;
        const struct lm_names *target;
        const struct lm_names *update;
        const char *sql;
    } cases[] = {
        {&none, LM_CONFLICT_ERROR, &none, &none,
         "INSERT INTO \"t\" DEFAULT VALUES"},
        {&names1, LM_CONFLICT_ERROR, &none, &none,
         "INSERT INTO \"t\" (\"a\") VALUES ($1)"},
        {&names2, LM_CONFLICT_ERROR, &names1, &names1,
         "INSERT INTO \"t\" (\"b\", \"c \"\"d\"\"\") VALUES ($1, $2)"},
        {&names1, LM_CONFLICT_NOTHING, &none, &none,
         "INSERT INTO \"t\" (\"a\") VALUES ($1) ON CONFLICT DO NOTHING"},
        {&none, LM_CONFLICT_NOTHING, &none, &none,
         "INSERT INTO \"t\" DEFAULT VALUES ON CONFLICT DO NOTHING"},
        {&names1, LM_CONFLICT_NOTHING, &names2, &none,
         "INSERT INTO \"t\" (\"a\") VALUES ($1)"
         " ON CONFLICT (\"b\", \"c \"\"d\"\"\") DO NOTHING"},
        {&names2, LM_CONFLICT_UPDATE, &names1, &names2,
         "INSERT INTO \"t\" (\"b\", \"c \"\"d\"\"\") VALUES ($1, $2)"
         " ON CONFLICT (\"a\") DO UPDATE SET \"b\" = excluded.\"b\","
         " \"c \"\"d\"\"\" = excluded.\"c \"\"d\"\"\""},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_form form = {.verb = LM_VERB_INSERT,
                               .table = "t",
                               .changes = *cases[i].columns,
                               .conflict = cases[i].conflict,
                               .target = *cases[i].target,
                               .overwritten = *cases[i].update};

        assert_one(&form, cases[i].sql);
    }
}

static void
assert_combined(const struct lm_form *form, char *const *casts,
                const char *expected)
{
    struct lm_buf sql = LM_BUF_INIT;

    assert_true(lm_write_combined(&sql, form, NULL, casts, "j"));
    assert_buf(&sql, expected);
    lm_buf_release(&sql);
}

#define NULLS_ARE_NULL                          \
    "pg_catalog.current_setting('array_nulls')" \
    " OPERATOR(pg_catalog.=) 'on'"
#define COUNT                   \
    "CASE WHEN " NULLS_ARE_NULL \
    " THEN pg_catalog.count(*) ELSE '-1'::pg_catalog.int8 END"

/* Each in full once: what the server's log shows. */
static void
test_many_rows_in_one_statement(void **state)
{
    static char cast[] = "\"x\".\"y\"";
    static char *const casts[] = {cast, NULL, NULL};
    static const char *const d[] = {"d"};
    struct lm_form form = {.verb = LM_VERB_UPDATE, .table = "t"};

    (void)state;
    form.changes = names1;
    form.key = (struct lm_names){d, 1};
    assert_combined(
        &form, casts,
        "WITH written AS (UPDATE \"t\" AS t SET \"a\" = v.c1::\"x\".\"y\""
        " FROM ROWS FROM (pg_catalog.unnest((SELECT $1)),"
        " pg_catalog.unnest((SELECT $2))) AS v (c1, c2)"
        " WHERE t.\"d\" = v.c2 RETURNING 1) SELECT pg_catalog.count(*),"
        " CASE WHEN " NULLS_ARE_NULL
        " AND pg_catalog.count(*) OPERATOR(pg_catalog.=) "
        "$3::pg_catalog.int8 THEN 0 ELSE"
        " \"j\".expect(" COUNT ", $3::pg_catalog.int8) END FROM written");
    form = (struct lm_form){
        .verb = LM_VERB_DELETE, .table = "t", .key = names1, .may_miss = true};
    assert_combined(
        &form, casts,
        "WITH written AS (DELETE FROM \"t\" AS t USING ROWS FROM"
        " (pg_catalog.unnest((SELECT $1))) AS v (c1)"
        " WHERE t.\"a\" = v.c1::\"x\".\"y\" RETURNING 1) SELECT"
        " pg_catalog.count(*), (SELECT CASE WHEN " NULLS_ARE_NULL
        " AND pg_catalog.count(*) OPERATOR(pg_catalog.=)"
        " $2::pg_catalog.int8 THEN 0"
        " ELSE \"j\".expect(" COUNT ", $2::pg_catalog.int8) END FROM"
        " (SELECT DISTINCT v.c1::\"x\".\"y\" FROM ROWS FROM"
        " (pg_catalog.unnest((SELECT $1))) AS v (c1)) AS keys) FROM written");
    form = (struct lm_form){.verb = LM_VERB_INSERT,
                            .table = "t",
                            .changes = names1,
                            .conflict = LM_CONFLICT_NOTHING};
    assert_combined(&form, casts,
                    "WITH written AS (INSERT INTO \"t\" (\"a\") SELECT"
                    " v.c1::\"x\".\"y\" FROM ROWS FROM"
                    " (pg_catalog.unnest((SELECT $1))) AS v (c1)"
                    " ON CONFLICT DO NOTHING RETURNING 1)"
                    " SELECT pg_catalog.count(*), CASE WHEN " NULLS_ARE_NULL
                    " THEN 0 ELSE \"j\".expect('-1'::pg_catalog.int8,"
                    " $2::pg_catalog.int8) END FROM written");
}

/* Changes that have a parameter come first, and are numbered; the others take
 * the row's old values. */
static void
test_an_update_computes_from_the_old_row(void **state)
{
    static const bool sums[] = {true, false};
    static char *const casts[] = {NULL, NULL, NULL};
    static const char *const d[] = {"d"};
    static const char *const e[] = {"e"};
    struct lm_form form = {.verb = LM_VERB_UPDATE,
                           .table = "t",
                           .changes = names2,
                           .sums = sums,
                           .copied = {d, 1},
                           .sources = {e, 1},
                           .key = names1};
    struct lm_buf sql = LM_BUF_INIT;

    (void)state;
    assert_one(&form,
               "UPDATE \"t\" SET \"b\" = \"b\" OPERATOR(pg_catalog.+) $1,"
               " \"c \"\"d\"\"\" = $2, \"d\" = \"e\" WHERE \"a\" = $3");
    assert_combined(
        &form, casts,
        "WITH written AS (UPDATE \"t\" AS t SET"
        " \"b\" = t.\"b\" OPERATOR(pg_catalog.+) v.c1,"
        " \"c \"\"d\"\"\" = v.c2, \"d\" = t.\"e\""
        " FROM ROWS FROM (pg_catalog.unnest((SELECT $1)),"
        " pg_catalog.unnest((SELECT $2)), pg_catalog.unnest((SELECT $3)))"
        " AS v (c1, c2, c3) WHERE t.\"a\" = v.c3 RETURNING 1)"
        " SELECT pg_catalog.count(*), CASE WHEN " NULLS_ARE_NULL
        " AND pg_catalog.count(*) OPERATOR(pg_catalog.=) "
        "$4::pg_catalog.int8 THEN 0 ELSE"
        " \"j\".expect(" COUNT ", $4::pg_catalog.int8) END FROM written");
    form.key = form.changes = none;
    form.sums = NULL;
    assert_true(lm_write_update_all(&sql, &form, NULL, 0));
    assert_buf(&sql, "UPDATE \"t\" SET \"d\" = \"e\"");
    lm_buf_release(&sql);
}

static void
test_an_insert_adds_to_the_row_that_is_there(void **state)
{
    static char *const casts[] = {NULL};
    struct lm_form form = {.verb = LM_VERB_INSERT,
                           .table = "s.t",
                           .changes = names1,
                           .conflict = LM_CONFLICT_UPDATE,
                           .target = names1,
                           .summed = names2};
    struct lm_buf sql = LM_BUF_INIT;

    (void)state;
#define ADDS                                                      \
    " ON CONFLICT (\"a\") DO UPDATE SET"                          \
    " \"b\" = t.\"b\" OPERATOR(pg_catalog.+) excluded.\"b\","     \
    " \"c \"\"d\"\"\" = t.\"c \"\"d\"\"\" OPERATOR(pg_catalog.+)" \
    " excluded.\"c \"\"d\"\"\""
    assert_one(&form, "INSERT INTO \"s\".\"t\" AS t (\"a\") VALUES ($1)" ADDS);
    assert_true(lm_write_combined(&sql, &form, NULL, casts, "j"));
    assert_non_null(strstr(lm_buf_text(&sql), "v (c1)" ADDS " RETURNING 1"));
    lm_buf_release(&sql);
}

static void
test_an_insert_returns_its_row(void **state)
{
    struct lm_form form = {.verb = LM_VERB_INSERT,
                           .table = "t",
                           .changes = names1,
                           .conflict = LM_CONFLICT_NOTHING,
                           .returned = names2};

    (void)state;
    assert_one(&form, "INSERT INTO \"t\" (\"a\") VALUES ($1) ON CONFLICT DO"
                      " NOTHING RETURNING \"b\", \"c \"\"d\"\"\"");
}

/* A dry run has no journal: no function to call. */
static void
test_a_count_is_asserted_without_the_journal(void **state)
{
    static const char *const d[] = {"d"};
    static char *const casts[] = {NULL};
    struct lm_form form = {.verb = LM_VERB_DELETE, .table = "t", .key = {d, 1}};
    struct lm_buf sql = LM_BUF_INIT;

    (void)state;
    assert_true(lm_write_combined(&sql, &form, NULL, casts, NULL));
    assert_buf(&sql, "WITH written AS (DELETE FROM \"t\" AS t USING ROWS FROM"
                     " (pg_catalog.unnest((SELECT $1))) AS v (c1)"
                     " WHERE t.\"d\" = v.c1 RETURNING 1) SELECT"
                     " pg_catalog.count(*), CASE WHEN " NULLS_ARE_NULL
                     " AND pg_catalog.count(*)"
                     " OPERATOR(pg_catalog.=) $2::pg_catalog.int8"
                     " THEN 0 ELSE 0 OPERATOR(pg_catalog./)"
                     " (0 OPERATOR(pg_catalog.*) pg_catalog.count(*)) END"
                     " FROM written");
    lm_buf_release(&sql);
}

/* The condition has the first numbers, since the script wrote them; its text
 * may end in a comment. */
static void
test_conditions_keep_their_own_numbers(void **state)
{
    struct lm_buf sql = LM_BUF_INIT;

    struct lm_form two_changes = {
        .verb = LM_VERB_UPDATE, .table = "t", .changes = names2};
    struct lm_form one_change = {
        .verb = LM_VERB_UPDATE, .table = "t", .changes = names1};

    (void)state;
    assert_true(lm_write_update_all(&sql, &two_changes, "x = $1 -- why", 1));
    assert_buf(&sql, "UPDATE \"t\" SET \"b\" = $2, \"c \"\"d\"\"\" = $3"
                     " WHERE (x = $1 -- why\n)");
    assert_true(lm_write_update_all(&sql, &one_change, "x OR y", 0));
    assert_buf(&sql, "UPDATE \"t\" SET \"a\" = $1 WHERE (x OR y\n)");
    assert_true(lm_write_update_all(&sql, &one_change, NULL, 0));
    assert_buf(&sql, "UPDATE \"t\" SET \"a\" = $1");
    assert_true(lm_write_delete_all(&sql, "t", "x = $1 OR y = $2"));
    assert_buf(&sql, "DELETE FROM \"t\" WHERE (x = $1 OR y = $2\n)");
    assert_true(lm_write_delete_all(&sql, "t", NULL));
    assert_buf(&sql, "DELETE FROM \"t\"");
    lm_buf_release(&sql);
}

static void
test_equality_leaves_nulls_out_of_the_numbering(void **state)
{
    static const char *const columns[] = {"a", "b", "c"};
    static const struct {
        bool nulls[3];
        const char *sql;
    } cases[] = {
        {{false, false, false}, "\"a\" = $1 AND \"b\" = $2 AND \"c\" = $3"},
        {{false, true, false}, "\"a\" = $1 AND \"b\" IS NULL AND \"c\" = $2"},
        {{true, false, true}, "\"a\" IS NULL AND \"b\" = $1 AND \"c\" IS NULL"},
        {{true, true, true},
         "\"a\" IS NULL AND \"b\" IS NULL AND \"c\" IS NULL"},
    };
    struct lm_buf sql = LM_BUF_INIT;

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        lm_write_equality(&sql, (struct lm_names){columns, 3}, cases[i].nulls,
                          NULL);
        assert_buf(&sql, cases[i].sql);
    }
    lm_buf_release(&sql);
}

static void
test_every_shape_refuses_a_malformed_table(void **state)
{
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_form form = {.table = "a.b.c", .changes = names1, .key = names1};

    (void)state;
    for (int verb = LM_VERB_INSERT; verb <= LM_VERB_DELETE; verb++) {
        form.verb = (enum lm_verb)verb;
        assert_false(lm_write_one(&sql, &form, NULL));
        assert_false(lm_write_combined(&sql, &form, NULL, NULL, "j"));
    }
    form.verb = LM_VERB_UPDATE;
    assert_false(lm_write_update_all(&sql, &form, NULL, 0));
    assert_false(lm_write_delete_all(&sql, "a.b.c", NULL));
    lm_buf_release(&sql);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_update_numbers_changes_before_the_key),
        cmocka_unit_test(test_delete_names_the_whole_key),
        cmocka_unit_test(test_insert_in_every_shape),
        cmocka_unit_test(test_many_rows_in_one_statement),
        cmocka_unit_test(test_an_update_computes_from_the_old_row),
        cmocka_unit_test(test_an_insert_adds_to_the_row_that_is_there),
        cmocka_unit_test(test_an_insert_returns_its_row),
        cmocka_unit_test(test_a_count_is_asserted_without_the_journal),
        cmocka_unit_test(test_conditions_keep_their_own_numbers),
        cmocka_unit_test(test_equality_leaves_nulls_out_of_the_numbering),
        cmocka_unit_test(test_every_shape_refuses_a_malformed_table),
    };

    return UNIT_RUN(tests);
}
