/* SPDX-License-Identifier: MIT */
/* The SQL of each structured write, shape by shape. */

#include "unit.h"

#include "core/write.h"

static const char *const one[] = {"a"};
static const char *const two[] = {"b", "c \"d\""};
static const struct lm_names none = {NULL, 0};
static const struct lm_names names1 = {one, 1};
static const struct lm_names names2 = {two, 2};

static void
test_update_numbers_changes_before_the_key(void **state)
{
    struct lm_buf sql = LM_BUF_INIT;

    (void)state;
    assert_true(lm_write_update(&sql, "t", names1, names1));
    assert_buf(&sql, "UPDATE \"t\" SET \"a\" = $1 WHERE \"a\" = $2");
    assert_true(lm_write_update(&sql, "s.t", names2, names2));
    assert_buf(&sql, "UPDATE \"s\".\"t\" SET \"b\" = $1, \"c \"\"d\"\"\" = $2"
                     " WHERE \"b\" = $3 AND \"c \"\"d\"\"\" = $4");
    lm_buf_release(&sql);
}

static void
test_delete_names_the_whole_key(void **state)
{
    struct lm_buf sql = LM_BUF_INIT;

    (void)state;
    assert_true(lm_write_delete(&sql, "t", names1));
    assert_buf(&sql, "DELETE FROM \"t\" WHERE \"a\" = $1");
    assert_true(lm_write_delete(&sql, "t", names2));
    assert_buf(&sql, "DELETE FROM \"t\" WHERE \"b\" = $1 AND"
                     " \"c \"\"d\"\"\" = $2");
    lm_buf_release(&sql);
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
    struct lm_buf sql = LM_BUF_INIT;

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        assert_true(lm_write_insert(&sql, "t", *cases[i].columns,
                                    cases[i].conflict, *cases[i].target,
                                    *cases[i].update));
        assert_buf(&sql, cases[i].sql);
    }
    lm_buf_release(&sql);
}

/* The condition has the first numbers, since the script wrote them; its text
 * may end in a comment. */
static void
test_conditions_keep_their_own_numbers(void **state)
{
    struct lm_buf sql = LM_BUF_INIT;

    (void)state;
    assert_true(lm_write_update_all(&sql, "t", names2, "x = $1 -- why", 1));
    assert_buf(&sql, "UPDATE \"t\" SET \"b\" = $2, \"c \"\"d\"\"\" = $3"
                     " WHERE (x = $1 -- why\n)");
    assert_true(lm_write_update_all(&sql, "t", names1, "x OR y", 0));
    assert_buf(&sql, "UPDATE \"t\" SET \"a\" = $1 WHERE (x OR y\n)");
    assert_true(lm_write_update_all(&sql, "t", names1, NULL, 0));
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
        lm_write_equality(&sql, (struct lm_names){columns, 3}, cases[i].nulls);
        assert_buf(&sql, cases[i].sql);
    }
    lm_buf_release(&sql);
}

static void
test_every_shape_refuses_a_malformed_table(void **state)
{
    struct lm_buf sql = LM_BUF_INIT;

    (void)state;
    assert_false(lm_write_update(&sql, "a.b.c", names1, names1));
    assert_false(lm_write_delete(&sql, "a.b.c", names1));
    assert_false(
        lm_write_insert(&sql, "a.b.c", names1, LM_CONFLICT_ERROR, none, none));
    assert_false(lm_write_update_all(&sql, "a.b.c", names1, NULL, 0));
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
        cmocka_unit_test(test_conditions_keep_their_own_numbers),
        cmocka_unit_test(test_equality_leaves_nulls_out_of_the_numbering),
        cmocka_unit_test(test_every_shape_refuses_a_malformed_table),
    };

    return UNIT_RUN(tests);
}
