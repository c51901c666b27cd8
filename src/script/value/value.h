/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_VALUE_VALUE_H
#define LM_SCRIPT_VALUE_VALUE_H

/*
 * Values between PostgreSQL's text form and Lua. Nothing is rounded, cut or
 * guessed; what a type cannot hold is an error.
 *
 *     PostgreSQL             read as            written from
 *     bool                   boolean            boolean
 *     int2, int4, int8, oid  integer            integer within the range
 *     float4, float8         float              number; integers it can hold
 *     numeric                luamig.decimal     decimal, integer, float, string
 *                                               of digits
 *     bytea                  string of bytes    string of bytes, luamig.bytea
 *     json, jsonb            see json.h
 *     arrays                 see array.h
 *     everything else        string             string
 *     NULL                   nil                nil, luamig.NULL
 *
 * Where no type is known (parameters of base_query, start_after), a plain
 * list is an array, luamig.array and luamig.object are JSON, luamig.bytea is
 * bytea, and a string is text.
 */

#include "pg/conn/types.h"

#include <lua.h>

/*
 * Adds the text of the Lua value at index to out, followed by NUL; *is_null
 * for SQL NULL, which adds nothing. Never raises: on failure err says what is
 * wrong with the value, as in "a float cannot be written to type bigint".
 * type->oid 0: no type is known.
 */
bool lm_value_encode(lua_State *L, int index, const struct lm_type *type,
                     struct lm_buf *out, bool *is_null,
                     struct lm_err *err) LM_MUSTCHECK;

/* Pushes a value that was read; text ends with NUL. Pushes nothing on failure,
 * such as a document that no table can hold. Raises only if memory is short.
 * [-0, +1 or nothing, memory] */
bool lmL_push_value(lua_State *L, const struct lm_type *type, const char *text,
                    size_t len, struct lm_err *err) LM_MUSTCHECK;

/* What messages call the value by its kind: "an integer", "a luamig.add". */
const char *lm_value_kind(lua_State *L, int index);

#endif
