/* SPDX-License-Identifier: MIT */
/*
 * The size of batches, from the cost of earlier batches.
 *
 * The model is a line, fixed_ms + row_ms * rows, fitted to the batches by
 * least squares with weights that fall off quickly. If all batches have one
 * size, they say nothing about the slope; then the known fixed_ms stays.
 * fixed_ms shows how much a smaller batch would help. Without it, a server
 * with slow round trips would make batches shrink to nothing, for no gain.
 *
 * If a batch takes longer than any such line allows, only this batch counts. A
 * faster batch changes the model only little by little, because a batch that
 * is too large is expensive.
 */

#include "core/lane/size.h"

#include <math.h>
#include <string.h>

enum {
    START_PART = 10, /* the first batch is a tenth ... */
    START_ROWS = 20  /* ... but shows more than the cost of a round trip */
};

static const double growth = 1.5;
/* More than noise of 30 percent in two batches. */
static const double surge = 1.5;
/* The weight of earlier batches against the newest one, and the weight of the
 * known fixed_ms against a whole batch. */
static const double keep = 0.75;
static const double fixed_weight = 0.3;
/* The part of the target that is the rows', whatever the rest of a batch
 * takes. */
static const double least_part = 0.25;

static void
set_rows(struct lm_size *self, double rows)
{
    int64_t most = self->max;

    if (self->ceiling > 0 && self->ceiling < most)
        most = self->ceiling;
    self->rows = rows >= (double)most ? most : (int64_t)rows;
    if (self->rows < 1)
        self->rows = 1;
}

void
lm_size_init(struct lm_size *self, int64_t max, int64_t target_ms)
{
    memset(self, 0, sizeof *self);
    self->max = max;
    self->target_ms = target_ms;
    if (target_ms == 0) {
        set_rows(self, (double)max);
    } else {
        set_rows(self, fmax((double)max / START_PART, START_ROWS));
    }
}

int64_t
lm_size_rows(const struct lm_size *self)
{
    return self->rows;
}

static double
expected_ms(const struct lm_size *self, double rows)
{
    return self->fixed_ms + self->row_ms * rows;
}

/* The longest that a batch may take and still be on a line through the batches
 * so far: on a level one when it is smaller than they were. */
static double
longest_ms(const struct lm_size *self, double rows)
{
    return expected_ms(self, rows > self->mean_rows ? rows : self->mean_rows);
}

static double
kept_weight(const struct lm_size *self, double rows, double elapsed_ms)
{
    if (!self->known || elapsed_ms > surge * longest_ms(self, rows))
        return 0;
    return keep * self->weight;
}

/* Weighted means and squares, updated in place. */
static void
add_batch(struct lm_size *self, double rows, double elapsed_ms)
{
    double kept = kept_weight(self, rows, elapsed_ms);
    double by_rows = rows - self->mean_rows;
    double by_ms = elapsed_ms - self->mean_ms;
    double part = 1 / (kept + 1);
    double share = kept > 0 ? kept / self->weight : 0;

    self->rows_rows = share * self->rows_rows + kept * part * by_rows * by_rows;
    self->rows_ms = share * self->rows_ms + kept * part * by_rows * by_ms;
    self->mean_rows += part * by_rows;
    self->mean_ms += part * by_ms;
    self->weight = kept + 1;
}

/* Fits the line to the batches, and to fixed_ms as a batch without rows. */
static void
fit(struct lm_size *self)
{
    double kept = fixed_weight / (1 + fixed_weight / self->weight);
    double by_ms = self->mean_ms - self->fixed_ms;
    double slope = (self->rows_ms + kept * self->mean_rows * by_ms) /
                   (self->rows_rows + kept * self->mean_rows * self->mean_rows);

    if (slope < 0)
        slope = 0;
    if (slope * self->mean_rows > self->mean_ms)
        slope = self->mean_ms / self->mean_rows;
    self->row_ms = slope;
    self->fixed_ms = self->mean_ms - slope * self->mean_rows;
    self->known = true;
}

static void
choose(struct lm_size *self)
{
    double target = (double)self->target_ms;
    double room = target - self->fixed_ms;
    double most = growth * (double)self->rows;

    if (most < (double)self->rows + 1)
        most = (double)self->rows + 1;
    if (room < least_part * target)
        room = least_part * target;
    if (self->row_ms * most > room)
        most = room / self->row_ms;
    set_rows(self, most);
}

void
lm_size_batch(struct lm_size *self, int64_t rows, int64_t elapsed_ms)
{
    if (self->target_ms == 0) {
        set_rows(self, 2.0 * (double)self->rows);
        return;
    }
    /* A short batch shows only that a full one takes at least as long. */
    if (rows < self->rows) {
        double known = self->known ? expected_ms(self, (double)self->rows) : 0;

        if (elapsed_ms <= self->target_ms || (double)elapsed_ms <= known)
            return;
    }
    add_batch(self, (double)self->rows, (double)elapsed_ms);
    fit(self);
    choose(self);
}

void
lm_size_note_failed_rows(struct lm_size *self, int64_t rows)
{
    if (rows > 0 && rows < self->rows)
        self->rows = rows;
}

bool
lm_size_halve(struct lm_size *self)
{
    if (self->rows <= 1)
        return false;
    self->rows /= 2;
    return true;
}

void
lm_size_cap(struct lm_size *self)
{
    self->ceiling = self->rows;
}

void
lm_size_set_max(struct lm_size *self, int64_t max)
{
    self->max = max;
    self->ceiling = 0;
    set_rows(self, self->target_ms > 0 ? (double)self->rows : (double)max);
}

void
lm_size_set_target(struct lm_size *self, int64_t target_ms)
{
    self->target_ms = target_ms;
    if (target_ms > 0 && self->known)
        choose(self);
}
