/* SPDX-License-Identifier: MIT */
/* The runner's side of the team: the workers, and what the runner wants of
 * them. */

#include "base/aside.h"
#include "base/clock.h"
#include "base/stop.h"
#include "core/run/team_private.h"

#include <stdlib.h>
#include <string.h>

/* A call of prepare that is worth a word. */
enum { PREPARE_MS = 1000 };

void
lm_team_note_end(struct lm_worker *self, bool ok, const struct lm_err *err)
{
    struct lm_team *team = self->team;

    pthread_mutex_lock(&team->mutex);
    self->busy = false;
    self->ended = true;
    if (!ok && !team->failed && !team->stopping) {
        team->failed = true;
        team->why = *err;
    }
    pthread_mutex_unlock(&team->mutex);
    lm_stop_wake();
}

/* If no thread can be started, there are fewer workers. */
static void
start_worker(struct lm_team *self, int number)
{
    struct lm_worker *worker = lm_calloc(1, sizeof *worker);

    worker->team = self;
    worker->number = number;
    if (lm_aside_start(&worker->thread, lm_worker_live, worker)) {
        self->of[number] = worker;
    } else {
        free(worker);
    }
}

static void
end_worker(struct lm_team *self, int number)
{
    pthread_join(self->of[number]->thread, NULL);
    free(self->of[number]);
    self->of[number] = NULL;
}

/* A worker that was too many may be about to end, although there is room for
 * it again. */
static bool
has_ended(struct lm_team *self, int number)
{
    bool ended;

    if (self->of[number] == NULL)
        return false;
    pthread_mutex_lock(&self->mutex);
    ended = self->of[number]->ended;
    pthread_mutex_unlock(&self->mutex);
    return ended;
}

void
lm_team_set_size(struct lm_team *self, int count)
{
    bool changed;

    if (self == NULL)
        return;
    pthread_mutex_lock(&self->mutex);
    changed = self->size != count;
    self->size = count;
    pthread_mutex_unlock(&self->mutex);
    for (int number = 2; number <= LM_RUNNER_MOST_WORKERS; number++) {
        if (has_ended(self, number))
            end_worker(self, number);
        if (number <= count && self->of[number] == NULL)
            start_worker(self, number);
    }
    if (changed)
        lm_stop_wake();
}

struct lm_team *
lm_team_start(const struct lm_team_options *options, int count)
{
    struct lm_team *self;

    if (count <= 1)
        return NULL;
    self = lm_calloc(1, sizeof *self);
    self->first = options->migration;
    self->account = options->account;
    self->monitor = options->monitor;
    self->options = options->lane->options;
    self->journal = options->lane->journal;
    self->run_id = options->run_id;
    LM_ERR_COPY(self->mark, options->mark);
    memcpy(self->server, options->lane->server, sizeof self->server);
    self->source = options->lane->source;
    self->settings = *options->migration;
    self->habits = lm_lane_habits(options->lane);
    self->slow_ms = -1;
    self->held = true;
    self->size = 1;
    pthread_mutex_init(&self->mutex, NULL);
    lm_team_set_size(self, count);
    return self;
}

void
lm_team_stop(struct lm_team *self)
{
    if (self == NULL)
        return;
    pthread_mutex_lock(&self->mutex);
    self->stopping = true;
    pthread_mutex_unlock(&self->mutex);
    lm_stop_wake();
    for (int number = 2; number <= LM_RUNNER_MOST_WORKERS; number++) {
        if (self->of[number] != NULL)
            end_worker(self, number);
    }
    pthread_mutex_destroy(&self->mutex);
    free(self);
}

void
lm_team_hold(struct lm_team *self, bool hold)
{
    bool changed;

    if (self == NULL)
        return;
    pthread_mutex_lock(&self->mutex);
    changed = self->held != hold;
    self->held = hold;
    pthread_mutex_unlock(&self->mutex);
    if (changed)
        lm_stop_wake();
}

void
lm_team_park(struct lm_team *self, bool park)
{
    bool changed;

    if (self == NULL)
        return;
    pthread_mutex_lock(&self->mutex);
    changed = self->parked != park;
    self->parked = park;
    pthread_mutex_unlock(&self->mutex);
    if (changed)
        lm_stop_wake();
}

bool
lm_team_is_idle(struct lm_team *self)
{
    bool idle = true;

    if (self == NULL)
        return true;
    pthread_mutex_lock(&self->mutex);
    for (int number = 2; number <= LM_RUNNER_MOST_WORKERS; number++)
        idle = idle && (self->of[number] == NULL || !self->of[number]->busy);
    pthread_mutex_unlock(&self->mutex);
    return idle;
}

bool
lm_team_prepares(struct lm_team *self)
{
    int64_t long_ago_ms = lm_clock_ms() - PREPARE_MS;
    bool prepares = false;

    if (self == NULL)
        return false;
    pthread_mutex_lock(&self->mutex);
    for (int number = 2; number <= LM_RUNNER_MOST_WORKERS; number++) {
        const struct lm_worker *worker = self->of[number];

        prepares = prepares || (worker != NULL && worker->prepares_ms > 0 &&
                                worker->prepares_ms < long_ago_ms);
    }
    pthread_mutex_unlock(&self->mutex);
    return prepares;
}

void
lm_team_set_rest(struct lm_team *self, int rest, double slow_ms)
{
    if (self == NULL)
        return;
    pthread_mutex_lock(&self->mutex);
    self->rest = rest;
    self->slow_ms = slow_ms;
    pthread_mutex_unlock(&self->mutex);
}

void
lm_team_halve(struct lm_team *self)
{
    if (self == NULL)
        return;
    pthread_mutex_lock(&self->mutex);
    self->halvings++;
    pthread_mutex_unlock(&self->mutex);
}

void
lm_team_set_settings(struct lm_team *self, const struct lm_migration *settings)
{
    if (self == NULL)
        return;
    pthread_mutex_lock(&self->mutex);
    self->settings = *settings;
    self->settings_number++;
    pthread_mutex_unlock(&self->mutex);
}

void
lm_team_set_habits(struct lm_team *self, const struct lm_habits *habits)
{
    if (self == NULL)
        return;
    pthread_mutex_lock(&self->mutex);
    self->habits = *habits;
    pthread_mutex_unlock(&self->mutex);
}

bool
lm_team_is_well(struct lm_team *self, struct lm_err *err)
{
    bool failed;

    if (self == NULL)
        return true;
    pthread_mutex_lock(&self->mutex);
    failed = self->failed;
    if (failed)
        *err = self->why;
    pthread_mutex_unlock(&self->mutex);
    return !failed;
}
