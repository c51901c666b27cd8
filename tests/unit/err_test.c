/* SPDX-License-Identifier: MIT */
/* Errors: what is set, what is kept, and where long texts are cut. */

#include "unit.h"

#include "base/text.h"

static void
test_setting_an_error_forgets_the_one_before(void **state)
{
    struct lm_err err;

    (void)state;
    memset(&err, 'x', sizeof err);
    assert_false(lm_err_set(&err, LM_ERR_SCRIPT, "no %s", "table"));
    assert_int_equal(err.kind, LM_ERR_SCRIPT);
    assert_string_equal(err.message, "no table");
    assert_string_equal(err.sqlstate, "");
    assert_string_equal(err.detail, "");
    assert_string_equal(err.hint, "");
    assert_string_equal(err.constraint, "");
    assert_string_equal(err.where, "");
    assert_string_equal(err.batch, "");
    assert_string_equal(err.sql, "");
    assert_string_equal(err.traceback, "");
}

static void
test_an_error_may_be_made_of_itself(void **state)
{
    struct lm_err err;

    (void)state;
    lm_err_set(&err, LM_ERR_FAILED, "inner");
    lm_err_hint(&err, "Look.");
    lm_err_set(&err, LM_ERR_LOST, "outer, %s, %s", err.message, err.hint);
    assert_string_equal(err.message, "outer, inner, Look.");
    lm_err_prefix(&err, "%s", err.message);
    assert_string_equal(err.message,
                        "outer, inner, Look.: outer, inner, Look.");
}

static void
test_a_prefix_keeps_everything_else(void **state)
{
    struct lm_err err;

    (void)state;
    lm_err_set(&err, LM_ERR_DATABASE, "no");
    lm_err_detail(&err, "D%d.", 1);
    lm_err_hint(&err, "H%d.", 2);
    LM_ERR_COPY(err.sqlstate, "23505");
    lm_err_prefix(&err, "parameter $%d", 3);
    assert_string_equal(err.message, "parameter $3: no");
    assert_string_equal(err.detail, "D1.");
    assert_string_equal(err.hint, "H2.");
    assert_string_equal(err.sqlstate, "23505");
    assert_int_equal(err.kind, LM_ERR_DATABASE);
}

/* Shifted by one byte at a time, so that the end falls on each byte of a
 * character once. */
static void
test_long_texts_are_cut_between_characters(void **state)
{
    static const char *const characters[] = {"x", "\xC3\xA9", "\xE2\x82\xAC",
                                             "\xF0\x9F\x98\x80"};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(characters); i++) {
        for (int shift = 0; shift < 4; shift++) {
            struct lm_buf text = LM_BUF_INIT;
            struct lm_err err;
            size_t len;
            size_t offset;

            lm_buf_printf(&text, "%.*s", shift, "abcd");
            while (text.len < 3000)
                lm_buf_puts(&text, characters[i]);
            lm_err_set(&err, LM_ERR_FAILED, "%s", lm_buf_text(&text));
            len = strlen(err.message);
            assert_true(len > sizeof err.message - 8);
            assert_string_equal(err.message + len - 3, "...");
            assert_true(lm_text_is_utf8(err.message, len, &offset));
            assert_memory_equal(err.message, text.data, len - 3);
            lm_err_prefix(&err, "%s", lm_buf_text(&text));
            len = strlen(err.message);
            assert_true(lm_text_is_utf8(err.message, len, &offset));
            lm_buf_release(&text);
        }
    }
}

static void
test_a_text_that_just_fits_is_kept(void **state)
{
    char field[8];

    (void)state;
    LM_ERR_COPY(field, "1234567");
    assert_string_equal(field, "1234567");
    LM_ERR_COPY(field, "12345678");
    assert_string_equal(field, "1234...");
    lm_err_copy(field, sizeof field,
                "12\0"
                "4",
                2);
    assert_string_equal(field, "12");
}

static void
test_a_state_matches_its_class_and_itself(void **state)
{
    struct lm_err err;

    (void)state;
    lm_err_set(&err, LM_ERR_DATABASE, "no");
    assert_false(lm_err_is_state(&err, "40"));
    LM_ERR_COPY(err.sqlstate, "40001");
    assert_true(lm_err_is_state(&err, "40"));
    assert_true(lm_err_is_state(&err, "40001"));
    assert_false(lm_err_is_state(&err, "40P01"));
    assert_false(lm_err_is_state(&err, "00"));
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_setting_an_error_forgets_the_one_before),
        cmocka_unit_test(test_an_error_may_be_made_of_itself),
        cmocka_unit_test(test_a_prefix_keeps_everything_else),
        cmocka_unit_test(test_long_texts_are_cut_between_characters),
        cmocka_unit_test(test_a_text_that_just_fits_is_kept),
        cmocka_unit_test(test_a_state_matches_its_class_and_itself),
    };

    return UNIT_RUN(tests);
}
