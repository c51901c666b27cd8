/* SPDX-License-Identifier: MIT */
/* Which keys the run's first lane works on, and what all lanes have done. */

#include "base/log.h"
#include "core/run/runner.h"
#include "core/run/team.h"

#include <string.h>

enum {
    WAIT_MS = 100,
    PARTS_A_WORKER = 4 /* into which the run is cut at its start */
};

bool
lm_runner_needs_range(const struct lm_runner *self)
{
    return self->dry == NULL && lm_lane_needs_range(&self->lane);
}

void
lm_runner_note_run(struct lm_runner *self)
{
    struct lm_counts known = lm_account_run(&self->account);
    struct lm_counts counts = known;

    counts.rows = self->run.rows;
    counts.batches = self->run.batches;
    counts.failures = self->run.failures;
    /* The journal hears of a retry with the next checkpoint. */
    if (self->run.retries > known.retries)
        counts.retries = self->run.retries;
    lm_account_set_run(&self->account, &counts);
}

void
lm_runner_follow_account(struct lm_runner *self)
{
    struct lm_counts counts = lm_account_run(&self->account);

    self->run.rows = counts.rows;
    self->run.batches = counts.batches;
    self->run.failures = counts.failures;
    self->gauge.progress.retries = counts.retries;
    lm_progress_follow(&self->gauge.progress, counts.rows, counts.batches,
                       lm_size_rows(&self->lane.size));
}

bool
lm_runner_next_range(struct lm_runner *self, struct lm_err *err)
{
    struct lm_lane *lane = &self->lane;
    bool freed = false;

    if (!lm_journal_next_range(&lane->journal, &self->run, &lane->range,
                               lane->range_done, err))
        return false;
    lane->range_done = false;
    lm_runner_note_run(self);
    if (lane->range.id > 0)
        return lm_lane_check_range(lane, err);
    if (self->run.ranges > 0 &&
        !lm_lane_share(lane, &self->share, 2, &freed, err))
        return false;
    if (self->run.ranges > 0 && !freed)
        lm_runner_await_workers(self);
    return true;
}

bool
lm_runner_reserve(struct lm_runner *self)
{
    if (lm_lane_reserve(&self->lane))
        return true;
    lm_runner_rest(self, WAIT_MS);
    return false;
}

bool
lm_runner_wants_team(const struct lm_runner *self)
{
    return self->staff.wanted > 1;
}

bool
lm_runner_start_team(struct lm_runner *self, struct lm_err *err)
{
    int workers = self->staff.wanted;
    struct lm_team_options options = {.migration = self->migration,
                                      .lane = &self->lane,
                                      .account = &self->account,
                                      .monitor = self->holding.monitor,
                                      .run_id = self->run.id,
                                      .mark = self->run.mark};

    lm_account_share(&self->account);
    self->team = lm_team_start(&options, workers);
    self->lane.others = workers - 1;
    if (self->lane.range.id == 0 || self->run.ranges > workers)
        return true;
    return lm_lane_cut_own(&self->lane, workers * PARTS_A_WORKER, err) &&
           lm_journal_count_run(&self->lane.journal, &self->run, err);
}
