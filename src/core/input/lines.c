/* SPDX-License-Identifier: MIT */
/*
 * The lines of a file, in UTF-8. Lines are the physical ones: a carriage return
 * with a line feed ends one line. What is read is hashed again on the way.
 */

#include "core/input/file.h"

#include <errno.h>
#include <iconv.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 1 << 18 };

struct lm_lines {
    const struct lm_input_file *file;
    const char *encoding;
    bool by_return;
    bool converts;
    iconv_t converter;
    char *raw; /* read, and not converted yet */
    size_t raw_len;
    char *data; /* UTF-8, of which the bytes from at on are not returned yet */
    size_t at;
    size_t len;
    size_t cap;
    size_t searched; /* behind at: no line ends there */
    int64_t bytes;
    int64_t number;
    SHA256_CTX hash;
    bool over;  /* the file has been read to its end */
    bool wrong; /* what follows the data is not of the encoding */
};

/* Names as PostgreSQL has them, for iconv. */
static void
add_iconv_name(struct lm_buf *out, const char *name)
{
    if (strncasecmp(name, "WIN", 3) == 0 && name[3] >= '0' && name[3] <= '9') {
        lm_buf_printf(out, "CP%s", name + 3);
    } else if (strcasecmp(name, "LATIN9") == 0) {
        lm_buf_puts(out, "ISO-8859-15");
    } else {
        lm_buf_puts(out, name);
    }
}

static bool
is_utf8(const char *encoding)
{
    return encoding == NULL || strcasecmp(encoding, "UTF8") == 0 ||
           strcasecmp(encoding, "UTF-8") == 0;
}

static bool
open_converter(struct lm_lines *self, const char *encoding, struct lm_err *err)
{
    struct lm_buf name = LM_BUF_INIT;

    add_iconv_name(&name, encoding);
    self->converter = iconv_open("UTF-8", lm_buf_text(&name));
    self->converts = self->converter != (iconv_t)-1; /* NOLINT */
    lm_buf_release(&name);
    if (self->converts)
        return true;
    lm_err_set(err, LM_ERR_SCRIPT, "input.encoding \"%s\" is not known",
               encoding);
    return lm_err_hint(err, "Such names are \"LATIN1\", \"WIN1252\" and "
                            "\"UTF-16\"; \"iconv -l\" lists them.");
}

bool
lm_lines_open(struct lm_lines **out, const struct lm_input_file *file,
              const char *encoding, bool by_return, struct lm_err *err)
{
    struct lm_lines *self = lm_calloc(1, sizeof *self);

    self->file = file;
    self->encoding = encoding;
    self->by_return = by_return;
    SHA256Init(&self->hash);
    if (!is_utf8(encoding) && !open_converter(self, encoding, err)) {
        lm_lines_close(self);
        return false;
    }
    self->raw = lm_alloc(BLOCK);
    self->cap = BLOCK;
    self->data = lm_alloc(self->cap);
    *out = self;
    return true;
}

void
lm_lines_close(struct lm_lines *self)
{
    if (self == NULL)
        return;
    if (self->converts)
        iconv_close(self->converter);
    free(self->raw);
    free(self->data);
    free(self);
}

/* -- reading ------------------------------------------------------------ */

/* Fills the raw block, as far as the file goes. */
static bool
read_block(struct lm_lines *self, struct lm_err *err)
{
    while (!self->over && self->raw_len < BLOCK) {
        char *room = self->raw + self->raw_len;
        ssize_t got = pread(self->file->fd, room, BLOCK - self->raw_len,
                            (off_t)self->bytes);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            return lm_input_fail(self->file, self->number + 1, NULL, err,
                                 "cannot read on: %s", strerror(errno));
        }
        self->over = got == 0;
        SHA256Update(&self->hash, (const uint8_t *)room, (size_t)got);
        self->raw_len += (size_t)got;
        self->bytes += got;
    }
    return true;
}

static void
make_room(struct lm_lines *self)
{
    memmove(self->data, self->data + self->at, self->len - self->at);
    self->len -= self->at;
    self->at = 0;
    if (self->cap - self->len >= BLOCK)
        return;
    self->cap = 2 * (self->len + BLOCK);
    self->data = lm_realloc(self->data, self->cap, 1);
}

/* What is left in raw then is the beginning of a character. A converter that
 * composes characters keeps back the last one, which the next byte may change:
 * at the end it gives it out. */
static void
convert(struct lm_lines *self)
{
    char *in = self->raw;
    size_t in_left = self->raw_len;
    size_t done = 0;

    do {
        char *out;
        size_t out_left;

        make_room(self);
        out = self->data + self->len;
        out_left = self->cap - self->len;
        done = iconv(self->converter, &in, &in_left, &out, &out_left);
        if (done != (size_t)-1 && self->over)
            done = iconv(self->converter, NULL, NULL, &out, &out_left);
        self->len = self->cap - out_left;
    } while (done == (size_t)-1 && errno == E2BIG);
    self->wrong =
        (done == (size_t)-1 && errno == EILSEQ) || (self->over && in_left > 0);
    memmove(self->raw, in, in_left);
    self->raw_len = in_left;
}

static void
skip_byte_order_mark(struct lm_lines *self)
{
    if (self->number == 0 && self->at == 0 && self->len >= 3 &&
        memcmp(self->data, "\xEF\xBB\xBF", 3) == 0)
        self->at = 3;
}

static bool
refill(struct lm_lines *self, struct lm_err *err)
{
    bool first = self->bytes == 0;

    if (self->len - self->at > LM_INPUT_MOST_BYTES) {
        return lm_input_fail(self->file, self->number + 1, NULL, err,
                             "the line is longer than %zu MiB",
                             LM_INPUT_MOST_BYTES >> 20);
    }
    if (!read_block(self, err))
        return false;
    if (self->converts) {
        convert(self);
    } else {
        make_room(self);
        memcpy(self->data + self->len, self->raw, self->raw_len);
        self->len += self->raw_len;
        self->raw_len = 0;
    }
    if (first)
        skip_byte_order_mark(self);
    return true;
}

/* -- lines -------------------------------------------------------------- */

/* How long the next line is; 0: its end is not in the data yet. */
static size_t
find_end(struct lm_lines *self)
{
    const char *begin = self->data + self->at;
    size_t left = self->len - self->at;
    const char *from = begin + self->searched;
    const char *feed = memchr(from, '\n', left - self->searched);
    const char *end = feed != NULL ? feed : begin + left;
    const char *back =
        self->by_return ? memchr(from, '\r', (size_t)(end - from)) : NULL;

    if (back != NULL && back + 1 < begin + left)
        return (size_t)(back - begin) + (back[1] == '\n' ? 2 : 1);
    if (feed != NULL)
        return (size_t)(feed - begin) + 1;
    self->searched = back != NULL ? (size_t)(back - begin) : left;
    return 0;
}

static bool
check_end(const struct lm_lines *self, struct lm_err *err)
{
    SHA256_CTX hash = self->hash;
    char text[SHA256_DIGEST_STRING_LENGTH];

    SHA256End(&hash, text);
    if (strcmp(text, self->file->sha256) == 0)
        return true;
    return lm_input_fail_changed(self->file, self->bytes, err);
}

bool
lm_lines_next(struct lm_lines *self, const char **line, size_t *len,
              struct lm_err *err)
{
    *line = NULL;
    while ((*len = find_end(self)) == 0) {
        if (self->wrong) {
            return lm_input_fail(self->file, self->number + 1, NULL, err,
                                 "the file is not in the encoding %s",
                                 self->encoding);
        }
        if (self->over) {
            *len = self->len - self->at; /* the last one has no end */
            if (*len == 0)
                return check_end(self, err);
            break;
        }
        if (!refill(self, err))
            return false;
    }
    *line = self->data + self->at;
    self->at += *len;
    self->searched = 0;
    self->number++;
    return true;
}

int64_t
lm_lines_number(const struct lm_lines *self)
{
    return self->number;
}

int64_t
lm_lines_bytes(const struct lm_lines *self)
{
    return self->bytes;
}
