/* SPDX-License-Identifier: MIT */
/* The one place that waits for the server, so signals, the deadline and the
 * limit of an answer's size work everywhere. A server that is silent for too
 * long is given up; watch.c asks what it does meanwhile. */

#include "base/aside.h"
#include "base/clock.h"
#include "base/stop.h"
#include "pg/conn/private.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

enum { LONGEST_POLL_MS = 60000 };

static void
send_cancel(void *arg)
{
    char ignored[256];

    PQcancel(arg, ignored, sizeof ignored);
}

static void
free_cancel(void *arg)
{
    PQfreeCancel(arg);
}

/* For a cancel to be sent, and again for its effect to be seen. */
static int64_t
cancel_limit_ms(const struct lm_conn *self)
{
    return self->silence_ms / 3;
}

/* A server that is out of reach must not hold up the cancel either. */
static void
cancel_statement(struct lm_conn *self)
{
    PGcancel *cancel = PQgetCancel(self->pg);

    self->cancel_sent = true;
    if (cancel != NULL &&
        lm_aside_run(send_cancel, free_cancel, cancel, cancel_limit_ms(self),
                     0) == LM_ASIDE_DONE)
        free_cancel(cancel);
}

/* libpq takes a NULL connection for one that is down. */
void
lm_wait_shut(struct lm_conn *self)
{
    PQfinish(self->pg);
    self->pg = NULL;
}

/* How long the server may be silent from now on. */
int64_t
lm_wait_patience_ms(const struct lm_conn *self)
{
    if (self->cancel_sent)
        return cancel_limit_ms(self);
    return self->deadline_ms > 0 ? self->deadline_ms : 2 * self->silence_ms;
}

/* The thread's result is there. */
void
lm_conn_fail_awaiting_standby(const struct lm_conn *self, int64_t backend_pid,
                              struct lm_err *err)
{
    lm_err_set(err, LM_ERR_CONNECT,
               "%s waits for a synchronous standby to confirm a COMMIT",
               self->target);
    LM_ERR_COPY(err->sqlstate, LM_CONN_AWAITS_STANDBY);
    lm_err_detail(err,
                  "Server process %" PRId64
                  " waits in SyncRep, and continues by itself when a standby "
                  "of synchronous_standby_names has "
                  "confirmed. Nothing is lost.",
                  backend_pid);
    lm_err_hint(err,
                "Bring the standby back, or change synchronous_standby_names "
                "and reload the server, and run the same command. Do not end "
                "that server process: its COMMIT would count without the "
                "standby.");
}

static bool
fail_awaiting_standby(struct lm_conn *self, enum lm_err_kind kind,
                      struct lm_err *err)
{
    lm_conn_fail_awaiting_standby(self, self->backend_pid, err);
    err->kind = kind;
    lm_wait_shut(self);
    return false;
}

/* The server was silent for too long: nothing that it might still say can be
 * trusted to belong to anything, so the socket is shut. */
static bool
give_up(struct lm_conn *self, struct lm_err *err)
{
    if (self->awaits_standby)
        return fail_awaiting_standby(self, LM_ERR_CONNECT, err);
    lm_err_set(err, LM_ERR_LOST, "%s has not answered for %s", self->target,
               lm_clock_span(lm_wait_patience_ms(self)).text);
    LM_ERR_COPY(err->sqlstate, "08006");
    lm_wait_shut(self);
    return false;
}

/* It is unknown how long the statement may take. */
static bool
is_at_work(const struct lm_conn *self)
{
    return self->deadline_ms == 0 && !self->cancel_sent &&
           lm_conn_look(self) == LM_ACTIVITY_WORKS;
}

/* May an open request be a COMMIT, or a statement that commits by itself? */
static bool
may_commit(const struct lm_conn *self)
{
    return self->committing || self->alone;
}

/* COMMIT has not been answered for a while: is it a standby that is missing?
 * Then no statement timeout will end it. Looked at once only. */
static void
look_at_commit(struct lm_conn *self, int64_t *deadline)
{
    self->looked = true;
    if (lm_conn_look(self) != LM_ACTIVITY_AWAITS_STANDBY)
        return;
    self->awaits_standby = true;
    *deadline = lm_clock_ms() + self->silence_ms / 3;
    lm_conn_log_server_message(
        self, LM_LOG_WARNING,
        "COMMIT waits for a synchronous standby (SyncRep)");
}

/* A second signal. A COMMIT that waits for a standby is not cancelled: it would
 * count without the standby. */
static bool
interrupt(struct lm_conn *self, int64_t *deadline, struct lm_err *err)
{
    if (may_commit(self) && lm_conn_look(self) == LM_ACTIVITY_AWAITS_STANDBY)
        return fail_awaiting_standby(self, LM_ERR_INTERRUPT, err);
    cancel_statement(self);
    *deadline = lm_clock_ms() + lm_wait_patience_ms(self);
    return true;
}

/* Reads what has arrived. An answer by which the process grows too much is
 * cancelled; what is on its way still comes, but only so much of it. Looking
 * is dear: it is done once in so many reads, each of which brings no more than
 * a socket holds. */
bool
lm_wait_read(struct lm_conn *self, struct lm_err *err)
{
    enum { READS = 32, MOST_OVER = 4 };
    size_t resident;

    if (PQconsumeInput(self->pg) == 0)
        return lm_pipeline_fail_lost(self, PQerrorMessage(self->pg), err);
    if (self->answer_limit == 0 || ++self->reads % READS != 0)
        return true;
    resident = lm_mem_resident();
    if (self->reads == READS)
        self->resident = resident;
    if (resident <= self->resident + self->answer_limit)
        return true;
    if (!self->too_large) {
        self->too_large = true;
        cancel_statement(self);
        return true;
    }
    if (resident <= self->resident + MOST_OVER * self->answer_limit)
        return true;
    lm_pipeline_fail_too_large(self, NULL, err);
    err->kind = LM_ERR_LOST;
    lm_wait_shut(self);
    return false;
}

static bool
may_look(const struct lm_conn *self)
{
    return self->conninfo != NULL && !self->looked && may_commit(self);
}

static bool
is_look_due(const struct lm_conn *self)
{
    return may_look(self) && lm_clock_ms() >= self->look_ms;
}

static int
poll_ms(const struct lm_conn *self, int64_t left)
{
    if (may_look(self) && self->look_ms - lm_clock_ms() < left)
        left = self->look_ms - lm_clock_ms();
    if (left < 0)
        return 0;
    return left > LONGEST_POLL_MS ? LONGEST_POLL_MS : (int)left;
}

/* One turn of the wait: sleeps until the server, a signal or the deadline. Any
 * sign of the server puts the deadline off. */
bool
lm_wait_turn(struct lm_conn *self, bool want_write, int64_t *deadline,
             struct lm_err *err)
{
    struct pollfd fds[2] = {
        {PQsocket(self->pg), (short)(want_write ? POLLIN | POLLOUT : POLLIN),
         0},
        {self->interruptible ? lm_stop_fd() : -1, POLLIN, 0}};
    int64_t left;

    if (self->interruptible && !self->cancel_sent && lm_stop_level() >= 2 &&
        !interrupt(self, deadline, err))
        return false;
    if (is_look_due(self))
        look_at_commit(self, deadline);
    left = *deadline - lm_clock_ms();
    if (left <= 0) {
        if (!is_at_work(self))
            return give_up(self, err);
        *deadline = lm_clock_ms() + lm_wait_patience_ms(self);
        return true;
    }
    if (poll(fds, 2, poll_ms(self, left)) < 0) {
        if (errno == EINTR)
            return true;
        return lm_pipeline_fail_lost(self, strerror(errno), err);
    }
    if (fds[1].revents != 0)
        lm_stop_drain();
    if (fds[0].revents == 0)
        return true;
    *deadline = lm_clock_ms() + lm_wait_patience_ms(self);
    return lm_wait_read(self, err);
}
