/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_FILES_LUA_FILES_H
#define LM_CLI_FILES_LUA_FILES_H

/* The Lua files that are compiled in, written out for other programs: modules
 * for plain busted, definitions for the language server. */

#include "base/err.h"

enum lm_lua_files { LM_LUA_MODULES, LM_LUA_TYPES };

/* Does the folder have the same files as this binary? */
bool lm_lua_files_match(const char *dir, enum lm_lua_files which);
/* Writes them into the folder. */
bool lm_lua_files_put(const char *dir, enum lm_lua_files which,
                      struct lm_err *err) LM_MUSTCHECK;

#endif
