/* SPDX-License-Identifier: MIT */
/*
 * Foreign text on terminals; see the header. The list of characters: Unicode's
 * controls (Cc), those that change the direction of text or are not seen
 * (Default_Ignorable_Code_Point, but for the joiners and variation selectors
 * that words and emoji need), and the separators of lines and paragraphs.
 */

#include "base/show.h"

#include "base/secret.h"
#include "base/text.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct range {
    uint32_t first;
    uint32_t last;
};

static const struct range harmful[] = {
    {0x00, 0x1F},       {0x7F, 0x9F},       {0xAD, 0xAD},
    {0x61C, 0x61C},     {0x115F, 0x1160},   {0x180E, 0x180E},
    {0x200B, 0x200B},   {0x200E, 0x200F},   {0x2028, 0x202E},
    {0x2060, 0x206F},   {0x3164, 0x3164},   {0xFEFF, 0xFEFF},
    {0xFFA0, 0xFFA0},   {0xFFF0, 0xFFFB},   {0xE0000, 0xE0FFF},
    {0x1D173, 0x1D17A}, {0x1BCA0, 0x1BCA3},
};

static bool
is_harmless(uint32_t code)
{
    for (size_t i = 0; i < LM_COUNT(harmful); i++) {
        if (code >= harmful[i].first && code <= harmful[i].last)
            return false;
    }
    return true;
}

static void
add_escaped(struct lm_buf *buf, uint32_t code)
{
    if (code == '\n') {
        lm_buf_puts(buf, "\\n");
    } else if (code == '\r') {
        lm_buf_puts(buf, "\\r");
    } else if (code == '\t') {
        lm_buf_puts(buf, "\\t");
    } else if (code < 0x80) {
        lm_buf_printf(buf, "\\x%02" PRIx32, code);
    } else {
        lm_buf_printf(buf, code > 0xFFFF ? "\\U%08" PRIx32 : "\\u%04" PRIx32,
                      code);
    }
}

/* How a text is written whose reader has escapes of its own. */
struct script {
    bool has_lines; /* line breaks and tabs stand for themselves */
    void (*add_char)(struct lm_buf *buf, uint32_t code);
    void (*add_byte)(struct lm_buf *buf, unsigned char byte); /* no UTF-8 */
};

static void
add_as(struct lm_buf *buf, const char *text, size_t len,
       const struct script *script)
{
    size_t step;

    for (size_t at = 0; at < len; at += step) {
        uint32_t code = 0;

        step = lm_text_read_char(text + at, len - at, &code);
        if (step == 0) {
            script->add_byte(buf, (unsigned char)text[at]);
            step = 1;
        } else if (is_harmless(code) ||
                   (script->has_lines && (code == '\n' || code == '\t'))) {
            lm_buf_add(buf, text + at, step);
        } else {
            script->add_char(buf, code);
        }
    }
}

static void
add_byte(struct lm_buf *buf, unsigned char byte)
{
    lm_buf_printf(buf, "\\x%02x", byte);
}

static void
add_json_char(struct lm_buf *buf, uint32_t code)
{
    if (code > 0xFFFF) {
        lm_buf_printf(buf, "\\u%04" PRIx32 "\\u%04" PRIx32,
                      0xD800 + ((code - 0x10000) >> 10),
                      0xDC00 + ((code - 0x10000) & 0x3FF));
    } else {
        lm_buf_printf(buf, "\\u%04" PRIx32, code);
    }
}

static void
add_json_byte(struct lm_buf *buf, unsigned char byte)
{
    (void)byte;
    lm_buf_puts(buf, "\xEF\xBF\xBD"); /* U+FFFD */
}

static void
add_lua_char(struct lm_buf *buf, uint32_t code)
{
    lm_buf_printf(buf, "\\u{%" PRIx32 "}", code);
}

static const struct script plain = {false, add_escaped, add_byte};
static const struct script json_script = {true, add_json_char, add_json_byte};
static const struct script lua_script = {true, add_lua_char, add_byte};

void
lm_show_add(struct lm_buf *buf, const char *text, size_t len)
{
    struct lm_buf masked = LM_BUF_INIT;

    if (!lm_secret_any()) {
        add_as(buf, text, len, &plain);
        return;
    }
    lm_secret_add_masked(&masked, text, len);
    add_as(buf, lm_buf_text(&masked), masked.len, &plain);
    lm_buf_release(&masked);
}

void
lm_show_add_json(struct lm_buf *buf, const char *json)
{
    struct lm_buf masked = LM_BUF_INIT;

    if (!lm_secret_any()) {
        add_as(buf, json, strlen(json), &json_script);
        return;
    }
    lm_secret_add_masked_json(&masked, json);
    add_as(buf, lm_buf_text(&masked), masked.len, &json_script);
    lm_buf_release(&masked);
}

void
lm_show_add_lua(struct lm_buf *buf, const char *source)
{
    add_as(buf, source, strlen(source), &lua_script);
}

/* -- formats -------------------------------------------------------------- */

struct spec {
    bool left;
    bool zeros;
    int width;
    int precision; /* -1: none */
    int longs;     /* how many "l"; "z", "j" and "t" count as one */
    char letter;
};

/* A number, or the next argument where there is a star. */
static const char *
read_number(const char *p, va_list *args, int *out)
{
    if (*p == '*') {
        *out = va_arg(*args, int);
        return p + 1;
    }
    for (*out = 0; isdigit((unsigned char)*p); p++)
        *out = 10 * *out + (*p - '0');
    return p;
}

/* Reads what follows "%"; returns what follows the conversion. */
static const char *
read_spec(const char *p, va_list *args, struct spec *out)
{
    memset(out, 0, sizeof *out);
    out->precision = -1;
    for (; *p == '-' || *p == '0'; p++) {
        out->left = out->left || *p == '-';
        out->zeros = out->zeros || *p == '0';
    }
    p = read_number(p, args, &out->width);
    if (out->width < 0) {
        out->left = true;
        out->width = -out->width;
    }
    if (*p == '.')
        p = read_number(p + 1, args, &out->precision);
    for (; *p != '\0' && strchr("lzjth", *p) != NULL; p++)
        out->longs += *p != 'h';
    out->letter = *p;
    return *p != '\0' ? p + 1 : p;
}

static void
add_foreign(struct lm_buf *buf, const char *text, int precision)
{
    if (text == NULL)
        text = "(null)";
    lm_show_add(buf, text,
                precision < 0 ? strlen(text)
                              : strnlen(text, (size_t)precision));
}

static int64_t
next_signed(const struct spec *spec, va_list *args)
{
    if (spec->longs == 0)
        return va_arg(*args, int);
    return spec->longs == 1 ? va_arg(*args, long) : va_arg(*args, long long);
}

static uint64_t
next_unsigned(const struct spec *spec, va_list *args)
{
    if (spec->longs == 0)
        return va_arg(*args, unsigned);
    return spec->longs == 1 ? va_arg(*args, unsigned long)
                            : va_arg(*args, unsigned long long);
}

static void
add_converted(struct lm_buf *buf, const struct spec *spec, va_list *args)
{
    switch (spec->letter) {
    case 's':
        add_foreign(buf, va_arg(*args, const char *), spec->precision);
        break;
    case 'd':
    case 'i':
        lm_buf_printf(buf, "%" PRId64, next_signed(spec, args));
        break;
    case 'u':
        lm_buf_printf(buf, "%" PRIu64, next_unsigned(spec, args));
        break;
    case 'x':
        lm_buf_printf(buf, "%" PRIx64, next_unsigned(spec, args));
        break;
    case 'f':
        lm_buf_printf(buf, "%.*f", spec->precision < 0 ? 6 : spec->precision,
                      va_arg(*args, double));
        break;
    case 'c':
        lm_buf_putc(buf, (char)va_arg(*args, int));
        break;
    default:
        lm_buf_putc(buf, '%');
        break;
    }
}

static void
add_spec(struct lm_buf *buf, const struct spec *spec, va_list *args)
{
    struct lm_buf field = LM_BUF_INIT;
    size_t width = (size_t)spec->width;

    add_converted(&field, spec, args);
    if (!spec->left) {
        for (size_t i = field.len; i < width; i++)
            lm_buf_putc(buf, spec->zeros ? '0' : ' ');
    }
    lm_buf_add(buf, lm_buf_text(&field), field.len);
    if (spec->left) {
        for (size_t i = field.len; i < width; i++)
            lm_buf_putc(buf, ' ');
    }
    lm_buf_release(&field);
}

static void
add_format(struct lm_buf *buf, const char *format, va_list *args)
{
    while (*format != '\0') {
        size_t len = strcspn(format, "%");

        lm_buf_add(buf, format, len);
        format += len;
        if (*format == '%') {
            struct spec spec;

            format = read_spec(format + 1, args, &spec);
            add_spec(buf, &spec, args);
        }
    }
}

void
lm_show_printf(struct lm_buf *buf, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    add_format(buf, format, &args);
    va_end(args);
}

/* -- stdout --------------------------------------------------------------- */

static void
write_out(struct lm_buf *buf)
{
    fwrite(lm_buf_text(buf), 1, buf->len, stdout);
    lm_buf_release(buf);
}

void
lm_out(const char *format, ...)
{
    struct lm_buf buf = LM_BUF_INIT;
    va_list args;

    va_start(args, format);
    add_format(&buf, format, &args);
    va_end(args);
    write_out(&buf);
}

void
lm_out_own(const char *text)
{
    fputs(text, stdout);
}

void
lm_out_lines(const char *text)
{
    while (*text != '\0') {
        size_t len = strcspn(text, "\n\t");

        lm_out("%.*s", (int)len, text);
        text += len;
        if (*text != '\0')
            lm_out("%c", *text++);
    }
}

void
lm_out_json(const char *json)
{
    struct lm_buf buf = LM_BUF_INIT;

    lm_show_add_json(&buf, json);
    lm_buf_putc(&buf, '\n');
    write_out(&buf);
}
