/* SPDX-License-Identifier: MIT */
/* luamig status: the runs in the journal, a line each, one in full, or as
 * JSON. */

#include "base/clock.h"
#include "base/log.h"
#include "base/show.h"
#include "cli/target/look.h"
#include "core/run/progress.h"

#include <getopt.h>
#include <inttypes.h>
#include <string.h>

enum { DEFAULT_RUNS = 20 };

static const char help[] =
    "usage: luamig status [SCRIPT|RUN] [OPTIONS]\n"
    "\n"
    "Shows the latest runs. With SCRIPT, as \"luamig run\" takes it: the runs "
    "of that\n"
    "script. With RUN, the number of a run: that run in full.\n"
    "\n"
    "  --json                print JSON\n" LM_LOOK_HELP;

struct status_options {
    struct lm_look look;
    const char *word; /* a script or a run; NULL: all */
    int64_t run_id;   /* 0: it is no number */
    bool json;
};

static const struct lm_option option_table[] = {
    LM_FLAG("json", struct status_options, json),
    LM_LOOK_OPTIONS(offsetof(struct status_options, look))};

static bool
parse_options(int argc, char **argv, struct status_options *options)
{
    if (!lm_cli_parse(&lm_cmd_status, argc, argv, options))
        return false;
    if (optind + 1 < argc) {
        lm_cli_usage(&lm_cmd_status, "status takes one script or run");
        return false;
    }
    options->word = argv[optind];
    if (options->word != NULL &&
        !lm_cli_number(options->word, 1, &options->run_id))
        options->run_id = 0;
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
    COL_SQLSTATE,
    COL_EXIT_CODE,
    COL_FAILURES,
    COL_TOTAL,
    COL_BATCH_SIZE,
    COL_WAITS_FOR,
    COL_SOURCE
};

/* Has the run lost its row in the table progress? */
static bool
is_damaged(const struct lm_answer *runs, int row)
{
    return lm_answer_is_null(runs, row, COL_ROWS);
}

static void
warn_of_damage(const struct lm_look *look, const struct lm_answer *runs)
{
    for (int row = 0; row < lm_answer_rows(runs); row++) {
        if (is_damaged(runs, row)) {
            lm_log(LM_LOG_WARNING,
                   "run %s has no row in \"%s\".progress; \"luamig run\" with "
                   "the same script shows what to do",
                   lm_answer_text(runs, row, COL_RUN), look->schema);
        }
    }
}

/* The text of the state column; it shows if a run's runner is gone. */
static const char *
shown_state(const struct lm_answer *runs, int row)
{
    const char *state = lm_answer_text(runs, row, COL_STATE);

    if (is_damaged(runs, row))
        return "damaged";
    if (lm_answer_bool(runs, row, COL_LIVE))
        return state;
    if (strcmp(state, "running") == 0 || strcmp(state, "loading") == 0)
        return "interrupted";
    return strcmp(state, "paused") == 0 ? "paused, no runner" : state;
}

static void
print_list(const struct lm_answer *runs)
{
    lm_out("%6s  %-18s %14s  %-22s  %s\n", "run", "state", "rows", "started",
           "script");
    for (int row = 0; row < lm_answer_rows(runs); row++) {
        const char *args = lm_answer_text(runs, row, COL_ARGS);

        lm_out("%6s  %-18s %14s  %-22s  %s%s%s\n",
               lm_answer_text(runs, row, COL_RUN), shown_state(runs, row),
               is_damaged(runs, row)
                   ? "unknown"
                   : lm_clock_count(lm_answer_int(runs, row, COL_ROWS)).text,
               lm_answer_text(runs, row, COL_STARTED),
               lm_answer_text(runs, row, COL_SCRIPT),
               strcmp(args, "{}") == 0 ? "" : " ",
               strcmp(args, "{}") == 0 ? "" : args);
    }
}

static void
print_counts(const struct lm_answer *runs)
{
    struct lm_buf rows = LM_BUF_INIT;

    if (is_damaged(runs, 0)) {
        lm_out_own("rows:      unknown\n");
        return;
    }
    lm_progress_add_rows(&rows, lm_answer_int(runs, 0, COL_ROWS),
                         lm_answer_is_null(runs, 0, COL_TOTAL)
                             ? -1
                             : lm_answer_int(runs, 0, COL_TOTAL),
                         false);
    lm_out("rows:      %s", lm_buf_text(&rows));
    lm_buf_release(&rows);
    lm_out(" in %s batch%s, %s retr%s\n", lm_answer_text(runs, 0, COL_BATCHES),
           lm_answer_int(runs, 0, COL_BATCHES) == 1 ? "" : "es",
           lm_answer_text(runs, 0, COL_RETRIES),
           lm_answer_int(runs, 0, COL_RETRIES) == 1 ? "y" : "ies");
    lm_out("cursor:    %s\n", lm_answer_text_or(runs, 0, COL_CURSOR, "none"));
}

static void
print_run(const struct lm_answer *runs)
{
    lm_out("run:       %s\n", lm_answer_text(runs, 0, COL_RUN));
    lm_out("script:    %s\n", lm_answer_text(runs, 0, COL_SCRIPT));
    lm_out("args:      %s\n", lm_answer_text(runs, 0, COL_ARGS));
    if (!lm_answer_is_null(runs, 0, COL_SOURCE))
        lm_out("source:    %s\n", lm_answer_text(runs, 0, COL_SOURCE));
    lm_out("state:     %s\n", shown_state(runs, 0));
    print_counts(runs);
    lm_out("started:   %s by %s, on host %s, process %s\n",
           lm_answer_text(runs, 0, COL_STARTED),
           lm_answer_text(runs, 0, COL_STARTED_BY),
           lm_answer_text_or(runs, 0, COL_HOST, "unknown"),
           lm_answer_text_or(runs, 0, COL_PID, "unknown"));
    lm_out("finished:  %s\n",
           lm_answer_text_or(runs, 0, COL_FINISHED, "not yet"));
    if (!is_damaged(runs, 0) && lm_answer_int(runs, 0, COL_FAILURES) > 0) {
        lm_out("failed:    %s row%s; see \"luamig failures %s\"\n",
               lm_answer_text(runs, 0, COL_FAILURES),
               lm_answer_int(runs, 0, COL_FAILURES) == 1 ? "" : "s",
               lm_answer_text(runs, 0, COL_RUN));
    }
    if (!lm_answer_is_null(runs, 0, COL_WAITS_FOR))
        lm_out("waits for: %s\n", lm_answer_text(runs, 0, COL_WAITS_FOR));
    if (!lm_answer_is_null(runs, 0, COL_ERROR)) {
        lm_out("error:     %s (SQLSTATE %s)\n",
               lm_answer_text(runs, 0, COL_ERROR),
               lm_answer_text_or(runs, 0, COL_SQLSTATE, "none"));
    }
}

/* "workers:   2 in process 4711 on a: fewer than 4: replica lag 80 MB on s1" */
static void
print_staff(const struct lm_answer *workers, int row)
{
    const char *note = lm_answer_text(workers, row, 9);

    if (lm_answer_int(workers, row, 2) != 1 || note[0] == '\0')
        return;
    lm_out("workers:   %s in process %s on %s: %s\n",
           lm_answer_text(workers, row, 8), lm_answer_text(workers, row, 1),
           lm_answer_text(workers, row, 0), note);
}

/* "worker:    4711 on a, no. 2: 54,000 rows, 5,494 rows/s, keys after 7 up to
 * 900: works" */
static void
print_workers(const struct lm_look *look, int64_t run_id)
{
    struct lm_answer *workers = NULL;
    struct lm_err err;

    if (!lm_status_workers(look->conn, look->schema, run_id, &workers, &err)) {
        lm_log(LM_LOG_WARNING, "%s", err.message);
        return;
    }
    for (int row = 0; row < lm_answer_rows(workers); row++)
        print_staff(workers, row);
    for (int row = 0;
         lm_answer_rows(workers) > 1 && row < lm_answer_rows(workers); row++) {
        const char *after = lm_answer_text(workers, row, 5);
        const char *upto = lm_answer_text(workers, row, 6);

        lm_out("worker:    %s of process %s on %s: %s rows, %s rows/s",
               lm_answer_text(workers, row, 2), lm_answer_text(workers, row, 1),
               lm_answer_text(workers, row, 0),
               lm_clock_count(lm_answer_int(workers, row, 3)).text,
               lm_clock_count(lm_answer_int(workers, row, 4)).text);
        lm_out("%s%s%s%s; %s\n", after[0] != '\0' ? ", keys after " : "", after,
               upto[0] != '\0' ? ", up to " : "", upto,
               lm_answer_text(workers, row, 7));
    }
    lm_answer_free(workers);
}

static void
print_requests(const struct lm_look *look, int64_t run_id)
{
    struct lm_answer *requests = NULL;
    struct lm_err err;

    if (!lm_status_requests(look->conn, look->schema, run_id, &requests,
                            &err)) {
        lm_log(LM_LOG_WARNING, "%s", err.message);
        return;
    }
    for (int row = 0; row < lm_answer_rows(requests); row++) {
        const char *settings = lm_answer_text_or(requests, row, 5, NULL);

        lm_out(
            "%s%s%s%s by %s on %s at %s: %s\n",
            row == 0 ? "asked:     " : "           ",
            lm_answer_text(requests, row, 0), settings != NULL ? " " : "",
            settings != NULL ? settings : "", lm_answer_text(requests, row, 1),
            lm_answer_text_or(requests, row, 2, "an unknown host"),
            lm_answer_text(requests, row, 3), lm_answer_text(requests, row, 4));
    }
    lm_answer_free(requests);
}

static int
print_runs(const struct status_options *options, struct lm_answer *runs)
{
    int code = LM_EXIT_DONE;

    if (!options->json)
        warn_of_damage(&options->look, runs);
    if (options->json) {
        lm_out_json(lm_answer_text(runs, 0, 0));
    } else if (lm_answer_rows(runs) == 0 && options->run_id > 0) {
        lm_log(LM_LOG_ERROR, "there is no run %" PRId64, options->run_id);
        code = LM_EXIT_FAILED;
    } else if (lm_answer_rows(runs) == 0) {
        lm_log(LM_LOG_INFO, "no runs are recorded%s%s",
               options->word != NULL ? " of " : "",
               options->word != NULL ? options->word : "");
    } else if (options->run_id > 0) {
        print_run(runs);
        print_workers(&options->look, options->run_id);
        print_requests(&options->look, options->run_id);
    } else {
        print_list(runs);
    }
    return lm_cli_finish_output(code);
}

static int
show(struct status_options *options)
{
    struct lm_look *look = &options->look;
    struct lm_answer *runs = NULL;
    struct lm_err err;
    bool exists = false;
    int code;

    if (!lm_look_open(look, &lm_cmd_status, &exists, &err))
        return lm_cli_fail(&err);
    if (!exists) {
        if (options->json) {
            lm_out_own("[]\n");
        } else {
            lm_log(LM_LOG_INFO, "luamig has not run in this database");
        }
        return lm_cli_finish_output(LM_EXIT_DONE);
    }
    if ((options->word == NULL || lm_look_runs(look, options->word, &err)) &&
        lm_status_read(look->conn, look->schema, look->script.runs,
                       DEFAULT_RUNS, options->json, &runs, &err)) {
        code = print_runs(options, runs);
    } else {
        code = lm_cli_fail(&err);
    }
    lm_answer_free(runs);
    return code;
}

static int
run(int argc, char **argv)
{
    struct status_options options = {.word = NULL};
    int code = LM_EXIT_USAGE;

    lm_look_init(&options.look);
    if (parse_options(argc, argv, &options))
        code = show(&options);
    lm_look_release(&options.look);
    return code;
}

const struct lm_command lm_cmd_status = {"status", "runs and their state", help,
                                         run, .options = option_table};
