/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_OPTIONS_H
#define LM_CLI_OPTIONS_H

/*
 * The options of a command, as a table: which there are, and where in the
 * command's struct the value of each belongs.
 */

#include "cli/cli.h"

#include <stddef.h>

enum lm_option_kind {
    LM_OPTION_FLAG,   /* without a value; sets a bool */
    LM_OPTION_TEXT,   /* const char *, in argv */
    LM_OPTION_ONCE,   /* the same, and refused a second time */
    LM_OPTION_NUMBER, /* int64_t */
    LM_OPTION_LEVEL,  /* without a value; sets the level of the log */
    LM_OPTION_LOG,    /* sets the format of the log */
    LM_OPTION_CALL    /* calls take with the value */
};

struct lm_option {
    const char *name; /* without "--"; NULL ends the table */
    enum lm_option_kind kind;
    char letter;    /* the short form; 0: none */
    size_t at;      /* offset of the field that it sets, or that take gets */
    int64_t number; /* the least of a number; enum lm_log_level */
    void (*take)(void *at, char *value);
};

/* Lines of a table; values go to a field of a struct, or to an offset in it. */
/* clang-format off */
#define LM_FLAG(option, type, field) \
    {.name = (option), .kind = LM_OPTION_FLAG, .at = offsetof(type, field)}
#define LM_TEXT(option, type, field) \
    {.name = (option), .kind = LM_OPTION_TEXT, .at = offsetof(type, field)}
#define LM_ONCE(option, type, field) \
    {.name = (option), .kind = LM_OPTION_ONCE, .at = offsetof(type, field)}
#define LM_NUMBER(option, type, field, least)    \
    {.name = (option), .kind = LM_OPTION_NUMBER, \
     .at = offsetof(type, field), .number = (least)}
#define LM_LEVEL(option, short_form, level)                 \
    {.name = (option), .kind = LM_OPTION_LEVEL,             \
     .letter = (short_form), .number = (level)}
#define LM_CALL(option, offset, function)                   \
    {.name = (option), .kind = LM_OPTION_CALL,              \
     .at = (offset), .take = (function)}
#define LM_LOG_FORMAT {.name = "log", .kind = LM_OPTION_LOG}
#define LM_NO_MORE {.name = NULL}
/* clang-format on */

bool lm_option_has_value(const struct lm_option *option);

/* Reads the options into a struct. The other arguments begin at optind. False,
 * with an error printed, if an option is wrong. */
bool lm_cli_parse(const struct lm_command *command, int argc, char **argv,
                  void *into) LM_MUSTCHECK;

/* Reads a number for the option `name`; false, with an error printed, if it is
 * not one. */
bool lm_cli_take_number(const struct lm_command *command, const char *name,
                        const char *text, int64_t least,
                        int64_t *out) LM_MUSTCHECK;

#endif
