/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_BIND_SITES_H
#define LM_SCRIPT_BIND_SITES_H

/*
 * The lines of a script that call the repo, and what columns each has passed
 * before. A Lua table drops a field whose value is nil, so { owner = row.owner,
 * kind = "tmp" } quietly becomes { kind = "tmp" } for a row without an owner: a
 * condition that is wider than it was written.
 */

#include "core/repo/write.h"

struct lm_site;
struct lm_pattern;

struct lm_sites {
    struct lm_site *lines[64]; /* by line number */
};

/* The site of a line, with its name file:line, which lives as long as self. */
struct lm_site *lm_sites_at(struct lm_sites *self, const char *file, int line);
const char *lm_site_where(const struct lm_site *self);

/*
 * Notes the sorted names that were passed as "the key", "the condition" or
 * "the changes". When they are some, but not all, of those passed there
 * before, returns one that is missing, else NULL. *first is true when that has
 * not been noticed at this place before. The text belongs to self.
 */
const char *lm_site_note(struct lm_site *self, const char *what,
                         struct lm_names names, bool *first);

/* A list of the patterns that the site's calls follow (script/bind/pattern.h);
 * emptied when a call passes names that the one before did not. */
struct lm_pattern **lm_site_patterns(struct lm_site *self);

void lm_sites_release(struct lm_sites *self);

#endif
