/* SPDX-License-Identifier: MIT */
#ifndef LM_TESTING_TESTER_H
#define LM_TESTING_TESTER_H

/* "luamig test": busted in the interpreter that scripts run in. */

#include "base/err.h"

struct lm_tester_options {
    bool pg;                 /* worlds are databases of a throw-away server */
    const char *schema_file; /* what is in each of them; NULL: nothing */
};

/*
 * Runs busted with its own arguments, args[0] being the first. *passed: no spec
 * has failed. Busted itself may end the process, with its own exit code;
 * LM_ERR_USAGE when it is not installed.
 */
bool lm_tester_run(const struct lm_tester_options *options, int count,
                   char **args, bool *passed, struct lm_err *err) LM_MUSTCHECK;

#endif
