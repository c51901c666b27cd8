/* SPDX-License-Identifier: MIT */
/* How many workers are worth having, on servers that are made up. */

#include "unit.h"

#include "core/run/tuner.h"

#include <math.h>

enum { MOST = 16, WINDOWS = 400, NOISY_GAMES = 40 };

/* -- servers: the throughput of n workers ----------------------------------- */

static double
linear(int n)
{
    return n;
}

static double
at_75_percent(int n)
{
    return n == 1 ? 1 : 0.75 * n;
}

static double
saturates_at_2(int n)
{
    return fmin(n, 2);
}

static double
saturates_at_3(int n)
{
    return fmin(n, 3);
}

static double
saturates_at_6(int n)
{
    return fmin(n, 6);
}

/* Several COMMITs are one write to the disk. */
static double
bound_by_disk(int n)
{
    return n <= 4 ? 0.7 + 0.35 * n : 2.0;
}

/* The second worker waits for the disk as the first does. */
static double
shares_commits(int n)
{
    static const double rates[] = {1, 1.15, 1.5, 1.9, 2.2, 2.4};

    return rates[(n < 6 ? n : 6) - 1];
}

static double
declines_above_4(int n)
{
    return n <= 4 ? n : 4 - 0.3 * (n - 4);
}

static double
blocked(int n)
{
    return n == 1 ? 1 : 0.98;
}

/* -- playing ------------------------------------------------------------------- */

static unsigned seed;

/* From -1 to 1, of variance 1/3. */
static double
dice(void)
{
    seed = seed * 1664525 + 1013904223;
    return (double)(seed >> 8) / (1 << 23) - 1;
}

static struct lm_tuner tuner;
static int changes; /* of the number that is kept */
static int highest; /* number of workers that there ever were */

/* Measures windows. spread: the standard deviation of a slice. */
static void
play(double (*server)(int n), double spread, int windows)
{
    struct lm_tuner_slices slices = {.count = 0};
    struct lm_tuner_window window;
    struct lm_tuner_verdict verdict;

    for (int done = 0; done < windows;) {
        int workers = lm_tuner_workers(&tuner);
        double rate = 1000 * server(workers) * (1 + sqrt(3) * spread * dice());

        if (workers > highest)
            highest = workers;
        if (!lm_tuner_add_slice(&slices, rate, &window))
            continue;
        done++;
        if (lm_tuner_take(&tuner, &window, &verdict))
            changes += verdict.changed ? 1 : 0;
    }
}

static void
begin(int workers, int most)
{
    changes = highest = 0;
    lm_tuner_begin(&tuner, workers, most);
}

static double
best(double (*server)(int n), int most)
{
    double found = 0;

    for (int n = 1; n <= most; n++)
        found = fmax(found, server(n));
    return found;
}

static const struct {
    const char *name;
    double (*server)(int n);
    int workers; /* the fewest that do as much as any number, or nearly */
} servers[] = {{"linear", linear, 16},
               {"at 75 percent", at_75_percent, 16},
               {"saturates at 2", saturates_at_2, 2},
               {"saturates at 3", saturates_at_3, 3},
               {"saturates at 6", saturates_at_6, 6},
               {"bound by the disk", bound_by_disk, 4},
               {"shares COMMITs", shares_commits, 6},
               {"declines above 4", declines_above_4, 4},
               {"blocked", blocked, 1}};

/* -- tests ------------------------------------------------------------------- */

static void
test_it_finds_the_number_that_pays_wherever_it_begins(void **state)
{
    (void)state;
    for (size_t i = 0; i < LM_COUNT(servers); i++) {
        for (int first = 1; first <= MOST; first++) {
            begin(first, MOST);
            play(servers[i].server, 0, 60);
            if (tuner.kept != servers[i].workers) {
                fail_msg("%s: %d workers from %d", servers[i].name, tuner.kept,
                         first);
            }
        }
    }
}

static void
test_then_it_stays_there_and_seldom_tries_another(void **state)
{
    (void)state;
    for (size_t i = 0; i < LM_COUNT(servers); i++) {
        int others = 0;

        begin(1, MOST);
        play(servers[i].server, 0.01, 60);
        changes = 0;
        for (int window = 0; window < WINDOWS; window++) {
            others += lm_tuner_workers(&tuner) != tuner.kept ? 1 : 0;
            play(servers[i].server, 0.01, 1);
        }
        assert_int_equal(changes, 0);
        assert_in_range(others, 3, WINDOWS / 20);
    }
}

static void
test_noise_costs_at_most_a_fifth_of_the_throughput(void **state)
{
    (void)state;
    for (size_t i = 0; i < LM_COUNT(servers); i++) {
        double (*server)(int n) = servers[i].server;

        for (unsigned game = 0; game < NOISY_GAMES; game++) {
            seed = game;
            begin(1, MOST);
            play(server, 0.15, 100);
            if (server(tuner.kept) < 0.8 * best(server, MOST)) {
                fail_msg("%s, game %u: %d workers", servers[i].name, game,
                         tuner.kept);
            }
        }
    }
}

/* One trial cannot tell here: its error is as large as the gain. */
static void
test_what_may_be_worth_it_is_tried_again(void **state)
{
    int found = 0;

    (void)state;
    for (unsigned game = 0; game < NOISY_GAMES; game++) {
        seed = game;
        begin(2, MOST);
        play(bound_by_disk, 0.5, 12);
        found += tuner.kept >= 3 ? 1 : 0;
    }
    assert_in_range(found, NOISY_GAMES * 3 / 4, NOISY_GAMES);
}

static void
test_it_never_goes_above_its_limit(void **state)
{
    (void)state;
    for (int most = 1; most <= MOST; most++) {
        begin(1, most);
        play(linear, 0.05, 100);
        assert_int_equal(highest, most);
        assert_int_equal(tuner.kept, most);
    }
}

static void
test_it_comes_down_with_its_limit_and_up_again(void **state)
{
    (void)state;
    begin(1, MOST);
    play(linear, 0.01, 60);
    lm_tuner_set_most(&tuner, 5);
    assert_int_equal(lm_tuner_workers(&tuner), 5);
    highest = 0;
    play(linear, 0.01, 100);
    assert_int_equal(highest, 5);
    lm_tuner_set_most(&tuner, 12);
    play(linear, 0.01, 300);
    assert_int_equal(tuner.kept, 12);
}

/* The server gets slower or faster, as when the day begins or ends. */
static void
test_it_follows_a_server_that_changes(void **state)
{
    (void)state;
    begin(1, MOST);
    play(linear, 0.01, 60);
    play(saturates_at_3, 0.01, 300);
    assert_int_equal(tuner.kept, 3);
    play(saturates_at_6, 0.01, 400);
    assert_int_equal(tuner.kept, 6);
}

static void
test_load_that_changes_during_a_trial_is_no_gain(void **state)
{
    struct lm_tuner_window slow = {1000, 1};
    struct lm_tuner_window fast = {1600, 1};
    struct lm_tuner_verdict verdict;

    (void)state;
    begin(1, MOST);
    assert_false(lm_tuner_take(&tuner, &slow, &verdict));
    assert_int_equal(lm_tuner_workers(&tuner), 2);
    assert_false(lm_tuner_take(&tuner, &fast, &verdict));
    assert_int_equal(lm_tuner_workers(&tuner), 1);
    for (int i = 0; i < 2; i++) {
        assert_false(lm_tuner_take(&tuner, &fast, &verdict)); /* in doubt */
        assert_int_equal(lm_tuner_workers(&tuner), 2);
        assert_false(lm_tuner_take(&tuner, &fast, &verdict));
    }
    assert_true(lm_tuner_take(&tuner, &fast, &verdict));
    assert_false(verdict.changed);
    assert_int_equal(tuner.kept, 1);
}

static void
test_what_cannot_be_tried_is_not_tried_at_once_again(void **state)
{
    (void)state;
    begin(1, MOST);
    play(linear, 0.01, 4);
    assert_int_equal(tuner.kept, 2);
    assert_int_equal(lm_tuner_workers(&tuner), 4);
    lm_tuner_refuse(&tuner);
    assert_int_equal(lm_tuner_workers(&tuner), 2);
    highest = 0;
    play(linear, 0.01, 5);
    assert_int_equal(highest, 3);
}

static void
test_windows_without_work_decide_nothing(void **state)
{
    struct lm_tuner_window window = {0, 0};
    struct lm_tuner_verdict verdict;

    (void)state;
    begin(1, MOST);
    for (int i = 0; i < 100; i++)
        assert_false(lm_tuner_take(&tuner, &window, &verdict));
    assert_int_equal(tuner.kept, 1);
}

static void
test_the_error_of_a_window_is_that_of_its_mean(void **state)
{
    struct lm_tuner_slices slices = {.count = 0};
    struct lm_tuner_window window;

    (void)state;
    for (int i = 0; i < 11; i++) {
        assert_false(lm_tuner_add_slice(
            &slices, i < 2 ? 5000 : 100 + i % 2 * 20, &window));
    }
    assert_true(lm_tuner_add_slice(&slices, 120, &window));
    assert_true(fabs(window.rate - 110) < 0.001);
    assert_true(fabs(window.error - 10 / 3.0) < 0.001);
    assert_false(lm_tuner_add_slice(&slices, 1, &window));
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_finds_the_number_that_pays_wherever_it_begins),
        cmocka_unit_test(test_then_it_stays_there_and_seldom_tries_another),
        cmocka_unit_test(test_what_may_be_worth_it_is_tried_again),
        cmocka_unit_test(test_noise_costs_at_most_a_fifth_of_the_throughput),
        cmocka_unit_test(test_it_never_goes_above_its_limit),
        cmocka_unit_test(test_it_comes_down_with_its_limit_and_up_again),
        cmocka_unit_test(test_it_follows_a_server_that_changes),
        cmocka_unit_test(test_load_that_changes_during_a_trial_is_no_gain),
        cmocka_unit_test(test_what_cannot_be_tried_is_not_tried_at_once_again),
        cmocka_unit_test(test_windows_without_work_decide_nothing),
        cmocka_unit_test(test_the_error_of_a_window_is_that_of_its_mean),
    };

    return UNIT_RUN(tests);
}
