/* SPDX-License-Identifier: MIT */
/* luamig pause, resume and cancel: three requests, and what they do for a run
 * without a runner. */

#include "base/show.h"
#include "cli/target/control.h"
#include "core/journal/journal.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>

static const char pause_help[] = "usage: luamig pause RUN [OPTIONS]\n"
                                 "\n"
                                 "Asks the runner of a run to pause after its "
                                 "current batch. The runner keeps the\n"
                                 "run, but no transaction, until \"luamig "
                                 "resume\", \"luamig cancel\" or a signal.\n"
                                 "\n" LM_LOOK_HELP "\n" LM_LOOK_RUN;

static const char resume_help[] =
    "usage: luamig resume RUN [OPTIONS]\n"
    "\n"
    "Lets a paused run continue. If its runner is gone, resume the run with\n"
    "\"luamig run SCRIPT\".\n"
    "\n" LM_LOOK_HELP "\n" LM_LOOK_RUN;

static const char cancel_help[] =
    "usage: luamig cancel RUN [OPTIONS]\n"
    "\n"
    "Ends a run for good after its current batch. The run's changes stay. A\n"
    "cancelled run cannot be resumed; \"luamig run SCRIPT --restart\" begins a "
    "new one.\n"
    "\n"
    "  --now                 interrupt the current statement and roll its "
    "batch back\n" LM_LOOK_HELP "\n" LM_LOOK_RUN;

static const struct lm_option cancel_options[] = {
    LM_FLAG("now", struct lm_control, at_once),
    LM_LOOK_OPTIONS(offsetof(struct lm_control, look))};
static const struct lm_option look_options[] = {
    LM_LOOK_OPTIONS(offsetof(struct lm_control, look))};

/* Finds the run, and asks its runner or, when it has none, calls without. */
static int
control(int argc, char **argv, const struct lm_command *command,
        int (*without)(struct lm_control *))
{
    struct lm_control self;
    struct lm_err err;
    int code = LM_EXIT_USAGE;

    lm_control_init(&self, command);
    if (lm_look_parse(command, argc, argv, &self)) {
        if (!lm_control_find(&self, argv[optind], &err)) {
            code = lm_cli_fail(&err);
        } else if (!lm_control_ask(&self, &code)) {
            code = without(&self);
        }
    }
    lm_control_release(&self);
    return code;
}

static int
pause_without(struct lm_control *self)
{
    struct lm_err err;

    lm_err_set(&err, LM_ERR_FAILED,
               "run %" PRId64 " of %s has no runner: there is nothing to pause",
               self->run.id, self->run.script);
    return lm_cli_fail(&err);
}

static int
resume_without(struct lm_control *self)
{
    char *script = lm_look_script(&self->look, &self->run);
    struct lm_err err;

    lm_err_set(&err, LM_ERR_FAILED,
               "the runner of run %" PRId64 " of %s is gone", self->run.id,
               self->run.script);
    lm_err_hint(&err, "Run the same command as before: luamig run %s", script);
    free(script);
    return lm_cli_fail(&err);
}

static int
cancel_without(struct lm_control *self)
{
    struct lm_journal journal = {.conn = self->look.conn,
                                 .schema = self->look.schema};
    bool cancelled = false;
    struct lm_err err;

    if (!lm_journal_cancel(&journal, self->run.id, &cancelled, &err) ||
        (self->request_id == 0 && !lm_control_note(self, &err)))
        return lm_cli_fail(&err);
    lm_out("run %" PRId64 " %s; its changes stay\n", self->run.id,
           cancelled ? "is cancelled" : "had already ended");
    return lm_cli_finish_output(LM_EXIT_DONE);
}

static int
run_pause(int argc, char **argv)
{
    return control(argc, argv, &lm_cmd_pause, pause_without);
}

static int
run_resume(int argc, char **argv)
{
    return control(argc, argv, &lm_cmd_resume, resume_without);
}

static int
run_cancel(int argc, char **argv)
{
    return control(argc, argv, &lm_cmd_cancel, cancel_without);
}

const struct lm_command lm_cmd_pause = {
    "pause", "pause a run, from any machine", pause_help, run_pause,
    .options = look_options};
const struct lm_command lm_cmd_resume = {"resume", "let a paused run continue",
                                         resume_help, run_resume,
                                         .options = look_options};
const struct lm_command lm_cmd_cancel = {"cancel", "end a run for good",
                                         cancel_help, run_cancel,
                                         .options = cancel_options};
