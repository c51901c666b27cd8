/* SPDX-License-Identifier: MIT */
/* Splits SQL into words. A number is only its digits, so a word directly after
 * it is found: PostgreSQL 14 accepts SELECT 1INTO t. */

#include "pg/sql/words.h"

#include <string.h>
#include <strings.h>

static bool
is_space(char c)
{
    return c != '\0' && strchr(" \t\n\r\f\v", c) != NULL;
}

static bool
is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool
begins_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static bool
goes_on(char c)
{
    return begins_name(c) || is_digit(c) || c == '$';
}

/* -- ends: just behind what begins at text; NULL when there is none -------- */

/* They nest. */
static const char *
comment_end(const char *text)
{
    int depth = 0;

    while (*text != '\0') {
        if (text[0] == '/' && text[1] == '*') {
            depth++;
            text += 2;
        } else if (text[0] == '*' && text[1] == '/') {
            text += 2;
            if (--depth == 0)
                return text;
        } else {
            text++;
        }
    }
    return NULL;
}

static const char *
quoted_end(const char *text, char quote, bool escapes)
{
    for (text++; *text != '\0'; text++) {
        if (escapes && *text == '\\') {
            if (*++text == '\0')
                return NULL;
        } else if (*text == quote) {
            if (text[1] != quote)
                return text + 1;
            text++;
        }
    }
    return NULL;
}

/* $$...$$ and $tag$...$tag$. *is_quote: does one begin here at all? */
static const char *
dollar_end(const char *text, bool *is_quote)
{
    const char *tag_end = text + 1;
    size_t tag_length;

    if (begins_name(*tag_end)) {
        while (goes_on(*tag_end) && *tag_end != '$')
            tag_end++;
    }
    *is_quote = *tag_end == '$';
    if (!*is_quote)
        return NULL;
    tag_length = (size_t)(tag_end - text) + 1;
    for (const char *c = tag_end + 1; (c = strchr(c, '$')) != NULL; c++) {
        if (strncmp(c, text, tag_length) == 0)
            return c + tag_length;
    }
    return NULL;
}

/* -- words ---------------------------------------------------------------- */

static enum lm_word_kind
take(struct lm_words *self, enum lm_word_kind kind, const char *text,
     const char *end)
{
    self->kind = end != NULL ? kind : LM_WORD_BROKEN;
    self->text = text;
    self->length = end != NULL ? (size_t)(end - text) : strlen(text);
    self->next = text + self->length;
    return self->kind;
}

static enum lm_word_kind
take_name(struct lm_words *self)
{
    const char *text = self->next;
    const char *end = text;
    size_t length;

    while (goes_on(*end))
        end++;
    length = (size_t)(end - text);
    if (*end == '\'' && length == 1 && strchr("eEnNbBxX", *text) != NULL) {
        return take(self, LM_WORD_LITERAL, text,
                    quoted_end(end, '\'', *text == 'e' || *text == 'E'));
    }
    if (length == 1 && (*text == 'u' || *text == 'U') && *end == '&') {
        if (end[1] == '\'') {
            return take(self, LM_WORD_LITERAL, text,
                        quoted_end(end + 1, '\'', false));
        }
        if (end[1] == '"') /* its name is written in another way */
            return take(self, LM_WORD_BROKEN, text, NULL);
    }
    return take(self, LM_WORD_PLAIN, text, end);
}

static enum lm_word_kind
take_quoted(struct lm_words *self)
{
    const char *text = self->next;
    const char *end = quoted_end(text, '"', false);

    if (take(self, LM_WORD_QUOTED, text, end) == LM_WORD_QUOTED) {
        self->text++;
        self->length -= 2;
    }
    return self->kind;
}

/* False at a comment without end. */
static bool
skip_space(struct lm_words *self)
{
    for (;;) {
        const char *c = self->next;

        if (is_space(*c)) {
            self->next++;
        } else if (c[0] == '-' && c[1] == '-') {
            self->next += strcspn(c, "\r\n");
        } else if (c[0] == '/' && c[1] == '*') {
            const char *end = comment_end(c);

            if (end == NULL)
                return false;
            self->next = end;
        } else {
            return true;
        }
    }
}

enum lm_word_kind
lm_words_next(struct lm_words *self)
{
    const char *text;
    bool is_quote = false;

    if (self->kind == LM_WORD_BROKEN)
        return LM_WORD_BROKEN;
    if (!skip_space(self))
        return take(self, LM_WORD_BROKEN, self->next, NULL);
    text = self->next;
    if (*text == '\0')
        return take(self, LM_WORD_END, text, text);
    if (begins_name(*text))
        return take_name(self);
    if (*text == '"')
        return take_quoted(self);
    if (*text == '\'')
        return take(self, LM_WORD_LITERAL, text, quoted_end(text, '\'', false));
    if (*text == '$') {
        const char *end = dollar_end(text, &is_quote);

        if (is_quote)
            return take(self, LM_WORD_LITERAL, text, end);
    }
    return take(self, LM_WORD_OTHER, text, text + 1);
}

static bool
equals(const struct lm_words *self, const char *word)
{
    return strlen(word) == self->length &&
           strncasecmp(self->text, word, self->length) == 0;
}

bool
lm_words_is(const struct lm_words *self, const char *word)
{
    return self->kind == LM_WORD_PLAIN && equals(self, word);
}

bool
lm_words_among(const struct lm_words *self, const char *const *words)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        if (lm_words_is(self, words[i]))
            return true;
    }
    return false;
}

bool
lm_words_is_name(const struct lm_words *self, const char *name)
{
    return (self->kind == LM_WORD_PLAIN || self->kind == LM_WORD_QUOTED) &&
           equals(self, name);
}
