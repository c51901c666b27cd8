/* SPDX-License-Identifier: MIT */
/*
 * Scripts that get a stretch of the key instead of its rows. The page is read
 * as any other, with the columns of the key only; so it is counted, checked,
 * cut and tried again as any other.
 *
 * A failed row that is tried again is alone in its stretch. What is before it
 * is looked up in the key's table, not in the base query: rows that the base
 * query does not return any more are migrated already.
 */

#include "core/lane/private.h"

bool
lm_lane_find_key_before(struct lm_lane *self, const struct lm_key *key,
                        struct lm_key *out, struct lm_err *err)
{
    struct lm_buf text = LM_BUF_INIT;

    if (!lm_window_find_table(self, err))
        return false;
    if (self->window.table != NULL) {
        return lm_page_key_before(self->conn, &self->query, self->window.table,
                                  key, out, err);
    }
    lm_key_describe(key, &self->query, &text);
    lm_err_set(err, LM_ERR_SCRIPT,
               "the row %s cannot be migrated alone by migrate_range",
               lm_buf_text(&text));
    lm_err_detail(err, "The key does not come from one table, so luamig does "
                       "not know which rows a range would have besides.");
    lm_err_hint(err, "Correct the row, and begin a new run with --again.");
    lm_buf_release(&text);
    return false;
}
