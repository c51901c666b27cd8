/* SPDX-License-Identifier: MIT */
/*
 * Scripts that get a stretch of the key instead of its rows. The page is read
 * as any other, with the columns of the key only; so it is counted, checked,
 * cut and tried again as any other. Where a proof makes checks needless, the
 * server sends the page's last key and no other.
 *
 * A failed row that is tried again is alone in its stretch. What is before it
 * is looked up in the key's table, not in the base query: rows that the base
 * query does not return any more are migrated already.
 */

#include "core/lane/private.h"

/* The first batch shows where the run begins, a dry run samples the rows, and a
 * witness names them. A page in a window is seldom full. */
static bool
may_skip(const struct lm_lane *self, const struct lm_key *cursor, int64_t rows)
{
    return lm_page_may_skip(&self->query) && rows > 1 && self->batch > 1 &&
           !lm_key_is_empty(cursor) && self->window.rows == 0 &&
           !self->narrow.on && !self->options.dry &&
           self->options.witness == NULL;
}

bool
lm_lane_ask_page(struct lm_lane *self, const struct lm_key *cursor,
                 const struct lm_key *bound, int64_t rows, struct lm_err *err)
{
    return lm_page_ask(lm_lane_reader(self), &self->query, cursor, bound, rows,
                       may_skip(self, cursor, rows), &self->question, err);
}

bool
lm_lane_read_page(struct lm_lane *self, const struct lm_key *cursor,
                  const struct lm_key *bound, struct lm_page *page,
                  struct lm_err *err)
{
    int64_t rows = self->question.limit;
    bool skipped = self->question.skip;

    if (!lm_page_read(lm_lane_reader(self), &self->query, &self->question, page,
                      err))
        return false;
    if (!skipped || page->rows > 0)
        return true;
    lm_page_release(page);
    return lm_page_fetch(lm_lane_reader(self), &self->query, cursor, bound,
                         rows, page, err);
}

bool
lm_lane_find_key_before(struct lm_lane *self, const struct lm_key *key,
                        struct lm_key *out, struct lm_err *err)
{
    struct lm_buf text = LM_BUF_INIT;

    if (!lm_window_find_table(self, err))
        return false;
    if (self->window.table != NULL) {
        return lm_page_key_before(lm_lane_reader(self), &self->query,
                                  self->window.table, key, out, err);
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
