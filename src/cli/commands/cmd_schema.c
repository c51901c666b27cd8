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

struct schema_options {
    struct lm_database_choice choice;
    bool lua;
};

static const struct lm_option option_table[] = {
    LM_FLAG("lua", struct schema_options, lua),
    LM_DATABASE_OPTIONS(offsetof(struct schema_options, choice)), LM_NO_MORE};

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

static int
run(int argc, char **argv)
{
    struct schema_options options = {.lua = false};
    int code = LM_EXIT_USAGE;

    if (lm_cli_parse(&lm_cmd_schema, argc, argv, &options)) {
        if (options.lua && optind < argc) {
            code =
                print_tables(&options.choice,
                             (const char *const *)argv + optind, argc - optind);
        } else {
            lm_cli_usage(&lm_cmd_schema,
                         "schema takes --lua and the names of tables");
        }
    }
    lm_database_choice_release(&options.choice);
    return code;
}

const struct lm_command lm_cmd_schema = {
    "schema",
    "print tables as declarations for specs",
    help,
    run,
    .options = option_table,
    .words = ""};
