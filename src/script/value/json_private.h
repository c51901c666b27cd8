/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_VALUE_JSON_PRIVATE_H
#define LM_SCRIPT_VALUE_JSON_PRIVATE_H

/* What the two halves of the JSON codec share. */

#include "base/err.h"

/* Is it one JSON value that could be read? Duplicate keys and numbers of any
 * size pass. */
bool lm_json_check(const char *text, size_t len,
                   struct lm_err *err) LM_MUSTCHECK;

#endif
