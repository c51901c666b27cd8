/* SPDX-License-Identifier: MIT */
/* What the formats have in common: lines come in, COPY's text goes out. */

#include "core/input/private.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool
lm_reader_open(struct lm_reader **out, const struct lm_input *input,
               const struct lm_input_file *file,
               const enum lm_input_kind *kinds, struct lm_err *err)
{
    struct lm_reader *self = lm_calloc(1, sizeof *self);
    bool is_csv = input->format == LM_INPUT_CSV;
    bool ok;

    self->input = input;
    self->file = file;
    self->kinds = kinds;
    ok = lm_lines_open(&self->lines, file, input->encoding, is_csv, err);
    if (ok && is_csv) {
        ok = lm_csv_open(self, err);
    } else if (ok) {
        lm_jsonl_open(self);
    }
    if (ok) {
        *out = self;
    } else {
        lm_reader_close(self);
    }
    return ok;
}

void
lm_reader_close(struct lm_reader *self)
{
    if (self == NULL)
        return;
    lm_csv_close(self->csv);
    lm_jsonl_close(self->jsonl);
    lm_lines_close(self->lines);
    free(self->places);
    free(self->group);
    free(self);
}

const int *
lm_reader_places(const struct lm_reader *self, int *count)
{
    *count = self->place_count;
    return self->places;
}

bool
lm_reader_next(struct lm_reader *self, struct lm_buf *out, bool *over,
               struct lm_err *err)
{
    const char *line = NULL;
    size_t len = 0;

    if (!lm_lines_next(self->lines, &line, &len, err))
        return false;
    *over = line == NULL;
    return (self->csv != NULL ? lm_csv_read : lm_jsonl_read)(self, line, len,
                                                             out, err);
}

bool
lm_reader_is_in_record(const struct lm_reader *self)
{
    return self->in_record;
}

int64_t
lm_reader_count(const struct lm_reader *self)
{
    return self->count;
}

int64_t
lm_reader_bytes(const struct lm_reader *self)
{
    return lm_lines_bytes(self->lines);
}

void
lm_reader_begin_group(struct lm_reader *self)
{
    self->group_size = 0;
}

int
lm_reader_group_size(const struct lm_reader *self)
{
    return self->group_size;
}

int64_t
lm_reader_line_of(const struct lm_reader *self, int64_t number)
{
    return number >= 1 && number <= self->group_size ? self->group[number - 1]
                                                     : 0;
}

/* -- records as COPY's text ----------------------------------------------- */

void
lm_reader_begin_record(struct lm_reader *self, int64_t line, struct lm_buf *out)
{
    (void)self;
    lm_buf_add_int(out, line);
}

/* What COPY's text format takes for more than itself. */
static char
escape_of(char c)
{
    switch (c) {
    case '\\':
        return '\\';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return '\0';
    }
}

void
lm_reader_add_column(struct lm_buf *out, const char *text, size_t len)
{
    size_t from = 0;

    lm_buf_putc(out, '\t');
    if (text == NULL) {
        lm_buf_puts(out, "\\N");
        return;
    }
    for (size_t i = 0; i < len; i++) {
        char escape = escape_of(text[i]);

        if (escape == '\0')
            continue;
        lm_buf_add(out, text + from, i - from);
        lm_buf_putc(out, '\\');
        lm_buf_putc(out, escape);
        from = i + 1;
    }
    lm_buf_add(out, text + from, len - from);
}

void
lm_reader_end_record(struct lm_reader *self, int64_t line, struct lm_buf *out)
{
    lm_buf_putc(out, '\n');
    if (self->group_size == self->group_room) {
        self->group_room = self->group_room > 0 ? 2 * self->group_room : 1024;
        self->group = lm_realloc(self->group, (size_t)self->group_room,
                                 sizeof *self->group);
    }
    self->group[self->group_size++] = line;
    self->count++;
}

/* What the first bytes of the file say of it. */
static void
hint_at_content(const struct lm_reader *self, const char *otherwise,
                struct lm_err *err)
{
    static const struct {
        const char *begin;
        const char *hint;
    } known[] = {{"\xff\xfe", "The file is UTF-16: set input.encoding = "
                              "\"UTF-16\"."},
                 {"\xfe\xff", "The file is UTF-16: set input.encoding = "
                              "\"UTF-16\"."},
                 {"\x1f\x8b",
                  "The file is compressed. Unpack it: gunzip -c FILE "
                  "| luamig run SCRIPT --input -"},
                 {"PK\x03\x04", "The file is a zip archive: unpack it."},
                 {"\x28\xb5\x2f\xfd", "The file is compressed. Unpack it: zstd "
                                      "-dc FILE | luamig run SCRIPT --input "
                                      "-"}};
    char head[4] = "";

    if (pread(self->file->fd, head, sizeof head, 0) < 0)
        head[0] = '\0';
    for (size_t i = 0; i < LM_COUNT(known); i++) {
        if (memcmp(head, known[i].begin, strlen(known[i].begin)) == 0)
            otherwise = known[i].hint;
    }
    lm_err_hint(err, "%s", otherwise);
}

bool
lm_reader_check_text(const struct lm_reader *self, int64_t line,
                     const char *column, const char *text, size_t len,
                     struct lm_err *err)
{
    size_t offset = 0;

    if (lm_text_is_utf8(text, len, &offset))
        return true;
    if (text[offset] == '\0') {
        lm_input_fail(self->file, line, column, err,
                      "a NUL byte, which no text in PostgreSQL can hold");
        hint_at_content(self,
                        "If the file is UTF-16, set input.encoding = "
                        "\"UTF-16\".",
                        err);
        return false;
    }
    lm_input_fail(self->file, line, column, err,
                  "invalid byte sequence for encoding \"UTF8\": 0x%02x",
                  (unsigned char)text[offset]);
    hint_at_content(self,
                    "If the file has another encoding, name it: "
                    "input.encoding = \"LATIN1\".",
                    err);
    return false;
}

int
lm_reader_find_column(const struct lm_reader *self, const char *name,
                      size_t len)
{
    for (int i = 0; i < self->input->column_count; i++) {
        const char *column = self->input->columns[i].name;

        if (strlen(column) == len && memcmp(column, name, len) == 0)
            return i;
    }
    return -1;
}

void
lm_reader_add_names(const struct lm_reader *self, struct lm_buf *out)
{
    for (int i = 0; i < self->input->column_count; i++) {
        lm_buf_printf(out, "%s%s", i > 0 ? ", " : "",
                      self->input->columns[i].name);
    }
}
