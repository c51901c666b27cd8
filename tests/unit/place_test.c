/* SPDX-License-Identifier: MIT */
/* Positions of the WAL, and which of them a standby can reach. */

#include "unit.h"

#include "core/page/place.h"

enum { SEGMENT = 16 << 20, PAGE = 8192 };

static void
test_a_position_behind_a_header_is_the_one_before_it(void **state)
{
    static const struct {
        uint64_t written;
        uint64_t replayed;
    } cases[] = {{SEGMENT + 40, SEGMENT},
                 {SEGMENT, SEGMENT},
                 {SEGMENT + 48, SEGMENT + 48},
                 {PAGE + 24, PAGE},
                 {PAGE, PAGE},
                 {PAGE + 32, PAGE + 32},
                 {PAGE + 40, PAGE + 40},
                 {SEGMENT - 8, SEGMENT - 8}};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        assert_int_equal(lm_place_record_end(cases[i].written, SEGMENT, PAGE),
                         cases[i].replayed);
        assert_int_equal(lm_place_record_end(cases[i].written, 0, 0),
                         cases[i].written);
    }
}

static void
test_positions_compare_as_numbers(void **state)
{
    static const struct {
        const char *at;
        const char *wanted;
        bool reached;
    } cases[] = {{"0/9", "0/A", false},
                 {"0/A", "0/A", true},
                 {"1/0", "0/FFFFFFFF", true},
                 {"0/FFFFFFFF", "1/0", false},
                 {"10/0", "9/FF", true},
                 {"", "1/0", true},
                 {"0/1", "", true}};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_place place = {.system = ""};

        LM_ERR_COPY(place.position, cases[i].at);
        assert_int_equal(lm_place_has_reached(&place, cases[i].wanted),
                         cases[i].reached);
    }
}

static void
test_a_database_is_known_by_its_cluster_and_its_oid(void **state)
{
    const struct lm_place one = {"7", "16384", "0/1", "5.1", false};
    const struct lm_place standby = {"7", "16384", "0/1", "6.1", true};
    const struct lm_place copy = {"7", "16384", "0/1", "6.1", false};
    const struct lm_place other = {"8", "16384", "0/1", "5.1", false};
    const struct lm_place neighbour = {"7", "16385", "0/1", "5.1", false};
    const struct lm_place silent = {"", "16384", "0/1", "6.1", false};

    (void)state;
    assert_true(lm_place_is_same(&one, &standby));
    assert_true(lm_place_is_same(&one, &copy));
    assert_true(lm_place_is_same(&one, &silent));
    assert_false(lm_place_is_same(&one, &other));
    assert_false(lm_place_is_same(&one, &neighbour));
    assert_true(lm_place_shows(&one, &one));
    assert_true(lm_place_shows(&standby, &one));
    assert_false(lm_place_shows(&copy, &one));
    assert_false(lm_place_shows(&silent, &one));
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_position_behind_a_header_is_the_one_before_it),
        cmocka_unit_test(test_positions_compare_as_numbers),
        cmocka_unit_test(test_a_database_is_known_by_its_cluster_and_its_oid)};

    return UNIT_RUN(tests);
}
