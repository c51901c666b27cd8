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

/* What the runner believed of the run, before it read the journal again. */
struct belief {
    int64_t seq;
    int64_t batches;
    struct lm_belief range;
};

static struct belief
believe(const struct lm_runner *self)
{
    return (struct belief){self->run.seq, self->run.batches,
                           lm_lane_believe(&self->lane)};
}

static bool
compare_with_server(struct lm_runner *self, const struct belief *believed,
                    struct lm_err *err)
{
    bool same_range = self->lane.range.id == believed->range.id;
    int64_t lost = 0;
    int64_t settled;

    if (same_range) {
        lost = believed->range.seq - self->lane.range.seq;
    } else if (self->team == NULL) { /* what others did may be counted twice */
        lost = believed->batches - self->run.batches;
    }
    lost += believed->seq - self->run.seq;
    if (!lm_lane_settle(&self->lane, &believed->range, &settled, err))
        return false;
    lm_runner_note_run(self);
    if (lost == 0 && same_range)
        return true;
    if (lost > 0) {
        lm_log(LM_LOG_WARNING,
               "the server lost %" PRId64
               " acknowledged batches in a crash; the cursor is back where it "
               "was before them, and the run migrates their rows again",
               lost);
    } else if (settled > 0 || self->run.seq > believed->seq) {
        lm_log(LM_LOG_INFO, "the interrupted commit has succeeded");
    }
    self->lane.range_done = false; /* rows may have come back */
    lm_progress_set(&self->gauge.progress, self->run.rows, self->run.batches);
    return true;
}

/* After the run was claimed, or read again (ok): another process of the same
 * run may have taken this one's place, as its sessions seemed to be gone. Then
 * this one goes on without leading. */
static bool
may_stay(struct lm_runner *self, bool ok, struct lm_err *err)
{
    struct lm_err ignored;
    bool member = false;

    if (ok || err->kind != LM_ERR_FENCED ||
        !lm_journal_is_member(&self->lane.journal, self->run.id, &member,
                              &ignored) ||
        !member)
        return ok;
    lm_log(LM_LOG_WARNING, "%s; this process goes on to help", err->message);
    self->leads = false;
    self->looked_ms = 0;
    return true;
}

static bool
reclaim(struct lm_runner *self, struct lm_err *err)
{
    bool ok = lm_journal_reclaim(&self->lane.journal, &self->run,
                                 &self->lane.range, err);

    return may_stay(self, ok, err);
}

bool
lm_runner_claim_again(void *runner, struct lm_err *err)
{
    struct lm_runner *self = runner;
    struct belief believed = believe(self);

    if (self->leads && !reclaim(self, err))
        return false;
    if (!self->leads && !lm_journal_come_back(&self->lane.journal, &self->run,
                                              &self->lane.range, err))
        return false;
    lm_mailbox_poll_soon(self->requests.mailbox);
    if (!compare_with_server(self, &believed, err))
        return false;
    self->lane.range_done = false;
    if (!self->leads)
        return true;
    self->ended = strncmp(self->run.state, "done", 4) == 0;
    lm_requests_note_state(&self->requests, self->run.state);
    lm_holding_waits_for(&self->holding,
                         self->requests.paused ? "paused" : NULL);
    return true;
}

static bool
refresh(struct lm_runner *self, struct lm_err *err)
{
    bool ok = lm_journal_refresh(&self->lane.journal, &self->run, err);

    return may_stay(self, ok, err);
}

/* The state is not read: requests change it, and this runner obeys them. */
bool
lm_runner_reread(void *runner, struct lm_err *err)
{
    struct lm_runner *self = runner;
    struct lm_lane *lane = &self->lane;
    struct belief believed = believe(self);
    bool mine = self->leads || lane->range.id > 0;

    self->looked_ms = 0;
    if ((self->leads && !refresh(self, err)) ||
        (lane->range.id > 0 &&
         !lm_journal_read_range(&lane->journal, &lane->range, &mine, err)) ||
        (!mine &&
         !lm_journal_come_back(&lane->journal, &self->run, &lane->range, err)))
        return false;
    return compare_with_server(self, &believed, err);
}
