/* SPDX-License-Identifier: MIT */
/* The grammar of JSON by recursive descent, see the header. */

#include "base/json.h"

#include <stdint.h>
#include <string.h>

bool
lm_json_fail(const struct lm_json *self)
{
    return lm_err_set(self->err, LM_ERR_FAILED,
                      "the text is not JSON (at byte %zu)",
                      (size_t)(self->at - self->text) + 1);
}

void
lm_json_skip_blanks(struct lm_json *self)
{
    while (self->at < self->end && strchr(" \t\r\n", *self->at) != NULL &&
           *self->at != '\0')
        self->at++;
}

bool
lm_json_take(struct lm_json *self, char c)
{
    lm_json_skip_blanks(self);
    if (self->at == self->end || *self->at != c)
        return false;
    self->at++;
    return true;
}

bool
lm_json_enter(struct lm_json *self)
{
    if (self->depth == LM_JSON_DEPTH) {
        return lm_err_set(self->err, LM_ERR_FAILED,
                          "the document is nested more deeply than %d levels",
                          LM_JSON_DEPTH);
    }
    self->depth++;
    return true;
}

void
lm_json_leave(struct lm_json *self)
{
    self->depth--;
}

/* -- strings ---------------------------------------------------------- */

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Four hexadecimal digits at text, or -1. */
static int
read_hex(const char *text, const char *end)
{
    int value = 0;

    if (end - text < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_value(text[i]);

        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

static size_t
put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* After "\u". Characters beyond U+FFFF come as two escapes. */
static bool
read_code(struct lm_json *self, uint32_t *code)
{
    int low;
    int high = read_hex(self->at, self->end);

    if (high < 0)
        return lm_json_fail(self);
    self->at += 4;
    *code = (uint32_t)high;
    if (high == 0) {
        lm_err_set(self->err, LM_ERR_FAILED,
                   "the document has the escape \\u0000, which no text in "
                   "PostgreSQL can hold");
        lm_err_hint(self->err,
                    "Remove it in the query, or select the column as text.");
        return false;
    }
    if (high < 0xD800 || high > 0xDFFF)
        return true;
    low = self->end - self->at > 2 && self->at[0] == '\\' && self->at[1] == 'u'
              ? read_hex(self->at + 2, self->end)
              : -1;
    if (high >= 0xDC00 || low < 0xDC00 || low > 0xDFFF) {
        return lm_err_set(self->err, LM_ERR_FAILED,
                          "the document has the escape \\u%04x, which is half "
                          "of a character",
                          (unsigned)high);
    }
    self->at += 6;
    *code =
        0x10000 + (((uint32_t)high - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
    return true;
}

/* After a backslash: adds the character to out. */
static bool
read_escape(struct lm_json *self, char **out)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    const char *letter;
    uint32_t code = 0;

    if (self->at == self->end || *self->at == '\0')
        return lm_json_fail(self);
    letter = strchr(letters, *self->at);
    if (letter != NULL) {
        self->at++;
        *(*out)++ = meanings[letter - letters];
        return true;
    }
    if (*self->at != 'u')
        return lm_json_fail(self);
    self->at++;
    if (!read_code(self, &code))
        return false;
    *out += put_utf8(*out, code);
    return true;
}

bool
lm_json_read_string(struct lm_json *self, struct lm_json_string *string)
{
    const char *start = self->at;
    char *out = self->scratch;
    bool has_escapes = false;

    while (self->at < self->end && *self->at != '"') {
        if ((unsigned char)*self->at < ' ')
            return lm_json_fail(self);
        if (*self->at != '\\') {
            *out++ = *self->at++;
            continue;
        }
        has_escapes = true;
        self->at++;
        if (!read_escape(self, &out))
            return false;
    }
    if (self->at == self->end)
        return lm_json_fail(self);
    string->bytes = has_escapes ? self->scratch : start;
    string->len = has_escapes ? (size_t)(out - self->scratch)
                              : (size_t)(self->at - start);
    self->at++;
    return true;
}

/* -- numbers and words -------------------------------------------------- */

static bool
skip_digits(struct lm_json *self)
{
    const char *start = self->at;

    while (self->at < self->end && *self->at >= '0' && *self->at <= '9')
        self->at++;
    return self->at > start;
}

/* Moves behind the number. */
static bool
pass_number(struct lm_json *self, bool *is_integer)
{
    *is_integer = true;
    self->at += *self->at == '-';
    if (self->at < self->end && *self->at == '0') {
        self->at++;
    } else if (!skip_digits(self)) {
        return false;
    }
    if (self->at < self->end && *self->at == '.') {
        *is_integer = false;
        self->at++;
        if (!skip_digits(self))
            return false;
    }
    if (self->at < self->end && (*self->at == 'e' || *self->at == 'E')) {
        *is_integer = false;
        self->at++;
        if (self->at < self->end && (*self->at == '+' || *self->at == '-'))
            self->at++;
        return skip_digits(self);
    }
    return true;
}

bool
lm_json_skip_number(struct lm_json *self, bool *is_integer)
{
    if (self->at == self->end)
        return lm_json_fail(self);
    return pass_number(self, is_integer) ? true : lm_json_fail(self);
}

bool
lm_json_skip_word(struct lm_json *self, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(self->end - self->at) < len ||
        memcmp(self->at, word, len) != 0)
        return lm_json_fail(self);
    self->at += len;
    return true;
}

/* -- values of any kind -------------------------------------------------- */

static bool
skip_array(struct lm_json *self)
{
    if (!lm_json_enter(self))
        return false;
    if (!lm_json_take(self, ']')) {
        do {
            if (!lm_json_skip_value(self))
                return false;
        } while (lm_json_take(self, ','));
        if (!lm_json_take(self, ']'))
            return lm_json_fail(self);
    }
    lm_json_leave(self);
    return true;
}

static bool
skip_member(struct lm_json *self)
{
    struct lm_json_string key;

    if (!lm_json_take(self, '"'))
        return lm_json_fail(self);
    if (!lm_json_read_string(self, &key))
        return false;
    return lm_json_take(self, ':') ? lm_json_skip_value(self)
                                   : lm_json_fail(self);
}

static bool
skip_object(struct lm_json *self)
{
    if (!lm_json_enter(self))
        return false;
    if (!lm_json_take(self, '}')) {
        do {
            if (!skip_member(self))
                return false;
        } while (lm_json_take(self, ','));
        if (!lm_json_take(self, '}'))
            return lm_json_fail(self);
    }
    lm_json_leave(self);
    return true;
}

bool
lm_json_skip_value(struct lm_json *self)
{
    struct lm_json_string string;
    bool ignored;

    lm_json_skip_blanks(self);
    switch (self->at < self->end ? *self->at : '\0') {
    case '{':
        self->at++;
        return skip_object(self);
    case '[':
        self->at++;
        return skip_array(self);
    case '"':
        self->at++;
        return lm_json_read_string(self, &string);
    case 't':
        return lm_json_skip_word(self, "true");
    case 'f':
        return lm_json_skip_word(self, "false");
    case 'n':
        return lm_json_skip_word(self, "null");
    default:
        return lm_json_skip_number(self, &ignored);
    }
}
