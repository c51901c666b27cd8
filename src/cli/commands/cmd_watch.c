/* SPDX-License-Identifier: MIT */
/* luamig watch and wait: follow a run on any machine, by what its runner leaves
 * in the journal, and end with its exit code. */

#include "base/clock.h"
#include "base/log.h"
#include "base/show.h"
#include "base/stop.h"
#include "cli/target/look.h"
#include "core/run/progress.h"
#include "pg/conn/conn.h"

#include <getopt.h>
#include <inttypes.h>
#include <string.h>

/* The server may go away for a while, as it may for the runner. */
enum { LOOK_MS = 500, PATIENCE_MS = 120000 };

static const char watch_help[] =
    "usage: luamig watch RUN [OPTIONS]\n"
    "\n"
    "Shows the progress of a run until the run ends. Its runner may be on any\n"
    "machine. The exit code is that of the run (5 if its runner is gone).\n"
    "\n"
    "  --log FORMAT          plain, or json: one JSON object per line on "
    "stderr\n" LM_LOOK_HELP "\n" LM_LOOK_RUN;

static const char wait_help[] = "usage: luamig wait RUN [OPTIONS]\n"
                                "\n"
                                "Waits until a run ends. The exit code is that "
                                "of the run (5 if its runner is\n"
                                "gone).\n"
                                "\n" LM_LOOK_HELP "\n" LM_LOOK_RUN;

struct watch {
    const struct lm_command *command;
    bool quiet;
    struct lm_look look;
    struct lm_status_run run;
    struct lm_status_progress seen;
    struct lm_progress progress;
};

static const struct lm_option watch_options[] = {
    LM_LOG_FORMAT, LM_LOOK_OPTIONS(offsetof(struct watch, look))};
static const struct lm_option wait_options[] = {
    LM_LOOK_OPTIONS(offsetof(struct watch, look))};

static bool
look(struct watch *self, struct lm_err *err)
{
    return lm_status_progress(self->look.conn, self->look.schema, self->run.id,
                              &self->seen, err);
}

/* A lost connection is made again, for a while. */
static bool
look_until(struct watch *self, struct lm_err *err)
{
    int64_t end = lm_clock_ms() + PATIENCE_MS;

    while (!look(self, err)) {
        struct lm_err why;

        if (err->kind != LM_ERR_LOST && err->kind != LM_ERR_CONNECT)
            return false;
        do {
            if (lm_clock_ms() > end || !lm_stop_sleep_ms(LOOK_MS))
                return false;
        } while (!lm_look_again(&self->look, self->command, &why));
    }
    return true;
}

static bool
has_ended(const struct lm_status_progress *seen)
{
    return strcmp(seen->state, "running") != 0 &&
           (strcmp(seen->state, "paused") != 0 || !seen->leased);
}

static void
show(struct watch *self)
{
    const struct lm_status_progress *seen = &self->seen;

    if (self->quiet)
        return;
    if (self->progress.started_ms == 0) {
        lm_progress_begin(&self->progress, self->run.id, seen->rows,
                          seen->batches, seen->retries);
    }
    if (seen->total >= 0)
        lm_progress_set_total(&self->progress, seen->total, false);
    if (seen->waits_for[0] != '\0') {
        lm_progress_hold_begin(&self->progress, seen->waits_for);
    } else {
        lm_progress_hold_end(&self->progress);
    }
    lm_progress_set_workers(&self->progress, seen->workers, seen->workers_note);
    lm_progress_follow(&self->progress, seen->rows, seen->batches,
                       seen->batch_size);
}

static int
report(const struct watch *self)
{
    const struct lm_status_progress *seen = &self->seen;
    bool gone = !has_ended(seen) || strcmp(seen->state, "paused") == 0;

    lm_out("run %" PRId64 " %s: %s row%s, %" PRId64 " batch%s, %" PRId64
           " retr%s%s\n",
           self->run.id, gone ? "has no runner" : seen->state,
           lm_clock_count(seen->rows).text, seen->rows == 1 ? "" : "s",
           seen->batches, seen->batches == 1 ? "" : "es", seen->retries,
           seen->retries == 1 ? "y" : "ies",
           gone ? "; \"luamig run\" with the same script resumes it" : "");
    if (seen->error[0] != '\0')
        lm_log(LM_LOG_ERROR, "%s", seen->error);
    return lm_cli_finish_output(gone ? LM_EXIT_STOPPED : seen->exit_code);
}

static int
follow(struct watch *self)
{
    struct lm_err err;

    for (;;) {
        if (!look_until(self, &err))
            return lm_stop_level() > 0 ? LM_EXIT_STOPPED : lm_cli_fail(&err);
        if (has_ended(&self->seen) || !self->seen.leased)
            break;
        show(self);
        if (!lm_stop_sleep_ms(LOOK_MS)) {
            lm_progress_end(&self->progress);
            return LM_EXIT_STOPPED;
        }
    }
    lm_progress_end(&self->progress);
    return report(self);
}

static int
watch(int argc, char **argv, const struct lm_command *command, bool quiet)
{
    struct watch self = {.command = command, .quiet = quiet};
    struct lm_err err;
    int code = LM_EXIT_USAGE;

    lm_look_init(&self.look);
    if (lm_look_parse(command, argc, argv, &self)) {
        if (lm_look_find(&self.look, command, argv[optind], &self.run, &err)) {
            code = follow(&self);
        } else {
            code = lm_cli_fail(&err);
        }
    }
    lm_look_release(&self.look);
    return code;
}

static int
run_watch(int argc, char **argv)
{
    return watch(argc, argv, &lm_cmd_watch, false);
}

static int
run_wait(int argc, char **argv)
{
    return watch(argc, argv, &lm_cmd_wait, true);
}

const struct lm_command lm_cmd_watch = {
    "watch", "live progress of a run on any machine", watch_help, run_watch,
    .options = watch_options};
const struct lm_command lm_cmd_wait = {"wait", "wait until a run ends",
                                       wait_help, run_wait,
                                       .options = wait_options};
