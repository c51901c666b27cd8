/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_LANE_PRIVATE_H
#define LM_CORE_LANE_PRIVATE_H

/* What the files of a lane share, and nobody else. */

#include "core/lane/lane.h"

/* The SQLSTATE when another server, or another database, has the address. */
#define LM_LANE_ANOTHER_SERVER "LM003"

/* How much memory the answer with a page of several rows may take, and any
 * other answer. */
static const size_t LM_LANE_PAGE_BYTES = (size_t)64 << 20;
static const size_t LM_LANE_ANSWER_BYTES = (size_t)1 << 30;

/* A range is given back after so many batches. A row of the journal is not
 * written more often: while somebody holds an old snapshot, each version of it
 * stays. */
enum { LM_LANE_RANGE_BATCHES = 200 };

/* batch.c: the lane has done this. */
void lm_lane_count(struct lm_lane *self, const struct lm_counts *done);

/* recover.c, one function each: a batch begins; the lane looks for its page;
 * the page has been read; the batch is committed. */
void lm_attempt_begin_batch(struct lm_attempt *self);
void lm_attempt_look_for_page(struct lm_attempt *self);
void lm_attempt_found_page(struct lm_attempt *self, int64_t rows);
void lm_attempt_committed(struct lm_attempt *self);
/* Counts attempts from 1 again, because the next attempt is another work. */
void lm_attempt_begin_anew(struct lm_attempt *self);
/* A service that was away has answered. */
void lm_attempt_served(struct lm_attempt *self);
/* Sets the number of the attempt, for a caller that counts by itself. */
void lm_attempt_is(struct lm_attempt *self, int number);
/* Counts a retry of the current transaction, and logs how it is tried. */
void lm_lane_count_retry(struct lm_lane *self, const struct lm_err *err,
                         const char *how);

/* failed_rows.c: how many rows the next page has, of at most rows; and what
 * changes when a batch succeeds, when it fails, and when the failed row is
 * found. most: the size of a page without this search. */
int64_t lm_bisection_rows(const struct lm_bisection *self, int64_t rows);
void lm_bisection_passed(struct lm_bisection *self, int64_t rows, int64_t most);
void lm_bisection_failed(struct lm_bisection *self, int64_t rows);
void lm_bisection_found(struct lm_bisection *self);
/* The same after a failure, but a page has at least one row. */
void lm_bisection_cut(struct lm_bisection *self, int64_t rows);
/* Remembers the page of a batch that has failed. */
void lm_lane_note_failed_page(struct lm_lane *self, const struct lm_page *page);
/* Remembers the key of a page's only row, if the row itself could not be read.
 */
void lm_lane_note_failed_key(struct lm_lane *self, const struct lm_key *key);
void lm_failed_batch_release(struct lm_failed_batch *self);
/* Halves the next batch, or records the batch's only row as a failed row.
 * False if too many rows have failed, or if the row could not be recorded; err
 * says why. */
bool lm_lane_record_failed_row(struct lm_lane *self,
                               struct lm_err *err) LM_MUSTCHECK;

/* source.c: drops all prepared statements, of both connections. */
bool lm_lane_forget_statements(struct lm_lane *self,
                               struct lm_err *err) LM_MUSTCHECK;

/* source.c: says more of an error that two encodings cause. */
void lm_lane_explain_encoding(const struct lm_lane *self, struct lm_err *err);

/* stretch.c, in two steps: asks for a page after cursor and up to bound, and
 * reads it, as lm_page_ask and lm_page_read do; of a full page of keys only the
 * last one, if nobody else looks at its rows. */
bool lm_lane_ask_page(struct lm_lane *self, const struct lm_key *cursor,
                      const struct lm_key *bound, int64_t rows,
                      struct lm_err *err) LM_MUSTCHECK;
bool lm_lane_read_page(struct lm_lane *self, const struct lm_key *cursor,
                       const struct lm_key *bound, struct lm_page *page,
                       struct lm_err *err) LM_MUSTCHECK;
/* Sets *out to the key before this one, so that
 * the stretch between them has no other row of the key's table. */
bool lm_lane_find_key_before(struct lm_lane *self, const struct lm_key *key,
                             struct lm_key *out,
                             struct lm_err *err) LM_MUSTCHECK;

/* narrow.c: pages that the server cannot send. How many rows a page may have
 * at most, and where it ends: sets *end to a key, unless the page ends by its
 * number of rows. */
int64_t lm_narrow_rows(const struct lm_narrow *self, int64_t rows);
/* The lane now looks for a page of so many rows. */
void lm_narrow_begin_page(struct lm_narrow *self, int64_t rows);
bool lm_lane_narrow_page(struct lm_lane *self, struct lm_key *end,
                         struct lm_err *err) LM_MUSTCHECK;
/* A batch with this page is committed. */
void lm_lane_narrow_passed(struct lm_lane *self, const struct lm_page *page);
/* After a page could not be read: true if the lane should try a smaller page,
 * or has recorded the row as a failed row. False: err names the row. */
bool lm_lane_narrow(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
/* Is a row the cause of a page query's error? */
bool lm_lane_is_row_error(const struct lm_err *err);
/* The batch's rows took too much memory. True: the next page has fewer rows. */
bool lm_lane_take_fewer(struct lm_lane *self);

/* batch.c: adds the page's keys to an error of the batch; reads the rows up to
 * window_end, or of the range, in a new transaction. */
void lm_lane_name_batch(const struct lm_lane *self, const struct lm_page *page,
                        struct lm_err *err);
bool lm_lane_read_again(struct lm_lane *self, const struct lm_key *window_end,
                        struct lm_page *page, struct lm_err *err) LM_MUSTCHECK;

/*
 * prepare.c. Does the script prepare rows? Inside the transaction in which the
 * page was read: sees to it that all of its rows are prepared, and then the
 * page is the one of the transaction, and window_end is where it ends, if it
 * ends before its range. *leaves: there is no page and no transaction, and the
 * lane should look what is asked of the run. If this fails, page is released,
 * too.
 */
bool lm_lane_prepares(const struct lm_lane *self);
/* How many rows the next page has, of at most rows. */
int64_t lm_preparing_rows(const struct lm_preparing *self, int64_t rows);
bool lm_lane_prepare_page(struct lm_lane *self, struct lm_key *window_end,
                          struct lm_page *page, bool *leaves,
                          struct lm_err *err) LM_MUSTCHECK;
/* The same for a page of one row. *ready: it is prepared; otherwise the
 * transaction is rolled back, and the row was prepared and should be read
 * again. */
bool lm_lane_prepare_row(struct lm_lane *self, const struct lm_page *page,
                         bool again, bool *ready,
                         struct lm_err *err) LM_MUSTCHECK;
/* A page is committed, or has no row any more. */
void lm_lane_prepared_passed(struct lm_lane *self);

/* window.c, before a page: where the window ends in which the query looks for
 * the page. Empty: no window before the bound. */
bool lm_lane_find_window(struct lm_lane *self, struct lm_key *end,
                         struct lm_err *err) LM_MUSTCHECK;
/* The page was read. full: it had all its rows before the window ended. */
void lm_lane_window_passed(struct lm_lane *self, bool full);
/* After a timeout: makes the window smaller. False if that is not possible. */
bool lm_lane_narrow_window(struct lm_lane *self);
/* Finds the key's table, once. The table is NULL if the key comes from several
 * tables. */
bool lm_window_find_table(struct lm_lane *self,
                          struct lm_err *err) LM_MUSTCHECK;
void lm_window_release(struct lm_window *self);

#endif
