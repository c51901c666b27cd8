/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_LANE_ACCOUNT_H
#define LM_CORE_LANE_ACCOUNT_H

/*
 * What the workers of this process have done, and how many rows they may still
 * do (--limit). Any thread may call these functions.
 *
 * A worker reserves rows before a batch, so that the workers never do more than
 * the limit together. What it does not use is free for others again.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Counters; "failures" are rows that were recorded as failed, "conflicts" are
 * attempts that failed because of locks or changes of others, and "passed" are
 * rows of the key's table that windows have passed. "uncounted" are retries that
 * the journal has not heard of. */
struct lm_counts {
    int64_t rows;
    int64_t batches;
    int64_t retries;
    int64_t failures;
    int64_t conflicts;
    int64_t passed;
    int64_t uncounted;
};

struct lm_account {
    pthread_mutex_t mutex; /* of all that follows */
    int64_t limit;         /* rows; 0: none */
    bool shared;           /* several workers use it */
    int64_t reserved;
    int64_t numbered;     /* the highest number that a batch got */
    struct lm_counts run; /* the whole run, as far as it is known */
    struct lm_counts own; /* of this process */
};

void lm_account_init(struct lm_account *self, int64_t limit);
void lm_account_release(struct lm_account *self);
/* From now on several workers use it. */
void lm_account_share(struct lm_account *self);

/* What the journal says of the whole run. */
void lm_account_set_run(struct lm_account *self, const struct lm_counts *run);
struct lm_counts lm_account_run(struct lm_account *self);
struct lm_counts lm_account_own(struct lm_account *self);

/* Adds what a worker has done; also less than nothing, if a crash of the
 * server undid it. */
void lm_account_add(struct lm_account *self, const struct lm_counts *done);
/* The retries that the journal has not heard of; none are left afterwards. */
int64_t lm_account_take_uncounted(struct lm_account *self);
/* Exchanges a worker's reservation for another one of at most so many rows.
 * Without a limit that is what it wants; 0: the rows are spent, or reserved by
 * others. */
int64_t lm_account_reserve(struct lm_account *self, int64_t reserved,
                           int64_t wanted);
/* The number of a worker's next batch: the one that it holds, if it has not
 * used that yet, or a fresh one. No two workers have the same. A single worker's
 * is always the next one of the run. */
int64_t lm_account_number(struct lm_account *self, int64_t held);
bool lm_account_is_spent(struct lm_account *self);

#endif
