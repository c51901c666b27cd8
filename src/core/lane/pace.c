/* SPDX-License-Identifier: MIT */
/* Compares how long pages take with the first pages. */

#include "core/lane/lane.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

enum {
    SLOW_MS = 1000,   /* a page that takes less is no trouble */
    SLOW_FACTOR = 10, /* over the pages at first */
    AGAIN_MS = 600000
};

static int
compare_ms(const void *a, const void *b)
{
    const int64_t *one = a;
    const int64_t *other = b;

    return (*one > *other) - (*one < *other);
}

int64_t
lm_pace_median_ms(const struct lm_pace *self)
{
    int64_t sorted[LM_COUNT(self->first_ms)];

    memcpy(sorted, self->first_ms, sizeof sorted);
    qsort(sorted, LM_COUNT(sorted), sizeof *sorted, compare_ms);
    return sorted[LM_COUNT(sorted) / 2];
}

void
lm_pace_note(struct lm_pace *self, int64_t page_ms)
{
    self->last_ms = page_ms;
    if (self->count < (int)LM_COUNT(self->first_ms)) {
        self->first_ms[self->count++] = page_ms;
    } else if (page_ms > SLOW_MS &&
               page_ms > SLOW_FACTOR * lm_pace_median_ms(self)) {
        self->slow_ms = page_ms;
    }
}

bool
lm_pace_is_worth_a_look(struct lm_pace *self)
{
    int64_t now = lm_clock_ms();

    if (self->slow_ms == 0 ||
        (self->looked_ms > 0 && now - self->looked_ms < AGAIN_MS))
        return false;
    self->looked_ms = now;
    return true;
}

void
lm_pace_looked(struct lm_pace *self)
{
    self->slow_ms = 0;
}
