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
struct lm_sites;

/* A repo as the argument of a callback; closed when the calling C function
 * returns or fails. [-0, +1, memory] */
void lmL_push_repo(lua_State *L, struct lm_repo *repo);

/* Registers the repo's metatables. sites is the memory of call sites; it must
 * outlive the state. [-0, +0, memory] */
void lmL_open_repo(lua_State *L, struct lm_sites *sites);

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

/* Where the script's struct lm_sites hangs in the registry. */
extern const char lm_bind_sites_key;

/* The repo of a method call; raises when it is closed. */
void lmL_begin_call(lua_State *L, struct lm_call *call);

/* The text at index, SQL or a name. Raises when it is no string, and when it
 * holds a NUL byte, at which C would cut it in silence. [-0, +0, raises] */
const char *lmL_check_text(lua_State *L, int index);

/* How parameter i (from 0) is called in messages: written into text. */
typedef void (*lm_param_namer)(char *text, size_t size, int i, const void *arg);

/* How the parameters of a statement are to be called, and which of them are a
 * key that must match one row. */
struct lm_call_names {
    lm_param_namer namer;
    const void *arg;
};

/*
 * Prepares sql and executes it with the Lua values at first ... first + count
 * - 1, after everything that was posted. Never raises.
 */
bool lm_call_run(lua_State *L, struct lm_call *call, const char *sql, int first,
                 int count, struct lm_call_names names, struct lm_result **out,
                 struct lm_err *err) LM_MUSTCHECK;

/*
 * The same for a write, which is posted where possible. *out is the write,
 * with a reference for the caller's handle; when it is not NULL already, the
 * statement is added to it. key (may be NULL) makes it a keyed
 * write: its columns are the last parameters, what says "update of \"t\"".
 */
struct lm_call_key {
    const char *what;
    const char *table;
    const char *const *columns;
    int count;
    bool may_miss;
};
bool lm_call_write(lua_State *L, struct lm_call *call, const char *sql,
                   int first, int count, struct lm_call_names names,
                   const struct lm_call_key *key, struct lm_write **out,
                   struct lm_err *err) LM_MUSTCHECK;

/* The same for a shape that may be combined: first ... are its columns. */
bool lm_call_combine(lua_State *L, struct lm_call *call, struct lm_shape *shape,
                     int first, struct lm_call_names names,
                     struct lm_write **out, struct lm_err *err) LM_MUSTCHECK;

/* Notes where an error came from, in the latch as well. */
void lm_call_note(struct lm_call *call, struct lm_err *err);

/* An empty handle, made before the write so that nothing can leak.
 * [-0, +1, memory] */
struct lm_handle {
    struct lm_write *write; /* a reference; NULL until it is written */
};
struct lm_handle *lmL_push_handle(lua_State *L);

/* The structured methods, added to the table on the top of the stack. */
void lmL_add_write_methods(lua_State *L);

#endif
