/* SPDX-License-Identifier: MIT */
/* Remembers the lines that call the repo. A script has few of them, so lists
 * are enough. If all names at a line change, they are noted again; only a
 * missing name is reported. */

#include "script/bind/sites.h"

#include "script/bind/pattern.h"

#include <stdlib.h>
#include <string.h>

/* The names that were passed as key, condition or changes. */
struct lm_note {
    struct lm_note *next;
    const char *what; /* a literal */
    char **names;
    int count;
    bool noticed;
};

struct lm_site {
    struct lm_site *next;
    int line;
    size_t file_len;
    char *where;
    struct lm_note *notes;
    struct lm_pattern *patterns;
};

struct lm_site *
lm_sites_at(struct lm_sites *self, const char *file, int line)
{
    size_t bucket = (size_t)line % LM_COUNT(self->lines);
    size_t file_len = strlen(file);
    struct lm_site *site;

    for (site = self->lines[bucket]; site != NULL; site = site->next) {
        if (site->line == line && site->file_len == file_len &&
            memcmp(site->where, file, file_len) == 0)
            return site;
    }
    site = lm_calloc(1, sizeof *site);
    site->line = line;
    site->file_len = file_len;
    site->where = lm_format("%s:%d", file, line);
    site->next = self->lines[bucket];
    self->lines[bucket] = site;
    return site;
}

const char *
lm_site_where(const struct lm_site *self)
{
    return self->where;
}

struct lm_pattern **
lm_site_patterns(struct lm_site *self)
{
    return &self->patterns;
}

static struct lm_note *
find_note(struct lm_site *self, const char *what)
{
    struct lm_note *note;

    for (note = self->notes; note != NULL; note = note->next) {
        if (strcmp(note->what, what) == 0)
            return note;
    }
    note = lm_calloc(1, sizeof *note);
    note->what = what;
    note->next = self->notes;
    self->notes = note;
    return note;
}

static void
forget_names(struct lm_note *note)
{
    lm_free_texts(note->names, note->count);
    note->names = NULL;
    note->count = 0;
}

static void
set_names(struct lm_note *note, struct lm_names names)
{
    forget_names(note);
    note->names = lm_calloc((size_t)names.count, sizeof *note->names);
    for (int i = 0; i < names.count; i++)
        note->names[i] = lm_strdup(names.names[i]);
    note->count = names.count;
}

/* Both are sorted. Returns how many of names are noted, and the first of those
 * noted that names does not have. */
static int
compare(const struct lm_note *note, struct lm_names names, const char **missing)
{
    int common = 0;
    int at = 0;

    *missing = NULL;
    for (int i = 0; i < note->count; i++) {
        while (at < names.count && strcmp(names.names[at], note->names[i]) < 0)
            at++;
        if (at < names.count && strcmp(names.names[at], note->names[i]) == 0) {
            common++;
        } else if (*missing == NULL) {
            *missing = note->names[i];
        }
    }
    return common;
}

const char *
lm_site_note(struct lm_site *self, const char *what, struct lm_names names,
             bool *first)
{
    struct lm_note *note = find_note(self, what);
    const char *missing;

    *first = false;
    if (compare(note, names, &missing) < names.count) {
        set_names(note, names); /* others, or more than before */
        lm_pattern_free_all(&self->patterns);
        return NULL;
    }
    if (missing == NULL)
        return NULL;
    *first = !note->noticed;
    note->noticed = true;
    return missing;
}

static void
site_free(struct lm_site *self)
{
    while (self->notes != NULL) {
        struct lm_note *note = self->notes;

        self->notes = note->next;
        forget_names(note);
        free(note);
    }
    lm_pattern_free_all(&self->patterns);
    free(self->where);
    free(self);
}

void
lm_sites_release(struct lm_sites *self)
{
    for (size_t i = 0; i < LM_COUNT(self->lines); i++) {
        while (self->lines[i] != NULL) {
            struct lm_site *site = self->lines[i];

            self->lines[i] = site->next;
            site_free(site);
        }
    }
}
