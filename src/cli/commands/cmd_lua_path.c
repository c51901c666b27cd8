/* SPDX-License-Identifier: MIT */
/*
 * luamig lua-path: where plain Lua finds luamig's modules.
 *
 * Those that "cmake --install" has put on disk serve if they are the ones in
 * this binary; else they are written below .luamig of the project, which is
 * luamig's own, so that a spec never runs with the modules of another version.
 */

#include "base/log.h"
#include "base/project.h"
#include "base/show.h"
#include "base/trust.h"
#include "cli/cli.h"
#include "cli/files/lua_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: luamig lua-path\n"
    "\n"
    "Prints a LUA_PATH with which other programs find luamig's modules:\n"
    "\n"
    "  LUA_PATH=\"$(luamig lua-path)\" busted\n"
    "\n"
    "luamig uses the installed modules if they have the version of this "
    "luamig. Else\n"
    "it writes its modules below .luamig/ of the project first. The entries "
    "that\n"
    "LUA_PATH already has follow.\n";

/* Lua 5.4 does not look at LUA_PATH then. */
static void
warn_of_other_variable(void)
{
    if (getenv("LUA_PATH_5_4") != NULL) {
        lm_log(LM_LOG_WARNING, "LUA_PATH_5_4 is set, and Lua 5.4 reads it "
                               "instead of LUA_PATH; set LUA_PATH_5_4");
    }
}

/* The folder that has the modules; freed by the caller. */
static char *
find_modules(struct lm_err *err)
{
    struct lm_buf dir = LM_BUF_INIT;
    char *project;
    bool trusted;

    if (lm_lua_files_match(LUAMIG_LUA_DIR, LM_LUA_MODULES))
        return lm_strdup(LUAMIG_LUA_DIR);
    project = lm_project_root(NULL);
    trusted = lm_trust_root(project, err);
    lm_buf_printf(&dir, "%s/.luamig/lua-" LUAMIG_VERSION, project);
    free(project);
    if (strpbrk(lm_buf_text(&dir), ";?") != NULL) {
        lm_err_set(err, LM_ERR_FAILED,
                   "a LUA_PATH cannot name the folder \"%s\": it has \";\" "
                   "or \"?\" in it",
                   lm_buf_text(&dir));
    } else if (trusted &&
               lm_lua_files_put(lm_buf_text(&dir), LM_LUA_MODULES, err)) {
        return lm_buf_take(&dir);
    }
    lm_buf_release(&dir);
    return NULL;
}

static int
run(int argc, char **argv)
{
    const char *given = getenv("LUA_PATH_5_4");
    struct lm_err err;
    char *dir;

    (void)argv;
    if (argc > 1)
        return lm_cli_usage(&lm_cmd_lua_path, "lua-path takes no arguments");
    dir = find_modules(&err);
    if (dir == NULL)
        return lm_cli_fail(&err);
    warn_of_other_variable();
    if (given == NULL)
        given = getenv("LUA_PATH");
    /* ";;" is where Lua's own path goes. */
    lm_out("%s/?.lua;%s/?/init.lua;%s\n", dir, dir,
           given != NULL && *given != '\0' ? given : ";");
    free(dir);
    return lm_cli_finish_output(LM_EXIT_DONE);
}

const struct lm_command lm_cmd_lua_path = {
    "lua-path", "print a LUA_PATH for plain busted", help, run, .words = ""};
