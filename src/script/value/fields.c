/* SPDX-License-Identifier: MIT */

#include "script/value/fields.h"

#include "base/mem.h"

const char *
lmL_text_field(lua_State *L, int index, const char *name)
{
    const char *text;

    lua_getfield(L, index, name);
    text = lua_tostring(L, -1);
    lua_pop(L, 1); /* the table keeps it alive */
    return text;
}

char *
lmL_copy_field(lua_State *L, int index, const char *name)
{
    const char *text = lmL_text_field(L, index, name);

    return text != NULL ? lm_strdup(text) : NULL;
}

bool
lmL_bool_field(lua_State *L, int index, const char *name)
{
    bool value;

    lua_getfield(L, index, name);
    value = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
    return value;
}

int64_t
lmL_integer_field(lua_State *L, int index, const char *name, int64_t usual)
{
    int is_integer;
    int64_t value;

    lua_getfield(L, index, name);
    value = lua_tointegerx(L, -1, &is_integer);
    lua_pop(L, 1);
    return is_integer ? value : usual;
}

void
lmL_set_text(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

void
lmL_set_integer(lua_State *L, const char *name, int64_t value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

void
lmL_set_bool(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

void
lmL_require(lua_State *L, const char *module)
{
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    lua_call(L, 1, 1);
}

void
lmL_require_field(lua_State *L, const char *module, const char *name)
{
    lmL_require(L, module);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}
