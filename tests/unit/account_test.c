/* SPDX-License-Identifier: MIT */
/* Numbers of batches, and rows of a limit, that several workers share. */

#include "unit.h"

#include "core/lane/account.h"

static void
test_a_single_worker_has_the_next_number_of_the_run(void **state)
{
    const struct lm_counts run = {.batches = 7};
    const struct lm_counts batch = {.batches = 1};
    struct lm_account account;

    (void)state;
    lm_account_init(&account, 0);
    lm_account_set_run(&account, &run);
    assert_int_equal(lm_account_number(&account, 0), 8);
    assert_int_equal(lm_account_number(&account, 8), 8);
    lm_account_add(&account, &batch);
    assert_int_equal(lm_account_number(&account, 0), 9);
    lm_account_release(&account);
}

static void
test_workers_that_come_later_have_other_numbers_than_the_first(void **state)
{
    struct lm_account account;
    int64_t held;

    (void)state;
    lm_account_init(&account, 0);
    held = lm_account_number(&account, 0); /* its batch has failed */
    lm_account_share(&account);
    assert_int_equal(lm_account_number(&account, 0), held + 1);
    assert_int_equal(lm_account_number(&account, held), held);
    lm_account_release(&account);
}

static void
test_workers_never_reserve_more_than_the_limit(void **state)
{
    const struct lm_counts done = {.rows = 4, .batches = 1};
    struct lm_account account;
    int64_t first;
    int64_t second;

    (void)state;
    lm_account_init(&account, 10);
    first = lm_account_reserve(&account, 0, 6);
    second = lm_account_reserve(&account, 0, 6);
    assert_int_equal(first, 6);
    assert_int_equal(second, 4);
    lm_account_add(&account, &done);
    first = lm_account_reserve(&account, first, 6);
    assert_int_equal(first, 2);
    assert_false(lm_account_is_spent(&account));
    lm_account_release(&account);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_single_worker_has_the_next_number_of_the_run),
        cmocka_unit_test(
            test_workers_that_come_later_have_other_numbers_than_the_first),
        cmocka_unit_test(test_workers_never_reserve_more_than_the_limit),
    };

    return UNIT_RUN(tests);
}
