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

    lm_holding_note_lease(&self->holding);
    if (rows == 0)
        return;
    lm_holding_note_batch(&self->holding, self->lane.worked_ms);
    lm_progress_batch(&self->gauge.progress, rows,
                      lm_size_rows(&self->lane.size));
}

static int64_t
rows_left(void *run)
{
    const struct lm_runner *self = run;

    return self->options->limit > 0
               ? self->options->limit - self->gauge.progress.own_rows
               : INT64_MAX;
}

static void
retries(void *run)
{
    struct lm_runner *self = run;

    self->gauge.progress.retries++;
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

    lm_monitor_set_backend(self->holding.monitor,
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
                                 .rows_left = rows_left,
                                 .retries = retries,
                                 .waits = waits,
                                 .disconnected = disconnected,
                                 .connected = connected,
                                 .claim = lm_runner_claim_again,
                                 .reread = lm_runner_reread};
}
