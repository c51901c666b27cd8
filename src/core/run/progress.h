/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_PROGRESS_H
#define LM_CORE_RUN_PROGRESS_H

/*
 * Counts what a run does and shows it: on a terminal as a line that is
 * redrawn, otherwise as a line every ten seconds, plain or JSON.
 *
 * Speed and time left are measured in active time: time in which the run is
 * held does not count.
 */

#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>

struct lm_progress {
    int64_t run;
    int64_t total; /* of all rows; -1: unknown */
    bool counted;  /* total is exact, not an estimate */
    int64_t rows;  /* migrated so far, by earlier runners too */
    int64_t batches;
    int64_t retries;
    int64_t own_rows; /* by this runner */
    int64_t own_batches;
    int64_t batch_size;     /* of the next batch; 0: not known */
    int workers;            /* of this process */
    char workers_note[256]; /* why so many; "": nothing is to be said */
    int64_t started_ms;
    int64_t told_ms; /* when a line was last written */
    int64_t drawn_ms;

    bool holding;
    char waiting[128]; /* what the run waits for, while it is held */
    int64_t held_since_ms;
    int64_t held_ms; /* held time before the current hold */

    double shown;        /* the highest fraction shown so far */
    double position;     /* of the key, from 0 to 1; below 0: unknown */
    int64_t position_ms; /* when it was measured, in active time */
    double first_position;
    int64_t first_position_ms;

    int64_t sample_ms[64]; /* a ring of moments in active time, and own_rows */
    int64_t sample_rows[64];
    int sample_count;
    int sample_next;
};

/* Begins with what is done already: rows, batches, retries. The total is
 * unknown. */
void lm_progress_begin(struct lm_progress *self, int64_t run, int64_t rows,
                       int64_t batches, int64_t retries);
void lm_progress_set_total(struct lm_progress *self, int64_t total,
                           bool counted);
void lm_progress_set_workers(struct lm_progress *self, int workers,
                             const char *note);
/* After each committed batch. */
void lm_progress_batch(struct lm_progress *self, int64_t rows,
                       int64_t next_size);
/* The same for a process that only reads the counters from time to time. */
void lm_progress_follow(struct lm_progress *self, int64_t rows, int64_t batches,
                        int64_t next_size);
/* Sets the counters again, after a reconnect found other counters on the
 * server. */
void lm_progress_set(struct lm_progress *self, int64_t rows, int64_t batches);

/* The run waits: shows the text, and stops the active time. May be called
 * again during the wait, also with another text. */
void lm_progress_hold_begin(struct lm_progress *self, const char *what);
void lm_progress_hold_end(struct lm_progress *self);
/* How long the run has been held so far. */
int64_t lm_progress_held_ms(const struct lm_progress *self);

/* Is the total unknown, or was it too low? Then progress needs the position of
 * the key, from 0 to 1. */
bool lm_progress_wants_position(const struct lm_progress *self);
void lm_progress_position(struct lm_progress *self, double position);

/* Adds "54,000 of about 98,700 rows". Leaves the total out if it is lower than
 * rows, or -1 (unknown). counted: the total is exact. */
void lm_progress_add_rows(struct lm_buf *buf, int64_t rows, int64_t total,
                          bool counted);

void lm_progress_end(struct lm_progress *self);

/* Rows per second over the last minute; 0: unknown. */
double lm_progress_rate(const struct lm_progress *self);

#endif
