/* SPDX-License-Identifier: MIT */
/* What the progress of a run says, by a clock that the test moves. */

#include "unit.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/run/progress.h"

#include <stdio.h>
#include <unistd.h>

static int64_t clock_ms;
static char shown[1 << 16];
static FILE *file;
static int kept_stderr;

/* In place of lm_clock_ms: see CMakeLists.txt. */
/* NOLINTBEGIN(bugprone-reserved-identifier) */
int64_t __wrap_lm_clock_ms(void);
int64_t
__wrap_lm_clock_ms(void)
{
    return clock_ms;
}
/* NOLINTEND(bugprone-reserved-identifier) */

static int
begin(void **state)
{
    (void)state;
    clock_ms = 1000000;
    file = tmpfile();
    kept_stderr = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
    return 0;
}

static int
end(void **state)
{
    (void)state;
    lm_log_set_format(LM_LOG_PLAIN);
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    fclose(file);
    return 0;
}

/* The last line that was told; "" when none was told since. */
static const char *
last_line(void)
{
    size_t len;
    char *line;

    rewind(file);
    len = fread(shown, 1, sizeof shown - 1, file);
    shown[len] = '\0';
    rewind(file);
    assert_int_equal(ftruncate(fileno(file), 0), 0);
    if (len > 0)
        shown[len - 1] = '\0';
    line = strrchr(shown, '\n');
    return line != NULL ? line + 1 : shown;
}

/* Batches of rows, each after wait_ms. */
static void
run(struct lm_progress *progress, int batches, int64_t rows, int64_t wait_ms)
{
    for (int i = 0; i < batches; i++) {
        clock_ms += wait_ms;
        lm_progress_batch(progress, rows, rows);
    }
}

static void
hold(struct lm_progress *progress, int64_t duration_ms)
{
    lm_progress_hold_begin(progress, "replica lag 300 MB");
    clock_ms += duration_ms;
    lm_progress_hold_end(progress);
}

static void
test_a_line_every_ten_seconds(void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 0, 0, 0);
    lm_progress_set_total(&progress, 100000, false);
    run(&progress, 9, 1000, 1000);
    assert_string_equal(last_line(), "");
    run(&progress, 1, 1000, 1000);
    assert_string_equal(last_line(),
                        "luamig: 10,000 of about 100,000 rows (10%), 1,000 "
                        "rows/s, batches of 1,000, about 1m30s left");
}

static void
test_a_counted_total_is_not_about(void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 0, 0, 0);
    lm_progress_set_total(&progress, 100000, true);
    run(&progress, 10, 1000, 1000);
    assert_contains(last_line(), " 10,000 of 100,000 rows (10%), ");
}

static void
test_held_time_counts_neither_into_speed_nor_into_what_is_left(void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 0, 0, 0);
    lm_progress_set_total(&progress, 100000, false);
    run(&progress, 10, 1000, 1000);
    last_line();
    hold(&progress, 3600000);
    run(&progress, 1, 1000, 1000);
    assert_string_equal(last_line(),
                        "luamig: 11,000 of about 100,000 rows (11%), 1,000 "
                        "rows/s, batches of 1,000, about 1m29s left");
    assert_int_equal(lm_progress_held_ms(&progress), 3600000);
    run(&progress, 10, 1000, 1000);
    assert_contains(last_line(), "21,000 of about 100,000 rows (21%), 1,000 "
                                 "rows/s, batches of 1,000, about 1m19s left");
}

static void
test_a_run_that_is_held_says_what_for_once_a_minute(void **state)
{
    struct lm_progress progress;
    int lines = 0;

    (void)state;
    lm_progress_begin(&progress, 7, 0, 0, 0);
    run(&progress, 1, 1000, 1000);
    for (int i = 0; i < 600; i++) {
        const char *line;

        lm_progress_hold_begin(&progress, "replica lag 300 MB");
        clock_ms += 1000;
        line = last_line();
        if (*line != '\0') {
            assert_contains(line, "waiting (replica lag 300 MB), 1,000 rows");
            lines++;
        }
    }
    assert_in_range(lines, 9, 10);
    assert_int_equal(lm_progress_held_ms(&progress), 600000);
}

static void
test_the_speed_is_that_of_the_last_minute(void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 0, 0, 0);
    run(&progress, 600, 1000, 1000);
    assert_int_equal((int)lm_progress_rate(&progress), 1000);
    run(&progress, 30, 100, 1000);
    assert_in_range((int)lm_progress_rate(&progress), 540, 560);
    run(&progress, 31, 100, 1000);
    assert_int_equal((int)lm_progress_rate(&progress), 100);
}

static void
test_batches_longer_than_a_minute_have_a_speed_too(void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 0, 0, 0);
    run(&progress, 1, 9000, 90000);
    assert_int_equal((int)lm_progress_rate(&progress), 100);
    run(&progress, 100, 900, 90000);
    assert_int_equal((int)lm_progress_rate(&progress), 10);
}

static void
test_rows_of_an_earlier_call_do_not_count_as_speed(void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 5000000, 5000, 0);
    lm_progress_set_total(&progress, 10000000, false);
    run(&progress, 10, 1000, 1000);
    assert_contains(last_line(), "5,010,000 of about 10,000,000 rows (50%), "
                                 "1,000 rows/s");
}

static void
test_what_a_crash_took_back_is_no_speed_and_the_percentage_goes_back(
    void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 0, 0, 0);
    lm_progress_set_total(&progress, 40000, false);
    run(&progress, 20, 1000, 1000);
    assert_contains(last_line(), "(50%)");
    lm_progress_set(&progress, 5000, 5);
    run(&progress, 10, 1000, 1000);
    assert_contains(last_line(), "15,000 of about 40,000 rows (37%), 1,000 "
                                 "rows/s");
}

static void
test_no_total_no_percentage_and_no_time(void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 0, 0, 0);
    run(&progress, 10, 1000, 1000);
    assert_string_equal(last_line(),
                        "luamig: 10,000 rows, 1,000 rows/s, batches of 1,000");
}

static void
test_an_empty_total_divides_nothing(void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 0, 0, 0);
    lm_progress_set_total(&progress, 0, true);
    lm_progress_batch(&progress, 0, 1);
    assert_true(lm_progress_rate(&progress) == 0);
    hold(&progress, 60000);
    lm_progress_batch(&progress, 0, 1);
    assert_string_equal(last_line(), "luamig: 0 rows, 0 rows/s, batches of 1");
}

static void
test_the_position_of_the_key_stands_in_for_an_estimate_that_was_too_low(
    void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 0, 0, 0);
    lm_progress_set_total(&progress, 20000, false);
    lm_progress_position(&progress, 0);
    run(&progress, 20, 1000, 1000);
    assert_contains(last_line(), "20,000 of about 20,000 rows (100%)");
    assert_false(lm_progress_wants_position(&progress));
    run(&progress, 10, 1000, 1000);
    assert_true(lm_progress_wants_position(&progress));
    lm_progress_position(&progress, 0.25);
    run(&progress, 10, 1000, 1000);
    assert_string_equal(last_line(),
                        "luamig: 40,000 rows, 1,000 rows/s, batches of 1,000, "
                        "perhaps 1m20s left, by the key's position");
}

static void
test_by_the_position_alone_there_is_a_percentage_and_a_guess(void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 0, 0, 0);
    run(&progress, 10, 1000, 1000);
    lm_progress_position(&progress, 0.1);
    hold(&progress, 3600000);
    run(&progress, 1, 0, 0);
    last_line();
    run(&progress, 10, 1000, 1000);
    assert_contains(last_line(), "20,000 rows (perhaps 10%), 1,000 rows/s, "
                                 "batches of 1,000, perhaps 1m20s left");
    lm_progress_position(&progress, 1.5);
    run(&progress, 10, 1000, 1000);
    assert_contains(last_line(), "(perhaps 100%)");
}

/* Where the run began is not known any more, so it begins here. */
static void
test_a_resumed_run_guesses_from_where_it_was_resumed(void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 50000, 50, 0);
    lm_progress_position(&progress, 0.5);
    run(&progress, 10, 1000, 1000);
    assert_contains(last_line(), "(perhaps 50%), 1,000 rows/s, batches of ");
    lm_progress_position(&progress, 0.6);
    run(&progress, 10, 1000, 1000);
    assert_contains(last_line(), "(perhaps 60%), 1,000 rows/s, batches of "
                                 "1,000, perhaps 30.0s left");
}

static void
test_the_percentage_never_goes_back_by_another_reckoning(void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 0, 0, 0);
    lm_progress_position(&progress, 0.5);
    run(&progress, 10, 1000, 1000);
    assert_contains(last_line(), "50%");
    lm_progress_position(&progress, 0.4); /* ANALYZE has run */
    run(&progress, 10, 1000, 1000);
    assert_null(strchr(last_line(), '%'));
    lm_progress_position(&progress, 0.6);
    run(&progress, 10, 1000, 1000);
    assert_contains(last_line(), "60%");
}

static void
test_several_workers_are_counted_and_fewer_of_them_explained(void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_progress_begin(&progress, 7, 0, 0, 0);
    lm_progress_set_workers(&progress, 4, "");
    run(&progress, 10, 1000, 1000);
    assert_contains(last_line(), " rows/s, batches of 1,000, 4 workers");
    lm_progress_set_workers(&progress, 1, "fewer than 4: replica lag 80 MB");
    run(&progress, 10, 1000, 1000);
    assert_contains(last_line(), ", 1 worker (fewer than 4: replica lag 80 MB");
    lm_progress_set_workers(&progress, 1, "");
    run(&progress, 10, 1000, 1000);
    assert_null(strstr(last_line(), "worker"));
}

static void
test_machines_get_every_figure(void **state)
{
    struct lm_progress progress;

    (void)state;
    lm_log_set_format(LM_LOG_JSON);
    lm_progress_begin(&progress, 7, 0, 0, 0);
    lm_progress_set_total(&progress, 100000, true);
    run(&progress, 10, 1000, 1000);
    assert_contains(
        last_line(),
        "\"event\":\"progress\",\"run\":7,\"rows\":10000,\"total\":100000,"
        "\"total_is\":\"count\",\"batches\":10,\"batch_size\":1000,"
        "\"workers\":1,\"workers_note\":null,\"rate\":1000.0,\"eta_s\":90,"
        "\"eta_is_guess\":false,"
        "\"waiting\":null,\"held_ms\":0}");
    lm_progress_set_total(&progress, -1, false);
    lm_progress_hold_begin(&progress, "replica lag 300 MB");
    clock_ms += 10000;
    lm_progress_hold_begin(&progress, "replica lag 400 MB");
    assert_contains(
        last_line(),
        "\"total\":null,\"total_is\":null,\"batches\":10,\"batch_size\":1000,"
        "\"workers\":1,\"workers_note\":null,\"rate\":1000.0,\"eta_s\":null,"
        "\"eta_is_guess\":false,"
        "\"waiting\":\"replica lag 400 MB\",\"held_ms\":10000}");
    lm_progress_hold_end(&progress);
    clock_ms += 10000;
    lm_progress_position(&progress, 0.5);
    run(&progress, 1, 1000, 1000);
    assert_contains(last_line(), "\"eta_s\":19,\"eta_is_guess\":true");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(test_a_line_every_ten_seconds),
        TEST(test_a_counted_total_is_not_about),
        TEST(test_held_time_counts_neither_into_speed_nor_into_what_is_left),
        TEST(test_a_run_that_is_held_says_what_for_once_a_minute),
        TEST(test_the_speed_is_that_of_the_last_minute),
        TEST(test_batches_longer_than_a_minute_have_a_speed_too),
        TEST(test_rows_of_an_earlier_call_do_not_count_as_speed),
        TEST(
            test_what_a_crash_took_back_is_no_speed_and_the_percentage_goes_back),
        TEST(test_no_total_no_percentage_and_no_time),
        TEST(test_an_empty_total_divides_nothing),
        TEST(
            test_the_position_of_the_key_stands_in_for_an_estimate_that_was_too_low),
        TEST(test_by_the_position_alone_there_is_a_percentage_and_a_guess),
        TEST(test_a_resumed_run_guesses_from_where_it_was_resumed),
        TEST(test_the_percentage_never_goes_back_by_another_reckoning),
        TEST(test_several_workers_are_counted_and_fewer_of_them_explained),
        TEST(test_machines_get_every_figure),
    };

    return UNIT_RUN(tests);
}
