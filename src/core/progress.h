/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PROGRESS_H
#define LM_CORE_PROGRESS_H

/*
 * Counting what a run does and telling it: a line that is redrawn on a
 * terminal, otherwise a plain line every ten seconds.
 */

#include <stdbool.h>
#include <stdint.h>

struct lm_progress {
    int64_t total; /* estimate of all rows; -1: unknown */
    int64_t rows;  /* migrated so far, by earlier runners too */
    int64_t batches;
    int64_t retries;
    int64_t own_rows; /* by this runner */
    int64_t own_batches;
    int64_t started_ms;
    int64_t told_ms; /* when a plain line was last written */
    int64_t drawn_ms;
    int64_t sample_ms[64]; /* a ring of moments and rows, for the rate */
    int64_t sample_rows[64];
    int sample_count;
    int sample_next;
};

/* rows, batches, retries: what is done already. */
void lm_progress_begin(struct lm_progress *self, int64_t total, int64_t rows,
                       int64_t batches, int64_t retries);
/* After each committed batch of size rows. */
void lm_progress_batch(struct lm_progress *self, int64_t rows);
/* A reconnect has found other counters on the server. */
void lm_progress_set(struct lm_progress *self, int64_t rows, int64_t batches);
/* Says on the terminal what the run waits for. */
void lm_progress_wait(struct lm_progress *self, const char *what);
void lm_progress_end(struct lm_progress *self);

/* Rows per second over the last minute; 0 when nothing is known. */
double lm_progress_rate(const struct lm_progress *self);

#endif
