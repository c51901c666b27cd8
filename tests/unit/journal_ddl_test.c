/* SPDX-License-Identifier: MIT */
/* The journal's DDL as text: the schema's name and the numbers of the steps. */

#include "unit.h"

#include "core/journal/journal.h"
#include "pg/sql/guard.h"

#include <stdio.h>

/* Are these several statements, as the server's grammar sees them? */
static bool
is_several(const char *sql)
{
    struct lm_verdict verdict;
    struct lm_err err;

    return !lm_guard_judge(sql, 0, &verdict, &err) &&
           strstr(err.message, "several statements") != NULL;
}

static int
count_of(const char *text, const char *part)
{
    int count = 0;

    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        count++;
    return count;
}

static void
test_the_schema_is_spliced_in_quoted(void **state)
{
    static const struct {
        const char *sql;
        const char *schema;
        const char *spliced;
    } cases[] = {
        {"{schema}.run", "luamig", "\"luamig\".run"},
        {"{schema}{schema}", "a", "\"a\"\"a\""},
        {"x {schema}", "My \"own\"", "x \"My \"\"own\"\"\""},
        {"{schema} y", "{schema}", "\"{schema}\" y"},
        {"nothing {schem} {schema", "a", "nothing {schem} {schema"},
        {"{quote}{schema}{quote}", "a", "$luamig$\"a\"$luamig$"},
        {"{quote}{schema}", "$luamig$", "$luamig1$\"$luamig$\""},
        {"{quote}{schema}", "{quote}", "$luamig$\"{quote}\""},
        {"", "a", ""},
    };
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        lm_journal_fill_placeholders(&buf, cases[i].sql, cases[i].schema);
        assert_buf(&buf, cases[i].spliced);
    }
    lm_buf_release(&buf);
}

static void
test_no_mark_is_left_in_the_ddl(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    lm_journal_add_ddl(&buf, "odd \"name\"", 0);
    assert_null(strstr(lm_buf_text(&buf), "{schema}"));
    assert_contains(lm_buf_text(&buf),
                    "CREATE TABLE \"odd \"\"name\"\"\".run (");
    assert_null(strstr(lm_buf_text(&buf), "luamig."));
    assert_true(is_several(lm_buf_text(&buf)));
    lm_buf_release(&buf);
}

static void
test_every_step_records_its_number(void **state)
{
    struct lm_buf all = LM_BUF_INIT;

    (void)state;
    assert_true(lm_journal_version() > 0);
    lm_journal_add_ddl(&all, "j", 0);
    assert_int_equal(count_of(lm_buf_text(&all), "INSERT INTO \"j\".version"),
                     lm_journal_version());
    for (int step = 1; step <= lm_journal_version(); step++) {
        char insert[80];

        snprintf(insert, sizeof insert,
                 "INSERT INTO \"j\".version (version) VALUES (%d);\n", step);
        assert_int_equal(count_of(lm_buf_text(&all), insert), 1);
    }
    lm_buf_release(&all);
}

/* A name may not end the functions' texts, which hold it. */
static void
test_no_name_ends_a_dollar_quote(void **state)
{
    static const char *const names[] = {"x$$y", "$luamig$", "$luamig$$luamig1$",
                                        "{quote}", "$"};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(names); i++) {
        struct lm_buf buf = LM_BUF_INIT;

        lm_journal_add_ddl(&buf, names[i], 0);
        if (!is_several(lm_buf_text(&buf)))
            fail_msg("%s: %s", names[i], lm_buf_text(&buf));
        lm_buf_release(&buf);
    }
}

/* Upgrading from each version adds exactly the rest. */
static void
test_an_upgrade_is_the_tail_of_an_installation(void **state)
{
    struct lm_buf all = LM_BUF_INIT;

    (void)state;
    lm_journal_add_ddl(&all, "j", 0);
    for (int installed = 1; installed <= lm_journal_version(); installed++) {
        struct lm_buf rest = LM_BUF_INIT;

        lm_journal_add_ddl(&rest, "j", installed);
        assert_true(rest.len < all.len);
        assert_string_equal(all.data + all.len - rest.len, lm_buf_text(&rest));
        lm_buf_release(&rest);
    }
    lm_buf_clear(&all);
    lm_journal_add_ddl(&all, "j", lm_journal_version());
    assert_buf(&all, "");
    lm_buf_release(&all);
}

static void
test_grants_name_role_and_schema_in_quotes(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;
    const char *line;
    int lines = 0;

    (void)state;
    lm_journal_add_grants(&buf, "My j", "the \"app\"");
    for (line = lm_buf_text(&buf); *line != '\0';
         line = strchr(line, '\n') + 1) {
        const char *end = strchr(line, '\n');
        static const char to[] = " TO \"the \"\"app\"\"\";";

        assert_non_null(end);
        assert_memory_equal(line, "GRANT ", 6);
        assert_memory_equal(end - strlen(to), to, strlen(to));
        lines++;
    }
    assert_true(lines >= 4);
    assert_contains(lm_buf_text(&buf), "GRANT USAGE ON SCHEMA \"My j\" TO");
    assert_contains(lm_buf_text(&buf), "\"My j\".run");
    assert_contains(lm_buf_text(&buf), "\"My j\".progress");
    assert_contains(lm_buf_text(&buf), "\"My j\".version");
    assert_contains(lm_buf_text(&buf),
                    "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA \"My j\" TO");
    assert_contains(lm_buf_text(&buf), "DELETE ON \"My j\".range, \"My j\"."
                                       "worker TO");
    lm_buf_release(&buf);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_schema_is_spliced_in_quoted),
        cmocka_unit_test(test_no_mark_is_left_in_the_ddl),
        cmocka_unit_test(test_no_name_ends_a_dollar_quote),
        cmocka_unit_test(test_every_step_records_its_number),
        cmocka_unit_test(test_an_upgrade_is_the_tail_of_an_installation),
        cmocka_unit_test(test_grants_name_role_and_schema_in_quotes),
    };

    return UNIT_RUN(tests);
}
