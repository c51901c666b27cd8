/* SPDX-License-Identifier: MIT */
/*
 * Fills struct lm_err. Texts are bounded; what is too long is cut at the end,
 * never in the middle of a UTF-8 character.
 */

#include "base/err.h"

#include <stdio.h>
#include <string.h>

void
lm_err_copy(char *field, size_t size, const char *text, size_t len)
{
    if (len < size) {
        memcpy(field, text, len);
        field[len] = '\0';
        return;
    }
    len = size - sizeof "...";
    while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80)
        len--;
    memcpy(field, text, len);
    memcpy(field + len, "...", sizeof "...");
}

static void format_into(char *field, size_t size, const char *format,
                        va_list args) __attribute__((format(printf, 3, 0)));

static void
format_into(char *field, size_t size, const char *format, va_list args)
{
    char text[8192];
    int len = vsnprintf(text, sizeof text, format, args);

    if (len < 0)
        len = 0;
    if ((size_t)len >= sizeof text)
        len = (int)sizeof text - 1;
    lm_err_copy(field, size, text, (size_t)len);
}

bool
lm_err_set(struct lm_err *err, enum lm_err_kind kind, const char *format, ...)
{
    char message[sizeof err->message];
    va_list args;

    /* The arguments may point into the error itself. */
    va_start(args, format);
    format_into(message, sizeof message, format, args);
    va_end(args);
    memset(err, 0, sizeof *err);
    err->kind = kind;
    memcpy(err->message, message, sizeof message);
    return false;
}

bool
lm_err_detail(struct lm_err *err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    format_into(err->detail, sizeof err->detail, format, args);
    va_end(args);
    return false;
}

bool
lm_err_hint(struct lm_err *err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    format_into(err->hint, sizeof err->hint, format, args);
    va_end(args);
    return false;
}

bool
lm_err_prefix(struct lm_err *err, const char *format, ...)
{
    char prefix[sizeof err->message];
    char text[2 * sizeof err->message + 4];
    va_list args;
    int len;

    va_start(args, format);
    format_into(prefix, sizeof prefix, format, args);
    va_end(args);
    len = snprintf(text, sizeof text, "%s: %s", prefix, err->message);
    lm_err_copy(err->message, sizeof err->message, text, (size_t)len);
    return false;
}

bool
lm_err_is_state(const struct lm_err *err, const char *state)
{
    return strncmp(err->sqlstate, state, strlen(state)) == 0;
}

enum lm_exit
lm_err_exit_code(enum lm_err_kind kind)
{
    static const enum lm_exit codes[] = {[LM_ERR_USAGE] = LM_EXIT_USAGE,
                                         [LM_ERR_SCRIPT] = LM_EXIT_SCRIPT,
                                         [LM_ERR_CONNECT] = LM_EXIT_DATABASE,
                                         [LM_ERR_LOST] = LM_EXIT_DATABASE,
                                         [LM_ERR_BUSY] = LM_EXIT_BUSY,
                                         [LM_ERR_FENCED] = LM_EXIT_BUSY,
                                         [LM_ERR_INTERRUPT] = LM_EXIT_STOPPED,
                                         [LM_ERR_CANCELLED] = LM_EXIT_CANCELLED,
                                         [LM_ERR_INTERNAL] = LM_EXIT_INTERNAL};

    return codes[kind] != LM_EXIT_DONE ? codes[kind] : LM_EXIT_FAILED;
}
