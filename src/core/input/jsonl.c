/* SPDX-License-Identifier: MIT */
/*
 * Lines of JSON: each is an object, whose keys are columns. Numbers and
 * documents keep their text, so nothing is rounded. A key that is missing is
 * NULL, and so is null.
 */

#include "core/input/private.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

/* A value for a column, as COPY takes it but for the escapes. */
struct slot {
    struct lm_buf text;
    bool given; /* the object has the key */
    bool null;
};

struct lm_jsonl {
    struct slot *slots; /* one for each column of the input */
    int slot_count;
    char *scratch;
    size_t scratch_size;
};

void
lm_jsonl_open(struct lm_reader *reader)
{
    struct lm_jsonl *self = lm_calloc(1, sizeof *self);
    int count = reader->input->column_count;

    self->slots = lm_calloc((size_t)count, sizeof *self->slots);
    self->slot_count = count;
    reader->jsonl = self;
    reader->places = lm_calloc((size_t)count, sizeof *reader->places);
    reader->place_count = count;
    for (int i = 0; i < count; i++)
        reader->places[i] = i;
}

void
lm_jsonl_close(struct lm_jsonl *self)
{
    if (self == NULL)
        return;
    for (int i = 0; i < self->slot_count; i++)
        lm_buf_release(&self->slots[i].text);
    free(self->slots);
    free(self->scratch);
    free(self);
}

/* -- values ----------------------------------------------------------------- */

static char
next_letter(struct lm_json *json)
{
    lm_json_skip_blanks(json);
    return *(json->at < json->end ? json->at : "");
}

/* An element of an array, in quotes. */
static void
add_quoted(struct lm_buf *out, const char *text, size_t len)
{
    lm_buf_putc(out, '"');
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\')
            lm_buf_putc(out, '\\');
        lm_buf_putc(out, text[i]);
    }
    lm_buf_putc(out, '"');
}

static bool add_array(struct lm_json *json, struct lm_buf *out);

static bool
add_element(struct lm_json *json, struct lm_buf *out)
{
    char letter = next_letter(json);
    const char *begin = json->at;
    struct lm_json_string string;

    if (letter == '[')
        return add_array(json, out);
    if (letter == '"') {
        json->at++;
        if (!lm_json_read_string(json, &string))
            return false;
        add_quoted(out, string.bytes, string.len);
        return true;
    }
    if (!lm_json_skip_value(json))
        return false;
    if (letter == 'n') {
        lm_buf_puts(out, "NULL");
    } else {
        add_quoted(out, begin, (size_t)(json->at - begin));
    }
    return true;
}

/* An array of JSON as one of PostgreSQL. */
static bool
add_array(struct lm_json *json, struct lm_buf *out)
{
    json->at++;
    if (!lm_json_enter(json))
        return false;
    lm_buf_putc(out, '{');
    if (!lm_json_take(json, ']')) {
        if (!add_element(json, out))
            return false;
        while (lm_json_take(json, ',')) {
            lm_buf_putc(out, ',');
            if (!add_element(json, out))
                return false;
        }
        if (!lm_json_take(json, ']'))
            return lm_json_fail(json);
    }
    lm_buf_putc(out, '}');
    lm_json_leave(json);
    return true;
}

static bool
fail_nested(struct lm_json *json, char letter)
{
    lm_err_set(json->err, LM_ERR_FAILED, "the value is an %s",
               letter == '{' ? "object" : "array");
    return lm_err_hint(
        json->err, "Declare the column as \"jsonb\"%s in input.columns.",
        letter == '[' ? ", or as an array, such as \"text[]\"," : "");
}

static bool
read_value(struct lm_json *json, enum lm_input_kind kind, struct slot *slot)
{
    char letter = next_letter(json);
    const char *begin = json->at;
    struct lm_json_string string;

    slot->null = letter == 'n';
    if (letter == '[' && kind == LM_INPUT_ARRAY)
        return add_array(json, &slot->text);
    if (letter == '"' && kind != LM_INPUT_DOCUMENT) {
        json->at++;
        if (!lm_json_read_string(json, &string))
            return false;
        lm_buf_add(&slot->text, string.bytes, string.len);
        return true;
    }
    if ((letter == '[' || letter == '{') && kind != LM_INPUT_DOCUMENT)
        return fail_nested(json, letter);
    if (!lm_json_skip_value(json))
        return false;
    lm_buf_add(&slot->text, begin, (size_t)(json->at - begin));
    return true;
}

/* -- objects ---------------------------------------------------------------- */

static bool
fail_unknown(const struct lm_reader *reader, struct lm_err *err,
             const struct lm_json_string *key)
{
    struct lm_buf names = LM_BUF_INIT;

    lm_reader_add_names(reader, &names);
    lm_err_set(err, LM_ERR_FAILED, "input.columns has no column \"%.*s\"",
               key->len > 200 ? 200 : (int)key->len, key->bytes);
    lm_err_hint(err,
                "It has: %s. Add the column there, or leave such keys out with "
                "input.ignore_others = true.",
                lm_buf_text(&names));
    lm_buf_release(&names);
    return false;
}

/* *column: whose value is read; -1: none. */
static bool
read_member(const struct lm_reader *reader, struct lm_json *json, int *column)
{
    struct lm_jsonl *self = reader->jsonl;
    struct lm_json_string key;
    struct slot *slot;

    if (!lm_json_take(json, '"'))
        return lm_json_fail(json);
    if (!lm_json_read_string(json, &key))
        return false;
    *column = lm_reader_find_column(reader, key.bytes, key.len);
    if (*column < 0 && !reader->input->ignores_others)
        return fail_unknown(reader, json->err, &key);
    if (!lm_json_take(json, ':'))
        return lm_json_fail(json);
    if (*column < 0)
        return lm_json_skip_value(json);
    slot = &self->slots[*column];
    if (slot->given) {
        return lm_err_set(json->err, LM_ERR_FAILED,
                          "the object has the key twice");
    }
    slot->given = true;
    return read_value(
        json, reader->kinds != NULL ? reader->kinds[*column] : LM_INPUT_SCALAR,
        slot);
}

static bool
read_object(const struct lm_reader *reader, struct lm_json *json, int *column)
{
    *column = -1;
    if (!lm_json_take(json, '{')) {
        lm_err_set(json->err, LM_ERR_FAILED, "the line is not a JSON object");
        return lm_err_hint(json->err,
                           "Each line must be one, such as {\"id\": 1}.");
    }
    if (!lm_json_take(json, '}')) {
        do {
            if (!read_member(reader, json, column))
                return false;
            *column = -1;
        } while (lm_json_take(json, ','));
        if (!lm_json_take(json, '}'))
            return lm_json_fail(json);
    }
    lm_json_skip_blanks(json);
    return json->at == json->end ? true : lm_json_fail(json);
}

static void
write_record(struct lm_reader *reader, int64_t line, struct lm_buf *out)
{
    struct lm_jsonl *self = reader->jsonl;

    lm_reader_begin_record(reader, line, out);
    for (int i = 0; i < self->slot_count; i++) {
        const struct slot *slot = &self->slots[i];
        bool null = !slot->given || slot->null;

        lm_reader_add_column(out, null ? NULL : lm_buf_text(&slot->text),
                             slot->text.len);
    }
    lm_reader_end_record(reader, line, out);
}

static void
prepare(struct lm_jsonl *self, size_t len)
{
    if (len + 1 > self->scratch_size) {
        self->scratch_size = 2 * len + 1;
        self->scratch = lm_realloc(self->scratch, self->scratch_size, 1);
    }
    for (int i = 0; i < self->slot_count; i++) {
        lm_buf_clear(&self->slots[i].text);
        self->slots[i].given = self->slots[i].null = false;
    }
}

static bool
read_line(struct lm_reader *reader, const char *line, size_t len,
          struct lm_buf *out, struct lm_err *err)
{
    struct lm_jsonl *self = reader->jsonl;
    int64_t number = lm_lines_number(reader->lines);
    struct lm_json json = {
        .text = line, .at = line, .end = line + len, .err = err};
    int column = -1;

    if (!lm_reader_check_text(reader, number, NULL, line, len, err))
        return false;
    prepare(self, len);
    json.scratch = self->scratch;
    if (next_letter(&json) == '\0')
        return true; /* an empty line */
    if (!read_object(reader, &json, &column)) {
        /* The codec's hints are for values of the database. */
        if (strstr(err->message, "\\u0000") != NULL)
            err->hint[0] = '\0';
        if (json.at == json.end && err->hint[0] == '\0') {
            lm_err_hint(err, "The line ends within the object: each line must "
                             "be a whole one, such as {\"id\": 1}.");
        }
        return lm_input_place(
            reader->file, number,
            column >= 0 ? reader->input->columns[column].name : NULL, err);
    }
    write_record(reader, number, out);
    return true;
}

bool
lm_jsonl_read(struct lm_reader *reader, const char *line, size_t len,
              struct lm_buf *out, struct lm_err *err)
{
    return line == NULL || read_line(reader, line, len, out, err);
}
