/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_MAILBOX_H
#define LM_CORE_RUN_MAILBOX_H

/*
 * Carries requests from the thread that reads them (or from the runner itself)
 * to the runner. In the other direction it carries when the lease was renewed,
 * so that the thread can keep it during a long batch. Both sides hold the mailbox; the
 * last one to release it frees it.
 */

#include "core/journal/journal.h"
#include "core/run/monitor.h"

struct lm_mailbox;

struct lm_mailbox *lm_mailbox_new(void);
void lm_mailbox_let_go(struct lm_mailbox *self);

/* Reads open requests from the journal, on any connection. */
bool lm_mailbox_poll(struct lm_mailbox *self, struct lm_journal *journal,
                     int64_t run_id, struct lm_err *err) LM_MUSTCHECK;
/* Have requests not been read for so long that the runner should do it? */
bool lm_mailbox_is_poll_due(struct lm_mailbox *self);
/* A notification may be lost: the next turn reads requests, whoever's turn it
 * is. */
void lm_mailbox_poll_soon(struct lm_mailbox *self);
/* The next reading finds all open requests again: this process leads the run
 * from now on, and has to answer them. */
void lm_mailbox_forget(struct lm_mailbox *self);
/* Takes the requests out. The caller frees them. */
struct lm_request *lm_mailbox_empty(struct lm_mailbox *self, int *count);
/* Is there a request to pause or to cancel? */
bool lm_mailbox_wants_end(struct lm_mailbox *self);
/* How many of the first entries belong to one request. A request with several
 * settings has several entries with one number. */
int lm_requests_of_one(const struct lm_request *requests, int count);

/* The runner has renewed the lease. */
void lm_mailbox_note_lease(struct lm_mailbox *self, int64_t leased_ms);
/* A call of the script's prepare begins, for which the lease is kept so long;
 * 0: it has ended. True if the journal says since when the run is in prepare,
 * so that the runner should write what it does now. */
bool lm_mailbox_note_prepare(struct lm_mailbox *self, int64_t timeout_ms);
/* Hooks for the monitor: they read requests, and keep the lease while the
 * runner cannot renew it. */
struct lm_monitor_hooks lm_mailbox_hooks(struct lm_mailbox *self,
                                         const struct lm_journal *journal,
                                         int64_t run_id);

#endif
