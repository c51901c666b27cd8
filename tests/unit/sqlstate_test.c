/* SPDX-License-Identifier: MIT */
/* What SQLSTATEs mean, by the table of lua/luamig/sqlstates.lua. */

#include "unit.h"

#include "pg/conn/sqlstate.h"

static void
test_a_code_outweighs_its_class(void **state)
{
    static const struct {
        const char *state;
        enum lm_sqlstate meaning;
    } cases[] = {{"40001", LM_SQLSTATE_CONFLICT}, {"40002", LM_SQLSTATE_OTHER},
                 {"57014", LM_SQLSTATE_TIMEOUT},  {"57P01", LM_SQLSTATE_LOST},
                 {"57000", LM_SQLSTATE_OTHER},    {"08006", LM_SQLSTATE_LOST},
                 {"53300", LM_SQLSTATE_SHORTAGE}, {"0A000", LM_SQLSTATE_STALE},
                 {"0A001", LM_SQLSTATE_OTHER},    {"22P02", LM_SQLSTATE_ROW},
                 {"23505", LM_SQLSTATE_ROW},      {"P0001", LM_SQLSTATE_ROW},
                 {"P0002", LM_SQLSTATE_PAGE},     {"XX001", LM_SQLSTATE_PAGE},
                 {"25P03", LM_SQLSTATE_LOST},     {"25006", LM_SQLSTATE_OTHER},
                 {"LM001", LM_SQLSTATE_OTHER},    {"2", LM_SQLSTATE_OTHER},
                 {"", LM_SQLSTATE_OTHER}};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++)
        assert_int_equal(lm_sqlstate_meaning(cases[i].state), cases[i].meaning);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_code_outweighs_its_class),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
