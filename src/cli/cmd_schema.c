/* SPDX-License-Identifier: MIT */
/* luamig schema --lua: tables as specs declare them. */

#include "cli/cli.h"
#include "script/declare.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char help[] =
    "usage: luamig schema --lua TABLE... [--db URL]\n"
    "\n"
    "Prints columns, primary key, NOT NULL and unique constraints of tables as "
    "the\n"
    "declarations that mock.new takes, to be pasted into a spec.\n"
    "\n"
    "  --db URL  the database; \"embedded\" for the private one\n";

enum { OPT_LUA = 256, OPT_DB };

static const struct option long_options[] = {
    {"lua", no_argument, NULL, OPT_LUA},
    {"db", required_argument, NULL, OPT_DB},
    {NULL, 0, NULL, 0}};

static int
print_tables(const char *url, const char *const *tables, int count)
{
    struct lm_buf text = LM_BUF_INIT;
    struct lm_database database;
    struct lm_err err;
    int code = LM_EXIT_DONE;

    if (!lm_database_resolve(&database, url, &err) ||
        !lm_declare_tables(database.conninfo, tables, count, &text, &err)) {
        code = lm_cli_fail(&err);
    } else {
        fputs(lm_buf_text(&text), stdout);
    }
    lm_buf_release(&text);
    lm_database_release(&database);
    return lm_cli_finish_output(code);
}

static int
run(int argc, char **argv)
{
    char *url = NULL;
    bool lua = false;
    int result;
    int code;

    while ((code = lm_cli_getopt(argc, argv, ":", long_options)) != -1) {
        if (code == OPT_LUA) {
            lua = true;
        } else if (code == OPT_DB) {
            free(url);
            url = lm_database_take_url(optarg);
        } else {
            free(url);
            return lm_cli_bad_option(&lm_cmd_schema, code, argv, long_options);
        }
    }
    if (!lua || optind == argc) {
        result = lm_cli_usage(&lm_cmd_schema,
                              "schema takes --lua and the names of tables");
    } else {
        result = print_tables(url, (const char *const *)argv + optind,
                              argc - optind);
    }
    free(url);
    return result;
}

const struct lm_command lm_cmd_schema = {
    "schema", "tables as the specs of scripts declare them", help, run};
