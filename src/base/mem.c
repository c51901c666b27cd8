/* SPDX-License-Identifier: MIT */
/*
 * Checked allocation and the growable byte buffer.
 *
 * Everything above takes memory from here, so that running out of it is
 * handled in one place. Nothing here talks to the log: there may be no memory
 * left to format with.
 */

#include "base/mem.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Noreturn void
lm_mem_fail(void)
{
    static const char message[] = "luamig: error: out of memory\n";
    ssize_t ignored = write(STDERR_FILENO, message, sizeof message - 1);

    (void)ignored;
    abort();
}

void *
lm_alloc(size_t size)
{
    void *ptr = malloc(size > 0 ? size : 1);

    if (ptr == NULL)
        lm_mem_fail();
    return ptr;
}

void *
lm_calloc(size_t count, size_t size)
{
    void *ptr = calloc(count > 0 ? count : 1, size > 0 ? size : 1);

    if (ptr == NULL)
        lm_mem_fail();
    return ptr;
}

void *
lm_realloc(void *ptr, size_t count, size_t size)
{
    void *grown;

    if (size > 0 && count > SIZE_MAX / size)
        lm_mem_fail();
    grown = realloc(ptr, count * size > 0 ? count * size : 1);
    if (grown == NULL)
        lm_mem_fail();
    return grown;
}

size_t
lm_mem_resident(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    const char *pages;

    if (fd >= 0)
        close(fd);
    if (len <= 0)
        return 0;
    text[len] = '\0';
    pages = strchr(text, ' ');
    if (pages == NULL)
        return 0;
    return (size_t)strtoull(pages, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

void
lm_free_texts(char **texts, int count)
{
    for (int i = 0; i < count; i++)
        free(texts[i]);
    free(texts);
}

char *
lm_strdup(const char *text)
{
    return lm_strndup(text, strlen(text));
}

char *
lm_strndup(const char *text, size_t len)
{
    char *copy = lm_alloc(len + 1);

    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

static void
buf_grow(struct lm_buf *buf, size_t extra)
{
    size_t need = buf->len + extra + 1;
    size_t cap = buf->cap > 0 ? buf->cap : 64;

    if (need < extra)
        lm_mem_fail();
    while (cap < need)
        cap *= 2;
    buf->data = lm_realloc(buf->data, cap, 1);
    buf->cap = cap;
}

/* Makes room for so many bytes and the terminator. */
static inline void
buf_reserve(struct lm_buf *buf, size_t extra)
{
    if (extra >= buf->cap - buf->len)
        buf_grow(buf, extra);
}

void
lm_buf_release(struct lm_buf *buf)
{
    free(buf->data);
    buf->data = NULL;
    buf->len = buf->cap = 0;
}

void
lm_buf_clear(struct lm_buf *buf)
{
    buf->len = 0;
    if (buf->data != NULL)
        buf->data[0] = '\0';
}

void
lm_buf_add(struct lm_buf *buf, const char *bytes, size_t len)
{
    buf_reserve(buf, len);
    if (len > 0)
        memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void
lm_buf_puts(struct lm_buf *buf, const char *text)
{
    lm_buf_add(buf, text, strlen(text));
}

void
lm_buf_putc(struct lm_buf *buf, char c)
{
    buf_reserve(buf, 1);
    buf->data[buf->len++] = c;
    buf->data[buf->len] = '\0';
}

void
lm_buf_add_int(struct lm_buf *buf, int64_t value)
{
    char digits[24];
    char *at = digits + sizeof digits;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    do {
        *--at = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0)
        *--at = '-';
    lm_buf_add(buf, at, (size_t)(digits + sizeof digits - at));
}

static void
add_format(struct lm_buf *buf, const char *format, va_list *args)
{
    va_list again;
    int len;

    va_copy(again, *args);
    len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (len < 0)
        return;
    buf_reserve(buf, (size_t)len);
    vsnprintf(buf->data + buf->len, (size_t)len + 1, format, *args);
    buf->len += (size_t)len;
}

void
lm_buf_printf(struct lm_buf *buf, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    add_format(buf, format, &args);
    va_end(args);
}

char *
lm_format(const char *format, ...)
{
    struct lm_buf buf = LM_BUF_INIT;
    va_list args;

    va_start(args, format);
    add_format(&buf, format, &args);
    va_end(args);
    return lm_buf_take(&buf);
}

bool
lm_buf_read(struct lm_buf *buf, FILE *stream, size_t most)
{
    char part[4096];
    size_t got;
    size_t all = 0;

    while (all <= most && (got = fread(part, 1, sizeof part, stream)) > 0) {
        lm_buf_add(buf, part, got);
        all += got;
    }
    return ferror(stream) == 0;
}

const char *
lm_buf_text(const struct lm_buf *buf)
{
    return buf->data != NULL ? buf->data : "";
}

char *
lm_buf_take(struct lm_buf *buf)
{
    char *data = buf->data != NULL ? buf->data : lm_strdup("");

    buf->data = NULL;
    buf->len = buf->cap = 0;
    return data;
}
