/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_ASIDE_H
#define LM_BASE_ASIDE_H

/*
 * Calls that block for longer than a signal may wait, such as libpq's when it
 * connects: they run in a short-lived thread aside, and the caller waits for
 * them only as long as it likes.
 *
 * Such threads block all signals, so that handlers run on the main thread.
 */

#include <stdint.h>

enum lm_aside_end {
    LM_ASIDE_DONE,
    LM_ASIDE_STOPPED, /* lm_stop_level has reached the level given */
    LM_ASIDE_LATE     /* the limit has passed */
};

/*
 * Runs work(arg) aside. LM_ASIDE_DONE: it has returned, and arg is the
 * caller's again. Otherwise the thread goes on, nobody may touch arg, and
 * discard(arg) frees it when work has returned.
 *
 * limit_ms 0: no limit. stop_level 0: signals do not matter; only the main
 * thread may give another one.
 */
enum lm_aside_end lm_aside_run(void (*work)(void *arg),
                               void (*discard)(void *arg), void *arg,
                               int64_t limit_ms, int stop_level);

#endif
