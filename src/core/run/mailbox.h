/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_MAILBOX_H
#define LM_CORE_RUN_MAILBOX_H

/*
 * What is asked of a run, on its way from the thread that reads it, or from the
 * runner itself, to the runner; and the other way, whom to keep the lease of a
 * long batch for. Whoever lets go of it last frees it.
 */

#include "core/journal/journal.h"
#include "core/run/monitor.h"

struct lm_mailbox;

/* Who holds the run while the step in hand is at work. */
struct lm_lease {
    char owner[40];
    int64_t seq;
    int64_t leased_ms; /* when the runner last renewed the lease */
};

struct lm_mailbox *lm_mailbox_new(void);
void lm_mailbox_let_go(struct lm_mailbox *self);

/* Asks the journal, on any connection. */
bool lm_mailbox_poll(struct lm_mailbox *self, struct lm_journal *journal,
                     int64_t run_id, struct lm_err *err) LM_MUSTCHECK;
/* Has nobody asked for so long that the runner should? */
bool lm_mailbox_is_poll_due(struct lm_mailbox *self);
/* Something may have been missed: whoever polls in turn does so next. */
void lm_mailbox_poll_soon(struct lm_mailbox *self);
/* Its content, to be freed. */
struct lm_request *lm_mailbox_empty(struct lm_mailbox *self, int *count);
/* How many of the first entries belong to one request: one with several
 * settings comes as several of one number. */
int lm_requests_of_one(const struct lm_request *requests, int count);

/* Before each step, and when the lease was renewed. */
void lm_mailbox_set_lease(struct lm_mailbox *self,
                          const struct lm_lease *lease);
/* For the monitor: looks for requests to the run, and keeps the lease of a
 * batch that takes long. */
struct lm_monitor_hooks lm_mailbox_hooks(struct lm_mailbox *self,
                                         const struct lm_journal *journal,
                                         int64_t run_id);

#endif
