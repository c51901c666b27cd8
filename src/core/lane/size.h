/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_LANE_SIZE_H
#define LM_CORE_LANE_SIZE_H

/*
 * How many rows the next batch asks for.
 *
 * Without a target that is max, halved while batches fail and doubled back
 * after each success. With a target it follows the time that batches take: it
 * shrinks at once when they become slower, and grows by half at most. It knows
 * neither the database nor the time, and is told both.
 */

#include <stdbool.h>
#include <stdint.h>

struct lm_size {
    int64_t max;
    int64_t ceiling;
    /* below it, by lm_size_cap; 0: none */ /* never more, and never less than 1 */
    int64_t target_ms;                      /* 0: none */
    int64_t rows;                           /* of the next batch */
    /* What a batch costs: fixed_ms, and row_ms for each row; from the batches
     * so far, of which the latest weigh most. */
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

/* A batch has succeeded: rows came of those asked for, in elapsed_ms from
 * BEGIN to COMMIT. */
void lm_size_batch(struct lm_size *self, int64_t rows, int64_t elapsed_ms);

/* Batches of more rows would fail again: none is larger than the next one, until
 * somebody sets the maximum. */
void lm_size_cap(struct lm_size *self);
/* The batch that has failed had so many rows: there were no more. */
void lm_size_note_failed_rows(struct lm_size *self, int64_t rows);
/* A batch has failed for its size. False when it cannot be smaller. */
bool lm_size_halve(struct lm_size *self);

/* While a run is at work. Without a target the next batch has max rows. */
void lm_size_set_max(struct lm_size *self, int64_t max);
void lm_size_set_target(struct lm_size *self, int64_t target_ms);

#endif
