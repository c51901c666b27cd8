/* SPDX-License-Identifier: MIT */
/*
 * Counters and rate, and how they are shown.
 *
 * The total is counted, or it is the planner's estimate and shown as an
 * estimate. If it was too low, or if there is none, the position of the key
 * replaces it, and the result is called a guess.
 */

#include "core/run/progress.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/record.h"

#include <stdio.h>
#include <string.h>

enum {
    REDRAW_MS = 100,
    TELL_MS = 10000,
    TELL_HELD_MS = 60000, /* plain lines say little while the run is held */
    SAMPLE_MS = 1000,
    RATE_MS = 60000,
    BAR_WIDTH = 20
};

/* -- active time and speed -------------------------------------------- */

int64_t
lm_progress_held_ms(const struct lm_progress *self)
{
    return self->held_ms +
           (self->holding ? lm_clock_ms() - self->held_since_ms : 0);
}

static int64_t
active_ms(const struct lm_progress *self)
{
    return lm_clock_ms() - self->started_ms - lm_progress_held_ms(self);
}

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

/* The newest sample that is a minute old, or the oldest. */
static int
find_sample(const struct lm_progress *self, int64_t now)
{
    int room = (int)LM_COUNT(self->sample_ms);
    int found = (self->sample_next + room - self->sample_count) % room;

    for (int i = 1; i < self->sample_count; i++) {
        int next = (found + 1) % room;

        if (now - self->sample_ms[next] < RATE_MS)
            break;
        found = next;
    }
    return found;
}

double
lm_progress_rate(const struct lm_progress *self)
{
    int64_t now = active_ms(self);
    int since = find_sample(self, now);
    int64_t rows = self->own_rows - self->sample_rows[since];
    int64_t elapsed = now - self->sample_ms[since];

    if (rows <= 0 || elapsed <= 0)
        return 0;
    return (double)rows * 1000.0 / (double)elapsed;
}

/* -- how far, and how long -------------------------------------------- */

static bool
knows_total(const struct lm_progress *self)
{
    return self->total > 0 && self->rows <= self->total;
}

bool
lm_progress_wants_position(const struct lm_progress *self)
{
    return !knows_total(self);
}

/* The fraction that is done; below 0 if unknown, or if it is less than what
 * was shown before by another method. */
static double
part_done(const struct lm_progress *self)
{
    double part = knows_total(self) ? (double)self->rows / (double)self->total
                                    : self->position;

    return part >= self->shown ? part : -1;
}

/* How long the rest takes, or -1. */
static int64_t
left_ms(const struct lm_progress *self)
{
    double rate = lm_progress_rate(self);
    double way = self->position - self->first_position;
    double left;

    if (knows_total(self)) {
        return rate > 0 ? (int64_t)((double)(self->total - self->rows) *
                                    1000.0 / rate)
                        : -1;
    }
    if (self->position < 0 || way <= 0)
        return -1;
    left = (double)(self->position_ms - self->first_position_ms) / way *
               (1 - self->position) -
           (double)(active_ms(self) - self->position_ms);
    return left > 0 ? (int64_t)left : 0;
}

/* -- telling ---------------------------------------------------------- */

void
lm_progress_add_rows(struct lm_buf *buf, int64_t rows, int64_t total,
                     bool counted)
{
    lm_buf_puts(buf, lm_clock_count(rows).text);
    if (total >= rows) {
        lm_buf_printf(buf, " of %s%s", counted ? "" : "about ",
                      lm_clock_count(total).text);
    }
    lm_buf_puts(buf, " rows");
}

static void
add_rows(struct lm_buf *buf, const struct lm_progress *self)
{
    lm_progress_add_rows(buf, self->rows, knows_total(self) ? self->total : -1,
                         self->counted);
}

/* ", 5,494 rows/s, batches of 1,000, about 8.1s left" */
static void
add_pace(struct lm_buf *buf, const struct lm_progress *self)
{
    int64_t left = left_ms(self);

    lm_buf_printf(buf, ", %s rows/s",
                  lm_clock_count((int64_t)lm_progress_rate(self)).text);
    if (self->batch_size > 0) {
        lm_buf_printf(buf, ", batches of %s",
                      lm_clock_count(self->batch_size).text);
    }
    if (self->workers > 1 || self->workers_note[0] != '\0') {
        lm_buf_printf(buf, ", %d worker%s", self->workers,
                      self->workers == 1 ? "" : "s");
    }
    if (self->workers_note[0] != '\0')
        lm_buf_printf(buf, " (%s)", self->workers_note);
    if (left >= 0) {
        lm_buf_printf(buf,
                      knows_total(self)
                          ? ", about %s left"
                          : ", perhaps %s left, by the key's position",
                      lm_clock_span(left).text);
    }
}

static void
add_waiting(struct lm_buf *buf, const struct lm_progress *self)
{
    if (self->holding)
        lm_buf_printf(buf, "waiting (%s), ", self->waiting);
}

static void
add_bar(struct lm_buf *buf, double part)
{
    int filled = (int)(BAR_WIDTH * part);

    lm_buf_putc(buf, '[');
    for (int i = 0; i < BAR_WIDTH; i++)
        lm_buf_putc(buf, i < filled ? '#' : '.');
    lm_buf_printf(buf, "] %3d%% ", (int)(100 * part));
}

static void
draw(struct lm_progress *self, int64_t now)
{
    struct lm_buf buf = LM_BUF_INIT;
    double part = part_done(self);

    self->drawn_ms = now;
    if (part >= 0) {
        self->shown = part;
        add_bar(&buf, part);
    }
    add_waiting(&buf, self);
    add_rows(&buf, self);
    add_pace(&buf, self);
    lm_log_status(lm_buf_text(&buf));
    lm_buf_release(&buf);
}

static void
record_or_null(struct lm_buf *fields, const char *name, int64_t value,
               bool known)
{
    if (known) {
        lm_record_int(fields, name, value);
    } else {
        lm_record_text(fields, name, NULL);
    }
}

static void
add_fields(struct lm_buf *fields, const struct lm_progress *self)
{
    int64_t left = left_ms(self);
    bool known = knows_total(self);

    lm_record_text(fields, "event", "progress");
    lm_record_int(fields, "run", self->run);
    lm_record_int(fields, "rows", self->rows);
    record_or_null(fields, "total", self->total, known);
    lm_record_text(fields, "total_is",
                   !known          ? NULL
                   : self->counted ? "count"
                                   : "estimate");
    lm_record_int(fields, "batches", self->batches);
    lm_record_int(fields, "batch_size", self->batch_size);
    lm_record_int(fields, "workers", self->workers);
    lm_record_text(fields, "workers_note",
                   self->workers_note[0] != '\0' ? self->workers_note : NULL);
    lm_record_real(fields, "rate", lm_progress_rate(self));
    record_or_null(fields, "eta_s", left / 1000, left >= 0);
    lm_record_bool(fields, "eta_is_guess", left >= 0 && !known);
    lm_record_text(fields, "waiting", self->holding ? self->waiting : NULL);
    lm_record_int(fields, "held_ms", lm_progress_held_ms(self));
}

static void
show_progress(struct lm_progress *self, int64_t now)
{
    struct lm_buf text = LM_BUF_INIT;
    struct lm_buf fields = LM_BUF_INIT;
    double part = part_done(self);

    self->told_ms = now;
    add_waiting(&text, self);
    add_rows(&text, self);
    if (part >= 0) {
        self->shown = part;
        lm_buf_printf(&text, " (%s%d%%)", knows_total(self) ? "" : "perhaps ",
                      (int)(100 * part));
    }
    add_pace(&text, self);
    add_fields(&fields, self);
    lm_log_event(LM_LOG_INFO, lm_buf_text(&text), &fields);
    lm_buf_release(&text);
    lm_buf_release(&fields);
}

/* Shows changes, if it is time to; on a terminal perhaps at once. */
static void
show(struct lm_progress *self, bool at_once)
{
    int64_t now = lm_clock_ms();
    int64_t interval =
        self->holding && !lm_log_is_json() ? TELL_HELD_MS : TELL_MS;

    if (lm_log_has_status()) {
        if (at_once || now - self->drawn_ms >= REDRAW_MS)
            draw(self, now);
    } else if (now - self->told_ms >= interval) {
        show_progress(self, now);
    }
}

/* -- what happens ----------------------------------------------------- */

void
lm_progress_begin(struct lm_progress *self, int64_t run, int64_t rows,
                  int64_t batches, int64_t retries)
{
    memset(self, 0, sizeof *self);
    self->run = run;
    self->total = -1;
    self->position = -1;
    self->first_position = batches > 0 ? -1 : 0;
    self->rows = rows;
    self->batches = batches;
    self->retries = retries;
    self->workers = 1;
    self->started_ms = self->told_ms = lm_clock_ms();
    add_sample(self, 0);
}

void
lm_progress_set_total(struct lm_progress *self, int64_t total, bool counted)
{
    self->total = total;
    self->counted = counted;
}

void
lm_progress_set_workers(struct lm_progress *self, int workers, const char *note)
{
    self->workers = workers;
    snprintf(self->workers_note, sizeof self->workers_note, "%s", note);
}

/* What an earlier connection did, or a crash undid, is no speed. */
void
lm_progress_set(struct lm_progress *self, int64_t rows, int64_t batches)
{
    int64_t more = rows - self->rows;

    for (int i = 0; i < self->sample_count; i++)
        self->sample_rows[i] += more;
    self->own_rows += more;
    self->own_batches += batches - self->batches;
    self->rows = rows;
    self->batches = batches;
    if (more < 0)
        self->shown = 0;
}

void
lm_progress_follow(struct lm_progress *self, int64_t rows, int64_t batches,
                   int64_t next_size)
{
    if (rows < self->rows)
        lm_progress_set(self, rows, batches);
    self->own_rows += rows - self->rows;
    self->own_batches += batches - self->batches;
    self->rows = rows;
    self->batches = batches;
    self->batch_size = next_size;
    add_sample(self, active_ms(self));
    show(self, false);
}

void
lm_progress_batch(struct lm_progress *self, int64_t rows, int64_t next_size)
{
    lm_progress_follow(self, self->rows + rows, self->batches + 1, next_size);
}

void
lm_progress_hold_begin(struct lm_progress *self, const char *what)
{
    snprintf(self->waiting, sizeof self->waiting, "%s", what);
    if (!self->holding) {
        self->holding = true;
        self->held_since_ms = lm_clock_ms();
    }
    show(self, true);
}

void
lm_progress_hold_end(struct lm_progress *self)
{
    if (!self->holding)
        return;
    self->held_ms = lm_progress_held_ms(self);
    self->holding = false;
    if (lm_log_has_status())
        draw(self, lm_clock_ms());
}

void
lm_progress_position(struct lm_progress *self, double position)
{
    self->position = position > 1 ? 1 : position;
    self->position_ms = active_ms(self);
    if (self->first_position < 0 || self->position < self->first_position) {
        self->first_position = self->position;
        self->first_position_ms = self->position_ms;
    }
}

void
lm_progress_end(struct lm_progress *self)
{
    if (self->started_ms > 0)
        lm_log_status(NULL);
}
