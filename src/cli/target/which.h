/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_TARGET_WHICH_H
#define LM_CLI_TARGET_WHICH_H

/* Finds the script that a word of the command line means. All commands that
 * look for runs use this, so a run is found by every path and every short name
 * of its script, from every folder. */

#include "cli/target/project.h"
#include "core/journal/status.h"

struct lm_which {
    char *file;   /* the script as "luamig run" would open it; NULL: no file */
    char *source; /* its text; NULL likewise */
    char *path;   /* absolute, without links; NULL likewise */
    char *typed;  /* absolute, as it was written; NULL likewise */
    char *inside; /* relative to its project; NULL: in none that is marked */
    /* names that the journal may have for it, the likeliest first; also for a
     * script whose file is gone */
    char **names;
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
