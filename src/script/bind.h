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
#include "script/params.h"
#include "script/sites.h"

#include <lauxlib.h>
#include <lua.h>

struct lm_page;

/* Where the metatable of repos is in the registry. */
#define LM_REPO_TYPE "luamig.repo"

/* A repo as the argument of a callback; closed when the calling C function
 * returns or fails. [-0, +1, memory] */
void lmL_push_repo(lua_State *L, struct lm_repo *repo);

/* The repo that is open in this state, or NULL. */
struct lm_repo *lmL_open_repo_of(lua_State *L);

/* How many rows a write has touched whose handle is at index, and that has been
 * answered; -1: there is no handle. [-0, +0, memory] */
int64_t lmL_affected_of(lua_State *L, int index);

/* Registers the repo's metatables. sites is the memory of call sites; it must
 * outlive the state. [-0, +0, memory] */
void lmL_open_repo(lua_State *L, struct lm_sites *sites);

/* The rows of a page as a table; see luamig.strict. Raises for a value that
 * Lua cannot hold, naming row and column. [-0, +1, raises] */
void lmL_push_page(lua_State *L, struct lm_repo *repo,
                   const struct lm_page *page);

/* -- for bind_write.c -- */

/* What the methods of one state share. It is their first upvalue. */
struct lm_binding {
    struct lm_repo *repo; /* that is open, or NULL */
    uint64_t turn;        /* how often one was opened */
    struct lm_sites *sites;
    struct lm_params params; /* of the call in progress */
};

/* A call in progress: who called, and what may be said about it. */
struct lm_call {
    struct lm_binding *binding;
    struct lm_repo *repo;
    struct lm_site *site;
    const char *where; /* the site's */
    bool every_row;    /* luamig.ALL was said */
};

/* The repo of a method call; raises when it is closed. */
void lmL_begin_call(lua_State *L, struct lm_call *call);

/* The table that keeps strings alive, in the registry. */
extern const char lm_bind_anchors_key;

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
 * The same for a write, which is posted where possible. *out is the write;
 * when it is not NULL already, the statement is added to it. form (may be NULL)
 * is that of a structured write of one row, its key the last parameters; it
 * must outlive the write.
 */
bool lm_call_write(lua_State *L, struct lm_call *call, const char *sql,
                   int first, int count, struct lm_call_names names,
                   const struct lm_form *form, struct lm_write **out,
                   struct lm_err *err) LM_MUSTCHECK;

/* The same for a shape that may be combined: first ... are its columns. */
bool lm_call_combine(lua_State *L, struct lm_call *call, struct lm_shape *shape,
                     int first, struct lm_call_names names,
                     struct lm_write **out, struct lm_err *err) LM_MUSTCHECK;
/* The same with the parameters that have been encoded. */
bool lm_call_combine_params(struct lm_call *call, struct lm_shape *shape,
                            struct lm_write **out,
                            struct lm_err *err) LM_MUSTCHECK;

/* Notes where an error came from, in the latch as well. */
void lm_call_note(struct lm_call *call, struct lm_err *err);

/* Pushes the handle of a write; write may be NULL, if there was nothing to
 * write. [-0, +1, memory] */
void lmL_push_handle(lua_State *L, const struct lm_call *call,
                     struct lm_write *write);

/* The structured methods. */
extern const luaL_Reg lm_bind_write_methods[];

#endif
