/* SPDX-License-Identifier: MIT */

#include "core/page/key.h"

#include "core/page/base_query.h"

void
lm_key_release(struct lm_key *self)
{
    lm_free_texts(self->texts, self->count);
    self->texts = NULL;
    self->count = 0;
}

bool
lm_key_is_empty(const struct lm_key *self)
{
    return self == NULL || self->texts == NULL;
}

bool
lm_key_fits(const struct lm_key *self, int count)
{
    if (self->count != count)
        return false;
    for (int i = 0; i < count; i++) {
        if (self->texts[i] == NULL)
            return false;
    }
    return true;
}

void
lm_key_set(struct lm_key *self, const char *const *texts, int count)
{
    char **copy = lm_calloc((size_t)count, sizeof *copy);

    for (int i = 0; i < count; i++)
        copy[i] = texts[i] != NULL ? lm_strdup(texts[i]) : NULL;
    lm_key_release(self);
    self->texts = copy;
    self->count = count;
}

void
lm_key_copy(struct lm_key *self, const struct lm_key *from)
{
    if (lm_key_is_empty(from)) {
        lm_key_release(self);
    } else {
        lm_key_set(self, (const char *const *)from->texts, from->count);
    }
}

void
lm_key_swap(struct lm_key *self, struct lm_key *other)
{
    struct lm_key kept = *self;

    *self = *other;
    *other = kept;
}

void
lm_key_describe(const struct lm_key *self, const struct lm_base_query *query,
                struct lm_buf *buf)
{
    lm_buf_putc(buf, '(');
    for (int i = 0; i < query->key_count; i++)
        lm_buf_printf(buf, "%s%s", i > 0 ? ", " : "", query->key[i]);
    lm_buf_puts(buf, ") = (");
    for (int i = 0; i < self->count; i++) {
        lm_buf_printf(buf, "%s%s", i > 0 ? ", " : "",
                      self->texts[i] != NULL ? self->texts[i] : "NULL");
    }
    lm_buf_putc(buf, ')');
}
