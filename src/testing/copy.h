/* SPDX-License-Identifier: MIT */
#ifndef LM_TESTING_COPY_H
#define LM_TESTING_COPY_H

/* Values from one Lua state to another. */

#include <lua.h>

/*
 * Pushes onto "to" a copy of the value at an index of "from". Marks
 * (script/value/marks.h) stay marks, other metatables are dropped, and a value
 * that is not data becomes a string that says so. Never raises in "from",
 * whose stack is unchanged, unless "to" raises. [-0, +1, raises] of "to"
 */
void lmL_copy_value(lua_State *to, lua_State *from, int index);

#endif
