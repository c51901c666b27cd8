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
committed(void *run, int64_t rows)
{
    struct lm_runner *self = run;

    struct lm_counts done = {.rows = rows,
                             .batches = rows > 0 ? 1 : 0,
                             .passed = self->lane.window.rows};

    if (self->run.ranges <= 1)
        lm_key_copy(&self->run.cursor, &self->lane.range.cursor);
    lm_account_add(&self->account, &done);
    self->batch_number = rows > 0 ? 0 : self->batch_number;
    self->reserved = lm_account_reserve(&self->account, self->reserved, 0);
    if (rows == 0)
        return;
    lm_holding_note_batch(&self->holding, self->lane.worked_ms);
    lm_runner_follow_account(self);
}

static void
recorded(void *run)
{
    struct lm_runner *self = run;

    struct lm_counts done = {.failures = 1};

    lm_account_add(&self->account, &done);
    lm_runner_follow_account(self);
    if (self->run.ranges <= 1)
        lm_key_copy(&self->run.cursor, &self->lane.range.cursor);
}

static int64_t
batches(void *run)
{
    struct lm_runner *self = run;

    return lm_account_run(&self->account).batches;
}

static int64_t
next_batch(void *run)
{
    struct lm_runner *self = run;

    if (self->team == NULL)
        return lm_account_run(&self->account).batches + 1;
    self->batch_number = lm_account_number(&self->account, self->batch_number);
    return self->batch_number;
}

static int64_t
failures(void *run)
{
    struct lm_runner *self = run;

    return lm_account_run(&self->account).failures;
}

static int64_t
rows_left(void *run)
{
    const struct lm_runner *self = run;

    return self->options->limit > 0 ? self->reserved : INT64_MAX;
}

static bool
goes_on(void *run)
{
    return lm_runner_goes_on(run);
}

static void
retries(void *run)
{
    struct lm_runner *self = run;

    struct lm_counts done = {.retries = 1};

    lm_account_add(&self->account, &done);
    lm_runner_follow_account(self);
}

static void
conflicts(void *run)
{
    struct lm_runner *self = run;
    struct lm_counts done = {.conflicts = 1};

    lm_account_add(&self->account, &done);
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
                                 .committed = committed,
                                 .recorded = recorded,
                                 .batches = batches,
                                 .next_batch = next_batch,
                                 .failures = failures,
                                 .rows_left = rows_left,
                                 .goes_on = goes_on,
                                 .retries = retries,
                                 .conflicts = conflicts,
                                 .waits = waits,
                                 .disconnected = disconnected,
                                 .connected = connected,
                                 .claim = lm_runner_claim_again,
                                 .reread = lm_runner_reread};
}
