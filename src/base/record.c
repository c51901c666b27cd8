/* SPDX-License-Identifier: MIT */
/* Writes members of JSON objects for the log; see the header. */

#include "base/record.h"

#include "base/text.h"

#include <math.h>
#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

static void
add_valid(struct lm_buf *buf, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '"' || c == '\\') {
            lm_buf_putc(buf, '\\');
            lm_buf_putc(buf, c);
        } else if (c == '\n') {
            lm_buf_puts(buf, "\\n");
        } else if (c == '\t') {
            lm_buf_puts(buf, "\\t");
        } else if ((unsigned char)c < 0x20 || c == 0x7f) {
            lm_buf_printf(buf, "\\u%04x", (unsigned)c);
        } else {
            lm_buf_putc(buf, c);
        }
    }
}

static void
add_string(struct lm_buf *buf, const char *text)
{
    size_t len = strlen(text);
    size_t bad;

    lm_buf_putc(buf, '"');
    while (!lm_text_is_utf8(text, len, &bad)) {
        add_valid(buf, text, bad);
        lm_buf_puts(buf, replacement);
        text += bad + 1;
        len -= bad + 1;
    }
    add_valid(buf, text, len);
    lm_buf_putc(buf, '"');
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
    add_name(buf, name);
    if (text != NULL) {
        add_string(buf, text);
    } else {
        lm_buf_puts(buf, "null");
    }
}

void
lm_record_int(struct lm_buf *buf, const char *name, int64_t value)
{
    add_name(buf, name);
    lm_buf_add_int(buf, value);
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
    lm_buf_puts(buf, json);
}
