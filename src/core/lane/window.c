/* SPDX-License-Identifier: MIT */
/*
 * Pages that are too slow at any size because very few rows match: the server
 * reads until it has found one. Then luamig reads the key in windows. A window
 * ends at the key that is so many rows ahead in the key's table; the key's
 * index finds it. The page query looks only into the window. The cursor moves
 * to the end of a window even if nothing matched, so no search is done twice.
 *
 * Windows grow while they are fast, and shrink when they time out. When pages
 * become full before their window ends, the run stops using windows.
 */

#include "base/clock.h"
#include "base/log.h"
#include "core/lane/private.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    FIRST_PER_BATCH = 16,
    FIRST_LEAST = 10000,
    QUICK_MS = 500, /* and then a larger one may still be short */
    SLOW_PAGES = 2, /* in a row: halving alone does not help */
    FULL_PAGES = 3
};

static const int64_t MOST_ROWS = INT64_C(1) << 40;

void
lm_window_release(struct lm_window *self)
{
    free(self->table);
    self->table = NULL;
}

bool
lm_window_find_table(struct lm_lane *self, struct lm_err *err)
{
    return self->window.table != NULL ||
           lm_page_key_table(lm_lane_reader(self), &self->query,
                             &self->window.table, err);
}

/* The bound of the next page: the window's end, or that of the run (empty:
 * none). end is set when it is the window's. */
bool
lm_lane_find_window(struct lm_lane *self, struct lm_key *end,
                    struct lm_err *err)
{
    struct lm_window *window = &self->window;

    window->began_ms = lm_clock_ms();
    return window->rows == 0 ||
           lm_page_window_end(lm_lane_reader(self), &self->query, window->table,
                              &self->range.cursor, &self->range.upper,
                              window->rows, end, err);
}

void
lm_lane_window_passed(struct lm_lane *self, bool full)
{
    struct lm_window *window = &self->window;
    int64_t elapsed_ms = lm_clock_ms() - window->began_ms;
    int64_t quick_ms = self->migration->statement_timeout_ms / 4;

    window->slow_pages = 0;
    if (window->rows == 0)
        return;
    if (elapsed_ms < (quick_ms < QUICK_MS ? quick_ms : QUICK_MS) &&
        window->rows < MOST_ROWS)
        window->rows *= 2;
    window->full_pages = full ? window->full_pages + 1 : 0;
    if (window->full_pages >= FULL_PAGES) {
        lm_log(LM_LOG_DEBUG, "pages are full again: the run does not use "
                             "windows of the key any more");
        window->rows = 0;
    }
}

static bool
begin_windows(struct lm_lane *self)
{
    struct lm_window *window = &self->window;
    int64_t rows = self->migration->batch_size * FIRST_PER_BATCH;
    struct lm_err ignored;

    if (!lm_window_find_table(self, &ignored) || window->table == NULL)
        return false;
    window->rows = rows > FIRST_LEAST ? rows : FIRST_LEAST;
    window->full_pages = 0;
    lm_log(LM_LOG_INFO,
           "pages take too long: reading the key in windows of %" PRId64
           " rows of %s",
           window->rows, window->table);
    return true;
}

bool
lm_lane_narrow_window(struct lm_lane *self)
{
    struct lm_window *window = &self->window;

    if (!self->attempt.paging)
        return false;
    if (window->rows > 1) {
        window->rows = window->rows > 4 ? window->rows / 4 : 1;
        lm_log(LM_LOG_DEBUG, "a window of %" PRId64 " rows", window->rows);
        return true;
    }
    window->slow_pages++;
    return window->rows == 0 && window->slow_pages >= SLOW_PAGES &&
           begin_windows(self);
}

/* -- other lanes ---------------------------------------------------------- */

struct lm_habits
lm_lane_habits(const struct lm_lane *self)
{
    return (struct lm_habits){self->size, self->window.rows};
}

bool
lm_lane_adopt(struct lm_lane *self, const struct lm_habits *habits,
              struct lm_err *err)
{
    self->size = habits->size;
    if (habits->window_rows == 0)
        return true;
    if (!lm_window_find_table(self, err))
        return false;
    if (self->window.table != NULL)
        self->window.rows = habits->window_rows;
    return true;
}
