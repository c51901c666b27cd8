/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_BIND_BIND_H
#define LM_SCRIPT_BIND_BIND_H

/*
 * The repo as scripts see it: a userdata with methods. Results are tables.
 *
 * Each callback gets a userdata of its own, which is closed when the callback
 * returns. A copy that the script has kept raises an error when it is used.
 */

#include "core/repo/repo.h"

#include <lua.h>

struct lm_page;
struct lm_sites;
struct lm_stretch;

/* Where the metatables of repos, and of run.source, are in the registry. */
#define LM_REPO_TYPE   "luamig.repo"
#define LM_SOURCE_TYPE "luamig.source"

/* A repo as the argument of a callback; closed when the calling C function
 * returns or fails. [-0, +1, memory] */
void lmL_push_repo(lua_State *L, struct lm_repo *repo);
/* The same for run.source, which only reads, beside an open repo. */
void lmL_push_source(lua_State *L, struct lm_repo *repo);

/* The repo that is open in this state, or NULL. */
struct lm_repo *lmL_open_repo_of(lua_State *L);
/* The repo of the userdata at index, if it is run.source and open; or NULL. */
struct lm_repo *lmL_source_at(lua_State *L, int index);

/* How many rows the write of the handle at index has written; it must be
 * answered. -1: not a handle. [-0, +0, memory] */
int64_t lmL_affected_of(lua_State *L, int index);

/* Registers the repo's metatables. sites is the memory of call sites; it must
 * outlive the state. [-0, +0, memory] */
void lmL_open_repo(lua_State *L, struct lm_sites *sites);

/* The rows of a page as a table; see luamig.strict. Raises for a value that
 * Lua cannot hold, naming row and column. [-0, +1, raises] */
void lmL_push_page(lua_State *L, struct lm_repo *repo,
                   const struct lm_page *page);

/* A list of texts: what each row of a page holds. Two texts are equal if all
 * values of the rows have the same text. [-0, +1, memory] */
void lmL_push_contents(lua_State *L, const struct lm_page *page);

/* A stretch of the key as a range: its keys, and where(). Raises for a key that
 * Lua cannot hold. [-0, +1, raises] */
void lmL_push_range(lua_State *L, struct lm_repo *repo,
                    const struct lm_stretch *stretch);

/* The text at index, SQL or a name. Raises if it is not a string, or has a NUL
 * byte, at which C would cut it silently. [-0, +0, raises] */
const char *lmL_check_text(lua_State *L, int index);

#endif
