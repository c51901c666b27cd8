/* SPDX-License-Identifier: MIT */
/*
 * The state machine of a run; see the header for its shape and promises.
 *
 * Everything that writes is a step: one transaction with its own retries.
 * After each step the loop looks again at where the run is, so that a step
 * whose commit turned out to have succeeded, or to have been lost, needs no
 * case of its own. What becomes of a step that failed is in lane/recover.c.
 */

#include "core/run/run.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/run/private.h"
#include "pg/conn/own.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lm_run_info
lm_runner_info(const struct lm_runner *self, int64_t batch)
{
    struct lm_run_info info = {self->run.id, self->migration->name, batch,
                               self->attempt, self->dry != NULL};

    return info;
}

bool
lm_runner_witness(struct lm_runner *self, enum lm_moment moment, int64_t batch,
                  struct lm_err *err)
{
    const struct lm_witness *witness = self->options->witness;
    struct lm_run_info info = lm_runner_info(self, batch);

    return witness == NULL ||
           witness->see(witness->arg, moment, self->conn, &info, err);
}

/*
 * A callback has returned: what the repo latched outweighs what the script
 * said, since it may have swallowed it, and what is still in flight comes
 * before an error that the script raised after it. Writes whose outcome the
 * server checks by itself travel on with the checkpoint.
 */
bool
lm_runner_close_repo(struct lm_runner *self, bool ok, struct lm_err *err)
{
    struct lm_err flushed;

    if (!self->repo.failed &&
        !(ok ? lm_repo_finish(&self->repo, &flushed)
             : lm_repo_flush(&self->repo, &flushed)) &&
        !self->repo.failed) {
        *err = flushed;
        ok = false;
    }
    lm_repo_close(&self->repo);
    if (self->repo.failed) {
        struct lm_err failure = self->repo.failure;

        if (!ok && failure.traceback[0] == '\0' &&
            strcmp(failure.where, err->where) == 0)
            memcpy(failure.traceback, err->traceback, sizeof failure.traceback);
        *err = failure;
        return false;
    }
    if (ok && !lm_conn_in_transaction(self->conn)) {
        return lm_err_set(err, LM_ERR_FAILED,
                          "the script ended luamig's transaction");
    }
    return ok;
}

/* The batch that a callback belongs to; a one-shot is one. A dry run calls
 * on_start in every batch. */
static int64_t
batch_of(const struct lm_runner *self, enum lm_callback callback)
{
    if (callback == LM_CALL_ON_START)
        return 0;
    return self->migration->one_shot ? 1 : self->run.batches;
}

bool
lm_runner_call_back(struct lm_runner *self, enum lm_callback callback,
                    struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_run_info info = lm_runner_info(self, batch_of(self, callback));
    bool ok;

    if (!m->ops->has(m->self, callback))
        return true;
    self->repo.combine = m->combine && !self->uncombined;
    if (!lm_repo_open(&self->repo, self->conn, NULL, err))
        return false;
    ok = m->ops->call(m->self, callback, &self->repo, &info, err);
    return lm_runner_close_repo(self, ok, err);
}

/* -- the steps -------------------------------------------------------- */

/* For the witness: a step of a script that has the callback. */
static bool
witness_callback(struct lm_runner *self, enum lm_callback callback,
                 enum lm_moment moment, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;

    return !m->ops->has(m->self, callback) ||
           lm_runner_witness(self, moment, batch_of(self, callback), err);
}

/* Does the run end at the highest key of its beginning? */
static bool
is_bounded(const struct lm_runner *self)
{
    return !self->migration->one_shot && !self->migration->follow_new;
}

/* The highest key there is, also among the rows that on_start wrote. */
bool
lm_runner_find_bound(struct lm_runner *self, struct lm_key *bound,
                     struct lm_err *err)
{
    int64_t timeout_ms = self->migration->statement_timeout_ms;

    if (!is_bounded(self))
        return true;
    if ((timeout_ms > 0 && timeout_ms < LM_RUNNER_BOUND_MS &&
         !lm_txn_limit_statements(self->conn, LM_RUNNER_BOUND_MS, err)) ||
        !lm_runner_highest(self, bound, err)) {
        if (err->kind == LM_ERR_DATABASE && lm_err_is_state(err, "42"))
            err->kind = LM_ERR_SCRIPT;
        lm_err_prefix(err, "could not find the highest key");
        return false;
    }
    return true;
}

void
lm_runner_note_started(struct lm_runner *self, struct lm_key bound)
{
    self->run.seq++;
    self->run.started = true;
    lm_key_release(&self->run.bound);
    self->run.bound = bound;
    self->run.bound_is_empty = is_bounded(self) && lm_key_is_empty(&bound);
}

/* on_start and the bound, in one transaction with the mark that says so. */
static bool
start_step(struct lm_runner *self, struct lm_err *err)
{
    struct lm_txn txn = lm_runner_txn(self);
    struct lm_key bound = {NULL, 0};
    bool ok = lm_txn_begin(self->conn, &txn, err) &&
              lm_runner_call_back(self, LM_CALL_ON_START, err) &&
              lm_runner_find_bound(self, &bound, err) &&
              lm_journal_mark_started(&self->journal, &self->run,
                                      is_bounded(self) ? &bound : NULL, err) &&
              lm_runner_post_modules(self, err) &&
              witness_callback(self, LM_CALL_ON_START, LM_BEFORE_COMMIT, err) &&
              lm_conn_commit(self->conn, "on_start_before_commit",
                             "on_start_after_commit_sent", err);

    if (!ok) {
        lm_key_release(&bound);
        return false;
    }
    LM_FAULT("on_start_after_commit");
    lm_runner_note_started(self, bound);
    return witness_callback(self, LM_CALL_ON_START, LM_AFTER_COMMIT, err);
}

/* The state "done", as part of the transaction in hand. Somebody may have
 * retried rows that were set aside. */
static bool
mark_done(struct lm_runner *self, struct lm_err *err)
{
    struct lm_journal_end end = {"done", LM_EXIT_DONE, self->pending_retries,
                                 NULL};

    if (self->run.failures > 0 &&
        !lm_journal_count_failures(&self->journal, &self->run, err))
        return false;
    if (self->run.failures > 0) {
        end.state = "done_with_failures";
        end.exit_code = LM_EXIT_FAILURES;
    }
    return lm_journal_finish(&self->journal, &self->run, &end, err);
}

/* The whole of a one-shot, on_complete and the state "done". */
static bool
final_step(struct lm_runner *self, struct lm_err *err)
{
    struct lm_txn txn = lm_runner_txn(self);
    bool one_shot = self->migration->one_shot;
    enum lm_callback last = one_shot ? LM_CALL_RUN : LM_CALL_ON_COMPLETE;

    if (!lm_runner_has_fitted(self, err) ||
        !lm_txn_begin(self->conn, &txn, err) ||
        (one_shot && !lm_runner_call_back(self, LM_CALL_RUN, err)) ||
        !lm_runner_call_back(self, LM_CALL_ON_COMPLETE, err) ||
        !mark_done(self, err) || !lm_runner_post_modules(self, err) ||
        !witness_callback(self, last, LM_BEFORE_COMMIT, err) ||
        !lm_conn_commit(self->conn, "done_before_commit",
                        "done_after_commit_sent", err))
        return false;
    LM_FAULT("done_after_commit");
    self->run.seq++;
    self->ended = true;
    return witness_callback(self, last, LM_AFTER_COMMIT, err);
}

/* -- the life of a run ------------------------------------------------ */

bool
lm_runner_should_stop(struct lm_runner *self)
{
    struct lm_outcome *outcome = self->outcome;

    lm_runner_is_called(self);
    /* The level may be that of a cancel --now, which came in meanwhile. */
    if (lm_stop_level() > 0)
        lm_runner_empty_mailbox(self);
    if (self->cancelled) {
        snprintf(outcome->reason, sizeof outcome->reason, "%s on %s",
                 self->asked.by, self->asked.host);
        return true;
    }
    if (lm_stop_level() > 0) {
        snprintf(outcome->reason, sizeof outcome->reason, "%s",
                 lm_stop_signal());
        return true;
    }
    if (self->options->limit > 0 && !self->pages_done &&
        self->progress.own_rows >= self->options->limit) {
        snprintf(outcome->reason, sizeof outcome->reason,
                 "the limit of %" PRId64 " rows", self->options->limit);
        return true;
    }
    return false;
}

static bool
nothing_to_page(const struct lm_runner *self)
{
    return self->migration->one_shot || self->pages_done ||
           self->run.bound_is_empty;
}

/* A run that waits would not renew its lease any more. */
static bool
fail_while_waiting(const struct lm_runner *self, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_LOST, "the connection to %s was lost",
               lm_conn_target(self->conn));
    LM_ERR_COPY(err->sqlstate, "08006");
    return false;
}

static bool
next_step(struct lm_runner *self, struct lm_err *err)
{
    if (!lm_conn_is_up(self->conn))
        return fail_while_waiting(self, err);
    if (self->overtaken) {
        self->overtaken = false;
        return lm_runner_refresh(self, err);
    }
    lm_runner_show_holder(self);
    if (!self->heard)
        return lm_runner_begin_control(self, err);
    if (lm_runner_has_request(self))
        return lm_runner_obey(self, err);
    if (self->paused) {
        lm_runner_stay_paused(self);
        return true;
    }
    if (!self->run.started) {
        self->look_again =
            self->migration->ops->has(self->migration->self, LM_CALL_ON_START);
        return self->steps->start(self, err);
    }
    if (self->look_again)
        return lm_runner_look_again(self, err);
    if (nothing_to_page(self)) {
        lm_runner_note_held(self);
        return self->steps->finish(self, err);
    }
    lm_runner_feed_progress(self);
    lm_runner_look_at_pace(self);
    return lm_runner_hold_back(self, err) &&
           (lm_runner_is_called(self) || lm_runner_batch_step(self, err));
}

bool
lm_runner_work(struct lm_runner *self, bool *stopped, struct lm_err *err)
{
    *stopped = false;
    while (!self->ended) {
        int64_t seq = self->run.seq;

        self->in_batch = self->paging = false;
        self->suspect.rows = 0;
        if (lm_runner_should_stop(self)) {
            *stopped = true;
            return true;
        }
        if (!next_step(self, err)) {
            if (!lm_runner_survive(self, err))
                return false;
        } else {
            self->attempt = 1;
            self->uncombined = self->bisection.suspects > 0;
            self->reprepared = false;
        }
        if (self->run.seq > seq) {
            self->lost_in_row = self->ended_in_row = 0;
            self->short_since_ms = 0;
        }
    }
    return true;
}

static const struct lm_runner_steps for_real = {
    start_step, lm_runner_begin_batch, lm_runner_commit_batch, final_step};

void
lm_runner_init(struct lm_runner *self, const struct lm_migration *migration,
               const struct lm_runner_options *options,
               struct lm_outcome *outcome)
{
    memset(self, 0, sizeof *self);
    memset(outcome, 0, sizeof *outcome);
    self->tuned = *migration;
    self->migration = &self->tuned;
    self->steps = &for_real;
    self->mailbox = lm_mailbox_new();
    self->options = options;
    self->outcome = outcome;
    self->journal.schema = options->journal_schema;
    self->journal.lease_ms = options->lease_ms;
    self->journal.published = options->force ? LM_JOURNAL_PUBLISHED_WARN
                                             : LM_JOURNAL_PUBLISHED_REFUSE;
    lm_size_init(&self->size, migration->batch_size, migration->target_ms);
    self->attempt = 1;
    self->hold.by = LM_HELD_BY_NOTHING;
    lm_repo_init(&self->repo);
    self->repo.allow_ddl = migration->allow_ddl;
    self->repo.allow_unjudged = migration->allow_unjudged;
    self->repo.combine_options.journal = options->journal_schema;
    self->repo.combine_options.always = migration->combine_always;
}

void
lm_runner_release(struct lm_runner *self)
{
    lm_mailbox_let_go(self->mailbox);
    free(self->answers);
    lm_repo_release(&self->repo);
    lm_suspect_release(&self->suspect);
    lm_key_release(&self->narrow.end);
    lm_window_release(&self->window);
    lm_run_release(&self->run);
    lm_base_query_release(&self->query);
    lm_position_release(&self->position);
    lm_runner_names_release(&self->names);
    free(self->first_key);
    free(self->fingerprint);
    lm_conn_close(self->conn);
}

void
lm_runner_run(const struct lm_migration *migration,
              const struct lm_runner_options *options,
              struct lm_outcome *outcome, struct lm_err *err)
{
    struct lm_runner self;
    bool stopped = false;
    bool ok;

    lm_runner_init(&self, migration, options, outcome);
    ok = lm_runner_acquire(&self, err);
    if (ok && self.acquired) {
        if (options->under_way != NULL)
            options->under_way(options->arg, self.run.id);
        lm_runner_watch(&self);
        self.retries_before = self.run.retries;
        self.failures_before = self.run.failures;
        lm_progress_begin(&self.progress, self.run.id, self.run.rows,
                          self.run.batches, self.run.retries);
        ok = lm_runner_work(&self, &stopped, err);
    }
    lm_runner_conclude(&self, ok, stopped, err);
    lm_runner_release(&self);
}

const char *
lm_outcome_state(const struct lm_outcome *self)
{
    switch (self->ending) {
    case LM_END_DONE:
    case LM_END_DONE_ALREADY:
        return self->failures > 0 ? "done_with_failures" : "done";
    case LM_END_CANCELLED:
    case LM_END_CANCELLED_ALREADY:
        return "cancelled";
    case LM_END_STOPPED:
        return "stopped";
    case LM_END_FAILED:
        break;
    }
    return "failed";
}

void
lm_outcome_release(struct lm_outcome *self)
{
    free(self->cursor);
    free(self->held);
    self->cursor = self->held = NULL;
}
