/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_VALUE_H
#define LM_SCRIPT_VALUE_H

/*
 * Values between PostgreSQL's text form and Lua. Nothing is rounded, cut or
 * guessed; what a type cannot hold is an error.
 *
 *     PostgreSQL             read as            written from
 *     bool                   boolean            boolean
 *     int2, int4, int8, oid  integer            integer within the range
 *     float4                 float              number; integers up to 2^24
 *     float8                 float              number; integers up to 2^53
 *     numeric                string of digits   string, integer, float
 *     bytea                  string of bytes    string of bytes
 *     everything else        string             string
 *     NULL                   nil                nil, luamig.NULL
 */

#include "pg/types.h"

#include <lua.h>

/*
 * Adds the text of the Lua value at index to out, followed by NUL; *is_null
 * for SQL NULL, which adds nothing. Never raises: on failure err says what is
 * wrong with the value, as in "a float cannot be written to type bigint".
 */
bool lm_value_encode(lua_State *L, int index, const struct lm_type *type,
                     struct lm_buf *out, bool *is_null,
                     struct lm_err *err) LM_MUSTCHECK;

/* The same where no type is known: base query parameters and keys. */
bool lm_value_encode_untyped(lua_State *L, int index, struct lm_buf *out,
                             bool *is_null, struct lm_err *err) LM_MUSTCHECK;

/* Pushes a value that was read. [-0, +1, memory] */
void lmL_push_value(lua_State *L, uint32_t type, const char *text, size_t len);

#endif
