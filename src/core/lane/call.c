/* SPDX-License-Identifier: MIT */
/* Calling the script, inside a transaction: its callbacks, and its migrate. */

#include "core/lane/private.h"

#include <stdio.h>
#include <string.h>

struct lm_txn
lm_lane_txn(const struct lm_lane *self)
{
    const struct lm_migration *m = self->migration;
    struct lm_txn txn = {.isolation = m->isolation,
                         .durable = true,
                         .statement_timeout_ms = m->statement_timeout_ms,
                         .lock_timeout_ms = m->lock_timeout_ms,
                         .timezone = m->timezone,
                         .application_name = self->application_name,
                         .row_security = m->row_security};

    return txn;
}

struct lm_run_info
lm_lane_info(const struct lm_lane *self, int64_t batch)
{
    struct lm_run_info info = {.id = self->run->id,
                               .script = self->migration->name,
                               .batch = batch,
                               .worker = self->journal.number,
                               .attempt = self->attempt.number,
                               .dry_run = self->options.dry,
                               .prepared = lm_lane_prepares(self),
                               .source = self->source.repo};

    snprintf(info.key_prefix, sizeof info.key_prefix, "luamig-%s",
             self->run->mark);
    return info;
}

bool
lm_lane_witness(struct lm_lane *self, enum lm_moment moment, int64_t batch,
                struct lm_err *err)
{
    const struct lm_witness *witness = self->options.witness;
    struct lm_run_info info = lm_lane_info(self, batch);

    return witness == NULL ||
           witness->see(witness->arg, moment, self->conn, &info, err);
}

bool
lm_lane_open_repo(struct lm_lane *self, const struct lm_repo_use *use,
                  struct lm_err *err)
{
    const struct lm_repo_use reads = {.paged = use->paged};

    if (!lm_repo_open(self->repo, self->conn, use, err))
        return false;
    if (self->source.repo == NULL ||
        (lm_lane_begin_source(self, err) &&
         lm_repo_open(self->source.repo, self->source.conn, &reads, err)))
        return true;
    lm_repo_close(self->repo);
    return false;
}

/* The first failure of a repo that is closed counts more than what the script
 * raised. */
static bool
take_failure(const struct lm_repo *repo, bool ok, struct lm_err *err)
{
    struct lm_err failure;

    if (lm_repo_failure(repo) == NULL)
        return ok;
    failure = *lm_repo_failure(repo);
    if (!ok && failure.traceback[0] == '\0' &&
        strcmp(failure.where, err->where) == 0)
        memcpy(failure.traceback, err->traceback, sizeof failure.traceback);
    *err = failure;
    return false;
}

/*
 * A callback has returned. The repo's first failure counts more than the
 * script's result, because the script may have swallowed it; and an error of a
 * write in flight comes before an error that the script raised after it.
 * Writes whose count the server checks by itself travel on with the
 * checkpoint.
 */
bool
lm_lane_close_repo(struct lm_lane *self, bool ok, struct lm_err *err)
{
    struct lm_err flushed;

    if (lm_repo_failure(self->repo) == NULL &&
        !(ok ? lm_repo_finish(self->repo, &flushed)
             : lm_repo_flush(self->repo, &flushed)) &&
        lm_repo_failure(self->repo) == NULL) {
        *err = flushed;
        ok = false;
    }
    lm_repo_close(self->repo);
    if (self->source.repo != NULL) {
        lm_repo_close(self->source.repo);
        ok = take_failure(self->source.repo, ok, err);
    }
    ok = take_failure(self->repo, ok, err);
    if (ok && !lm_conn_in_transaction(self->conn)) {
        return lm_err_set(err, LM_ERR_FAILED,
                          "the script ended luamig's transaction");
    }
    return ok && (self->options.dry ||
                  lm_journal_post_two_phase(&self->journal, err));
}

/* The batch that a callback belongs to; a one-shot is one. A dry run calls
 * on_start in every batch. */
static int64_t
batch_of(const struct lm_lane *self, enum lm_callback callback)
{
    if (callback == LM_CALL_ON_START)
        return 0;
    return self->migration->one_shot ? 1
                                     : lm_account_run(self->account).batches;
}

bool
lm_lane_call_back(struct lm_lane *self, enum lm_callback callback,
                  struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_run_info info = lm_lane_info(self, batch_of(self, callback));
    struct lm_repo_use use = {.combine =
                                  m->combine && !self->attempt.uncombined};
    bool ok;

    if (!m->ops->has(m->self, callback))
        return true;
    if (!lm_lane_open_repo(self, &use, err))
        return false;
    ok = m->ops->call(m->self, callback, self->repo, &info, err);
    return lm_lane_close_repo(self, ok, err);
}

bool
lm_lane_migrate_page(struct lm_lane *self, const struct lm_page *page,
                     const struct lm_stretch *stretch, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_run_info info = lm_lane_info(self, self->batch);
    struct lm_repo_use use = {.paged = &self->query,
                              .combine =
                                  m->combine && !self->attempt.uncombined,
                              .follows_new = m->follow_new,
                              .paged_elsewhere = lm_lane_reads_elsewhere(self)};
    bool ok;

    if (!lm_lane_open_repo(self, &use, err))
        return false;
    ok = m->ops->migrate(m->self, page, stretch, self->repo, &info, err);
    return lm_lane_close_repo(self, ok, err);
}

bool
lm_lane_witness_callback(struct lm_lane *self, enum lm_callback callback,
                         enum lm_moment moment, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;

    return !m->ops->has(m->self, callback) ||
           lm_lane_witness(self, moment, batch_of(self, callback), err);
}
