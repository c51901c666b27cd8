/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_TARGET_LOOK_H
#define LM_CLI_TARGET_LOOK_H

/* What the commands that read the journal share: options, the connection, and
 * the run that the command names. */

#include "cli/target/database.h"
#include "cli/target/which.h"
#include "core/journal/status.h"

struct lm_look {
    struct lm_database_choice choice;
    const char *schema; /* unquoted */
    struct lm_project project;
    struct lm_database database;
    struct lm_conn *conn;
    struct lm_which which; /* what lm_look_runs was asked for */
    struct lm_status_script script;
};

/* Of a struct with a struct lm_look at an offset. */
/* clang-format off */
#define LM_LOOK_OPTIONS(offset)                                       \
    LM_DATABASE_OPTIONS((offset) + offsetof(struct lm_look, choice)), \
    {.name = "journal-schema", .kind = LM_OPTION_TEXT,                \
     .at = (offset) + offsetof(struct lm_look, schema)},              \
    LM_NO_MORE
/* clang-format on */
#define LM_LOOK_HELP \
    LM_DATABASE_HELP \
    "  --journal-schema NAME schema of luamig's tables (default: luamig)\n"
#define LM_LOOK_RUN \
    "RUN is a run's number, or its script, as \"luamig run\" takes it.\n"

void lm_look_init(struct lm_look *self);
void lm_look_release(struct lm_look *self);
/* lm_cli_parse for a command that takes one run: argv[optind]. */
bool lm_look_parse(const struct lm_command *command, int argc, char **argv,
                   void *into) LM_MUSTCHECK;
/* Connects, and says whether there is a journal. LM_ERR_FAILED if it has
 * another version. */
bool lm_look_open(struct lm_look *self, const struct lm_command *command,
                  bool *exists, struct lm_err *err) LM_MUSTCHECK;
/* Connects again, after the connection was lost. */
bool lm_look_again(struct lm_look *self, const struct lm_command *command,
                   struct lm_err *err) LM_MUSTCHECK;
/* Sets self->script: a number is a run's, anything else a script, by its path
 * or a short name. */
bool lm_look_runs(struct lm_look *self, const char *word,
                  struct lm_err *err) LM_MUSTCHECK;
/* Connects and finds the run. LM_ERR_FAILED when there is none. */
bool lm_look_find(struct lm_look *self, const struct lm_command *command,
                  const char *which, struct lm_status_run *run,
                  struct lm_err *err) LM_MUSTCHECK;

/* The path of the run's script, as short as possible; freed by the caller. If
 * the file that began the run still exists, it is that file: another file of
 * the same name is another script. */
char *lm_look_script(const struct lm_look *self,
                     const struct lm_status_run *run);

#endif
