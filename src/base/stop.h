/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_STOP_H
#define LM_BASE_STOP_H

/*
 * What the user asked for by signals, and the sleep of threads.
 *
 * The first SIGINT or SIGTERM asks the run to finish the batch and stop, the
 * second to interrupt the batch. The third ends the process by the signal's
 * default action. Nothing is lost, because the server rolls back. A SIGHUP of
 * a closed terminal counts at most as the first signal, because it may come
 * twice. The handler counts, and wakes each thread that has entered; other code
 * polls. Only a thread that computes without an end is interrupted: the handler
 * of lm_stop_on_interrupt runs in it.
 *
 * Signals go to the main thread, as all others block them (base/aside.h) but for
 * one of luamig's own, SIGUSR2. A thread that waits enters first, so that it has
 * a descriptor of its own: what one thread reads wakes no other. All functions
 * may be called by any thread.
 */

#include <stdbool.h>
#include <stdint.h>

enum { LM_STOP_MOST_THREADS = 80 };

/* Installs the handlers, and enters; SIGPIPE is ignored, and so is SIGHUP if
 * it was (nohup). Once a process, by the main thread. */
void lm_stop_install(void);

/* Around the life of another thread that waits. False if the thread has no
 * place: too many have entered, or the process has no descriptor left. */
bool lm_stop_enter(void);
void lm_stop_leave(void);

/* 0: continue, 1: stop after the batch, 2: interrupt at once. */
int lm_stop_level(void);

/* Is it 2? Does not count as asking for the level, see lm_stop_sleep_ms. */
bool lm_stop_interrupts(void);

/* When the level becomes 2, the function is called in each thread that has
 * entered, as the handler of a signal. One function a process. */
void lm_stop_on_interrupt(void (*function)(void));

/* Name of the last signal ("SIGINT"), or "" when there was none. */
const char *lm_stop_signal(void);

/* Asks to interrupt at once, as a second signal does. */
void lm_stop_interrupt(void);

/* A descriptor of the calling thread, for poll(). It becomes readable with each
 * signal, lm_stop_interrupt and lm_stop_wake, perhaps without any reason; -1
 * if the thread has not entered. lm_stop_drain empties it. */
int lm_stop_fd(void);
void lm_stop_drain(void);

/* Sleeps, at most until a signal comes. False after a signal; also after one
 * that came since the thread asked for the level. */
bool lm_stop_sleep_ms(int64_t duration_ms);

/* lm_stop_wake makes lm_stop_wait_ms return in each thread that has entered;
 * in a thread that does not wait, the next call returns at once. So a thread
 * that changes what others look at, and then wakes them, is never missed. */
void lm_stop_wake(void);
/* Sleeps as lm_stop_sleep_ms, and until it is woken: then true, as at the end
 * of the time. For loops that look at the clock. */
bool lm_stop_wait_ms(int64_t duration_ms);

#endif
