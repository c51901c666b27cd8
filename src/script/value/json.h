/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_VALUE_JSON_H
#define LM_SCRIPT_VALUE_JSON_H

/*
 * JSON documents as Lua values, and back, without loss.
 *
 *     object, array   table, marked as luamig.object or luamig.array
 *     string          string
 *     true, false     boolean
 *     null            luamig.json.null
 *     number          integer where it is written as one of 64 bits; float
 *                     where the shortest text of the float has the same value;
 *                     otherwise luamig.decimal
 *
 * Written are also plain tables (a list or string keys, not empty) and
 * luamig.json texts. Refused in both directions: what PostgreSQL's text cannot
 * hold, and documents nested more deeply than LM_JSON_DEPTH. Refused in
 * reading: duplicate keys. Refused in writing: NaN and infinities, other keys,
 * tables that contain themselves, values that are none of JSON's.
 */

#include "base/json.h"

#include <lua.h>

/* Pushes the value of a document, which ends with NUL at text[len]. Raises for
 * want of memory only. [-0, +1 or nothing, memory] */
bool lmL_json_push(lua_State *L, const char *text, size_t len,
                   struct lm_err *err) LM_MUSTCHECK;

/* Adds the document of the value at index, keys sorted. Never raises. */
bool lm_json_add(lua_State *L, int index, struct lm_buf *out,
                 struct lm_err *err) LM_MUSTCHECK;

#endif
