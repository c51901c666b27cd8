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
#include "core/run/private.h"

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

/* Room for count items of a size in a growing array. There may be thousands of
 * requests. */
static void *
make_room(void *items, int *room, int count, size_t size)
{
    if (count <= *room)
        return items;
    *room = 2 * count;
    return lm_realloc(items, (size_t)*room, size);
}

/* Notes a number; false when it was there before. Most come in ascending
 * order. */
static bool
note_seen(struct lm_mailbox *self, int64_t id)
{
    int low = 0;
    int high = self->seen_count;

    while (low < high) {
        int middle = low + (high - low) / 2;

        if (self->seen[middle] < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < self->seen_count && self->seen[low] == id)
        return false;
    if (self->seen_count == self->seen_room) {
        self->seen_room = self->seen_room * 2 + 16;
        self->seen =
            lm_realloc(self->seen, (size_t)self->seen_room, sizeof *self->seen);
    }
    memmove(&self->seen[low + 1], &self->seen[low],
            (size_t)(self->seen_count - low) * sizeof *self->seen);
    self->seen[low] = id;
    self->seen_count++;
    return true;
}

/* How many of the first entries belong to one request: one with several
 * settings comes as several of one number. */
static int
count_entries(const struct lm_request *requests, int count)
{
    int entries = 1;

    while (entries < count && requests[entries].id == requests[0].id)
        entries++;
    return entries;
}

static void
put_one(struct lm_mailbox *self, const struct lm_request *requests, int count)
{
    self->requests = make_room(self->requests, &self->room, self->count + count,
                               sizeof *self->requests);
    memcpy(&self->requests[self->count], requests,
           (size_t)count * sizeof *requests);
    self->count += count;
    if (requests->at_once && strcmp(requests->verb, "cancel") == 0)
        lm_stop_interrupt();
}

/* What has no answer yet is found again and again. */
static void
put(struct lm_mailbox *self, const struct lm_request *requests, int count)
{
    int entries;

    pthread_mutex_lock(&self->mutex);
    for (int i = 0; i < count; i += entries) {
        entries = count_entries(&requests[i], count - i);
        if (note_seen(self, requests[i].id))
            put_one(self, &requests[i], entries);
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
    self->count = self->room = 0;
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
    int64_t lease_ms;
    int64_t kept_ms; /* when the lease of a batch was last written */
};

/* The runner renews after a third of the lease where it can. Where it cannot,
 * since it is in the middle of a batch, this does so after a half. */
static bool
keep_lease(struct poller *self, struct lm_journal *journal, struct lm_err *err)
{
    int64_t now = lm_clock_ms();
    char owner[sizeof self->mailbox->owner];
    int64_t renewed_ms;
    int64_t seq;

    pthread_mutex_lock(&self->mailbox->mutex);
    memcpy(owner, self->mailbox->owner, sizeof owner);
    seq = self->mailbox->seq;
    renewed_ms = self->mailbox->leased_ms;
    pthread_mutex_unlock(&self->mailbox->mutex);
    if (renewed_ms < self->kept_ms)
        renewed_ms = self->kept_ms;
    if (owner[0] == '\0' || now - renewed_ms < self->lease_ms / 2)
        return true;
    self->kept_ms = now;
    return lm_journal_keep(journal, self->run_id, owner, seq, err);
}

static bool
poll_requests(void *arg, struct lm_conn *conn, struct lm_err *err)
{
    struct poller *self = arg;
    struct lm_journal journal = {
        .conn = conn, .schema = self->schema, .lease_ms = self->lease_ms};

    /* Without the right to the table, say, requests are heard all the same. */
    if (!keep_lease(self, &journal, err) && !lm_conn_is_up(conn))
        return false;
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
    struct lm_monitor_hooks hooks = {poll_requests, release_poller, poller,
                                     self->journal.lease_ms / 6};

    poller->mailbox = self->mailbox;
    poller->schema = lm_strdup(self->journal.schema);
    poller->run_id = self->run.id;
    poller->lease_ms = self->journal.lease_ms;
    poller->kept_ms = lm_clock_ms();
    pthread_mutex_lock(&self->mailbox->mutex);
    self->mailbox->holders++;
    self->mailbox->has_poller = true;
    pthread_mutex_unlock(&self->mailbox->mutex);
    return hooks;
}

void
lm_runner_show_holder(struct lm_runner *self)
{
    pthread_mutex_lock(&self->mailbox->mutex);
    memcpy(self->mailbox->owner, self->run.owner, sizeof self->run.owner);
    self->mailbox->seq = self->run.seq;
    self->mailbox->leased_ms = self->leased_ms;
    pthread_mutex_unlock(&self->mailbox->mutex);
}

/* -- hearing ----------------------------------------------------------- */

/* Does what one request asks for; err says why not. */
static bool
follow(struct lm_runner *self, const struct lm_request *request, int count,
       struct lm_err *err)
{
    if (request->fault[0] != '\0')
        return lm_err_set(err, LM_ERR_USAGE, "%s", request->fault);
    if (strcmp(request->verb, "set") == 0) {
        if (!lm_runner_apply_set(self, request, count, err))
            return false;
    } else {
        self->wants_pause = strcmp(request->verb, "pause") == 0;
        self->cancelled = strcmp(request->verb, "cancel") == 0;
        self->asked = *request;
    }
    return true;
}

/* Each request is judged alone. */
static void
take(struct lm_runner *self, const struct lm_request *request, int count)
{
    struct lm_reply answer = {.id = request->id,
                              .waits = strcmp(request->verb, "pause") == 0};
    struct lm_buf why = LM_BUF_INIT;
    struct lm_err err;

    if (follow(self, request, count, &err)) {
        LM_ERR_COPY(answer.text, "done");
    } else {
        lm_buf_printf(&why, "refused: %s%s%s", err.message,
                      err.hint[0] != '\0' ? ". " : "", err.hint);
        LM_ERR_COPY(answer.text, lm_buf_text(&why));
        lm_buf_release(&why);
        lm_log(LM_LOG_WARNING, "request %" PRId64 " by %s on %s is %s",
               request->id, request->by, request->host, answer.text);
    }
    self->answers = make_room(self->answers, &self->answer_room,
                              self->answer_count + 1, sizeof *self->answers);
    self->answers[self->answer_count++] = answer;
}

void
lm_runner_empty_mailbox(struct lm_runner *self)
{
    int entries;
    int count;
    struct lm_request *requests = empty(self->mailbox, &count);

    for (int i = 0; i < count && !self->cancelled; i += entries) {
        entries = count_entries(&requests[i], count - i);
        take(self, &requests[i], entries);
    }
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
    return lm_stop_level() > 0 || self->cancelled || self->answer_count > 0 ||
           self->overtaken || !is_connected(self);
}

/* -- obeying ----------------------------------------------------------- */

bool
lm_runner_has_request(const struct lm_runner *self)
{
    return self->answer_count > 0 && !self->cancelled;
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
lm_runner_answer(struct lm_runner *self, struct lm_err *err)
{
    return self->answer_count == 0 ||
           lm_journal_answer(&self->journal, self->answers, self->answer_count,
                             err);
}

bool
lm_runner_obey(struct lm_runner *self, struct lm_err *err)
{
    struct lm_txn txn = lm_runner_txn(self);
    bool pause = self->wants_pause;
    bool changes = pause != self->paused;

    txn.own = true;
    /* Also where the state stays: only who holds the run may answer. */
    if (!lm_txn_begin(self->conn, &txn, err) ||
        !lm_journal_set_state(&self->journal, &self->run,
                              pause ? "paused" : "running", err) ||
        !lm_runner_answer(self, err) ||
        !lm_conn_commit(self->conn, "obey_before_commit",
                        "obey_after_commit_sent", err))
        return false;
    self->answer_count = 0;
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

/* The command that began this runner asks for the run to go on. */
static void
outweigh_pauses(struct lm_runner *self)
{
    for (int i = 0; i < self->answer_count; i++) {
        if (self->answers[i].waits) {
            LM_ERR_COPY(self->answers[i].text,
                        "the run was resumed by its command");
        }
    }
    self->wants_pause = false;
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
    outweigh_pauses(self);
    self->heard = true;
    return true;
}
