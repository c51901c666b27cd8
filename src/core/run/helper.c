/* SPDX-License-Identifier: MIT */
/*
 * A process that has joined a run (--join). It works on ranges as the leader
 * does, but the leader alone begins and ends the run and answers requests. If
 * the leader is gone, this process leads.
 */

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/run/runner.h"
#include "core/run/team.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    LOOK_MS = 500,
    WAIT_MS = 200,
    GRACE_MS = 3000 /* a leader that connects again has no session meanwhile */
};

static bool
has_ended(struct lm_runner *self, const struct lm_lead *lead, bool *ended,
          struct lm_err *err)
{
    const char *state = self->run.state;

    *ended = strncmp(state, "done", 4) == 0;
    if (strcmp(state, "cancelled") == 0) {
        return lm_err_set(err, LM_ERR_CANCELLED,
                          "run %" PRId64 " has been cancelled", self->run.id);
    }
    if (strcmp(state, "stopped") == 0) {
        snprintf(self->outcome->reason, sizeof self->outcome->reason,
                 "another process has stopped it");
        return lm_err_set(err, LM_ERR_INTERRUPT,
                          "run %" PRId64 " has been stopped", self->run.id);
    }
    if (strcmp(state, "failed") == 0) {
        lm_journal_fail_elsewhere(&self->run, err);
        if (lead->error[0] != '\0')
            lm_err_detail(err, "%s", lead->error);
        return false;
    }
    return true;
}

/* The leader has no session: after a while this process takes its place. */
static bool
replace_leader(struct lm_runner *self, const struct lm_lead *lead,
               struct lm_err *err)
{
    int64_t now = lm_clock_ms();

    if (lead->leads) {
        self->leaderless_ms = 0;
        return true;
    }
    if (self->leaderless_ms == 0)
        self->leaderless_ms = now;
    if (!lead->resigned && now - self->leaderless_ms < LM_FAULT_GRACE(GRACE_MS))
        return true;
    self->leaderless_ms = 0;
    if (!lm_journal_lead(&self->lane.journal, &self->run, &self->leads, err))
        return false;
    if (self->leads) {
        lm_log(lead->resigned ? LM_LOG_INFO : LM_LOG_WARNING,
               "process %" PRId64 " on host \"%s\", which led run %" PRId64
               ", %s; this process leads it now",
               lead->pid, lead->host, self->run.id,
               lead->resigned ? "has stopped" : "is gone");
        lm_mailbox_forget(self->requests.mailbox);
        self->requests.heard = false;
        lm_team_park(self->team, false);
        lm_team_hold(self->team, self->requests.paused);
    }
    return true;
}

static bool
look(struct lm_runner *self, struct lm_err *err)
{
    struct lm_lead lead;

    self->looked_ms = lm_clock_ms();
    if (!lm_journal_look_at_lead(&self->lane.journal, &self->run, &lead, err) ||
        !has_ended(self, &lead, &self->ended, err))
        return false;
    lm_runner_note_run(self);
    lm_runner_note_leader(self, lead.workers);
    if (self->ended)
        return true;
    self->requests.paused =
        lead.wants_pause || strcmp(self->run.state, "paused") == 0;
    return replace_leader(self, &lead, err);
}

/* It may work. A pause is answered by the leader when nobody has a range. */
static bool
wait_paused(struct lm_runner *self, struct lm_err *err)
{
    struct lm_lane *lane = &self->lane;

    lm_team_park(self->team, true);
    if (lane->range.id > 0 &&
        !lm_journal_give_back(&lane->journal, &self->run, &lane->range,
                              lane->range_done, err))
        return false;
    lm_progress_hold_begin(&self->gauge.progress, "paused");
    lm_runner_rest(self, WAIT_MS);
    lm_progress_hold_end(&self->gauge.progress);
    return true;
}

bool
lm_runner_follow(struct lm_runner *self, bool *may_work, struct lm_err *err)
{
    *may_work = false;
    if (!self->requests.heard && !lm_runner_begin_control(self, err))
        return false;
    /* The leader answers; here a "set" has been applied, and a pause or resume
     * makes this process look. */
    if (self->requests.answer_count > 0) {
        self->requests.answer_count = 0;
        self->requests.wants_pause = false;
        self->looked_ms = 0;
    }
    if (lm_clock_ms() - self->looked_ms >= LOOK_MS && !look(self, err))
        return false;
    if (self->ended || self->leads)
        return true;
    if (self->requests.paused)
        return wait_paused(self, err);
    lm_team_park(self->team, false);
    if (!self->run.started) {
        lm_runner_rest(self, WAIT_MS);
        return true;
    }
    if (!self->input.ready &&
        (!lm_runner_read_loaded(self, err) || !lm_runner_look_again(self, err)))
        return false;
    *may_work = true;
    return true;
}
