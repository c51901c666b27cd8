/* SPDX-License-Identifier: MIT */
/* SQL cut into words: a word too few could hide a write. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "pg/sql/words.h"

#include <string.h>

/* The words of sql, separated by spaces: plain ones as they are, names in
 * quotes, literals as #, other bytes as they are, ! when it breaks off. */
static void
cut(const char *sql, struct lm_buf *out)
{
    struct lm_words words = {.next = sql};

    lm_buf_clear(out);
    while (lm_words_next(&words) != LM_WORD_END) {
        if (out->len > 0)
            lm_buf_putc(out, ' ');
        if (words.kind == LM_WORD_BROKEN) {
            lm_buf_putc(out, '!');
            assert_int_equal(lm_words_next(&words), LM_WORD_BROKEN);
            return;
        }
        if (words.kind == LM_WORD_LITERAL) {
            lm_buf_putc(out, '#');
        } else if (words.kind == LM_WORD_QUOTED) {
            lm_buf_printf(out, "\"%.*s\"", (int)words.length, words.text);
        } else {
            lm_buf_add(out, words.text, words.length);
        }
    }
    assert_int_equal(lm_words_next(&words), LM_WORD_END);
}

static void
test_words(void **state)
{
    static const struct {
        const char *sql;
        const char *words;
    } cases[] = {
        {"", ""},
        {"  a\tb\nc\f", "a b c"},
        {"a--b\nc--d", "a c"},
        {"a--b\rc", "a c"},
        {"a/*b*/c", "a c"},
        {"a/*/*b*/c*/d", "a d"},
        {"a*/*b*/c", "a * c"},
        {"a/**/b/***/c", "a b c"},
        {"a/*/b", "a !"},
        {"a/*/*b*/c", "a !"},
        {"'a''b'c", "# c"},
        {"'a\\'d'c'", "# d #"},
        {"E'a\\'b'c", "# c"},
        {"e'a\\\\'b", "# b"},
        {"e'a\\", "!"},
        {"te'a\\'d'c'", "te # d #"},
        {"N'a' b'1'x'F'X'1'", "# # # #"},
        {"U&'a' u&'b'", "# #"},
        {"U& 'a'", "U & #"},
        {"U&\"a\" b", "!"},
        {"'open", "!"},
        {"\"a b\"\"c\"d", "\"a b\"\"c\" d"},
        {"\"open", "!"},
        {"\"\"\"", "!"},
        {"$$a'b$$c", "# c"},
        {"$x$a$$b$y$c$x$d", "# d"},
        {"$x$open$x", "!"},
        {"$$open", "!"},
        {"$1 $12", "$ 1 $ 1 2"},
        {"a$x$b$x$", "a$x$b$x$"},
        {"1$x$b$x$c", "1 # c"},
        {"$1$x$b$x$c", "$ 1 # c"},
        {"$\xC3\xB6$'$\xC3\xB6$a", "# a"},
        {"1INTO 1_0 0x1F", "1 INTO 1 _0 0 x1F"},
        {"1e'a\\'b'c", "1 # c"},
        {"a.b(c,d);e", "a . b ( c , d ) ; e"},
        {"\xC3\xB6x", "\xC3\xB6x"},
    };
    struct lm_buf out = LM_BUF_INIT;

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        cut(cases[i].sql, &out);
        if (strcmp(lm_buf_text(&out), cases[i].words) != 0)
            fail_msg("%s: %s", cases[i].sql, lm_buf_text(&out));
    }
    lm_buf_release(&out);
}

static void
test_words_are_compared_in_any_case(void **state)
{
    struct lm_words plain = {.next = "UpDate"};
    struct lm_words quoted = {.next = "\"update\""};

    (void)state;
    lm_words_next(&plain);
    lm_words_next(&quoted);
    assert_true(lm_words_is(&plain, "update"));
    assert_false(lm_words_is(&plain, "updat"));
    assert_false(lm_words_is(&plain, "updates"));
    assert_false(lm_words_is(&quoted, "update"));
    assert_true(lm_words_is_name(&plain, "update"));
    assert_true(lm_words_is_name(&quoted, "update"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_words_are_compared_in_any_case),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
