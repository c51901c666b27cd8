/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_ASIDE_H
#define LM_BASE_ASIDE_H

/*
 * Runs calls that may block for long, such as libpq's connect, in a short-
 * lived thread. The caller waits for the call only as long as it wants.
 *
 * These threads block all signals, so that handlers run on the main thread.
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum lm_aside_end {
    LM_ASIDE_DONE,
    LM_ASIDE_STOPPED, /* lm_stop_level has reached the level given */
    LM_ASIDE_LATE     /* the limit has passed */
};

/*
 * Runs work(arg) in a thread. LM_ASIDE_DONE: it has returned, and arg belongs
 * to the caller again. Otherwise the thread continues, the caller must not
 * touch arg, and discard(arg) frees it when work has returned.
 *
 * limit_ms 0: no limit. stop_level 0: signals do not end the wait; only a
 * thread that has entered (base/stop.h) may pass another level.
 */
enum lm_aside_end lm_aside_run(void (*work)(void *arg),
                               void (*discard)(void *arg), void *arg,
                               int64_t limit_ms, int stop_level);

/* Starts a thread that blocks all signals, with a stack as large as that of the
 * main thread usually is: the SQL parser may need half of it. */
bool lm_aside_start(pthread_t *thread, void *(*work)(void *arg), void *arg);

#endif
