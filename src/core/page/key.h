/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PAGE_KEY_H
#define LM_CORE_PAGE_KEY_H

/* The key of one row: a text for each key column, in their order. The value
 * owns its texts. {NULL, 0} is the empty key, which no row has. Functions that
 * only read take NULL as an empty key. */

#include "base/mem.h"

#include <stdbool.h>

struct lm_base_query;

struct lm_key {
    char **texts;
    int count;
};

/* Empties it. */
void lm_key_release(struct lm_key *self);

bool lm_key_is_empty(const struct lm_key *self);
/* Has it a text for each of so many columns? */
bool lm_key_fits(const struct lm_key *self, int count);

/* Makes it a copy of count texts (NULL for NULL), or of another key. */
void lm_key_set(struct lm_key *self, const char *const *texts, int count);
void lm_key_copy(struct lm_key *self, const struct lm_key *from);
void lm_key_swap(struct lm_key *self, struct lm_key *other);

/* Adds "(id, tenant) = (7, 3)", for messages. */
void lm_key_describe(const struct lm_key *self,
                     const struct lm_base_query *query, struct lm_buf *buf);

#endif
