/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_STOP_H
#define LM_BASE_STOP_H

/*
 * What the user asked for by signals.
 *
 * The first SIGINT or SIGTERM asks the run to finish the batch and stop, the
 * second to interrupt the batch. The third ends the process by the signal's
 * default action. Nothing is lost, because the server rolls back. A SIGHUP of
 * a closed terminal counts at most as the first signal, because it may come
 * twice. The handler only counts, and writes a byte into a pipe; all other
 * code polls.
 */

#include <stdbool.h>
#include <stdint.h>

/* Installs the handlers; SIGPIPE is ignored, and so is SIGHUP if it was
 * (nohup). Once a process. */
void lm_stop_install(void);

/* 0: continue, 1: stop after the batch, 2: interrupt at once. Any thread may
 * call this; the other functions are for the main thread. */
int lm_stop_level(void);

/* Name of the last signal ("SIGINT"), or "" when there was none. */
const char *lm_stop_signal(void);

/* Asks to interrupt at once, as a second signal does; from any thread. */
void lm_stop_interrupt(void);

/* A descriptor that becomes readable with each signal, for poll(); -1 before
 * lm_stop_install. lm_stop_drain empties it. */
int lm_stop_fd(void);
void lm_stop_drain(void);

/* Sleeps, at most until a signal comes. False when it was cut short. */
bool lm_stop_sleep_ms(int64_t duration_ms);

#endif
