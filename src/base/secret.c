/* SPDX-License-Identifier: MIT */
/*
 * Secrets are kept in a list, which other threads read while one adds to it: a
 * form is complete when it appears, and lives as long as the process.
 */

#include "base/secret.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* A text that is cut shows at least this much of a secret, or it is chance. */
enum { LEAST_CUT = 8 };

static const char mask[] = "***";

/* The parts of a text between these are written, and so masked, one by one. */
static const char separators[] = "\n\t";

struct form {
    const struct form *next;
    char *text;
    size_t len;
    bool in_json; /* may it be unchanged in a JSON string? */
};

static struct form *_Atomic forms;
static pthread_mutex_t adding = PTHREAD_MUTEX_INITIALIZER;

static bool
is_known(const char *text, size_t len, bool in_json)
{
    for (const struct form *form = forms; form != NULL; form = form->next) {
        if (form->len == len && form->in_json == in_json &&
            memcmp(form->text, text, len) == 0)
            return true;
    }
    return false;
}

static void
add_form(const char *text, size_t len, bool in_json)
{
    struct form *form;

    if (len < LM_SECRET_LEAST)
        return;
    pthread_mutex_lock(&adding);
    if (!is_known(text, len, in_json)) {
        form = lm_alloc(sizeof *form);
        *form = (struct form){forms, lm_strndup(text, len), len, in_json};
        forms = form;
    }
    pthread_mutex_unlock(&adding);
}

static void
add_json_form(struct lm_buf *buf, const char *text, size_t len)
{
    static const char from[] = "\"\\\b\f\n\r\t";
    static const char to[] = "\"\\bfnrt";

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        const char *special = strchr(from, c);

        if (special != NULL) {
            lm_buf_printf(buf, "\\%c", to[special - from]);
        } else if (c < 0x20) {
            lm_buf_printf(buf, "\\u%04x", c);
        } else {
            lm_buf_putc(buf, (char)c);
        }
    }
}

static void
add_both_forms(const char *text, size_t len)
{
    struct lm_buf json = LM_BUF_INIT;
    bool is_same;

    add_json_form(&json, text, len);
    is_same = json.len == len;
    add_form(text, len, is_same);
    if (!is_same)
        add_form(lm_buf_text(&json), json.len, true);
    lm_buf_release(&json);
}

void
lm_secret_add(const char *text)
{
    add_both_forms(text, strlen(text));
    if (strpbrk(text, separators) == NULL)
        return;
    while (*text != '\0') {
        size_t len = strcspn(text, separators);

        add_both_forms(text, len);
        text += len;
        text += *text != '\0';
    }
}

bool
lm_secret_any(void)
{
    return forms != NULL;
}

/* -- finding ---------------------------------------------------------------- */

static bool
is_cut_at(const char *at, const char *end, bool json)
{
    return at == end || (json && *at == '"') ||
           (end - at >= 3 && memcmp(at, "...", 3) == 0);
}

/* How many bytes of a secret are at this place; 0: none. */
static size_t
bytes_at(const char *at, const char *end, bool json)
{
    size_t most = 0;

    for (const struct form *form = forms; form != NULL; form = form->next) {
        size_t len = 0;

        if (json && !form->in_json)
            continue;
        while (len < form->len && at + len < end && at[len] == form->text[len])
            len++;
        if (len <= most ||
            (len < form->len &&
             (len < LEAST_CUT || !is_cut_at(at + len, end, json))))
            continue;
        most = len;
    }
    return most;
}

void
lm_secret_add_masked(struct lm_buf *buf, const char *text, size_t len)
{
    const char *end = text + len;

    while (text < end) {
        size_t secret = bytes_at(text, end, false);

        if (secret > 0) {
            lm_buf_puts(buf, mask);
            text += secret;
        } else {
            lm_buf_putc(buf, *text++);
        }
    }
}

void
lm_secret_add_masked_json(struct lm_buf *buf, const char *json)
{
    const char *end = json + strlen(json);
    bool in_string = false;

    while (json < end) {
        size_t secret = in_string ? bytes_at(json, end, true) : 0;

        if (secret > 0) {
            lm_buf_puts(buf, mask);
            json += secret;
        } else {
            if (*json == '"')
                in_string = !in_string;
            if (in_string && *json == '\\' && json + 1 < end)
                lm_buf_putc(buf, *json++);
            lm_buf_putc(buf, *json++);
        }
    }
}

char *
lm_secret_masked(const char *text)
{
    struct lm_buf buf = LM_BUF_INIT;

    if (text == NULL)
        return NULL;
    lm_secret_add_masked(&buf, text, strlen(text));
    return lm_buf_take(&buf);
}

static void
mask_field(char *field, size_t size)
{
    char *masked = lm_secret_masked(field);

    lm_err_copy(field, size, masked, strlen(masked));
    free(masked);
}

void
lm_secret_mask_err(struct lm_err *err)
{
    if (!lm_secret_any())
        return;
    mask_field(err->message, sizeof err->message);
    mask_field(err->detail, sizeof err->detail);
    mask_field(err->hint, sizeof err->hint);
    mask_field(err->where, sizeof err->where);
    mask_field(err->batch, sizeof err->batch);
    mask_field(err->sql, sizeof err->sql);
    mask_field(err->traceback, sizeof err->traceback);
}
