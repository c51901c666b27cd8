/* SPDX-License-Identifier: MIT */
/* What is found of a secret in other texts. */

#include "unit.h"

#include "base/secret.h"

static void
assert_masked(const char *text, const char *wanted)
{
    char *masked = lm_secret_masked(text);

    assert_string_equal(masked, wanted);
    free(masked);
}

static void
assert_masked_json(const char *json, const char *wanted)
{
    struct lm_buf buf = LM_BUF_INIT;

    lm_secret_add_masked_json(&buf, json);
    assert_buf(&buf, wanted);
    lm_buf_release(&buf);
}

/* The first, as secrets stay. */
static void
nothing_is_masked_without_secrets(void **state)
{
    (void)state;
    assert_false(lm_secret_any());
    assert_masked("a token", "a token");
    assert_null(lm_secret_masked(NULL));
    lm_secret_add("abc");
    lm_secret_add("");
    assert_false(lm_secret_any());
}

static void
each_place_is_masked(void **state)
{
    (void)state;
    lm_secret_add("hunter2-hunter3");
    lm_secret_add("pass");
    assert_masked("hunter2-hunter3", "***");
    assert_masked("(hunter2-hunter3hunter2-hunter3)", "(******)");
    assert_masked("passpas password", "***pas ***word");
    assert_masked("", "");
}

static void
the_longest_is_masked(void **state)
{
    (void)state;
    lm_secret_add("passphrase");
    assert_masked("a passphrase", "a ***");
    assert_masked("a passphrace", "a ***phrace");
}

static void
the_beginning_is_masked_where_a_text_was_cut(void **state)
{
    (void)state;
    assert_masked("is hunter2-h", "is ***");
    assert_masked("is \"hunter2-h...\"", "is \"***...\"");
    assert_masked("is hunter2-h, too", "is hunter2-h, too");
    assert_masked("a hunter", "a hunter");
}

static void
strings_of_json_are_masked_and_nothing_else(void **state)
{
    (void)state;
    lm_secret_add("q\"uo\\te\nd\x01");
    lm_secret_add("12345");
    lm_secret_add("\",\"x\":");
    assert_masked_json("{\"n\":12345,\"s\":\"12345\",\"x\":\"\"}",
                       "{\"n\":12345,\"s\":\"***\",\"x\":\"\"}");
    assert_masked_json("[\"q\\\"uo\\\\te\\nd\\u0001\",\"\\\"\",\"hunter2-h\"]",
                       "[\"***\",\"\\\"\",\"***\"]");
}

static void
a_line_of_a_secret_is_masked(void **state)
{
    (void)state;
    lm_secret_add("first line\nxyz\n\nlast line");
    assert_masked("last line, first line, xyz", "***, ***, xyz");
    assert_masked("<first line\nxyz\n\nlast line>", "<***>");
    lm_secret_add("{\n\t\"key\":\t\"s3cr3t\"\n}");
    assert_masked("\"key\": and \"s3cr3t\"", "*** and ***");
}

static void
an_error_is_masked_in_all_its_parts(void **state)
{
    struct lm_err err;

    (void)state;
    lm_err_set(&err, LM_ERR_FAILED, "no %s", "hunter2-hunter3");
    lm_err_detail(&err, "a %s", "hunter2-hunter3");
    LM_ERR_COPY(err.sql, "SELECT hunter2-hunter3");
    lm_secret_mask_err(&err);
    assert_string_equal(err.message, "no ***");
    assert_string_equal(err.detail, "a ***");
    assert_string_equal(err.sql, "SELECT ***");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_masked_without_secrets),
        cmocka_unit_test(each_place_is_masked),
        cmocka_unit_test(the_longest_is_masked),
        cmocka_unit_test(the_beginning_is_masked_where_a_text_was_cut),
        cmocka_unit_test(strings_of_json_are_masked_and_nothing_else),
        cmocka_unit_test(a_line_of_a_secret_is_masked),
        cmocka_unit_test(an_error_is_masked_in_all_its_parts),
    };

    return UNIT_RUN(tests);
}
