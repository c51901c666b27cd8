/* SPDX-License-Identifier: MIT */
/* Between batches: what a run waits for, outside of any transaction, while its
 * lease is kept. */

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/runner_private.h"

/* How soon a run that waits hears what is asked of it. */
enum { SLICE_MS = 100 };

/* Tells the journal what the run waits for, and keeps the lease. Errors do not
 * matter: the next step will find out why. */
static void
tell_journal(struct lm_runner *self)
{
    struct lm_journal_note note = {.waits_for = self->waits_for,
                                   .held_json = "{}",
                                   .total = self->progress.total,
                                   .batch_size = lm_size_rows(&self->size)};
    struct lm_err ignored;

    self->leased_ms = lm_clock_ms();
    if (!lm_journal_renew(&self->journal, &self->run, &note, &ignored))
        lm_log(LM_LOG_WARNING, "could not renew the lease: %s",
               ignored.message);
}

void
lm_runner_rest(struct lm_runner *self, int64_t duration_ms)
{
    int64_t end = lm_clock_ms() + duration_ms;
    int64_t interval = self->journal.lease_ms / 3;
    int64_t left;

    while ((left = end - lm_clock_ms()) > 0 && !lm_runner_is_called(self)) {
        if (lm_clock_ms() - self->leased_ms >= interval)
            tell_journal(self);
        lm_stop_sleep_ms(left < SLICE_MS ? left : SLICE_MS);
    }
}

static bool
ask_throttle(struct lm_runner *self, int64_t *wait_ms, bool *ask_again,
             struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_run_info info = lm_runner_info(self, self->run.batches);
    struct lm_txn txn = lm_runner_txn(self);
    bool ok;

    *wait_ms = 0;
    *ask_again = false;
    txn.read_only = true;
    if (!lm_txn_begin(self->conn, &txn, err))
        return false;
    lm_repo_open(&self->repo, self->conn, NULL, false);
    ok = m->ops->throttle(m->self, &self->repo, &info, wait_ms, ask_again, err);
    ok = lm_runner_close_repo(self, ok, err);
    lm_conn_rollback(self->conn);
    return ok;
}

static bool
hold_for_script(struct lm_runner *self, struct lm_err *err)
{
    int64_t wait_ms = 0;
    bool ask_again = self->migration->ops->has_throttle;

    while (ask_again && !lm_runner_is_called(self)) {
        if (!ask_throttle(self, &wait_ms, &ask_again, err))
            return false;
        if (wait_ms > 0) {
            self->waits_for = "held by the script";
            lm_progress_hold_begin(&self->progress, self->waits_for);
            lm_runner_rest(self, wait_ms);
        }
    }
    return true;
}

bool
lm_runner_hold_back(struct lm_runner *self, struct lm_err *err)
{
    bool ok;

    if (self->progress.own_batches > 0)
        lm_runner_rest(self, self->migration->throttle_ms);
    ok = hold_for_script(self, err);
    self->waits_for = NULL;
    lm_progress_hold_end(&self->progress);
    return ok;
}
