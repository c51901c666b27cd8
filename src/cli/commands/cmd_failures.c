/* SPDX-License-Identifier: MIT */
/* luamig failures: the failed rows of a run; --retry migrates them. */

#include "base/log.h"
#include "base/show.h"
#include "cli/target/args.h"
#include "cli/target/look.h"
#include "core/run/run.h"
#include "pg/conn/conn.h"
#include "script/project.h"
#include "script/script.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: luamig failures RUN [OPTIONS]\n"
    "\n"
    "Shows the failed rows of a run with on_error = \"quarantine\".\n"
    "Exit code 7 while there are failed rows.\n"
    "\n"
    "  --retry               run the script on the failed rows only\n"
    "  --script PATH         with --retry: the script, if its file was "
    "moved\n" LM_ARGS_HELP "  --json                print JSON\n" LM_LOOK_HELP
    "\n"
    "--retry migrates each failed row in a transaction of its own. The same\n"
    "transaction marks the row as resolved. If the base query no longer "
    "returns the\n"
    "row, it is resolved as gone. A row that fails again stays. Arguments keep "
    "the\n"
    "values of the run, unless you give --arg. Give secrets again: luamig does "
    "not\n"
    "store them.\n";

struct failures_options {
    struct lm_look look;
    const char *which;
    const char *script; /* NULL: as the journal names it */
    struct lm_args args;
    bool retry;
    bool json;
};

static const struct lm_option option_table[] = {
    LM_FLAG("retry", struct failures_options, retry),
    LM_TEXT("script", struct failures_options, script),
    LM_FLAG("json", struct failures_options, json),
    LM_ARGS_OPTIONS(offsetof(struct failures_options, args)),
    LM_LOOK_OPTIONS(offsetof(struct failures_options, look))};

static bool
parse_options(int argc, char **argv, struct failures_options *options)
{
    if (!lm_cli_parse(&lm_cmd_failures, argc, argv, options))
        return false;
    if (optind + 1 != argc) {
        lm_cli_usage(&lm_cmd_failures,
                     optind == argc ? "no run is given; failures takes one"
                                    : "failures takes one run");
        return false;
    }
    options->which = argv[optind];
    return true;
}

enum column {
    COL_ID,
    COL_KEY_COLUMNS,
    COL_KEY,
    COL_SQLSTATE,
    COL_MESSAGE,
    COL_DETAIL,
    COL_LINE,
    COL_ROW,
    COL_ATTEMPTS,
    COL_FAILED_AT
};

static void
print_part(const struct lm_answer *rows, int row, int column, const char *label)
{
    const char *text = lm_answer_text_or(rows, row, column, NULL);

    if (text != NULL)
        lm_out("  %s: %s\n", label, text);
}

static void
print_failures(const struct lm_answer *rows)
{
    for (int row = 0; row < lm_answer_rows(rows); row++) {
        const char *state = lm_answer_text_or(rows, row, COL_SQLSTATE, NULL);

        lm_out("(%s) = (%s): %s%s%s%s\n",
               lm_answer_text(rows, row, COL_KEY_COLUMNS),
               lm_answer_text(rows, row, COL_KEY),
               lm_answer_text(rows, row, COL_MESSAGE),
               state != NULL ? " (SQLSTATE " : "", state != NULL ? state : "",
               state != NULL ? ")" : "");
        print_part(rows, row, COL_DETAIL, "detail");
        print_part(rows, row, COL_LINE, "at");
        print_part(rows, row, COL_ROW, "row");
        lm_out("  failed: %s, attempts: %s\n",
               lm_answer_text(rows, row, COL_FAILED_AT),
               lm_answer_text(rows, row, COL_ATTEMPTS));
    }
}

static int
list(const struct failures_options *options, const struct lm_status_run *run)
{
    const struct lm_look *look = &options->look;
    struct lm_answer *rows = NULL;
    struct lm_err err;
    bool any;

    if (!lm_status_failures(look->conn, look->schema, run->id, options->json,
                            &rows, &err))
        return lm_cli_fail(&err);
    if (options->json) {
        any = strcmp(lm_answer_text(rows, 0, 0), "[]") != 0;
        lm_out_json(lm_answer_text(rows, 0, 0));
    } else {
        any = lm_answer_rows(rows) > 0;
        print_failures(rows);
        if (!any) {
            lm_log(LM_LOG_INFO, "run %" PRId64 " of %s has no failed rows",
                   run->id, run->script);
        }
    }
    lm_answer_free(rows);
    return lm_cli_finish_output(any ? LM_EXIT_FAILURES : LM_EXIT_DONE);
}

/* -- retrying ---------------------------------------------------------- */

static char *
find_script(const struct lm_look *look, const struct lm_status_run *run)
{
    char *path = lm_look_script(look, run);

    if (strcmp(path, run->script) != 0) {
        lm_log(LM_LOG_INFO, "the script of run %" PRId64 " is %s", run->id,
               path);
    }
    return path;
}

static bool
load_script(struct failures_options *options, const struct lm_status_run *run,
            struct lm_script **out, struct lm_err *err)
{
    struct lm_look *look = &options->look;
    char *path = options->script != NULL    ? lm_strdup(options->script)
                 : look->which.file != NULL ? lm_strdup(look->which.file)
                                            : find_script(look, run);
    struct lm_script_options script = {
        .batch_size = -1, .target_ms = -1, .throttle_ms = -1};
    struct lm_status_args kept = {NULL, 0};
    const struct lm_project_file *file = NULL;
    bool ok = lm_project_read_file(&look->project, &file, err) &&
              lm_status_args(look->conn, look->schema, run->id, &kept, err) &&
              lm_args_read(&options->args, err);

    lm_args_give(&options->args, &script);
    script.kept = (const char *const *)kept.texts;
    script.kept_count = kept.count;
    if (file != NULL)
        script.defaults_json = file->defaults_json;
    if (ok && !lm_script_load(out, path, &script, err)) {
        lm_project_explain_missing(&look->project, path, err);
        ok = false;
    }
    lm_status_args_release(&kept);
    free(path);
    return ok;
}

static int
report(const struct lm_outcome *outcome, int64_t left, const struct lm_err *err)
{
    lm_out("run %" PRId64 ": %" PRId64 " row%s migrated, %" PRId64
           " failed row%s left\n",
           outcome->run_id, outcome->own_rows,
           outcome->own_rows == 1 ? "" : "s", left, left == 1 ? "" : "s");
    if (outcome->ending == LM_END_FAILED)
        return lm_cli_fail(err);
    if (outcome->ending == LM_END_STOPPED)
        return LM_EXIT_STOPPED;
    return left > 0 ? LM_EXIT_FAILURES : LM_EXIT_DONE;
}

static int
retry(struct failures_options *options, const struct lm_status_run *run)
{
    struct lm_look *look = &options->look;
    struct lm_runner_options runner = {.conninfo = look->database.conninfo,
                                       .journal_schema = look->schema};
    struct lm_database source = {.conninfo = NULL};
    struct lm_script *script = NULL;
    struct lm_outcome outcome;
    struct lm_err err;
    struct lm_err uncounted;
    int64_t left = 0;
    int code;

    if (run->live) {
        lm_err_set(&err, LM_ERR_BUSY, "run %" PRId64 " is running", run->id);
        lm_err_hint(&err, "Wait until the run is done, or stop it with a "
                          "signal. Then run this command again.");
        return lm_cli_fail(&err);
    }
    if (!load_script(options, run, &script, &err) ||
        !lm_database_resolve_source(&source, &look->project,
                                    lm_script_migration(script)->reads_from,
                                    &err)) {
        lm_script_free(script);
        lm_database_release(&source);
        return lm_cli_fail(&err);
    }
    runner.source_conninfo = source.conninfo;
    lm_runner_retry_failures(lm_script_migration(script), &runner, run->id,
                             &outcome, &err);
    if (lm_status_count_failures(look->conn, look->schema, run->id, &left,
                                 &uncounted)) {
        code = report(&outcome, left, &err);
    } else if (outcome.ending == LM_END_FAILED) {
        code = lm_cli_fail(&err);
    } else {
        lm_err_prefix(&uncounted,
                      "could not count the failed rows that are left");
        code = lm_cli_fail(&uncounted);
    }
    lm_outcome_release(&outcome);
    lm_database_release(&source);
    lm_script_free(script);
    return lm_cli_finish_output(code);
}

/* For a script: its latest run with failed rows. */
static bool
find_run(struct failures_options *options, struct lm_status_run *found,
         struct lm_err *err)
{
    struct lm_look *look = &options->look;

    return lm_look_find(look, &lm_cmd_failures, options->which, found, err) &&
           lm_status_find_failed(look->conn, look->schema, look->script.runs,
                                 found, err);
}

static int
run(int argc, char **argv)
{
    struct failures_options options = {.which = NULL};
    struct lm_status_run found;
    struct lm_err err;
    int code = LM_EXIT_USAGE;

    lm_look_init(&options.look);
    if (parse_options(argc, argv, &options)) {
        if (!find_run(&options, &found, &err)) {
            code = lm_cli_fail(&err);
        } else if (options.retry) {
            code = retry(&options, &found);
        } else {
            code = list(&options, &found);
        }
    }
    lm_args_release(&options.args);
    lm_look_release(&options.look);
    return code;
}

const struct lm_command lm_cmd_failures = {
    "failures", "show the failed rows of a run, or migrate them again", help,
    run, .options = option_table};
