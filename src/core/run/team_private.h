/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_TEAM_PRIVATE_H
#define LM_CORE_RUN_TEAM_PRIVATE_H

/* What a team (team.c) and its workers (team_worker.c) know of each other. Each
 * changes its own struct only; what both need is under the team's mutex. */

#include "core/lane/share.h"
#include "core/run/run.h"
#include "core/run/team.h"

#include <pthread.h>

struct lm_worker {
    struct lm_team *team;
    int number;
    pthread_t thread;

    /* of the thread alone */
    struct lm_migration script;    /* its own Lua state */
    struct lm_migration migration; /* the script, with the run's settings */
    struct lm_run run;
    struct lm_lane lane;
    struct lm_share share;
    int settings;
    int halvings;
    bool entered; /* has a session in the journal */

    /* under the team's mutex */
    bool busy; /* has a batch in hand, or is about to */
    int64_t
        prepares_ms; /* since when it is in a call of prepare; 0: it is not */
    bool ended;      /* the thread is about to return, and can be joined */
};

struct lm_team {
    const struct lm_migration *first; /* the runner's script */
    struct lm_account *account;
    struct lm_monitor *monitor; /* NULL: there is none */
    struct lm_lane_options options;
    struct lm_source source; /* as the first lane has found it */
    struct lm_journal journal;
    char server[24]; /* as in struct lm_lane */
    int64_t run_id;
    char mark[40]; /* the run's */
    /* by number; NULL: it has no thread. The runner is not among them. */
    struct lm_worker *of[LM_RUNNER_MOST_WORKERS + 1];

    pthread_mutex_t mutex; /* of all that follows */
    bool stopping;
    bool held;
    bool parked;
    int rest;
    double slow_ms;
    int halvings;
    int size;
    struct lm_migration settings; /* its figures */
    int settings_number;
    struct lm_habits habits; /* of the first worker */
    bool failed;
    struct lm_err why;
};

/* The thread of a worker, arg, from its start to its end. */
void *lm_worker_live(void *arg);
/* A worker's thread is about to end; err: why it has failed, if not ok. */
void lm_team_note_end(struct lm_worker *self, bool ok,
                      const struct lm_err *err);

#endif
