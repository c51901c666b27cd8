/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_LANE_PRIVATE_H
#define LM_CORE_LANE_PRIVATE_H

/* What the files of a lane share, and nobody else. */

#include "core/lane/lane.h"

/* By how much the process may grow while a page of several rows is read, and
 * any other answer. */
static const size_t LM_LANE_PAGE_BYTES = (size_t)64 << 20;
static const size_t LM_LANE_ANSWER_BYTES = (size_t)1 << 30;

/* recover.c: a batch begins; its page is looked for; it is there; it is
 * committed. */
void lm_attempt_begin_batch(struct lm_attempt *self);
void lm_attempt_look_for_page(struct lm_attempt *self);
void lm_attempt_found_page(struct lm_attempt *self, int64_t rows);
void lm_attempt_committed(struct lm_attempt *self);
/* Attempts are counted afresh: what is tried now is something else. */
void lm_attempt_begin_anew(struct lm_attempt *self);
/* It is that attempt, of somebody who counts them. */
void lm_attempt_is(struct lm_attempt *self, int number);
/* The transaction in hand is tried again: counts that, and tells the log how. */
void lm_lane_count_retry(struct lm_lane *self, const struct lm_err *err,
                         const char *how);

/* failed_rows.c: the rows of the next page, of those it might have; what a
 * batch that succeeded, or failed, or a row that was found, makes of that. most
 * is what a page might have. */
int64_t lm_bisection_rows(const struct lm_bisection *self, int64_t rows);
void lm_bisection_passed(struct lm_bisection *self, int64_t rows, int64_t most);
void lm_bisection_failed(struct lm_bisection *self, int64_t rows);
void lm_bisection_found(struct lm_bisection *self);
/* At least one row is asked for, however few there were. */
void lm_bisection_cut(struct lm_bisection *self, int64_t rows);
/* Notes the page of a batch that has failed. */
void lm_lane_note_failed_page(struct lm_lane *self, const struct lm_page *page);
/* The only row of the page: it was not read, so its key stands for it. */
void lm_lane_note_failed_key(struct lm_lane *self, const struct lm_key *key);
void lm_failed_page_release(struct lm_failed_page *self);
/* Cuts the batch, or sets its only row aside. False when there are too many,
 * or when the row could not be recorded; err says why. */
bool lm_lane_record_failed_row(struct lm_lane *self,
                               struct lm_err *err) LM_MUSTCHECK;

/*
 * narrow.c: pages that cannot be read as they are. Which rows a page may have at
 * most, and where it ends: *end is set to a key, unless it ends where it would
 * have ended anyway.
 */
int64_t lm_narrow_rows(const struct lm_narrow *self, int64_t rows);
/* A page of so many rows is looked for, as far as it goes. */
void lm_narrow_begin_page(struct lm_narrow *self, int64_t rows);
bool lm_lane_narrow_page(struct lm_lane *self, struct lm_key *end,
                         struct lm_err *err) LM_MUSTCHECK;
/* A batch with this page is committed. */
void lm_lane_narrow_passed(struct lm_lane *self, const struct lm_page *page);
/* The page could not be read for that reason: true when a narrower one may be,
 * or the row was set aside; else err names the row. */
bool lm_lane_narrow(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
/* Does the error, of a page, lie in a row of it? */
bool lm_lane_is_row_error(const struct lm_err *err);
/* The rows of the batch took too much memory: may fewer do? */
bool lm_lane_take_fewer(struct lm_lane *self);

/* window.c: around a page. Where the window ends in which to look for it; empty:
 * there is none before the bound. */
bool lm_lane_find_window(struct lm_lane *self, struct lm_key *end,
                         struct lm_err *err) LM_MUSTCHECK;
/* The page was found; full: it ended before its window. */
void lm_lane_window_passed(struct lm_lane *self, bool full);
/* After a timeout: may a smaller window help? */
bool lm_lane_narrow_window(struct lm_lane *self);
/* Looks up the key's table, once; NULL table: the key comes from several. */
bool lm_window_find_table(struct lm_lane *self,
                          struct lm_err *err) LM_MUSTCHECK;
void lm_window_release(struct lm_window *self);

#endif
