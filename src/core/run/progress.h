/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_PROGRESS_H
#define LM_CORE_RUN_PROGRESS_H

/*
 * Counting what a run does and telling it: a line that is redrawn on a
 * terminal, otherwise a line every ten seconds, plain or as JSON.
 *
 * Speed and time left are measured in active time: while the run is held, the
 * clock stands still for them.
 */

#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>

struct lm_progress {
    int64_t run;
    int64_t total; /* of all rows; -1: unknown */
    bool counted;  /* total is no estimate */
    int64_t rows;  /* migrated so far, by earlier runners too */
    int64_t batches;
    int64_t retries;
    int64_t own_rows; /* by this runner */
    int64_t own_batches;
    int64_t batch_size; /* of the next batch; 0: not known */
    int64_t started_ms;
    int64_t told_ms; /* when a line was last written */
    int64_t drawn_ms;

    bool holding;
    char waiting[128]; /* for what, while holding */
    int64_t held_since_ms;
    int64_t held_ms; /* before that */

    double shown;        /* the highest part of the whole that was shown */
    double position;     /* of the key, from 0 to 1; below 0: unknown */
    int64_t position_ms; /* when it was measured, in active time */
    double first_position;
    int64_t first_position_ms;

    int64_t sample_ms[64]; /* a ring of moments in active time, and own_rows */
    int64_t sample_rows[64];
    int sample_count;
    int sample_next;
};

/* rows, batches, retries: what is done already. The total is unknown. */
void lm_progress_begin(struct lm_progress *self, int64_t run, int64_t rows,
                       int64_t batches, int64_t retries);
void lm_progress_set_total(struct lm_progress *self, int64_t total,
                           bool counted);
/* After each committed batch. */
void lm_progress_batch(struct lm_progress *self, int64_t rows,
                       int64_t next_size);
/* The same for somebody who looks at the counters now and then. */
void lm_progress_follow(struct lm_progress *self, int64_t rows, int64_t batches,
                        int64_t next_size);
/* A reconnect has found other counters on the server. */
void lm_progress_set(struct lm_progress *self, int64_t rows, int64_t batches);

/* The run waits for something: says so, and stops the clock. May be called
 * again while it waits, with another text perhaps. */
void lm_progress_hold_begin(struct lm_progress *self, const char *what);
void lm_progress_hold_end(struct lm_progress *self);
/* How long the run has been held so far. */
int64_t lm_progress_held_ms(const struct lm_progress *self);

/* Is the total unknown, or has it proved too low? Then the position of the key
 * is wanted, from 0 to 1. */
bool lm_progress_wants_position(const struct lm_progress *self);
void lm_progress_position(struct lm_progress *self, double position);

/* Adds "54,000 of about 98,700 rows". A total below rows (-1: unknown) is left
 * out; counted: it is no estimate. */
void lm_progress_add_rows(struct lm_buf *buf, int64_t rows, int64_t total,
                          bool counted);

void lm_progress_end(struct lm_progress *self);

/* Rows per second over the last minute; 0 when nothing is known. */
double lm_progress_rate(const struct lm_progress *self);

#endif
