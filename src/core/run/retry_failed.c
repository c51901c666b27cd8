/* SPDX-License-Identifier: MIT */
/*
 * "luamig failures RUN --retry": migrates the failed rows of a run, one by
 * one. The transaction that migrates a row also marks its failure as resolved.
 * The run itself is not resumed: its cursor is past these rows.
 *
 * No owner token is needed. Resolving a failure locks it, and fails if it is
 * resolved already. So if two processes retry the same row, one of them rolls
 * back.
 */

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/run/runner.h"

#include <inttypes.h>

/* Conflicts, timeouts and lost connections in a row, for one failure. */
enum { BACKOFF_BASE_MS = 50, BACKOFF_CAP_MS = 5000 };

/* Rows of the journal may have been edited by hand. */
static bool
check_key(const struct lm_runner *self, int64_t failure_id,
          const struct lm_key *key, struct lm_err *err)
{
    if (lm_key_fits(key, self->lane.query.key_count))
        return true;
    lm_err_set(err, LM_ERR_FAILED,
               "the journal's key of failure %" PRId64 " does not fit the key",
               failure_id);
    return lm_err_hint(
        err, "Correct it in the table \"failure\" of the schema \"%s\".",
        self->lane.journal.schema);
}

static bool
fail_repeated(const struct lm_runner *self, const struct lm_key *key,
              struct lm_err *err)
{
    struct lm_buf text = LM_BUF_INIT;

    lm_key_describe(key, &self->lane.query, &text);
    lm_err_set(err, LM_ERR_FAILED,
               "two rows of the base query have the same key: %s",
               lm_buf_text(&text));
    lm_err_hint(err, "One of them has failed, but the key does not say which "
                     "one. Make the key unique again.");
    lm_buf_release(&text);
    return false;
}

static bool
retry_row(struct lm_runner *self, int64_t failure_id, const struct lm_key *key,
          int attempt, bool *gone, struct lm_err *err)
{
    struct lm_lane *lane = &self->lane;
    int rows = 0;

    if (!lm_lane_retry_row(lane, key, attempt, &rows, err))
        return false;
    if (rows > 1)
        return fail_repeated(self, key, err);
    *gone = rows == 0;
    return lm_journal_resolve(&lane->journal, failure_id,
                              *gone ? "gone" : "migrated", err) &&
           lm_conn_commit(lane->conn, "resolve_before_commit",
                          "resolve_after_commit_sent", err);
}

static void
log_row(const struct lm_runner *self, const struct lm_key *key,
        const struct lm_err *why, const char *what)
{
    struct lm_buf text = LM_BUF_INIT;

    lm_key_describe(key, &self->lane.query, &text);
    if (why != NULL) {
        lm_log(LM_LOG_WARNING, "row %s %s: %s", lm_buf_text(&text), what,
               why->message);
    } else {
        lm_log(LM_LOG_INFO, "row %s %s", lm_buf_text(&text), what);
    }
    lm_buf_release(&text);
}

/* Is it worth trying the row again? */
static bool
may_try_again(struct lm_runner *self, int attempt, struct lm_err *err)
{
    if (attempt > self->migration->retries)
        return false;
    if (err->kind == LM_ERR_LOST) {
        struct lm_err why = *err;

        return lm_lane_connect_again(&self->lane, &why, err);
    }
    if (!lm_lane_is_temporary(err))
        return false;
    lm_stop_sleep_ms(
        lm_clock_backoff_ms(attempt, BACKOFF_BASE_MS, BACKOFF_CAP_MS));
    return lm_stop_level() == 0;
}

/* False when that ends the command; a row that fails again does not. */
static bool
retry_failure(struct lm_runner *self, int64_t failure_id,
              const struct lm_key *key, struct lm_err *err)
{
    struct lm_err why;
    bool gone = false;

    for (int attempt = 1;
         !retry_row(self, failure_id, key, attempt, &gone, err); attempt++) {
        lm_lane_rollback(&self->lane);
        if (lm_err_is_state(err, LM_JOURNAL_RESOLVED))
            return true;
        if (lm_lane_has_failed_at_row(&self->lane, err)) {
            why = *err;
            log_row(self, key, &why, "has failed again");
            return lm_journal_fail_again(&self->lane.journal, failure_id, &why,
                                         err);
        }
        if (!may_try_again(self, attempt, err))
            return false;
    }
    lm_lane_end_source(&self->lane);
    log_row(self, key, NULL, gone ? "does not match any more" : "is migrated");
    self->outcome->own_rows += gone ? 0 : 1;
    return true;
}

static bool
retry_all(struct lm_runner *self, struct lm_err *err)
{
    struct lm_key key = {NULL, 0};
    int64_t id = 0;
    bool ok;

    do {
        ok = lm_journal_next_failure(&self->lane.journal, self->run.id, id, &id,
                                     &key, err) &&
             (id == 0 || (check_key(self, id, &key, err) &&
                          retry_failure(self, id, &key, err)));
    } while (ok && id != 0 && lm_stop_level() == 0);
    lm_key_release(&key);
    return ok;
}

static bool
check_script(struct lm_runner *self, struct lm_err *err)
{
    struct lm_run_request request = lm_runner_request(self);

    return lm_journal_check_retry(&self->lane.journal, &request, &self->run,
                                  err);
}

/* Are the keys of the failed rows those of the script and of its tables? */
static bool
check_fit(struct lm_runner *self, struct lm_err *err)
{
    struct lm_run_request request;

    if (!lm_lane_check_source(&self->lane, self->run.id, err) ||
        !lm_runner_take_fingerprint(self, err))
        return false;
    request = lm_runner_request(self);
    return lm_journal_fits(&self->lane.journal, &request, &self->run, err);
}

void
lm_runner_retry_failures(const struct lm_migration *migration,
                         const struct lm_runner_options *options,
                         int64_t run_id, struct lm_outcome *outcome,
                         struct lm_err *err)
{
    struct lm_migration one_by_one = *migration;
    struct lm_runner self;
    bool ok;

    one_by_one.combine = false;
    one_by_one.record_failures = true;
    lm_runner_init(&self, &one_by_one, options, outcome, NULL);
    self.run.id = outcome->run_id = run_id;
    ok = lm_runner_connect(&self, err) && check_script(&self, err) &&
         lm_runner_read_loaded(&self, err) &&
         lm_runner_look_again(&self, err) && check_fit(&self, err) &&
         lm_journal_prepare_citus(&self.lane.journal, err) &&
         retry_all(&self, err);
    if (!ok && err->kind == LM_ERR_INTERRUPT)
        ok = true;
    outcome->ending = !ok                   ? LM_END_FAILED
                      : lm_stop_level() > 0 ? LM_END_STOPPED
                                            : LM_END_DONE;
    lm_runner_leave_input(&self);
    lm_runner_release(&self);
}
