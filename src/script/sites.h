/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_SITES_H
#define LM_SCRIPT_SITES_H

/*
 * What columns each line of a script has passed before. A Lua table drops a
 * field whose value is nil, so { owner = row.owner, kind = "tmp" } quietly
 * becomes { kind = "tmp" } for a row without an owner: a condition that is
 * wider than it was written.
 */

#include "core/write.h"

struct lm_sites {
    struct lm_site *known;
    size_t count;
};

/*
 * Notes the sorted names that were passed as "the key", "the condition" or
 * "the changes" at where. When they are some, but not all, of those passed
 * there before, returns one that is missing, else NULL. *first is true when
 * that has not been noticed at this place before. The text belongs to self.
 */
const char *lm_sites_note(struct lm_sites *self, const char *where,
                          const char *what, struct lm_names names, bool *first);
void lm_sites_release(struct lm_sites *self);

#endif
