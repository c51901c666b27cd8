/* SPDX-License-Identifier: MIT */
/* luamig status: the runs in the journal, a line each, one in full, or as
 * JSON. */

#include "base/clock.h"
#include "base/log.h"
#include "cli/cli.h"
#include "core/journal.h"
#include "core/status.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_RUNS = 20 };

static const char help[] =
    "usage: luamig status [SCRIPT|RUN] [--json] [--db URL]\n"
    "                     [--journal-schema NAME]\n"
    "\n"
    "Shows the latest runs, those of one script (by its name in the journal, "
    "such as\n"
    "scripts/onboarding.lua), or one run (by its number).\n";

struct status_options {
    char *url; /* owned */
    const char *schema;
    struct lm_status_filter filter;
    bool json;
};

static const struct option long_options[] = {
    {"json", no_argument, NULL, 'j'},
    {"db", required_argument, NULL, 'd'},
    {"journal-schema", required_argument, NULL, 's'},
    {NULL, 0, NULL, 0}};

static bool
parse_options(int argc, char **argv, struct status_options *options)
{
    int code;

    memset(options, 0, sizeof *options);
    options->schema = "luamig";
    options->filter.limit = DEFAULT_RUNS;
    while ((code = lm_cli_getopt(argc, argv, ":", long_options)) != -1) {
        if (code == 'j') {
            options->json = true;
        } else if (code == 'd') {
            free(options->url);
            options->url = lm_database_take_url(optarg);
        } else if (code == 's') {
            options->schema = optarg;
        } else {
            lm_cli_bad_option(&lm_cmd_status, code, argv, long_options);
            return false;
        }
    }
    if (optind + 1 < argc) {
        lm_cli_usage(&lm_cmd_status, "status takes one script or run");
        return false;
    }
    if (optind < argc &&
        !lm_cli_number(argv[optind], 1, &options->filter.run_id))
        options->filter.script = argv[optind];
    return true;
}

enum column {
    COL_RUN,
    COL_SCRIPT,
    COL_ARGS,
    COL_STATE,
    COL_LIVE,
    COL_ROWS,
    COL_BATCHES,
    COL_RETRIES,
    COL_CURSOR,
    COL_STARTED,
    COL_FINISHED,
    COL_STARTED_BY,
    COL_HOST,
    COL_PID,
    COL_ERROR,
    COL_SQLSTATE
};

/* What the state column says: a run whose runner is gone says so. */
static const char *
shown_state(const struct lm_result *runs, int row)
{
    const char *state = lm_result_text(runs, row, COL_STATE);

    if (strcmp(state, "running") == 0 && !lm_result_bool(runs, row, COL_LIVE))
        return "interrupted";
    return state;
}

static const char *
text_or(const struct lm_result *runs, int row, int column, const char *other)
{
    const char *text = lm_result_text(runs, row, column);

    return text != NULL ? text : other;
}

static void
print_list(const struct lm_result *runs)
{
    printf("%6s  %-12s %14s  %-22s  %s\n", "run", "state", "rows", "started",
           "script");
    for (int row = 0; row < lm_result_rows(runs); row++) {
        char count[32];
        const char *args = lm_result_text(runs, row, COL_ARGS);

        lm_clock_format_count(count, sizeof count,
                              lm_result_int(runs, row, COL_ROWS));
        printf("%6s  %-12s %14s  %-22s  %s%s%s\n",
               lm_result_text(runs, row, COL_RUN), shown_state(runs, row),
               count, lm_result_text(runs, row, COL_STARTED),
               lm_result_text(runs, row, COL_SCRIPT),
               strcmp(args, "{}") == 0 ? "" : " ",
               strcmp(args, "{}") == 0 ? "" : args);
    }
}

static void
print_run(const struct lm_result *runs)
{
    printf("run:       %s\n", lm_result_text(runs, 0, COL_RUN));
    printf("script:    %s\n", lm_result_text(runs, 0, COL_SCRIPT));
    printf("args:      %s\n", lm_result_text(runs, 0, COL_ARGS));
    printf("state:     %s\n", shown_state(runs, 0));
    printf("rows:      %s in %s batches, %s retries\n",
           lm_result_text(runs, 0, COL_ROWS),
           lm_result_text(runs, 0, COL_BATCHES),
           lm_result_text(runs, 0, COL_RETRIES));
    printf("cursor:    %s\n", text_or(runs, 0, COL_CURSOR, "none"));
    printf("started:   %s by %s, on host %s, process %s\n",
           lm_result_text(runs, 0, COL_STARTED),
           lm_result_text(runs, 0, COL_STARTED_BY),
           lm_result_text(runs, 0, COL_HOST), lm_result_text(runs, 0, COL_PID));
    printf("finished:  %s\n", text_or(runs, 0, COL_FINISHED, "not yet"));
    if (lm_result_text(runs, 0, COL_ERROR) != NULL) {
        printf("error:     %s (SQLSTATE %s)\n",
               lm_result_text(runs, 0, COL_ERROR),
               text_or(runs, 0, COL_SQLSTATE, "none"));
    }
}

static int
print_runs(const struct status_options *options, struct lm_result *runs)
{
    int code = LM_EXIT_DONE;

    if (options->json) {
        puts(lm_result_text(runs, 0, 0));
    } else if (lm_result_rows(runs) == 0 && options->filter.run_id > 0) {
        lm_log(LM_LOG_ERROR, "there is no run %" PRId64,
               options->filter.run_id);
        code = LM_EXIT_FAILED;
    } else if (lm_result_rows(runs) == 0) {
        lm_log(LM_LOG_INFO, "no runs are recorded%s%s",
               options->filter.script != NULL ? " of " : "",
               options->filter.script != NULL ? options->filter.script : "");
    } else if (options->filter.run_id > 0) {
        print_run(runs);
    } else {
        print_list(runs);
    }
    return lm_cli_finish_output(code);
}

static int
show(const struct status_options *options, struct lm_conn *conn)
{
    struct lm_journal journal = {.conn = conn, .schema = options->schema};
    struct lm_result *runs = NULL;
    struct lm_err err;
    bool exists = false;
    int code;

    if (!lm_journal_exists(&journal, &exists, &err))
        return lm_cli_fail(&err);
    if (!exists) {
        if (options->json) {
            puts("[]");
        } else {
            lm_log(LM_LOG_INFO, "luamig has not run in this database");
        }
        return lm_cli_finish_output(LM_EXIT_DONE);
    }
    if (!lm_status_read(conn, options->schema, &options->filter, options->json,
                        &runs, &err))
        return lm_cli_fail(&err);
    code = print_runs(options, runs);
    lm_result_free(runs);
    return code;
}

static int
run(int argc, char **argv)
{
    struct lm_conn_options how = {.application_name = "luamig: status",
                                  .interruptible = true};
    struct status_options options;
    struct lm_database database;
    struct lm_conn *conn = NULL;
    struct lm_err err;
    int code = LM_EXIT_USAGE;

    if (!parse_options(argc, argv, &options)) {
        free(options.url);
        return code;
    }
    if (lm_database_resolve(&database, options.url, &err) &&
        lm_conn_open(&conn, database.conninfo, &how, &err)) {
        code = show(&options, conn);
    } else {
        code = lm_cli_fail(&err);
    }
    lm_conn_close(conn);
    lm_database_release(&database);
    free(options.url);
    return code;
}

const struct lm_command lm_cmd_status = {"status", "runs and their state", help,
                                         run};
