/* SPDX-License-Identifier: MIT */
/* Fewer workers, for the server's health or for conflicts between them. */

#include "unit.h"

#include "core/run/shed.h"

static const int64_t SECOND = 1000;

/* -- health ------------------------------------------------------------------ */

static struct lm_shed_health health;

/* After so many checks: how many of 4 workers may be at work? */
static int
check(bool pressed, int times)
{
    for (int i = 0; i < times; i++)
        lm_shed_note_health(&health, pressed, 4);
    return health.most == 0 ? 4 : health.most;
}

static void
test_each_check_above_half_of_a_threshold_takes_one_worker(void **state)
{
    (void)state;
    memset(&health, 0, sizeof health);
    assert_int_equal(check(false, 10), 4);
    assert_int_equal(check(true, 1), 3);
    assert_int_equal(check(true, 1), 2);
    assert_int_equal(check(true, 5), 1);
}

static void
test_workers_come_back_one_at_a_time(void **state)
{
    (void)state;
    memset(&health, 0, sizeof health);
    check(true, 5);
    assert_int_equal(check(false, 2), 1);
    assert_int_equal(check(false, 1), 2);
    assert_int_equal(check(false, 2), 2);
    assert_int_equal(check(true, 1), 1);
    assert_int_equal(check(false, 9), 4);
    assert_int_equal(health.most, 0);
}

static void
test_a_number_that_was_lowered_meanwhile_is_the_most(void **state)
{
    (void)state;
    memset(&health, 0, sizeof health);
    lm_shed_note_health(&health, true, 16);
    assert_int_equal(health.most, 15);
    lm_shed_note_health(&health, true, 3);
    assert_int_equal(health.most, 2);
    for (int i = 0; i < 3; i++)
        lm_shed_note_health(&health, false, 3);
    assert_int_equal(health.most, 0);
}

/* -- conflicts ---------------------------------------------------------------- */

static struct lm_shed_conflicts conflicts;
static int64_t now;
static int64_t batches;
static int64_t failed;

static int
begin(void **state)
{
    (void)state;
    memset(&conflicts, 0, sizeof conflicts);
    now = batches = failed = 0;
    return 0;
}

/* So many attempts, ten a second, of which every nth fails; up to the first
 * change. */
static enum lm_shed_change
work(int attempts, int nth)
{
    for (int i = 1; i <= attempts; i++) {
        enum lm_shed_change change;

        *(nth > 0 && i % nth == 0 ? &failed : &batches) += 1;
        now += SECOND / 10;
        change = lm_shed_note_conflicts(&conflicts, batches, failed, 4, now);
        if (change != LM_SHED_SAME)
            return change;
    }
    return LM_SHED_SAME;
}

static void
test_a_few_conflicts_cost_no_worker(void **state)
{
    (void)state;
    assert_int_equal(work(100000, 12), LM_SHED_SAME);
    assert_int_equal(work(10, 1), LM_SHED_SAME);
}

static void
test_more_than_a_tenth_halves_the_workers(void **state)
{
    (void)state;
    assert_int_equal(work(100, 8), LM_SHED_FEWER);
    assert_int_equal(conflicts.most, 2);
    assert_true(now < 10 * SECOND);
    assert_int_equal(work(100, 8), LM_SHED_FEWER);
    assert_int_equal(conflicts.most, 1);
}

/* Batches of the first worker may be long; nobody looks meanwhile. */
static void
test_many_attempts_between_two_looks_are_judged_by_their_part(void **state)
{
    (void)state;
    assert_int_equal(lm_shed_note_conflicts(&conflicts, 1000, 60, 4, 1),
                     LM_SHED_SAME);
    assert_int_equal(lm_shed_note_conflicts(&conflicts, 2000, 260, 4, 2),
                     LM_SHED_FEWER);
}

static void
test_each_return_in_vain_waits_twice_as_long(void **state)
{
    int64_t wait = 30 * SECOND;

    (void)state;
    assert_int_equal(work(100, 3), LM_SHED_FEWER);
    for (int i = 0; i < 4; i++) {
        int64_t since = now;

        assert_int_equal(work(100000, 0), LM_SHED_MORE);
        assert_int_equal(conflicts.most, 3);
        assert_in_range(now - since, wait, wait + SECOND);
        assert_int_equal(work(100, 3), LM_SHED_FEWER);
        assert_int_equal(conflicts.most, 2);
        wait *= 2;
    }
}

static void
test_without_conflicts_all_workers_come_back(void **state)
{
    (void)state;
    assert_int_equal(work(100, 3), LM_SHED_FEWER);
    assert_int_equal(work(100000, 0), LM_SHED_MORE);
    assert_int_equal(conflicts.most, 3);
    assert_int_equal(work(100000, 0), LM_SHED_MORE);
    assert_int_equal(conflicts.most, 0);
    assert_int_equal(work(100000, 0), LM_SHED_SAME);
}

static void
test_conflicts_of_the_only_worker_are_the_fault_of_others(void **state)
{
    (void)state;
    work(100, 3);
    assert_int_equal(work(100, 3), LM_SHED_FEWER);
    assert_int_equal(conflicts.most, 1);
    assert_int_equal(work(100, 3), LM_SHED_LAST);
    assert_int_equal(conflicts.most, 1);
    lm_shed_blame_others(&conflicts, now);
    assert_int_equal(conflicts.most, 0);
    assert_int_equal(work(5000, 3), LM_SHED_SAME);
    now += 600 * SECOND;
    assert_int_equal(work(100, 3), LM_SHED_FEWER);
}

static void
test_one_worker_has_nobody_to_conflict_with(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(
            lm_shed_note_conflicts(&conflicts, i, INT64_C(10) * i, 1, i),
            LM_SHED_SAME);
    }
    assert_int_equal(conflicts.most, 0);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_each_check_above_half_of_a_threshold_takes_one_worker),
        cmocka_unit_test(test_workers_come_back_one_at_a_time),
        cmocka_unit_test(test_a_number_that_was_lowered_meanwhile_is_the_most),
        cmocka_unit_test_setup(test_a_few_conflicts_cost_no_worker, begin),
        cmocka_unit_test_setup(test_more_than_a_tenth_halves_the_workers,
                               begin),
        cmocka_unit_test_setup(
            test_many_attempts_between_two_looks_are_judged_by_their_part,
            begin),
        cmocka_unit_test_setup(test_each_return_in_vain_waits_twice_as_long,
                               begin),
        cmocka_unit_test_setup(test_without_conflicts_all_workers_come_back,
                               begin),
        cmocka_unit_test_setup(
            test_conflicts_of_the_only_worker_are_the_fault_of_others, begin),
        cmocka_unit_test_setup(test_one_worker_has_nobody_to_conflict_with,
                               begin),
    };

    return UNIT_RUN(tests);
}
