/* SPDX-License-Identifier: MIT */
/* What progress is measured against: the number of rows that are left, counted
 * or estimated, or else the position of the key. Nothing here fails a run; if
 * the server refuses a query, nothing is logged. */

#include "core/run/runner.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"

enum { COUNT_MS = 10000, POSITION_MS = 10000, POSITION_TIMEOUT_MS = 1000 };

static bool
begin_reading(struct lm_runner *self, int64_t timeout_ms, struct lm_err *err)
{
    struct lm_txn txn = lm_lane_txn(&self->lane);

    txn.read_only = true;
    txn.statement_timeout_ms = timeout_ms;
    return lm_txn_begin(self->lane.conn, &txn, err);
}

static bool
count_left(struct lm_runner *self, int64_t *rows)
{
    struct lm_err err;
    bool ok;

    lm_progress_hold_begin(&self->gauge.progress, "counting rows");
    ok = begin_reading(self, COUNT_MS, &err) &&
         lm_page_count_left(self->lane.conn, &self->lane.query,
                            &self->run.cursor, &self->run.bound, rows, &err);
    lm_conn_rollback(self->lane.conn);
    lm_progress_hold_end(&self->gauge.progress);
    if (!ok && lm_stop_level() == 0) {
        lm_log(LM_LOG_WARNING,
               "the rows were not counted: %s; the total is an estimate",
               err.message);
    }
    return ok;
}

/* How many rows there are in all, once it is known where the run ends. */
static void
find_total(struct lm_runner *self)
{
    int64_t left = -1;
    bool counted = self->options->count && count_left(self, &left);

    if (!counted) {
        left = lm_page_estimate(self->lane.conn, &self->lane.query,
                                &self->run.cursor, &self->run.bound);
    }
    if (left >= 0) {
        lm_progress_set_total(&self->gauge.progress, self->run.rows + left,
                              counted);
    }
    lm_runner_renew_lease_and_status(self);
}

static const char *
only_text(const struct lm_key *key)
{
    return lm_key_is_empty(key) ? NULL : key->texts[0];
}

static void
find_position(struct lm_runner *self)
{
    struct lm_err ignored;
    double position = -1;

    if (lm_key_is_empty(&self->run.cursor) || self->gauge.position.useless)
        return;
    self->gauge.position_due_ms = lm_clock_ms() + POSITION_MS;
    if (begin_reading(self, POSITION_TIMEOUT_MS, &ignored)) {
        position = lm_position_find(&self->gauge.position, self->lane.conn,
                                    &self->lane.query, self->lane.first_key,
                                    only_text(&self->run.cursor),
                                    only_text(&self->run.bound));
    }
    lm_conn_rollback(self->lane.conn);
    if (position >= 0)
        lm_progress_position(&self->gauge.progress, position);
}

void
lm_runner_feed_progress(struct lm_runner *self)
{
    if (!self->gauge.has_total) {
        self->gauge.has_total = true;
        find_total(self);
    }
    if (lm_log_enabled(LM_LOG_INFO) &&
        lm_clock_ms() >= self->gauge.position_due_ms &&
        lm_progress_wants_position(&self->gauge.progress))
        find_position(self);
}
