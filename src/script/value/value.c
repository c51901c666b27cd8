/* SPDX-License-Identifier: MIT */
/*
 * The value rules of the header. The type of the target decides, and the Lua
 * type must be the one that belongs to it: a string that looks like a number
 * is not one.
 */

#include "script/value/value.h"

#include "base/text.h"
#include "pg/sql/sql.h"
#include "script/value/array.h"
#include "script/value/json.h"
#include "script/value/marks.h"
#include "script/value/number.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

/* The largest integer up to which every one is a float8. */
static const lua_Integer max_exact = (lua_Integer)1 << 53;

static void
add_text(struct lm_buf *out, const char *text)
{
    lm_buf_add(out, text, strlen(text) + 1);
}

const char *
lm_value_kind(lua_State *L, int index)
{
    static const char *const tables[LM_MARK_COUNT] = {
        [LM_MARK_NULL] = "luamig.NULL",
        [LM_MARK_ALL] = "luamig.ALL",
        [LM_MARK_JSON_NULL] = "luamig.json.null",
        [LM_MARK_JSON] = "a luamig.json text",
        [LM_MARK_BYTEA] = "a luamig.bytea",
        [LM_MARK_DECIMAL] = "a luamig.decimal",
        [LM_MARK_COLUMN] = "a luamig.column",
        [LM_MARK_ADD] = "a luamig.add"};
    const char *table = tables[lm_mark_of(L, index)];

    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        return "a boolean";
    case LUA_TNUMBER:
        return lua_isinteger(L, index) ? "an integer" : "a float";
    case LUA_TSTRING:
        return "a string";
    case LUA_TTABLE:
        return table != NULL ? table : "a table";
    case LUA_TFUNCTION:
        return "a function";
    default:
        return "a userdata or thread";
    }
}

static bool
fail_type(lua_State *L, int index, const char *type, const char *hint,
          struct lm_err *err)
{
    enum lm_mark mark = lm_mark_of(L, index);

    lm_err_set(err, LM_ERR_FAILED, "%s cannot be written to type %s",
               lm_value_kind(L, index), type);
    if (mark == LM_MARK_COLUMN || mark == LM_MARK_ADD) {
        hint = "luamig.add and luamig.column belong into the changes of "
               "repo:update or repo:update_all.";
    }
    if (hint != NULL)
        lm_err_hint(err, "%s", hint);
    return false;
}

static void
add_float(struct lm_buf *out, lua_Number value)
{
    lm_number_add_float(out, value);
    lm_buf_putc(out, '\0');
}

static void
add_integer(struct lm_buf *out, lua_Integer value)
{
    lm_buf_add_int(out, value);
    lm_buf_putc(out, '\0');
}

static bool
add_string(lua_State *L, int index, const char *type, struct lm_buf *out,
           struct lm_err *err)
{
    size_t len;
    size_t offset = 0;
    const char *text = lua_tolstring(L, index, &len);

    if (lm_text_is_utf8(text, len, &offset)) {
        lm_buf_add(out, text, len + 1);
        return true;
    }
    if (text[offset] == '\0') {
        lm_err_set(err, LM_ERR_FAILED,
                   "a string with a NUL byte (at byte %zu) cannot be written "
                   "to type %s",
                   offset + 1, type);
    } else {
        lm_err_set(err, LM_ERR_FAILED,
                   "a string that is not valid UTF-8 (at byte %zu) cannot be "
                   "written to type %s",
                   offset + 1, type);
    }
    return false;
}

static bool
encode_bytea(lua_State *L, int index, const struct lm_type *type,
             struct lm_buf *out, struct lm_err *err)
{
    size_t len;
    const char *bytes;

    if (lua_type(L, index) == LUA_TSTRING) {
        bytes = lua_tolstring(L, index, &len);
    } else if (lm_mark_of(L, index) == LM_MARK_BYTEA) {
        bytes = lm_mark_text(L, index, &len);
    } else {
        return fail_type(L, index, type->name, NULL, err);
    }
    lm_sql_add_bytea(out, bytes, len);
    lm_buf_putc(out, '\0');
    return true;
}

static const char *
integer_hint(lua_State *L, int index)
{
    if (lm_mark_of(L, index) == LM_MARK_DECIMAL)
        return "Use :tointeger(). It returns nil if there is a fraction.";
    return lua_type(L, index) == LUA_TNUMBER
               ? "Use math.tointeger, // or math.floor to make an integer of "
                 "it."
               : "Use math.tointeger to make an integer of it.";
}

static bool
encode_integer(lua_State *L, int index, const struct lm_type *type,
               lua_Integer min, lua_Integer max, struct lm_buf *out,
               struct lm_err *err)
{
    lua_Integer value;

    if (!lua_isinteger(L, index))
        return fail_type(L, index, type->name, integer_hint(L, index), err);
    value = lua_tointegerx(L, index, NULL);
    if (value < min || value > max) {
        return lm_err_set(err, LM_ERR_FAILED,
                          "%" PRId64 " is out of range for type %s",
                          (int64_t)value, type->name);
    }
    add_integer(out, value);
    return true;
}

/* Would the type hold another value? */
static bool
is_rounded(lua_Integer value, const struct lm_type *type)
{
    if (type->base == LM_TYPE_FLOAT4) {
        return value < INT32_MIN || value > INT32_MAX ||
               (double)(float)value != (double)value;
    }
    return value > max_exact || value < -max_exact;
}

static bool
encode_float(lua_State *L, int index, const struct lm_type *type,
             struct lm_buf *out, struct lm_err *err)
{
    lua_Integer integer;

    if (lua_type(L, index) != LUA_TNUMBER) {
        return fail_type(L, index, type->name,
                         lm_mark_of(L, index) == LM_MARK_DECIMAL
                             ? "Use :tonumber() to make a float of it."
                             : NULL,
                         err);
    }
    if (!lua_isinteger(L, index)) {
        add_float(out, lua_tonumberx(L, index, NULL));
        return true;
    }
    integer = lua_tointegerx(L, index, NULL);
    if (is_rounded(integer, type)) {
        return lm_err_set(err, LM_ERR_FAILED,
                          "%" PRId64 " would be rounded by type %s",
                          (int64_t)integer, type->name);
    }
    add_integer(out, integer);
    return true;
}

static bool
encode_digits(const char *text, size_t len, const struct lm_type *type,
              struct lm_buf *out, struct lm_err *err)
{
    if (lm_number_is_decimal(text, len)) {
        lm_buf_add(out, text, len + 1);
        return true;
    }
    return lm_err_set(
        err, LM_ERR_FAILED,
        "a string that is not a decimal number cannot be written to type %s",
        type->name);
}

static bool
encode_numeric(lua_State *L, int index, const struct lm_type *type,
               struct lm_buf *out, struct lm_err *err)
{
    size_t len;
    const char *text;

    if (lua_isinteger(L, index)) {
        add_integer(out, lua_tointegerx(L, index, NULL));
        return true;
    }
    if (lua_type(L, index) == LUA_TNUMBER) {
        add_float(out, lua_tonumberx(L, index, NULL));
        return true;
    }
    if (lua_type(L, index) == LUA_TSTRING) {
        text = lua_tolstring(L, index, &len);
        return encode_digits(text, len, type, out, err);
    }
    if (lm_mark_of(L, index) != LM_MARK_DECIMAL)
        return fail_type(L, index, type->name, NULL, err);
    text = lm_mark_text(L, index, &len);
    lm_buf_add(out, text, len + 1);
    return true;
}

static bool
encode_bool(lua_State *L, int index, const struct lm_type *type,
            struct lm_buf *out, struct lm_err *err)
{
    if (lua_type(L, index) != LUA_TBOOLEAN)
        return fail_type(L, index, type->name, NULL, err);
    add_text(out, lua_toboolean(L, index) ? "t" : "f");
    return true;
}

/* The hint how to make a string of a value. */
static const char *
text_hint(lua_State *L, int index)
{
    enum lm_mark mark = lm_mark_of(L, index);

    if (lua_type(L, index) == LUA_TNUMBER || mark == LM_MARK_DECIMAL)
        return "Use tostring or string.format to make a string of it.";
    if (lua_type(L, index) == LUA_TTABLE &&
        (mark == LM_MARK_NONE || mark == LM_MARK_ARRAY ||
         mark == LM_MARK_OBJECT))
        return "For JSON in a text column, write luamig.json.encode(value).";
    return NULL;
}

static bool
encode_other(lua_State *L, int index, const struct lm_type *type,
             struct lm_buf *out, struct lm_err *err)
{
    if (lua_type(L, index) == LUA_TSTRING)
        return add_string(L, index, type->name, out, err);
    return fail_type(L, index, type->name, text_hint(L, index), err);
}

static bool
encode_json(lua_State *L, int index, struct lm_buf *out, struct lm_err *err)
{
    if (!lm_json_add(L, index, out, err))
        return false;
    lm_buf_putc(out, '\0');
    return true;
}

static bool
encode_array(lua_State *L, int index, const struct lm_type *type,
             struct lm_buf *out, struct lm_err *err)
{
    enum lm_mark mark = lm_mark_of(L, index);

    if (lua_type(L, index) != LUA_TTABLE ||
        (mark != LM_MARK_NONE && mark != LM_MARK_ARRAY)) {
        return fail_type(L, index, type->name,
                         lua_type(L, index) == LUA_TSTRING
                             ? "Use a table with the elements."
                             : NULL,
                         err);
    }
    if (!lm_array_add(L, index, type, out, err))
        return false;
    lm_buf_putc(out, '\0');
    return true;
}

/* The value itself must say what it is. */
static bool
encode_untyped(lua_State *L, int index, struct lm_buf *out, struct lm_err *err)
{
    static const struct lm_type any = {.name = "parameter"};

    if (lua_type(L, index) == LUA_TBOOLEAN)
        return encode_bool(L, index, &any, out, err);
    if (lua_type(L, index) == LUA_TNUMBER)
        return encode_numeric(L, index, &any, out, err);
    if (lua_type(L, index) != LUA_TTABLE)
        return encode_other(L, index, &any, out, err);
    switch (lm_mark_of(L, index)) {
    case LM_MARK_NONE:
        return encode_array(L, index, &any, out, err);
    case LM_MARK_DECIMAL:
        return encode_numeric(L, index, &any, out, err);
    case LM_MARK_BYTEA:
        return encode_bytea(L, index, &any, out, err);
    case LM_MARK_JSON_NULL:
    case LM_MARK_JSON:
    case LM_MARK_ARRAY:
    case LM_MARK_OBJECT:
        return encode_json(L, index, out, err);
    default:
        return fail_type(L, index, any.name, NULL, err);
    }
}

static bool
is_sql_null(lua_State *L, int index)
{
    int type = lua_type(L, index);

    return type == LUA_TNIL ||
           (type == LUA_TTABLE && lm_mark_of(L, index) == LM_MARK_NULL);
}

bool
lm_value_encode(lua_State *L, int index, const struct lm_type *type,
                struct lm_buf *out, bool *is_null, struct lm_err *err)
{
    *is_null = is_sql_null(L, index);
    if (*is_null)
        return true;
    if (type->oid == 0)
        return encode_untyped(L, index, out, err);
    if (type->element != 0)
        return encode_array(L, index, type, out, err);
    switch (type->base) {
    case LM_TYPE_BOOL:
        return encode_bool(L, index, type, out, err);
    case LM_TYPE_INT2:
        return encode_integer(L, index, type, INT16_MIN, INT16_MAX, out, err);
    case LM_TYPE_INT4:
        return encode_integer(L, index, type, INT32_MIN, INT32_MAX, out, err);
    case LM_TYPE_INT8:
        return encode_integer(L, index, type, INT64_MIN, INT64_MAX, out, err);
    case LM_TYPE_OID:
        return encode_integer(L, index, type, 0, UINT32_MAX, out, err);
    case LM_TYPE_FLOAT4:
    case LM_TYPE_FLOAT8:
        return encode_float(L, index, type, out, err);
    case LM_TYPE_NUMERIC:
        return encode_numeric(L, index, type, out, err);
    case LM_TYPE_BYTEA:
        return encode_bytea(L, index, type, out, err);
    case LM_TYPE_JSON:
    case LM_TYPE_JSONB:
        return encode_json(L, index, out, err);
    default:
        return encode_other(L, index, type, out, err);
    }
}

/* -- reading ---------------------------------------------------------- */

static int
hex_digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* "\x6162": bytea_output is hex in every transaction that scripts see. */
static void
push_bytes(lua_State *L, const char *text, size_t len)
{
    luaL_Buffer buffer;
    size_t count = len >= 2 ? (len - 2) / 2 : 0;
    char *bytes = luaL_buffinitsize(L, &buffer, count);

    text += 2;
    for (size_t i = 0; i < count; i++) {
        bytes[i] =
            (char)(hex_digit(text[2 * i]) * 16 + hex_digit(text[2 * i + 1]));
    }
    luaL_pushresultsize(&buffer, count);
}

/* An integer as the server prints it. */
static lua_Integer
read_integer(const char *text)
{
    bool negative = *text == '-';
    lua_Unsigned value = 0;

    for (text += negative; *text != '\0'; text++)
        value = 10 * value + (lua_Unsigned)(*text - '0');
    return (lua_Integer)(negative ? 0 - value : value);
}

bool
lmL_push_value(lua_State *L, const struct lm_type *type, const char *text,
               size_t len, struct lm_err *err)
{
    if (type->element != 0)
        return lmL_array_push(L, type, text, len, err);
    switch (type->base) {
    case LM_TYPE_BOOL:
        lua_pushboolean(L, *text == 't');
        break;
    case LM_TYPE_INT2:
    case LM_TYPE_INT4:
    case LM_TYPE_INT8:
    case LM_TYPE_OID:
        lua_pushinteger(L, read_integer(text));
        break;
    case LM_TYPE_FLOAT4:
    case LM_TYPE_FLOAT8:
        lua_pushnumber(L, strtod(text, NULL));
        break;
    case LM_TYPE_NUMERIC:
        lmL_push_decimal(L, text, len);
        break;
    case LM_TYPE_BYTEA:
        push_bytes(L, text, len);
        break;
    case LM_TYPE_JSON:
    case LM_TYPE_JSONB:
        return lmL_json_push(L, text, len, err);
    default:
        lua_pushlstring(L, text, len);
    }
    return true;
}
