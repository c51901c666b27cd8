/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_REPORT_DRY_REPORT_H
#define LM_CLI_REPORT_DRY_REPORT_H

/* What "luamig run --dry-run" prints on stdout: for people when that is a
 * terminal, else one JSON object. */

#include "core/dry/dry.h"

/* Prints report, and the error of a dry run that failed; gives the exit code.
 * script is the migration's name. */
int lm_dry_report_print(const struct lm_dry_report *report, const char *script,
                        const struct lm_err *err);

#endif
