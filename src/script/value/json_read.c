/* SPDX-License-Identifier: MIT */
/*
 * Reads JSON by recursive descent. With a Lua state it pushes the value;
 * without one it only checks the text.
 *
 * Text from the server is valid already. A text that is not JSON is refused
 * anyway, and never read beyond its end.
 */

#include "script/value/json.h"

#include "script/value/json_private.h"
#include "script/value/marks.h"
#include "script/value/number.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    lua_State *L; /* NULL: check only */
    const char *text;
    const char *at;
    const char *end;
    char *scratch; /* room for the longest string */
    struct lm_err *err;
    int depth;
};

/* A string that was read: in the text, or in scratch when it had escapes. */
struct string {
    const char *bytes;
    size_t len;
};

static bool read_value(struct reader *self);

static bool
fail_syntax(const struct reader *self)
{
    return lm_err_set(self->err, LM_ERR_FAILED,
                      "the text is not JSON (at byte %zu)",
                      (size_t)(self->at - self->text) + 1);
}

static void
skip_blanks(struct reader *self)
{
    while (self->at < self->end && strchr(" \t\r\n", *self->at) != NULL &&
           *self->at != '\0')
        self->at++;
}

/* Is c the next character after blanks? Takes it. */
static bool
take(struct reader *self, char c)
{
    skip_blanks(self);
    if (self->at == self->end || *self->at != c)
        return false;
    self->at++;
    return true;
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
read_code(struct reader *self, uint32_t *code)
{
    int low;
    int high = read_hex(self->at, self->end);

    if (high < 0)
        return fail_syntax(self);
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
read_escape(struct reader *self, char **out)
{
    static const char letters[] = "\"\\/bfnrt";
    static const char meanings[] = "\"\\/\b\f\n\r\t";
    const char *letter;
    uint32_t code = 0;

    if (self->at == self->end || *self->at == '\0')
        return fail_syntax(self);
    letter = strchr(letters, *self->at);
    if (letter != NULL) {
        self->at++;
        *(*out)++ = meanings[letter - letters];
        return true;
    }
    if (*self->at != 'u')
        return fail_syntax(self);
    self->at++;
    if (!read_code(self, &code))
        return false;
    *out += put_utf8(*out, code);
    return true;
}

/* After the opening quote. */
static bool
read_string(struct reader *self, struct string *string)
{
    const char *start = self->at;
    char *out = self->scratch;
    bool has_escapes = false;

    while (self->at < self->end && *self->at != '"') {
        if ((unsigned char)*self->at < ' ')
            return fail_syntax(self);
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
        return fail_syntax(self);
    string->bytes = has_escapes ? self->scratch : start;
    string->len = has_escapes ? (size_t)(out - self->scratch)
                              : (size_t)(self->at - start);
    self->at++;
    return true;
}

/* -- numbers ---------------------------------------------------------- */

static bool
skip_digits(struct reader *self)
{
    const char *start = self->at;

    while (self->at < self->end && *self->at >= '0' && *self->at <= '9')
        self->at++;
    return self->at > start;
}

/* Moves behind the number; *is_integer when it has neither point nor
 * exponent. */
static bool
skip_number(struct reader *self, bool *is_integer)
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

/* Writes a number as numeric prints it into copy, or only tells its size. */
static bool
expand_number(const char *text, size_t len, char *copy, size_t *size)
{
    struct lm_buf digits = LM_BUF_INIT;
    bool ok = lm_number_add_decimal(&digits, text, len);

    *size = digits.len;
    if (ok && copy != NULL)
        memcpy(copy, lm_buf_text(&digits), digits.len);
    lm_buf_release(&digits);
    return ok;
}

/* A number that neither an integer nor a float can hold. Its digits move into
 * memory of Lua's, since pushing the decimal may raise. */
static bool
push_decimal(struct reader *self, const char *text, size_t len)
{
    size_t size;
    char *copy;

    if (!expand_number(text, len, NULL, &size)) {
        return lm_err_set(self->err, LM_ERR_FAILED,
                          "the number %.*s%s is out of range for type numeric",
                          len > 40 ? 40 : (int)len, text,
                          len > 40 ? "..." : "");
    }
    copy = lua_newuserdatauv(self->L, size + 1, 0);
    if (!expand_number(text, len, copy, &size))
        return fail_syntax(self); /* cannot happen: it has just been done */
    lmL_push_decimal(self->L, copy, size);
    lua_remove(self->L, -2);
    return true;
}

static bool
is_text(const char *text, size_t len, const char *wanted)
{
    return len == strlen(wanted) && memcmp(text, wanted, len) == 0;
}

static bool
read_number(struct reader *self)
{
    const char *text = self->at;
    bool is_integer;
    size_t len;

    if (!skip_number(self, &is_integer))
        return fail_syntax(self);
    if (self->L == NULL)
        return true;
    len = (size_t)(self->at - text);
    if (is_integer) {
        int64_t value = strtoll(text, NULL, 10);

        /* At either end it may have been cut to the range. */
        if ((value != INT64_MAX || is_text(text, len, "9223372036854775807")) &&
            (value != INT64_MIN ||
             is_text(text, len, "-9223372036854775808"))) {
            lua_pushinteger(self->L, value);
            return true;
        }
    } else {
        double value = strtod(text, NULL);

        if (lm_number_is_float(text, len, value)) {
            lua_pushnumber(self->L, value);
            return true;
        }
    }
    return push_decimal(self, text, len);
}

/* -- structure -------------------------------------------------------- */

static bool
read_word(struct reader *self, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(self->end - self->at) < len ||
        memcmp(self->at, word, len) != 0)
        return fail_syntax(self);
    self->at += len;
    return true;
}

static bool
enter(struct reader *self, enum lm_mark mark)
{
    if (self->depth == LM_JSON_DEPTH ||
        (self->L != NULL && !lua_checkstack(self->L, 10))) {
        return lm_err_set(self->err, LM_ERR_FAILED,
                          "the document is nested more deeply than %d levels",
                          LM_JSON_DEPTH);
    }
    self->depth++;
    if (self->L != NULL) {
        lua_newtable(self->L);
        lmL_set_mark(self->L, mark);
    }
    return true;
}

static bool
read_array(struct reader *self)
{
    lua_Integer count = 0;

    if (!enter(self, LM_MARK_ARRAY))
        return false;
    if (take(self, ']')) {
        self->depth--;
        return true;
    }
    do {
        if (!read_value(self))
            return false;
        if (self->L != NULL)
            lua_rawseti(self->L, -2, ++count);
    } while (take(self, ','));
    self->depth--;
    return take(self, ']') ? true : fail_syntax(self);
}

/* Pushes the key, unless the table below has it. */
static bool
push_key(struct reader *self, const struct string *key)
{
    lua_pushlstring(self->L, key->bytes, key->len);
    lua_pushvalue(self->L, -1);
    if (lua_rawget(self->L, -3) == LUA_TNIL) {
        lua_pop(self->L, 1);
        return true;
    }
    lm_err_set(self->err, LM_ERR_FAILED,
               "the document has the key \"%.*s\" twice in one object",
               key->len > 200 ? 200 : (int)key->len, key->bytes);
    lm_err_hint(self->err,
                "A Lua table holds each key once. Select the column as text, "
                "or cast it to jsonb, which keeps the last value.");
    return false;
}

static bool
read_object(struct reader *self)
{
    struct string key = {"", 0};

    if (!enter(self, LM_MARK_OBJECT))
        return false;
    if (take(self, '}')) {
        self->depth--;
        return true;
    }
    do {
        if (!take(self, '"'))
            return fail_syntax(self);
        if (!read_string(self, &key) ||
            (self->L != NULL && !push_key(self, &key)))
            return false;
        if (!take(self, ':'))
            return fail_syntax(self);
        if (!read_value(self))
            return false;
        if (self->L != NULL)
            lua_rawset(self->L, -3);
    } while (take(self, ','));
    self->depth--;
    return take(self, '}') ? true : fail_syntax(self);
}

static bool
read_literal(struct reader *self, const char *word)
{
    if (!read_word(self, word))
        return false;
    if (self->L == NULL)
        return true;
    if (*word == 'n') {
        lmL_push_sentinel(self->L, LM_MARK_JSON_NULL);
    } else {
        lua_pushboolean(self->L, *word == 't');
    }
    return true;
}

static bool
read_value(struct reader *self)
{
    struct string string = {"", 0};

    skip_blanks(self);
    switch (self->at < self->end ? *self->at : '\0') {
    case '{':
        self->at++;
        return read_object(self);
    case '[':
        self->at++;
        return read_array(self);
    case '"':
        self->at++;
        if (!read_string(self, &string))
            return false;
        if (self->L != NULL)
            lua_pushlstring(self->L, string.bytes, string.len);
        return true;
    case 't':
        return read_literal(self, "true");
    case 'f':
        return read_literal(self, "false");
    case 'n':
        return read_literal(self, "null");
    default:
        return read_number(self);
    }
}

static bool
read_document(struct reader *self)
{
    if (!read_value(self))
        return false;
    skip_blanks(self);
    return self->at == self->end ? true : fail_syntax(self);
}

bool
lmL_json_push(lua_State *L, const char *text, size_t len, struct lm_err *err)
{
    int top = lua_gettop(L);
    struct reader self = {.L = L,
                          .text = text,
                          .at = text,
                          .end = text + len,
                          .scratch = lua_newuserdatauv(L, len + 1, 0),
                          .err = err};

    if (!read_document(&self)) {
        lua_settop(L, top);
        return false;
    }
    lua_remove(L, top + 1);
    return true;
}

bool
lm_json_check(const char *text, size_t len, struct lm_err *err)
{
    struct reader self = {.text = text,
                          .at = text,
                          .end = text + len,
                          .scratch = lm_alloc(len + 1),
                          .err = err};
    bool ok = read_document(&self);

    free(self.scratch);
    return ok;
}
