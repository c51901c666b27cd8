/* SPDX-License-Identifier: MIT */

#include "script/value/array.h"

#include "script/value/marks.h"
#include "script/value/value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { MAX_DIMENSIONS = 6 }; /* PostgreSQL's MAXDIM */

static const char blanks[] = " \t\n\r\v\f";

/* What lm_value and lmL_push_value need to know of an element. */
static struct lm_type
element_type(const struct lm_type *type)
{
    struct lm_type element = {.oid = type->element, .base = type->element_base};

    LM_ERR_COPY(element.name,
                type->oid != 0 ? type->element_name : "parameter");
    return element;
}

/* -- reading ---------------------------------------------------------- */

struct reader {
    lua_State *L;
    const char *at;
    const char *end;
    char *scratch; /* room for the longest element */
    struct lm_type element;
    char delimiter;
    struct lm_err *err;
};

static bool
fail_text(struct lm_err *err)
{
    return lm_err_set(err, LM_ERR_FAILED,
                      "the array has a text that luamig cannot read");
}

/* After the opening quote; *len bytes in scratch. */
static bool
read_quoted(struct reader *self, size_t *len)
{
    *len = 0;
    while (self->at < self->end && *self->at != '"') {
        self->at += *self->at == '\\';
        if (self->at == self->end)
            return fail_text(self->err);
        self->scratch[(*len)++] = *self->at++;
    }
    if (self->at == self->end)
        return fail_text(self->err);
    self->at++;
    return true;
}

static void
read_bare(struct reader *self, size_t *len)
{
    *len = 0;
    while (self->at < self->end && *self->at != self->delimiter &&
           *self->at != '}')
        self->scratch[(*len)++] = *self->at++;
}

static bool
push_element(struct reader *self)
{
    size_t len;

    if (self->at < self->end && *self->at == '"') {
        self->at++;
        if (!read_quoted(self, &len))
            return false;
    } else {
        read_bare(self, &len);
        if (len == 4 && strncasecmp(self->scratch, "NULL", 4) == 0) {
            lmL_push_sentinel(self->L, LM_MARK_NULL);
            return true;
        }
    }
    self->scratch[len] = '\0';
    return lmL_push_value(self->L, &self->element, self->scratch, len,
                          self->err);
}

/* After the opening brace. */
static bool
push_level(struct reader *self, int depth)
{
    lua_Integer count = 0;

    if (depth > MAX_DIMENSIONS || !lua_checkstack(self->L, 10))
        return fail_text(self->err);
    lua_newtable(self->L);
    if (self->at < self->end && *self->at == '}') {
        self->at++;
        return true;
    }
    while (self->at < self->end) {
        bool is_level = *self->at == '{';

        self->at += is_level;
        if (!(is_level ? push_level(self, depth + 1) : push_element(self)))
            return false;
        lua_rawseti(self->L, -2, ++count);
        if (self->at == self->end)
            break;
        if (*self->at == '}') {
            self->at++;
            return true;
        }
        if (*self->at++ != self->delimiter)
            break;
    }
    return fail_text(self->err);
}

static bool
fail_bounds(const char *text, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_FAILED,
               "the array has the bounds %.*s, which a Lua table cannot keep",
               (int)strcspn(text, "="), text);
    lm_err_hint(err, "Select the column as text (write it back with a cast), "
                     "or with array_to_json, which numbers from 1.");
    return false;
}

bool
lmL_array_push(lua_State *L, const struct lm_type *type, const char *text,
               size_t len, struct lm_err *err)
{
    int top = lua_gettop(L);
    struct reader self = {.L = L,
                          .at = text + 1,
                          .end = text + len,
                          .scratch = lua_newuserdatauv(L, len + 1, 0),
                          .element = element_type(type),
                          .delimiter = type->delimiter,
                          .err = err};
    bool ok;

    if (*text == '[') {
        ok = fail_bounds(text, err);
    } else {
        ok = *text == '{' && push_level(&self, 1)
                 ? self.at == self.end || fail_text(err)
             : *text == '{' ? false
                            : fail_text(err);
    }
    if (!ok) {
        lua_settop(L, top);
        return false;
    }
    lua_remove(L, top + 1);
    return true;
}

/* -- writing ---------------------------------------------------------- */

struct writer {
    lua_State *L;
    struct lm_buf *out;
    struct lm_buf scratch; /* one element */
    struct lm_type element;
    char delimiter;
    struct lm_err *err;
    int dimensions;                       /* 0: not known yet */
    lua_Integer lengths[MAX_DIMENSIONS];  /* 0: not known yet */
    lua_Integer position[MAX_DIMENSIONS]; /* of the element at hand */
};

/* Is the value at the top a dimension, not an element? */
static bool
is_level(const struct writer *self)
{
    bool may_be_json =
        lm_type_is_json(&self->element) || self->element.oid == 0;
    lua_Integer length;

    if (lua_type(self->L, -1) != LUA_TTABLE)
        return false;
    switch (lm_mark_of(self->L, -1)) {
    case LM_MARK_NONE:
        return !may_be_json || lm_mark_is_list(self->L, -1, &length);
    case LM_MARK_ARRAY:
        return !may_be_json;
    default:
        return false;
    }
}

static bool
needs_quotes(const char *text, size_t len, char delimiter)
{
    if (len == 0 || (len == 4 && strncasecmp(text, "NULL", 4) == 0))
        return true;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == delimiter || strchr("\"\\{}", text[i]) != NULL ||
            strchr(blanks, text[i]) != NULL)
            return true;
    }
    return false;
}

static void
add_element(struct writer *self, const char *text, size_t len)
{
    if (!needs_quotes(text, len, self->delimiter)) {
        lm_buf_add(self->out, text, len);
        return;
    }
    lm_buf_putc(self->out, '"');
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\')
            lm_buf_putc(self->out, '\\');
        lm_buf_putc(self->out, text[i]);
    }
    lm_buf_putc(self->out, '"');
}

/* Adds to the error which element it is. */
static bool
note_position(struct writer *self, int depth)
{
    char text[160];
    size_t len = 0;

    text[0] = '\0';
    for (int i = 0; i < depth; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "[%" PRId64 "]",
                                (int64_t)self->position[i]);
    }
    return lm_err_prefix(self->err, "element %s", text);
}

static bool
fail_shape(struct writer *self)
{
    lm_err_set(self->err, LM_ERR_FAILED, "the array is not rectangular");
    lm_err_hint(self->err, "All tables of one dimension must have the same "
                           "number of elements.");
    return false;
}

static bool
write_element(struct writer *self, int depth)
{
    bool is_null = false;

    if (self->dimensions == 0)
        self->dimensions = depth;
    if (self->dimensions != depth)
        return fail_shape(self);
    lm_buf_clear(&self->scratch);
    if (!lm_value_encode(self->L, lua_gettop(self->L), &self->element,
                         &self->scratch, &is_null, self->err))
        return note_position(self, depth);
    if (is_null) {
        lm_buf_puts(self->out, "NULL");
    } else {
        add_element(self, self->scratch.data, self->scratch.len - 1);
    }
    return true;
}

/* The dimension at the top of the stack. */
static bool
write_level(struct writer *self, int depth)
{
    lua_Integer length;
    bool ok = true;

    if (!lm_mark_is_list(self->L, -1, &length)) {
        lm_err_set(self->err, LM_ERR_FAILED,
                   "a table for an array must have the keys 1, 2, 3, ...");
        lm_err_hint(self->err, "Put luamig.NULL where an element is NULL.");
        return depth > 1 ? note_position(self, depth - 1) : false;
    }
    if (depth > MAX_DIMENSIONS) {
        return lm_err_set(self->err, LM_ERR_FAILED,
                          "an array can have at most %d dimensions",
                          MAX_DIMENSIONS);
    }
    if (self->lengths[depth - 1] == 0)
        self->lengths[depth - 1] = length;
    if ((depth > 1 && length == 0) || self->lengths[depth - 1] != length ||
        (self->dimensions > 0 && depth > self->dimensions))
        return fail_shape(self);
    lm_buf_putc(self->out, '{');
    for (lua_Integer i = 1; ok && i <= length; i++) {
        if (i > 1)
            lm_buf_putc(self->out, self->delimiter);
        self->position[depth - 1] = i;
        lua_rawgeti(self->L, -1, i);
        ok = is_level(self) ? write_level(self, depth + 1)
                            : write_element(self, depth);
        lua_pop(self->L, 1);
    }
    lm_buf_putc(self->out, '}');
    return ok;
}

bool
lm_array_add(lua_State *L, int index, const struct lm_type *type,
             struct lm_buf *out, struct lm_err *err)
{
    struct writer self = {.L = L,
                          .out = out,
                          .element = element_type(type),
                          .delimiter = type->delimiter,
                          .err = err};
    bool ok;

    if (type->oid == 0)
        self.delimiter = ',';
    if (!lua_checkstack(L, 4 * MAX_DIMENSIONS + 10))
        return lm_err_set(err, LM_ERR_FAILED, "not enough memory");
    lua_pushvalue(L, index);
    ok = write_level(&self, 1);
    lua_pop(L, 1);
    lm_buf_release(&self.scratch);
    return ok;
}
