/* SPDX-License-Identifier: MIT */

#include "testing/copy.h"

#include "script/value/marks.h"

#include <lauxlib.h>

enum { SLOTS = 6, MAX_DEPTH = 180 };

static void copy(lua_State *to, lua_State *from, int index, int depth);

static void
copy_fields(lua_State *to, lua_State *from, int index, int depth)
{
    lua_newtable(to);
    lua_pushnil(from);
    while (lua_next(from, index) != 0) {
        copy(to, from, lua_gettop(from) - 1, depth);
        copy(to, from, lua_gettop(from), depth);
        lua_rawset(to, -3);
        lua_pop(from, 1);
    }
}

static void
copy_table(lua_State *to, lua_State *from, int index, int depth)
{
    enum lm_mark mark = lm_mark_of(from, index);
    const char *text;
    size_t len;

    switch (mark) {
    case LM_MARK_NULL:
    case LM_MARK_ALL:
    case LM_MARK_JSON_NULL:
        lmL_push_sentinel(to, mark);
        return;
    case LM_MARK_JSON:
    case LM_MARK_BYTEA:
    case LM_MARK_DECIMAL:
    case LM_MARK_COLUMN:
        text = lm_mark_text(from, index, &len);
        lmL_push_mark(to, mark, text, len);
        return;
    case LM_MARK_ADD:
        lm_mark_push(from, index);
        copy(to, from, lua_gettop(from), depth);
        lua_pop(from, 1);
        lmL_wrap_mark(to, mark);
        return;
    case LM_MARK_ARRAY:
    case LM_MARK_OBJECT:
        copy_fields(to, from, index, depth);
        lmL_set_mark(to, mark);
        return;
    case LM_MARK_NONE:
    case LM_MARK_COUNT:
        break;
    }
    copy_fields(to, from, index, depth);
}

static void
copy_string(lua_State *to, lua_State *from, int index)
{
    size_t len;
    const char *text = lua_tolstring(from, index, &len);

    lua_pushlstring(to, text, len);
}

static void
copy(lua_State *to, lua_State *from, int index, int depth)
{
    int type = lua_type(from, index);

    if (depth == MAX_DEPTH || lua_checkstack(from, SLOTS) == 0)
        luaL_error(to, "the value is nested too deeply to be copied");
    luaL_checkstack(to, SLOTS, "the value is nested too deeply to be copied");
    if (type == LUA_TNIL) {
        lua_pushnil(to);
    } else if (type == LUA_TBOOLEAN) {
        lua_pushboolean(to, lua_toboolean(from, index));
    } else if (type == LUA_TNUMBER && lua_isinteger(from, index)) {
        lua_pushinteger(to, lua_tointegerx(from, index, NULL));
    } else if (type == LUA_TNUMBER) {
        lua_pushnumber(to, lua_tonumberx(from, index, NULL));
    } else if (type == LUA_TSTRING) {
        copy_string(to, from, index);
    } else if (type == LUA_TTABLE) {
        copy_table(to, from, index, depth + 1);
    } else {
        lua_pushfstring(to, "(a %s)", lua_typename(from, type));
    }
}

void
lmL_copy_value(lua_State *to, lua_State *from, int index)
{
    copy(to, from, lua_absindex(from, index), 0);
}
