/* SPDX-License-Identifier: MIT */
#ifndef LM_TESTING_WORLD_H
#define LM_TESTING_WORLD_H

/*
 * The C half of luamig.pg_world: throw-away databases, and runs of scripts in
 * them by the engine itself, in this process.
 *
 * For every moment, a run calls the function watch of the Lua half with one
 * table: event ("begin", "page", "rows", "call", "returned", "commit",
 * "committed", "throttled", "log"), batch, attempt, and the event's own
 * fields. Calls have repo, which reads what the script's transaction has. The result of watch may make the run fail at this moment:
 *
 *     nil                    nothing happens
 *     { kill = true }        the run vanishes, and its connection with it
 *     { breaks = true }      the server ends the connection
 *     { sql = statement }    runs the statement, which fails
 */

#include "pg/server/scratch.h"
#include "script/bind/sites.h"

#include <lua.h>

/* Makes require "luamig.pg_world.server" work: connect() takes a fresh
 * database, and databases have a method run(path, options, watch). [-0, +0,
 * memory] */
void lmL_open_worlds(lua_State *L, struct lm_scratch *scratch,
                     struct lm_sites *sites);

#endif
