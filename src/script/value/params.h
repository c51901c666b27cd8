/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_VALUE_PARAMS_H
#define LM_SCRIPT_VALUE_PARAMS_H

/* The parameters of one execution, while they are encoded. The memory is used
 * again for the next execution. */

#include "script/value/value.h"

struct lm_params {
    struct lm_buf bytes; /* the texts, each with its NUL */
    size_t *offsets;     /* into bytes; SIZE_MAX for NULL */
    const char **texts;
    int count;
    int room;
};

/* Begins again with so many parameters, all NULL. */
void lm_params_begin(struct lm_params *self, int count);
/* Encodes the Lua value at index as parameter i (from 0). Never raises. */
bool lm_params_set(struct lm_params *self, int i, lua_State *L, int index,
                   const struct lm_type *type, struct lm_err *err) LM_MUSTCHECK;
bool lm_params_is_null(const struct lm_params *self, int i);
/* The texts; valid until the next begin or set. */
struct lm_values lm_params_values(struct lm_params *self);
void lm_params_release(struct lm_params *self);

#endif
