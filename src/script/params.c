/* SPDX-License-Identifier: MIT */
/* Collects encoded values in one buffer; pointers are made at the end, since
 * the buffer moves while it grows. */

#include "script/params.h"

#include <stdlib.h>
#include <string.h>

bool
lm_params_add(struct lm_params *self, lua_State *L, int index,
              const struct lm_type *type, struct lm_err *err)
{
    size_t offset = self->bytes.len;
    size_t count = (size_t)self->count + 1;
    bool is_null = false;

    if (!lm_value_encode(L, index, type, &self->bytes, &is_null, err))
        return false;
    self->offsets = lm_realloc(self->offsets, count, sizeof *self->offsets);
    self->nulls = lm_realloc(self->nulls, count, sizeof *self->nulls);
    self->offsets[self->count] = offset;
    self->nulls[self->count++] = is_null;
    return true;
}

struct lm_values
lm_params_values(struct lm_params *self)
{
    struct lm_values values;

    self->texts =
        lm_realloc(self->texts, (size_t)self->count, sizeof *self->texts);
    for (int i = 0; i < self->count; i++) {
        self->texts[i] =
            self->nulls[i] ? NULL : self->bytes.data + self->offsets[i];
    }
    values.texts = self->texts;
    values.count = self->count;
    return values;
}

void
lm_params_release(struct lm_params *self)
{
    lm_buf_release(&self->bytes);
    free(self->offsets);
    free(self->nulls);
    free(self->texts);
    memset(self, 0, sizeof *self);
}
