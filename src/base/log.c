/* SPDX-License-Identifier: MIT */
/*
 * The log: levels, formats, colours, and the one status line at the bottom of a
 * terminal. The settings and the status text are the only state; they belong to
 * the process, because stderr does.
 */

#include "base/log.h"

#include "base/clock.h"
#include "base/record.h"
#include "base/show.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MAX_TEXT = 4096, PATIENCE_MS = 1000 };

static enum lm_log_level max_level = LM_LOG_INFO;
static enum lm_log_format log_format = LM_LOG_PLAIN;
static bool with_times;

/* Held while a message is written; what follows belongs to it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char status_line[512];
static bool line_is_torn; /* the end of the last message could not be written */

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

void
lm_log_set_format(enum lm_log_format format)
{
    log_format = format;
}

bool
lm_log_is_json(void)
{
    return log_format == LM_LOG_JSON;
}

void
lm_log_set_times(bool times)
{
    with_times = times;
}

/* -- the terminal ----------------------------------------------------- */

static bool
is_capable_terminal(int fd)
{
    const char *term = getenv("TERM");

    return isatty(fd) == 1 && (term == NULL || strcmp(term, "dumb") != 0);
}

bool
lm_log_may_colour(int fd)
{
    const char *no_color = getenv("NO_COLOR");

    return is_capable_terminal(fd) && (no_color == NULL || *no_color == '\0');
}

bool
lm_log_has_status(void)
{
    return !lm_log_is_json() && lm_log_enabled(LM_LOG_INFO) &&
           is_capable_terminal(STDERR_FILENO);
}

/* Columns of the terminal, 0 when it does not say. */
static size_t
terminal_width(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

/* Bytes of text that fit into a number of columns, one a character. */
static size_t
cut_to_width(const char *text, size_t columns)
{
    size_t at = 0;

    for (size_t used = 0; text[at] != '\0'; at++) {
        if (((unsigned char)text[at] & 0xC0) != 0x80 && used++ == columns)
            break;
    }
    return at;
}

static void
add_status(struct lm_buf *buf)
{
    size_t width = terminal_width();

    lm_buf_puts(buf, "\r\033[K");
    /* The last column would make some terminals begin a new line. */
    lm_buf_add(buf, status_line,
               width > 1 ? cut_to_width(status_line, width - 1)
                         : strlen(status_line));
}

/* -- writing ---------------------------------------------------------- */

/* Another program may have made stderr non-blocking: then waits for it, but
 * not for ever. */
static bool
may_go_on(void)
{
    struct pollfd ready = {STDERR_FILENO, POLLOUT, 0};

    if (errno == EINTR)
        return true;
    return errno == EAGAIN && poll(&ready, 1, PATIENCE_MS) > 0;
}

static void
write_bytes(const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t done = write(STDERR_FILENO, bytes, len);

        if (done <= 0 && !may_go_on())
            break;
        if (done > 0) {
            bytes += done;
            len -= (size_t)done;
            line_is_torn = true;
        }
    }
    if (len == 0)
        line_is_torn = false;
}

static void
write_buf(struct lm_buf *buf)
{
    if (line_is_torn)
        write_bytes("\n", 1);
    write_bytes(buf->data, buf->len);
    lm_buf_release(buf);
}

/* Much of a message is foreign text (base/show.h). Its further lines are
 * indented: so carets point to the right place, and no line looks like a
 * message of its own. */
static void
add_text(struct lm_buf *buf, const char *text, size_t indent)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n\t");

        lm_show_add(buf, text, len);
        text += len;
        if (*text == '\n')
            lm_buf_printf(buf, "\nluamig: %*s", (int)indent, "");
        if (*text == '\t')
            lm_buf_putc(buf, '\t');
        text += *text != '\0';
    }
}

/* How far right further lines begin. */
static size_t
indent_of(const char *time, const char *label)
{
    enum { LEAST = 2 };
    size_t indent = strlen(label) > LEAST ? strlen(label) : LEAST;

    return indent + (*time != '\0' ? strlen(time) + 1 : 0);
}

/* One write a message, so that those of several processes do not mix. */
static void
write_line(const char *label, const char *colour, const char *text)
{
    struct lm_buf buf = LM_BUF_INIT;
    bool coloured = *label != '\0' && lm_log_may_colour(STDERR_FILENO);
    char time[LM_CLOCK_NOW_SIZE] = "";

    if (with_times)
        lm_clock_format_now(time, sizeof time, ' ');
    if (status_line[0] != '\0')
        lm_buf_puts(&buf, "\r\033[K");
    lm_buf_printf(&buf, "luamig: %s%s", time, with_times ? " " : "");
    if (coloured)
        lm_buf_puts(&buf, colour);
    lm_buf_puts(&buf, label);
    if (coloured)
        lm_buf_puts(&buf, "\033[0m");
    add_text(&buf, text, indent_of(time, label));
    lm_buf_putc(&buf, '\n');
    if (status_line[0] != '\0')
        add_status(&buf);
    write_buf(&buf);
}

static void
write_level(enum lm_log_level level, const char *text)
{
    static const char *const labels[] = {"error: ", "warning: ", "", "debug: "};

    write_line(labels[level],
               level == LM_LOG_ERROR ? "\033[1;31m" : "\033[1;33m", text);
}

/* text and fields may be NULL. */
static void
write_object(enum lm_log_level level, const char *text,
             const struct lm_buf *fields)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    struct lm_buf members = LM_BUF_INIT;
    struct lm_buf line = LM_BUF_INIT;
    char time[LM_CLOCK_NOW_SIZE];

    lm_clock_format_now(time, sizeof time, 'T');
    lm_record_text(&members, "time", time);
    lm_record_text(&members, "level", levels[level]);
    if (text != NULL)
        lm_record_text(&members, "message", text);
    lm_buf_printf(&line, "{%s", lm_buf_text(&members));
    if (fields != NULL && fields->len > 0)
        lm_buf_printf(&line, ",%s", lm_buf_text(fields));
    lm_buf_puts(&line, "}\n");
    lm_buf_release(&members);
    write_buf(&line);
}

/* -- messages --------------------------------------------------------- */

void
lm_log_event(enum lm_log_level level, const char *text,
             const struct lm_buf *fields)
{
    if (!lm_log_enabled(level))
        return;
    pthread_mutex_lock(&lock);
    if (lm_log_is_json()) {
        write_object(level, text, fields);
    } else if (text != NULL) {
        write_level(level, text);
    }
    pthread_mutex_unlock(&lock);
}

void
lm_log(enum lm_log_level level, const char *format, ...)
{
    char text[MAX_TEXT];
    va_list args;

    if (!lm_log_enabled(level))
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    lm_log_event(level, text, NULL);
}

static void
write_part(const char *label, const char *text)
{
    if (*text != '\0')
        write_line(label, "\033[1m", text);
}

static void
write_plain_err(enum lm_log_level level, const struct lm_err *err)
{
    char text[sizeof err->message + 32];

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

static void
add_part(struct lm_buf *fields, const char *name, const char *text)
{
    if (*text != '\0')
        lm_record_text(fields, name, text);
}

static void
write_err_object(enum lm_log_level level, const struct lm_err *err)
{
    struct lm_buf fields = LM_BUF_INIT;

    add_part(&fields, "sqlstate", err->sqlstate);
    add_part(&fields, "detail", err->detail);
    add_part(&fields, "hint", err->hint);
    add_part(&fields, "constraint", err->constraint);
    add_part(&fields, "where", err->where);
    add_part(&fields, "batch", err->batch);
    add_part(&fields, "statement", err->sql);
    add_part(&fields, "traceback", err->traceback);
    write_object(level, err->message, &fields);
    lm_buf_release(&fields);
}

void
lm_log_err(enum lm_log_level level, const struct lm_err *err)
{
    if (!lm_log_enabled(level))
        return;
    pthread_mutex_lock(&lock);
    if (lm_log_is_json()) {
        write_err_object(level, err);
    } else {
        write_plain_err(level, err);
    }
    pthread_mutex_unlock(&lock);
}

void
lm_log_status(const char *text)
{
    struct lm_buf buf = LM_BUF_INIT;
    struct lm_buf line = LM_BUF_INIT;

    if (!lm_log_has_status())
        return;
    pthread_mutex_lock(&lock);
    lm_show_printf(&line, "%s", text != NULL ? text : "");
    snprintf(status_line, sizeof status_line, "%s", lm_buf_text(&line));
    lm_buf_release(&line);
    add_status(&buf);
    write_buf(&buf);
    pthread_mutex_unlock(&lock);
}
