/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_DATABASE_H
#define LM_SCRIPT_DATABASE_H

/*
 * A database as Lua modules of luamig see it: a userdata with the methods
 *
 *     script(sql)              runs several statements, DDL perhaps
 *     transact(fn, timezone)   calls fn(repo) in a transaction of its own, and
 *                              returns what it returned
 *     close()
 *
 * The repo is the one that scripts get, so values are encoded and read by the
 * same rules. Errors are raised as error objects.
 */

#include "base/err.h"

#include <lua.h>

struct lm_conn;

/* What is called, with arg, when the database is closed. */
typedef void (*lm_database_closed)(void *arg, const char *conninfo);

/* Makes databases known to a state: once, before the others. sites is the
 * memory of call sites (script/bind/sites.h) and must outlive the state.
 * [-0, +0, memory] */
struct lm_sites;
void lmL_open_databases(lua_State *L, struct lm_sites *sites);

/* Connects. closed may be NULL. [-0, +1, raises] */
void lmL_push_database(lua_State *L, const char *conninfo,
                       lm_database_closed closed, void *arg);

/* Of the database at index; raise when it is none, or closed. */
struct lm_conn *lmL_database_conn(lua_State *L, int index);
const char *lmL_database_conninfo(lua_State *L, int index);

/* Adds a method to databases. [-0, +0, memory] */
void lmL_add_database_method(lua_State *L, const char *name,
                             lua_CFunction method, void *arg);

#endif
