/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_LANE_SHARE_H
#define LM_CORE_LANE_SHARE_H

/* Work for a lane that has none: it cuts the range of another worker, or takes
 * over that of a worker which is gone. */

#include "core/lane/lane.h"

/* What a lane remembers between two looks. */
struct lm_share {
    int64_t due_ms; /* when to look again */
    /* a range whose worker seems to be gone, and since when */
    int64_t suspect;
    int64_t suspect_seq;
    int64_t suspect_since_ms;
};

/* Has the lane no range, or done enough of it? */
bool lm_lane_needs_range(const struct lm_lane *self);
/* Frees a range of the run, or several, if there is something to free; the lane
 * then asks for the next range. parts: into how many a range may be cut. Does
 * nothing before the next look is due. */
bool lm_lane_share(struct lm_lane *self, struct lm_share *share, int parts,
                   bool *freed, struct lm_err *err) LM_MUSTCHECK;
/* Frees the range of a worker that is gone, if there is one. */
bool lm_lane_free_abandoned(struct lm_lane *self, struct lm_share *share,
                            bool *freed, struct lm_err *err) LM_MUSTCHECK;
/* Cuts the range that the lane holds itself, for others; between batches. */
bool lm_lane_cut_own(struct lm_lane *self, int parts,
                     struct lm_err *err) LM_MUSTCHECK;

#endif
