/* SPDX-License-Identifier: MIT */
/*
 * The state machine of a run; see the header for its shape and promises.
 *
 * Everything that writes is a step: one transaction with its own retries.
 * After each step the loop looks again at where the run is, so that a step
 * whose commit turned out to have succeeded, or to have been lost, needs no
 * case of its own. What becomes of a step that failed is in runner_retry.c.
 */

#include "core/runner.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/runner_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT_TIMEOUT_MS = 5000 };

struct lm_run_info
lm_runner_info(const struct lm_runner *self, int64_t batch)
{
    struct lm_run_info info = {self->run.id, self->migration->name, batch,
                               self->attempt};

    return info;
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

static bool
call_back(struct lm_runner *self, enum lm_callback callback, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_run_info info = lm_runner_info(
        self,
        m->one_shot && callback != LM_CALL_ON_START ? 1 : self->run.batches);
    bool ok;

    if (!m->ops->has(m->self, callback))
        return true;
    self->repo.combine = m->combine && !self->uncombined;
    lm_repo_open(&self->repo, self->conn, NULL, false);
    ok = m->ops->call(m->self, callback, &self->repo, &info, err);
    return lm_runner_close_repo(self, ok, err);
}

/* -- the steps -------------------------------------------------------- */

/* The highest key there is, also among the rows that on_start wrote. */
static bool
find_bound(struct lm_runner *self, struct lm_key *bound, struct lm_err *err)
{
    if ((self->migration->statement_timeout_ms > 0 &&
         !lm_txn_limit_statements(self->conn, LM_RUNNER_BOUND_MS, err)) ||
        !lm_page_highest(self->conn, &self->query, &bound->texts, err)) {
        if (err->kind == LM_ERR_DATABASE && lm_err_is_state(err, "42"))
            err->kind = LM_ERR_SCRIPT;
        lm_err_prefix(err, "could not find the highest key");
        return false;
    }
    bound->count = bound->texts != NULL ? self->query.key_count : 0;
    return true;
}

/* Does the run end at the highest key of its beginning? */
static bool
is_bounded(const struct lm_runner *self)
{
    return !self->migration->one_shot && !self->migration->follow_new;
}

/* on_start and the bound, in one transaction with the mark that says so. */
static bool
start_step(struct lm_runner *self, struct lm_err *err)
{
    struct lm_txn txn = lm_runner_txn(self);
    struct lm_key bound = {NULL, 0};
    bool bounded = is_bounded(self);
    bool ok = lm_txn_begin(self->conn, &txn, err) &&
              call_back(self, LM_CALL_ON_START, err) &&
              (!bounded || find_bound(self, &bound, err)) &&
              lm_journal_mark_started(&self->journal, &self->run,
                                      bounded ? &bound : NULL, err) &&
              lm_conn_commit(self->conn, "on_start_before_commit",
                             "on_start_after_commit_sent", err);

    if (!ok) {
        lm_key_release(&bound);
        return false;
    }
    LM_FAULT("on_start_after_commit");
    self->run.seq++;
    self->run.started = true;
    lm_key_release(&self->run.bound);
    self->run.bound = bound;
    self->run.bound_is_empty = bounded && bound.texts == NULL;
    return true;
}

static int64_t
rows_to_ask_for(const struct lm_runner *self)
{
    int64_t size =
        lm_bisection_rows(&self->bisection, lm_size_rows(&self->size));
    int64_t left = self->options->limit - self->progress.own_rows;

    return self->options->limit > 0 && left < size ? left : size;
}

bool
lm_runner_migrate_page(struct lm_runner *self, const struct lm_page *page,
                       struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_run_info info = lm_runner_info(self, self->run.batches + 1);
    bool ok;

    self->repo.combine = m->combine && !self->uncombined;
    lm_repo_open(&self->repo, self->conn, &self->query, true);
    ok = m->ops->migrate(m->self, page, &self->repo, &info, err);
    return lm_runner_close_repo(self, ok, err);
}

void
lm_runner_copy_last_key(const struct lm_runner *self,
                        const struct lm_page *page, struct lm_key *key)
{
    const char **texts =
        lm_calloc((size_t)self->query.key_count, sizeof *texts);

    for (int i = 0; i < self->query.key_count; i++)
        texts[i] = lm_page_key(page, &self->query, page->rows - 1, i);
    lm_key_copy(key, texts, self->query.key_count);
    free(texts);
}

/* The page's writes, the cursor and COMMIT. The cursor is the page's last key,
 * unless a window that has nothing more leads further. */
static bool
migrate_and_commit(struct lm_runner *self, const struct lm_page *page,
                   const struct lm_key *window_end, struct lm_key *cursor,
                   struct lm_err *err)
{
    if (window_end != NULL) {
        lm_key_copy(cursor, (const char *const *)window_end->texts,
                    window_end->count);
    } else {
        lm_runner_copy_last_key(self, page, cursor);
    }
    if (!lm_runner_migrate_page(self, page, err))
        return false;
    LM_FAULT("after_migrate");
    if (!lm_journal_checkpoint(&self->journal, &self->run, cursor, page->rows,
                               self->pending_retries, err))
        return false;
#ifdef LUAMIG_FAULTS
    if (lm_fault_is_armed("after_flush") && !lm_conn_flush(self->conn, err))
        return false;
#endif
    LM_FAULT("after_flush");
    return lm_conn_commit(self->conn, "before_commit", "after_commit_sent",
                          err);
}

static void
advance(struct lm_runner *self, const struct lm_page *page,
        struct lm_key *cursor, int64_t begun_ms)
{
    struct lm_key old = self->run.cursor;
    int64_t now = lm_clock_ms();

    self->run.cursor = *cursor;
    *cursor = old;
    self->run.seq++;
    self->run.rows += page->rows;
    self->run.batches++;
    self->pending_retries = 0;
    self->leased_ms = now;
    self->batch_ms = now - begun_ms + 1;
    lm_bisection_passed(&self->bisection, page->rows,
                        lm_size_rows(&self->size));
    lm_size_batch(&self->size, page->rows, now - begun_ms);
    lm_progress_batch(&self->progress, page->rows, lm_size_rows(&self->size));
}

/* "batch 3, keys (id) from (2001) to (3000), rolled back" */
static void
name_batch(const struct lm_runner *self, const struct lm_page *page,
           struct lm_err *err)
{
    struct lm_buf text = LM_BUF_INIT;

    lm_buf_printf(&text, "batch %" PRId64 ", keys (", self->run.batches + 1);
    for (int i = 0; i < self->query.key_count; i++)
        lm_buf_printf(&text, "%s%s", i > 0 ? ", " : "", self->query.key[i]);
    for (int end = 0; end < 2; end++) {
        lm_buf_puts(&text, end == 0 ? ") from (" : ") to (");
        for (int i = 0; i < self->query.key_count; i++) {
            lm_buf_printf(&text, "%s%s", i > 0 ? ", " : "",
                          lm_page_key(page, &self->query,
                                      end == 0 ? 0 : page->rows - 1, i));
        }
    }
    lm_buf_puts(&text, "), rolled back");
    LM_ERR_COPY(err->batch, lm_buf_text(&text));
    lm_buf_release(&text);
}

static bool
fetch_page(struct lm_runner *self, struct lm_key *window_end,
           struct lm_page *page, struct lm_err *err)
{
    bool ok;

    self->paging = true;
    ok = lm_runner_find_window(self, window_end, err) &&
         lm_page_fetch(self->conn, &self->query, self->run.cursor.texts,
                       window_end->texts != NULL ? window_end->texts
                                                 : self->run.bound.texts,
                       rows_to_ask_for(self), page, err);
    if (!ok)
        return false;
    self->paging = false;
    lm_runner_window_passed(self, page->more);
    return true;
}

/* Nothing matched in a window: the cursor moves to its end. */
static bool
pass_window(struct lm_runner *self, struct lm_key *window_end,
            struct lm_err *err)
{
    struct lm_key old = self->run.cursor;

    if (!lm_journal_checkpoint(&self->journal, &self->run, window_end, 0,
                               self->pending_retries, err) ||
        !lm_conn_commit(self->conn, "before_commit", "after_commit_sent", err))
        return false;
    self->run.cursor = *window_end;
    *window_end = old;
    self->run.seq++;
    self->pending_retries = 0;
    self->leased_ms = lm_clock_ms();
    return true;
}

/* Inside the transaction. */
static bool
work_on_page(struct lm_runner *self, const struct lm_page *page,
             struct lm_key *window_end, int64_t begun_ms, struct lm_err *err)
{
    bool ends_window = window_end->texts != NULL && !page->more;
    struct lm_key cursor = {NULL, 0};
    bool ok;

    if (page->rows == 0 && ends_window)
        return pass_window(self, window_end, err);
    if (page->rows == 0) {
        lm_conn_rollback(self->conn);
        self->pages_done = true;
        return true;
    }
    lm_runner_note_first_key(self, page);
    ok = migrate_and_commit(self, page, ends_window ? window_end : NULL,
                            &cursor, err);
    if (ok) {
        LM_FAULT("after_commit");
        advance(self, page, &cursor, begun_ms);
        self->pages_done = !page->more && !ends_window;
    } else if (err->kind != LM_ERR_LOST) {
        name_batch(self, page, err);
        lm_runner_suspect(self, page);
    }
    lm_key_release(&cursor);
    return ok;
}

static bool
batch_step(struct lm_runner *self, struct lm_err *err)
{
    struct lm_txn txn = lm_runner_txn(self);
    struct lm_key window_end = {NULL, 0};
    struct lm_page page;
    int64_t begun_ms = lm_clock_ms();
    bool ok;

    self->in_batch = true;
    txn.durable = self->migration->durable_batches;
    ok = lm_txn_begin(self->conn, &txn, err) &&
         lm_repo_post_check(&self->repo, self->conn, err) &&
         fetch_page(self, &window_end, &page, err);
    if (ok) {
        LM_FAULT("after_page");
        ok = work_on_page(self, &page, &window_end, begun_ms, err);
        lm_page_release(&page);
    }
    lm_key_release(&window_end);
    return ok;
}

/* The state "done", as part of the transaction in hand. Somebody may have
 * retried rows that were set aside. */
static bool
mark_done(struct lm_runner *self, struct lm_err *err)
{
    bool all;

    if (self->run.failures > 0 &&
        !lm_journal_count_failures(&self->journal, &self->run, err))
        return false;
    all = self->run.failures == 0;
    return lm_journal_finish(&self->journal, &self->run,
                             all ? "done" : "done_with_failures",
                             all ? LM_EXIT_DONE : LM_EXIT_FAILURES, NULL, err);
}

/* The whole of a one-shot, on_complete and the state "done". */
static bool
final_step(struct lm_runner *self, struct lm_err *err)
{
    struct lm_txn txn = lm_runner_txn(self);

    if (!lm_txn_begin(self->conn, &txn, err) ||
        (self->migration->one_shot && !call_back(self, LM_CALL_RUN, err)) ||
        !call_back(self, LM_CALL_ON_COMPLETE, err) || !mark_done(self, err) ||
        !lm_conn_commit(self->conn, "done_before_commit",
                        "done_after_commit_sent", err))
        return false;
    LM_FAULT("done_after_commit");
    self->run.seq++;
    self->ended = true;
    return true;
}

/* -- the life of a run ------------------------------------------------ */

/* Has somebody asked to stop, or is the limit reached? */
static bool
should_stop(struct lm_runner *self)
{
    struct lm_outcome *outcome = self->outcome;

    lm_runner_is_called(self);
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
        return start_step(self, err);
    }
    if (self->look_again)
        return lm_runner_look_again(self, err);
    if (nothing_to_page(self)) {
        lm_runner_note_held(self);
        return final_step(self, err);
    }
    lm_runner_feed_progress(self);
    return lm_runner_hold_back(self, err) &&
           (lm_runner_is_called(self) || batch_step(self, err));
}

/* False with err unset by us means: stopped; outcome->reason says why. */
static bool
work(struct lm_runner *self, bool *stopped, struct lm_err *err)
{
    *stopped = false;
    while (!self->ended) {
        int64_t seq = self->run.seq;

        self->in_batch = self->paging = false;
        self->suspect.rows = 0;
        if (should_stop(self)) {
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
            self->lost_in_row = 0;
            self->short_since_ms = 0;
        }
    }
    return true;
}

static bool
try_record_end(struct lm_runner *self, const char *state, int exit_code,
               const struct lm_err *error, struct lm_err *err)
{
    struct lm_txn txn = lm_runner_txn(self);

    txn.lock_timeout_ms = txn.statement_timeout_ms = 10000;
    lm_conn_rollback(self->conn);
    return lm_txn_begin(self->conn, &txn, err) &&
           lm_journal_finish(&self->journal, &self->run, state, exit_code,
                             error, err) &&
           lm_conn_commit(self->conn, "end_before_commit",
                          "end_after_commit_sent", err);
}

/* Writes the last state of a run that did not reach its end. Tries twice: a
 * cancel request may arrive later than the statement it was meant for. */
static void
record_end(struct lm_runner *self, const char *state, int exit_code,
           const struct lm_err *error)
{
    struct lm_err err;

    if (self->conn != NULL)
        lm_conn_set_interruptible(self->conn, false);
    for (int i = 0; i < 2 && self->conn != NULL; i++) {
        if (!lm_conn_is_up(self->conn))
            break;
        if (try_record_end(self, state, exit_code, error, &err))
            return;
        lm_log(LM_LOG_DEBUG, "%s", err.message);
    }
    lm_log(LM_LOG_WARNING,
           "could not record in the journal that run %" PRId64
           " is %s; the same command resumes it all the same",
           self->run.id, state);
}

static void
tell_script(struct lm_runner *self, const char *reason)
{
    const struct lm_migration *m = self->migration;
    struct lm_run_info info = lm_runner_info(self, self->run.batches);

    m->ops->on_stop(m->self, &info, reason);
}

static void
count_matching(struct lm_runner *self)
{
    struct lm_outcome *outcome = self->outcome;
    struct lm_txn txn = lm_runner_txn(self);
    struct lm_err err;

    if (self->migration->one_shot)
        return;
    txn.read_only = true;
    txn.statement_timeout_ms = COUNT_TIMEOUT_MS;
    outcome->counted =
        lm_txn_begin(self->conn, &txn, &err) &&
        lm_page_count(self->conn, &self->query, self->run.bound.texts,
                      &outcome->matching, &outcome->beyond, &err);
    if (!outcome->counted) {
        lm_log(LM_LOG_INFO, "the rows that still match were not counted: %s",
               err.message);
    }
    lm_conn_rollback(self->conn);
}

static void
fill_outcome(struct lm_runner *self)
{
    struct lm_outcome *outcome = self->outcome;
    struct lm_buf cursor = LM_BUF_INIT;
    struct lm_buf held = LM_BUF_INIT;

    outcome->run_id = self->run.id;
    outcome->one_shot = self->migration->one_shot;
    outcome->rows = self->run.rows;
    outcome->batches = self->run.batches;
    outcome->retries = self->run.retries;
    outcome->failures = self->run.failures;
    outcome->begun = self->acquired;
    if (!self->acquired)
        return;
    outcome->retries = self->progress.retries;
    outcome->own_rows = self->progress.own_rows;
    outcome->elapsed_ms = lm_clock_ms() - self->progress.started_ms;
    lm_held_describe(&self->held, &held);
    if (held.len > 0)
        outcome->held = lm_buf_take(&held);
    if (self->run.cursor.texts != NULL &&
        self->run.cursor.count == self->query.key_count) {
        lm_page_describe_key(&cursor, &self->query, self->run.cursor.texts);
        outcome->cursor = lm_buf_take(&cursor);
    }
}

static void
conclude_stop(struct lm_runner *self)
{
    if (self->cancelled) {
        self->outcome->ending = LM_END_CANCELLED;
        record_end(self, "cancelled", LM_EXIT_CANCELLED, NULL);
        tell_script(self, "cancel");
        return;
    }
    self->outcome->ending = LM_END_STOPPED;
    record_end(self, self->paused ? "paused" : "stopped", LM_EXIT_STOPPED,
               NULL);
    tell_script(self, "stop");
}

static void
conclude(struct lm_runner *self, bool ok, bool stopped, struct lm_err *err)
{
    struct lm_outcome *outcome = self->outcome;

    lm_progress_end(&self->progress);
    lm_monitor_stop(self->monitor);
    self->monitor = NULL;
    if (!ok && err->kind == LM_ERR_INTERRUPT && self->acquired) {
        lm_runner_empty_mailbox(self);
        should_stop(self);
        ok = stopped = true;
    }
    fill_outcome(self);
    if (self->acquired && !self->ended)
        lm_runner_note_held(self);
    if (!ok && err->kind == LM_ERR_CANCELLED) {
        /* In the journal, while there was no connection to hear of it. */
        outcome->ending = LM_END_CANCELLED;
        snprintf(outcome->reason, sizeof outcome->reason, "another command");
        tell_script(self, "cancel");
    } else if (!ok) {
        outcome->ending = LM_END_FAILED;
        if (!self->acquired)
            return;
        if (err->kind != LM_ERR_FENCED)
            record_end(self, "failed", lm_err_exit_code(err->kind), err);
        tell_script(self, "error");
    } else if (stopped) {
        conclude_stop(self);
    } else if (self->acquired) {
        outcome->ending = LM_END_DONE;
        count_matching(self);
    }
}

void
lm_runner_init(struct lm_runner *self, const struct lm_migration *migration,
               const struct lm_runner_options *options,
               struct lm_outcome *outcome)
{
    memset(self, 0, sizeof *self);
    memset(outcome, 0, sizeof *outcome);
    self->tuned = *migration;
    self->migration = &self->tuned;
    self->mailbox = lm_mailbox_new();
    self->options = options;
    self->outcome = outcome;
    self->journal.schema = options->journal_schema;
    self->journal.lease_ms = options->lease_ms;
    lm_size_init(&self->size, migration->batch_size, migration->target_ms);
    self->attempt = 1;
    self->hold.by = LM_HELD_BY_NOTHING;
    lm_repo_init(&self->repo);
    self->repo.combine_options.journal = options->journal_schema;
    self->repo.combine_options.always = migration->combine_always;
}

void
lm_runner_release(struct lm_runner *self)
{
    lm_mailbox_let_go(self->mailbox);
    lm_buf_release(&self->unanswered);
    lm_repo_release(&self->repo);
    lm_suspect_release(&self->suspect);
    lm_window_release(&self->window);
    lm_run_release(&self->run);
    lm_base_query_release(&self->query);
    lm_position_release(&self->position);
    free(self->first_key);
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
        lm_progress_begin(&self.progress, self.run.id, self.run.rows,
                          self.run.batches, self.run.retries);
        ok = work(&self, &stopped, err);
    }
    conclude(&self, ok, stopped, err);
    lm_runner_release(&self);
}

void
lm_outcome_release(struct lm_outcome *self)
{
    free(self->cursor);
    free(self->held);
    self->cursor = self->held = NULL;
}
