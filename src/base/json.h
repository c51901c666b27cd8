/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_JSON_H
#define LM_BASE_JSON_H

/*
 * Reads JSON text piece by piece: what a value is made of is up to the caller.
 *
 * A text that is not JSON is refused, and never read beyond its end. Refused is
 * also what PostgreSQL's text cannot hold, and what is nested more deeply than
 * LM_JSON_DEPTH. Errors are LM_ERR_FAILED.
 */

#include "base/err.h"

enum { LM_JSON_DEPTH = 2000 };

struct lm_json {
    const char *text;
    const char *at;
    const char *end;
    char *scratch; /* of the caller: room for the longest string */
    struct lm_err *err;
    int depth;
};

/* A string that was read: in the text, or in scratch when it had escapes. */
struct lm_json_string {
    const char *bytes;
    size_t len;
};

/* "the text is not JSON", at the place that was reached. Always false. */
bool lm_json_fail(const struct lm_json *self);

void lm_json_skip_blanks(struct lm_json *self);
/* Is c the next character after blanks? Takes it. */
bool lm_json_take(struct lm_json *self, char c);
/* Begins an object or array; leave ends it. */
bool lm_json_enter(struct lm_json *self) LM_MUSTCHECK;
void lm_json_leave(struct lm_json *self);

/* After the opening quote. */
bool lm_json_read_string(struct lm_json *self,
                         struct lm_json_string *out) LM_MUSTCHECK;
/* Moves behind the number; *is_integer when it has neither point nor exponent.
 */
bool lm_json_skip_number(struct lm_json *self, bool *is_integer) LM_MUSTCHECK;
/* "true", "false" or "null". */
bool lm_json_skip_word(struct lm_json *self, const char *word) LM_MUSTCHECK;
/* Moves behind one value of any kind. Duplicate keys and numbers of any size
 * pass. */
bool lm_json_skip_value(struct lm_json *self) LM_MUSTCHECK;

#endif
