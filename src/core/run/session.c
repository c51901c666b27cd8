/* SPDX-License-Identifier: MIT */
/* The run's connection, at the start and after it broke. Compares what the
 * runner knew of the run with what the server has. */

#include "core/run/runner.h"

#include "base/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The name that the journal has for the script: the database's encoding may
 * lack some of its characters. */
static void
fit_names(struct lm_runner *self)
{
    const struct lm_migration *m = self->migration;

    lm_runner_names_release(&self->names);
    self->names.script = lm_conn_fit_name(self->lane.conn, m->name);
    self->names.file = lm_conn_fit_name(self->lane.conn, m->origin.file);
    self->names.path = lm_conn_fit_name(self->lane.conn, m->origin.path);
    self->names.typed = lm_conn_fit_name(self->lane.conn, m->origin.typed);
}

void
lm_runner_names_release(struct lm_runner_names *self)
{
    free(self->script);
    free(self->file);
    free(self->path);
    free(self->typed);
}

bool
lm_runner_connect(struct lm_runner *self, struct lm_err *err)
{
    if (!lm_lane_connect(&self->lane, err))
        return false;
    fit_names(self);
    return true;
}

static void
compare_with_server(struct lm_runner *self, int64_t believed_seq)
{
    int64_t lost = believed_seq - self->run.seq;

    if (lost > 0) {
        lm_log(LM_LOG_WARNING,
               "the server lost %" PRId64
               " acknowledged batches in a crash; the cursor is back where it "
               "was before them, and the run migrates their rows again",
               lost);
    } else if (lost < 0) {
        lm_log(LM_LOG_INFO, "the interrupted commit has succeeded");
    }
    self->lane.pages_done = false; /* rows may have come back */
    lm_progress_set(&self->gauge.progress, self->run.rows, self->run.batches);
}

bool
lm_runner_claim_again(void *runner, struct lm_err *err)
{
    struct lm_runner *self = runner;
    int64_t believed_seq = self->run.seq;

    if (!lm_journal_reclaim(&self->lane.journal, &self->run, err))
        return false;
    lm_mailbox_poll_soon(self->requests.mailbox);
    compare_with_server(self, believed_seq);
    self->ended = strncmp(self->run.state, "done", 4) == 0;
    lm_requests_note_state(&self->requests, self->run.state);
    lm_holding_waits_for(&self->holding,
                         self->requests.paused ? "paused" : NULL);
    return true;
}

/* The state is not read: requests change it, and this runner obeys them. */
bool
lm_runner_reread(void *runner, struct lm_err *err)
{
    struct lm_runner *self = runner;
    int64_t believed_seq = self->run.seq;

    if (!lm_journal_refresh(&self->lane.journal, &self->run, err))
        return false;
    if (self->run.seq != believed_seq)
        compare_with_server(self, believed_seq);
    return true;
}
