/* SPDX-License-Identifier: MIT */
/*
 * Writes Lua values as JSON. Allocates nothing in Lua: keys are kept on the
 * stack while they are sorted, so nothing here can raise.
 *
 * Keys are sorted so that one value has one text, whatever the order in which
 * Lua hands out the fields of a table.
 */

#include "script/value/json.h"

#include "base/text.h"
#include "script/value/json_private.h"
#include "script/value/marks.h"
#include "script/value/number.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A path into the value: one for each table, on the C stack. */
struct place {
    const struct place *parent;
    const void *table;
    const char *key; /* NULL: index counts */
    lua_Integer index;
    int depth;
};

struct writer {
    lua_State *L;
    struct lm_buf *out;
    struct lm_err *err;
};

static bool write_value(struct writer *self, int index,
                        const struct place *place);

/* -- errors ----------------------------------------------------------- */

/* "a.b[3]": the way to a value, without a leading point. */
static void
add_path(struct lm_buf *path, const struct place *place)
{
    if (place->parent != NULL)
        add_path(path, place->parent);
    if (path->len > 300)
        return;
    if (place->key == NULL) {
        lm_buf_printf(path, "[%" PRId64 "]", (int64_t)place->index);
    } else {
        lm_buf_printf(path, "%s%.60s", path->len > 0 ? "." : "", place->key);
    }
}

/* Adds to a message in which place it is. Always false. */
static bool
note_place(struct writer *self, const struct place *place)
{
    struct lm_buf path = LM_BUF_INIT;

    if (place == NULL)
        return false;
    add_path(&path, place);
    lm_err_prefix(self->err, "at %s", lm_buf_text(&path));
    lm_buf_release(&path);
    return false;
}

static bool
fail(struct writer *self, const struct place *place, const char *message,
     const char *hint)
{
    lm_err_set(self->err, LM_ERR_FAILED, "%s", message);
    if (hint != NULL)
        lm_err_hint(self->err, "%s", hint);
    return note_place(self, place);
}

/* -- scalars ---------------------------------------------------------- */

static bool
write_string(struct writer *self, const char *text, size_t len,
             const struct place *place)
{
    static const char letters[] = "\b\f\n\r\t\"\\";
    static const char escapes[] = "bfnrt\"\\";
    size_t offset;
    size_t from = 0;

    if (!lm_text_is_utf8(text, len, &offset)) {
        return fail(self, place,
                    text[offset] == '\0'
                        ? "a string with a NUL byte cannot be written to JSON"
                        : "a string that is not valid UTF-8 cannot be written "
                          "to JSON",
                    NULL);
    }
    lm_buf_putc(self->out, '"');
    for (size_t i = 0; i < len; i++) {
        const char *letter;

        if ((unsigned char)text[i] >= ' ' && text[i] != '"' && text[i] != '\\')
            continue;
        lm_buf_add(self->out, text + from, i - from);
        from = i + 1;
        letter = strchr(letters, text[i]);
        if (letter != NULL) {
            lm_buf_putc(self->out, '\\');
            lm_buf_putc(self->out, escapes[letter - letters]);
        } else {
            lm_buf_printf(self->out, "\\u%04x", (unsigned)text[i]);
        }
    }
    lm_buf_add(self->out, text + from, len - from);
    lm_buf_putc(self->out, '"');
    return true;
}

/* The shortest text, but such that jsonb, which knows no exponents, shows it
 * as a float again: 1e+20 as 100000000000000000000.0. */
static void
write_float(struct writer *self, double value)
{
    struct lm_buf text = LM_BUF_INIT;
    size_t start = self->out->len;

    lm_number_add_float(&text, value);
    if (strstr(lm_buf_text(&text), "e+") == NULL ||
        !lm_number_add_decimal(self->out, lm_buf_text(&text), text.len))
        lm_buf_add(self->out, lm_buf_text(&text), text.len);
    if (strpbrk(lm_buf_text(self->out) + start, ".e") == NULL)
        lm_buf_puts(self->out, ".0");
    lm_buf_release(&text);
}

static bool
write_number(struct writer *self, int index, const struct place *place)
{
    double value;

    if (lua_isinteger(self->L, index)) {
        lm_buf_printf(self->out, "%" PRId64,
                      (int64_t)lua_tointegerx(self->L, index, NULL));
        return true;
    }
    value = lua_tonumberx(self->L, index, NULL);
    if (!isfinite(value)) {
        return fail(self, place, "JSON has neither NaN nor infinity",
                    "Use luamig.json.null or a string.");
    }
    write_float(self, value);
    return true;
}

static bool
write_text(struct writer *self, int index, const struct place *place)
{
    size_t len;
    size_t offset;
    const char *text = lm_mark_text(self->L, index, &len);

    if (!lm_text_is_utf8(text, len, &offset)) {
        return fail(self, place, "a luamig.json text that is not valid UTF-8",
                    NULL);
    }
    if (!lm_json_check(text, len, self->err)) {
        lm_err_prefix(self->err, "luamig.json");
        return note_place(self, place);
    }
    lm_buf_add(self->out, text, len);
    return true;
}

static bool
write_decimal(struct writer *self, int index, const struct place *place)
{
    size_t len;
    const char *text = lm_mark_text(self->L, index, &len);

    if (strpbrk(text, "NI") != NULL) {
        return fail(self, place, "JSON has neither NaN nor infinity",
                    "Use luamig.json.null or a string.");
    }
    lm_buf_add(self->out, text, len);
    return true;
}

/* -- tables ----------------------------------------------------------- */

static bool
write_array(struct writer *self, int index, lua_Integer length,
            struct place *place)
{
    lm_buf_putc(self->out, '[');
    for (lua_Integer i = 1; i <= length; i++) {
        place->index = i;
        if (i > 1)
            lm_buf_putc(self->out, ',');
        lua_rawgeti(self->L, index, i);
        if (!write_value(self, lua_gettop(self->L), place))
            return false;
        lua_pop(self->L, 1);
    }
    lm_buf_putc(self->out, ']');
    return true;
}

struct field {
    const char *key;
    size_t len;
    int slot; /* of the key on the stack */
};

static int
compare_fields(const void *a, const void *b)
{
    const struct field *x = a;
    const struct field *y = b;
    size_t len = x->len < y->len ? x->len : y->len;
    int order = memcmp(x->key, y->key, len);

    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Pushes the keys of the table; they are all strings. */
static struct field *
push_fields(struct writer *self, int index, int count)
{
    struct field *fields = lm_alloc((size_t)count * sizeof *fields);
    int i = 0;

    lua_pushnil(self->L);
    while (lua_next(self->L, index) != 0) {
        lua_pop(self->L, 1);
        fields[i].key = lua_tolstring(self->L, -1, &fields[i].len);
        fields[i++].slot = lua_gettop(self->L);
        lua_pushvalue(self->L, -1);
    }
    qsort(fields, (size_t)count, sizeof *fields, compare_fields);
    return fields;
}

static bool
write_object(struct writer *self, int index, int count, struct place *place)
{
    int top = lua_gettop(self->L);
    struct field *fields;
    bool ok = true;

    if (!lua_checkstack(self->L, count + 10))
        return fail(self, place->parent, "the table is too large", NULL);
    fields = push_fields(self, index, count);
    lm_buf_putc(self->out, '{');
    for (int i = 0; ok && i < count; i++) {
        if (i > 0)
            lm_buf_putc(self->out, ',');
        place->key = fields[i].key;
        lua_pushvalue(self->L, fields[i].slot);
        lua_rawget(self->L, index);
        ok = write_string(self, fields[i].key, fields[i].len, place->parent);
        lm_buf_putc(self->out, ':');
        ok = ok && write_value(self, lua_gettop(self->L), place);
        lua_pop(self->L, 1);
    }
    lm_buf_putc(self->out, '}');
    free(fields);
    lua_settop(self->L, top);
    return ok;
}

/* How many keys are there, if all are strings? Otherwise -1. */
static int
count_strings(lua_State *L, int index)
{
    int count = 0;

    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING) {
            lua_pop(L, 1);
            return -1;
        }
        count++;
    }
    return count;
}

static bool
write_list_or_object(struct writer *self, int index, enum lm_mark mark,
                     struct place *place)
{
    lua_Integer length;
    bool is_list = lm_mark_is_list(self->L, index, &length);
    int count;

    if (is_list && length == 0 && mark == LM_MARK_NONE) {
        return fail(self, place->parent,
                    "an empty table may be an array or an object",
                    "Write luamig.array{} or luamig.object{}.");
    }
    if (is_list && mark != LM_MARK_OBJECT)
        return write_array(self, index, length, place);
    if (mark == LM_MARK_ARRAY) {
        return fail(self, place->parent,
                    "a luamig.array has other keys than 1, 2, 3, ...",
                    "Put luamig.json.null where there is no value.");
    }
    count = count_strings(self->L, index);
    if (count >= 0)
        return write_object(self, index, count, place);
    return fail(self, place->parent,
                mark == LM_MARK_OBJECT
                    ? "a luamig.object has keys that are not strings"
                    : "a table must have the keys 1, 2, 3, ... or strings",
                mark == LM_MARK_OBJECT
                    ? "Use tostring to make a key of a number."
                    : "Put luamig.json.null into the gaps of a list.");
}

static bool
write_table(struct writer *self, int index, enum lm_mark mark,
            const struct place *parent)
{
    struct place place = {.parent = parent,
                          .table = lua_topointer(self->L, index),
                          .depth = parent != NULL ? parent->depth + 1 : 1};

    for (const struct place *p = parent; p != NULL; p = p->parent) {
        if (p->table == place.table)
            return fail(self, parent, "the table contains itself", NULL);
    }
    if (place.depth > LM_JSON_DEPTH || !lua_checkstack(self->L, 10)) {
        return lm_err_set(self->err, LM_ERR_FAILED,
                          "the table is nested more deeply than %d levels",
                          LM_JSON_DEPTH);
    }
    return write_list_or_object(self, index, mark, &place);
}

static bool
write_marked(struct writer *self, int index, const struct place *place)
{
    enum lm_mark mark = lm_mark_of(self->L, index);

    switch (mark) {
    case LM_MARK_NONE:
    case LM_MARK_ARRAY:
    case LM_MARK_OBJECT:
        return write_table(self, index, mark, place);
    case LM_MARK_JSON_NULL:
        lm_buf_puts(self->out, "null");
        return true;
    case LM_MARK_JSON:
        return write_text(self, index, place);
    case LM_MARK_DECIMAL:
        return write_decimal(self, index, place);
    case LM_MARK_NULL:
        return fail(self, place, "luamig.NULL cannot be written to JSON",
                    "Use luamig.json.null.");
    case LM_MARK_BYTEA:
        return fail(self, place, "a luamig.bytea cannot be written to JSON",
                    "Encode the bytes, for example as hexadecimal digits.");
    case LM_MARK_COLUMN:
        return fail(self, place, "a luamig.column cannot be written to JSON",
                    NULL);
    case LM_MARK_ADD:
        return fail(self, place, "a luamig.add cannot be written to JSON",
                    NULL);
    default:
        return fail(self, place, "luamig.ALL is not a value", NULL);
    }
}

static bool
write_value(struct writer *self, int index, const struct place *place)
{
    size_t len;
    const char *text;

    switch (lua_type(self->L, index)) {
    case LUA_TBOOLEAN:
        lm_buf_puts(self->out,
                    lua_toboolean(self->L, index) ? "true" : "false");
        return true;
    case LUA_TNUMBER:
        return write_number(self, index, place);
    case LUA_TSTRING:
        text = lua_tolstring(self->L, index, &len);
        return write_string(self, text, len, place);
    case LUA_TTABLE:
        return write_marked(self, index, place);
    case LUA_TFUNCTION:
        return fail(self, place, "a function cannot be written to JSON", NULL);
    default:
        return fail(self, place,
                    "a userdata or thread cannot be written to JSON", NULL);
    }
}

bool
lm_json_add(lua_State *L, int index, struct lm_buf *out, struct lm_err *err)
{
    struct writer self = {L, out, err};
    int top = lua_gettop(L);
    bool ok = write_value(&self, lua_absindex(L, index), NULL);

    lua_settop(L, top);
    return ok;
}
