/* SPDX-License-Identifier: MIT */
/* luamig check: checks a migration before it runs; without a script, shows the
 * database. */

#include "cli/cli.h"
#include "cli/report/check_db.h"
#include "cli/report/check_report.h"
#include "cli/target/args.h"
#include "cli/target/project.h"
#include "core/input/file.h"
#include "script/project.h"
#include "script/script.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: luamig check [SCRIPT] [OPTIONS]\n"
    "\n"
    "Checks a migration and its database without changing anything: the base "
    "query,\n"
    "the key, what the server would read for each page, what fires when the\n"
    "migration writes its tables, rights, and health. Prints one finding per "
    "line.\n"
    "Exit code 3 if a finding is an \"error\".\n"
    "\n"
    "Without SCRIPT: shows which database luamig would use here, what names "
    "it, and\n"
    "what luamig finds in it. No password is shown.\n"
    "\n" LM_DATABASE_HELP LM_ARGS_HELP
    "  --input FILE          the file that a script with `input` reads; - is "
    "standard\n"
    "                        input\n"
    "  --batch-size N        rows in a batch; overrides the script\n"
    "  --replica URL         a standby; a run waits while its replay lags "
    "behind;\n"
    "                        repeatable\n"
    "  --journal-schema NAME schema of luamig's tables (default: luamig)\n"
    "  --json                print JSON\n"
    "  -v, --verbose         also show details of what is ok, and the page's "
    "plan\n";

struct check_options {
    char *path; /* owned; NULL: the database alone */
    struct lm_database_choice choice;
    struct lm_args args;
    const char *input; /* NULL: none is given */
    int64_t batch_size;
    const char *journal_schema;
    bool json;
    bool verbose;
};

static const struct lm_option option_table[] = {
    LM_DATABASE_OPTIONS(offsetof(struct check_options, choice)),
    LM_ARGS_OPTIONS(offsetof(struct check_options, args)),
    LM_ONCE("input", struct check_options, input),
    LM_NUMBER("batch-size", struct check_options, batch_size, 1),
    LM_REPLICA_OPTION(offsetof(struct check_options, choice)),
    LM_TEXT("journal-schema", struct check_options, journal_schema),
    LM_FLAG("json", struct check_options, json),
    {.name = "verbose",
     .kind = LM_OPTION_FLAG,
     .at = offsetof(struct check_options, verbose),
     .letter = 'v'},
    LM_NO_MORE};

static bool
parse_options(int argc, char **argv, struct check_options *options)
{
    memset(options, 0, sizeof *options);
    options->batch_size = -1;
    options->journal_schema = "luamig";
    /* For a last --db without a value: shows the database that luamig would
     * use without it. */
    if (argc > 1 && strcmp(argv[argc - 1], "--db") == 0)
        argc--;
    if (!lm_cli_parse(&lm_cmd_check, argc, argv, options))
        return false;
    if (optind < argc)
        options->path = lm_strdup(argv[optind++]);
    if (optind == argc)
        return true;
    lm_cli_usage(&lm_cmd_check,
                 "unexpected argument \"%s\"; check takes one script",
                 argv[optind]);
    return false;
}

/* -- checking -------------------------------------------------------------------- */

static bool
look_at_database(const struct check_options *options,
                 struct lm_project *project, const struct lm_script *script,
                 struct lm_check *check, struct lm_err *err)
{
    struct lm_check_options how = {.application_name = "luamig: check",
                                   .journal_schema = options->journal_schema};
    const struct lm_migration *migration = lm_script_migration(script);
    struct lm_input_file input = {.name = NULL};
    struct lm_database database = {.conninfo = NULL};
    struct lm_database source;
    const char **replicas;
    bool ok = (options->input == NULL ||
               lm_input_file_open(&input, options->input, err));

    if (!ok) {
        lm_input_file_close(&input);
        return false;
    }
    how.input = options->input != NULL ? &input : NULL;
    ok = lm_database_resolve_source(&source, project, migration->reads_from,
                                    err) &&
         lm_database_resolve(&database, project, &options->choice,
                             lm_script_repo(script), err);
    if (ok) {
        replicas = lm_database_replicas(&database, &options->choice,
                                        &how.replica_count);
        how.replicas = replicas;
        how.conninfo = database.conninfo;
        how.source_conninfo = source.conninfo;
        ok = lm_check_all(check, migration, &how, err);
        free(replicas);
    }
    lm_database_release(&database);
    lm_database_release(&source);
    lm_input_file_close(&input);
    return ok;
}

/* A script that is not valid is a finding, too. */
static bool
look_at_script(const struct check_options *options, struct lm_project *project,
               struct lm_script **script, struct lm_check *check,
               struct lm_err *err)
{
    struct lm_script_options how = {
        .batch_size = options->batch_size, .target_ms = -1, .throttle_ms = -1};
    const struct lm_project_file *file;
    struct lm_finding *finding;

    if (!lm_project_read_file(project, &file, err))
        return false;
    lm_args_give(&options->args, &how);
    how.defaults_json = file != NULL ? file->defaults_json : NULL;
    if (lm_script_load(script, options->path, &how, err)) {
        if (options->input != NULL &&
            lm_script_migration(*script)->input == NULL)
            return lm_script_fail_unread(options->path, err);
        lm_check_add(check, LM_VERDICT_OK, "script", "%s", options->path);
        return true;
    }
    if (err->kind != LM_ERR_SCRIPT)
        return false;
    lm_project_explain_missing(project, options->path, err);
    finding = lm_check_add_err(check, "script", err);
    if (finding->detail == NULL) {
        lm_finding_detail(finding, "at %s",
                          err->where[0] != '\0' ? err->where : options->path);
    }
    return true;
}

static bool
look(struct check_options *options, struct lm_check *check, struct lm_err *err)
{
    struct lm_project project = {.root = NULL};
    struct lm_script *script = NULL;
    bool ok = lm_project_open(&project, err) &&
              lm_project_replace_name(&project, &options->path, err) &&
              lm_args_read(&options->args, err) &&
              look_at_script(options, &project, &script, check, err) &&
              (script == NULL ||
               look_at_database(options, &project, script, check, err));

    lm_script_free(script);
    lm_project_release(&project);
    return ok;
}

static int
exit_code(const struct lm_check *check)
{
    if (check->unreachable)
        return LM_EXIT_DATABASE;
    return lm_check_count(check, LM_VERDICT_ERROR) > 0 ? LM_EXIT_SCRIPT
                                                       : LM_EXIT_DONE;
}

static int
check_script(struct check_options *options)
{
    struct lm_check check;
    struct lm_err err;
    int code;
    bool ok;

    lm_check_init(&check);
    ok = look(options, &check, &err);
    if (ok && options->json) {
        lm_check_report_print_json(&check);
    } else if (ok) {
        lm_check_report_print(&check, options->verbose);
    }
    code = ok ? lm_cli_finish_output(exit_code(&check)) : lm_cli_fail(&err);
    lm_check_release(&check);
    return code;
}

static int
run(int argc, char **argv)
{
    struct check_options options;
    int code = LM_EXIT_USAGE;

    if (parse_options(argc, argv, &options)) {
        code = options.path != NULL
                   ? check_script(&options)
                   : lm_check_database(&options.choice, options.json);
    }
    lm_args_release(&options.args);
    free(options.path);
    lm_database_choice_release(&options.choice);
    return code;
}

const struct lm_command lm_cmd_check = {
    "check", "check a migration before it runs; changes nothing", help, run,
    .options = option_table};
