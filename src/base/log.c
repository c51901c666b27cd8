/* SPDX-License-Identifier: MIT */
/*
 * The log: levels, colours, and the one status line at the bottom of a
 * terminal. The level and the status text are the only state; both belong to
 * the process, because stderr does.
 */

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum lm_log_level max_level = LM_LOG_INFO;
static char status_line[512];

void
lm_log_set_level(enum lm_log_level level)
{
    max_level = level;
}

bool
lm_log_enabled(enum lm_log_level level)
{
    return level <= max_level;
}

bool
lm_log_is_terminal(void)
{
    return isatty(STDERR_FILENO) == 1;
}

bool
lm_log_may_colour(void)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");

    return lm_log_is_terminal() && (no_color == NULL || *no_color == '\0') &&
           (term == NULL || strcmp(term, "dumb") != 0);
}

static void
write_bytes(const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t done = write(STDERR_FILENO, bytes, len);

        if (done <= 0)
            return;
        bytes += done;
        len -= (size_t)done;
    }
}

static void
add_status(struct lm_buf *buf)
{
    lm_buf_puts(buf, "\r\033[K");
    lm_buf_puts(buf, status_line);
}

/* Further lines begin below the first, so that carets point where they should.
 */
static void
add_text(struct lm_buf *buf, const char *text, size_t indent)
{
    for (; *text != '\0'; text++) {
        lm_buf_putc(buf, *text);
        if (*text == '\n')
            lm_buf_printf(buf, "luamig: %*s", (int)indent, "");
    }
}

/* One write a message, so that those of several processes do not mix. */
static void
write_line(const char *label, const char *colour, const char *text)
{
    struct lm_buf buf = LM_BUF_INIT;
    bool coloured = *label != '\0' && lm_log_may_colour();

    if (status_line[0] != '\0')
        lm_buf_puts(&buf, "\r\033[K");
    lm_buf_puts(&buf, "luamig: ");
    if (coloured)
        lm_buf_puts(&buf, colour);
    lm_buf_puts(&buf, label);
    if (coloured)
        lm_buf_puts(&buf, "\033[0m");
    add_text(&buf, text, strlen(label));
    lm_buf_putc(&buf, '\n');
    if (status_line[0] != '\0')
        add_status(&buf);
    write_bytes(buf.data, buf.len);
    lm_buf_release(&buf);
}

static const char *
level_label(enum lm_log_level level)
{
    switch (level) {
    case LM_LOG_ERROR:
        return "error: ";
    case LM_LOG_WARNING:
        return "warning: ";
    case LM_LOG_DEBUG:
        return "debug: ";
    case LM_LOG_INFO:
        break;
    }
    return "";
}

static void
write_level(enum lm_log_level level, const char *text)
{
    const char *colour = level == LM_LOG_ERROR ? "\033[1;31m" : "\033[1;33m";

    write_line(level_label(level), colour, text);
}

void
lm_log(enum lm_log_level level, const char *format, ...)
{
    char text[4096];
    va_list args;

    if (!lm_log_enabled(level))
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    write_level(level, text);
}

static void
write_part(const char *label, const char *text)
{
    if (*text != '\0')
        write_line(label, "\033[1m", text);
}

void
lm_log_err(enum lm_log_level level, const struct lm_err *err)
{
    char text[sizeof err->message + 32];

    if (!lm_log_enabled(level))
        return;
    if (err->sqlstate[0] != '\0') {
        snprintf(text, sizeof text, "%s (SQLSTATE %s)", err->message,
                 err->sqlstate);
    } else {
        snprintf(text, sizeof text, "%s", err->message);
    }
    write_level(level, text);
    write_part("detail: ", err->detail);
    write_part("constraint: ", err->constraint);
    write_part("at: ", err->where);
    write_part("in: ", err->batch);
    write_part("statement: ", err->sql);
    write_part("hint: ", err->hint);
    write_part("", err->traceback);
}

void
lm_log_status(const char *text)
{
    struct lm_buf buf = LM_BUF_INIT;

    if (!lm_log_is_terminal() || !lm_log_enabled(LM_LOG_INFO))
        return;
    snprintf(status_line, sizeof status_line, "%s", text != NULL ? text : "");
    add_status(&buf);
    write_bytes(buf.data, buf.len);
    lm_buf_release(&buf);
}
