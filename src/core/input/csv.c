/* SPDX-License-Identifier: MIT */
/*
 * CSV, parsed by libcsv in its strict mode: RFC 4180, with any delimiter, and
 * with empty lines between records, which are no records.
 *
 * libcsv gets one physical line at a time, so the line of each record is known.
 * It does not tell whether a field was in quotes, unless the field is empty. So
 * if a text stands for NULL, it gets each field alone, and is looked at before
 * the delimiter.
 */

#include "core/input/private.h"

#include "base/text.h"

#include <csv.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 16 };

struct lm_csv {
    struct csv_parser parser;
    struct lm_reader *reader;
    int *columns; /* for each field: a column of the input, or -1 */
    int column_count;
    char **names; /* of the header, while it is read */
    int name_count;
    bool in_header;
    int64_t line; /* where the current record began */
    bool ended;   /* a record has ended in this line */
    int field;    /* of the current record, from 0 */
    bool quoted;  /* the current field, if that is looked at */
    size_t bytes; /* of the current record, written so far */
    struct lm_buf *out;
    struct lm_err *err;
    bool failed; /* err is set */
};

/* No character is skipped at the ends of a field. */
static int
is_space(unsigned char c)
{
    (void)c;
    return 0;
}

void
lm_csv_close(struct lm_csv *self)
{
    if (self == NULL)
        return;
    csv_free(&self->parser);
    lm_free_texts(self->names, self->name_count);
    free(self->columns);
    free(self);
}

/* -- the header ----------------------------------------------------------- */

/* A header of one column that looks like several. */
static bool
hint_at_delimiter(const struct lm_csv *self, const char *name,
                  struct lm_err *err)
{
    const char *found = self->column_count == 1 ? strpbrk(name, ",;\t|") : NULL;

    if (found == NULL)
        return false;
    lm_err_hint(err,
                "If that is what stands between the fields, set "
                "input.delimiter = \"%s%.1s\".",
                *found == '\t' ? "\\" : "", *found == '\t' ? "t" : found);
    return true;
}

static bool
fail_unknown(const struct lm_csv *self, const char *name, struct lm_err *err)
{
    struct lm_buf names = LM_BUF_INIT;

    lm_input_fail(self->reader->file, self->line, NULL, err,
                  "input.columns has no column \"%s\"", name);
    if (hint_at_delimiter(self, name, err))
        return false;
    lm_reader_add_names(self->reader, &names);
    lm_err_hint(err,
                "It has: %s. Add the column there, or leave such columns out "
                "with input.ignore_others = true.",
                lm_buf_text(&names));
    lm_buf_release(&names);
    return false;
}

static bool
place_column(struct lm_csv *self, int field, const char *name,
             struct lm_err *err)
{
    struct lm_reader *reader = self->reader;
    int column = lm_reader_find_column(reader, name, strlen(name));

    self->columns[field] = column;
    if (column < 0)
        return reader->input->ignores_others || fail_unknown(self, name, err);
    for (int i = 0; i < field; i++) {
        if (self->columns[i] == column) {
            return lm_input_fail(reader->file, self->line, NULL, err,
                                 "the header has the column \"%s\" twice",
                                 name);
        }
    }
    reader->places[reader->place_count++] = column;
    return true;
}

static bool
fail_missing(const struct lm_csv *self, const char *name,
             const char *const *names, int count, struct lm_err *err)
{
    struct lm_buf list = LM_BUF_INIT;

    for (int i = 0; i < count; i++)
        lm_buf_printf(&list, "%s%s", i > 0 ? ", " : "", names[i]);
    lm_input_fail(self->reader->file, self->line, NULL, err,
                  "the header has no column \"%s\"", name);
    lm_err_hint(err,
                "It has: %s. If this is not a header, name the columns of the "
                "file in input.header.",
                lm_buf_text(&list));
    lm_buf_release(&list);
    return false;
}

static bool
place_columns(struct lm_csv *self, const char *const *names, int count,
              struct lm_err *err)
{
    struct lm_reader *reader = self->reader;

    self->columns = lm_calloc((size_t)count + 1, sizeof *self->columns);
    self->column_count = count;
    reader->places =
        lm_calloc((size_t)reader->input->column_count, sizeof(int));
    for (int i = 0; i < count; i++) {
        if (!place_column(self, i, names[i], err))
            return false;
    }
    for (int i = 0; i < reader->input->column_count; i++) {
        bool found = false;

        for (int k = 0; k < reader->place_count && !found; k++)
            found = reader->places[k] == i;
        if (!found) {
            return fail_missing(self, reader->input->columns[i].name, names,
                                count, err);
        }
    }
    return true;
}

static bool
read_header(struct lm_csv *self, struct lm_err *err)
{
    struct lm_reader *reader = self->reader;
    struct lm_buf none = LM_BUF_INIT;
    bool over = false;
    bool ok = true;

    self->in_header = true;
    while (ok && !over && self->in_header)
        ok = lm_reader_next(reader, &none, &over, err);
    lm_buf_release(&none);
    if (ok && self->in_header) {
        lm_input_fail(reader->file, 0, NULL, err, "the file has no header");
        return lm_err_hint(err, "Its first line must name its columns. If it "
                                "should have none, name them in "
                                "input.header.");
    }
    return ok && place_columns(self, (const char *const *)self->names,
                               self->name_count, err);
}

bool
lm_csv_open(struct lm_reader *reader, struct lm_err *err)
{
    struct lm_csv *self = lm_calloc(1, sizeof *self);
    const struct lm_input *input = reader->input;

    (void)csv_init(&self->parser,
                   CSV_STRICT | CSV_STRICT_FINI | CSV_EMPTY_IS_NULL);
    csv_set_delim(&self->parser, (unsigned char)input->delimiter);
    csv_set_space_func(&self->parser, is_space);
    csv_set_blk_size(&self->parser, BLOCK);
    self->reader = reader;
    reader->csv = self;
    return input->header_count > 0
               ? place_columns(self, input->header, input->header_count, err)
               : read_header(self, err);
}

/* -- fields and records --------------------------------------------------- */

static const char *
name_of_field(const struct lm_csv *self, int field)
{
    int column = field < self->column_count ? self->columns[field] : -1;

    return column >= 0 ? self->reader->input->columns[column].name : NULL;
}

static bool
is_null(const struct lm_csv *self, const char *text, size_t len)
{
    const char *null_text = self->reader->input->null_text;

    if (*null_text == '\0')
        return text == NULL; /* without quotes; libcsv says so */
    return text != NULL && !self->quoted && len == strlen(null_text) &&
           memcmp(text, null_text, len) == 0;
}

static void
take_name(struct lm_csv *self, const char *text, size_t len)
{
    if (text != NULL && !lm_reader_check_text(self->reader, self->line, NULL,
                                              text, len, self->err)) {
        self->failed = true;
        return;
    }
    LM_ADD(self->names, self->name_count) =
        lm_strndup(text != NULL ? text : "", len);
}

static void
on_field(void *bytes, size_t len, void *arg)
{
    struct lm_csv *self = arg;
    const char *text = bytes;
    int field = self->field++;
    int column = field < self->column_count ? self->columns[field] : -1;
    size_t before;

    if (self->failed)
        return;
    if (self->in_header) {
        take_name(self, text, len);
        return;
    }
    if (field == 0) {
        self->bytes = 0;
        lm_reader_begin_record(self->reader, self->line, self->out);
    }
    if (column < 0)
        return;
    before = self->out->len;
    if (text != NULL && !lm_reader_check_text(self->reader, self->line,
                                              name_of_field(self, field), text,
                                              len, self->err)) {
        self->failed = true;
    } else if (is_null(self, text, len)) {
        lm_reader_add_column(self->out, NULL, 0);
    } else {
        lm_reader_add_column(self->out, text != NULL ? text : "", len);
    }
    self->bytes += self->out->len - before;
}

static void
fail_count(struct lm_csv *self)
{
    self->failed = true;
    lm_input_fail(self->reader->file, self->line, NULL, self->err,
                  "the record has %d field%s, and the header has %d",
                  self->field, self->field == 1 ? "" : "s", self->column_count);
    lm_err_hint(self->err, "A field with a delimiter in it must be in quotes.");
}

static void
on_record(int end, void *arg)
{
    struct lm_csv *self = arg;

    (void)end;
    if (!self->failed && self->in_header) {
        self->in_header = false;
    } else if (!self->failed && self->field != self->column_count) {
        fail_count(self);
    } else if (!self->failed) {
        lm_reader_end_record(self->reader, self->line, self->out);
    }
    self->ended = true;
    self->field = 0;
}

/* -- lines ------------------------------------------------------------------ */

static bool
fail_quotes(const struct lm_csv *self, struct lm_err *err)
{
    lm_input_fail(self->reader->file, lm_lines_number(self->reader->lines),
                  name_of_field(self, self->field), err,
                  "a quote at the wrong place");
    return lm_err_hint(err,
                       "A field with a quote in it must be in quotes, and "
                       "the quote in it be written twice: \"5\"\" disk\".");
}

static bool
fail_open(const struct lm_csv *self, struct lm_err *err)
{
    lm_input_fail(self->reader->file, self->line,
                  name_of_field(self, self->field), err,
                  "a quote is opened and never closed");
    return lm_err_hint(err, "The record that begins in this line goes on to "
                            "the end of the file.");
}

static bool
feed(struct lm_csv *self, const char *bytes, size_t len, struct lm_err *err)
{
    if (csv_parse(&self->parser, bytes, len, on_field, on_record, self) == len)
        return !self->failed;
    if (csv_error(&self->parser) == CSV_EPARSE)
        return !self->failed && fail_quotes(self, err);
    return lm_err_set(err, LM_ERR_FAILED, "not enough memory for a record");
}

/* Each field and what ends it, one after the other. */
static bool
feed_fields(struct lm_csv *self, const char *line, size_t len,
            struct lm_err *err)
{
    const char ends[] = {self->reader->input->delimiter, '\r', '\n', '\0'};

    while (len > 0) {
        size_t part = 0;

        while (part < len && strchr(ends, line[part]) == NULL)
            part++;
        if (part > 0 && !feed(self, line, part, err))
            return false;
        self->quoted = self->parser.quoted != 0;
        if (part < len && !feed(self, line + part++, 1, err))
            return false;
        line += part;
        len -= part;
    }
    return true;
}

static bool
is_blank(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (line[i] != '\r' && line[i] != '\n')
            return false;
    }
    return true;
}

static bool
is_too_large(const struct lm_csv *self)
{
    size_t written = self->field > 0 ? self->bytes : 0;

    return written + self->parser.entry_pos > LM_INPUT_MOST_BYTES;
}

static bool
finish(struct lm_csv *self, struct lm_err *err)
{
    self->quoted = self->parser.quoted != 0;
    if (csv_fini(&self->parser, on_field, on_record, self) != 0)
        return fail_open(self, err);
    return !self->failed;
}

bool
lm_csv_read(struct lm_reader *reader, const char *line, size_t len,
            struct lm_buf *out, struct lm_err *err)
{
    struct lm_csv *self = reader->csv;
    bool looks = *reader->input->null_text != '\0';

    self->out = out;
    self->err = err;
    self->ended = false;
    if (line == NULL)
        return finish(self, err);
    if (!reader->in_record)
        self->line = lm_lines_number(reader->lines);
    if (!(looks ? feed_fields : feed)(self, line, len, err))
        return false;
    reader->in_record =
        !self->ended && (reader->in_record || !is_blank(line, len));
    if (reader->in_record && is_too_large(self)) {
        lm_input_fail(reader->file, self->line, NULL, err,
                      "the record is larger than %zu MiB",
                      LM_INPUT_MOST_BYTES >> 20);
        return lm_err_hint(err, "Is a quote opened there and not closed?");
    }
    return true;
}
