/* SPDX-License-Identifier: MIT */
/*
 * What people ask of the run from other terminals: pause, resume, cancel, set.
 *
 * Requests arrive in a mailbox, which may be filled from another thread. The
 * runner empties it between batches and while it waits, and answers in the
 * transaction that does what was asked.
 */

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/runner_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How often the journal is asked, where nobody else does so. */
enum { POLL_MS = 1000, POLLED_LATELY_MS = 3000 };

/* -- the mailbox ------------------------------------------------------- */

struct lm_mailbox *
lm_mailbox_new(void)
{
    struct lm_mailbox *self = lm_calloc(1, sizeof *self);

    pthread_mutex_init(&self->mutex, NULL);
    self->holders = 1;
    return self;
}

void
lm_mailbox_let_go(struct lm_mailbox *self)
{
    bool last;

    pthread_mutex_lock(&self->mutex);
    last = --self->holders == 0;
    pthread_mutex_unlock(&self->mutex);
    if (!last)
        return;
    free(self->requests);
    free(self->seen);
    pthread_mutex_destroy(&self->mutex);
    free(self);
}

static bool
has_seen(const struct lm_mailbox *self, int64_t id)
{
    for (int i = 0; i < self->seen_count; i++) {
        if (self->seen[i] == id)
            return true;
    }
    return false;
}

static void
note_seen(struct lm_mailbox *self, int64_t id)
{
    self->seen = lm_realloc(self->seen, (size_t)self->seen_count + 1,
                            sizeof *self->seen);
    self->seen[self->seen_count++] = id;
}

static void
put_one(struct lm_mailbox *self, const struct lm_request *request)
{
    self->requests = lm_realloc(self->requests, (size_t)self->count + 1,
                                sizeof *self->requests);
    self->requests[self->count++] = *request;
    if (request->at_once)
        lm_stop_interrupt();
}

/* What has no answer yet is found again and again. A request with several
 * settings comes as several of one number. */
static void
put(struct lm_mailbox *self, const struct lm_request *requests, int count)
{
    bool known = false;

    pthread_mutex_lock(&self->mutex);
    for (int i = 0; i < count; i++) {
        if (i == 0 || requests[i].id != requests[i - 1].id) {
            known = has_seen(self, requests[i].id);
            if (!known)
                note_seen(self, requests[i].id);
        }
        if (!known)
            put_one(self, &requests[i]);
    }
    self->polled_ms = lm_clock_ms();
    pthread_mutex_unlock(&self->mutex);
}

/* The mailbox's content, to be freed. */
static struct lm_request *
empty(struct lm_mailbox *self, int *count)
{
    struct lm_request *requests;

    pthread_mutex_lock(&self->mutex);
    requests = self->requests;
    *count = self->count;
    self->requests = NULL;
    self->count = 0;
    pthread_mutex_unlock(&self->mutex);
    return requests;
}

void
lm_mailbox_poll_soon(struct lm_mailbox *self)
{
    pthread_mutex_lock(&self->mutex);
    self->polled_ms = lm_clock_ms() - POLLED_LATELY_MS;
    pthread_mutex_unlock(&self->mutex);
}

bool
lm_mailbox_poll(struct lm_mailbox *self, struct lm_journal *journal,
                int64_t run_id, struct lm_err *err)
{
    struct lm_request *requests;
    int count = 0;

    if (!lm_journal_open_requests(journal, run_id, &requests, &count, err))
        return false;
    put(self, requests, count);
    free(requests);
    return true;
}

/* -- the monitor's part -------------------------------------------------- */

struct poller {
    struct lm_mailbox *mailbox;
    char *schema;
    int64_t run_id;
};

static bool
poll_requests(void *arg, struct lm_conn *conn, struct lm_err *err)
{
    struct poller *self = arg;
    struct lm_journal journal = {.conn = conn, .schema = self->schema};

    return lm_mailbox_poll(self->mailbox, &journal, self->run_id, err);
}

static void
release_poller(void *arg)
{
    struct poller *self = arg;

    lm_mailbox_let_go(self->mailbox);
    free(self->schema);
    free(self);
}

struct lm_monitor_hooks
lm_runner_control_hooks(struct lm_runner *self)
{
    struct poller *poller = lm_calloc(1, sizeof *poller);
    struct lm_monitor_hooks hooks = {poll_requests, release_poller, poller};

    poller->mailbox = self->mailbox;
    poller->schema = lm_strdup(self->journal.schema);
    poller->run_id = self->run.id;
    pthread_mutex_lock(&self->mailbox->mutex);
    self->mailbox->holders++;
    self->mailbox->has_poller = true;
    pthread_mutex_unlock(&self->mailbox->mutex);
    return hooks;
}

/* -- hearing ----------------------------------------------------------- */

static void
take(struct lm_runner *self, const struct lm_request *request)
{
    struct lm_err err;

    LM_ERR_COPY(self->answer, "done");
    if (strcmp(request->verb, "set") == 0) {
        if (!lm_runner_apply_setting(self, request, &err)) {
            LM_ERR_COPY(self->answer, err.message);
            lm_log(LM_LOG_WARNING, "%s (asked by %s on %s)", err.message,
                   request->by, request->host);
        }
    } else {
        self->wants_pause = strcmp(request->verb, "pause") == 0;
        self->cancelled = strcmp(request->verb, "cancel") == 0;
    }
    self->asked = *request;
    lm_buf_printf(&self->unanswered, "%s%" PRId64,
                  self->unanswered.len > 0 ? "," : "", request->id);
}

void
lm_runner_empty_mailbox(struct lm_runner *self)
{
    int count;
    struct lm_request *requests = empty(self->mailbox, &count);

    for (int i = 0; i < count && !self->cancelled; i++)
        take(self, &requests[i]);
    free(requests);
}

/* Somebody else polls, as long as he can. */
static bool
is_poll_due(struct lm_runner *self)
{
    int64_t now = lm_clock_ms();
    bool due;

    pthread_mutex_lock(&self->mailbox->mutex);
    due = now - self->mailbox->polled_ms >=
          (self->mailbox->has_poller ? POLLED_LATELY_MS : POLL_MS);
    pthread_mutex_unlock(&self->mailbox->mutex);
    return due;
}

static bool
is_connected(const struct lm_runner *self)
{
    return self->conn != NULL && lm_conn_is_up(self->conn);
}

bool
lm_runner_is_called(struct lm_runner *self)
{
    struct lm_err ignored;

    if (self->dry == NULL && is_poll_due(self) && is_connected(self) &&
        !lm_mailbox_poll(self->mailbox, &self->journal, self->run.id,
                         &ignored)) {
        lm_log(LM_LOG_DEBUG, "could not look for requests: %s",
               ignored.message);
    }
    lm_runner_empty_mailbox(self);
    return lm_stop_level() > 0 || self->cancelled || self->unanswered.len > 0 ||
           !is_connected(self);
}

/* -- obeying ----------------------------------------------------------- */

bool
lm_runner_has_request(const struct lm_runner *self)
{
    return self->unanswered.len > 0 && !self->cancelled;
}

static void
tell_script(struct lm_runner *self)
{
    const struct lm_migration *m = self->migration;
    struct lm_run_info info = lm_runner_info(self, self->run.batches);

    if (self->paused)
        m->ops->on_stop(m->self, &info, "pause");
}

bool
lm_runner_obey(struct lm_runner *self, struct lm_err *err)
{
    struct lm_txn txn = lm_runner_txn(self);
    bool pause = self->wants_pause;
    bool changes = pause != self->paused;
    struct lm_buf ids = LM_BUF_INIT;
    bool ok;

    lm_buf_printf(&ids, "{%s}", lm_buf_text(&self->unanswered));
    /* Also where the state stays: only who holds the run may answer. */
    ok = lm_txn_begin(self->conn, &txn, err) &&
         lm_journal_set_state(&self->journal, &self->run,
                              pause ? "paused" : "running", err) &&
         lm_journal_answer(&self->journal, lm_buf_text(&ids), self->answer,
                           err) &&
         lm_conn_commit(self->conn, "obey_before_commit",
                        "obey_after_commit_sent", err);
    lm_buf_release(&ids);
    if (!ok)
        return false;
    lm_buf_clear(&self->unanswered);
    self->run.seq++;
    self->waits_for = pause ? "paused" : NULL;
    if (!changes) {
        lm_runner_tell_journal(self);
        return true;
    }
    self->paused = pause;
    lm_runner_tell_journal(self);
    lm_log(LM_LOG_INFO, "%s by %s on %s", pause ? "paused" : "resumed",
           self->asked.by, self->asked.host);
    tell_script(self);
    return true;
}

void
lm_runner_stay_paused(struct lm_runner *self)
{
    lm_progress_hold_begin(&self->progress, "paused");
    lm_runner_rest(self, POLL_MS);
    lm_progress_hold_end(&self->progress);
    if (is_connected(self))
        self->lost_in_row = 0; /* there is no progress to be had */
}

bool
lm_runner_begin_control(struct lm_runner *self, struct lm_err *err)
{
    struct lm_request *requests = NULL;
    int count = 0;

    if (!lm_mailbox_poll(self->mailbox, &self->journal, self->run.id, err) ||
        !lm_journal_settings(&self->journal, self->run.id, &requests, &count,
                             err))
        return false;
    lm_runner_apply_settings(self, requests, count);
    free(requests);
    lm_runner_empty_mailbox(self);
    /* The command that began this runner asks for the run to go on. */
    if (self->wants_pause)
        LM_ERR_COPY(self->answer, "the run was resumed by its command");
    self->wants_pause = false;
    self->heard = true;
    return true;
}
