/* SPDX-License-Identifier: MIT */
/* Durations and counts as people read them, and back-off. */

#include "unit.h"

#include "base/clock.h"

static void
test_durations_read_like_a_stop_watch(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "0ms"},         {999, "999ms"},         {1000, "1.0s"},
        {12399, "12.3s"},   {59999, "59.9s"},       {60000, "1m00s"},
        {245000, "4m05s"},  {3599999, "59m59s"},    {3600000, "1h00m"},
        {7380000, "2h03m"}, {360000000, "100h00m"},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++)
        assert_string_equal(lm_clock_span(cases[i].ms).text, cases[i].text);
}

static void
test_counts_have_their_thousands_marked(void **state)
{
    static const struct {
        int64_t n;
        const char *text;
    } cases[] = {
        {0, "0"},
        {999, "999"},
        {1000, "1,000"},
        {12345, "12,345"},
        {123456, "123,456"},
        {1234567, "1,234,567"},
        {-123, "-123"},
        {-123456, "-123,456"},
        {-1234567, "-1,234,567"},
        {INT64_MAX, "9,223,372,036,854,775,807"},
        {INT64_MIN, "-9,223,372,036,854,775,808"},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++)
        assert_string_equal(lm_clock_count(cases[i].n).text, cases[i].text);
}

/* Never longer than the doubled wait, never shorter than half of it. */
static void
test_back_off_doubles_up_to_its_cap(void **state)
{
    static const struct {
        int attempt;
        int64_t base_ms;
        int64_t cap_ms;
        int64_t wait_ms;
    } cases[] = {
        {0, 100, 10000, 100},
        {1, 100, 10000, 100},
        {2, 100, 10000, 200},
        {3, 100, 10000, 400},
        {7, 100, 10000, 6400},
        {8, 100, 10000, 10000},
        {1000, 100, 10000, 10000},
        {1, 100, 50, 50},
        {1, 1, 50, 1},
        {1, 0, 50, 0},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        int64_t lowest = INT64_MAX;
        int64_t highest = 0;

        for (int n = 0; n < 2000; n++) {
            int64_t wait = lm_clock_backoff_ms(
                cases[i].attempt, cases[i].base_ms, cases[i].cap_ms);

            lowest = wait < lowest ? wait : lowest;
            highest = wait > highest ? wait : highest;
        }
        assert_true(highest <= cases[i].wait_ms);
        assert_true(lowest >= cases[i].wait_ms - cases[i].wait_ms / 2);
        if (cases[i].wait_ms >= 100) {
            assert_true(highest > cases[i].wait_ms * 9 / 10);
            assert_true(lowest < cases[i].wait_ms * 6 / 10);
        }
    }
}

static void
test_the_clock_never_goes_back(void **state)
{
    int64_t before = lm_clock_ms();

    (void)state;
    for (int i = 0; i < 10000; i++) {
        int64_t now = lm_clock_ms();

        assert_true(now >= before);
        before = now;
    }
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_durations_read_like_a_stop_watch),
        cmocka_unit_test(test_counts_have_their_thousands_marked),
        cmocka_unit_test(test_back_off_doubles_up_to_its_cap),
        cmocka_unit_test(test_the_clock_never_goes_back),
    };

    return UNIT_RUN(tests);
}
