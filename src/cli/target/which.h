/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_TARGET_WHICH_H
#define LM_CLI_TARGET_WHICH_H

/*
 * Which script does a word of the command line mean? All commands that look
 * for runs ask here, so that a run is found by every path and every short name
 * by which its script can be run, from everywhere.
 */

#include "cli/target/project.h"
#include "core/journal/status.h"

struct lm_which {
    char *file;   /* the script as "luamig run" would open it; NULL: no file */
    char *source; /* its text; NULL likewise */
    char *path;   /* absolute, without links; NULL likewise */
    char *typed;  /* absolute, as it was written; NULL likewise */
    char *inside; /* relative to its project; NULL: in none that is marked */
    char **names; /* what the journal may call it, the likeliest first: also
                   * what it would call a script that is gone */
    int count;
};

void lm_which_find(struct lm_which *self, struct lm_project *project,
                   const char *word);
void lm_which_release(struct lm_which *self);

/* The runs of it that the journal has. */
bool lm_which_ask(const struct lm_which *self, struct lm_conn *conn,
                  const char *schema, struct lm_status_script *out,
                  struct lm_err *err) LM_MUSTCHECK;

#endif
