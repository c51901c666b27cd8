/* SPDX-License-Identifier: MIT */
/* A line that loses a column is noticed; lines that vary are not. */

#include "script/bind/sites.h"

#include "unit.h"

static const char *
note(struct lm_sites *sites, int line, int count, ...)
{
    const char *names[8];
    struct lm_names list = {names, count};
    va_list args;
    bool first;

    va_start(args, count);
    for (int i = 0; i < count; i++)
        names[i] = va_arg(args, const char *);
    va_end(args);
    return lm_site_note(lm_sites_at(sites, "a.lua", line), "the key", list,
                        &first);
}

static void
a_column_that_was_there_before_is_missed(void **state)
{
    struct lm_sites sites = {{NULL}};

    (void)state;
    assert_null(note(&sites, 1, 2, "kind", "owner"));
    assert_null(note(&sites, 1, 2, "kind", "owner"));
    assert_string_equal(note(&sites, 1, 1, "kind"), "owner");
    assert_string_equal(note(&sites, 1, 1, "owner"), "kind");
    assert_string_equal(note(&sites, 1, 1, "kind"), "owner");
    lm_sites_release(&sites);
}

static void
a_line_may_gain_columns_and_change_them_altogether(void **state)
{
    struct lm_sites sites = {{NULL}};

    (void)state;
    assert_null(note(&sites, 1, 1, "kind"));
    assert_null(note(&sites, 1, 2, "kind", "owner"));
    assert_string_equal(note(&sites, 1, 1, "kind"), "owner");
    assert_null(note(&sites, 1, 1, "id"));
    assert_null(note(&sites, 1, 1, "kind"));
    lm_sites_release(&sites);
}

static void
lines_and_roles_are_told_apart(void **state)
{
    const char *names[] = {"id"};
    struct lm_names list = {names, 1};
    struct lm_sites sites = {{NULL}};
    struct lm_site *site = lm_sites_at(&sites, "a.lua", 1);
    bool first = false;

    (void)state;
    assert_null(note(&sites, 1, 2, "id", "kind"));
    assert_null(note(&sites, 2, 1, "id"));
    assert_null(lm_site_note(site, "the changes", list, &first));
    assert_non_null(lm_site_note(site, "the key", list, &first));
    assert_true(first);
    assert_non_null(lm_site_note(site, "the key", list, &first));
    assert_false(first);
    lm_sites_release(&sites);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_column_that_was_there_before_is_missed),
        cmocka_unit_test(a_line_may_gain_columns_and_change_them_altogether),
        cmocka_unit_test(lines_and_roles_are_told_apart)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
