/* SPDX-License-Identifier: MIT */
/*
 * luamig run: loads a script, finds the database, lets the runner work, and
 * says how it ended.
 */

#include "base/log.h"
#include "base/show.h"
#include "cli/cli.h"
#include "cli/commands/detach.h"
#include "cli/report/all_repos.h"
#include "cli/report/dry_report.h"
#include "cli/report/run_report.h"
#include "cli/target/args.h"
#include "cli/target/database.h"
#include "core/input/file.h"
#include "core/journal/journal.h"
#include "script/script.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_SILENCE_MS = 30000 };

static const char help[] =
    "usage: luamig run SCRIPT [OPTIONS]\n"
    "\n"
    "Runs a migration. If its last run was stopped, killed or failed, the "
    "same\n"
    "command resumes that run. luamig never migrates a committed row twice.\n"
    "SCRIPT is a path, or the name of a script in the project's scripts "
    "folder.\n"
    "\n" LM_DATABASE_HELP "  --all-repos           run in each database of "
    "luamig.lua, one after the other\n" LM_ARGS_HELP
    "  --input FILE          the file that a script with `input` reads; - is "
    "standard\n"
    "                        input. To resume a run that has loaded it, leave "
    "it "
    "out\n"
    "  --dry-run             run batches and roll each one back; show what "
    "would\n"
    "                        change: a diff on a terminal, else JSON\n"
    "  --limit N             stop after N rows (exit code 5); you can resume "
    "the run.\n"
    "                        With --dry-run: try N rows (exit code 0)\n"
    "  --prepare             with --dry-run: call the script's prepare, too\n"
    "  --batch-size N        rows in a batch; overrides the script\n"
    "  --target-ms N         time that a batch should take; overrides the "
    "script\n"
    "  --throttle-ms N       pause between batches; overrides the script\n"
    "  --workers N           connections that share the run, 1 to 64, or auto: "
    "as many\n"
    "                        as help; overrides the script\n"
    "  --join                help a run that is at work, also on another host; "
    "if\n"
    "                        nobody has it, begin or resume it\n"
    "  --again               run a finished migration once more\n"
    "  --restart             abandon an unfinished run and begin a new one\n"
    "  --adopt RUN           continue run RUN with this script, although its "
    "name,\n"
    "                        file or arguments differ\n"
    "  --force               run although a check finds an error (luamig "
    "check)\n"
    "  --detach              return when the run has begun; the run continues "
    "without\n"
    "                        this terminal; the path of the log file is "
    "printed\n"
    "  --replica URL         a standby; the run waits while its replay lags "
    "behind;\n"
    "                        repeatable\n"
    "  --journal-schema NAME schema of luamig's tables (default: luamig)\n"
    "  --count               count the rows first, for at most ten seconds, to "
    "show\n"
    "                        an exact total\n"
    "  --log FORMAT          plain, or json: one JSON object per line on "
    "stderr\n"
    "  -v, --verbose         show retries and other details\n"
    "  -q, --quiet           show only warnings and errors\n"
    "  --help                show this text; with SCRIPT, also its arguments\n"
    "\n"
    "On Ctrl-C (SIGINT) or SIGTERM, the run finishes its batch and stops. A "
    "second\n"
    "signal interrupts the batch and rolls it back. If the terminal is closed\n"
    "(SIGHUP), the run finishes its batch and stops.\n"
    "\n"
    "LUAMIG_LEASE_MS: how long a runner may be silent while its connection is "
    "open,\n"
    "before another runner may take over its run (default: 60000).\n"
    "LUAMIG_SILENCE_MS: how much longer than the statement timeout luamig "
    "waits for\n"
    "the server, before it gives up the connection (default: 30000).\n";

struct run_options {
    char *path; /* owned; NULL: none is given */
    struct lm_database_choice choice;
    bool all_repos;
    struct lm_args args;
    const char *input; /* NULL: none is given */
    int64_t limit;
    int64_t batch_size;
    int64_t target_ms;
    int64_t throttle_ms;
    const char *workers_text; /* NULL: as the script says */
    int64_t workers;          /* as struct lm_script_options has it */
    const char *journal_schema;
    bool join;
    bool again;
    bool restart;
    int64_t adopt; /* 0: none */
    bool force;
    bool detach;
    bool dry_run;
    bool prepare;
    bool count;
    bool help;
};

static const struct lm_option option_table[] = {
    LM_DATABASE_OPTIONS(offsetof(struct run_options, choice)),
    LM_FLAG("all-repos", struct run_options, all_repos),
    LM_ARGS_OPTIONS(offsetof(struct run_options, args)),
    LM_ONCE("input", struct run_options, input),
    LM_FLAG("dry-run", struct run_options, dry_run),
    LM_NUMBER("limit", struct run_options, limit, 1),
    LM_FLAG("prepare", struct run_options, prepare),
    LM_NUMBER("batch-size", struct run_options, batch_size, 1),
    LM_NUMBER("target-ms", struct run_options, target_ms, 1),
    LM_NUMBER("throttle-ms", struct run_options, throttle_ms, 0),
    LM_TEXT("workers", struct run_options, workers_text),
    LM_FLAG("join", struct run_options, join),
    LM_FLAG("again", struct run_options, again),
    LM_FLAG("restart", struct run_options, restart),
    LM_NUMBER("adopt", struct run_options, adopt, 1),
    LM_FLAG("force", struct run_options, force),
    LM_FLAG("detach", struct run_options, detach),
    LM_REPLICA_OPTION(offsetof(struct run_options, choice)),
    LM_TEXT("journal-schema", struct run_options, journal_schema),
    LM_FLAG("count", struct run_options, count),
    LM_LOG_FORMAT,
    LM_LEVEL("verbose", 'v', LM_LOG_DEBUG),
    LM_LEVEL("quiet", 'q', LM_LOG_WARNING),
    LM_FLAG("help", struct run_options, help),
    LM_NO_MORE};

/* --join takes a run as it is. */
static bool
may_join(const struct run_options *options)
{
    const char *other = options->again       ? "--again"
                        : options->restart   ? "--restart"
                        : options->adopt > 0 ? "--adopt"
                        : options->dry_run   ? "--dry-run"
                                             : NULL;

    if (!options->join || other == NULL)
        return true;
    lm_cli_usage(&lm_cmd_run,
                 "--join works with a run as it is: %s cannot be added", other);
    return false;
}

static bool
go_together(const struct run_options *options)
{
    if (options->all_repos &&
        (options->choice.url != NULL || options->choice.repo != NULL ||
         options->detach || options->dry_run || options->adopt > 0)) {
        lm_cli_usage(
            &lm_cmd_run,
            "--all-repos cannot be combined with --db, --repo or --adopt, "
            "which name one database, nor with --detach or --dry-run");
        return false;
    }
    if (options->adopt > 0 && (options->again || options->restart)) {
        lm_cli_usage(
            &lm_cmd_run,
            "--adopt continues a run, %s begins another one: give one of them",
            options->again ? "--again" : "--restart");
        return false;
    }
    if (options->prepare && !options->dry_run) {
        lm_cli_usage(&lm_cmd_run,
                     "--prepare is for a dry run: a run always calls prepare");
        return false;
    }
    if (options->dry_run && (options->again || options->restart ||
                             options->detach || options->adopt > 0)) {
        lm_cli_usage(
            &lm_cmd_run,
            "--dry-run cannot be combined with %s: a dry run leaves no "
            "run in the journal",
            options->again       ? "--again"
            : options->adopt > 0 ? "--adopt"
            : options->restart   ? "--restart"
                                 : "--detach");
        return false;
    }
    return true;
}

static bool
read_workers(struct run_options *options)
{
    const char *text = options->workers_text;

    if (text == NULL)
        return true;
    options->workers = LM_SCRIPT_WORKERS_AUTO;
    if (strcmp(text, "auto") == 0 ||
        (lm_cli_number(text, 1, &options->workers) &&
         options->workers <= LM_RUNNER_MOST_WORKERS))
        return true;
    lm_cli_usage(&lm_cmd_run,
                 "--workers takes a number from 1 to %d, or "
                 "auto, not \"%s\"",
                 LM_RUNNER_MOST_WORKERS, text);
    return false;
}

static bool
parse_options(int argc, char **argv, struct run_options *options)
{
    memset(options, 0, sizeof *options);
    options->batch_size = options->target_ms = options->throttle_ms = -1;
    options->journal_schema = "luamig";
    if (!lm_cli_parse(&lm_cmd_run, argc, argv, options) ||
        !go_together(options) || !may_join(options) || !read_workers(options))
        return false;
    if (optind + 1 == argc) {
        options->path = lm_strdup(argv[optind]);
        return true;
    }
    if (optind < argc) {
        lm_cli_usage(&lm_cmd_run,
                     "unexpected argument \"%s\"; run takes one script",
                     argv[optind + 1]);
    } else if (options->help) {
        return true;
    } else {
        lm_cli_usage(&lm_cmd_run, "no script is given; run takes one");
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
    lm_out_own(help);
    if (options->path != NULL) {
        lm_out("\n%s %s\n", options->path,
               args.len > 0 ? "takes:" : "takes no arguments.");
        lm_out_lines(lm_buf_text(&args));
    }
    lm_buf_release(&args);
    return lm_cli_finish_output(LM_EXIT_DONE);
}

static bool
read_variable(const char *name, int64_t usual, int64_t *out)
{
    const char *text = getenv(name);

    *out = usual;
    return text == NULL ||
           lm_cli_take_number(&lm_cmd_run, name, text, 100, out);
}

/* A run of one script in one database. */
struct job {
    const struct run_options *options;
    struct lm_project *project;
    const struct lm_project_file *file; /* may be NULL */
    struct lm_detach *detach;
    struct lm_input_file *input; /* open, if there is one to read */
};

/* An error in the script that has no line is the file's. */
static void
place_error(const struct job *job, struct lm_err *err)
{
    if (err->kind == LM_ERR_SCRIPT && err->where[0] == '\0')
        LM_ERR_COPY(err->where, job->options->path);
}

static void
run_for_real(const struct job *job, const struct lm_migration *migration,
             const struct lm_runner_options *runner, struct lm_repo_end *end)
{
    struct lm_outcome outcome;
    struct lm_err err;

    lm_runner_run(migration, runner, &outcome, &err);
    if (outcome.ending == LM_END_FAILED)
        place_error(job, &err);
    end->code = lm_run_report_print(&outcome, &err);
    end->run_id = outcome.run_id;
    end->rows = outcome.rows;
    if (outcome.begun || outcome.ending != LM_END_FAILED)
        end->state = lm_outcome_state(&outcome);
    lm_outcome_release(&outcome);
}

static void
run_dry(const struct job *job, const struct lm_migration *migration,
        const struct lm_runner_options *runner, struct lm_repo_end *end)
{
    struct lm_dry_report dry;
    struct lm_err err;

    lm_runner_dry_run(migration, runner, &dry, &err);
    if (dry.ending == LM_END_FAILED)
        place_error(job, &err);
    end->code = lm_dry_report_print(&dry, migration->name, &err);
    lm_dry_report_release(&dry);
}

static void
run_in(const struct job *job, const struct lm_script *script,
       const struct lm_database *database, struct lm_runner_options *runner,
       struct lm_repo_end *end)
{
    const char **replicas = lm_database_replicas(
        database, &job->options->choice, &runner->replica_count);

    runner->conninfo = database->conninfo;
    runner->replicas = replicas;
    (job->options->dry_run ? run_dry : run_for_real)(
        job, lm_script_migration(script), runner, end);
    free(replicas);
}

static void
run_script(const struct job *job, const struct lm_script *script,
           const struct lm_database_choice *choice, struct lm_repo_end *end)
{
    const struct run_options *options = job->options;
    struct lm_runner_options runner = {
        .journal_schema = options->journal_schema,
        .join = options->join,
        .again = options->again,
        .restart = options->restart,
        .adopt = options->adopt,
        .force = options->force,
        .limit = options->limit,
        .prepare = options->prepare,
        .input = job->input,
        .count = options->count,
        .keep_batch_size = options->batch_size >= 0,
        .keep_throttle_ms = options->throttle_ms >= 0,
        .keep_target_ms = options->target_ms >= 0,
        .keep_workers = options->workers_text != NULL,
        .under_way = lm_detach_under_way,
        .arg = job->detach};
    const char *reads_from = lm_script_migration(script)->reads_from;
    struct lm_database database = {.conninfo = NULL};
    struct lm_database source;
    struct lm_err err;

    end->code = LM_EXIT_USAGE;
    if (!read_variable("LUAMIG_LEASE_MS", LM_JOURNAL_LEASE_MS,
                       &runner.lease_ms) ||
        !read_variable("LUAMIG_SILENCE_MS", DEFAULT_SILENCE_MS,
                       &runner.silence_ms))
        return;
    if (lm_database_resolve_source(&source, job->project, reads_from, &err) &&
        lm_database_resolve(&database, job->project, choice,
                            lm_script_repo(script), &err)) {
        runner.source_conninfo = source.conninfo;
        run_in(job, script, &database, &runner, end);
    } else {
        end->code = lm_cli_fail(&err);
    }
    lm_database_release(&database);
    lm_database_release(&source);
}

static bool
may_read(const struct run_options *options,
         const struct lm_migration *migration, struct lm_err *err)
{
    if (options->input == NULL || migration->input != NULL)
        return true;
    return lm_script_fail_unread(options->path, err);
}

static void
load_and_run(const struct job *job, const struct lm_database_choice *choice,
             struct lm_repo_end *end)
{
    const struct run_options *options = job->options;
    struct lm_script_options script_options = {
        .batch_size = options->batch_size,
        .target_ms = options->target_ms,
        .throttle_ms = options->throttle_ms,
        .workers = options->workers,
        .defaults_json = job->file != NULL ? job->file->defaults_json : NULL};
    struct lm_script *script = NULL;
    struct lm_err err;

    memset(end, 0, sizeof *end);
    lm_args_give(&options->args, &script_options);
    if (!lm_script_load(&script, options->path, &script_options, &err)) {
        lm_project_explain_missing(job->project, options->path, &err);
        end->code = lm_cli_fail(&err);
    } else if (!may_read(options, lm_script_migration(script), &err)) {
        end->code = lm_cli_fail(&err);
    } else {
        run_script(job, script, choice, end);
    }
    lm_script_free(script);
}

static void
run_in_repo(void *arg, const char *repo, struct lm_repo_end *end)
{
    struct lm_database_choice choice = {.repo = repo};

    load_and_run(arg, &choice, end);
}

static int
run_in_all(struct job *job)
{
    struct lm_err err;

    if (job->file != NULL && job->file->repo_count > 0)
        return lm_all_repos(job->file, run_in_repo, job);
    lm_err_set(&err, LM_ERR_USAGE,
               "--all-repos needs a luamig.lua that names repos");
    lm_err_hint(&err, "Write one into %s: return { repos = { ... } }.",
                job->project->root);
    return lm_cli_fail(&err);
}

static int
run_as_asked(struct run_options *options, struct lm_project *project)
{
    struct lm_detach detach = {.words = -1};
    struct lm_input_file input = {.name = NULL};
    struct job job = {.options = options,
                      .project = project,
                      .detach = &detach,
                      .input = options->input != NULL ? &input : NULL};
    struct lm_repo_end end;
    struct lm_err err;
    int code;

    if (!lm_args_read(&options->args, &err) ||
        !lm_project_read_file(project, &job.file, &err) ||
        (job.input != NULL &&
         !lm_input_file_open(&input, options->input, &err))) {
        code = lm_cli_fail(&err);
    } else if (options->all_repos) {
        code = run_in_all(&job);
    } else if (!options->detach ||
               lm_detach_begin(&detach, options->path, &code)) {
        load_and_run(&job, &options->choice, &end);
        code = end.code;
    }
    lm_input_file_close(&input);
    lm_detach_release(&detach);
    return code;
}

static int
run(int argc, char **argv)
{
    struct run_options options;
    struct lm_project project = {.root = NULL};
    struct lm_err err;
    int code = LM_EXIT_USAGE;

    if (parse_options(argc, argv, &options)) {
        if (!lm_project_open(&project, &err) ||
            (options.path != NULL &&
             !lm_project_replace_name(&project, &options.path, &err))) {
            code = lm_cli_fail(&err);
        } else if (options.help) {
            code = show_help(&options);
        } else {
            code = run_as_asked(&options, &project);
        }
    }
    lm_project_release(&project);
    lm_args_release(&options.args);
    free(options.path);
    lm_database_choice_release(&options.choice);
    return code;
}

const struct lm_command lm_cmd_run = {"run", "run or resume a migration", help,
                                      run, .options = option_table};
