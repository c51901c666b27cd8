/* SPDX-License-Identifier: MIT */

#include "cli/options.h"

#include "base/log.h"
#include "base/text.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { MOST = 32, FIRST_CODE = 256 /* of the first option, above letters */ };

bool
lm_option_has_value(const struct lm_option *option)
{
    return option->kind != LM_OPTION_FLAG && option->kind != LM_OPTION_LEVEL;
}

bool
lm_cli_take_number(const struct lm_command *command, const char *name,
                   const char *text, int64_t least, int64_t *out)
{
    if (lm_cli_number(text, least, out))
        return true;
    lm_cli_usage(command,
                 "%s takes a number that is at least %" PRId64 ", not \"%s\"",
                 name, least, text);
    return false;
}

static bool
take_log(const struct lm_command *command, const char *format)
{
    bool is_json = strcmp(format, "json") == 0;

    if (is_json || strcmp(format, "plain") == 0) {
        lm_log_set_format(is_json ? LM_LOG_JSON : LM_LOG_PLAIN);
        return true;
    }
    lm_cli_usage(command, "--log takes plain or json, not \"%s\"", format);
    return false;
}

/* getopt's words for the table; returns how many options there are. */
static size_t
translate(const struct lm_option *table, struct option *options, char *letters)
{
    size_t count = 0;

    *letters++ = ':';
    for (; count + 1 < MOST && table[count].name != NULL; count++) {
        const struct lm_option *option = &table[count];

        options[count] = (struct option){
            option->name,
            lm_option_has_value(option) ? required_argument : no_argument, NULL,
            FIRST_CODE + (int)count};
        if (option->letter != 0)
            *letters++ = option->letter;
    }
    return count;
}

/* Prints the error that getopt found. */
static void
say(const struct lm_command *command, int code, const char *given, size_t count)
{
    const char *names[MOST];
    int nearest;

    for (size_t i = 0; i < count; i++)
        names[i] = command->options[i].name;
    nearest = lm_text_nearest(given + strspn(given, "-"), names, count);
    if (code == ':') {
        lm_cli_usage(command, "option \"%s\" needs a value", given);
    } else if (optopt != 0 && strncmp(given, "--", 2) == 0) {
        lm_cli_usage(command, "option \"%s\" takes no value", given);
    } else if (nearest >= 0) {
        lm_cli_usage(command, "unknown option \"%s\"; did you mean \"--%s\"?",
                     given, names[nearest]);
    } else {
        lm_cli_usage(command, "unknown option \"%s\"", given);
    }
}

static bool
take(const struct lm_command *command, const struct lm_option *option,
     char *value, void *at)
{
    char name[64];

    switch (option->kind) {
    case LM_OPTION_FLAG:
        *(bool *)at = true;
        break;
    case LM_OPTION_TEXT:
        *(const char **)at = value;
        break;
    case LM_OPTION_ONCE:
        if (*(const char **)at != NULL) {
            lm_cli_usage(command, "--%s is given twice", option->name);
            return false;
        }
        *(const char **)at = value;
        break;
    case LM_OPTION_NUMBER:
        snprintf(name, sizeof name, "--%s", option->name);
        return lm_cli_take_number(command, name, value, option->number, at);
    case LM_OPTION_LEVEL:
        lm_log_set_level((enum lm_log_level)option->number);
        break;
    case LM_OPTION_LOG:
        return take_log(command, value);
    case LM_OPTION_CALL:
        option->take(at, value);
        break;
    }
    return true;
}

bool
lm_cli_parse(const struct lm_command *command, int argc, char **argv,
             void *into)
{
    const struct lm_option *table = command->options;
    struct option options[MOST] = {{NULL, 0, NULL, 0}};
    char letters[MOST + 2] = "";
    size_t count = translate(table, options, letters);
    int code;

    opterr = 0;
    while ((code = getopt_long(argc, argv, letters, options, NULL)) != -1) {
        size_t i = code < FIRST_CODE ? 0 : (size_t)(code - FIRST_CODE);

        while (code < FIRST_CODE && i < count && table[i].letter != code)
            i++;
        if (i == count) {
            say(command, code, argv[optind - 1], count);
            return false;
        }
        if (!take(command, &table[i], optarg, (char *)into + table[i].at))
            return false;
    }
    return true;
}
