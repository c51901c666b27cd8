/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_LOG_H
#define LM_BASE_LOG_H

/*
 * luamig's log on stderr, one line a message:
 *
 *     luamig: running scripts/onboarding.lua as run 7
 *     luamig: warning: ...
 *     luamig: error: ...
 *
 * or, for machines, one JSON object a line. A progress line on a terminal is
 * also drawn here: a log line removes it first and draws it again below. Write
 * errors are ignored: a closed terminal or a full disk must not stop a run.
 *
 * Make the settings while there is one thread. All other functions may be
 * called from any thread, and lines do not mix.
 */

#include "base/err.h"

enum lm_log_level { LM_LOG_ERROR, LM_LOG_WARNING, LM_LOG_INFO, LM_LOG_DEBUG };
enum lm_log_format { LM_LOG_PLAIN, LM_LOG_JSON };

/* Messages above this level are dropped. Default: LM_LOG_INFO. */
void lm_log_set_level(enum lm_log_level level);
bool lm_log_enabled(enum lm_log_level level);
/* Default: LM_LOG_PLAIN. */
void lm_log_set_format(enum lm_log_format format);
bool lm_log_is_json(void);
/* With true, plain lines carry the time, for logs that are read later:
 * "luamig: 2026-01-01 11:42:10.123Z run 7 of ...". */
void lm_log_set_times(bool times);

void lm_log(enum lm_log_level level, const char *format, ...) LM_PRINTF(2, 3);

/* Prints every part of an error that is set. */
void lm_log_err(enum lm_log_level level, const struct lm_err *err);

/* A message with fields for machines (base/record.h), which plain lines leave
 * out. text may be NULL: then it is for machines only. */
void lm_log_event(enum lm_log_level level, const char *text,
                  const struct lm_buf *fields);

/* Is it a terminal on which colours are allowed (NO_COLOR, TERM=dumb)? */
bool lm_log_may_colour(int fd);

/* Is there a progress line: on a terminal, plain format, and not quiet? */
bool lm_log_has_status(void);
/* Draws text as the progress line, over the old one, cut to the terminal's
 * width; NULL or "" removes the line. Does nothing if there is no progress
 * line. */
void lm_log_status(const char *text);

#endif
