/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_REPORT_CHECK_DB_H
#define LM_CLI_REPORT_CHECK_DB_H

#include "cli/target/database.h"

/* Prints on stdout which database the choice means, what names it and what
 * luamig finds in it, without secrets; with json as one JSON object. Returns
 * the exit code: if it cannot connect, the one of a run that cannot connect. */
int lm_check_database(const struct lm_database_choice *choice, bool json);

#endif
