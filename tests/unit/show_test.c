/* SPDX-License-Identifier: MIT */
/* Foreign text on terminals: what others wrote can do nothing there. */

#include "unit.h"

#include "base/show.h"

#include <inttypes.h>
#include <limits.h>

static void
assert_shown(const char *text, const char *expected)
{
    struct lm_buf buf = LM_BUF_INIT;

    lm_show_add(&buf, text, strlen(text));
    assert_buf(&buf, expected);
    lm_buf_release(&buf);
}

static void
test_controls_are_written_as_what_they_are(void **state)
{
    (void)state;
    assert_shown("a\nb\rc\td", "a\\nb\\rc\\td");
    assert_shown("\x1b[31mred\x1b]0;title\a\b\x7f",
                 "\\x1b[31mred\\x1b]0;title\\x07\\x08\\x7f");
    /* CSI in one character, next line, application program command */
    assert_shown("\xC2\x9B"
                 "31m\xC2\x85\xC2\x9F",
                 "\\u009b31m\\u0085\\u009f");
}

static void
test_text_cannot_turn_around_or_hide(void **state)
{
    (void)state;
    assert_shown("\xE2\x80\xAE"
                 "abc\xE2\x81\xA6\xD8\x9C\xE2\x80\x8E",
                 "\\u202eabc\\u2066\\u061c\\u200e");
    assert_shown("a\xE2\x80\x8B"
                 "b\xEF\xBB\xBF"
                 "c\xE2\x80\xA8"
                 "d",
                 "a\\u200bb\\ufeffc\\u2028d");
    assert_shown("\xF3\xA0\x81\x81", "\\U000e0041"); /* a tag */
}

static void
test_bytes_that_are_no_utf8_are_shown_one_by_one(void **state)
{
    (void)state;
    assert_shown("caf\xE9!", "caf\\xe9!");
    assert_shown("\xED\xA0\x80", "\\xed\\xa0\\x80");
    assert_shown("x\xE2\x82", "x\\xe2\\x82");
    assert_shown("\xC0\x8A", "\\xc0\\x8a"); /* an overlong line break */
}

static void
test_what_people_write_stays(void **state)
{
    static const char text[] = "Grüße \\ \"x\" 漢字 العربية "
                               "👩‍👩‍👧 naïve";

    (void)state;
    assert_shown(text, text);
}

static void
test_a_format_is_our_own_and_its_texts_are_not(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    lm_show_printf(&buf, "%s\n%-6s|%6s|%.*s|\033[0m%%", "a\nb", "x\a", "yz", 2,
                   "abc");
    assert_buf(&buf, "a\\nb\nx\\x07 |    yz|ab|\033[0m%");
    lm_buf_clear(&buf);
    lm_show_printf(&buf, "%d %5d %-4d| %03d %" PRId64 " %zu %ld %x %c %.1f", -1,
                   42, 7, 5, INT64_MIN, (size_t)3, LONG_MAX, 255U, 'c', 1.25);
    assert_buf(&buf, "-1    42 7   | 005 -9223372036854775808 3 "
                     "9223372036854775807 ff c 1.2");
    lm_buf_clear(&buf);
    lm_show_printf(&buf, "%*s|%-*s", 3, "a", 3, "b");
    assert_buf(&buf, "  a|b  ");
    lm_buf_release(&buf);
}

static void
test_json_means_what_it_meant(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    lm_show_add_json(&buf, "{\"a\": \"\xC2\x9B\xE2\x80\xAE\x7f\",\n"
                           " \"b\": \"\xF3\xA0\x81\x81\xE9\"}");
    assert_buf(&buf, "{\"a\": \"\\u009b\\u202e\\u007f\",\n"
                     " \"b\": \"\\udb40\\udc41\xEF\xBF\xBD\"}");
    lm_buf_release(&buf);
}

static void
test_lua_means_what_it_meant(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    lm_show_add_lua(&buf, "x = \"\xE2\x80\xAE\x1b\xE9\"\n\t-- \xC2\x9B");
    assert_buf(&buf, "x = \"\\u{202e}\\u{1b}\\xe9\"\n\t-- \\u{9b}");
    lm_buf_release(&buf);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_controls_are_written_as_what_they_are),
        cmocka_unit_test(test_text_cannot_turn_around_or_hide),
        cmocka_unit_test(test_bytes_that_are_no_utf8_are_shown_one_by_one),
        cmocka_unit_test(test_what_people_write_stays),
        cmocka_unit_test(test_a_format_is_our_own_and_its_texts_are_not),
        cmocka_unit_test(test_json_means_what_it_meant),
        cmocka_unit_test(test_lua_means_what_it_meant),
    };

    return UNIT_RUN(tests);
}
