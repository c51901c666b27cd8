/* SPDX-License-Identifier: MIT */
/*
 * The end of a transaction, and the next one, which may begin ahead: behind
 * COMMIT, before its answer is read. Its answers are read when it is entered.
 * Until then it is nobody's: whatever else is sent rolls it back first.
 */

#include "base/clock.h"
#include "base/fault.h"
#include "pg/conn/private.h"

#include <string.h>

/* Of the transaction that the caller is in. */
static PGTransactionStatusType
status_of(const struct lm_conn *self)
{
    return self->ahead ? PQTRANS_IDLE : PQtransactionStatus(self->pg);
}

bool
lm_conn_in_transaction(const struct lm_conn *self)
{
    PGTransactionStatusType status = status_of(self);

    /* With requests in flight, libpq does not know yet. */
    return status == PQTRANS_INTRANS ||
           (status == PQTRANS_ACTIVE && self->count > 0);
}

bool
lm_conn_has_transaction(const struct lm_conn *self)
{
    PGTransactionStatusType status = status_of(self);

    return status != PQTRANS_IDLE && status != PQTRANS_UNKNOWN;
}

void
lm_conn_drain(struct lm_conn *self)
{
    struct lm_err ignored;

    if (lm_conn_is_up(self) && !lm_pipeline_sync(self, &ignored))
        lm_conn_log_server_message(self, LM_LOG_DEBUG, ignored.message);
}

/* Deferred triggers and constraints have their turn in a statement of its own:
 * the statement timeout does not hold for what COMMIT does. */
static bool
post_deferred(struct lm_conn *self, struct lm_err *err)
{
    static const char sql[] = "SET CONSTRAINTS ALL IMMEDIATE";
    struct lm_pending request = {.sql = sql};
    int sent = PQsendQueryParams(self->pg, sql, 0, NULL, NULL, NULL, NULL, 0);

    return lm_pipeline_post(self, sent, request, err);
}

bool
lm_conn_settle(struct lm_conn *self, struct lm_err *err)
{
    return post_deferred(self, err) && lm_conn_flush(self, err);
}

static bool
post_commit(struct lm_conn *self, PGresult **result, struct lm_err *err)
{
    static const char sql[] = "COMMIT";
    struct lm_pending request = {.sql = sql, .keep = result};
    int sent = PQsendQueryParams(self->pg, sql, 0, NULL, NULL, NULL, NULL, 0);

    return lm_pipeline_post(self, sent, request, err) &&
           lm_pipeline_send_sync(self, err);
}

/* False if not all of it was posted. */
static bool
begin_ahead(struct lm_conn *self, const struct lm_conn_ahead *ahead,
            struct lm_err *err)
{
    bool ok;

    if (ahead == NULL || self->pooled)
        return false;
    self->behind = true;
    ok = ahead->post(ahead->arg, err) && lm_pipeline_send_sync(self, err);
    self->behind = false;
    return ok;
}

/* Reads the answer to COMMIT, and no later one. */
static bool
is_committed(struct lm_conn *self, PGresult **result, struct lm_err *err)
{
    bool ok = lm_pipeline_read_commit(self, err);
    /* The server answers COMMIT in a failed transaction with ROLLBACK. What
     * fails after COMMIT's answer, a cancel that came late, undoes nothing. */
    bool committed =
        *result != NULL && strcmp(PQcmdStatus(*result), "COMMIT") == 0;

    if (ok && !committed) {
        lm_err_set(err, LM_ERR_INTERNAL,
                   "the server rolled back instead of committing");
    }
    return committed && lm_conn_is_up(self);
}

bool
lm_conn_commit_and_begin(struct lm_conn *self, const char *before,
                         const char *sent, const struct lm_conn_ahead *ahead,
                         struct lm_err *err)
{
    PGresult *result = NULL;
    bool committed;
    bool posted;
    bool begun;

    if (!post_deferred(self, err))
        return false;
#ifdef LUAMIG_FAULTS
    /* So that the fault point is true: everything but COMMIT is on the server.
     */
    if (lm_fault_is_armed(before) && !lm_conn_flush(self, err))
        return false;
#endif
    LM_FAULT(before);
    (void)before;
    if (!post_commit(self, &result, err)) {
        lm_conn_drain(self); /* COMMIT may be in flight; its result goes here */
        PQclear(result);
        return false;
    }
    LM_FAULT(sent);
    (void)sent;
    begun = begin_ahead(self, ahead, err);
    committed =
        (begun || lm_conn_is_up(self)) && is_committed(self, &result, err);
    PQclear(result);
    posted = self->later > 0;
    self->later = 0;
    if (!committed && posted)
        lm_conn_drain(self);
    if (committed && posted && !begun)
        lm_conn_rollback(self);
    self->ahead = committed && begun;
    if (!self->ahead)
        self->deadline_ms = self->idle_limit_ms = 0;
#ifdef LUAMIG_FAULTS
    if (self->ahead)
        LM_FAULT("next_asked");
#endif
    return committed;
}

bool
lm_conn_commit(struct lm_conn *self, const char *before, const char *sent,
               struct lm_err *err)
{
    return lm_conn_commit_and_begin(self, before, sent, NULL, err);
}

bool
lm_conn_enter_ahead(struct lm_conn *self)
{
    bool ahead;

    /* The process may have stopped meanwhile. */
    if (lm_clock_ms() - self->quiet_since_ms >= self->idle_limit_ms)
        lm_conn_leave_ahead(self);
    ahead = self->ahead;
    self->ahead = false;
    self->reads = 0;
    return ahead;
}

void
lm_conn_leave_ahead(struct lm_conn *self)
{
    if (self->ahead)
        lm_conn_rollback(self);
}

void
lm_conn_rollback(struct lm_conn *self)
{
    struct lm_err ignored;
    bool interruptible = self->interruptible;

    self->interruptible = self->ahead = false;
    if (lm_conn_is_up(self) && !lm_conn_flush(self, &ignored))
        lm_conn_log_server_message(self, LM_LOG_DEBUG, ignored.message);
    if (lm_conn_is_up(self) && lm_conn_has_transaction(self) &&
        !lm_conn_command(self, "ROLLBACK", &ignored))
        lm_conn_log_server_message(self, LM_LOG_DEBUG, ignored.message);
    self->interruptible = interruptible;
    self->deadline_ms = self->idle_limit_ms = 0;
}
