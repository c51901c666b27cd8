/* SPDX-License-Identifier: MIT */

#include "cli/target/args.h"

#include "base/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 20 };

void
lm_args_take(void *args, char *text)
{
    struct lm_args *self = args;

    LM_ADD(self->texts, self->count) = lm_strdup(text);
}

static void
add_source(struct lm_args *self, bool is_variable, const char *text)
{
    LM_ADD(self->sources, self->source_count) =
        (struct lm_args_source){is_variable, text};
}

void
lm_args_take_variable(void *args, char *text)
{
    add_source(args, true, text);
}

void
lm_args_take_file(void *args, char *text)
{
    add_source(args, false, text);
}

void
lm_args_give(const struct lm_args *self, struct lm_script_options *out)
{
    out->args = (const char *const *)self->texts;
    out->arg_count = self->count;
    out->secret_count = self->secret_count;
}

void
lm_args_release(struct lm_args *self)
{
    lm_free_texts(self->texts, self->count);
    free(self->sources);
    memset(self, 0, sizeof *self);
}

/* -- reading secrets ------------------------------------------------------ */

static bool
read_all(FILE *file, struct lm_buf *value, const char *path, struct lm_err *err)
{
    if (!lm_buf_read(value, file, MOST_BYTES)) {
        lm_err_set(err, LM_ERR_USAGE, "could not read \"%s\"", path);
        return lm_err_detail(err, "%s", strerror(errno));
    }
    if (value->len > MOST_BYTES) {
        return lm_err_set(
            err, LM_ERR_USAGE,
            "\"%s\" is larger than a megabyte; an argument must be smaller",
            path);
    }
    if (value->len > 0 && memchr(value->data, '\0', value->len) != NULL) {
        return lm_err_set(
            err, LM_ERR_USAGE,
            "\"%s\" contains a byte 0; no argument can contain it", path);
    }
    return true;
}

/* All of a file, but for one line break at its end. */
static bool
read_file(const char *path, struct lm_buf *value, struct lm_err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *file;
    bool ok;

    if (is_stdin && isatty(STDIN_FILENO)) {
        lm_err_set(
            err, LM_ERR_USAGE,
            "standard input is a terminal, and a terminal shows the value");
        return lm_err_hint(err, "Redirect it from a file or a pipe.");
    }
    file = is_stdin ? stdin : fopen(path, "re");
    if (file == NULL) {
        lm_err_set(err, LM_ERR_USAGE, "could not open \"%s\"", path);
        return lm_err_detail(err, "%s", strerror(errno));
    }
    ok = read_all(file, value, path, err);
    if (!is_stdin)
        fclose(file);
    if (ok && value->len > 0 && value->data[value->len - 1] == '\n')
        value->data[--value->len] = '\0';
    return ok;
}

static bool
read_variable(const char *name, struct lm_buf *value, struct lm_err *err)
{
    const char *text = getenv(name);

    if (text == NULL) {
        lm_err_set(err, LM_ERR_USAGE, "variable %s is not set", name);
        return lm_err_hint(
            err, "Export it: the shell passes on only exported variables.");
    }
    lm_buf_puts(value, text);
    return true;
}

/* A second reader would find nothing left. */
static bool
is_stdin_taken(const struct lm_args *self, int index)
{
    for (int i = 0; i < index; i++) {
        const struct lm_args_source *source = &self->sources[i];

        if (!source->is_variable &&
            strcmp(strchr(source->text, '=') + 1, "-") == 0)
            return true;
    }
    return false;
}

static bool
read_value(const struct lm_args *self, int index, const char *from,
           struct lm_buf *value, struct lm_err *err)
{
    if (self->sources[index].is_variable)
        return read_variable(from, value, err);
    if (strcmp(from, "-") == 0 && is_stdin_taken(self, index)) {
        return lm_err_set(err, LM_ERR_USAGE,
                          "only one argument can come from standard input");
    }
    return read_file(from, value, err);
}

static bool
read_source(struct lm_args *self, int index, struct lm_err *err)
{
    const struct lm_args_source *source = &self->sources[index];
    const char *equals = strchr(source->text, '=');
    struct lm_buf value = LM_BUF_INIT;
    struct lm_buf text = LM_BUF_INIT;
    int name_len;
    bool ok;

    if (equals == NULL || equals == source->text || equals[1] == '\0') {
        return lm_err_set(err, LM_ERR_USAGE, "%s, not \"%s\"",
                          source->is_variable ? "--arg-env takes NAME=VARIABLE"
                                              : "--arg-file takes NAME=PATH",
                          source->text);
    }
    name_len = (int)(equals - source->text);
    ok = read_value(self, index, equals + 1, &value, err);
    if (ok && value.len == 0)
        ok = lm_err_set(err, LM_ERR_USAGE, "its value is empty");
    if (ok) {
        lm_secret_add(lm_buf_text(&value));
        lm_buf_printf(&text, "%.*s=%s", name_len, source->text,
                      lm_buf_text(&value));
        lm_args_take(self, text.data);
        self->secret_count++;
    } else {
        lm_err_prefix(err, "argument \"%.*s\"", name_len, source->text);
    }
    lm_buf_release(&value);
    lm_buf_release(&text);
    return ok;
}

bool
lm_args_read(struct lm_args *self, struct lm_err *err)
{
    for (int i = 0; i < self->source_count; i++) {
        if (!read_source(self, i, err))
            return false;
    }
    return true;
}
