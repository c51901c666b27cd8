/* SPDX-License-Identifier: MIT */
/*
 * The state machine of a run; see the header.
 *
 * Everything that writes is a step: one transaction with its own retries.
 * After each step the loop looks again where the run is. So a step whose
 * COMMIT succeeded after all, or was lost, needs no code of its own.
 * core/lane/recover.c handles a step that failed.
 */

#include "core/run/runner.h"

#include "base/fault.h"
#include "base/stop.h"
#include "core/run/team.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- the steps -------------------------------------------------------- */

/* Does the run end at the highest key of its beginning? */
static bool
is_bounded(const struct lm_runner *self)
{
    return !self->migration->one_shot && !self->migration->follow_new;
}

bool
lm_runner_has_rows_up_to(const struct lm_runner *self,
                         const struct lm_key *bound)
{
    return !self->migration->one_shot &&
           (!is_bounded(self) || !lm_key_is_empty(bound));
}

/* The highest key there is, also among the rows that on_start wrote. */
bool
lm_runner_find_bound(struct lm_runner *self, struct lm_key *bound,
                     struct lm_err *err)
{
    int64_t timeout_ms = self->migration->statement_timeout_ms;

    if (!is_bounded(self))
        return true;
    if (!lm_lane_begin_source(&self->lane, err))
        return false;
    if ((timeout_ms > 0 && timeout_ms < LM_RUNNER_BOUND_MS &&
         !lm_txn_limit_statements(lm_lane_reader(&self->lane),
                                  LM_RUNNER_BOUND_MS, err)) ||
        !lm_lane_highest(&self->lane, bound, err)) {
        if (err->kind == LM_ERR_DATABASE && lm_err_is_state(err, "42"))
            err->kind = LM_ERR_SCRIPT;
        return lm_err_prefix(err, "could not find the highest key");
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
    self->run.ranges = self->lane.range.id > 0 ? 1 : 0;
}

/* on_start and the bound, in one transaction with the mark that says so. */
static bool
start_step(struct lm_runner *self, struct lm_err *err)
{
    struct lm_txn txn = lm_lane_txn(&self->lane);
    struct lm_key bound = {NULL, 0};
    struct lm_range range = {.id = 0};
    bool ok = lm_txn_begin(self->lane.conn, &txn, err) &&
              lm_lane_call_back(&self->lane, LM_CALL_ON_START, err) &&
              lm_runner_look_late(self, err) &&
              lm_runner_find_bound(self, &bound, err) &&
              lm_journal_mark_started(&self->lane.journal, &self->run,
                                      is_bounded(self) ? &bound : NULL,
                                      lm_runner_has_rows_up_to(self, &bound),
                                      &range, err) &&
              lm_lane_note_source(&self->lane, err) &&
              lm_lane_post_modules(&self->lane, err) &&
              lm_lane_witness_callback(&self->lane, LM_CALL_ON_START,
                                       LM_BEFORE_COMMIT, err) &&
              lm_conn_commit(self->lane.conn, "on_start_before_commit",
                             "on_start_after_commit_sent", err);

    if (!ok) {
        lm_key_release(&bound);
        lm_range_release(&range);
        return false;
    }
    LM_FAULT("on_start_after_commit");
    lm_lane_set_range(&self->lane, &range);
    lm_runner_note_started(self, bound);
    return lm_lane_witness_callback(&self->lane, LM_CALL_ON_START,
                                    LM_AFTER_COMMIT, err);
}

/* Writes the state "done" in the current transaction. Failed rows may have
 * been retried meanwhile. */
static bool
mark_done(struct lm_runner *self, struct lm_err *err)
{
    struct lm_journal_end end = {"done", LM_EXIT_DONE,
                                 self->lane.attempt.uncounted_retries, NULL};

    if (self->run.failures > 0 &&
        !lm_journal_count_failures(&self->lane.journal, &self->run, err))
        return false;
    lm_runner_note_run(self);
    if (self->run.failures > 0) {
        end.state = "done_with_failures";
        end.exit_code = LM_EXIT_FAILURES;
    }
    return lm_journal_finish(&self->lane.journal, &self->run, &self->lane.range,
                             &end, err);
}

/* The first statement of the last transaction, which sees what the others do:
 * are all ranges done? */
static bool
check_others(struct lm_runner *self, bool *wait, struct lm_err *err)
{
    int64_t others = 0;

    if (!lm_journal_count_others(&self->lane.journal, &self->run,
                                 &self->lane.range, &others, err))
        return false;
    *wait = others > 0;
    self->run.ranges = (int)others + (self->lane.range.id > 0 ? 1 : 0);
    return true;
}

/* The whole of a one-shot, on_complete and the state "done". */
static bool
final_step(struct lm_runner *self, struct lm_err *err)
{
    struct lm_txn txn = lm_lane_txn(&self->lane);
    bool one_shot = self->migration->one_shot;
    enum lm_callback last = one_shot ? LM_CALL_RUN : LM_CALL_ON_COMPLETE;
    bool wait = false;

    if (!lm_runner_has_fitted(self, err) ||
        !lm_lane_enter_source(&self->lane, err) ||
        !lm_txn_begin(self->lane.conn, &txn, err) ||
        (!one_shot && !check_others(self, &wait, err)))
        return false;
    if (wait) {
        lm_conn_rollback(self->lane.conn);
        return true;
    }
    if ((one_shot && !lm_lane_call_back(&self->lane, LM_CALL_RUN, err)) ||
        !lm_lane_call_back(&self->lane, LM_CALL_ON_COMPLETE, err) ||
        !mark_done(self, err) || !lm_lane_post_modules(&self->lane, err) ||
        !lm_lane_witness_callback(&self->lane, last, LM_BEFORE_COMMIT, err) ||
        !lm_conn_commit(self->lane.conn, "done_before_commit",
                        "done_after_commit_sent", err))
        return false;
    LM_FAULT("done_after_commit");
    self->run.seq++;
    self->ended = true;
    return lm_lane_witness_callback(&self->lane, last, LM_AFTER_COMMIT, err);
}

/* -- the life of a run ------------------------------------------------ */

/* Are all rows done, as far as this runner knows? */
static bool
nothing_to_page(const struct lm_runner *self)
{
    const struct lm_lane *lane = &self->lane;

    if (!self->run.started)
        return false;
    return self->migration->one_shot || self->run.ranges == 0 ||
           (self->run.ranges == 1 && lane->range.id > 0 && lane->range_done);
}

bool
lm_runner_should_stop(struct lm_runner *self)
{
    struct lm_outcome *outcome = self->outcome;

    lm_runner_should_end_wait(self);
    lm_runner_follow_account(self);
    /* A cancel --now may have set the level meanwhile. */
    if (lm_stop_level() > 0)
        lm_runner_empty_mailbox(self);
    if (self->requests.cancelled) {
        snprintf(outcome->reason, sizeof outcome->reason, "%s on %s",
                 self->requests.asked.by, self->requests.asked.host);
        return true;
    }
    if (lm_stop_level() > 0) {
        snprintf(outcome->reason, sizeof outcome->reason, "%s",
                 lm_stop_signal());
        return true;
    }
    if (lm_account_is_spent(&self->account) && !nothing_to_page(self)) {
        snprintf(outcome->reason, sizeof outcome->reason,
                 "the limit of %" PRId64 " rows", self->options->limit);
        return true;
    }
    return false;
}

/* A run that waits would not renew its lease any more. */
static bool
fail_while_waiting(const struct lm_runner *self, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_LOST, "the connection to %s was lost",
               lm_conn_target(self->lane.conn));
    LM_ERR_COPY(err->sqlstate, "08006");
    return false;
}

/* What a process that leads the run does before rows are paged. *may_work:
 * nothing is left of that. */
static bool
lead(struct lm_runner *self, bool *may_work, struct lm_err *err)
{
    *may_work = false;
    if (!self->requests.heard)
        return lm_runner_begin_control(self, err);
    if (lm_runner_has_request(self))
        return lm_runner_obey(self, err);
    if (self->requests.paused) {
        lm_runner_stay_paused(self);
        return true;
    }
    if (!self->input.ready)
        return lm_runner_take_input(self, err);
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
    *may_work = true;
    return true;
}

static bool
next_step(struct lm_runner *self, struct lm_err *err)
{
    bool may_work = false;

    if (!lm_conn_is_up(self->lane.conn))
        return fail_while_waiting(self, err);
    if (lm_holding_take_overtaken(&self->holding))
        return lm_lane_refresh(&self->lane, err);
    if (!(self->leads ? lead : lm_runner_follow)(self, &may_work, err))
        return false;
    if (!may_work)
        return true;
    if (self->unseen) /* another process has called on_start */
        return lm_runner_look_again(self, err);
    lm_runner_look_at_staff(self);
    lm_runner_feed_progress(self); /* one range is counted sooner than many */
    if (self->team == NULL && lm_runner_wants_team(self))
        return lm_runner_start_team(self, err);
    lm_runner_look_at_pace(self);
    if (!lm_runner_hold_back(self, err))
        return false;
    if (lm_runner_should_end_wait(self))
        return true;
    if (lm_runner_needs_range(self))
        return lm_runner_next_range(self, err);
    return !lm_runner_reserve(self) || lm_lane_batch(&self->lane, err);
}

bool
lm_runner_work(struct lm_runner *self, bool *stopped, struct lm_err *err)
{
    *stopped = false;
    while (!self->ended) {
        int64_t seq = self->run.seq;
        int64_t range = self->lane.range.id;
        int64_t range_seq = self->lane.range.seq;

        if (!lm_team_is_well(self->team, err))
            return false;
        lm_lane_begin_step(&self->lane);
        if (lm_runner_should_stop(self)) {
            *stopped = true;
            return true;
        }
        if (!next_step(self, err)) {
            if (!lm_lane_recover(&self->lane, err))
                return false;
        } else {
            lm_lane_end_step(&self->lane);
        }
        if (self->run.seq > seq || self->lane.range.id != range ||
            self->lane.range.seq > range_seq)
            lm_lane_note_progress(&self->lane);
    }
    return true;
}

static const struct lm_runner_steps for_real = {start_step, final_step};

void
lm_runner_init(struct lm_runner *self, const struct lm_migration *migration,
               const struct lm_runner_options *options,
               struct lm_outcome *outcome, struct lm_dry *dry)
{
    struct lm_lane_options how = {.conninfo = options->conninfo,
                                  .source_conninfo = options->source_conninfo,
                                  .journal_schema = options->journal_schema,
                                  .silence_ms = options->silence_ms,
                                  .witness = options->witness,
                                  .dry = dry != NULL,
                                  .skips_prepare =
                                      dry != NULL && !options->prepare};
    struct lm_journal *journal = &self->lane.journal;

    memset(self, 0, sizeof *self);
    memset(outcome, 0, sizeof *outcome);
    self->tuned = *migration;
    self->migration = &self->tuned;
    self->steps = &for_real;
    self->options = options;
    self->outcome = outcome;
    self->dry = dry;
    self->leads = true;
    self->requests.mailbox = lm_mailbox_new();
    self->requests.heard = dry != NULL; /* it gets no requests */
    self->holding.hold.by = LM_HELD_BY_NOTHING;
    self->staff.wanted = 1;
    lm_account_init(&self->account, options->limit);
    lm_lane_init(&self->lane, &how, self->migration, &self->run,
                 &self->account);
    self->lane.host = lm_runner_host(self);
    lm_runner_init_input(self);
    journal->lease_ms = options->lease_ms;
    journal->number = 1;
    journal->published = options->force ? LM_JOURNAL_PUBLISHED_WARN
                                        : LM_JOURNAL_PUBLISHED_REFUSE;
}

void
lm_runner_release(struct lm_runner *self)
{
    lm_mailbox_let_go(self->requests.mailbox);
    free(self->requests.answers);
    lm_lane_release(&self->lane);
    lm_account_release(&self->account);
    lm_run_release(&self->run);
    lm_position_release(&self->gauge.position);
    lm_runner_names_release(&self->names);
    free(self->fingerprint);
    lm_runner_release_input(self);
}

void
lm_runner_run(const struct lm_migration *migration,
              const struct lm_runner_options *options,
              struct lm_outcome *outcome, struct lm_err *err)
{
    struct lm_runner self;
    bool stopped = false;
    bool ok;

    lm_runner_init(&self, migration, options, outcome, NULL);
    ok = lm_journal_init(&self.lane.journal, err) &&
         lm_runner_acquire(&self, err);
    if (ok && self.acquired) {
        if (options->under_way != NULL)
            options->under_way(options->arg, self.run.id);
        lm_runner_watch(&self);
        lm_runner_note_run(&self);
        self.retries_before = self.run.retries;
        self.failures_before = self.run.failures;
        lm_progress_begin(&self.gauge.progress, self.run.id, self.run.rows,
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
