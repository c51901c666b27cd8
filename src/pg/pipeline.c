/* SPDX-License-Identifier: MIT */
/*
 * The conversation with the server in libpq's pipeline mode: requests go out
 * without waiting, answers are read in their order.
 *
 * The socket is non-blocking, and whoever waits reads while writes go out, so
 * that client and server cannot wait for each other with full buffers. There
 * is one place that waits, wait_turn, so that signals and the deadline are
 * heard everywhere. After an error the server skips requests up to the next
 * sync; only the first error is kept. Nothing here retries.
 */

#include "base/aside.h"
#include "base/clock.h"
#include "base/stop.h"
#include "pg/conn_private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_UNSYNCED = 32, MAX_UNSYNCED_MS = 20, LONGEST_POLL_MS = 60000 };

/* SQLSTATEs that say the session is over or of no use, whatever libpq thinks
 * of the socket: shutdowns, and timeouts that end a session. */
static bool
is_lost_state(const char *state)
{
    static const char *const lost[] = {"57P01", "57P02", "57P03",
                                       "57P05", "25P03", "25P04"};

    if (strncmp(state, "08", 2) == 0)
        return true;
    for (size_t i = 0; i < LM_COUNT(lost); i++) {
        if (strcmp(state, lost[i]) == 0)
            return true;
    }
    return false;
}

/* libpq's texts end with a newline and may have several lines. */
void
lm_pipeline_copy_message(char *field, size_t size, const char *text)
{
    size_t len = strlen(text);

    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
        len--;
    lm_err_copy(field, size, text, len);
}

static bool
fail_lost(const struct lm_conn *self, const char *message, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_LOST, "the connection to %s was lost", self->target);
    LM_ERR_COPY(err->sqlstate, "08006");
    if (self->pg != NULL)
        lm_pipeline_copy_message(err->detail, sizeof err->detail, message);
    return false;
}

static void
copy_field(char *field, size_t size, const PGresult *result, int code)
{
    const char *text = PQresultErrorField(result, code);

    if (text != NULL)
        lm_pipeline_copy_message(field, size, text);
}

/* The server's own hint says nothing of luamig's settings. The name of the
 * function in the server tells what no SQLSTATE does. */
static void
add_hint(const PGresult *result, struct lm_err *err)
{
    const char *function = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);

    if (lm_err_is_state(err, "42501") && function != NULL &&
        strcmp(function, "check_enable_rls") == 0) {
        lm_err_hint(err, "Row security may hide rows from this role. If only "
                         "the rows that it may see are meant, say config = "
                         "{ row_security = true } in the script; else use a "
                         "role with BYPASSRLS.");
    } else if (lm_err_is_state(err, "57P05")) {
        lm_err_hint(err, "The session idled for longer than "
                         "idle_session_timeout. Set it to 0 for the role "
                         "or for the pooler's server connections: ALTER ROLE "
                         "... SET idle_session_timeout = 0.");
    }
}

static bool
fail_result(const struct lm_conn *self, const PGresult *result, const char *sql,
            struct lm_err *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    enum lm_err_kind kind = LM_ERR_DATABASE;

    if (state == NULL)
        return fail_lost(self, PQresultErrorMessage(result), err);
    if (is_lost_state(state)) {
        kind = LM_ERR_LOST;
    } else if (self->cancel_sent && strcmp(state, "57014") == 0) {
        kind = LM_ERR_INTERRUPT;
    }
    lm_err_set(err, kind, "%s", primary != NULL ? primary : "unknown error");
    LM_ERR_COPY(err->sqlstate, state);
    copy_field(err->detail, sizeof err->detail, result, PG_DIAG_MESSAGE_DETAIL);
    copy_field(err->hint, sizeof err->hint, result, PG_DIAG_MESSAGE_HINT);
    copy_field(err->table, sizeof err->table, result, PG_DIAG_TABLE_NAME);
    copy_field(err->column, sizeof err->column, result, PG_DIAG_COLUMN_NAME);
    copy_field(err->constraint, sizeof err->constraint, result,
               PG_DIAG_CONSTRAINT_NAME);
    if (sql != NULL)
        LM_ERR_COPY(err->sql, sql);
    add_hint(result, err);
    return false;
}

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
static void
shut(struct lm_conn *self)
{
    PQfinish(self->pg);
    self->pg = NULL;
}

/* How long the server may be silent from now on. */
static int64_t
patience_ms(const struct lm_conn *self)
{
    if (self->cancel_sent)
        return cancel_limit_ms(self);
    return self->deadline_ms > 0 ? self->deadline_ms : 2 * self->silence_ms;
}

/* The server was silent for too long: nothing that it might still say can be
 * trusted to belong to anything, so the socket is shut. */
static bool
give_up(struct lm_conn *self, struct lm_err *err)
{
    char limit[32];

    lm_clock_format(limit, sizeof limit, patience_ms(self));
    lm_err_set(err, LM_ERR_LOST, "%s has not answered for %s", self->target,
               limit);
    LM_ERR_COPY(err->sqlstate, "08006");
    shut(self);
    return false;
}

/* Nobody has said how long the statement may take. */
static bool
is_at_work(const struct lm_conn *self)
{
    return self->deadline_ms == 0 && !self->cancel_sent &&
           self->watch != NULL && self->watch(self->watch_arg);
}

/* One turn of the wait: sleeps until the server, a signal or the deadline. Any
 * sign of the server puts the deadline off. */
static bool
wait_turn(struct lm_conn *self, bool want_write, int64_t *deadline,
          struct lm_err *err)
{
    struct pollfd fds[2] = {
        {PQsocket(self->pg), (short)(want_write ? POLLIN | POLLOUT : POLLIN),
         0},
        {self->interruptible ? lm_stop_fd() : -1, POLLIN, 0}};
    int64_t left;

    if (self->interruptible && !self->cancel_sent && lm_stop_level() >= 2) {
        cancel_statement(self);
        *deadline = lm_clock_ms() + patience_ms(self);
    }
    left = *deadline - lm_clock_ms();
    if (left <= 0) {
        if (!is_at_work(self))
            return give_up(self, err);
        *deadline = lm_clock_ms() + patience_ms(self);
        return true;
    }
    if (poll(fds, 2, left > LONGEST_POLL_MS ? LONGEST_POLL_MS : (int)left) <
        0) {
        if (errno == EINTR)
            return true;
        return fail_lost(self, strerror(errno), err);
    }
    if (fds[1].revents != 0)
        lm_stop_drain();
    if (fds[0].revents == 0)
        return true;
    *deadline = lm_clock_ms() + patience_ms(self);
    if (PQconsumeInput(self->pg) == 0)
        return fail_lost(self, PQerrorMessage(self->pg), err);
    return true;
}

static bool
wait_for_result(struct lm_conn *self, struct lm_err *err)
{
    int64_t deadline = lm_clock_ms() + patience_ms(self);

    while (PQisBusy(self->pg)) {
        if (!wait_turn(self, false, &deadline, err))
            return false;
    }
    return true;
}

/* -- the queue -------------------------------------------------------- */

static void
push(struct lm_conn *self, struct lm_pending request)
{
    if (self->count == self->room) {
        size_t room = self->room > 0 ? 2 * self->room : 64;
        struct lm_pending *queue = lm_calloc(room, sizeof *queue);

        for (size_t i = 0; i < self->count; i++)
            queue[i] = self->queue[(self->first + i) % self->room];
        free(self->queue);
        self->queue = queue;
        self->room = room;
        self->first = 0;
    }
    self->queue[(self->first + self->count++) % self->room] = request;
}

static void
pop(struct lm_conn *self)
{
    self->first = (self->first + 1) % self->room;
    self->count--;
}

/* The connection is of no use: whatever was in flight will not be answered. */
static bool
abandon(struct lm_conn *self)
{
    self->count = 0;
    self->failed = false;
    shut(self);
    return false;
}

/* -- answers ---------------------------------------------------------- */

/* Only the first error since the last sync is kept. */
static void
note_failure(struct lm_conn *self, const struct lm_pending *request)
{
    self->failed = true;
    if (request->hearer != NULL)
        request->hearer(request->arg, NULL, &self->error);
    if (request->listener != NULL)
        request->listener(request->arg, NULL, &self->error);
}

static void
note_error(struct lm_conn *self, const struct lm_pending *request,
           const PGresult *result)
{
    if (self->failed)
        return;
    fail_result(self, result, request->sql, &self->error);
    note_failure(self, request);
}

static bool
is_right(const struct lm_pending *request, PGresult *result, struct lm_err *err)
{
    if (request->shape == NULL)
        return lm_answer_check_count(result, request->sql, false, err);
    return lm_answer_check(result, request->sql, request->shape, err);
}

static void
hear(const struct lm_pending *request, PGresult *result)
{
    if (request->hearer != NULL) {
        struct lm_answer answer;

        lm_answer_init(&answer, result, request->shape);
        request->hearer(request->arg, &answer, NULL);
        lm_answer_release(&answer);
    }
    if (request->listener != NULL) {
        struct lm_result view = {result};

        request->listener(request->arg, &view, NULL);
    }
}

/* The server takes a statement that it has answered wrongly for a good one: it
 * goes on, and the transaction has not failed there. */
static void
note_result(struct lm_conn *self, const struct lm_pending *request,
            PGresult *result)
{
    struct lm_err wrong;

    if (!self->failed) {
        if (!is_right(request, result, &wrong)) {
            PQclear(result);
            self->error = wrong;
            note_failure(self, request);
            return;
        }
        hear(request, result);
    }
    if (request->keep == NULL) {
        PQclear(result);
        return;
    }
    PQclear(*request->keep);
    *request->keep = result;
}

/* COPY would take over the protocol; nothing luamig sends may start one. */
static bool
refuse_copy(const struct lm_pending *request, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_FAILED, "COPY cannot be used in a migration");
    LM_ERR_COPY(err->sql, request->sql != NULL ? request->sql : "");
    return false;
}

/* Takes the next result, which is there to be read. */
static bool
take_result(struct lm_conn *self, struct lm_err *err)
{
    struct lm_pending request = self->queue[self->first];
    PGresult *result = PQgetResult(self->pg);

    if (result == NULL) {
        if (PQstatus(self->pg) != CONNECTION_OK)
            return fail_lost(self, PQerrorMessage(self->pg), err);
        /* A cancel or a timeout may strike at the sync itself: then there is
         * an error, and its end, before the sync is answered. */
        if (!request.is_sync)
            pop(self);
        return true;
    }
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC: /* not followed by NULL */
        pop(self);
        PQclear(result);
        return true;
    case PGRES_PIPELINE_ABORTED:
        PQclear(result);
        return true;
    case PGRES_FATAL_ERROR:
    case PGRES_BAD_RESPONSE:
        note_error(self, &request, result);
        PQclear(result);
        if (self->error.kind == LM_ERR_LOST)
            *err = self->error;
        return self->error.kind != LM_ERR_LOST;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        PQclear(result);
        return refuse_copy(&request, err);
    default:
        note_result(self, &request, result);
        return true;
    }
}

/* Takes the results that are there to be read. */
static bool
take_ready(struct lm_conn *self, struct lm_err *err)
{
    while (self->count > 0 && !PQisBusy(self->pg)) {
        if (!take_result(self, err))
            return false;
    }
    return true;
}

/* Pushes what libpq holds to the server, and reads what has arrived when the
 * server does not take it. */
static bool
pump(struct lm_conn *self, struct lm_err *err)
{
    int64_t deadline = lm_clock_ms() + patience_ms(self);
    int left;

    while ((left = PQflush(self->pg)) != 0) {
        if (left < 0)
            return fail_lost(self, PQerrorMessage(self->pg), err);
        if (!wait_turn(self, true, &deadline, err) || !take_ready(self, err))
            return false;
    }
    return true;
}

/* Takes what the server has answered so far, while it works on the rest. */
static bool
take_arrived(struct lm_conn *self, struct lm_err *err)
{
    if (PQconsumeInput(self->pg) == 0)
        return fail_lost(self, PQerrorMessage(self->pg), err);
    return take_ready(self, err);
}

/*
 * A server that waits for more requests without a sync counts as busy: no
 * timeout ends it, and it keeps its locks, should this process stop for good.
 * After a sync it idles in the transaction, which the server limits.
 */
static bool
is_sync_due(const struct lm_conn *self)
{
    return self->unsynced >= MAX_UNSYNCED ||
           lm_clock_ms() - self->synced_ms >= MAX_UNSYNCED_MS;
}

bool
lm_pipeline_queue(struct lm_conn *self, int sent, struct lm_pending request,
                  struct lm_err *err)
{
    if (sent == 0) {
        fail_lost(self, PQerrorMessage(self->pg), err);
        return abandon(self);
    }
    if (self->count == 0)
        self->cancel_sent = false;
    push(self, request);
    self->unsynced++;
    return true;
}

bool
lm_pipeline_post(struct lm_conn *self, int sent, struct lm_pending request,
                 struct lm_err *err)
{
    if (!lm_pipeline_queue(self, sent, request, err) ||
        (is_sync_due(self) && !lm_pipeline_send_sync(self, err)))
        return false;
    if (!self->failed)
        return true;
    *err = self->error;
    return false;
}

bool
lm_pipeline_push(struct lm_conn *self, struct lm_err *err)
{
    return pump(self, err) || abandon(self);
}

static bool
read_all(struct lm_conn *self, struct lm_err *err)
{
    while (self->count > 0) {
        if (!wait_for_result(self, err) || !take_result(self, err))
            return false;
    }
    return true;
}

bool
lm_pipeline_send_sync(struct lm_conn *self, struct lm_err *err)
{
    struct lm_pending sync = {.is_sync = true};

    if (PQpipelineSync(self->pg) == 0) {
        fail_lost(self, PQerrorMessage(self->pg), err);
        return abandon(self);
    }
    push(self, sync);
    self->unsynced = 0;
    self->synced_ms = lm_clock_ms();
    return (pump(self, err) && take_arrived(self, err)) || abandon(self);
}

bool
lm_pipeline_read(struct lm_conn *self, struct lm_err *err)
{
    if (!read_all(self, err))
        return abandon(self);
    if (!self->failed)
        return true;
    self->failed = false;
    *err = self->error;
    return false;
}

bool
lm_pipeline_sync(struct lm_conn *self, struct lm_err *err)
{
    return lm_pipeline_send_sync(self, err) && lm_pipeline_read(self, err);
}

static bool
read_script(struct lm_conn *self, const char *sql, struct lm_err *err)
{
    bool ok = true;

    for (;;) {
        PGresult *result;

        if (!wait_for_result(self, err))
            return abandon(self);
        result = PQgetResult(self->pg);
        if (result == NULL)
            return ok;
        if (ok && PQresultStatus(result) == PGRES_FATAL_ERROR)
            ok = fail_result(self, result, sql, err);
        PQclear(result);
    }
}

static bool
take_notifications(struct lm_conn *self)
{
    bool any = false;
    PGnotify *notification;

    while ((notification = PQnotifies(self->pg)) != NULL) {
        any = true;
        PQfreemem(notification);
    }
    return any;
}

bool
lm_conn_listen(struct lm_conn *self, int wake_fd, int64_t timeout_ms,
               bool *notified, struct lm_err *err)
{
    struct pollfd fds[2] = {{PQsocket(self->pg), POLLIN, 0},
                            {wake_fd, POLLIN, 0}};

    *notified = take_notifications(self);
    if (*notified)
        return true;
    if (poll(fds, 2, (int)timeout_ms) < 0 && errno != EINTR)
        return fail_lost(self, strerror(errno), err);
    if (fds[0].revents != 0 && PQconsumeInput(self->pg) == 0) {
        fail_lost(self, PQerrorMessage(self->pg), err);
        return abandon(self);
    }
    *notified = take_notifications(self);
    return true;
}

bool
lm_pipeline_script(struct lm_conn *self, const char *sql, struct lm_err *err)
{
    bool ok;

    self->cancel_sent = false;
    if (PQexitPipelineMode(self->pg) == 0 || PQsendQuery(self->pg, sql) == 0 ||
        !pump(self, err)) {
        fail_lost(self, PQerrorMessage(self->pg), err);
        return abandon(self);
    }
    ok = read_script(self, sql, err);
    if (lm_conn_is_up(self) && PQenterPipelineMode(self->pg) == 0) {
        fail_lost(self, PQerrorMessage(self->pg), err);
        return abandon(self);
    }
    return ok;
}
