/* SPDX-License-Identifier: MIT */
/* luamig new: a script and its spec to start from. Never overwrites, and
 * writes nothing when one of the two is there. */

#include "base/log.h"
#include "base/show.h"
#include "cli/cli.h"
#include "cli/files/files.h"
#include "cli/target/database.h"
#include "core/check/relation.h"
#include "pg/sql/sql.h"
#include "script/project.h"
#include "script/scaffold.h"

#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] =
    "usage: luamig new NAME [OPTIONS]\n"
    "\n"
    "Creates scripts/NAME.lua and spec/NAME_spec.lua below the working "
    "directory,\n"
    "unless they exist. If there is a luamig.lua, they go below its folder; "
    "its field\n"
    "scripts names the folder of scripts. The script changes nothing until you "
    "fill\n"
    "it in; its spec passes. NAME may have folders: billing/close_orders.\n"
    "\n"
    "  --table TABLE         write the script for this table: its columns and "
    "key\n"
    "  --one-shot            one transaction instead of batches\n"
    "\n"
    "The database that has the table:\n"
    "\n" LM_DATABASE_HELP;

struct new_options {
    const char *given; /* the name as it stands in argv */
    const char *table;
    struct lm_buf sql_table;
    struct lm_database_choice choice;
    struct lm_project project;
    const char *folder; /* of scripts, below the root */
    bool one_shot;
};

static const struct lm_option option_table[] = {
    LM_TEXT("table", struct new_options, table),
    LM_FLAG("one-shot", struct new_options, one_shot),
    LM_DATABASE_OPTIONS(offsetof(struct new_options, choice)), LM_NO_MORE};

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
bare_name(const struct new_options *options)
{
    const char *given = options->given;
    size_t len = strlen(options->folder);

    if (strncmp(given, options->folder, len) == 0 && given[len] == '/')
        given += len + 1;
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

/* Is it no database, rather than a wrong word on the command line? */
static bool
is_unreachable(const struct new_options *options, const struct lm_err *err)
{
    return err->kind != LM_ERR_INTERRUPT &&
           (err->kind != LM_ERR_USAGE || options->choice.repo == NULL);
}

/* Reads the table's facts from the catalog. Without a database it logs that
 * and leaves NULL: a plain script is better than none. */
static bool
read_table(struct new_options *options, char **facts_json, struct lm_err *err)
{
    struct lm_database database;
    bool connected = false;
    bool ok = lm_database_resolve(&database, &options->project,
                                  &options->choice, NULL, err) &&
              read_from(database.conninfo, options->table, facts_json,
                        &connected, err);

    lm_database_release(&database);
    if (ok || connected || !is_unreachable(options, err))
        return ok;
    lm_err_prefix(err, "could not look at table \"%s\"", options->table);
    lm_log_err(LM_LOG_WARNING, err);
    lm_log(LM_LOG_INFO, "the script and the spec use example columns");
    return true;
}

/* -- the files --------------------------------------------------------- */

static bool
fail_exists(const char *path, struct lm_err *err)
{
    return lm_err_set(err, LM_ERR_FAILED,
                      "\"%s\" exists; luamig does not overwrite it", path);
}

/* The path of a file of the project; without a project file, in the working
 * directory. */
static char *
place(const struct new_options *options, const char *path)
{
    return options->project.file != NULL
               ? lm_project_path(&options->project, path)
               : lm_strdup(path);
}

/* Checks first, so that both files are created or none. */
static bool
check_free(const struct new_options *options, const char *path,
           struct lm_err *err)
{
    char *where = place(options, path);
    struct stat found;
    bool ok = lstat(where, &found) != 0 || fail_exists(where, err);

    free(where);
    return ok;
}

static bool
write_file(const struct new_options *options,
           const struct lm_scaffold_file *file, struct lm_err *err)
{
    char *where = place(options, file->path);
    struct lm_buf text = LM_BUF_INIT;
    bool created = false;
    bool ok;

    lm_show_add_lua(&text, file->text);
    ok = lm_files_create(where, lm_buf_text(&text), text.len, &created, err) &&
         (created || fail_exists(where, err));
    if (ok)
        lm_out("created %s\n", where);
    lm_buf_release(&text);
    free(where);
    return ok;
}

static bool
make(struct new_options *options, struct lm_scaffold_request *request,
     struct lm_err *err)
{
    struct lm_scaffold scaffold = {NULL, 0};
    char *facts_json = NULL;
    bool ok;

    if (!check_free(options, request->script_path, err) ||
        !check_free(options, request->spec_path, err))
        return false;
    ok = options->table == NULL || read_table(options, &facts_json, err);
    request->facts_json = facts_json;
    ok = ok && lm_scaffold_migration(request, &scaffold, err);
    for (int i = 0; ok && i < scaffold.count; i++)
        ok = write_file(options, &scaffold.files[i], err);
    lm_scaffold_release(&scaffold);
    free(facts_json);
    return ok;
}

static bool
make_named(struct new_options *options, const char *name, struct lm_err *err)
{
    char *script = lm_format("%s/%s.lua", options->folder, name);
    char *spec = lm_format("spec/%s_spec.lua", name);
    struct lm_scaffold_request request = {.name = name,
                                          .script_path = script,
                                          .spec_path = spec,
                                          .table = options->table,
                                          .one_shot = options->one_shot};
    bool ok;

    if (options->table != NULL)
        request.sql_table = lm_buf_text(&options->sql_table);
    ok = make(options, &request, err);
    free(script);
    free(spec);
    return ok;
}

/* -- the command ------------------------------------------------------- */

static bool
check_table(struct new_options *options)
{
    bool names_database =
        options->choice.url != NULL || options->choice.repo != NULL;

    if (options->table == NULL && names_database) {
        lm_cli_usage(&lm_cmd_new, "--db and --repo need --table: they name the "
                                  "database of the table");
        return false;
    }
    if (options->table == NULL ||
        lm_sql_add_table(&options->sql_table, options->table))
        return true;
    lm_cli_usage(&lm_cmd_new,
                 "--table takes a name such as users or public.users, not "
                 "\"%s\"",
                 options->table);
    return false;
}

static bool
parse_options(int argc, char **argv, struct new_options *options)
{
    if (!lm_cli_parse(&lm_cmd_new, argc, argv, options))
        return false;
    if (optind + 1 != argc) {
        lm_cli_usage(&lm_cmd_new, "new takes one name");
        return false;
    }
    options->given = argv[optind];
    return check_table(options);
}

static bool
find_folder(struct new_options *options, struct lm_err *err)
{
    const struct lm_project_file *file;

    if (!lm_project_open(&options->project, err) ||
        !lm_project_read_file(&options->project, &file, err))
        return false;
    options->folder = file != NULL ? file->scripts : "scripts";
    return true;
}

static int
run_named(struct new_options *options)
{
    struct lm_err err;
    char *name;
    int code = LM_EXIT_DONE;

    if (!find_folder(options, &err))
        return lm_cli_fail(&err);
    name = bare_name(options);
    if (!is_good_name(name)) {
        code = lm_cli_usage(
            &lm_cmd_new,
            "the name of a script takes letters, digits, \"_\", \"-\" and "
            "\".\", and \"/\" after a folder, not \"%s\"",
            options->given);
    } else if (!make_named(options, name, &err)) {
        code = lm_cli_fail(&err);
    }
    free(name);
    return lm_cli_finish_output(code);
}

static int
run(int argc, char **argv)
{
    struct new_options options = {.sql_table = LM_BUF_INIT};
    int code = LM_EXIT_USAGE;

    if (parse_options(argc, argv, &options))
        code = run_named(&options);
    lm_project_release(&options.project);
    lm_database_choice_release(&options.choice);
    lm_buf_release(&options.sql_table);
    return code;
}

const struct lm_command lm_cmd_new = {"new",
                                      "a script and its spec to start from",
                                      help,
                                      run,
                                      .options = option_table,
                                      .words = ""};
