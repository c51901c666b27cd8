/* SPDX-License-Identifier: MIT */
/* luamig types: the definitions for the Lua language server. */

#include "base/show.h"
#include "cli/cli.h"
#include "cli/files/lua_files.h"
#include "script/vm/embedded.h"

static const char help[] = "usage: luamig types [DIR]\n"
                           "\n"
                           "Prints type definitions (LuaCATS) for the Lua "
                           "language server: of all that\n"
                           "scripts and specs use. With DIR: writes them as "
                           "files into that folder; then\n"
                           "add the folder to workspace.library of "
                           ".luarc.json. \"luamig init\" does both.\n";

/* Each file in a block of its own, so that the whole is Lua as well. */
static void
print_all(void)
{
    for (size_t i = 0; i < lm_embedded_type_count; i++) {
        const struct lm_embedded *file = &lm_embedded_types[i];

        lm_out("do -- %s\n", file->chunk + 1);
        lm_out_own(file->source);
        lm_out_own("end\n");
    }
}

static int
run(int argc, char **argv)
{
    struct lm_err err;
    int code = LM_EXIT_DONE;

    if (argc > 2 || (argc == 2 && (*argv[1] == '-' || *argv[1] == '\0')))
        return lm_cli_usage(&lm_cmd_types, "types takes one folder at most");
    if (argc == 1) {
        print_all();
    } else if (!lm_lua_files_put(argv[1], LM_LUA_TYPES, &err)) {
        code = lm_cli_fail(&err);
    }
    return lm_cli_finish_output(code);
}

const struct lm_command lm_cmd_types = {
    "types", "type definitions for the Lua language server", help, run,
    .words = NULL};
