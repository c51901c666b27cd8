/* SPDX-License-Identifier: MIT */
/* JSON for machines, whatever the texts hold. */

#include "unit.h"

#include "base/record.h"

#include <math.h>

static void
test_members_follow_each_other_with_commas(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    lm_record_text(&buf, "a", "x");
    lm_record_text(&buf, "b", NULL);
    lm_record_int(&buf, "c", INT64_MIN);
    lm_record_bool(&buf, "d", true);
    lm_record_real(&buf, "e", 1.25);
    assert_buf(&buf, "\"a\":\"x\",\"b\":null,\"c\":-9223372036854775808,"
                     "\"d\":true,\"e\":1.2");
    lm_buf_release(&buf);
}

static void
test_a_number_that_json_does_not_know_is_null(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    lm_record_real(&buf, "a", (double)INFINITY);
    lm_record_real(&buf, "b", (double)NAN);
    assert_buf(&buf, "\"a\":null,\"b\":null");
    lm_buf_release(&buf);
}

static void
test_texts_are_escaped_and_stay_on_one_line(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    lm_record_text(&buf, "a", "\"q\" \\ \n\t\r\x01\x1b[31m\x7f \xC3\xA9");
    assert_buf(&buf, "\"a\":\"\\\"q\\\" \\\\ \\n\\t\\u000d\\u0001\\u001b[31m"
                     "\\u007f \xC3\xA9\"");
    lm_buf_release(&buf);
}

/* Latin-1, a surrogate, a character that was cut off. */
static void
test_bytes_that_are_no_utf8_are_replaced(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    lm_record_text(&buf, "a", "caf\xE9!");
    lm_record_text(&buf, "b", "\xED\xA0\x80");
    lm_record_text(&buf, "c", "x\xE2\x82");
    assert_buf(&buf, "\"a\":\"caf\xEF\xBF\xBD!\","
                     "\"b\":\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\","
                     "\"c\":\"x\xEF\xBF\xBD\xEF\xBF\xBD\"");
    lm_buf_release(&buf);
}

static void
test_json_goes_in_as_it_is_on_one_line(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    lm_record_int(&buf, "a", 1);
    lm_record_json(&buf, "b \"", "{\"c\":\r\n\t[1.50, null]}");
    assert_buf(&buf, "\"a\":1,\"b \\\"\":{\"c\":   [1.50, null]}");
    lm_buf_release(&buf);
}

static void
test_members_lists_and_objects_nest(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;
    struct lm_buf members = LM_BUF_INIT;

    (void)state;
    lm_record_begin_list(&buf, "a");
    lm_record_end_list(&buf);
    lm_record_begin_list(&buf, "b");
    for (int i = 1; i <= 2; i++) {
        lm_record_int(&members, "n", i);
        lm_record_add_item(&buf, &members);
    }
    lm_record_end_list(&buf);
    lm_record_object(&buf, "c", &members);
    assert_buf(&buf, "\"a\":[],\"b\":[{\"n\":1},{\"n\":2}],\"c\":{}");
    lm_buf_release(&buf);
    lm_buf_release(&members);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members_follow_each_other_with_commas),
        cmocka_unit_test(test_a_number_that_json_does_not_know_is_null),
        cmocka_unit_test(test_texts_are_escaped_and_stay_on_one_line),
        cmocka_unit_test(test_bytes_that_are_no_utf8_are_replaced),
        cmocka_unit_test(test_json_goes_in_as_it_is_on_one_line),
        cmocka_unit_test(test_members_lists_and_objects_nest),
    };

    return UNIT_RUN(tests);
}
