/* SPDX-License-Identifier: MIT */
/* The cache of prepared statements: keys, names and eviction. */

#include "unit.h"

#include "pg/conn/stmt.h"

#include <stdio.h>

enum { CAPACITY = 256 };

static void
test_a_statement_is_found_by_text_and_types(void **state)
{
    static const uint32_t ints[] = {23, 20};
    static const uint32_t swapped[] = {20, 23};
    struct lm_stmt_cache cache = {.count = 0};
    struct lm_stmt *plain = lm_stmt_cache_add(&cache, "SELECT $1, $2", NULL, 0);
    struct lm_stmt *typed = lm_stmt_cache_add(&cache, "SELECT $1, $2", ints, 2);

    (void)state;
    assert_ptr_equal(lm_stmt_cache_find(&cache, "SELECT $1, $2", NULL, 0),
                     plain);
    assert_ptr_equal(lm_stmt_cache_find(&cache, "SELECT $1, $2", ints, 2),
                     typed);
    assert_null(lm_stmt_cache_find(&cache, "SELECT $1, $2", ints, 1));
    assert_null(lm_stmt_cache_find(&cache, "SELECT $1, $2", swapped, 2));
    assert_null(lm_stmt_cache_find(&cache, "SELECT $1, $3", NULL, 0));
    assert_null(lm_stmt_cache_find(&cache, "select $1, $2", NULL, 0));
    assert_string_equal(lm_stmt_sql(typed), "SELECT $1, $2");
    lm_stmt_cache_release(&cache);
}

/* Texts with spliced values may differ in one letter, wherever it is. */
static void
test_long_texts_are_different_wherever_they_differ(void **state)
{
    enum { LENGTH = 400 };
    struct lm_stmt_cache cache = {.count = 0};
    struct lm_stmt *found[LENGTH];
    char text[LENGTH + 1];

    (void)state;
    memset(text, 'x', LENGTH);
    text[LENGTH] = '\0';
    for (int i = 0; i < LENGTH; i++) {
        text[i] = 'y';
        assert_null(lm_stmt_cache_find(&cache, text, NULL, 0));
        found[i] = lm_stmt_cache_add(&cache, text, NULL, 0);
        text[i] = 'x';
    }
    for (int i = 0; i < LENGTH; i++) {
        text[i] = 'y';
        assert_ptr_equal(lm_stmt_cache_find(&cache, text, NULL, 0), found[i]);
        text[i] = 'x';
    }
    lm_stmt_cache_release(&cache);
}

/* A name that was dropped may still be prepared on the server. */
static void
test_names_are_never_used_twice(void **state)
{
    struct lm_stmt_cache cache = {.count = 0};
    char first[sizeof((struct lm_stmt *)NULL)->name];
    struct lm_stmt *stmt = lm_stmt_cache_add(&cache, "a", NULL, 0);

    (void)state;
    memcpy(first, stmt->name, sizeof first);
    lm_stmt_cache_drop(&cache, stmt);
    stmt = lm_stmt_cache_add(&cache, "a", NULL, 0);
    assert_string_not_equal(stmt->name, first);
    lm_stmt_cache_release(&cache);
}

static void
test_a_cleared_cache_goes_on_with_its_names(void **state)
{
    struct lm_stmt_cache cache = {.count = 0};
    char first[sizeof((struct lm_stmt *)NULL)->name];
    struct lm_stmt *stmt = lm_stmt_cache_add(&cache, "a", NULL, 0);

    (void)state;
    memcpy(first, stmt->name, sizeof first);
    lm_stmt_cache_clear(&cache);
    assert_null(lm_stmt_cache_find(&cache, "a", NULL, 0));
    stmt = lm_stmt_cache_add(&cache, "a", NULL, 0);
    assert_string_not_equal(stmt->name, first);
    lm_stmt_cache_release(&cache);
}

static void
fill(struct lm_stmt_cache *cache, int count)
{
    for (int i = 0; i < count; i++) {
        char sql[32];

        snprintf(sql, sizeof sql, "SELECT %d", i);
        lm_stmt_cache_add(cache, sql, NULL, 0);
    }
}

static void
test_nothing_is_evicted_before_the_cache_is_full(void **state)
{
    struct lm_stmt_cache cache = {.count = 0};

    (void)state;
    assert_null(lm_stmt_cache_oldest(&cache));
    fill(&cache, CAPACITY - 1);
    assert_null(lm_stmt_cache_oldest(&cache));
    lm_stmt_cache_add(&cache, "one more", NULL, 0);
    assert_non_null(lm_stmt_cache_oldest(&cache));
    lm_stmt_cache_release(&cache);
}

static void
test_the_least_recently_used_statement_is_dropped(void **state)
{
    struct lm_stmt_cache cache = {.count = 0};
    struct lm_stmt *oldest;

    (void)state;
    fill(&cache, CAPACITY);
    assert_string_equal(lm_stmt_cache_oldest(&cache)->sql, "SELECT 0");
    assert_non_null(lm_stmt_cache_find(&cache, "SELECT 0", NULL, 0));
    assert_non_null(lm_stmt_cache_find(&cache, "SELECT 2", NULL, 0));
    oldest = lm_stmt_cache_oldest(&cache);
    assert_string_equal(oldest->sql, "SELECT 1");
    lm_stmt_cache_drop(&cache, oldest);
    assert_null(lm_stmt_cache_oldest(&cache));
    assert_null(lm_stmt_cache_find(&cache, "SELECT 1", NULL, 0));
    /* The others survive the gap. */
    for (int i = 2; i < CAPACITY; i++) {
        char sql[32];

        snprintf(sql, sizeof sql, "SELECT %d", i);
        assert_non_null(lm_stmt_cache_find(&cache, sql, NULL, 0));
    }
    lm_stmt_cache_add(&cache, "new", NULL, 0);
    assert_string_equal(lm_stmt_cache_oldest(&cache)->sql, "SELECT 0");
    lm_stmt_cache_release(&cache);
}

static void
test_a_released_cache_is_empty_and_usable(void **state)
{
    struct lm_stmt_cache cache = {.count = 0};

    (void)state;
    fill(&cache, 3);
    lm_stmt_cache_release(&cache);
    assert_null(lm_stmt_cache_find(&cache, "SELECT 0", NULL, 0));
    fill(&cache, 1);
    assert_non_null(lm_stmt_cache_find(&cache, "SELECT 0", NULL, 0));
    lm_stmt_cache_release(&cache);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_statement_is_found_by_text_and_types),
        cmocka_unit_test(test_long_texts_are_different_wherever_they_differ),
        cmocka_unit_test(test_names_are_never_used_twice),
        cmocka_unit_test(test_a_cleared_cache_goes_on_with_its_names),
        cmocka_unit_test(test_nothing_is_evicted_before_the_cache_is_full),
        cmocka_unit_test(test_the_least_recently_used_statement_is_dropped),
        cmocka_unit_test(test_a_released_cache_is_empty_and_usable),
    };

    return UNIT_RUN(tests);
}
