/* SPDX-License-Identifier: MIT */
/* Collects encoded values in one buffer; pointers are made at the end, since
 * the buffer moves while it grows. */

#include "script/value/params.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Memory above this, after a row of large values, is freed. */
enum { KEEP_BYTES = 1 << 16 };

void
lm_params_begin(struct lm_params *self, int count)
{
    if (self->bytes.cap > KEEP_BYTES)
        lm_buf_release(&self->bytes);
    lm_buf_clear(&self->bytes);
    if (count > self->room) {
        self->room = count;
        self->offsets =
            lm_realloc(self->offsets, (size_t)count, sizeof *self->offsets);
        self->texts =
            lm_realloc(self->texts, (size_t)count, sizeof *self->texts);
    }
    self->count = count;
    for (int i = 0; i < count; i++)
        self->offsets[i] = SIZE_MAX;
}

bool
lm_params_set(struct lm_params *self, int i, lua_State *L, int index,
              const struct lm_type *type, struct lm_err *err)
{
    size_t offset = self->bytes.len;
    bool is_null = false;

    if (!lm_value_encode(L, index, type, &self->bytes, &is_null, err))
        return false;
    if (!is_null)
        self->offsets[i] = offset;
    return true;
}

bool
lm_params_is_null(const struct lm_params *self, int i)
{
    return self->offsets[i] == SIZE_MAX;
}

struct lm_values
lm_params_values(struct lm_params *self)
{
    for (int i = 0; i < self->count; i++) {
        self->texts[i] = lm_params_is_null(self, i)
                             ? NULL
                             : self->bytes.data + self->offsets[i];
    }
    return (struct lm_values){self->texts, self->count};
}

void
lm_params_release(struct lm_params *self)
{
    lm_buf_release(&self->bytes);
    free(self->offsets);
    free((void *)self->texts);
    memset(self, 0, sizeof *self);
}
