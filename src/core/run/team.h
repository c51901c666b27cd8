/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_TEAM_H
#define LM_CORE_RUN_TEAM_H

/*
 * The workers of this process beside the first one, which is the runner itself.
 * Each is a thread with a lane, a connection and a Lua state of its own. It
 * takes ranges, works on batches, and goes on until the run's keys are done, or
 * until the runner stops it.
 *
 * The runner decides for all: it alone hears requests, judges the server's
 * health, and ends the run.
 */

#include "core/lane/account.h"
#include "core/lane/lane.h"
#include "core/run/monitor.h"

struct lm_team;

/* The pointers belong to the runner and must live as long as the team. */
struct lm_team_options {
    const struct lm_migration *migration; /* with the run's settings */
    const struct lm_lane *lane;           /* the runner's */
    struct lm_account *account;
    struct lm_monitor *monitor; /* NULL: there is none */
    int64_t run_id;
    const char *mark; /* the run's */
};
/* Starts workers 2 to count; the run has a range. They are held at first. NULL if
 * count is 1. */
struct lm_team *lm_team_start(const struct lm_team_options *options, int count);
/* Stops all of them after their batches, and frees the team. NULL is allowed.
 */
void lm_team_stop(struct lm_team *self);

/* No worker begins another batch. Call lm_team_is_idle until it is true. */
void lm_team_hold(struct lm_team *self, bool hold);
bool lm_team_is_idle(struct lm_team *self);
/* The same, and each gives its range back. */
void lm_team_park(struct lm_team *self, bool park);
/* Has a worker been in one call of the script's prepare for more than a second,
 * in which it hears nothing? */
bool lm_team_prepares(struct lm_team *self);
/* How many times as long as its batch a worker rests after it; and after a batch
 * that took longer than slow_ms, as long as that. Negative: no batch is slow. */
void lm_team_set_rest(struct lm_team *self, int rest, double slow_ms);
/* Each worker makes its next batch half as large. */
void lm_team_halve(struct lm_team *self);
/* How many workers there are, with the first one. Starts more of them; those
 * that are too many end after their batch. Call it now and then, also with the
 * same number: one that was about to end is started again. */
void lm_team_set_size(struct lm_team *self, int count);
/* What the first worker has learned; workers that begin need not learn it
 * again. */
void lm_team_set_habits(struct lm_team *self, const struct lm_habits *habits);
/* The runner's settings have changed. */
void lm_team_set_settings(struct lm_team *self,
                          const struct lm_migration *settings);

/* False if a worker has failed for good; *err says how. */
bool lm_team_is_well(struct lm_team *self, struct lm_err *err) LM_MUSTCHECK;

#endif
