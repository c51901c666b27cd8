/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_REPORT_RUN_REPORT_H
#define LM_CLI_REPORT_RUN_REPORT_H

/* What "luamig run" says at the end: a line or some on stdout, and the last
 * line of --log json. */

#include "core/run/run.h"

/* Prints the outcome, and the error of a run that failed; gives the exit code. */
int lm_run_report_print(const struct lm_outcome *outcome,
                        const struct lm_err *err);

#endif
