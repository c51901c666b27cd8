/* SPDX-License-Identifier: MIT */
/* luamig lua: the embedded interpreter, with luamig's modules. */

#include "cli/cli.h"
#include "script/vm/interpreter.h"

static const char help[] = "usage: luamig lua [FILE [ARGUMENTS]]\n"
                           "\n"
                           "Runs a Lua file (\"-\": standard input) in the "
                           "interpreter that runs scripts. The\n"
                           "file can require \"luamig\", \"luamig.mock\" and "
                           "\"cjson\". Without FILE: reads lines\n"
                           "from standard input and prints what they return.\n";

static int
run(int argc, char **argv)
{
    struct lm_err err;
    int code = LM_EXIT_DONE;

    if (!lm_interpreter_run(argc - 1, argv + 1, &err))
        code = lm_cli_fail(&err);
    return lm_cli_finish_output(code);
}

const struct lm_command lm_cmd_lua = {
    "lua", "run Lua in the embedded interpreter", help, run, .words = NULL};
