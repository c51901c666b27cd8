/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_REPORT_CHECK_DB_H
#define LM_CLI_REPORT_CHECK_DB_H

#include "cli/target/database.h"

/* Prints on stdout which database the choice leads to, what has named it and
 * what is found there, without secrets; as one JSON object with json. Gives the
 * exit code: that of a run that could not connect, if it cannot. */
int lm_check_database(const struct lm_database_choice *choice, bool json);

#endif
