/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_BIND_SITES_H
#define LM_SCRIPT_BIND_SITES_H

/*
 * The lines of a script that call the repo, and the columns that each line has
 * passed before. A Lua table drops a field whose value is nil. So { owner =
 * row.owner, kind = "tmp" } becomes { kind = "tmp" } for a row without an
 * owner: a condition for more rows than the script's author wanted.
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
 * "the changes". If they are some but not all of the names that this line
 * passed before, returns a missing one, else NULL. *first: this was not
 * noticed before. The text belongs to self.
 */
const char *lm_site_note(struct lm_site *self, const char *what,
                         struct lm_names names, bool *first);

/* A list of the patterns that the site's calls follow (script/bind/pattern.h);
 * emptied when a call passes names that the one before did not. */
struct lm_pattern **lm_site_patterns(struct lm_site *self);

void lm_sites_release(struct lm_sites *self);

#endif
