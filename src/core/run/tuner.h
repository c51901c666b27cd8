/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_TUNER_H
#define LM_CORE_RUN_TUNER_H

/*
 * Finds how many workers are worth having (--workers auto). It gets measured
 * windows, and says how many workers the next window has. It has no clock and
 * no database.
 *
 * A trial compares two numbers of workers in three windows: with the number
 * that it keeps, with the other number, and with the first one again. If nothing
 * stands in the way, one more worker than n brings 1/n of the throughput. An
 * added worker is worth it if it brings 0.2 of that, and if the gain is more
 * than two standard errors.
 *
 * The numbers go 1, 2, 4, 8, 16 while that is worth it, then between. Where one
 * brings something, but too little, the next is tried once all the same. At the
 * end it looks for a smaller number that does as much. Later it tries one
 * worker more and one fewer, in turn, and ever less often.
 */

#include <stdbool.h>

enum { LM_TUNER_SLICES = 10 };

/* What was measured with one number of workers: work a second, and the standard
 * error of that. */
struct lm_tuner_window {
    double rate;
    double error;
};

/* A window is made of slices. The first ones are left out: workers begin and
 * end in them. */
struct lm_tuner_slices {
    int skipped;
    int count;
    double rates[LM_TUNER_SLICES];
};
/* True: the window is complete, and the next one begins. */
bool lm_tuner_add_slice(struct lm_tuner_slices *self, double rate,
                        struct lm_tuner_window *window);

enum lm_tuner_phase {
    LM_TUNER_BEFORE, /* the window has the number that is kept */
    LM_TUNER_OTHER,
    LM_TUNER_AGAIN
};

struct lm_tuner {
    int most; /* never more than so many workers */
    int kept;
    int less;   /* fewer than kept, and kept is worth it over them; 0: none */
    int more;   /* more than kept, and not worth it; 0: none is known */
    int far;    /* the next to try, beyond that one; 0: none */
    int tried;  /* the other number of the trial */
    bool probe; /* the trial is one of those that come later */
    bool down;  /* the next of them tries fewer */
    int rest;   /* windows before the next trial */
    int next_rest;
    /* trials of this number so far, the sum of their gains, and the sum of the
     * squares of their errors */
    int trials;
    double gains;
    double squares;
    enum lm_tuner_phase phase;
    struct lm_tuner_window before;
    struct lm_tuner_window other;
};

/* What a trial has shown. */
struct lm_tuner_verdict {
    int from; /* the number that was kept */
    int to;   /* the number that was tried */
    bool changed;
    double times; /* the rate with `to`, as a multiple of that with `from` */
};

/* Begins with so many workers. */
void lm_tuner_begin(struct lm_tuner *self, int workers, int most);
void lm_tuner_set_most(struct lm_tuner *self, int most);
/* How many workers there should be now. */
int lm_tuner_workers(const struct lm_tuner *self);
/* A window was measured with that number. True: a trial has ended. */
bool lm_tuner_take(struct lm_tuner *self, const struct lm_tuner_window *window,
                   struct lm_tuner_verdict *verdict);
/* There cannot be so many workers now: more than are kept count as not worth
 * it. A trial of fewer is made again. */
void lm_tuner_refuse(struct lm_tuner *self);
/* Something else has disturbed the trial: makes it again. */
void lm_tuner_repeat(struct lm_tuner *self);

#endif
