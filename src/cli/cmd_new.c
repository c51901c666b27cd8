/* SPDX-License-Identifier: MIT */
/* luamig new: a script and its spec to start from. Never overwrites, and
 * writes nothing when one of the two is there. */

#include "base/log.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "core/relation.h"
#include "pg/sql.h"
#include "script/scaffold.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] =
    "usage: luamig new NAME [OPTIONS]\n"
    "\n"
    "Writes scripts/NAME.lua and spec/NAME_spec.lua, below the working "
    "directory,\n"
    "unless they exist. The script changes nothing until you say what; its "
    "spec\n"
    "passes. NAME may have folders: billing/close_orders.\n"
    "\n"
    "  --table TABLE         begin with this table: its columns and its key\n"
    "  --db URL              where it is; \"embedded\" for the private "
    "database\n"
    "  --one-shot            one transaction instead of batches\n";

enum option_code { OPT_TABLE = 256, OPT_DB, OPT_ONE_SHOT };

static const struct option long_options[] = {
    {"table", required_argument, NULL, OPT_TABLE},
    {"db", required_argument, NULL, OPT_DB},
    {"one-shot", no_argument, NULL, OPT_ONE_SHOT},
    {NULL, 0, NULL, 0}};

struct new_options {
    const char *name;
    const char *table;
    struct lm_buf sql_table;
    char *url; /* owned */
    bool one_shot;
};

/* -- the name ---------------------------------------------------------- */

static bool
is_good_char(char c)
{
    return isalnum((unsigned char)c) || (c & 0x80) != 0 || c == '_' ||
           c == '-' || c == '.' || c == '/';
}

/* Does it make a path below scripts/ that no shell and no file system minds? */
static bool
is_good_name(const char *name)
{
    char before = '/';

    if (*name == '\0' || strlen(name) > 200)
        return false;
    for (; *name != '\0'; before = *name++) {
        if (!is_good_char(*name) ||
            (before == '/' && strchr("/.-", *name) != NULL))
            return false;
    }
    return before != '/';
}

/* The name in "scripts/name.lua", as the shell completes it, or in "name". */
static char *
bare_name(const char *given)
{
    size_t len;

    if (strncmp(given, "scripts/", strlen("scripts/")) == 0)
        given += strlen("scripts/");
    len = strlen(given);
    if (len > 4 && strcmp(given + len - 4, ".lua") == 0)
        len -= 4;
    return lm_strndup(given, len);
}

/* -- the table --------------------------------------------------------- */

static bool
read_from(const char *conninfo, const char *table, char **facts_json,
          bool *connected, struct lm_err *err)
{
    struct lm_conn_options how = {.application_name = "luamig: new",
                                  .interruptible = true};
    struct lm_conn *conn = NULL;
    bool ok;

    *connected = lm_conn_open(&conn, conninfo, &how, err);
    ok = *connected && lm_relation_read(conn, table, facts_json, err);
    lm_conn_close(conn);
    return ok;
}

/* What the catalog says of the table. Without a database it is left NULL, and
 * said so: the plain script is better than none. */
static bool
read_table(const struct new_options *options, char **facts_json,
           struct lm_err *err)
{
    struct lm_database database;
    bool connected = false;
    bool ok = lm_database_resolve(&database, options->url, err) &&
              read_from(database.conninfo, options->table, facts_json,
                        &connected, err);

    lm_database_release(&database);
    if (ok || connected || err->kind == LM_ERR_INTERRUPT)
        return ok;
    lm_err_prefix(err, "could not look at table \"%s\"", options->table);
    lm_log_err(LM_LOG_WARNING, err);
    lm_log(LM_LOG_INFO, "its columns are made up in the script and the spec");
    return true;
}

/* -- the files --------------------------------------------------------- */

static bool
fail_exists(const char *path, struct lm_err *err)
{
    return lm_err_set(err, LM_ERR_FAILED,
                      "\"%s\" exists, nothing is overwritten", path);
}

/* So that both files are made or none. */
static bool
check_free(const char *path, struct lm_err *err)
{
    struct stat found;

    return lstat(path, &found) != 0 || fail_exists(path, err);
}

static bool
write_files(const struct lm_scaffold *scaffold, struct lm_err *err)
{
    for (int i = 0; i < scaffold->count; i++) {
        const struct lm_scaffold_file *file = &scaffold->files[i];
        bool created = false;

        if (!lm_files_create(file->path, file->text, strlen(file->text),
                             &created, err) ||
            (!created && !fail_exists(file->path, err)))
            return false;
        printf("created %s\n", file->path);
    }
    return true;
}

static bool
make(const struct new_options *options, struct lm_scaffold_request *request,
     struct lm_err *err)
{
    struct lm_scaffold scaffold = {NULL, 0};
    char *facts_json = NULL;
    bool ok;

    if (!check_free(request->script_path, err) ||
        !check_free(request->spec_path, err))
        return false;
    ok = options->table == NULL || read_table(options, &facts_json, err);
    request->facts_json = facts_json;
    ok = ok && lm_scaffold_migration(request, &scaffold, err) &&
         write_files(&scaffold, err);
    lm_scaffold_release(&scaffold);
    free(facts_json);
    return ok;
}

static bool
make_named(const struct new_options *options, struct lm_err *err)
{
    char *name = bare_name(options->name);
    struct lm_buf script = LM_BUF_INIT;
    struct lm_buf spec = LM_BUF_INIT;
    struct lm_scaffold_request request = {
        .name = name, .table = options->table, .one_shot = options->one_shot};
    bool ok;

    lm_buf_printf(&script, "scripts/%s.lua", name);
    lm_buf_printf(&spec, "spec/%s_spec.lua", name);
    request.script_path = lm_buf_text(&script);
    request.spec_path = lm_buf_text(&spec);
    if (options->table != NULL)
        request.sql_table = lm_buf_text(&options->sql_table);
    ok = make(options, &request, err);
    lm_buf_release(&script);
    lm_buf_release(&spec);
    free(name);
    return ok;
}

/* -- the command ------------------------------------------------------- */

static bool
check_options(struct new_options *options)
{
    char *name = bare_name(options->name);
    bool ok = is_good_name(name);

    free(name);
    if (!ok) {
        lm_cli_usage(&lm_cmd_new,
                     "a name has letters, digits, \"_\", \"-\" and \".\", and "
                     "folders before \"/\", not \"%s\"",
                     options->name);
    } else if (options->url != NULL && options->table == NULL) {
        ok = false;
        lm_cli_usage(&lm_cmd_new, "--db is where --table is read");
    } else if (options->table != NULL &&
               !lm_sql_add_table(&options->sql_table, options->table)) {
        ok = false;
        lm_cli_usage(&lm_cmd_new,
                     "--table takes a name such as users or public.users, not "
                     "\"%s\"",
                     options->table);
    }
    return ok;
}

static bool
parse_options(int argc, char **argv, struct new_options *options)
{
    int code;

    while ((code = lm_cli_getopt(argc, argv, ":", long_options)) != -1) {
        if (code == OPT_TABLE) {
            options->table = optarg;
        } else if (code == OPT_DB) {
            free(options->url);
            options->url = lm_database_take_url(optarg);
        } else if (code == OPT_ONE_SHOT) {
            options->one_shot = true;
        } else {
            lm_cli_bad_option(&lm_cmd_new, code, argv, long_options);
            return false;
        }
    }
    if (optind + 1 != argc) {
        lm_cli_usage(&lm_cmd_new, "new takes one name");
        return false;
    }
    options->name = argv[optind];
    return check_options(options);
}

static int
run(int argc, char **argv)
{
    struct new_options options = {.sql_table = LM_BUF_INIT};
    struct lm_err err;
    int code = LM_EXIT_USAGE;

    if (parse_options(argc, argv, &options)) {
        code = make_named(&options, &err) ? LM_EXIT_DONE : lm_cli_fail(&err);
        code = lm_cli_finish_output(code);
    }
    lm_buf_release(&options.sql_table);
    free(options.url);
    return code;
}

const struct lm_command lm_cmd_new = {"new",
                                      "a script and its spec to start from",
                                      help,
                                      run,
                                      .options = long_options,
                                      .words = ""};
