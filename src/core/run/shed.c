/* SPDX-License-Identifier: MIT */

#include "core/run/shed.h"

enum {
    CALM_CHECKS = 3,
    ATTEMPTS = 100, /* in a window, at least; of these ... */
    PART = 10,      /* ... a tenth may fail */
    FIRST_WAIT_MS = 30000,
    LONGEST_WAIT_MS = 600000
};

void
lm_shed_note_health(struct lm_shed_health *self, bool pressed, int of)
{
    int now = self->most > 0 && self->most < of ? self->most : of;

    if (pressed) {
        self->calm = 0;
        self->most = now > 1 ? now - 1 : 1;
    } else if (self->most > 0 && ++self->calm >= CALM_CHECKS) {
        self->calm = 0;
        self->most = now + 1 < of ? now + 1 : 0;
    }
}

static void
begin_window(struct lm_shed_conflicts *self, int64_t batches, int64_t conflicts)
{
    self->batches = batches;
    self->conflicts = conflicts;
}

/* Half of them, or the one that was too many. */
static enum lm_shed_change
shrink(struct lm_shed_conflicts *self, int now, int64_t now_ms)
{
    if (self->wait_ms == 0) {
        self->wait_ms = FIRST_WAIT_MS;
    } else if (self->wait_ms * 2 <= LONGEST_WAIT_MS) {
        self->wait_ms *= 2;
    }
    self->most = self->grew ? now - 1 : now / 2;
    self->grew = false;
    self->until_ms = now_ms + self->wait_ms;
    return LM_SHED_FEWER;
}

static enum lm_shed_change
grow(struct lm_shed_conflicts *self, int now, int of, int64_t now_ms)
{
    self->most = now + 1 < of ? now + 1 : 0;
    self->grew = true;
    self->until_ms = now_ms + self->wait_ms;
    return LM_SHED_MORE;
}

enum lm_shed_change
lm_shed_note_conflicts(struct lm_shed_conflicts *self, int64_t batches,
                       int64_t conflicts, int of, int64_t now_ms)
{
    int now = self->most > 0 && self->most < of ? self->most : of;
    int64_t failed = conflicts - self->conflicts;
    int64_t attempts = batches - self->batches + failed;
    bool many = failed > ATTEMPTS / PART && failed > attempts / PART;

    /* A crash of the server may take batches back. */
    if (many || attempts >= ATTEMPTS || attempts < failed)
        begin_window(self, batches, conflicts);
    if (many && now > 1 && (self->most > 0 || now_ms >= self->until_ms))
        return shrink(self, now, now_ms);
    if (many && self->most == 1)
        return LM_SHED_LAST;
    if (self->most > 0 && now_ms >= self->until_ms) {
        begin_window(self, batches, conflicts);
        return grow(self, now, of, now_ms);
    }
    return LM_SHED_SAME;
}

void
lm_shed_blame_others(struct lm_shed_conflicts *self, int64_t now_ms)
{
    self->most = 0;
    self->grew = false;
    self->until_ms = now_ms + LONGEST_WAIT_MS;
}
