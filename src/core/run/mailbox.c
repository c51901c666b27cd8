/* SPDX-License-Identifier: MIT */

#include "core/run/mailbox.h"

#include "base/clock.h"
#include "base/stop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* How often the runner itself reads requests: without a monitor, and with one
 * that has not read them lately. */
enum { POLL_MS = 1000, POLLED_LATELY_MS = 3000 };

/* After so long in one call of prepare, the monitor writes that to the journal.
 */
enum { TELL_PREPARE_MS = 1000 };

struct lm_mailbox {
    atomic_int holders;
    pthread_mutex_t mutex; /* of all that follows */
    struct lm_request *requests;
    int count;
    int room;
    int64_t *seen; /* numbers of all that were ever put in, ascending */
    int seen_count;
    int seen_room;
    int64_t polled_ms;
    bool has_poller;   /* beside the runner */
    int64_t leased_ms; /* when the runner last renewed the lease */
    /* since when the runner is in prepare, and until when the lease is kept
     * meanwhile; 0: it is not */
    int64_t prepares_ms;
    int64_t kept_till_ms;
    bool prepare_told; /* the journal says so */
};

struct lm_mailbox *
lm_mailbox_new(void)
{
    struct lm_mailbox *self = lm_calloc(1, sizeof *self);

    pthread_mutex_init(&self->mutex, NULL);
    atomic_init(&self->holders, 1);
    return self;
}

void
lm_mailbox_let_go(struct lm_mailbox *self)
{
    if (atomic_fetch_sub(&self->holders, 1) > 1)
        return;
    free(self->requests);
    free(self->seen);
    pthread_mutex_destroy(&self->mutex);
    free(self);
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

int
lm_requests_of_one(const struct lm_request *requests, int count)
{
    int entries = 1;

    while (entries < count && requests[entries].id == requests[0].id)
        entries++;
    return entries;
}

static void
put_one(struct lm_mailbox *self, const struct lm_request *requests, int count)
{
    if (self->count + count > self->room) {
        self->room = 2 * (self->count + count);
        self->requests = lm_realloc(self->requests, (size_t)self->room,
                                    sizeof *self->requests);
    }
    memcpy(&self->requests[self->count], requests,
           (size_t)count * sizeof *requests);
    self->count += count;
    if (requests->at_once && strcmp(requests->verb, "cancel") == 0)
        lm_stop_interrupt();
}

/* Requests without an answer are found at every reading. */
static void
put(struct lm_mailbox *self, const struct lm_request *requests, int count)
{
    int entries;

    pthread_mutex_lock(&self->mutex);
    for (int i = 0; i < count; i += entries) {
        entries = lm_requests_of_one(&requests[i], count - i);
        if (note_seen(self, requests[i].id))
            put_one(self, &requests[i], entries);
    }
    self->polled_ms = lm_clock_ms();
    pthread_mutex_unlock(&self->mutex);
}

struct lm_request *
lm_mailbox_empty(struct lm_mailbox *self, int *count)
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

bool
lm_mailbox_wants_end(struct lm_mailbox *self)
{
    bool wants = false;

    pthread_mutex_lock(&self->mutex);
    for (int i = 0; i < self->count; i++) {
        wants = wants || strcmp(self->requests[i].verb, "pause") == 0 ||
                strcmp(self->requests[i].verb, "cancel") == 0;
    }
    pthread_mutex_unlock(&self->mutex);
    return wants;
}

void
lm_mailbox_poll_soon(struct lm_mailbox *self)
{
    pthread_mutex_lock(&self->mutex);
    self->polled_ms = lm_clock_ms() - POLLED_LATELY_MS;
    pthread_mutex_unlock(&self->mutex);
}

void
lm_mailbox_forget(struct lm_mailbox *self)
{
    pthread_mutex_lock(&self->mutex);
    self->seen_count = 0;
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
    char process[40];
    int64_t run_id;
    int64_t lease_ms;
    int64_t kept_ms; /* when the lease of a batch was last written */
};

/* The runner renews after a third of the lease where it can. Where it cannot,
 * since it is in the middle of a batch or in prepare, this does so after a
 * half; in prepare not longer than it may take. */
static bool
keep_lease(struct poller *self, struct lm_journal *journal, struct lm_err *err)
{
    int64_t now = lm_clock_ms();
    int64_t leased_ms;
    bool overtime;

    pthread_mutex_lock(&self->mailbox->mutex);
    leased_ms = self->mailbox->leased_ms;
    overtime =
        self->mailbox->prepares_ms > 0 && now > self->mailbox->kept_till_ms;
    pthread_mutex_unlock(&self->mailbox->mutex);
    if (leased_ms < self->kept_ms)
        leased_ms = self->kept_ms;
    if (overtime || now - leased_ms < self->lease_ms / 2)
        return true;
    self->kept_ms = now;
    return lm_journal_keep(journal, self->run_id, err);
}

/* Once for each call of prepare that takes long. While the runner is in it, it
 * writes nothing. */
static bool
tell_prepare(struct poller *self, struct lm_journal *journal,
             struct lm_err *err)
{
    struct lm_mailbox *mailbox = self->mailbox;
    int64_t now = lm_clock_ms();
    int64_t since_ms = 0;

    pthread_mutex_lock(&mailbox->mutex);
    if (mailbox->prepares_ms > 0 && !mailbox->prepare_told &&
        now - mailbox->prepares_ms >= TELL_PREPARE_MS) {
        since_ms = mailbox->prepares_ms;
        mailbox->prepare_told = true;
    }
    pthread_mutex_unlock(&mailbox->mutex);
    return since_ms == 0 ||
           lm_journal_note_prepare(journal, self->run_id, now - since_ms, err);
}

static bool
poll_requests(void *arg, struct lm_conn *conn, struct lm_err *err)
{
    struct poller *self = arg;
    struct lm_journal journal = {
        .conn = conn, .schema = self->schema, .lease_ms = self->lease_ms};

    memcpy(journal.process, self->process, sizeof journal.process);
    /* Without the right to the table, say, requests are heard all the same. */
    if ((!keep_lease(self, &journal, err) ||
         !tell_prepare(self, &journal, err)) &&
        !lm_conn_is_up(conn))
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
lm_mailbox_hooks(struct lm_mailbox *self, const struct lm_journal *journal,
                 int64_t run_id)
{
    struct poller *poller = lm_calloc(1, sizeof *poller);
    struct lm_monitor_hooks hooks = {poll_requests, release_poller, poller,
                                     journal->lease_ms / 6};

    poller->mailbox = self;
    poller->schema = lm_strdup(journal->schema);
    memcpy(poller->process, journal->process, sizeof poller->process);
    poller->run_id = run_id;
    poller->lease_ms = journal->lease_ms;
    poller->kept_ms = lm_clock_ms();
    atomic_fetch_add(&self->holders, 1);
    pthread_mutex_lock(&self->mutex);
    self->has_poller = true;
    pthread_mutex_unlock(&self->mutex);
    return hooks;
}

void
lm_mailbox_note_lease(struct lm_mailbox *self, int64_t leased_ms)
{
    pthread_mutex_lock(&self->mutex);
    self->leased_ms = leased_ms;
    pthread_mutex_unlock(&self->mutex);
}

bool
lm_mailbox_note_prepare(struct lm_mailbox *self, int64_t timeout_ms)
{
    int64_t now = lm_clock_ms();
    bool told;

    pthread_mutex_lock(&self->mutex);
    told = self->prepare_told;
    self->prepare_told = false;
    self->prepares_ms = timeout_ms > 0 ? now : 0;
    self->kept_till_ms = now + timeout_ms;
    pthread_mutex_unlock(&self->mutex);
    return told;
}

bool
lm_mailbox_is_poll_due(struct lm_mailbox *self)
{
    int64_t now = lm_clock_ms();
    bool due;

    pthread_mutex_lock(&self->mutex);
    due = now - self->polled_ms >=
          (self->has_poller ? POLLED_LATELY_MS : POLL_MS);
    pthread_mutex_unlock(&self->mutex);
    return due;
}
