/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_BIND_H
#define LM_SCRIPT_BIND_H

/*
 * The repo as scripts see it: a userdata with methods, and results as tables.
 *
 * Each callback gets a userdata of its own, which is closed when the callback
 * returns; a copy that the script has kept raises when it is used.
 *
 * Within a method, everything that belongs to C is acquired after the last Lua
 * call that may raise, or sits in a userdata with __gc and __close.
 */

#include "core/repo.h"

#include <lua.h>

struct lm_page;

/* A repo as the argument of a callback; closed when the calling C function
 * returns or fails. [-0, +1, memory] */
void lmL_push_repo(lua_State *L, struct lm_repo *repo);

/* Registers the repo's metatables. [-0, +0, memory] */
void lmL_open_repo(lua_State *L);

/* The rows of a page as a table; see luamig.strict. Raises for a value that
 * Lua cannot hold, naming row and column. [-0, +1, raises] */
void lmL_push_page(lua_State *L, struct lm_repo *repo,
                   const struct lm_page *page);

/* -- for bind_write.c -- */

/* A call in progress: who called, and what may be said about it. */
struct lm_call {
    struct lm_repo *repo;
    char where[256];
};

/* The repo of a method call; raises when it is closed. */
void lmL_begin_call(lua_State *L, struct lm_call *call);

/* The text at index, SQL or a name. Raises when it is no string, and when it
 * holds a NUL byte, at which C would cut it in silence. [-0, +0, raises] */
const char *lmL_check_text(lua_State *L, int index);

/* How parameter i (from 0) is called in messages: written into text. */
typedef void (*lm_param_namer)(char *text, size_t size, int i, const void *arg);

/*
 * Prepares sql and executes it with the Lua values at first ... first + count
 * - 1. Never raises. *out may be NULL when the result does not matter;
 * *affected and keys (the encoded texts, joined for messages) likewise.
 */
bool lm_call_run(lua_State *L, struct lm_call *call, const char *sql, int first,
                 int count, lm_param_namer namer, const void *arg,
                 struct lm_result **out, int64_t *affected,
                 struct lm_err *err) LM_MUSTCHECK;

/* Notes where an error came from, in the latch as well. */
void lm_call_note(struct lm_call *call, struct lm_err *err);

/* A handle whose .affected is known. [-0, +1, memory] */
void lmL_push_handle(lua_State *L, int64_t affected);

/* The structured methods, added to the table on the top of the stack. */
void lmL_add_write_methods(lua_State *L);

#endif
