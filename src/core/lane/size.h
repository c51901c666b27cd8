/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_LANE_SIZE_H
#define LM_CORE_LANE_SIZE_H

/*
 * How many rows the next batch asks for.
 *
 * Without a target time, this is max. It is halved while batches fail, and
 * doubled after each success, up to max. With a target time, it follows the
 * time of the batches: it shrinks at once if batches become slower, and grows
 * by half at most. This code reads neither the database nor the clock; callers
 * pass the rows and times.
 */

#include <stdbool.h>
#include <stdint.h>

struct lm_size {
    int64_t max;
    int64_t ceiling;
    /* below it, by lm_size_cap; 0: none */ /* never more, and never less than 1 */
    int64_t target_ms;                      /* 0: none */
    int64_t rows;                           /* of the next batch */
    /* The cost of a batch is fixed_ms, and row_ms for each row. It is
     * estimated from all batches; the latest count most. */
    bool known;
    double fixed_ms;
    double row_ms;
    double weight;
    double mean_rows;
    double mean_ms;
    double rows_rows; /* weighted squares and products, */
    double rows_ms;   /* about the means */
};

void lm_size_init(struct lm_size *self, int64_t max, int64_t target_ms);

/* Rows to ask for, from 1 to max. */
int64_t lm_size_rows(const struct lm_size *self);

/* A batch has succeeded. rows: how many it had, of the number asked for;
 * elapsed_ms: from BEGIN to COMMIT. */
void lm_size_batch(struct lm_size *self, int64_t rows, int64_t elapsed_ms);

/* Larger batches would fail again: no batch gets more rows than the next one,
 * until somebody sets the maximum. */
void lm_size_cap(struct lm_size *self);
/* How many rows the failed batch had, if these were fewer than asked for. */
void lm_size_note_failed_rows(struct lm_size *self, int64_t rows);
/* A batch has failed because of its size: halves the next one. False if it has
 * one row already. */
bool lm_size_halve(struct lm_size *self);

/* Changes the maximum during a run. Without a target, the next batch has max
 * rows. */
void lm_size_set_max(struct lm_size *self, int64_t max);
void lm_size_set_target(struct lm_size *self, int64_t target_ms);

#endif
