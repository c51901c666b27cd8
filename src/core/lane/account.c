/* SPDX-License-Identifier: MIT */

#include "core/lane/account.h"

#include <string.h>

void
lm_account_init(struct lm_account *self, int64_t limit)
{
    memset(self, 0, sizeof *self);
    pthread_mutex_init(&self->mutex, NULL);
    self->limit = limit;
}

void
lm_account_release(struct lm_account *self)
{
    pthread_mutex_destroy(&self->mutex);
}

void
lm_account_share(struct lm_account *self)
{
    pthread_mutex_lock(&self->mutex);
    self->shared = true;
    pthread_mutex_unlock(&self->mutex);
}

static void
add(struct lm_counts *self, const struct lm_counts *more)
{
    self->rows += more->rows;
    self->batches += more->batches;
    self->retries += more->retries;
    self->failures += more->failures;
    self->conflicts += more->conflicts;
    self->passed += more->passed;
    self->uncounted += more->uncounted;
}

void
lm_account_set_run(struct lm_account *self, const struct lm_counts *run)
{
    pthread_mutex_lock(&self->mutex);
    self->run = *run;
    pthread_mutex_unlock(&self->mutex);
}

struct lm_counts
lm_account_run(struct lm_account *self)
{
    struct lm_counts counts;

    pthread_mutex_lock(&self->mutex);
    counts = self->run;
    pthread_mutex_unlock(&self->mutex);
    return counts;
}

struct lm_counts
lm_account_own(struct lm_account *self)
{
    struct lm_counts counts;

    pthread_mutex_lock(&self->mutex);
    counts = self->own;
    pthread_mutex_unlock(&self->mutex);
    return counts;
}

void
lm_account_add(struct lm_account *self, const struct lm_counts *done)
{
    pthread_mutex_lock(&self->mutex);
    add(&self->run, done);
    add(&self->own, done);
    pthread_mutex_unlock(&self->mutex);
}

int64_t
lm_account_take_uncounted(struct lm_account *self)
{
    int64_t uncounted;

    pthread_mutex_lock(&self->mutex);
    uncounted = self->own.uncounted;
    self->own.uncounted = 0;
    pthread_mutex_unlock(&self->mutex);
    return uncounted;
}

int64_t
lm_account_reserve(struct lm_account *self, int64_t reserved, int64_t wanted)
{
    int64_t left;

    if (self->limit == 0)
        return wanted;
    pthread_mutex_lock(&self->mutex);
    self->reserved -= reserved;
    left = self->limit - self->own.rows - self->reserved;
    if (wanted > left)
        wanted = left > 0 ? left : 0;
    self->reserved += wanted;
    pthread_mutex_unlock(&self->mutex);
    return wanted;
}

int64_t
lm_account_number(struct lm_account *self, int64_t held)
{
    pthread_mutex_lock(&self->mutex);
    if (!self->shared) {
        self->numbered = held = self->run.batches + 1;
    } else if (held == 0) {
        if (self->numbered < self->run.batches)
            self->numbered = self->run.batches;
        held = ++self->numbered;
    }
    pthread_mutex_unlock(&self->mutex);
    return held;
}

bool
lm_account_is_spent(struct lm_account *self)
{
    return self->limit > 0 && lm_account_own(self).rows >= self->limit;
}
