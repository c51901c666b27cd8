/* SPDX-License-Identifier: MIT */
/*
 * Talks to the server in libpq's pipeline mode: sends requests without
 * waiting, and reads the answers in their order.
 *
 * The socket is non-blocking, and a wait reads while it writes, so client and
 * server never wait for each other with full buffers. wait.c is the one place
 * that waits, so signals and the deadline work everywhere. After an error the
 * server skips requests up to the next sync; only the first error is kept.
 * Nothing here retries.
 */

#include "base/clock.h"
#include "pg/conn/private.h"
#include "pg/conn/sqlstate.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_UNSYNCED = 32, MAX_UNSYNCED_MS = 20 };

/* libpq's texts end with a newline and may have several lines. */
void
lm_pipeline_copy_message(char *field, size_t size, const char *text)
{
    size_t len = strlen(text);

    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
        len--;
    lm_err_copy(field, size, text, len);
}

/* The server's message at the end of the session counts more than the socket's
 * error. If the message was lost, a pause that was too long explains the end.
 */
bool
lm_pipeline_fail_lost(const struct lm_conn *self, const char *message,
                      struct lm_err *err)
{
    lm_err_set(err, LM_ERR_LOST, "the connection to %s was lost", self->target);
    LM_ERR_COPY(err->sqlstate, "08006");
    if (self->fatal_state[0] != '\0') {
        lm_err_set(err, LM_ERR_LOST, "%s", self->fatal);
        LM_ERR_COPY(err->sqlstate, self->fatal_state);
    } else if (self->idled_ms > 0) {
        LM_ERR_COPY(err->sqlstate, LM_CONN_IDLED);
    } else if (self->pg != NULL) {
        lm_pipeline_copy_message(err->detail, sizeof err->detail, message);
    }
    return false;
}

void
lm_pipeline_note_fatal(struct lm_conn *self, const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    if (state == NULL || text == NULL)
        return;
    LM_ERR_COPY(self->fatal_state, state);
    lm_pipeline_copy_message(self->fatal, sizeof self->fatal, text);
}

static void
copy_field(char *field, size_t size, const PGresult *result, int code)
{
    const char *text = PQresultErrorField(result, code);

    if (text != NULL)
        lm_pipeline_copy_message(field, size, text);
}

/* The server's own hint does not know luamig's settings. Sometimes only the
 * name of the server's function shows the cause, not the SQLSTATE. */
static void
add_hint(const PGresult *result, struct lm_err *err)
{
    const char *function = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);

    if (lm_err_is_state(err, "42501") && function != NULL &&
        strcmp(function, "check_enable_rls") == 0) {
        lm_err_hint(
            err, "Row security may hide rows from this role. To migrate only "
                 "the rows that it may see, set config = { row_security = true "
                 "} in the script. Otherwise use a role with BYPASSRLS.");
    } else if (lm_err_is_state(err, "57P05")) {
        lm_err_hint(err, "The session idled for longer than "
                         "idle_session_timeout. Set it to 0 for the role "
                         "or for the pooler's server connections: ALTER ROLE "
                         "... SET idle_session_timeout = 0.");
    } else if (lm_err_is_state(err, "0A000") &&
               strstr(err->message, "modifying the partition value") != NULL) {
        lm_err_hint(err, "The column says on which node the row lies. Delete "
                         "the row and insert it with the new value.");
    }
}

bool
lm_pipeline_fail_too_large(const struct lm_conn *self, const char *sql,
                           struct lm_err *err)
{
    enum { MIB = 1 << 20 };

    lm_err_set(err, LM_ERR_DATABASE,
               "the server's answer takes more than %zu MiB of memory",
               self->answer_limit / MIB);
    LM_ERR_COPY(err->sqlstate, LM_CONN_TOO_LARGE);
    if (sql != NULL)
        LM_ERR_COPY(err->sql, sql);
    return false;
}

/* Does the error come from one of these functions of Citus? They have no code
 * for a connection to a node that breaks within a transaction. */
static bool
is_broken_to_node(const char *function)
{
    static const char *const functions[] = {"ReportResultError",
                                            "MarkRemoteTransactionFailed",
                                            "CheckRemoteTransactionsHealth"};

    for (size_t i = 0; function != NULL && i < LM_COUNT(functions); i++) {
        if (strcmp(function, functions[i]) == 0)
            return true;
    }
    return false;
}

/* Citus says what a node has said, and ends no session for it. */
static bool
is_of_node(const struct lm_conn *self, const PGresult *result,
           const char *state)
{
    const char *severity =
        PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);

    return self->citus && severity != NULL && strcmp(severity, "ERROR") == 0 &&
           (lm_sqlstate_meaning(state) == LM_SQLSTATE_LOST ||
            (strcmp(state, "XX000") == 0 &&
             is_broken_to_node(
                 PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION))));
}

static bool
fail_node(const PGresult *result, const char *sql, struct lm_err *err)
{
    char said[256] = "";

    copy_field(said, sizeof said, result, PG_DIAG_MESSAGE_PRIMARY);
    said[strcspn(said, "\n")] = '\0';
    lm_err_set(err, LM_ERR_DATABASE, "a node of Citus does not answer: %s",
               said);
    LM_ERR_COPY(err->sqlstate, LM_CONN_NODE_AWAY);
    copy_field(err->detail, sizeof err->detail, result, PG_DIAG_CONTEXT);
    if (sql != NULL)
        LM_ERR_COPY(err->sql, sql);
    return false;
}

bool
lm_pipeline_fail_result(const struct lm_conn *self, const PGresult *result,
                        const char *sql, struct lm_err *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    enum lm_err_kind kind = LM_ERR_DATABASE;

    if (state == NULL)
        return lm_pipeline_fail_lost(self, PQresultErrorMessage(result), err);
    if (self->too_large && strcmp(state, "57014") == 0)
        return lm_pipeline_fail_too_large(self, sql, err);
    if (is_of_node(self, result, state))
        return fail_node(result, sql, err);
    if (lm_sqlstate_meaning(state) == LM_SQLSTATE_LOST) {
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

bool
lm_pipeline_await(struct lm_conn *self, struct lm_err *err)
{
    int64_t now;
    int64_t deadline;

    if (PQisBusy(self->pg) == 0)
        return true;
    now = lm_clock_ms();
    deadline = now + lm_wait_patience_ms(self);
    self->look_ms = now + self->silence_ms / 3;
    while (PQisBusy(self->pg)) {
        if (!lm_wait_turn(self, false, &deadline, err))
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
    self->later += self->behind;
}

/* Calls the request's listener, once. */
static void
call_listener(struct lm_pending *request, PGresult *result, struct lm_err *err)
{
    if (request->answered)
        return;
    request->answered = true;
    if (request->answer_listener != NULL && result != NULL) {
        struct lm_answer answer;

        lm_answer_init(&answer, result, request->sql, request->shape);
        request->answer_listener(request->arg, &answer, NULL);
        lm_answer_release(&answer);
    } else if (request->answer_listener != NULL) {
        request->answer_listener(request->arg, NULL, err);
    }
    if (request->listener != NULL) {
        struct lm_result view = {result};

        request->listener(request->arg, result != NULL ? &view : NULL, err);
    }
}

static struct lm_pending *
oldest(struct lm_conn *self)
{
    return &self->queue[self->first];
}

static void
pop(struct lm_conn *self)
{
    call_listener(oldest(self), NULL, NULL);
    self->first = (self->first + 1) % self->room;
    self->count--;
}

void
lm_pipeline_drop(struct lm_conn *self)
{
    while (self->count > 0)
        pop(self);
    self->later = 0;
    self->ahead = false;
}

/* The connection is of no use. */
bool
lm_pipeline_abandon(struct lm_conn *self)
{
    lm_pipeline_drop(self);
    self->failed = false;
    lm_wait_shut(self);
    return false;
}

/* -- answers ---------------------------------------------------------- */

/* Only the first error since the last sync is kept. */
static void
note_error(struct lm_conn *self, struct lm_pending *request,
           const PGresult *result)
{
    if (self->failed)
        return;
    lm_pipeline_fail_result(self, result, request->sql, &self->error);
    self->failed = true;
    call_listener(request, NULL, &self->error);
}

static bool
is_right(const struct lm_pending *request, PGresult *result, struct lm_err *err)
{
    if (request->shape == NULL)
        return lm_answer_check_count(result, request->sql, false, err);
    return lm_answer_check(result, request->sql, request->shape, err);
}

/* The server does not know that its answer was wrong: it continues, and the
 * transaction has not failed there. */
static void
note_result(struct lm_conn *self, struct lm_pending *request, PGresult *result)
{
    struct lm_err wrong;

    if (!self->failed) {
        if (!is_right(request, result, &wrong)) {
            PQclear(result);
            self->error = wrong;
            self->failed = true;
            call_listener(request, NULL, &self->error);
            return;
        }
        call_listener(request, result, NULL);
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

/* The server reports another client_encoding with the answer to a sync. From
 * then on it would misread every text. If a commit has set it, the next
 * transaction sets it back. */
static void
check_encoding(struct lm_conn *self)
{
    const char *encoding = lm_conn_setting(self, "client_encoding");

    if (self->failed || self->committing || encoding == NULL ||
        strcmp(encoding, "UTF8") == 0)
        return;
    lm_err_set(&self->error, LM_ERR_DATABASE,
               "client_encoding was set to %s in this transaction", encoding);
    LM_ERR_COPY(self->error.sqlstate, LM_CONN_ENCODING);
    lm_err_hint(&self->error, "luamig sends and reads UTF-8, and the server "
                              "converts it. Remove that setting from the "
                              "script, or from the function that it calls.");
    self->failed = true;
}

/* Takes the next result, which is there to be read. */
static bool
take_result(struct lm_conn *self, struct lm_err *err)
{
    struct lm_pending *request = oldest(self);
    PGresult *result = PQgetResult(self->pg);

    if (result == NULL) {
        if (PQstatus(self->pg) != CONNECTION_OK)
            return lm_pipeline_fail_lost(self, PQerrorMessage(self->pg), err);
        /* A cancel or a timeout may strike at the sync itself: then there is
         * an error, and its end, before the sync is answered. */
        if (!request->is_sync)
            pop(self);
        return true;
    }
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC: /* not followed by NULL */
        pop(self);
        PQclear(result);
        check_encoding(self);
        return true;
    case PGRES_PIPELINE_ABORTED:
        PQclear(result);
        return true;
    case PGRES_FATAL_ERROR:
    case PGRES_BAD_RESPONSE:
        note_error(self, request, result);
        PQclear(result);
        if (self->error.kind == LM_ERR_LOST)
            *err = self->error;
        return self->error.kind != LM_ERR_LOST;
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        PQclear(result);
        return refuse_copy(request, err);
    default:
        note_result(self, request, result);
        return true;
    }
}

/* Takes the results that are there to be read. */
static bool
take_ready(struct lm_conn *self, struct lm_err *err)
{
    while (self->count > self->later && !PQisBusy(self->pg)) {
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
    int64_t deadline = lm_clock_ms() + lm_wait_patience_ms(self);
    int left;

    while ((left = PQflush(self->pg)) != 0) {
        if (left < 0)
            return lm_pipeline_fail_lost(self, PQerrorMessage(self->pg), err);
        if (!lm_wait_turn(self, true, &deadline, err) || !take_ready(self, err))
            return false;
    }
    return true;
}

/* Reads the answers that have come, while the server works on the rest. */
static bool
take_arrived(struct lm_conn *self, struct lm_err *err)
{
    return lm_wait_read(self, err) && take_ready(self, err);
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

/* How long the client has been silent in its transaction. */
static void
note_pause(struct lm_conn *self)
{
    int64_t now = lm_clock_ms();

    if (self->idle_limit_ms > 0 && self->quiet_since_ms > 0 &&
        now - self->quiet_since_ms >= self->idle_limit_ms)
        self->idled_ms = now - self->quiet_since_ms;
    self->quiet_since_ms = now;
}

void
lm_pipeline_begin(struct lm_conn *self)
{
    self->cancel_sent = self->too_large = false;
    self->looked = self->awaits_standby = false;
    self->reads = 0;
}

bool
lm_pipeline_queue(struct lm_conn *self, int sent, struct lm_pending request,
                  struct lm_err *err)
{
    if (sent == 0) {
        lm_pipeline_fail_lost(self, PQerrorMessage(self->pg), err);
        call_listener(&request, NULL, NULL);
        return lm_pipeline_abandon(self);
    }
    if (self->count == 0)
        lm_pipeline_begin(self);
    push(self, request);
    self->unsynced++;
    return true;
}

bool
lm_pipeline_post(struct lm_conn *self, int sent, struct lm_pending request,
                 struct lm_err *err)
{
    note_pause(self);
    if (!lm_pipeline_queue(self, sent, request, err) ||
        (is_sync_due(self) && !lm_pipeline_send_sync(self, err)))
        return false;
    if (!self->failed)
        return true;
    *err = self->error;
    return false;
}

bool
lm_conn_push(struct lm_conn *self, struct lm_err *err)
{
    return pump(self, err) || lm_pipeline_abandon(self);
}

static bool
read_all(struct lm_conn *self, struct lm_err *err)
{
    while (self->count > self->later) {
        if (!lm_pipeline_await(self, err) || !take_result(self, err))
            return false;
    }
    return true;
}

bool
lm_pipeline_send_sync(struct lm_conn *self, struct lm_err *err)
{
    struct lm_pending sync = {.is_sync = true};

    if (PQpipelineSync(self->pg) == 0) {
        lm_pipeline_fail_lost(self, PQerrorMessage(self->pg), err);
        return lm_pipeline_abandon(self);
    }
    push(self, sync);
    self->unsynced = 0;
    self->synced_ms = lm_clock_ms();
    return (pump(self, err) && take_arrived(self, err)) ||
           lm_pipeline_abandon(self);
}

static bool
read_answers(struct lm_conn *self, struct lm_err *err)
{
    if (!read_all(self, err))
        return lm_pipeline_abandon(self);
    self->quiet_since_ms = lm_clock_ms();
    self->alone = PQtransactionStatus(self->pg) == PQTRANS_IDLE;
    if (!self->failed)
        return true;
    self->failed = false;
    *err = self->error;
    return false;
}

bool
lm_pipeline_read_commit(struct lm_conn *self, struct lm_err *err)
{
    bool ok;

    self->committing = true;
    ok = read_answers(self, err);
    self->committing = false;
    return ok;
}

bool
lm_pipeline_sync(struct lm_conn *self, struct lm_err *err)
{
    bool sent = self->count > 0 && self->unsynced == 0;

    return (sent || lm_pipeline_send_sync(self, err)) &&
           read_answers(self, err);
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
        return lm_pipeline_fail_lost(self, strerror(errno), err);
    if (fds[0].revents != 0 && PQconsumeInput(self->pg) == 0) {
        lm_pipeline_fail_lost(self, PQerrorMessage(self->pg), err);
        return lm_pipeline_abandon(self);
    }
    *notified = take_notifications(self);
    return true;
}
