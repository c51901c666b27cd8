/* SPDX-License-Identifier: MIT */
/* luamig check: which database is meant, and how it is reached. */

#include "cli/check_db.h"
#include "cli/cli.h"

#include <getopt.h>
#include <string.h>

static const char help[] =
    "usage: luamig check [OPTIONS]\n"
    "\n"
    "Shows which database luamig would use here, what has named it, and what "
    "it finds\n"
    "there. It reads, and changes nothing. No password is shown.\n"
    "\n" LM_DATABASE_HELP "  --json                as JSON\n";

static const struct option long_options[] = {
    {"json", no_argument, NULL, 'j'}, LM_DATABASE_OPTIONS, {NULL, 0, NULL, 0}};

/* A last --db without a value asks for the database that is meant anyway. */
static bool
is_last_db(int code, int argc, char **argv)
{
    return code == ':' && optind == argc && strcmp(argv[argc - 1], "--db") == 0;
}

static bool
parse_options(int argc, char **argv, struct lm_database_choice *choice,
              bool *json)
{
    int code;

    while ((code = lm_cli_getopt(argc, argv, ":", long_options)) != -1) {
        if (code == 'j') {
            *json = true;
        } else if (!lm_database_option(choice, code) &&
                   !is_last_db(code, argc, argv)) {
            lm_cli_bad_option(&lm_cmd_check, code, argv, long_options);
            return false;
        }
    }
    if (optind == argc)
        return true;
    lm_cli_usage(&lm_cmd_check, "check takes no script");
    return false;
}

static int
run(int argc, char **argv)
{
    struct lm_database_choice choice = {NULL, NULL};
    bool json = false;
    int code = LM_EXIT_USAGE;

    if (parse_options(argc, argv, &choice, &json))
        code = lm_check_database(&choice, json);
    lm_database_choice_release(&choice);
    return code;
}

const struct lm_command lm_cmd_check = {
    "check", "which database is meant, and how it is reached", help, run,
    .options = long_options};
