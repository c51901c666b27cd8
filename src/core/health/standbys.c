/* SPDX-License-Identifier: MIT */
/*
 * Which standbys are connected, and has one disappeared? Standbys with the
 * same name and address are counted, because they look the same. A standby
 * that reconnects appears twice until the server notices that its old
 * connection is dead; so it counts as one more only if it appears twice for
 * some time.
 */

#include "core/health/health.h"

#include <string.h>

enum { LINGERS_MS = 120000 };

void
lm_standbys_begin(struct lm_standbys *self)
{
    for (int i = 0; i < self->count; i++)
        self->of[i].seen = 0;
}

void
lm_standbys_note(struct lm_standbys *self, const char *name)
{
    int i = 0;

    while (i < self->count && strcmp(self->of[i].name, name) != 0)
        i++;
    if (i == (int)LM_COUNT(self->of))
        return;
    if (i == self->count) {
        self->count++;
        memset(&self->of[i], 0, sizeof self->of[i]);
        LM_ERR_COPY(self->of[i].name, name);
    }
    self->of[i].seen++;
}

static void
count(struct lm_standby *standby, int64_t now_ms)
{
    if (standby->seen <= standby->known) {
        standby->more_since_ms = 0;
        return;
    }
    if (standby->more_since_ms == 0)
        standby->more_since_ms = now_ms;
    if (standby->known == 0 || now_ms - standby->more_since_ms >= LINGERS_MS)
        standby->known = standby->seen;
}

const char *
lm_standbys_missing(struct lm_standbys *self, int64_t now_ms)
{
    const char *missing = NULL;

    for (int i = 0; i < self->count; i++) {
        struct lm_standby *standby = &self->of[i];

        count(standby, now_ms);
        if (standby->seen < standby->known && missing == NULL)
            missing = standby->name;
    }
    return missing;
}
