/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUNNER_PRIVATE_H
#define LM_CORE_RUNNER_PRIVATE_H

/* What runner.c, runner_session.c and runner_retry.c share, and nobody else. */

#include "core/journal.h"
#include "core/pager.h"
#include "core/preflight.h"
#include "core/progress.h"
#include "core/repo.h"
#include "core/runner.h"
#include "pg/txn.h"

/* How long the server may look for the highest key, which may be a scan. */
enum { LM_RUNNER_BOUND_MS = 300000 };

struct lm_runner {
    const struct lm_migration *migration;
    const struct lm_runner_options *options;
    struct lm_outcome *outcome;

    struct lm_conn *conn;
    char server[24]; /* its system identifier; empty: it does not say */
    struct lm_journal journal;
    struct lm_base_query query; /* empty for a one-shot */
    struct lm_repo repo;
    struct lm_run run;
    struct lm_progress progress;

    bool acquired;   /* the run is ours */
    bool pages_done; /* no row is left before the bound */
    bool ended;      /* the state "done" is committed */
    bool look_again; /* on_start may have changed what the query returns */

    int attempt;             /* at the transaction in hand, from 1 */
    int lost_in_row;         /* connections lost without progress */
    bool in_batch;           /* the step in hand is a batch */
    int64_t short_since_ms;  /* when the server began to lack something; 0 */
    bool uncombined;         /* the step in hand runs without combining */
    bool reprepared;         /* ... and with its statements prepared anew */
    int64_t batch_size;      /* shrinks while conflicts and timeouts last */
    int64_t pending_retries; /* not yet counted in the journal */
    int64_t leased_ms;       /* when the lease was last renewed */
    const char *waits_for;   /* what others are told of; NULL: nothing */
};

/* runner_session.c: having a connection and a run. */

/* Connects, checks the server and the query, and acquires the run. Leaves
 * acquired false, and the ending set, when there is nothing to do. */
bool lm_runner_acquire(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;

/* Connects again for a bounded time and claims the run anew; what the server
 * holds of it replaces what the runner believed. LM_ERR_INTERRUPT when a
 * signal came meanwhile. why is the error that ended the old connection. */
bool lm_runner_reconnect(struct lm_runner *self, const struct lm_err *why,
                         struct lm_err *err) LM_MUSTCHECK;

/* Describes the base query afresh and proves its key again. */
bool lm_runner_look_again(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;

/* runner_retry.c: after a failed step, true when it is worth looking at the
 * run again. The transaction is rolled back, and err may have become another
 * error. */
bool lm_runner_survive(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;

/* runner_hold.c: before a batch, waits as long as it should. Returns early, and
 * true, when somebody asks for something meanwhile. */
bool lm_runner_hold_back(struct lm_runner *self,
                         struct lm_err *err) LM_MUSTCHECK;
/* Sleeps and keeps the lease. */
void lm_runner_rest(struct lm_runner *self, int64_t duration_ms);

/* runner.c: what scripts are told of the run; batch is 0 before the first. */
struct lm_run_info lm_runner_info(const struct lm_runner *self, int64_t batch);
/* A callback has returned ok or with *err: sees to what is in flight, and
 * closes the repo. */
bool lm_runner_close_repo(struct lm_runner *self, bool ok,
                          struct lm_err *err) LM_MUSTCHECK;

/* The transaction settings of batches and callbacks. */
struct lm_txn lm_runner_txn(const struct lm_runner *self);

#endif
