/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_REPORT_CHECK_REPORT_H
#define LM_CLI_REPORT_CHECK_REPORT_H

/* What "luamig check SCRIPT" prints on stdout: a finding a line, or JSON. */

#include "core/check/check.h"

/* verbose: details of what is ok, and the plan of a page. */
void lm_check_report_print(const struct lm_check *check, bool verbose);
void lm_check_report_print_json(const struct lm_check *check);

#endif
