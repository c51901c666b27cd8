/* SPDX-License-Identifier: MIT */
/* luamig test: runs specs with busted. */

#include "base/trust.h"
#include "cli/options.h"
#include "testing/tester.h"

#include <string.h>

static const char help[] =
    "usage: luamig test [--pg] [--schema FILE] [BUSTED'S ARGUMENTS]\n"
    "\n"
    "Runs specs with busted in the interpreter that runs scripts. Specs can "
    "require\n"
    "\"luamig\" and \"luamig.mock\". Without arguments for busted: runs the "
    "specs in\n"
    "spec/.\n"
    "\n"
    "  --pg           make each world of luamig.mock a database of a "
    "temporary\n"
    "                 PostgreSQL, so that the same specs run the real engine\n"
    "  --schema FILE  load this SQL into it first; implies --pg\n"
    "  --             the arguments that follow are busted's\n"
    "\n"
    "Arguments of busted: spec files and folders, -o TAP or junit, "
    "--tags=a,b,\n"
    "--filter=PATTERN, --coverage (needs luacov), --shuffle. A file .busted is "
    "read.\n"
    "Exit code 0: all specs passed, 1: some failed, 4: no server.\n";

/* luamig's own options; getopt does not know busted's. */
static const struct lm_option own_options[] = {
    {.name = "pg", .kind = LM_OPTION_FLAG},
    {.name = "schema", .kind = LM_OPTION_TEXT},
    LM_NO_MORE};

/* Takes our own options, which come first; *argi is where busted's begin. */
static bool
take_options(int argc, char **argv, struct lm_tester_options *options,
             int *argi)
{
    static const char schema[] = "--schema=";
    int i = 1;

    for (; i < argc; i++) {
        if (strcmp(argv[i], "--pg") == 0) {
            options->pg = true;
        } else if (strncmp(argv[i], schema, sizeof schema - 1) == 0) {
            options->schema_file = argv[i] + sizeof schema - 1;
        } else if (strcmp(argv[i], "--schema") != 0) {
            break;
        } else if (i + 1 == argc) {
            lm_cli_usage(&lm_cmd_test, "option \"--schema\" needs a value");
            return false;
        } else {
            options->schema_file = argv[++i];
        }
    }
    options->pg = options->pg || options->schema_file != NULL;
    *argi = i + (i < argc && strcmp(argv[i], "--") == 0);
    return true;
}

/* luamig's options must come before busted's arguments, or busted would get
 * them. */
static bool
check_rest(int argc, char **argv, int argi)
{
    for (int i = argi; i < argc; i++) {
        if (strcmp(argv[i], "--pg") != 0 &&
            strncmp(argv[i], "--schema", strlen("--schema")) != 0)
            continue;
        lm_cli_usage(&lm_cmd_test,
                     "option \"%s\" must come before busted's arguments",
                     argv[i]);
        return false;
    }
    return true;
}

static int
run(int argc, char **argv)
{
    struct lm_tester_options options = {false, NULL};
    struct lm_err err;
    bool passed;
    int argi;

    if (!take_options(argc, argv, &options, &argi) ||
        !check_rest(argc, argv, argi))
        return LM_EXIT_USAGE;
    if (!lm_trust_here(".busted", &err) ||
        !lm_tester_run(&options, argc - argi, argv + argi, &passed, &err))
        return lm_cli_fail(&err);
    return lm_cli_finish_output(passed ? LM_EXIT_DONE : LM_EXIT_FAILED);
}

const struct lm_command lm_cmd_test = {
    "test", "run the specs of scripts, on tables in Lua or on PostgreSQL", help,
    run, .options = own_options};
