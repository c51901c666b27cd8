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
    struct lm_txn txn = lm_lane_read_txn(&self->lane);

    txn.statement_timeout_ms = timeout_ms;
    return lm_txn_begin(lm_lane_reader(&self->lane), &txn, err);
}

/* What is left: the ranges, or without any the rest after the cursor. */
static bool
list_left(struct lm_runner *self, struct lm_neighbours *out, struct lm_err *err)
{
    if (self->dry == NULL && self->run.ranges > 1) {
        return lm_journal_list_neighbours(&self->lane.journal, self->run.id,
                                          false, out, err);
    }
    out->count = 1;
    out->of = lm_calloc(1, sizeof *out->of);
    lm_key_copy(&out->of->range.cursor, &self->run.cursor);
    lm_key_copy(&out->of->range.upper, &self->run.bound);
    return true;
}

static bool
count_in(struct lm_runner *self, const struct lm_neighbours *ranges,
         int64_t *rows, struct lm_err *err)
{
    int64_t end = lm_clock_ms() + COUNT_MS;
    bool ok = begin_reading(self, COUNT_MS, err);

    *rows = 0;
    for (int i = 0; ok && i < ranges->count; i++) {
        const struct lm_range *range = &ranges->of[i].range;
        int64_t left = end - lm_clock_ms();
        int64_t more = 0;

        ok = (i == 0 || lm_txn_limit_statements(lm_lane_reader(&self->lane),
                                                left > 1 ? left : 1, err)) &&
             lm_page_count_left(lm_lane_reader(&self->lane), &self->lane.query,
                                &range->cursor, &range->upper, &more, err);
        *rows += more;
    }
    lm_conn_rollback(lm_lane_reader(&self->lane));
    return ok;
}

static bool
count_left(struct lm_runner *self, const struct lm_neighbours *ranges,
           int64_t *rows)
{
    struct lm_err err;
    bool ok;

    lm_progress_hold_begin(&self->gauge.progress, "counting rows");
    ok = count_in(self, ranges, rows, &err);
    lm_progress_hold_end(&self->gauge.progress);
    if (!ok && lm_stop_level() == 0) {
        lm_log(LM_LOG_WARNING,
               "the rows were not counted: %s; the total is an estimate",
               err.message);
    }
    return ok;
}

/* -1: unknown. */
static int64_t
estimate_left(struct lm_runner *self, const struct lm_neighbours *ranges)
{
    int64_t left = 0;

    for (int i = 0; i < ranges->count; i++) {
        const struct lm_range *range = &ranges->of[i].range;
        int64_t rows =
            lm_page_estimate(lm_lane_reader(&self->lane), &self->lane.query,
                             &range->cursor, &range->upper);

        if (rows < 0)
            return -1;
        left += rows;
    }
    return left;
}

/* The base query is all of a file, of which the records were counted. */
static bool
count_records(const struct lm_runner *self, int64_t *left)
{
    if (!self->migration->whole_input)
        return false;
    *left = self->input.rows - self->run.rows - self->run.failures;
    return *left >= 0;
}

/* How many rows there are in all, once it is known where the run ends. */
static void
find_total(struct lm_runner *self)
{
    struct lm_neighbours ranges;
    struct lm_err ignored;
    int64_t left = -1;
    bool counted;

    if (!list_left(self, &ranges, &ignored))
        return;
    counted = count_records(self, &left) ||
              (self->options->count && count_left(self, &ranges, &left));
    if (!counted)
        left = estimate_left(self, &ranges);
    lm_neighbours_release(&ranges);
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

/* -1: unknown. */
static double
find_key(struct lm_runner *self, const struct lm_key *key, double if_empty)
{
    if (lm_key_is_empty(key))
        return if_empty;
    return lm_position_find(&self->gauge.position, lm_lane_reader(&self->lane),
                            &self->lane.query, self->lane.first_key,
                            only_text(key), only_text(&self->run.bound));
}

/* The part of the key's way that is behind the run; -1: unknown. */
static double
find_part(struct lm_runner *self, const struct lm_neighbours *ranges)
{
    double part = 1;

    for (int i = 0; i < ranges->count; i++) {
        const struct lm_range *range = &ranges->of[i].range;
        double from = find_key(self, &range->cursor, 0);
        double to = find_key(self, &range->upper, 1);

        if (from < 0 || to < 0)
            return -1;
        part -= to - from;
    }
    return part > 0 ? part : 0;
}

static void
find_position(struct lm_runner *self)
{
    struct lm_neighbours ranges;
    struct lm_err ignored;
    double position = -1;

    if (self->run.batches == 0 || self->gauge.position.useless ||
        !list_left(self, &ranges, &ignored))
        return;
    self->gauge.position_due_ms = lm_clock_ms() + POSITION_MS;
    if (begin_reading(self, POSITION_TIMEOUT_MS, &ignored))
        position = find_part(self, &ranges);
    lm_conn_rollback(lm_lane_reader(&self->lane));
    lm_neighbours_release(&ranges);
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
