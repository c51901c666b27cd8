/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_CLI_H
#define LM_CLI_CLI_H

/*
 * The command line: one table of commands, one file a command.
 *
 * A command gets argv with its own name first and returns the exit code.
 * Results go to stdout, everything else through the log to stderr.
 */

#include "base/err.h"

#include <stdint.h>

struct lm_option; /* cli/options.h */

struct lm_command {
    const char *name;
    const char *summary; /* one line for "luamig help" */
    const char *help;    /* the whole text of "luamig help NAME" */
    int (*run)(int argc, char **argv);
    const struct lm_option *options; /* all that it takes; NULL: none */
    /* words that its argument may be, separated by spaces; NULL: a file */
    const char *words;
};

/* All commands, in the order of "luamig help". */
extern const struct lm_command *const lm_commands[];
extern const size_t lm_command_count;
const struct lm_command *lm_command_find(const char *name);

extern const struct lm_command lm_cmd_cancel;
extern const struct lm_command lm_cmd_check;
extern const struct lm_command lm_cmd_completion;
extern const struct lm_command lm_cmd_db;
extern const struct lm_command lm_cmd_failures;
extern const struct lm_command lm_cmd_help;
extern const struct lm_command lm_cmd_init;
extern const struct lm_command lm_cmd_journal;
extern const struct lm_command lm_cmd_lua;
extern const struct lm_command lm_cmd_lua_path;
extern const struct lm_command lm_cmd_new;
extern const struct lm_command lm_cmd_pause;
extern const struct lm_command lm_cmd_resume;
extern const struct lm_command lm_cmd_run;
extern const struct lm_command lm_cmd_schema;
extern const struct lm_command lm_cmd_set;
extern const struct lm_command lm_cmd_status;
extern const struct lm_command lm_cmd_test;
extern const struct lm_command lm_cmd_types;
extern const struct lm_command lm_cmd_version;
extern const struct lm_command lm_cmd_wait;
extern const struct lm_command lm_cmd_watch;

/* The whole program. */
int lm_cli_main(int argc, char **argv);

/* Prints an error and gives the exit code that belongs to its kind. */
int lm_cli_fail(const struct lm_err *err);
/* Prints an error of the command line, and which help to read. */
int lm_cli_usage(const struct lm_command *command, const char *format, ...)
    LM_PRINTF(2, 3);
/* Prints a command's help to stdout. */
int lm_cli_help(const struct lm_command *command);
/* Flushes stdout. An error if not everything could be written. */
int lm_cli_finish_output(int code);

/* Reads a decimal number that is at least min; false when it is not one. */
bool lm_cli_number(const char *text, int64_t min, int64_t *out) LM_MUSTCHECK;

#endif
