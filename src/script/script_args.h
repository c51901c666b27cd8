/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_SCRIPT_ARGS_H
#define LM_SCRIPT_SCRIPT_ARGS_H

/* The arguments that a script is given, on their way from "name=value" to Lua. */

#include "base/err.h"
#include "script/script.h"

#include <lua.h>

/* Has each its form, and is none given twice? LM_ERR_USAGE. */
bool lm_script_check_args(const struct lm_script_options *options,
                          struct lm_err *err) LM_MUSTCHECK;

/* Sets in the table at the top, for luamig.script: args, { name = "value" };
 * hidden, the set of those that nobody could see (options->secret_count); and
 * kept, as args. */
void lmL_set_args(lua_State *L, const struct lm_script_options *options);

/* Adds a line for each argument in the list at the top, which is what
 * luamig.script.args declared: "  --arg tenant=integer (required)". */
void lmL_describe_args(lua_State *L, struct lm_buf *out);

#endif
