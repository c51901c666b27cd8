/* SPDX-License-Identifier: MIT */
/* The size of batches, on a server that is made of two numbers. */

#include "unit.h"

#include "core/lane/size.h"

static const int64_t max_rows = 10000;
static const int64_t target_ms = 500;

/* What a batch takes there: fixed_ms + row_ms * rows, give or take noise. */
struct server {
    double fixed_ms;
    double row_ms;
    double noise; /* 0.3: +-30 percent */
    uint64_t seed;
};

static double
random_factor(struct server *self)
{
    self->seed = self->seed * 6364136223846793005u + 1442695040888963407u;
    return 1 + self->noise * ((double)(self->seed >> 33) / (1u << 30) - 1);
}

static int64_t
batch_ms(struct server *self, int64_t rows)
{
    double ms = self->fixed_ms + self->row_ms * (double)rows;

    return (int64_t)(ms * random_factor(self) + 0.5);
}

/* Runs batches; returns what the slowest took. */
static int64_t
run(struct lm_size *size, struct server *server, int batches)
{
    int64_t slowest = 0;

    for (int i = 0; i < batches; i++) {
        int64_t rows = lm_size_rows(size);
        int64_t ms = batch_ms(server, rows);

        assert_in_range(rows, 1, size->max);
        slowest = ms > slowest ? ms : slowest;
        lm_size_batch(size, rows, ms);
    }
    return slowest;
}

/* Runs batches, each of which has from low to high rows. */
static void
run_within(struct lm_size *size, struct server *server, int batches,
           int64_t low, int64_t high)
{
    for (int i = 0; i < batches; i++) {
        int64_t rows = lm_size_rows(size);

        assert_in_range(rows, low, high);
        lm_size_batch(size, rows, batch_ms(server, rows));
    }
}

static void
test_without_a_target_batches_are_full_and_grow_back_after_a_failure(
    void **state)
{
    struct lm_size size;

    (void)state;
    lm_size_init(&size, 1000, 0);
    assert_int_equal(lm_size_rows(&size), 1000);
    assert_true(lm_size_halve(&size));
    assert_true(lm_size_halve(&size));
    assert_int_equal(lm_size_rows(&size), 250);
    lm_size_batch(&size, 250, 60000);
    assert_int_equal(lm_size_rows(&size), 500);
    lm_size_batch(&size, 500, 60000);
    lm_size_batch(&size, 1000, 60000);
    assert_int_equal(lm_size_rows(&size), 1000);
}

static void
test_a_single_row_cannot_be_halved(void **state)
{
    struct lm_size size;

    (void)state;
    lm_size_init(&size, 3, 0);
    assert_true(lm_size_halve(&size));
    assert_int_equal(lm_size_rows(&size), 1);
    assert_false(lm_size_halve(&size));
    assert_int_equal(lm_size_rows(&size), 1);
}

static void
test_the_first_batch_is_small(void **state)
{
    struct lm_size size;

    (void)state;
    lm_size_init(&size, max_rows, target_ms);
    assert_int_equal(lm_size_rows(&size), max_rows / 10);
    lm_size_init(&size, 100, target_ms);
    assert_int_equal(lm_size_rows(&size), 20);
    lm_size_init(&size, 7, target_ms);
    assert_int_equal(lm_size_rows(&size), 7);
}

static void
test_batches_grow_by_half_at_most_until_they_take_the_target(void **state)
{
    struct server server = {2, 0.1, 0, 1};
    struct lm_size size;
    int64_t before;

    (void)state;
    lm_size_init(&size, max_rows, target_ms);
    do {
        before = lm_size_rows(&size);
        assert_true(run(&size, &server, 1) <= target_ms * 11 / 10);
        assert_true(lm_size_rows(&size) * 2 <= before * 3);
        assert_true(lm_size_rows(&size) >= before);
    } while (lm_size_rows(&size) > before);
    run_within(&size, &server, 100, 4930, 5030);
}

static void
test_fast_rows_make_full_batches_and_no_larger_ones(void **state)
{
    struct server server = {0, 0, 0, 1};
    struct lm_size size;

    (void)state;
    lm_size_init(&size, max_rows, target_ms);
    run(&size, &server, 20);
    run_within(&size, &server, 20, max_rows, max_rows);
}

/* The rows alone, or all that a batch does. */
static void
test_a_server_that_slows_down_has_one_batch_beyond_the_target(void **state)
{
    static const struct {
        double fixed_ms;
        double slow_fixed_ms;
    } cases[] = {{0, 0}, {20, 20}, {20, 400}};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct server server = {cases[i].fixed_ms, 0.1, 0, 1};
        struct server slow = {cases[i].slow_fixed_ms, 2, 0, 1};
        struct lm_size size;

        lm_size_init(&size, max_rows, target_ms);
        run(&size, &server, 30);
        assert_true(run(&size, &slow, 1) > 10 * target_ms);
        assert_true(run(&size, &slow, 200) <= 3 * target_ms);
        assert_true(run(&size, &slow, 200) <= target_ms * 11 / 10);
    }
}

static void
test_a_server_that_recovers_gets_its_large_batches_back(void **state)
{
    struct server server = {20, 0.1, 0, 1};
    struct server slow = {20, 2, 0, 1};
    struct lm_size size;
    int64_t before;

    (void)state;
    lm_size_init(&size, max_rows, target_ms);
    run(&size, &server, 30);
    before = lm_size_rows(&size);
    run(&size, &slow, 50);
    assert_in_range(lm_size_rows(&size), 200, 280);
    for (int i = 0; i < 30; i++) {
        int64_t rows = lm_size_rows(&size);

        assert_true(run(&size, &server, 1) <= target_ms * 12 / 10);
        assert_true(lm_size_rows(&size) * 2 <= rows * 3);
    }
    run_within(&size, &server, 100, before * 98 / 100, before * 102 / 100);
}

static void
test_noise_neither_shrinks_batches_nor_makes_them_swing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct server server = {10, 0.1, 0.3, seed};
        struct lm_size size;

        lm_size_init(&size, max_rows, target_ms);
        run(&size, &server, 30);
        run_within(&size, &server, 500, 4900 * 60 / 100, 4900 * 140 / 100);
    }
}

static void
test_noise_does_not_hide_that_a_server_slows_down(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct server server = {10, 0.1, 0.3, seed};
        struct server slow = {10, 2, 0.3, seed};
        struct lm_size size;

        lm_size_init(&size, max_rows, target_ms);
        run(&size, &server, 100);
        run(&size, &slow, 1);
        assert_true(run(&size, &slow, 200) <= 3 * target_ms);
    }
}

static void
test_a_short_batch_says_nothing_of_a_full_one(void **state)
{
    struct server server = {50, 0.1, 0, 1};
    struct lm_size size;
    int64_t before;

    (void)state;
    lm_size_init(&size, max_rows, target_ms);
    lm_size_batch(&size, 1, batch_ms(&server, 1));
    assert_int_equal(lm_size_rows(&size), max_rows / 10);
    run(&size, &server, 30);
    before = lm_size_rows(&size);
    for (int64_t rows = 1; rows < 20; rows++)
        lm_size_batch(&size, rows, batch_ms(&server, rows));
    assert_int_equal(lm_size_rows(&size), before);
}

/* A page that took long to find, for a condition that few rows meet. */
static void
test_a_short_batch_that_takes_too_long_makes_the_next_one_smaller(void **state)
{
    struct lm_size size;

    (void)state;
    lm_size_init(&size, max_rows, target_ms);
    lm_size_batch(&size, 10, 4 * target_ms);
    assert_int_equal(lm_size_rows(&size), max_rows / 10 / 4);
}

/* However slow the round trips are, a batch that does next to nothing would
 * only make them more. */
static void
test_slow_round_trips_do_not_make_batches_vanish(void **state)
{
    static const double fixed_ms[] = {100, 400, 600, 1200};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(fixed_ms); i++) {
        struct server server = {fixed_ms[i], 0.1, 0, 1};
        double room = (double)target_ms - fixed_ms[i];
        double ideal =
            (room < (double)target_ms / 4 ? (double)target_ms / 4 : room) / 0.1;
        struct lm_size size;

        lm_size_init(&size, max_rows, target_ms);
        run(&size, &server, 100);
        run_within(&size, &server, 100, (int64_t)(ideal * 0.8),
                   (int64_t)(ideal * 1.2));
    }
}

static void
test_rows_that_take_longer_than_the_target_go_one_by_one(void **state)
{
    struct server server = {1, 2.0 * (double)target_ms, 0, 1};
    struct lm_size size;

    (void)state;
    lm_size_init(&size, max_rows, target_ms);
    run(&size, &server, 1);
    run_within(&size, &server, 20, 1, 1);
    server.row_ms = 0.1;
    run(&size, &server, 60);
    assert_in_range(lm_size_rows(&size), 4800, 5200);
}

static void
test_a_timeout_halves_and_the_size_grows_back_by_half(void **state)
{
    struct server server = {0, 0.1, 0, 1};
    struct lm_size size;
    int64_t before;

    (void)state;
    lm_size_init(&size, max_rows, target_ms);
    run(&size, &server, 30);
    before = lm_size_rows(&size);
    assert_true(lm_size_halve(&size));
    assert_int_equal(lm_size_rows(&size), before / 2);
    run(&size, &server, 1);
    assert_int_equal(lm_size_rows(&size), before / 2 * 3 / 2);
    run(&size, &server, 10);
    assert_in_range(lm_size_rows(&size), before - 50, before + 50);
}

static void
test_a_figure_that_changes_in_mid_run_is_obeyed_at_once(void **state)
{
    struct server server = {0, 0.1, 0, 1};
    struct lm_size size;

    (void)state;
    lm_size_init(&size, max_rows, target_ms);
    run(&size, &server, 30);
    lm_size_set_max(&size, 1000);
    run_within(&size, &server, 10, 1000, 1000);
    lm_size_set_target(&size, target_ms / 10);
    run_within(&size, &server, 10, 480, 520);
    lm_size_set_target(&size, 0);
    run(&size, &server, 2);
    run_within(&size, &server, 10, 1000, 1000);
    lm_size_set_target(&size, target_ms / 10);
    run(&size, &server, 1);
    run_within(&size, &server, 10, 480, 520);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_without_a_target_batches_are_full_and_grow_back_after_a_failure),
        cmocka_unit_test(test_a_single_row_cannot_be_halved),
        cmocka_unit_test(test_the_first_batch_is_small),
        cmocka_unit_test(
            test_batches_grow_by_half_at_most_until_they_take_the_target),
        cmocka_unit_test(test_fast_rows_make_full_batches_and_no_larger_ones),
        cmocka_unit_test(
            test_a_server_that_slows_down_has_one_batch_beyond_the_target),
        cmocka_unit_test(
            test_a_server_that_recovers_gets_its_large_batches_back),
        cmocka_unit_test(
            test_noise_neither_shrinks_batches_nor_makes_them_swing),
        cmocka_unit_test(test_noise_does_not_hide_that_a_server_slows_down),
        cmocka_unit_test(test_a_short_batch_says_nothing_of_a_full_one),
        cmocka_unit_test(
            test_a_short_batch_that_takes_too_long_makes_the_next_one_smaller),
        cmocka_unit_test(test_slow_round_trips_do_not_make_batches_vanish),
        cmocka_unit_test(
            test_rows_that_take_longer_than_the_target_go_one_by_one),
        cmocka_unit_test(test_a_timeout_halves_and_the_size_grows_back_by_half),
        cmocka_unit_test(
            test_a_figure_that_changes_in_mid_run_is_obeyed_at_once),
    };

    return UNIT_RUN(tests);
}
