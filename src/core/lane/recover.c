/* SPDX-License-Identifier: MIT */
/*
 * Handles a step that failed. Its SQLSTATE decides: try the step again
 * unchanged, with fewer rows, later, over another connection, or give up.
 *
 * A step is one transaction, and it is rolled back before anything else is
 * tried. Every retry begins with what the journal says of the run.
 */

#include "core/lane/private.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/page/preflight.h"
#include "pg/conn/sqlstate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    MAX_LOST_IN_ROW = 20,
    MOST_ENDED = 2,
    RETRY_BASE_MS = 20,
    RETRY_CAP_MS = 5000,
    SHORT_BASE_MS = 500,
    SHORT_CAP_MS = 30000,
    SHORT_PATIENCE_MS = 600000,
    WATCHED_WAITS = 100,
    /* For one row that others write, too. */
    CONFLICT_CAP_MS = 500,
    CONFLICT_PATIENCE_MS = 60000
};

enum remedy {
    GIVE_UP, /* 0: every SQLSTATE that is not in the table below */
    RECONNECT,
    REPREPARE,    /* the prepared statements are out of date */
    TRY_AGAIN,    /* conflict with another transaction */
    SMALLER_BITE, /* it took too long, or waited too long for a lock */
    FEWER_ROWS,   /* they take too much memory */
    WAIT,         /* the server lacks something, or a service is away */
    FIND_FENCER   /* another runner has taken over, or batches are lost */
};

void
lm_lane_begin_step(struct lm_lane *self)
{
    self->attempt.in_batch = self->attempt.paging = false;
    self->failed_batch.rows = 0;
}

void
lm_lane_end_step(struct lm_lane *self)
{
    self->attempt.number = 1;
    self->attempt.uncombined = self->bisection.rows_to_search > 0;
    self->attempt.reprepared = false;
    lm_lane_end_source(self);
}

void
lm_lane_note_progress(struct lm_lane *self)
{
    self->attempt.lost_in_row = self->attempt.ended_in_row = 0;
    self->attempt.short_since_ms = 0;
}

void
lm_lane_add_retries(struct lm_lane *self, int64_t retries)
{
    self->attempt.uncounted_retries += retries;
}

void
lm_lane_note_alive(struct lm_lane *self)
{
    self->attempt.lost_in_row = 0;
}

void
lm_attempt_begin_batch(struct lm_attempt *self)
{
    self->in_batch = true;
    self->page_rows = 0;
}

void
lm_attempt_look_for_page(struct lm_attempt *self)
{
    self->paging = true;
}

void
lm_attempt_found_page(struct lm_attempt *self, int64_t rows)
{
    self->paging = false;
    self->page_rows = rows;
}

void
lm_attempt_committed(struct lm_attempt *self)
{
    self->uncounted_retries = 0;
}

void
lm_attempt_is(struct lm_attempt *self, int number)
{
    self->number = number;
}

void
lm_attempt_begin_anew(struct lm_attempt *self)
{
    self->number = 1;
}

void
lm_attempt_served(struct lm_attempt *self)
{
    if (self->short_since_ms == 0)
        return;
    self->short_since_ms = 0;
    lm_attempt_begin_anew(self);
}

/* The remedy for an SQLSTATE; luamig has some codes of its own. */
static enum remedy
find_remedy(const struct lm_err *err)
{
    static const enum remedy remedies[] = {[LM_SQLSTATE_CONFLICT] = TRY_AGAIN,
                                           [LM_SQLSTATE_TIMEOUT] = SMALLER_BITE,
                                           [LM_SQLSTATE_STALE] = REPREPARE,
                                           [LM_SQLSTATE_SHORTAGE] = WAIT,
                                           [LM_SQLSTATE_PAGE] = GIVE_UP};

    if (err->kind == LM_ERR_LOST)
        return RECONNECT;
    if (err->kind == LM_ERR_FAILED && lm_err_is_state(err, LM_SCRIPT_NO_MEMORY))
        return FEWER_ROWS;
    if (err->kind == LM_ERR_FAILED && lm_err_is_state(err, LM_SCRIPT_RETRY))
        return WAIT;
    if (err->kind != LM_ERR_DATABASE)
        return GIVE_UP;
    if (lm_err_is_state(err, LM_CONN_TOO_LARGE))
        return FEWER_ROWS;
    if (lm_err_is_state(err, LM_JOURNAL_FENCED))
        return FIND_FENCER;
    if (lm_err_is_state(err, LM_CONN_NODE_AWAY))
        return WAIT;
    return remedies[lm_sqlstate_meaning(err->sqlstate)];
}

bool
lm_lane_is_temporary(const struct lm_err *err)
{
    return find_remedy(err) != GIVE_UP;
}

static bool
reconnect(struct lm_lane *self, struct lm_err *err)
{
    struct lm_err why = *err;

    if (self->options.dry)
        return false;
    if (++self->attempt.lost_in_row > MAX_LOST_IN_ROW) {
        lm_err_prefix(err, "the connection broke %d times without progress",
                      MAX_LOST_IN_ROW);
        return false;
    }
    if (lm_lane_has_source(self))
        lm_conn_rollback(self->conn);
    if (lm_lane_has_lost_source(self)
            ? lm_lane_reconnect_source(self, &why, err)
            : lm_lane_reconnect(self, &why, err))
        return true;
    if (err->where[0] == '\0')
        memcpy(err->where, why.where, sizeof err->where);
    return false;
}

/* Another process keeps a row of the journal locked. If that one has stopped,
 * the server ends its session. */
static bool
waits_for_journal(const struct lm_lane *self, const struct lm_err *err)
{
    return lm_err_is_state(err, "55P03") && lm_conn_ran_own(self->conn);
}

/* Reads what the journal says of the run. *err stays what it is, unless the
 * connection breaks, or the run is no longer ours, or cannot be read now: then
 * the next attempt finds out. */
static bool
refresh(struct lm_lane *self, struct lm_err *err, bool *reconnected)
{
    struct lm_err found;

    *reconnected = false;
    if (self->options.dry || lm_lane_refresh(self, &found))
        return true;
    *err = found;
    if (found.kind != LM_ERR_LOST)
        return waits_for_journal(self, err);
    *reconnected = true;
    return reconnect(self, err);
}

void
lm_lane_count_retry(struct lm_lane *self, const struct lm_err *err,
                    const char *how)
{
    const struct lm_counts retried = {.retries = 1};

    lm_log(LM_LOG_DEBUG, "%s (SQLSTATE %s); %s", err->message, err->sqlstate,
           how);
    self->attempt.uncounted_retries++;
    lm_lane_count(self, &retried);
}

static void
count_attempt(struct lm_lane *self, const struct lm_err *err)
{
    char how[32];

    snprintf(how, sizeof how, "attempt %d", ++self->attempt.number);
    lm_lane_count_retry(self, err, how);
}

/* Something that cannot be made smaller, with others that may leave off: it is
 * tried for a while, whatever the number of attempts. */
static bool
may_still_try(const struct lm_lane *self, const struct lm_err *err)
{
    return (waits_for_journal(self, err) ||
            (lm_err_is_state(err, "40") && self->migration->retries > 0)) &&
           self->options.witness == NULL &&
           lm_clock_ms() - self->attempt.conflict_since_ms <
               LM_FAULT_PATIENCE(CONFLICT_PATIENCE_MS);
}

static bool
fail_after_attempts(const struct lm_lane *self, struct lm_err *err)
{
    struct lm_clock_text lasted =
        lm_clock_span(lm_clock_ms() - self->attempt.conflict_since_ms);
    bool journal = waits_for_journal(self, err);
    bool timed = journal || lm_err_is_state(err, "40");

    lm_err_prefix(err, "gave up after %d attempt%s%s%s", self->attempt.number,
                  self->attempt.number == 1 ? "" : "s", timed ? " in " : "",
                  timed ? lasted.text : "");
    if (journal) {
        lm_err_hint(err,
                    "Another session keeps a row of luamig's tables locked. If "
                    "it is of this run, in pg_stat_activity its "
                    "application_name begins with \"luamig: run %" PRId64
                    " of\". End it with pg_terminate_backend, and run the same "
                    "command.",
                    self->run->id);
    }
    if (self->source.place.standby && self->attempt.paging &&
        lm_err_is_state(err, "40001")) {
        return lm_err_hint(
            err, "The source is a standby, which ends queries that keep it "
                 "from replaying. Turn hot_standby_feedback on there, raise "
                 "max_standby_streaming_delay, or take smaller batches.");
    }
    if (lm_err_is_state(err, "40001") &&
        strcmp(self->migration->isolation, "read committed") != 0) {
        lm_err_hint(err,
                    "Other sessions keep changing a row that this batch "
                    "writes. With config.isolation = \"read committed\", a "
                    "write waits for such a row and uses its new values. What "
                    "the script has read before may then be out of date.");
    }
    return false;
}

/* Not where somebody has cut off a part of the range. */
static void
note_conflict(struct lm_lane *self, const struct lm_err *err, int64_t range_seq)
{
    const struct lm_counts met = {.conflicts = 1};

    if (self->attempt.in_batch && self->range.seq == range_seq &&
        (lm_err_is_state(err, "40") || lm_err_is_state(err, "55P03")))
        lm_lane_count(self, &met);
}

static bool
try_again(struct lm_lane *self, struct lm_err *err)
{
    bool spent = self->attempt.number > self->migration->retries;
    int64_t range_seq = self->range.seq;
    bool reconnected;

    if (!refresh(self, err, &reconnected))
        return false;
    if (reconnected)
        return true;
    note_conflict(self, err, range_seq);
    if (self->attempt.number == 1 || self->attempt.conflict_since_ms == 0)
        self->attempt.conflict_since_ms = lm_clock_ms();
    if (spent && !may_still_try(self, err))
        return fail_after_attempts(self, err);
    lm_stop_sleep_ms(
        lm_clock_backoff_ms(self->attempt.number, RETRY_BASE_MS,
                            spent ? CONFLICT_CAP_MS : RETRY_CAP_MS));
    count_attempt(self, err);
    return true;
}

/* Attempts are counted afresh for the smaller batch. False when it cannot be
 * smaller. */
static bool
halve(struct lm_lane *self, int counted)
{
    if (!self->attempt.in_batch)
        return false;
    lm_size_note_failed_rows(&self->size, self->attempt.page_rows);
    if (!lm_size_halve(&self->size))
        return false;
    self->attempt.number = counted;
    return true;
}

/* -- transactions that the server ends ------------------------------------ */

static void
name_idling(const struct lm_lane *self, struct lm_err *err)
{
    int64_t idled_ms = lm_conn_idled_ms(self->conn);

    lm_err_set(err, LM_ERR_LOST,
               "the script's code worked for %s without talking to the server, "
               "within an open transaction",
               idled_ms > 0 ? lm_clock_span(idled_ms).text : "too long");
    LM_ERR_COPY(err->sqlstate, LM_CONN_IDLED);
    lm_err_detail(err, "The server then ended the session: it waits for twice "
                       "config.statement_timeout_ms, and at least for a "
                       "minute. Nothing of the batch was written.");
}

static void
name_overtime(struct lm_err *err)
{
    lm_err_set(err, LM_ERR_LOST,
               "the transaction lasted longer than transaction_timeout");
    LM_ERR_COPY(err->sqlstate, LM_CONN_OVERTIME);
    lm_err_detail(err, "The server then ended the session. luamig sets this "
                       "timeout to 0. The script, or a function that it calls, "
                       "has changed it. Nothing of the batch was written.");
}

/* Not while luamig itself was at work, before the script had its page: then its
 * process had stopped. */
static bool
is_ended_in_time(const struct lm_lane *self, const struct lm_err *err)
{
    bool before = self->attempt.in_batch && self->attempt.page_rows == 0;

    return ((lm_err_is_state(err, LM_CONN_IDLED) && !before) ||
            lm_err_is_state(err, LM_CONN_OVERTIME)) &&
           !lm_conn_ran_own(self->conn);
}

static bool
fail_too_long(const struct lm_lane *self, struct lm_err *err)
{
    const char *one = self->attempt.in_batch ? "The batch has one row. " : "";

    err->kind = LM_ERR_FAILED;
    lm_err_prefix(err, "gave up after %d attempts", self->attempt.ended_in_row);
    if (lm_err_is_state(err, LM_CONN_OVERTIME)) {
        lm_err_hint(err,
                    "%sLeave transaction_timeout as it is in the script, or "
                    "set it to more than the transaction takes.",
                    one);
    } else {
        lm_err_hint(
            err,
            "%sMake the code faster, or raise config.statement_timeout_ms to "
            "more than half of the time that it takes.",
            one);
    }
    return false;
}

/* The same work would last as long again, so there is one more attempt only
 * where it cannot be made smaller. */
static bool
reconnect_after_end(struct lm_lane *self, struct lm_err *err)
{
    struct lm_err why;
    bool smaller;

    if (lm_err_is_state(err, LM_CONN_OVERTIME)) {
        name_overtime(err);
    } else {
        name_idling(self, err);
    }
    why = *err;
    smaller = halve(self, 1);
    if (smaller)
        lm_size_cap(&self->size);
    if (!reconnect(self, err))
        return false;
    if (smaller || ++self->attempt.ended_in_row < MOST_ENDED) {
        count_attempt(self, &why);
        return true;
    }
    *err = why;
    return fail_too_long(self, err);
}

static bool
reprepare(struct lm_lane *self, struct lm_err *err)
{
    struct lm_err stale = *err;
    bool again = !self->attempt.reprepared;
    bool reconnected = false;

    self->attempt.reprepared = true;
    if (!lm_lane_forget_statements(self, err))
        return err->kind == LM_ERR_LOST && reconnect(self, err);
    *err = stale;
    if (!again || !refresh(self, err, &reconnected))
        return false;
    lm_lane_count_retry(self, err, "trying again with a new statement");
    return true;
}

/* A run that a test watches never sleeps for a service. */
static bool
has_waited_enough(const struct lm_lane *self, bool service)
{
    int64_t waited_ms = lm_clock_ms() - self->attempt.short_since_ms;

    return service && self->options.witness != NULL
               ? self->attempt.number >= WATCHED_WAITS
               : waited_ms > LM_FAULT_PATIENCE(SHORT_PATIENCE_MS);
}

/* The server lacks memory, disk space or connections, or the script says that
 * a service is away. People must fix that; the run waits and then continues. */
static bool
wait(struct lm_lane *self, struct lm_err *err)
{
    bool service = lm_err_is_state(err, LM_SCRIPT_RETRY);
    bool reconnected;

    if (self->attempt.short_since_ms == 0) {
        self->attempt.short_since_ms = lm_clock_ms();
        lm_log(LM_LOG_WARNING, "%s%s%s%s; waiting", err->message,
               service ? "" : " (SQLSTATE ", service ? "" : err->sqlstate,
               service ? "" : ")");
    }
    if (has_waited_enough(self, service))
        return lm_err_prefix(err, "gave up after ten minutes");
    self->host.waits(self->host.run, err->message);
    if (!service || self->options.witness == NULL) {
        self->host.rest(self->host.run,
                        lm_clock_backoff_ms(self->attempt.number, SHORT_BASE_MS,
                                            SHORT_CAP_MS));
    }
    self->host.waits(self->host.run, NULL);
    count_attempt(self, err);
    return refresh(self, err, &reconnected);
}

/* May the rows do better one by one, or fail in another way? Not when others
 * are to blame, or the server is. */
static bool
may_do_better_uncombined(const struct lm_lane *self, const struct lm_err *err)
{
    return lm_repo_blames_combining(self->repo, err) &&
           !self->attempt.uncombined &&
           (err->kind == LM_ERR_DATABASE || err->kind == LM_ERR_FAILED) &&
           !lm_err_is_state(err, "40") && !lm_err_is_state(err, "55P03") &&
           !lm_err_is_state(err, "53") && !lm_err_is_state(err, "58") &&
           !lm_err_is_state(err, LM_CONN_NODE_AWAY) &&
           !lm_err_is_state(err, LM_ANSWER_WRONG) &&
           !lm_err_is_state(err, LM_JOURNAL_FENCED);
}

/* A standby that was a primary when the run began refuses to write. */
static bool
was_demoted(struct lm_lane *self, const struct lm_err *err)
{
    struct lm_err ignored;

    return lm_err_is_state(err, "25006") &&
           !lm_preflight_server(self->conn, &ignored);
}

/* The journal has the run or the range elsewhere than the step began: another
 * worker's, or ours still, where the server lost batches in a crash, or where
 * somebody has cut off a part of the range (host.reread). */
static bool
read_what_has_moved(struct lm_lane *self, struct lm_err *err)
{
    int64_t run_seq = self->run->seq;
    int64_t range_seq = self->range.seq;
    int64_t id = self->range.id;
    char session[sizeof self->journal.worker];
    struct lm_err found;

    memcpy(session, self->journal.worker, sizeof session);
    LM_FAULT("fenced");
    if (lm_lane_refresh(self, &found)) {
        return self->run->seq != run_seq || self->range.seq != range_seq ||
               self->range.id != id ||
               strcmp(session, self->journal.worker) != 0;
    }
    *err = found;
    return false;
}

static bool
find_fencer(struct lm_lane *self, struct lm_err *err)
{
    return read_what_has_moved(self, err) ||
           (err->kind == LM_ERR_LOST && reconnect(self, err)) ||
           (waits_for_journal(self, err) && try_again(self, err));
}

/* Another worker may have done rows of this page, from a range that it cut off
 * or took over. The error may come from that, such as a key that is there. */
static bool
may_be_of_others(const struct lm_lane *self, const struct lm_err *err)
{
    return !self->options.dry && self->attempt.in_batch &&
           self->attempt.page_rows > 0 &&
           (err->kind == LM_ERR_DATABASE || err->kind == LM_ERR_FAILED);
}

/* If the journal cannot be read, *err stays what it is. */
static bool
find_other_worker(struct lm_lane *self, struct lm_err *err)
{
    struct lm_err said = *err;

    if (find_fencer(self, err))
        return true;
    if (err->kind == LM_ERR_DATABASE)
        *err = said;
    return false;
}

static bool record_failed_row(struct lm_lane *self, struct lm_err *err);
static bool narrow(struct lm_lane *self, struct lm_err *err);

static bool
apply(struct lm_lane *self, enum remedy remedy, struct lm_err *err)
{
    bool reconnected;

    switch (remedy) {
    case RECONNECT:
        if (is_ended_in_time(self, err))
            return reconnect_after_end(self, err);
        if (lm_err_is_state(err, LM_CONN_TOO_LARGE) &&
            !lm_lane_take_fewer(self))
            return false;
        return reconnect(self, err);
    case REPREPARE:
        return reprepare(self, err);
    case TRY_AGAIN:
        if (self->attempt.number >= 3)
            (void)halve(self, 2);
        return try_again(self, err);
    case SMALLER_BITE:
        if (lm_err_is_state(err, "57014") && lm_lane_narrow_window(self)) {
            self->attempt.number = 1;
        } else {
            (void)halve(self, 1);
        }
        return try_again(self, err);
    case FEWER_ROWS:
        if (self->attempt.in_batch && lm_lane_take_fewer(self)) {
            count_attempt(self, err);
            return refresh(self, err, &reconnected);
        }
        break;
    case WAIT:
        return wait(self, err);
    case FIND_FENCER:
        return find_fencer(self, err);
    case GIVE_UP:
        break;
    }
    if (self->attempt.paging && lm_lane_is_row_error(err))
        return narrow(self, err);
    if (!self->options.dry && lm_lane_may_record_row(self, err))
        return record_failed_row(self, err);
    if (was_demoted(self, err))
        return reconnect(self, err);
    return may_be_of_others(self, err) && find_other_worker(self, err);
}

/* Recording a row is a transaction that may fail as any other; if that passes,
 * the row fails and is recorded once more. */
static bool
record_failed_row(struct lm_lane *self, struct lm_err *err)
{
    bool alone = self->failed_batch.rows == 1;
    enum remedy remedy;

    if (lm_lane_record_failed_row(self, err)) {
        self->attempt.uncombined = self->bisection.rows_to_search > 0;
        return true;
    }
    lm_conn_rollback(self->conn);
    remedy = find_remedy(err);
    return alone && remedy != GIVE_UP && apply(self, remedy, err);
}

/* The same where the row was not even read. */
static bool
narrow(struct lm_lane *self, struct lm_err *err)
{
    bool ok = lm_lane_narrow(self, err);

    self->attempt.uncombined = self->bisection.rows_to_search > 0;
    return ok || (self->failed_batch.rows == 1 && find_remedy(err) != GIVE_UP &&
                  apply(self, find_remedy(err), err));
}

bool
lm_lane_recover(struct lm_lane *self, struct lm_err *err)
{
    enum remedy remedy = find_remedy(err);

    if (err->kind == LM_ERR_KILLED)
        return false;
    lm_lane_end_source(self);
    lm_lane_explain_encoding(self, err);
    if (remedy != RECONNECT) {
        lm_conn_rollback(self->conn);
        if ((!lm_conn_is_up(self->conn) || lm_lane_has_lost_source(self)) &&
            err->kind == LM_ERR_DATABASE)
            remedy = RECONNECT;
    }
    if (remedy != RECONNECT && remedy != REPREPARE &&
        may_do_better_uncombined(self, err)) {
        lm_log(LM_LOG_DEBUG,
               "%s (SQLSTATE %s); trying again without combined writes",
               err->message, err->sqlstate);
        self->attempt.uncombined = true;
        return true;
    }
    return apply(self, remedy, err);
}
