/* SPDX-License-Identifier: MIT */
/* The functions of a run that its lane calls. */

#include "core/run/runner.h"

static bool
begin_batch(void *run, struct lm_err *err)
{
    struct lm_runner *self = run;

    return lm_lane_begin_batch(&self->lane, err);
}

static bool
end_batch(void *run, const struct lm_page *page, const struct lm_key *cursor,
          struct lm_err *err)
{
    struct lm_runner *self = run;

    return lm_lane_commit_batch(&self->lane, page, cursor, err);
}

static void
counted(void *run, const struct lm_counts *done)
{
    struct lm_runner *self = run;

    bool moved = done->retries == 0 && done->conflicts == 0;

    if (moved && self->run.ranges <= 1)
        lm_key_copy(&self->run.cursor, &self->lane.range.cursor);
    if (done->batches > 0)
        lm_holding_note_batch(&self->holding, self->lane.worked_ms);
    lm_runner_follow_account(self);
}

static bool
goes_on(void *run)
{
    return lm_runner_goes_on(run);
}

static void
waits(void *run, const char *what)
{
    struct lm_runner *self = run;

    if (what != NULL) {
        lm_progress_hold_begin(&self->gauge.progress, what);
    } else {
        lm_progress_hold_end(&self->gauge.progress);
    }
}

static void
rest(void *run, int64_t duration_ms)
{
    lm_runner_rest(run, duration_ms);
}

static void
prepares(void *run, bool begins)
{
    lm_runner_note_prepare(run, begins);
}

static bool
is_wanted(void *run)
{
    return lm_runner_is_wanted(run);
}

static void
disconnected(void *run)
{
    struct lm_runner *self = run;

    lm_monitor_disconnect(self->holding.monitor);
}

static void
connected(void *run)
{
    struct lm_runner *self = run;
    struct lm_conn *conn = self->lane.conn;

    lm_monitor_set_backend(self->holding.monitor, 1,
                           lm_conn_is_pooled(conn) ? 0
                                                   : lm_conn_backend_pid(conn));
}

struct lm_lane_host
lm_runner_host(struct lm_runner *self)
{
    return (struct lm_lane_host){.run = self,
                                 .begin_batch = begin_batch,
                                 .end_batch = end_batch,
                                 .counted = counted,
                                 .goes_on = goes_on,
                                 .waits = waits,
                                 .rest = rest,
                                 .prepares = prepares,
                                 .is_wanted = is_wanted,
                                 .disconnected = disconnected,
                                 .connected = connected,
                                 .claim = lm_runner_claim_again,
                                 .reread = lm_runner_reread};
}
