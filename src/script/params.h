/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_PARAMS_H
#define LM_SCRIPT_PARAMS_H

/*
 * The parameters of one execution, being encoded. Holds C memory, so between
 * lm_params_add and lm_params_release nothing may raise.
 */

#include "script/value.h"

struct lm_params {
    struct lm_buf bytes; /* the texts, each with its NUL */
    size_t *offsets;
    bool *nulls;
    const char **texts;
    int count;
};

/* Adds the Lua value at index. */
bool lm_params_add(struct lm_params *self, lua_State *L, int index,
                   const struct lm_type *type, struct lm_err *err) LM_MUSTCHECK;
/* The texts so far; valid until the next add or release. */
struct lm_values lm_params_values(struct lm_params *self);
void lm_params_release(struct lm_params *self);

#endif
