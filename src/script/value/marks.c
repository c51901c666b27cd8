/* SPDX-License-Identifier: MIT */
/*
 * Marked tables. A mark is the identity of a metatable; the registry maps
 * metatables to numbers, and numbers to metatables and sentinels.
 */

#include "script/value/marks.h"

#include "script/value/fields.h"

#include <lauxlib.h>

/* Registry keys, by address. */
static const char kinds_key;
static const char text_key;
static const char metatable_keys[LM_MARK_COUNT];
static const char sentinel_keys[LM_MARK_COUNT];

/* Keeps the value at field of the table at index in the registry. */
static void
keep_field(lua_State *L, int index, const char *field, const void *key)
{
    lua_getfield(L, index, field);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

static void
keep_sentinels(lua_State *L)
{
    lmL_require(L, "luamig");
    keep_field(L, -1, "NULL", &sentinel_keys[LM_MARK_NULL]);
    keep_field(L, -1, "ALL", &sentinel_keys[LM_MARK_ALL]);
    lua_getfield(L, -1, "json");
    keep_field(L, -1, "null", &sentinel_keys[LM_MARK_JSON_NULL]);
    lua_pop(L, 2);
}

void
lmL_open_marks(lua_State *L)
{
    lmL_require(L, "luamig.marks");
    keep_field(L, -1, "TEXT", &text_key);
    lua_getfield(L, -1, "metatables");
    keep_field(L, -1, "array", &metatable_keys[LM_MARK_ARRAY]);
    keep_field(L, -1, "object", &metatable_keys[LM_MARK_OBJECT]);
    keep_field(L, -1, "decimal", &metatable_keys[LM_MARK_DECIMAL]);
    keep_field(L, -1, "json", &metatable_keys[LM_MARK_JSON]);
    keep_field(L, -1, "bytea", &metatable_keys[LM_MARK_BYTEA]);
    keep_field(L, -1, "column", &metatable_keys[LM_MARK_COLUMN]);
    keep_field(L, -1, "add", &metatable_keys[LM_MARK_ADD]);
    lua_pop(L, 1);
    keep_field(L, -1, "kinds", &kinds_key);
    lua_pop(L, 1);
    keep_sentinels(L);
}

enum lm_mark
lm_mark_of(lua_State *L, int index)
{
    lua_Integer kind;

    if (lua_type(L, index) != LUA_TTABLE || !lua_getmetatable(L, index))
        return LM_MARK_NONE;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &kinds_key);
    lua_insert(L, -2);
    lua_rawget(L, -2);
    kind = lua_tointegerx(L, -1, NULL); /* 0 when it is nil */
    lua_pop(L, 2);
    return (enum lm_mark)kind;
}

void
lm_mark_push(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &text_key);
    lua_rawget(L, index);
}

const char *
lm_mark_text(lua_State *L, int index, size_t *len)
{
    const char *text = "";

    *len = 0;
    lm_mark_push(L, index);
    if (lua_type(L, -1) == LUA_TSTRING)
        text = lua_tolstring(L, -1, len);
    lua_pop(L, 1); /* the table keeps it alive */
    return text;
}

bool
lm_mark_is_list(lua_State *L, int index, lua_Integer *length)
{
    lua_Integer count = 0;

    index = lua_absindex(L, index);
    *length = (lua_Integer)lua_rawlen(L, index);
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_Integer key;

        lua_pop(L, 1);
        key = lua_isinteger(L, -1) ? lua_tointegerx(L, -1, NULL) : 0;
        if (key < 1 || key > *length) {
            lua_pop(L, 1);
            return false;
        }
        count++;
    }
    return count == *length;
}

void
lmL_wrap_mark(lua_State *L, enum lm_mark mark)
{
    lua_createtable(L, 0, 1);
    lua_insert(L, -2);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &text_key);
    lua_insert(L, -2);
    lua_rawset(L, -3);
    lmL_set_mark(L, mark);
}

void
lmL_push_mark(lua_State *L, enum lm_mark mark, const char *text, size_t len)
{
    lua_pushlstring(L, text, len);
    lmL_wrap_mark(L, mark);
}

void
lmL_push_decimal(lua_State *L, const char *text, size_t len)
{
    lmL_push_mark(L, LM_MARK_DECIMAL, text, len);
}

void
lmL_push_sentinel(lua_State *L, enum lm_mark mark)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &sentinel_keys[mark]);
}

void
lmL_set_mark(lua_State *L, enum lm_mark mark)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &metatable_keys[mark]);
    lua_setmetatable(L, -2);
}
