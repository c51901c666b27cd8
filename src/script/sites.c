/* SPDX-License-Identifier: MIT */
/* The memory of call sites: a script has a handful, so a list will do. A site
 * whose names change altogether is noted anew; only a loss is noticed. */

#include "script/sites.h"

#include <stdlib.h>
#include <string.h>

struct lm_site {
    char *where;
    const char *what; /* a literal */
    char **names;
    int count;
    bool noticed;
};

static struct lm_site *
find_site(struct lm_sites *self, const char *where, const char *what)
{
    for (size_t i = 0; i < self->count; i++) {
        struct lm_site *site = &self->known[i];

        if (strcmp(site->where, where) == 0 && strcmp(site->what, what) == 0)
            return site;
    }
    return NULL;
}

static struct lm_site *
add_site(struct lm_sites *self, const char *where, const char *what)
{
    struct lm_site *site;

    self->known = lm_realloc(self->known, self->count + 1, sizeof *self->known);
    site = &self->known[self->count++];
    memset(site, 0, sizeof *site);
    site->where = lm_strdup(where);
    site->what = what;
    return site;
}

static void
forget_names(struct lm_site *site)
{
    for (int i = 0; i < site->count; i++)
        free(site->names[i]);
    free(site->names);
    site->names = NULL;
    site->count = 0;
}

static void
set_names(struct lm_site *site, struct lm_names names)
{
    forget_names(site);
    site->names = lm_calloc((size_t)names.count, sizeof *site->names);
    for (int i = 0; i < names.count; i++)
        site->names[i] = lm_strdup(names.names[i]);
    site->count = names.count;
}

/* Both are sorted. Returns how many of names the site knows, and the first of
 * its own that names does not have. */
static int
compare(const struct lm_site *site, struct lm_names names, const char **missing)
{
    int common = 0;
    int at = 0;

    *missing = NULL;
    for (int i = 0; i < site->count; i++) {
        while (at < names.count && strcmp(names.names[at], site->names[i]) < 0)
            at++;
        if (at < names.count && strcmp(names.names[at], site->names[i]) == 0) {
            common++;
        } else if (*missing == NULL) {
            *missing = site->names[i];
        }
    }
    return common;
}

const char *
lm_sites_note(struct lm_sites *self, const char *where, const char *what,
              struct lm_names names, bool *first)
{
    struct lm_site *site = find_site(self, where, what);
    const char *missing;

    *first = false;
    if (site == NULL)
        site = add_site(self, where, what);
    if (compare(site, names, &missing) < names.count) {
        set_names(site, names); /* others, or more than before */
        return NULL;
    }
    if (missing == NULL)
        return NULL;
    *first = !site->noticed;
    site->noticed = true;
    return missing;
}

void
lm_sites_release(struct lm_sites *self)
{
    for (size_t i = 0; i < self->count; i++) {
        forget_names(&self->known[i]);
        free(self->known[i].where);
    }
    free(self->known);
    memset(self, 0, sizeof *self);
}
