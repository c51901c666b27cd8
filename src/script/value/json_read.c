/* SPDX-License-Identifier: MIT */
/* Reads JSON documents as Lua values. Text from the server is valid already; one
 * that is not JSON is refused anyway. */

#include "script/value/json.h"

#include "script/value/json_private.h"
#include "script/value/marks.h"
#include "script/value/number.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    lua_State *L;
    struct lm_json json;
};

static bool read_value(struct reader *self);

/* -- numbers ---------------------------------------------------------- */

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
        return lm_err_set(self->json.err, LM_ERR_FAILED,
                          "the number %.*s%s is out of range for type numeric",
                          len > 40 ? 40 : (int)len, text,
                          len > 40 ? "..." : "");
    }
    copy = lua_newuserdatauv(self->L, size + 1, 0);
    /* It cannot fail: it has just been done. */
    if (!expand_number(text, len, copy, &size))
        return lm_json_fail(&self->json);
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
    const char *text = self->json.at;
    bool is_integer;
    size_t len;

    if (!lm_json_skip_number(&self->json, &is_integer))
        return false;
    len = (size_t)(self->json.at - text);
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
enter(struct reader *self, enum lm_mark mark)
{
    if (!lm_json_enter(&self->json))
        return false;
    if (!lua_checkstack(self->L, 10)) {
        return lm_err_set(self->json.err, LM_ERR_FAILED,
                          "there is no memory for a document of %d levels",
                          self->json.depth);
    }
    lua_newtable(self->L);
    lmL_set_mark(self->L, mark);
    return true;
}

static bool
read_array(struct reader *self)
{
    lua_Integer count = 0;

    if (!enter(self, LM_MARK_ARRAY))
        return false;
    if (!lm_json_take(&self->json, ']')) {
        do {
            if (!read_value(self))
                return false;
            lua_rawseti(self->L, -2, ++count);
        } while (lm_json_take(&self->json, ','));
        if (!lm_json_take(&self->json, ']'))
            return lm_json_fail(&self->json);
    }
    lm_json_leave(&self->json);
    return true;
}

/* Pushes the key, unless the table below has it. */
static bool
push_key(struct reader *self, const struct lm_json_string *key)
{
    lua_pushlstring(self->L, key->bytes, key->len);
    lua_pushvalue(self->L, -1);
    if (lua_rawget(self->L, -3) == LUA_TNIL) {
        lua_pop(self->L, 1);
        return true;
    }
    lm_err_set(self->json.err, LM_ERR_FAILED,
               "the document has the key \"%.*s\" twice in one object",
               key->len > 200 ? 200 : (int)key->len, key->bytes);
    lm_err_hint(self->json.err,
                "A Lua table holds each key once. Select the column as text, "
                "or cast it to jsonb, which keeps the last value.");
    return false;
}

static bool
read_member(struct reader *self)
{
    struct lm_json_string key;

    if (!lm_json_take(&self->json, '"'))
        return lm_json_fail(&self->json);
    if (!lm_json_read_string(&self->json, &key) || !push_key(self, &key))
        return false;
    if (!lm_json_take(&self->json, ':'))
        return lm_json_fail(&self->json);
    if (!read_value(self))
        return false;
    lua_rawset(self->L, -3);
    return true;
}

static bool
read_object(struct reader *self)
{
    if (!enter(self, LM_MARK_OBJECT))
        return false;
    if (!lm_json_take(&self->json, '}')) {
        do {
            if (!read_member(self))
                return false;
        } while (lm_json_take(&self->json, ','));
        if (!lm_json_take(&self->json, '}'))
            return lm_json_fail(&self->json);
    }
    lm_json_leave(&self->json);
    return true;
}

static bool
read_literal(struct reader *self, const char *word)
{
    if (!lm_json_skip_word(&self->json, word))
        return false;
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
    struct lm_json *json = &self->json;
    struct lm_json_string string;

    lm_json_skip_blanks(json);
    switch (json->at < json->end ? *json->at : '\0') {
    case '{':
        json->at++;
        return read_object(self);
    case '[':
        json->at++;
        return read_array(self);
    case '"':
        json->at++;
        if (!lm_json_read_string(json, &string))
            return false;
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
is_over(struct lm_json *self)
{
    lm_json_skip_blanks(self);
    return self->at == self->end ? true : lm_json_fail(self);
}

bool
lmL_json_push(lua_State *L, const char *text, size_t len, struct lm_err *err)
{
    int top = lua_gettop(L);
    struct reader self = {.L = L,
                          .json = {.text = text,
                                   .at = text,
                                   .end = text + len,
                                   .scratch = lua_newuserdatauv(L, len + 1, 0),
                                   .err = err}};

    if (!read_value(&self) || !is_over(&self.json)) {
        lua_settop(L, top);
        return false;
    }
    lua_remove(L, top + 1);
    return true;
}

bool
lm_json_check(const char *text, size_t len, struct lm_err *err)
{
    struct lm_json self = {.text = text,
                           .at = text,
                           .end = text + len,
                           .scratch = lm_alloc(len + 1),
                           .err = err};
    bool ok = lm_json_skip_value(&self) && is_over(&self);

    free(self.scratch);
    return ok;
}
