/* SPDX-License-Identifier: MIT */
/* Looking for rows at fault, on a table that is an array. */

#include "unit.h"

#include "core/lane/private.h"

enum { ROWS = 4096, BATCH = 256, LOG_BATCH = 8 };

struct table {
    bool bad[ROWS];
    int done;     /* rows that the cursor has passed */
    int found;    /* of them, set aside */
    int attempts; /* transactions that worked on a page */
};

static int
count_bad(const struct table *table, int from, int rows)
{
    int bad = 0;

    for (int i = from; i < from + rows; i++)
        bad += table->bad[i];
    return bad;
}

/* One page: migrated, or failed, or its only row set aside. */
static void
step(struct table *table, struct lm_bisection *bisection)
{
    int rows = (int)lm_bisection_rows(bisection, BATCH);

    if (rows > ROWS - table->done)
        rows = ROWS - table->done;
    table->attempts++;
    if (count_bad(table, table->done, rows) == 0) {
        table->done += rows;
        lm_bisection_passed(bisection, rows, BATCH);
    } else if (rows > 1) {
        lm_bisection_failed(bisection, rows);
    } else {
        table->attempts++; /* that which records it */
        table->found++;
        table->done++;
        lm_bisection_found(bisection);
    }
}

/* Everything is migrated but for the bad rows, in few enough steps. */
static void
check(struct table *table)
{
    struct lm_bisection bisection = {0, 0};
    int bad = count_bad(table, 0, ROWS);
    int most = ROWS / BATCH + 1 + bad * 3 * (LOG_BATCH + 1);

    while (table->done < ROWS && table->attempts <= most)
        step(table, &bisection);
    assert_int_equal(table->done, ROWS);
    assert_int_equal(table->found, bad);
    assert_in_range(table->attempts, ROWS / BATCH, most);
}

static void
test_a_single_row_wherever_it_is(void **state)
{
    (void)state;
    for (int i = 0; i < ROWS; i++) {
        struct table table = {.done = 0};

        table.bad[i] = true;
        check(&table);
    }
}

static void
test_all_of_a_batch_and_all_of_the_table(void **state)
{
    struct table batch = {.done = 0};
    struct table all = {.done = 0};

    (void)state;
    for (int i = 0; i < ROWS; i++) {
        batch.bad[i] = i >= BATCH && i < 2 * BATCH;
        all.bad[i] = true;
    }
    check(&batch);
    check(&all);
    assert_in_range(batch.attempts, 0, ROWS / BATCH + 4 * BATCH);
}

static void
test_rows_at_random(void **state)
{
    uint64_t seed = 1;

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct table table = {.done = 0};

        for (int i = 0; i < round; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            table.bad[(seed >> 33) % ROWS] = true;
        }
        check(&table);
    }
}

static void
test_nothing_is_sought_where_nothing_is_wrong(void **state)
{
    struct table table = {.done = 0};

    (void)state;
    check(&table);
    assert_int_equal(table.attempts, ROWS / BATCH);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_single_row_wherever_it_is),
        cmocka_unit_test(test_all_of_a_batch_and_all_of_the_table),
        cmocka_unit_test(test_rows_at_random),
        cmocka_unit_test(test_nothing_is_sought_where_nothing_is_wrong)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
