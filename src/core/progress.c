/* SPDX-License-Identifier: MIT */
/*
 * Counters, rate and their rendering. The total is the planner's estimate: it
 * is shown as such, and not at all once it has proved too low.
 */

#include "core/progress.h"

#include "base/clock.h"
#include "base/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { REDRAW_MS = 100, PLAIN_MS = 10000, SAMPLE_MS = 1000, BAR_WIDTH = 20 };

static void
add_sample(struct lm_progress *self, int64_t now)
{
    int room = (int)LM_COUNT(self->sample_ms);
    int last = (self->sample_next + room - 1) % room;

    if (self->sample_count > 0 && now - self->sample_ms[last] < SAMPLE_MS)
        return;
    self->sample_ms[self->sample_next] = now;
    self->sample_rows[self->sample_next] = self->own_rows;
    self->sample_next = (self->sample_next + 1) % room;
    if (self->sample_count < room)
        self->sample_count++;
}

double
lm_progress_rate(const struct lm_progress *self)
{
    int room = (int)LM_COUNT(self->sample_ms);
    int oldest = (self->sample_next + room - self->sample_count) % room;
    int64_t elapsed;

    if (self->sample_count == 0)
        return 0;
    elapsed = lm_clock_ms() - self->sample_ms[oldest];
    if (elapsed <= 0)
        return 0;
    return (double)(self->own_rows - self->sample_rows[oldest]) * 1000.0 /
           (double)elapsed;
}

void
lm_progress_begin(struct lm_progress *self, int64_t total, int64_t rows,
                  int64_t batches, int64_t retries)
{
    memset(self, 0, sizeof *self);
    self->total = total;
    self->rows = rows;
    self->batches = batches;
    self->retries = retries;
    self->started_ms = self->told_ms = lm_clock_ms();
    add_sample(self, self->started_ms);
}

static bool
knows_total(const struct lm_progress *self)
{
    return self->total > 0 && self->rows <= self->total;
}

static void
add_bar(struct lm_buf *buf, const struct lm_progress *self)
{
    int filled = (int)(BAR_WIDTH * self->rows / self->total);

    lm_buf_putc(buf, '[');
    for (int i = 0; i < BAR_WIDTH; i++)
        lm_buf_putc(buf, i < filled ? '#' : '.');
    lm_buf_printf(buf, "] %3d%% ", (int)(100 * self->rows / self->total));
}

static void
add_counts(struct lm_buf *buf, const struct lm_progress *self)
{
    double rate = lm_progress_rate(self);
    char rows[32];
    char total[32];
    char per_second[32];

    lm_clock_format_count(rows, sizeof rows, self->rows);
    lm_clock_format_count(per_second, sizeof per_second, (int64_t)rate);
    lm_buf_printf(buf, "%s", rows);
    if (knows_total(self)) {
        lm_clock_format_count(total, sizeof total, self->total);
        lm_buf_printf(buf, " of about %s", total);
    }
    lm_buf_printf(buf, " rows, %" PRId64 " batches, %s rows/s", self->batches,
                  per_second);
    if (rate > 0 && knows_total(self)) {
        char left[32];

        lm_clock_format(
            left, sizeof left,
            (int64_t)((double)(self->total - self->rows) * 1000.0 / rate));
        lm_buf_printf(buf, ", about %s left", left);
    }
}

static void
draw(struct lm_progress *self, int64_t now, const char *waiting)
{
    struct lm_buf buf = LM_BUF_INIT;

    self->drawn_ms = now;
    if (knows_total(self))
        add_bar(&buf, self);
    add_counts(&buf, self);
    if (waiting != NULL)
        lm_buf_printf(&buf, " (%s)", waiting);
    lm_log_status(lm_buf_text(&buf));
    lm_buf_release(&buf);
}

static void
tell(struct lm_progress *self, int64_t now)
{
    struct lm_buf buf = LM_BUF_INIT;

    self->told_ms = now;
    add_counts(&buf, self);
    lm_log(LM_LOG_INFO, "%s", lm_buf_text(&buf));
    lm_buf_release(&buf);
}

void
lm_progress_batch(struct lm_progress *self, int64_t rows)
{
    int64_t now = lm_clock_ms();

    self->rows += rows;
    self->batches++;
    self->own_rows += rows;
    self->own_batches++;
    add_sample(self, now);
    if (lm_log_is_terminal()) {
        if (now - self->drawn_ms >= REDRAW_MS)
            draw(self, now, NULL);
    } else if (now - self->told_ms >= PLAIN_MS) {
        tell(self, now);
    }
}

void
lm_progress_set(struct lm_progress *self, int64_t rows, int64_t batches)
{
    self->own_rows += rows - self->rows;
    self->own_batches += batches - self->batches;
    self->rows = rows;
    self->batches = batches;
}

void
lm_progress_wait(struct lm_progress *self, const char *what)
{
    if (lm_log_is_terminal())
        draw(self, lm_clock_ms(), what);
}

void
lm_progress_end(struct lm_progress *self)
{
    if (lm_log_is_terminal() && self->started_ms > 0)
        lm_log_status(NULL);
}
