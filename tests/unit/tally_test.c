/* SPDX-License-Identifier: MIT */
/* Differences and sums of what transactions have written. */

#include "unit.h"

#include "core/dry/tally.h"

#include <stdlib.h>

static struct lm_tally
make(int64_t wal_bytes, const struct lm_tally_table *tables, int count)
{
    struct lm_tally tally = {.wal_bytes = wal_bytes};

    tally.tables = lm_calloc((size_t)count, sizeof *tables);
    tally.count = count;
    for (int i = 0; i < count; i++) {
        tally.tables[i] = tables[i];
        tally.tables[i].name = lm_strdup(tables[i].name);
    }
    return tally;
}

static void
assert_table(const struct lm_tally *tally, int i, const char *name,
             int64_t inserted, int64_t updated, int64_t deleted)
{
    assert_true(i < tally->count);
    assert_string_equal(tally->tables[i].name, name);
    assert_int_equal(tally->tables[i].inserted, inserted);
    assert_int_equal(tally->tables[i].updated, updated);
    assert_int_equal(tally->tables[i].deleted, deleted);
}

static char a[] = "public.a";
static char b[] = "public.b";
static char c[] = "public.c";

/* The session has counted what transactions before this one wrote. */
static void
test_only_what_this_transaction_wrote_is_left(void **state)
{
    struct lm_tally before =
        make(1000, (struct lm_tally_table[]){{a, 5, 0, 1}, {b, 7, 7, 7}}, 2);
    struct lm_tally now = make(
        1700,
        (struct lm_tally_table[]){{a, 5, 3, 1}, {b, 7, 7, 7}, {c, 0, 0, 2}}, 3);

    (void)state;
    lm_tally_subtract(&now, &before);
    assert_int_equal(now.count, 2);
    assert_table(&now, 0, "public.a", 0, 3, 0);
    assert_table(&now, 1, "public.c", 0, 0, 2);
    assert_int_equal(now.wal_bytes, 700);
    lm_tally_release(&before);
    lm_tally_release(&now);
}

static void
test_batches_add_up_by_the_name_of_the_table(void **state)
{
    struct lm_tally sum = {NULL, 0, 0, false};
    struct lm_tally one = make(10, (struct lm_tally_table[]){{b, 1, 2, 3}}, 1);
    struct lm_tally other =
        make(20, (struct lm_tally_table[]){{a, 1, 0, 0}, {b, 0, 2, 0}}, 2);

    (void)state;
    lm_tally_add(&sum, &one);
    lm_tally_add(&sum, &other);
    assert_int_equal(sum.count, 2);
    assert_table(&sum, 0, "public.a", 1, 0, 0);
    assert_table(&sum, 1, "public.b", 1, 4, 3);
    assert_int_equal(sum.wal_bytes, 30);
    lm_tally_release(&sum);
    lm_tally_release(&one);
    lm_tally_release(&other);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_what_this_transaction_wrote_is_left),
        cmocka_unit_test(test_batches_add_up_by_the_name_of_the_table),
    };

    return UNIT_RUN(tests);
}
