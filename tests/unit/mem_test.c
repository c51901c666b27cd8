/* SPDX-License-Identifier: MIT */
/* Allocation and the growable buffer. */

#include "unit.h"

static void
test_an_empty_buffer_reads_as_an_empty_text(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;
    char *taken;

    (void)state;
    assert_string_equal(lm_buf_text(&buf), "");
    lm_buf_clear(&buf);
    taken = lm_buf_take(&buf);
    assert_string_equal(taken, "");
    free(taken);
    lm_buf_release(&buf);
}

static void
test_a_buffer_is_terminated_after_every_append(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    for (size_t i = 0; i < 5000; i++) {
        lm_buf_putc(&buf, (char)('a' + i % 26));
        assert_int_equal(buf.len, i + 1);
        assert_int_equal(buf.data[buf.len], '\0');
        assert_true(buf.cap > buf.len);
    }
    for (size_t i = 0; i < buf.len; i++)
        assert_int_equal(buf.data[i], 'a' + i % 26);
    lm_buf_release(&buf);
    assert_int_equal(buf.len, 0);
    assert_string_equal(lm_buf_text(&buf), "");
}

/* A block that is full to the last byte has no room for the terminator. */
static void
test_appends_of_every_size_fit(void **state)
{
    static const char bytes[300] = {'x', 'y'};

    (void)state;
    for (size_t len = 0; len < sizeof bytes; len++) {
        struct lm_buf buf = LM_BUF_INIT;

        lm_buf_add(&buf, bytes, len);
        assert_int_equal(buf.len, len);
        assert_memory_equal(buf.data, bytes, len);
        assert_int_equal(buf.data[len], '\0');
        lm_buf_printf(&buf, "%0*d", (int)len + 1, 7);
        assert_int_equal(buf.len, 2 * len + 1);
        assert_string_equal(buf.data + buf.len - 1, "7");
        lm_buf_release(&buf);
    }
}

static void
test_a_buffer_keeps_bytes_that_are_zero(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    lm_buf_add(&buf, "a\0b", 3);
    lm_buf_puts(&buf, "c");
    assert_int_equal(buf.len, 4);
    assert_memory_equal(buf.data, "a\0bc", 5);
    lm_buf_release(&buf);
}

static void
test_clearing_keeps_memory_and_taking_gives_it_away(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;
    char *before;
    char *taken;

    (void)state;
    lm_buf_puts(&buf, "one");
    before = buf.data;
    lm_buf_clear(&buf);
    assert_string_equal(buf.data, "");
    lm_buf_puts(&buf, "two");
    assert_ptr_equal(buf.data, before);
    taken = lm_buf_take(&buf);
    assert_string_equal(taken, "two");
    assert_null(buf.data);
    assert_int_equal(buf.cap, 0);
    lm_buf_puts(&buf, "three");
    assert_string_equal(taken, "two");
    free(taken);
    lm_buf_release(&buf);
}

static void
test_nothing_is_ever_null(void **state)
{
    void *ptr = lm_alloc(0);
    char *copy;

    (void)state;
    assert_non_null(ptr);
    ptr = lm_realloc(ptr, 0, 8);
    assert_non_null(ptr);
    free(ptr);
    ptr = lm_calloc(0, 8);
    assert_non_null(ptr);
    free(ptr);
    ptr = lm_calloc(4, 2);
    assert_memory_equal(ptr, "\0\0\0\0\0\0\0", 8);
    free(ptr);
    copy = lm_strndup("abcdef", 3);
    assert_string_equal(copy, "abc");
    free(copy);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_buffer_reads_as_an_empty_text),
        cmocka_unit_test(test_a_buffer_is_terminated_after_every_append),
        cmocka_unit_test(test_appends_of_every_size_fit),
        cmocka_unit_test(test_a_buffer_keeps_bytes_that_are_zero),
        cmocka_unit_test(test_clearing_keeps_memory_and_taking_gives_it_away),
        cmocka_unit_test(test_nothing_is_ever_null),
    };

    return UNIT_RUN(tests);
}
