/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_TARGET_ARGS_H
#define LM_CLI_TARGET_ARGS_H

/*
 * The arguments of a script on the command line. Secret arguments come from a
 * file, standard input or a variable, so neither the process list nor the
 * journal has their values. They are read once, at the start; a detached run
 * has them only in memory.
 */

#include "cli/options.h"
#include "script/script.h"

/* Of a struct with a struct lm_args at an offset. */
/* clang-format off */
#define LM_ARGS_OPTIONS(offset)                        \
    LM_CALL("arg", offset, lm_args_take),              \
    LM_CALL("arg-env", offset, lm_args_take_variable), \
    LM_CALL("arg-file", offset, lm_args_take_file)
/* clang-format on */
#define LM_ARGS_HELP                                                           \
    "  --arg NAME=VALUE      value of an argument that the script declares;\n" \
    "                        repeatable\n"                                     \
    "  --arg-env NAME=VARIABLE\n"                                              \
    "                        value of a secret argument, from an "             \
    "environment\n"                                                            \
    "                        variable; repeatable\n"                           \
    "  --arg-file NAME=PATH  value of a secret argument, from a file; \"-\" "  \
    "is\n"                                                                     \
    "                        standard input; repeatable\n"

struct lm_args {
    char **texts; /* "name=value" each, those of secrets last; owned */
    int count;
    int secret_count;
    struct lm_args_source {
        bool is_variable;
        const char *text; /* "name=variable" or "name=path" */
    } * sources;
    int source_count;
};

/* Zero is empty. */
void lm_args_release(struct lm_args *self);

/* Take the value of an option. */
void lm_args_take(void *args, char *text);
void lm_args_take_variable(void *args, char *text);
void lm_args_take_file(void *args, char *text);

/* Reads the secrets, once. From then on they are masked (base/secret.h).
 * LM_ERR_USAGE. */
bool lm_args_read(struct lm_args *self, struct lm_err *err) LM_MUSTCHECK;

/* Sets the arguments in the options of a script; self keeps the texts. */
void lm_args_give(const struct lm_args *self, struct lm_script_options *out);

#endif
