/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_VALUE_NUMBER_H
#define LM_SCRIPT_VALUE_NUMBER_H

/* Numbers as texts, exactly. Knows nothing of Lua. */

#include "base/mem.h"

/* Adds the shortest text that reads back as the same double; NaN, Infinity
 * and -Infinity as PostgreSQL writes them. */
void lm_number_add_float(struct lm_buf *out, double value);

/* Does type numeric accept the text: digits, a point, an exponent, or NaN or
 * an infinity in any case? Spaces around it are not allowed. */
bool lm_number_is_decimal(const char *text, size_t len);

/* Has the shortest text of the double the same value as this JSON number? */
bool lm_number_is_float(const char *text, size_t len, double value);

/* Adds a JSON number as numeric prints it: without exponent, with the scale
 * that it was written with. False, and nothing added, when numeric has no room
 * for it. */
bool lm_number_add_decimal(struct lm_buf *out, const char *text,
                           size_t len) LM_MUSTCHECK;

#endif
