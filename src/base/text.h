/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_TEXT_H
#define LM_BASE_TEXT_H

/* Small questions about text. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Index of the candidate nearest to word by edit distance, or -1 if none is
 * near enough. */
int lm_text_nearest(const char *word, const char *const *candidates,
                    size_t count);

/* Is it UTF-8 as PostgreSQL accepts it: no NUL, no surrogates, no overlong
 * forms, at most U+10FFFF? On false, *offset is where the first bad byte is. */
bool lm_text_is_utf8(const char *text, size_t len, size_t *offset);
/* Replaces each byte that is not UTF-8 by a question mark. */
void lm_text_make_utf8(char *text);

/* Reads the character at text, which has len bytes left (at least one). Returns
 * how many bytes it has and sets *code; 0: it is not UTF-8. */
size_t lm_text_read_char(const char *text, size_t len, uint32_t *code);

/* A number in decimal digits, for as long as the block lasts that asks. */
#define LM_DIGITS(number) lm_text_digits(&(struct lm_digits){""}, (number))
struct lm_digits {
    char text[24];
};
const char *lm_text_digits(struct lm_digits *out, int64_t number);

/* A hash for tables of texts. It reads three parts of a long text, so that
 * long texts cost no more: compare the texts if their hashes are equal. */
uint64_t lm_text_hash(const char *text);

#endif
