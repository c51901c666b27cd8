/* SPDX-License-Identifier: MIT */
/* luamig help and luamig version. */

#include "cli/cli.h"

#include "base/show.h"

static const char intro[] =
    "luamig runs data migrations on live PostgreSQL databases: batches of "
    "rows,\n"
    "each handled by a Lua script inside one transaction, exactly once.\n"
    "\n"
    "usage: luamig COMMAND [ARGUMENTS]\n"
    "\n";

static const char outro[] =
    "\n"
    "\"luamig help COMMAND\" explains a command.\n"
    "\n"
    "luamig uses the database of --db URL or --repo NAME. Without these "
    "options, it\n"
    "uses the first of: $LUAMIG_DATABASE_URL, repo \"default\" of luamig.lua,\n"
    "$DATABASE_URL, libpq's PG* variables. luamig also reads the file .env of "
    "the\n"
    "project. \"luamig check\" shows which database that is.\n"
    "\"--db embedded\" is a private PostgreSQL below .luamig/.\n"
    "\n"
    "Exit codes: 0 done, 1 failed, 2 usage, 3 script invalid, 4 database\n"
    "unreachable or refused, 5 stopped (can be resumed), 6 already running or "
    "taken\n"
    "over, 7 done, with failed rows, 8 cancelled, 70 internal error.\n";

static int
run_help(int argc, char **argv)
{
    if (argc > 2)
        return lm_cli_usage(&lm_cmd_help, "help takes one command at most");
    if (argc == 2) {
        const struct lm_command *command = lm_command_find(argv[1]);

        if (command == NULL)
            return lm_cli_usage(NULL, "unknown command \"%s\"", argv[1]);
        return lm_cli_help(command);
    }
    lm_out_own(intro);
    for (size_t i = 0; i < lm_command_count; i++)
        lm_out("  %-10s  %s\n", lm_commands[i]->name, lm_commands[i]->summary);
    lm_out_own(outro);
    return lm_cli_finish_output(LM_EXIT_DONE);
}

static int
run_version(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return lm_cli_usage(&lm_cmd_version, "version takes no arguments");
    lm_out_own("luamig " LUAMIG_VERSION "\n");
    return lm_cli_finish_output(LM_EXIT_DONE);
}

const struct lm_command lm_cmd_help = {
    "help", "list the commands, or explain one",
    "usage: luamig help [COMMAND]\n", run_help, .words = ""};

const struct lm_command lm_cmd_version = {"version", "print the version",
                                          "usage: luamig version\n",
                                          run_version, .words = ""};
