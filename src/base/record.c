/* SPDX-License-Identifier: MIT */

#include "base/record.h"

#include "base/secret.h"
#include "base/show.h"

#include <math.h>
#include <stdlib.h>

static void
add_quoted(struct lm_buf *buf, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            lm_buf_putc(buf, '\\');
        if (*text == '\n') {
            lm_buf_puts(buf, "\\n");
        } else if (*text == '\t') {
            lm_buf_puts(buf, "\\t");
        } else {
            lm_buf_putc(buf, *text);
        }
    }
}

static void
add_string(struct lm_buf *buf, const char *text)
{
    struct lm_buf quoted = LM_BUF_INIT;

    add_quoted(&quoted, text);
    lm_buf_putc(buf, '"');
    lm_show_add_json(buf, lm_buf_text(&quoted));
    lm_buf_putc(buf, '"');
    lm_buf_release(&quoted);
}

static void
add_name(struct lm_buf *buf, const char *name)
{
    if (buf->len > 0)
        lm_buf_putc(buf, ',');
    add_string(buf, name);
    lm_buf_putc(buf, ':');
}

void
lm_record_text(struct lm_buf *buf, const char *name, const char *text)
{
    char *masked = lm_secret_masked(text);

    add_name(buf, name);
    if (masked != NULL) {
        add_string(buf, masked);
    } else {
        lm_buf_puts(buf, "null");
    }
    free(masked);
}

void
lm_record_int(struct lm_buf *buf, const char *name, int64_t value)
{
    add_name(buf, name);
    lm_buf_add_int(buf, value);
}

void
lm_record_known(struct lm_buf *buf, const char *name, int64_t value)
{
    if (value >= 0) {
        lm_record_int(buf, name, value);
    } else {
        lm_record_text(buf, name, NULL);
    }
}

void
lm_record_real(struct lm_buf *buf, const char *name, double value)
{
    add_name(buf, name);
    if (isfinite(value)) {
        lm_buf_printf(buf, "%.1f", value);
    } else {
        lm_buf_puts(buf, "null");
    }
}

void
lm_record_bool(struct lm_buf *buf, const char *name, bool value)
{
    add_name(buf, name);
    lm_buf_puts(buf, value ? "true" : "false");
}

void
lm_record_json(struct lm_buf *buf, const char *name, const char *json)
{
    add_name(buf, name);
    for (; *json != '\0'; json++) {
        /* They can only stand between its tokens. */
        if (*json == '\n' || *json == '\r' || *json == '\t') {
            lm_buf_putc(buf, ' ');
        } else {
            lm_buf_putc(buf, *json);
        }
    }
}

static void
add_members(struct lm_buf *buf, struct lm_buf *members)
{
    lm_buf_printf(buf, "{%s}", lm_buf_text(members));
    lm_buf_clear(members);
}

void
lm_record_object(struct lm_buf *buf, const char *name, struct lm_buf *members)
{
    add_name(buf, name);
    add_members(buf, members);
}

void
lm_record_begin_list(struct lm_buf *buf, const char *name)
{
    add_name(buf, name);
    lm_buf_putc(buf, '[');
}

void
lm_record_add_item(struct lm_buf *buf, struct lm_buf *members)
{
    if (buf->data[buf->len - 1] != '[')
        lm_buf_putc(buf, ',');
    add_members(buf, members);
}

void
lm_record_end_list(struct lm_buf *buf)
{
    lm_buf_putc(buf, ']');
}

void
lm_record_out(const struct lm_buf *buf)
{
    char *object = lm_format("{%s}", lm_buf_text(buf));

    lm_out_json(object);
    free(object);
}
