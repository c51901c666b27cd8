/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_COMMANDS_DETACH_H
#define LM_CLI_COMMANDS_DETACH_H

/*
 * "luamig run --detach": the run goes on in a process of its own, without a
 * terminal, and writes to a log file. The command returns once the run is
 * under way, or with the exit code of one that ended before.
 */

#include "base/err.h"

struct lm_detach {
    int words; /* the child's way to tell the parent */
    char *log_path;
};

/* Forks; before threads and connections. True in the child, whose output goes
 * to the log file from then on. False in the parent, once the child is under
 * way or gone, and on failure: *code is then the exit code. */
bool lm_detach_begin(struct lm_detach *self, const char *script, int *code);
/* In the child: tells the parent, once. Nothing without lm_detach_begin. */
void lm_detach_under_way(struct lm_detach *self, int64_t run_id);
void lm_detach_release(struct lm_detach *self);

#endif
