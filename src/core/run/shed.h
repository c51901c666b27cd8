/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_SHED_H
#define LM_CORE_RUN_SHED_H

/*
 * When a run should have fewer workers than it was given: because the server's
 * health gets worse, or because the workers get in each other's way. Without a
 * clock or a database. Workers go quickly and come back one at a time.
 */

#include <stdbool.h>
#include <stdint.h>

/* most: not more workers than so many; 0: no limit. `of` below is how many there
 * would be otherwise. Begin with zeros. */

struct lm_shed_health {
    int most;
    int calm; /* checks in a row without pressure */
};
/* After each check of the server's health. pressed: a signal is above half of
 * its threshold. */
void lm_shed_note_health(struct lm_shed_health *self, bool pressed, int of);

struct lm_shed_conflicts {
    int most;
    int64_t batches; /* the counters when the window began */
    int64_t conflicts;
    int64_t wait_ms;  /* before another worker comes back */
    int64_t until_ms; /* nothing changes before */
    bool grew;        /* the last change was one worker more */
};
enum lm_shed_change {
    LM_SHED_SAME,
    LM_SHED_FEWER,
    LM_SHED_MORE,
    LM_SHED_LAST /* the only worker has as many conflicts */
};
/* batches and conflicts: how many there were so far; of conflicts, each
 * attempt of a batch that failed by one. */
enum lm_shed_change lm_shed_note_conflicts(struct lm_shed_conflicts *self,
                                           int64_t batches, int64_t conflicts,
                                           int of, int64_t now_ms);
/* Others are to blame, and fewer workers do not help: takes the limit away for
 * some time. */
void lm_shed_blame_others(struct lm_shed_conflicts *self, int64_t now_ms);

#endif
