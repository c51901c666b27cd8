/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_COMMANDS_DETACH_H
#define LM_CLI_COMMANDS_DETACH_H

/* "luamig run --detach": the run continues in a process of its own, without a
 * terminal, and writes to a log file. The command returns when the run has
 * begun, or with the exit code of a run that ended before. */

#include "base/err.h"

struct lm_detach {
    int words; /* the child's way to tell the parent */
    char *log_path;
};

/*
 * Forks; call it before there are threads or connections. True in the child,
 * whose output then goes to the log file. False in the parent, when the
 * child's run has begun or the child has ended, and on failure: *code is then
 * the exit code.
 */
bool lm_detach_begin(struct lm_detach *self, const char *script, int *code);
/* In the child: tells the parent once that the run has begun. Does nothing
 * without lm_detach_begin. */
void lm_detach_under_way(void *detach, int64_t run_id);
void lm_detach_release(struct lm_detach *self);

#endif
