/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_VALUE_FIELDS_H
#define LM_SCRIPT_VALUE_FIELDS_H

/* Fields of Lua tables, as values of C. All are [-0, +0, raises], but for what
 * pushes. */

#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

/* A text of the table at index; NULL when it is nil. The table keeps it. */
const char *lmL_text_field(lua_State *L, int index, const char *name);
/* A copy of it, to be freed. */
char *lmL_copy_field(lua_State *L, int index, const char *name);
bool lmL_bool_field(lua_State *L, int index, const char *name);
/* Another value than an integer counts as the usual one. */
int64_t lmL_integer_field(lua_State *L, int index, const char *name,
                          int64_t usual);

/* Set a field of the table at the top; a text that is NULL is nil. */
void lmL_set_text(lua_State *L, const char *name, const char *text);
void lmL_set_integer(lua_State *L, const char *name, int64_t value);
void lmL_set_bool(lua_State *L, const char *name, bool value);

/* Pushes a module, or a field of it. [-0, +1, raises] */
void lmL_require(lua_State *L, const char *module);
void lmL_require_field(lua_State *L, const char *module, const char *name);

#endif
