/* SPDX-License-Identifier: MIT */
/* Quoting: what goes in comes out, whatever it holds. */

#include "unit.h"

#include "pg/sql/sql.h"

static void
test_identifiers_are_always_quoted(void **state)
{
    static const struct {
        const char *name;
        const char *quoted;
    } cases[] = {
        {"id", "\"id\""},
        {"Mixed Case", "\"Mixed Case\""},
        {"a.b", "\"a.b\""},
        {"say \"hi\"", "\"say \"\"hi\"\"\""},
        {"\"", "\"\"\"\""},
        {"x\"; DROP TABLE users; --", "\"x\"\"; DROP TABLE users; --\""},
        {"back\\slash", "\"back\\slash\""},
        {"", "\"\""},
    };
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        lm_sql_add_identifier(&buf, cases[i].name);
        assert_buf(&buf, cases[i].quoted);
    }
    lm_buf_release(&buf);
}

static void
test_table_names_have_one_part_or_two(void **state)
{
    static const struct {
        const char *name;
        const char *quoted;
    } cases[] = {
        {"users", "\"users\""},
        {"Users", "\"Users\""},
        {"public.users", "\"public\".\"users\""},
        {"my schema.my table", "\"my schema\".\"my table\""},
        {"\"odd.name\"", "\"odd.name\""},
        {"\"odd.schema\".users", "\"odd.schema\".\"users\""},
        {"public.\"odd.name\"", "\"public\".\"odd.name\""},
        {"\"a\"\"b\".\"\"\"\"", "\"a\"\"b\".\"\"\"\""},
        {"x; DROP TABLE y", "\"x; DROP TABLE y\""},
    };
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        assert_true(lm_sql_add_table(&buf, cases[i].name));
        assert_buf(&buf, cases[i].quoted);
    }
    lm_buf_release(&buf);
}

static void
test_malformed_table_names_are_refused(void **state)
{
    static const char *const names[] = {
        "",         ".",      ".users",    "users.",    "a..b",
        "a.b.c",    "a.b.",   "\"\"",      "\"a",       "\"a\"\"",
        "\"a\"b",   "a\"b\"", "a\"",       "\"a\".",    "\"a\".\"\"",
        "a.\"b\"c", "\"",     "\"a\".\"b", "\"a\".b.c",
    };
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    for (size_t i = 0; i < LM_COUNT(names); i++) {
        lm_buf_clear(&buf);
        if (lm_sql_add_table(&buf, names[i]))
            fail_msg("accepted: %s", names[i]);
    }
    lm_buf_release(&buf);
}

static void
test_array_literals_quote_every_element(void **state)
{
    static const char *const texts[] = {"a",  NULL, "NULL", "",   "a,b",
                                        "{}", "\"", "\\",   " x "};
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    lm_sql_add_array(&buf, texts, (int)LM_COUNT(texts));
    assert_buf(&buf, "{\"a\",NULL,\"NULL\",\"\",\"a,b\",\"{}\",\"\\\"\","
                     "\"\\\\\",\" x \"}");
    lm_sql_add_array(&buf, NULL, 0);
    assert_buf(&buf, "{}");
    lm_buf_release(&buf);
}

static void
assert_texts(char **texts, int count, const char *const *expected,
             int expected_count)
{
    assert_int_equal(count, expected_count);
    for (int i = 0; i < count; i++) {
        if (expected[i] == NULL) {
            assert_null(texts[i]);
        } else {
            assert_non_null(texts[i]);
            assert_string_equal(texts[i], expected[i]);
        }
    }
}

static void
test_arrays_come_back_as_they_went_in(void **state)
{
    static const char *const texts[] = {
        "a",    NULL,       "NULL",         "null", "",     ",",    "{",
        "}",    "\"",       "\\",           "\\\"", "\"\"", "\\\\", "a b",
        "\n\t", "\xC3\xA9", "{\"x\",NULL}", NULL,   "end\\"};

    (void)state;
    for (int count = 0; count <= (int)LM_COUNT(texts); count++) {
        struct lm_buf buf = LM_BUF_INIT;
        char **parsed;
        int found;

        lm_sql_add_array(&buf, texts, count);
        found = lm_sql_parse_array(lm_buf_text(&buf), &parsed);
        assert_texts(parsed, found, texts, count);
        lm_free_texts(parsed, found);
        lm_buf_release(&buf);
    }
}

/* The server leaves quotes away where it can. */
static void
test_arrays_are_read_as_the_server_prints_them(void **state)
{
    static const struct {
        const char *literal;
        const char *texts[4];
        int count;
    } cases[] = {
        {"{}", {NULL}, 0},
        {"{1,2,3}", {"1", "2", "3"}, 3},
        {"{abc,NULL,\"NULL\"}", {"abc", NULL, "NULL"}, 3},
        {"{NULLS,\"\",a}", {"NULLS", "", "a"}, 3},
        {"{2024-01-01,\"2024-01-01 10:00:00\"}",
         {"2024-01-01", "2024-01-01 10:00:00"},
         2},
        {"{\"\\\"\"}", {"\""}, 1},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        char **parsed;
        int found = lm_sql_parse_array(cases[i].literal, &parsed);

        assert_texts(parsed, found, cases[i].texts, cases[i].count);
        lm_free_texts(parsed, found);
    }
}

static void
test_a_text_that_is_not_an_array_is_not_read(void **state)
{
    static const char *const cases[] = {
        "",         "a",      "{",     "}",       "{a",         "{a,",
        "{a,}",     "{,a}",   "{a}b",  "{\"open", "{a}}",       "{{a}}",
        "{\"a\"b}", "{a\"b}", "{a\\}", "{\"\\",   "[0:1]={1,2}"};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        char **parsed;

        assert_int_equal(lm_sql_parse_array(cases[i], &parsed), -1);
        assert_null(parsed);
    }
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_text_that_is_not_an_array_is_not_read),
        cmocka_unit_test(test_identifiers_are_always_quoted),
        cmocka_unit_test(test_table_names_have_one_part_or_two),
        cmocka_unit_test(test_malformed_table_names_are_refused),
        cmocka_unit_test(test_array_literals_quote_every_element),
        cmocka_unit_test(test_arrays_come_back_as_they_went_in),
        cmocka_unit_test(test_arrays_are_read_as_the_server_prints_them),
    };

    return UNIT_RUN(tests);
}
