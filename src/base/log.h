/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_LOG_H
#define LM_BASE_LOG_H

/*
 * What luamig tells people, on stderr, a line a step:
 *
 *     luamig: running scripts/onboarding.lua as run 7
 *     luamig: warning: ...
 *     luamig: error: ...
 *
 * A progress line on a terminal is drawn by the sink below: log lines clear
 * it first and it is drawn again after them. Write errors are ignored: a
 * closed terminal must not harm a run.
 */

#include "base/err.h"

enum lm_log_level { LM_LOG_ERROR, LM_LOG_WARNING, LM_LOG_INFO, LM_LOG_DEBUG };

/* Messages above this level are dropped. Default: LM_LOG_INFO. */
void lm_log_set_level(enum lm_log_level level);
bool lm_log_enabled(enum lm_log_level level);

void lm_log(enum lm_log_level level, const char *format, ...) LM_PRINTF(2, 3);

/* Prints every part of an error that is set. */
void lm_log_err(enum lm_log_level level, const struct lm_err *err);

/* Is stderr a terminal, and may it be coloured (NO_COLOR, TERM=dumb)? */
bool lm_log_is_terminal(void);
bool lm_log_may_colour(void);

/* Draws text as the terminal's last line, over the one before; NULL or ""
 * takes the line away. Does nothing when stderr is not a terminal. */
void lm_log_status(const char *text);

#endif
