/* SPDX-License-Identifier: MIT */
/* Reads .env files. If it does not understand a file, it refuses the whole
 * file and sets nothing: a password that was cut at a quotation mark is hard
 * to find. */

#include "base/dotenv.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct reader {
    const char *at;
    const char *end;
    int line;
    const char *path;
    struct lm_buf name;
    struct lm_buf value;
};

static bool
fail_at(const struct reader *self, int line, const char *what,
        struct lm_err *err)
{
    lm_err_set(err, LM_ERR_SCRIPT, "%s:%d: %s", self->path, line, what);
    lm_err_hint(err,
                "Write NAME=VALUE, NAME='VALUE' or NAME=\"VALUE\" on a line of "
                "its own. A line that begins with # is a comment.");
    return false;
}

static bool
is_at(const struct reader *self, char c)
{
    return self->at < self->end && *self->at == c;
}

/* The line ends here, CR or not? */
static bool
is_at_end(const struct reader *self)
{
    return self->at == self->end || *self->at == '\n' ||
           (*self->at == '\r' &&
            (self->at + 1 == self->end || self->at[1] == '\n'));
}

static void
skip_blanks(struct reader *self)
{
    while (is_at(self, ' ') || is_at(self, '\t'))
        self->at++;
}

static void
skip_line(struct reader *self)
{
    while (self->at < self->end && *self->at != '\n')
        self->at++;
    if (self->at < self->end)
        self->at++;
    self->line++;
}

static bool
read_name(struct reader *self)
{
    const char *start = self->at;

    while (self->at < self->end && (isalnum((unsigned char)*self->at) ||
                                    strchr("_.-", *self->at) != NULL))
        self->at++;
    lm_buf_clear(&self->name);
    lm_buf_add(&self->name, start, (size_t)(self->at - start));
    return self->at > start && !isdigit((unsigned char)*start);
}

/* "export NAME" names NAME. */
static bool
read_left_side(struct reader *self)
{
    if (!read_name(self))
        return false;
    if (strcmp(lm_buf_text(&self->name), "export") == 0 &&
        (is_at(self, ' ') || is_at(self, '\t'))) {
        skip_blanks(self);
        if (!is_at(self, '=') && !read_name(self))
            return false;
    }
    skip_blanks(self);
    if (!is_at(self, '='))
        return false;
    self->at++;
    skip_blanks(self);
    return true;
}

/* Reads up to the end of the line, or to a "#" after a space; without spaces
 * at the end. */
static void
read_plain(struct reader *self)
{
    for (; !is_at_end(self); self->at++) {
        bool after_blank = self->at[-1] == ' ' || self->at[-1] == '\t';

        if (*self->at == '#' && after_blank)
            break;
        lm_buf_putc(&self->value, *self->at);
    }
    while (self->value.len > 0 &&
           strchr(" \t", self->value.data[self->value.len - 1]) != NULL)
        self->value.data[--self->value.len] = '\0';
}

static void
read_escape(struct reader *self)
{
    switch (*self->at) {
    case 'n':
        lm_buf_putc(&self->value, '\n');
        break;
    case 'r':
        lm_buf_putc(&self->value, '\r');
        break;
    case 't':
        lm_buf_putc(&self->value, '\t');
        break;
    case '"':
    case '\\':
    case '$':
        lm_buf_putc(&self->value, *self->at);
        break;
    default:
        lm_buf_putc(&self->value, '\\');
        lm_buf_putc(&self->value, *self->at);
    }
}

/* From one quotation mark to the next; false when there is none. */
static bool
read_quoted(struct reader *self)
{
    char quote = *self->at++;

    for (; self->at < self->end && *self->at != quote; self->at++) {
        bool is_crlf = *self->at == '\r' && is_at_end(self);

        if (quote == '"' && *self->at == '\\' && self->at + 1 < self->end) {
            self->at++;
            read_escape(self);
        } else if (!is_crlf) {
            lm_buf_putc(&self->value, *self->at);
        }
        self->line += *self->at == '\n';
    }
    return self->at++ < self->end;
}

static bool
read_value(struct reader *self, struct lm_err *err)
{
    int line = self->line;

    lm_buf_clear(&self->value);
    if (!is_at(self, '"') && !is_at(self, '\'')) {
        read_plain(self);
        return true;
    }
    if (!read_quoted(self))
        return fail_at(self, line, "a quotation mark is not closed", err);
    skip_blanks(self);
    if (is_at_end(self) || is_at(self, '#'))
        return true;
    return fail_at(self, self->line,
                   "something follows the closing quotation mark", err);
}

static bool
read_entry(struct reader *self, lm_dotenv_take take, void *arg,
           struct lm_err *err)
{
    if (!read_left_side(self))
        return fail_at(self, self->line, "not of the form NAME=VALUE", err);
    if (!read_value(self, err))
        return false;
    if (take != NULL)
        take(arg, lm_buf_text(&self->name), lm_buf_text(&self->value));
    return true;
}

static bool
check_bytes(const struct reader *self, struct lm_err *err)
{
    int line = 1;

    for (const char *at = self->at; at < self->end; at++) {
        if (*at == '\0')
            return fail_at(self, line, "there is a NUL byte", err);
        line += *at == '\n';
    }
    return true;
}

bool
lm_dotenv_parse(const char *text, size_t len, const char *path,
                lm_dotenv_take take, void *arg, struct lm_err *err)
{
    static const char mark[] = "\xEF\xBB\xBF";
    struct reader self = {.at = text,
                          .end = text + len,
                          .line = 1,
                          .path = path,
                          .name = LM_BUF_INIT,
                          .value = LM_BUF_INIT};
    bool ok = check_bytes(&self, err);

    if (len >= 3 && memcmp(text, mark, 3) == 0)
        self.at += 3;
    while (ok && self.at < self.end) {
        skip_blanks(&self);
        if (!is_at_end(&self) && !is_at(&self, '#'))
            ok = read_entry(&self, take, arg, err);
        skip_line(&self);
    }
    lm_buf_release(&self.name);
    lm_buf_release(&self.value);
    return ok;
}

/* -- the environment ---------------------------------------------------- */

static void
set_variable(void *arg, const char *name, const char *value)
{
    struct lm_dotenv *self = arg;

    /* The last line of a name counts, as in a shell. */
    if (getenv(name) != NULL && !lm_dotenv_has_set(self, name))
        return;
    setenv(name, value, 1);
    LM_ADD(self->names, self->count) = lm_strdup(name);
}

/* The whole file; true and no text when there is none. */
static bool
read_file(const char *path, struct lm_buf *text, struct lm_err *err)
{
    FILE *file = fopen(path, "re");
    struct stat about;
    bool ok;

    if (file == NULL && (errno == ENOENT || errno == ENOTDIR))
        return true;
    if (file != NULL && fstat(fileno(file), &about) == 0 &&
        S_ISDIR(about.st_mode)) {
        fclose(file);
        return true;
    }
    ok = file != NULL && lm_buf_read(text, file, SIZE_MAX);
    if (!ok) {
        lm_err_set(err, LM_ERR_SCRIPT, "could not read \"%s\": %s", path,
                   strerror(errno));
    }
    if (file != NULL)
        fclose(file);
    return ok;
}

bool
lm_dotenv_load(struct lm_dotenv *self, const char *path, struct lm_err *err)
{
    struct lm_buf text = LM_BUF_INIT;
    bool ok;

    memset(self, 0, sizeof *self);
    ok = read_file(path, &text, err) &&
         lm_dotenv_parse(lm_buf_text(&text), text.len, path, NULL, NULL, err) &&
         lm_dotenv_parse(lm_buf_text(&text), text.len, path, set_variable, self,
                         err);
    lm_buf_release(&text);
    return ok;
}

bool
lm_dotenv_has_set(const struct lm_dotenv *self, const char *name)
{
    for (size_t i = 0; i < self->count; i++) {
        if (strcmp(self->names[i], name) == 0)
            return true;
    }
    return false;
}

void
lm_dotenv_release(struct lm_dotenv *self)
{
    lm_free_texts(self->names, (int)self->count);
    memset(self, 0, sizeof *self);
}
