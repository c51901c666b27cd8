/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_VALUE_ARRAY_H
#define LM_SCRIPT_VALUE_ARRAY_H

/*
 * PostgreSQL's arrays as Lua tables, nested for more dimensions. luamig.NULL
 * is a NULL element; elements follow the rules of their type.
 *
 * A plain list is a dimension, also if the elements are JSON: a JSON array as
 * an element is a luamig.array. Elements that are arrays themselves (only a
 * domain makes them possible) are texts. Refused: tables that are not
 * rectangular, more than six dimensions, and lower bounds other than 1, which
 * a Lua table cannot keep.
 */

#include "pg/conn/types.h"

#include <lua.h>

/* Pushes the table of an array's text. Raises for want of memory only.
 * [-0, +1 or nothing, memory] */
bool lmL_array_push(lua_State *L, const struct lm_type *type, const char *text,
                    size_t len, struct lm_err *err) LM_MUSTCHECK;

/* Adds the text of the table at index, without NUL. type->oid 0: an array of
 * unknown type. Never raises. */
bool lm_array_add(lua_State *L, int index, const struct lm_type *type,
                  struct lm_buf *out, struct lm_err *err) LM_MUSTCHECK;

#endif
