/* SPDX-License-Identifier: MIT */
/*
 * The widest range is cut, by the planner's estimate. Its cuts come from a
 * sample of the key's table, or, if that is too coarse or there is no such
 * table, from a walk over the next rows of the base query.
 */

#include "core/lane/share.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "core/lane/private.h"

#include <stdlib.h>
#include <string.h>

enum {
    LOOK_MS = 200,
    /* A worker that connects again has no session for a moment. */
    GRACE_MS = 3000,
    READ_MS = 500,
    WORTH_BATCHES = 2,
    WALK_BATCHES = 32,
    FEW_KEYS = 8 /* a part; a sample of fewer is too coarse */
};

bool
lm_lane_needs_range(const struct lm_lane *self)
{
    return self->range.id == 0 || self->range_done ||
           self->range.batches >= LM_LANE_RANGE_BATCHES;
}

/* -- where to cut ------------------------------------------------------------ */

static bool
begin_reading(struct lm_lane *self, struct lm_err *err)
{
    struct lm_txn txn = lm_lane_read_txn(self);

    txn.statement_timeout_ms = READ_MS;
    return lm_txn_begin(lm_lane_reader(self), &txn, err);
}

/* A query that fails here is none of the run's. */
static bool
end_reading(struct lm_lane *self, bool ok, struct lm_err *err)
{
    if (!ok && err->kind == LM_ERR_LOST)
        return false;
    if (!ok)
        lm_log(LM_LOG_DEBUG, "no place to cut: %s", err->message);
    lm_conn_rollback(lm_lane_reader(self));
    return true;
}

static bool
sample(struct lm_lane *self, const struct lm_range *range, int parts,
       struct lm_cuts *cuts, struct lm_err *err)
{
    bool ok = lm_window_find_table(self, err);

    if (ok && self->window.table == NULL)
        return true;
    ok = ok && begin_reading(self, err) &&
         lm_page_sample_cuts(lm_lane_reader(self), &self->query,
                             self->window.table, &range->cursor, &range->upper,
                             parts - 1, cuts, err);
    return end_reading(self, ok, err);
}

static bool
walk(struct lm_lane *self, const struct lm_range *range, struct lm_cuts *cuts,
     struct lm_err *err)
{
    bool ok = begin_reading(self, err) &&
              lm_page_walk_to_cut(lm_lane_reader(self), &self->query,
                                  &range->cursor, &range->upper,
                                  lm_size_rows(&self->size) * WALK_BATCHES,
                                  cuts, err);

    return end_reading(self, ok, err);
}

/* Leaves cuts empty if the range is not worth it. */
static bool
find_cuts(struct lm_lane *self, const struct lm_range *range, int parts,
          struct lm_cuts *cuts, struct lm_err *err)
{
    int64_t worth = lm_size_rows(&self->size) * WORTH_BATCHES;
    struct lm_cuts walked = {.of = NULL};

    if (!sample(self, range, parts, cuts, err))
        return false;
    if (cuts->seen < (int64_t)parts * FEW_KEYS || cuts->rows < worth) {
        if (!walk(self, range, &walked, err))
            return false;
        if (walked.count > 0 || cuts->count == 0) {
            struct lm_cuts coarse = *cuts;

            *cuts = walked;
            walked = coarse;
        }
        lm_cuts_release(&walked);
    }
    if (cuts->rows < worth)
        lm_cuts_release(cuts);
    return true;
}

/* -- cutting ------------------------------------------------------------------ */

/* Keeps the cuts that are after the cursor, and each after the one before: the
 * owner may have passed some meanwhile. By the comparison of pages, whatever
 * order they came in: of two ranges no key may be in both. */
static bool
keep_usable_cuts(struct lm_lane *self, const struct lm_range *range,
                 struct lm_cuts *cuts, struct lm_err *err)
{
    const struct lm_key *last = &range->cursor;
    int kept = 0;

    for (int i = 0; i < cuts->count; i++) {
        bool after = true;

        if (!lm_key_is_empty(last) &&
            !lm_page_is_key_after(lm_lane_reader(self), &self->query,
                                  &cuts->of[i], last, &after, err))
            return false;
        if (!after)
            continue;
        lm_key_swap(&cuts->of[kept], &cuts->of[i]);
        last = &cuts->of[kept++];
    }
    while (cuts->count > kept)
        lm_key_release(&cuts->of[--cuts->count]);
    return true;
}

/* The same range as before, but perhaps further on. */
static bool
has_upper(const struct lm_range *range, const struct lm_key *upper)
{
    if (range->upper.count != upper->count)
        return false;
    for (int i = 0; i < upper->count; i++) {
        if (strcmp(range->upper.texts[i], upper->texts[i]) != 0)
            return false;
    }
    return true;
}

static bool
cut(struct lm_lane *self, struct lm_range *range, struct lm_cuts *cuts,
    bool *freed, struct lm_err *err)
{
    struct lm_key upper = {NULL, 0};
    bool there = false;
    bool ok;

    lm_key_copy(&upper, &range->upper);
    LM_FAULT("before_cut");
    ok = lm_journal_lock_range(&self->journal, self->run->id, range, &there,
                               err);
    there = there && has_upper(range, &upper);
    ok = ok && (!there || keep_usable_cuts(self, range, cuts, err));
    if (ok && there && cuts->count > 0) {
        ok = lm_journal_cut(&self->journal, self->run->id, range, cuts->of,
                            cuts->count, err);
        *freed = ok;
    } else if (ok && !there) { /* somebody else was faster */
        lm_conn_rollback(self->conn);
        *freed = true;
    }
    lm_key_release(&upper);
    return ok;
}

/* Another worker keeps the row, or the range is another one by now: later. */
static bool
end_sharing(struct lm_lane *self, bool ok, bool freed, struct lm_err *err)
{
    if (!freed)
        lm_conn_rollback(self->conn);
    if (ok || err->kind == LM_ERR_LOST || !lm_lane_is_temporary(err))
        return ok;
    lm_log(LM_LOG_DEBUG, "%s; looking again later", err->message);
    return true;
}

static bool
cut_range(struct lm_lane *self, struct lm_range *range, int parts, bool *freed,
          struct lm_err *err)
{
    struct lm_cuts cuts = {.of = NULL};
    bool ok = find_cuts(self, range, parts, &cuts, err);

    if (ok && cuts.count > 0) {
        ok = cut(self, range, &cuts, freed, err);
        ok = end_sharing(self, ok, *freed, err);
    }
    lm_cuts_release(&cuts);
    return ok;
}

bool
lm_lane_cut_own(struct lm_lane *self, int parts, struct lm_err *err)
{
    struct lm_range range = self->range;
    bool freed = false;
    bool mine = true;
    bool ok;

    memset(&range.cursor, 0, sizeof range.cursor);
    memset(&range.upper, 0, sizeof range.upper);
    lm_key_copy(&range.cursor, &self->range.cursor);
    lm_key_copy(&range.upper, &self->range.upper);
    ok = cut_range(self, &range, parts, &freed, err) &&
         (!freed ||
          lm_journal_read_range(&self->journal, &self->range, &mine, err));
    lm_range_release(&range);
    return ok;
}

/* -- whose range ---------------------------------------------------------------- */

static struct lm_range *
find_widest(struct lm_lane *self, struct lm_neighbours *all)
{
    struct lm_range *widest = NULL;
    int64_t most = -1;

    for (int i = 0; i < all->count; i++) {
        struct lm_range *range = &all->of[i].range;
        int64_t rows;

        if (!all->of[i].alive || range->id == self->range.id)
            continue;
        rows = all->count == 1
                   ? 1
                   : lm_page_estimate(lm_lane_reader(self), &self->query,
                                      &range->cursor, &range->upper);
        if (rows > most) {
            most = rows;
            widest = range;
        }
    }
    return widest;
}

/* A range whose worker is gone, and was before. */
static struct lm_neighbour *
find_abandoned(struct lm_share *share, struct lm_neighbours *all)
{
    int64_t now = lm_clock_ms();

    for (int i = 0; i < all->count; i++) {
        struct lm_range *range = &all->of[i].range;

        if (all->of[i].alive)
            continue;
        if (share->suspect != range->id || share->suspect_seq != range->seq) {
            share->suspect = range->id;
            share->suspect_seq = range->seq;
            share->suspect_since_ms = now;
            return NULL;
        }
        return now - share->suspect_since_ms >= LM_FAULT_GRACE(GRACE_MS)
                   ? &all->of[i]
                   : NULL;
    }
    share->suspect = 0;
    return NULL;
}

static bool
abandon(struct lm_lane *self, struct lm_neighbour *neighbour, bool *freed,
        struct lm_err *err)
{
    struct lm_range *range = &neighbour->range;
    int64_t seq = range->seq;
    bool there = false;
    bool ok;

    lm_journal_end_idle(&self->journal, self->run->id, neighbour);
    ok = lm_journal_lock_range(&self->journal, self->run->id, range, &there,
                               err);

    if (ok && there && range->seq == seq) {
        ok = lm_journal_abandon(&self->journal, range, err);
        *freed = ok;
    }
    if (*freed) {
        lm_log(LM_LOG_WARNING, "a worker of this run is gone; its range of "
                               "keys is free again");
    }
    return end_sharing(self, ok, *freed, err);
}

bool
lm_lane_free_abandoned(struct lm_lane *self, struct lm_share *share,
                       bool *freed, struct lm_err *err)
{
    struct lm_neighbours all;
    struct lm_neighbour *gone;
    bool ok = true;

    *freed = false;
    if (!lm_journal_list_neighbours(&self->journal, self->run->id, true, &all,
                                    err))
        return false;
    gone = find_abandoned(share, &all);
    if (gone != NULL)
        ok = abandon(self, gone, freed, err);
    lm_neighbours_release(&all);
    return ok;
}

bool
lm_lane_share(struct lm_lane *self, struct lm_share *share, int parts,
              bool *freed, struct lm_err *err)
{
    struct lm_neighbours all;
    struct lm_neighbour *gone;
    struct lm_range *range;
    bool ok = true;

    *freed = false;
    if (lm_clock_ms() < share->due_ms)
        return true;
    if (!lm_journal_list_neighbours(&self->journal, self->run->id, true, &all,
                                    err))
        return false;
    gone = find_abandoned(share, &all);
    if (gone != NULL) {
        ok = abandon(self, gone, freed, err);
    } else if ((range = find_widest(self, &all)) != NULL) {
        ok = cut_range(self, range, parts, freed, err);
    }
    lm_neighbours_release(&all);
    share->due_ms = *freed ? 0 : lm_clock_ms() + LOOK_MS;
    return ok;
}
