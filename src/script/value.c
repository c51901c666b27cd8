/* SPDX-License-Identifier: MIT */
/*
 * The value rules of the header. The type of the target decides, and the Lua
 * type must be the one that belongs to it: a string that looks like a number
 * is not one.
 */

#include "script/value.h"

#include "base/text.h"
#include "script/vm.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Up to 2 to the power of these, every integer is a float4 or float8. */
enum { FLOAT4_BITS = 24, FLOAT8_BITS = 53 };

static void
add_text(struct lm_buf *out, const char *text)
{
    lm_buf_add(out, text, strlen(text) + 1);
}

static const char *
describe(lua_State *L, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        return "a boolean";
    case LUA_TNUMBER:
        return lua_isinteger(L, index) ? "an integer" : "a float";
    case LUA_TSTRING:
        return "a string";
    case LUA_TTABLE:
        return "a table";
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
    lm_err_set(err, LM_ERR_FAILED, "%s cannot be written to type %s",
               describe(L, index), type);
    if (hint != NULL)
        lm_err_hint(err, "%s", hint);
    return false;
}

static void
add_integer(struct lm_buf *out, lua_Integer value)
{
    char text[32];

    snprintf(text, sizeof text, "%" PRId64, (int64_t)value);
    add_text(out, text);
}

/* The shortest text that reads back as the same double. */
static void
add_float(struct lm_buf *out, lua_Number value)
{
    char text[40];

    if (isnan(value)) {
        add_text(out, "NaN");
        return;
    }
    if (isinf(value)) {
        add_text(out, value > 0 ? "Infinity" : "-Infinity");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    add_text(out, text);
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

static void
add_bytes(struct lm_buf *out, const char *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";

    lm_buf_puts(out, "\\x");
    for (size_t i = 0; i < len; i++) {
        unsigned char byte = (unsigned char)bytes[i];

        lm_buf_putc(out, digits[byte >> 4]);
        lm_buf_putc(out, digits[byte & 15]);
    }
    lm_buf_putc(out, '\0');
}

static bool
encode_bytea(lua_State *L, int index, const struct lm_type *type,
             struct lm_buf *out, struct lm_err *err)
{
    size_t len;
    const char *bytes;

    if (lua_type(L, index) != LUA_TSTRING)
        return fail_type(L, index, type->name, NULL, err);
    bytes = lua_tolstring(L, index, &len);
    add_bytes(out, bytes, len);
    return true;
}

static bool
encode_integer(lua_State *L, int index, const struct lm_type *type,
               lua_Integer min, lua_Integer max, struct lm_buf *out,
               struct lm_err *err)
{
    lua_Integer value;

    if (!lua_isinteger(L, index)) {
        return fail_type(L, index, type->name,
                         lua_type(L, index) == LUA_TNUMBER
                             ? "Use math.tointeger, // or math.floor to make "
                               "an integer of it."
                             : "Use math.tointeger to make an integer of it.",
                         err);
    }
    value = lua_tointegerx(L, index, NULL);
    if (value < min || value > max) {
        return lm_err_set(err, LM_ERR_FAILED,
                          "%" PRId64 " is out of range for type %s",
                          (int64_t)value, type->name);
    }
    add_integer(out, value);
    return true;
}

static bool
encode_float(lua_State *L, int index, const struct lm_type *type, int bits,
             struct lm_buf *out, struct lm_err *err)
{
    const lua_Integer max_exact = (lua_Integer)1 << bits;
    lua_Integer integer;

    if (lua_type(L, index) != LUA_TNUMBER)
        return fail_type(L, index, type->name, NULL, err);
    if (!lua_isinteger(L, index)) {
        add_float(out, lua_tonumberx(L, index, NULL));
        return true;
    }
    integer = lua_tointegerx(L, index, NULL);
    if (integer > max_exact || integer < -max_exact) {
        return lm_err_set(err, LM_ERR_FAILED,
                          "%" PRId64 " is beyond 2^%d and would be rounded by "
                          "type %s",
                          (int64_t)integer, bits, type->name);
    }
    add_integer(out, integer);
    return true;
}

static bool
encode_numeric(lua_State *L, int index, const struct lm_type *type,
               struct lm_buf *out, struct lm_err *err)
{
    if (lua_type(L, index) == LUA_TSTRING)
        return add_string(L, index, type->name, out, err);
    if (lua_type(L, index) != LUA_TNUMBER)
        return fail_type(L, index, type->name, NULL, err);
    if (lua_isinteger(L, index)) {
        add_integer(out, lua_tointegerx(L, index, NULL));
    } else {
        add_float(out, lua_tonumberx(L, index, NULL));
    }
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

static bool
encode_other(lua_State *L, int index, const struct lm_type *type,
             struct lm_buf *out, struct lm_err *err)
{
    if (lua_type(L, index) == LUA_TSTRING)
        return add_string(L, index, type->name, out, err);
    return fail_type(L, index, type->name,
                     lua_type(L, index) == LUA_TNUMBER
                         ? "Use tostring or string.format to say how it is "
                           "to be written."
                         : NULL,
                     err);
}

static bool
is_null_value(lua_State *L, int index)
{
    bool is_null;

    if (lua_isnil(L, index))
        return true;
    if (lua_type(L, index) != LUA_TTABLE)
        return false;
    index = lua_absindex(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &lm_vm_null_key);
    is_null = lua_rawequal(L, -1, index) != 0;
    lua_pop(L, 1);
    return is_null;
}

bool
lm_value_encode(lua_State *L, int index, const struct lm_type *type,
                struct lm_buf *out, bool *is_null, struct lm_err *err)
{
    *is_null = is_null_value(L, index);
    if (*is_null)
        return true;
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
        return encode_float(L, index, type, FLOAT4_BITS, out, err);
    case LM_TYPE_FLOAT8:
        return encode_float(L, index, type, FLOAT8_BITS, out, err);
    case LM_TYPE_NUMERIC:
        return encode_numeric(L, index, type, out, err);
    case LM_TYPE_BYTEA:
        return encode_bytea(L, index, type, out, err);
    default:
        return encode_other(L, index, type, out, err);
    }
}

bool
lm_value_encode_untyped(lua_State *L, int index, struct lm_buf *out,
                        bool *is_null, struct lm_err *err)
{
    static const struct lm_type any = {0, 0, "parameter"};

    *is_null = is_null_value(L, index);
    if (*is_null)
        return true;
    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        return encode_bool(L, index, &any, out, err);
    case LUA_TNUMBER:
        return encode_numeric(L, index, &any, out, err);
    default:
        return encode_other(L, index, &any, out, err);
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

void
lmL_push_value(lua_State *L, uint32_t type, const char *text, size_t len)
{
    switch (type) {
    case LM_TYPE_BOOL:
        lua_pushboolean(L, *text == 't');
        break;
    case LM_TYPE_INT2:
    case LM_TYPE_INT4:
    case LM_TYPE_INT8:
    case LM_TYPE_OID:
        lua_pushinteger(L, strtoll(text, NULL, 10));
        break;
    case LM_TYPE_FLOAT4:
    case LM_TYPE_FLOAT8:
        lua_pushnumber(L, strtod(text, NULL));
        break;
    case LM_TYPE_BYTEA:
        push_bytes(L, text, len);
        break;
    default:
        lua_pushlstring(L, text, len);
    }
}
