/* SPDX-License-Identifier: MIT */
/* luamig schema --lua: tables as specs declare them. */

#include "base/show.h"
#include "cli/cli.h"
#include "cli/target/database.h"
#include "script/declare.h"

#include <getopt.h>

static const char help[] =
    "usage: luamig schema TABLE... --lua [OPTIONS]\n"
    "\n"
    "Prints tables as the declarations that mock.new takes, for a spec: "
    "columns,\n"
    "primary key, NOT NULL and unique constraints, and the foreign keys "
    "between the\n"
    "tables.\n"
    "\n" LM_DATABASE_HELP "  --lua                 print Lua\n";

enum { OPT_LUA = 256 };

static const struct option long_options[] = {
    {"lua", no_argument, NULL, OPT_LUA},
    LM_DATABASE_OPTIONS,
    {NULL, 0, NULL, 0}};

static int
print_tables(const struct lm_database_choice *choice, const char *const *tables,
             int count)
{
    struct lm_buf text = LM_BUF_INIT;
    struct lm_buf shown = LM_BUF_INIT;
    struct lm_project project = {.root = NULL};
    struct lm_database database = {.conninfo = NULL};
    struct lm_err err;
    int code = LM_EXIT_DONE;

    if (!lm_project_open(&project, &err) ||
        !lm_database_resolve(&database, &project, choice, NULL, &err) ||
        !lm_declare_tables(database.conninfo, tables, count, &text, &err)) {
        code = lm_cli_fail(&err);
    } else {
        lm_show_add_lua(&shown, lm_buf_text(&text));
        lm_out_own(lm_buf_text(&shown));
    }
    lm_buf_release(&text);
    lm_buf_release(&shown);
    lm_database_release(&database);
    lm_project_release(&project);
    return lm_cli_finish_output(code);
}

static bool
parse_options(int argc, char **argv, struct lm_database_choice *choice)
{
    bool lua = false;
    int code;

    while ((code = lm_cli_getopt(argc, argv, ":", long_options)) != -1) {
        if (code == OPT_LUA) {
            lua = true;
        } else if (!lm_database_option(choice, code)) {
            lm_cli_bad_option(&lm_cmd_schema, code, argv, long_options);
            return false;
        }
    }
    if (lua && optind < argc)
        return true;
    lm_cli_usage(&lm_cmd_schema, "schema takes --lua and the names of tables");
    return false;
}

static int
run(int argc, char **argv)
{
    struct lm_database_choice choice = {NULL, NULL};
    int code = LM_EXIT_USAGE;

    if (parse_options(argc, argv, &choice)) {
        code = print_tables(&choice, (const char *const *)argv + optind,
                            argc - optind);
    }
    lm_database_choice_release(&choice);
    return code;
}

const struct lm_command lm_cmd_schema = {
    "schema",
    "print tables as declarations for specs",
    help,
    run,
    .options = long_options,
    .words = ""};
