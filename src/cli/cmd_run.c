/* SPDX-License-Identifier: MIT */
/*
 * luamig run: loads a script, finds the database, lets the runner work, and
 * says how it ended.
 */

#include "base/clock.h"
#include "base/log.h"
#include "base/record.h"
#include "cli/cli.h"
#include "cli/detach.h"
#include "core/runner.h"
#include "script/script.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_LEASE_MS = 60000, DEFAULT_SILENCE_MS = 30000 };

static const char help[] =
    "usage: luamig run SCRIPT [OPTIONS]\n"
    "\n"
    "Runs a migration, or goes on with the one that was stopped, killed or "
    "failed:\n"
    "the same command is always the right one. What is done is never done "
    "twice.\n"
    "\n"
    "  --db URL              the database; \"embedded\" for a private one\n"
    "  --arg NAME=VALUE      an argument that the script declares; repeatable\n"
    "  --limit N             stop after N rows (exit code 5); resumable\n"
    "  --batch-size N        rows in a batch, instead of the script's figure\n"
    "  --target-ms N         time that a batch should take, likewise\n"
    "  --throttle-ms N       pause between batches, likewise\n"
    "  --again               run a finished migration once more\n"
    "  --restart             abandon an unfinished run and begin anew\n"
    "  --detach              return once the run is under way; it goes on "
    "without\n"
    "                        this terminal, and the log file's path is "
    "printed\n"
    "  --replica URL         a standby whose replay is waited for; repeatable\n"
    "  --journal-schema NAME schema of luamig's tables (default: luamig)\n"
    "  --count               count the rows first, for ten seconds at most, so "
    "that the\n"
    "                        total is exact\n"
    "  --log FORMAT          plain, or json: an object a line on stderr\n"
    "  -v, --verbose         tell about retries and other details\n"
    "  -q, --quiet           warnings and errors only\n"
    "  --help                this; with SCRIPT, its arguments as well\n"
    "\n"
    "Ctrl-C (SIGINT) or SIGTERM finishes the batch and stops; a second one\n"
    "interrupts the batch, which is rolled back. A terminal that is closed "
    "(SIGHUP)\n"
    "stops the run after its batch.\n"
    "\n"
    "LUAMIG_LEASE_MS: how long a runner may be silent, while its connection\n"
    "lives, before another may take its run over (default: 60000).\n"
    "LUAMIG_SILENCE_MS: how much longer than the statement timeout the server\n"
    "may say nothing before it is given up (default: 30000).\n";

struct run_options {
    const char *path;
    char *url; /* owned */
    const char **args;
    int arg_count;
    char **replicas; /* owned */
    int replica_count;
    int64_t limit;
    int64_t batch_size;
    int64_t target_ms;
    int64_t throttle_ms;
    const char *journal_schema;
    bool again;
    bool restart;
    bool detach;
    bool count;
    bool help;
};

enum option_code {
    OPT_DB = 256,
    OPT_ARG,
    OPT_LIMIT,
    OPT_BATCH_SIZE,
    OPT_TARGET_MS,
    OPT_THROTTLE_MS,
    OPT_AGAIN,
    OPT_RESTART,
    OPT_DETACH,
    OPT_REPLICA,
    OPT_JOURNAL_SCHEMA,
    OPT_COUNT,
    OPT_LOG,
    OPT_HELP
};

static const struct option long_options[] = {
    {"db", required_argument, NULL, OPT_DB},
    {"arg", required_argument, NULL, OPT_ARG},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"batch-size", required_argument, NULL, OPT_BATCH_SIZE},
    {"target-ms", required_argument, NULL, OPT_TARGET_MS},
    {"throttle-ms", required_argument, NULL, OPT_THROTTLE_MS},
    {"again", no_argument, NULL, OPT_AGAIN},
    {"restart", no_argument, NULL, OPT_RESTART},
    {"detach", no_argument, NULL, OPT_DETACH},
    {"replica", required_argument, NULL, OPT_REPLICA},
    {"journal-schema", required_argument, NULL, OPT_JOURNAL_SCHEMA},
    {"count", no_argument, NULL, OPT_COUNT},
    {"log", required_argument, NULL, OPT_LOG},
    {"verbose", no_argument, NULL, 'v'},
    {"quiet", no_argument, NULL, 'q'},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0}};

static bool
read_number(const char *option, const char *text, int64_t min, int64_t *out)
{
    if (lm_cli_number(text, min, out))
        return true;
    lm_cli_usage(&lm_cmd_run,
                 "%s takes a number that is at least %" PRId64 ", not \"%s\"",
                 option, min, text);
    return false;
}

static bool
take_option(struct run_options *options, int code, char **argv)
{
    switch (code) {
    case OPT_DB:
        free(options->url);
        options->url = lm_database_take_url(optarg);
        return true;
    case OPT_ARG:
        options->args[options->arg_count++] = optarg;
        return true;
    case OPT_LIMIT:
        return read_number("--limit", optarg, 1, &options->limit);
    case OPT_BATCH_SIZE:
        return read_number("--batch-size", optarg, 1, &options->batch_size);
    case OPT_TARGET_MS:
        return read_number("--target-ms", optarg, 1, &options->target_ms);
    case OPT_THROTTLE_MS:
        return read_number("--throttle-ms", optarg, 0, &options->throttle_ms);
    case OPT_AGAIN:
        options->again = true;
        return true;
    case OPT_RESTART:
        options->restart = true;
        return true;
    case OPT_REPLICA:
        options->replicas[options->replica_count++] =
            lm_database_take_url(optarg);
        return true;
    case OPT_DETACH:
        options->detach = true;
        return true;
    case OPT_JOURNAL_SCHEMA:
        options->journal_schema = optarg;
        return true;
    case OPT_COUNT:
        options->count = true;
        return true;
    case OPT_LOG:
        return lm_cli_set_log(&lm_cmd_run, optarg);
    case 'v':
        lm_log_set_level(LM_LOG_DEBUG);
        return true;
    case 'q':
        lm_log_set_level(LM_LOG_WARNING);
        return true;
    case OPT_HELP:
        options->help = true;
        return true;
    default:
        lm_cli_bad_option(&lm_cmd_run, code, argv, long_options);
        return false;
    }
}

static bool
parse_options(int argc, char **argv, struct run_options *options)
{
    int code;

    memset(options, 0, sizeof *options);
    options->batch_size = options->target_ms = options->throttle_ms = -1;
    options->journal_schema = "luamig";
    options->args = lm_calloc((size_t)argc, sizeof *options->args);
    options->replicas = lm_calloc((size_t)argc, sizeof *options->replicas);
    while ((code = lm_cli_getopt(argc, argv, ":vq", long_options)) != -1) {
        if (!take_option(options, code, argv))
            return false;
    }
    if (optind + 1 == argc) {
        options->path = argv[optind];
        return true;
    }
    if (optind < argc) {
        lm_cli_usage(&lm_cmd_run, "run takes one script; \"%s\" is too much",
                     argv[optind + 1]);
    } else if (options->help) {
        return true;
    } else {
        lm_cli_usage(&lm_cmd_run, "run which script?");
    }
    return false;
}

static int
show_help(const struct run_options *options)
{
    struct lm_buf args = LM_BUF_INIT;
    struct lm_err err;

    if (options->path != NULL &&
        !lm_script_describe(options->path, &args, &err)) {
        lm_buf_release(&args);
        return lm_cli_fail(&err);
    }
    fputs(help, stdout);
    if (options->path != NULL) {
        printf("\n%s %s\n%s", options->path,
               args.len > 0 ? "takes:" : "takes no arguments.",
               lm_buf_text(&args));
    }
    lm_buf_release(&args);
    return lm_cli_finish_output(LM_EXIT_DONE);
}

/* -- how it ended ------------------------------------------------------ */

static void
print_counts(const struct lm_outcome *outcome)
{
    char rows[32];

    if (outcome->one_shot) {
        fputs("one transaction", stdout);
        return;
    }
    lm_clock_format_count(rows, sizeof rows, outcome->rows);
    printf("%s row%s, %" PRId64 " batch%s", rows, outcome->rows == 1 ? "" : "s",
           outcome->batches, outcome->batches == 1 ? "" : "es");
}

/* The speed is this call's, the counts are the run's. */
static void
print_speed(const struct lm_outcome *outcome)
{
    char elapsed[32];
    char rate[32];
    int64_t ms = outcome->elapsed_ms > 0 ? outcome->elapsed_ms : 1;

    lm_clock_format(elapsed, sizeof elapsed, outcome->elapsed_ms);
    lm_clock_format_count(rate, sizeof rate, outcome->own_rows * 1000 / ms);
    printf(", %s", elapsed);
    if (!outcome->one_shot)
        printf(", %s rows/s", rate);
    printf(", %" PRId64 " retr%s", outcome->retries,
           outcome->retries == 1 ? "y" : "ies");
    if (outcome->held != NULL)
        printf(", %s", outcome->held);
}

static void
print_matching(const struct lm_outcome *outcome)
{
    char matching[32];
    char beyond[32];

    if (!outcome->counted)
        return;
    lm_clock_format_count(matching, sizeof matching, outcome->matching);
    printf("still matching: %s row%s", matching,
           outcome->matching == 1 ? "" : "s");
    if (outcome->beyond > 0) {
        lm_clock_format_count(beyond, sizeof beyond, outcome->beyond);
        printf(", %s of them beyond the last key of this run", beyond);
    }
    putchar('\n');
}

/* Rows that were set aside, and the exit code of a run that is done. */
static int
print_failures(const struct lm_outcome *outcome)
{
    if (outcome->failures == 0)
        return LM_EXIT_DONE;
    printf(
        "set aside: %" PRId64 " row%s; see \"luamig failures %" PRId64 "\"\n",
        outcome->failures, outcome->failures == 1 ? "" : "s", outcome->run_id);
    return LM_EXIT_FAILURES;
}

static const char *
end_state(const struct lm_outcome *outcome)
{
    switch (outcome->ending) {
    case LM_END_DONE:
    case LM_END_DONE_ALREADY:
        return outcome->failures > 0 ? "done_with_failures" : "done";
    case LM_END_CANCELLED:
    case LM_END_CANCELLED_ALREADY:
        return "cancelled";
    case LM_END_STOPPED:
        return "stopped";
    case LM_END_FAILED:
        break;
    }
    return "failed";
}

/* The last line of --log json. */
static void
log_end(const struct lm_outcome *outcome, const struct lm_err *err, int code)
{
    struct lm_buf fields = LM_BUF_INIT;
    const char *reason = NULL;

    if (outcome->ending == LM_END_FAILED) {
        reason = err->message;
    } else if (outcome->ending == LM_END_STOPPED ||
               outcome->ending == LM_END_CANCELLED) {
        reason = outcome->reason;
    }
    lm_record_text(&fields, "event", "end");
    if (outcome->run_id > 0) {
        lm_record_int(&fields, "run", outcome->run_id);
    } else {
        lm_record_text(&fields, "run", NULL);
    }
    lm_record_text(&fields, "state", end_state(outcome));
    lm_record_int(&fields, "rows", outcome->rows);
    lm_record_int(&fields, "batches", outcome->batches);
    lm_record_int(&fields, "retries", outcome->retries);
    lm_record_int(&fields, "failures", outcome->failures);
    lm_record_int(&fields, "elapsed_ms", outcome->elapsed_ms);
    lm_record_text(&fields, "reason", reason);
    lm_record_text(&fields, "held", outcome->held);
    lm_record_int(&fields, "exit_code", code);
    lm_log_event(LM_LOG_INFO, NULL, &fields);
    lm_buf_release(&fields);
}

static int
report(const struct lm_outcome *outcome, const struct lm_err *err)
{
    switch (outcome->ending) {
    case LM_END_DONE:
        printf("run %" PRId64 " done: ", outcome->run_id);
        print_counts(outcome);
        print_speed(outcome);
        putchar('\n');
        print_matching(outcome);
        return print_failures(outcome);
    case LM_END_DONE_ALREADY:
        printf("run %" PRId64 " is done already: ", outcome->run_id);
        print_counts(outcome);
        puts("; use --again to run it once more");
        return print_failures(outcome);
    case LM_END_CANCELLED_ALREADY:
        printf("run %" PRId64 " was cancelled after ", outcome->run_id);
        print_counts(outcome);
        puts("; use --restart to begin anew");
        return LM_EXIT_CANCELLED;
    case LM_END_CANCELLED:
        printf("run %" PRId64 " cancelled by %s: ", outcome->run_id,
               outcome->reason);
        print_counts(outcome);
        print_speed(outcome);
        puts("; what it wrote stays");
        return LM_EXIT_CANCELLED;
    case LM_END_STOPPED:
        printf("run %" PRId64 " stopped (%s): ", outcome->run_id,
               outcome->reason);
        print_counts(outcome);
        print_speed(outcome);
        if (outcome->cursor != NULL)
            printf(", at %s", outcome->cursor);
        puts("; the same command resumes it");
        return LM_EXIT_STOPPED;
    case LM_END_FAILED:
        break;
    }
    if (outcome->begun && err->kind != LM_ERR_FENCED) {
        printf("run %" PRId64 " failed: ", outcome->run_id);
        print_counts(outcome);
        print_speed(outcome);
        if (outcome->cursor != NULL)
            printf(", at %s", outcome->cursor);
        puts("; the same command resumes it");
    }
    return lm_cli_fail(err);
}

static bool
read_variable(const char *name, int64_t usual, int64_t *out)
{
    const char *text = getenv(name);

    *out = usual;
    return text == NULL || read_number(name, text, 100, out);
}

static void
under_way(void *arg, int64_t run_id)
{
    lm_detach_under_way(arg, run_id);
}

static int
run_script(const struct run_options *options, const struct lm_script *script,
           struct lm_detach *detach)
{
    struct lm_runner_options runner = {
        .journal_schema = options->journal_schema,
        .again = options->again,
        .restart = options->restart,
        .limit = options->limit,
        .replicas = (const char *const *)options->replicas,
        .replica_count = options->replica_count,
        .count = options->count,
        .keep_batch_size = options->batch_size >= 0,
        .keep_throttle_ms = options->throttle_ms >= 0,
        .keep_target_ms = options->target_ms >= 0,
        .under_way = under_way,
        .arg = detach};
    struct lm_database database;
    struct lm_outcome outcome;
    struct lm_err err;
    int code;

    if (!read_variable("LUAMIG_LEASE_MS", DEFAULT_LEASE_MS, &runner.lease_ms) ||
        !read_variable("LUAMIG_SILENCE_MS", DEFAULT_SILENCE_MS,
                       &runner.silence_ms))
        return LM_EXIT_USAGE;
    if (!lm_database_resolve(&database, options->url, &err)) {
        lm_database_release(&database);
        return lm_cli_fail(&err);
    }
    runner.conninfo = database.conninfo;
    lm_runner_run(lm_script_migration(script), &runner, &outcome, &err);
    if (outcome.ending == LM_END_FAILED && err.kind == LM_ERR_SCRIPT &&
        err.where[0] == '\0')
        LM_ERR_COPY(err.where, options->path);
    code = lm_cli_finish_output(report(&outcome, &err));
    log_end(&outcome, &err, code);
    lm_outcome_release(&outcome);
    lm_database_release(&database);
    return code;
}

static int
load_and_run(const struct run_options *options, struct lm_detach *detach)
{
    struct lm_script_options script_options = {
        .args = options->args,
        .arg_count = options->arg_count,
        .batch_size = options->batch_size,
        .target_ms = options->target_ms,
        .throttle_ms = options->throttle_ms};
    struct lm_script *script = NULL;
    struct lm_err err;
    int code;

    if (lm_script_load(&script, options->path, &script_options, &err)) {
        code = run_script(options, script, detach);
    } else {
        code = lm_cli_fail(&err);
    }
    lm_script_free(script);
    return code;
}

static int
run(int argc, char **argv)
{
    struct run_options options;
    struct lm_detach detach = {.words = -1};
    int code = LM_EXIT_USAGE;

    if (parse_options(argc, argv, &options)) {
        if (options.help) {
            code = show_help(&options);
        } else if (!options.detach ||
                   lm_detach_begin(&detach, options.path, &code)) {
            code = load_and_run(&options, &detach);
        }
    }
    lm_detach_release(&detach);
    for (int i = 0; i < options.replica_count; i++)
        free(options.replicas[i]);
    free(options.replicas);
    free(options.args);
    free(options.url);
    return code;
}

const struct lm_command lm_cmd_run = {"run", "run or resume a migration", help,
                                      run, .options = long_options};
