/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_SQL_WORDS_H
#define LM_PG_SQL_WORDS_H

/* Splits SQL into words, for texts that the parser cannot read. It knows only
 * lexical rules that have never changed: literals, quoted names and comments,
 * with standard_conforming_strings on. Private to src/pg. */

#include <stdbool.h>
#include <stddef.h>

enum lm_word_kind {
    LM_WORD_END,
    LM_WORD_PLAIN,   /* a keyword or name as it stands */
    LM_WORD_QUOTED,  /* "a name"; the text is without the quotes */
    LM_WORD_LITERAL, /* a string of any kind */
    LM_WORD_OTHER,   /* one byte: punctuation, an operator, a digit */
    LM_WORD_BROKEN   /* the rest is unknown: no end, or U&"..." */
};

/* Zero but for next, which is where to begin. */
struct lm_words {
    const char *next;
    enum lm_word_kind kind;
    const char *text; /* points into the SQL */
    size_t length;
};

/* Goes to the next word, past white space and comments. After END and BROKEN
 * it stays there. */
enum lm_word_kind lm_words_next(struct lm_words *self);

/* Is the word a plain one, in whatever case? word is in small letters. */
bool lm_words_is(const struct lm_words *self, const char *word);
/* Is it one of words, which ends with NULL? */
bool lm_words_among(const struct lm_words *self, const char *const *words);

/* Is it that name, plain or quoted? */
bool lm_words_is_name(const struct lm_words *self, const char *name);

#endif
