/* SPDX-License-Identifier: MIT */
/* One batch, from BEGIN to COMMIT: the page, the script's work on it, and the
 * checkpoint. The question for the next page goes behind COMMIT. Then the next
 * batch begins with reading the page, in the transaction of the question.
 * core/lane/recover.c handles a batch that failed. */

#include "base/clock.h"
#include "base/fault.h"
#include "base/stop.h"
#include "core/lane/private.h"

#include <inttypes.h>
#include <string.h>

static int64_t
rows_to_ask_for(const struct lm_lane *self)
{
    int64_t size =
        lm_bisection_rows(&self->bisection, lm_size_rows(&self->size));

    size = lm_narrow_rows(&self->narrow, size);
    size = lm_preparing_rows(&self->preparing, size);
    return self->account->limit > 0 && self->reserved < size ? self->reserved
                                                             : size;
}

void
lm_lane_count(struct lm_lane *self, const struct lm_counts *done)
{
    lm_account_add(self->account, done);
    self->host.counted(self->host.run, done);
}

static void
count_batch(struct lm_lane *self, int64_t rows)
{
    struct lm_counts done = {
        .rows = rows, .batches = rows > 0 ? 1 : 0, .passed = self->window.rows};

    self->number = rows > 0 ? 0 : self->number;
    lm_lane_count(self, &done);
    self->reserved = lm_account_reserve(self->account, self->reserved, 0);
}

bool
lm_lane_reserve(struct lm_lane *self)
{
    self->reserved = lm_account_reserve(self->account, self->reserved,
                                        lm_size_rows(&self->size));
    return self->reserved > 0;
}

bool
lm_lane_begin_batch(struct lm_lane *self, struct lm_err *err)
{
    struct lm_txn txn = lm_lane_txn(self);

    txn.durable = self->migration->durable_batches;
    return lm_txn_begin(self->conn, &txn, err);
}

/* -- the next batch, ahead ------------------------------------------------- */

/* The next page, when the batch that moves the cursor there is committed. */
struct next_page {
    struct lm_lane *lane;
    const struct lm_key *cursor;
};

/* A page that takes longer is not asked for ahead. Whoever gives it up waits for
 * its end, and beside it a round trip is nothing. */
enum { AHEAD_PAGE_MS = 250 };

/* Not if anything about the next page is still to be decided. */
static bool
may_ask_ahead(const struct lm_lane *self, const struct lm_page *page)
{
#ifdef LUAMIG_FAULTS
    /* So that the fault point is true: no transaction is open. */
    if (lm_fault_is_armed("after_commit"))
        return false;
#endif
    return page->more && self->account->limit == 0 && !lm_lane_prepares(self) &&
           self->host.goes_on(self->host.run) &&
           self->range.batches + 1 < LM_LANE_RANGE_BATCHES &&
           !lm_lane_has_source(self) && lm_stop_level() == 0 &&
           self->pace.last_ms <= AHEAD_PAGE_MS &&
           self->migration->target_ms == 0 && self->window.rows == 0 &&
           !self->narrow.on && self->bisection.rows_to_search == 0 &&
           self->options.witness == NULL && lm_repo_may_check_ahead(self->repo);
}

static bool
ask_ahead(void *arg, struct lm_err *err)
{
    const struct next_page *next = arg;
    struct lm_lane *self = next->lane;

    lm_conn_limit_answer(self->conn, LM_LANE_PAGE_BYTES);
    return self->host.begin_batch(self->host.run, err) &&
           lm_repo_post_check(self->repo, self->conn, err) &&
           lm_lane_ask_page(self, next->cursor, &self->range.upper,
                            rows_to_ask_for(self), err);
}

/* The size of batches may have changed meanwhile. */
static bool
has_asked_ahead(struct lm_lane *self)
{
    if (self->question.limit != rows_to_ask_for(self))
        lm_conn_leave_ahead(self->conn);
    return lm_conn_enter_ahead(self->conn);
}

void
lm_lane_rest(struct lm_lane *self)
{
    if (self->conn != NULL)
        lm_conn_leave_ahead(self->conn);
}

/* -- the batch ---------------------------------------------------------------- */

bool
lm_lane_commit_batch(struct lm_lane *self, const struct lm_page *page,
                     const struct lm_key *cursor, struct lm_err *err)
{
    struct next_page next = {self, cursor};
    struct lm_conn_ahead ahead = {ask_ahead, &next};

    if (!lm_journal_checkpoint(&self->journal, &self->range, cursor, page->rows,
                               self->attempt.uncounted_retries, err) ||
        !lm_lane_post_modules(self, err))
        return false;
#ifdef LUAMIG_FAULTS
    if (lm_fault_is_armed("after_flush") && !lm_conn_flush(self->conn, err))
        return false;
#endif
    LM_FAULT("after_flush");
    if (!lm_lane_witness(self, LM_BEFORE_COMMIT, self->batch, err) ||
        !lm_conn_commit_and_begin(
            self->conn, "before_commit", "after_commit_sent",
            may_ask_ahead(self, page) ? &ahead : NULL, err))
        return false;
    lm_lane_modules_noted(self);
    self->worked_ms = lm_clock_ms() - self->begun_ms;
    return true;
}

/* The page's writes and the end of the transaction. The cursor is the page's
 * last key, unless a window that has nothing more leads further, or the last
 * range of the run. */
static bool
migrate_and_end(struct lm_lane *self, const struct lm_page *page,
                const struct lm_key *window_end, struct lm_key *cursor,
                struct lm_err *err)
{
    struct lm_stretch stretch = {&self->range.cursor, cursor};

    if (window_end != NULL) {
        lm_key_copy(cursor, window_end);
    } else if (self->migration->by_range && !page->more &&
               !lm_key_is_empty(&self->range.upper)) {
        lm_key_copy(cursor, &self->range.upper);
    } else {
        lm_page_copy_key(page, &self->query, page->rows - 1, cursor);
    }
    if (!lm_lane_migrate_page(self, page, &stretch, err))
        return false;
    LM_FAULT("after_migrate");
    return self->host.end_batch(self->host.run, page, cursor, err);
}

static void
advance(struct lm_lane *self, const struct lm_page *page, struct lm_key *cursor)
{
    lm_key_swap(&self->range.cursor, cursor);
    self->range.seq++;
    self->range.rows += page->rows;
    self->range.batches++;
    lm_attempt_committed(&self->attempt);
    lm_lane_narrow_passed(self, page);
    lm_lane_prepared_passed(self);
    lm_size_batch(&self->size, page->rows, self->worked_ms);
    count_batch(self, page->rows);
}

/* "batch 3, keys (id) from (2001) to (3000), rolled back"; "after (2000)" if the
 * first row was not sent */
void
lm_lane_name_batch(const struct lm_lane *self, const struct lm_page *page,
                   struct lm_err *err)
{
    struct lm_buf text = LM_BUF_INIT;

    lm_buf_printf(&text, "batch %" PRId64 ", keys (", self->batch);
    for (int i = 0; i < self->query.key_count; i++)
        lm_buf_printf(&text, "%s%s", i > 0 ? ", " : "", self->query.key[i]);
    for (int end = 0; end < 2; end++) {
        bool before = end == 0 && page->skipped > 0;

        lm_buf_puts(&text, end == 1 ? ") to ("
                           : before ? ") after ("
                                    : ") from (");
        for (int i = 0; i < self->query.key_count; i++) {
            lm_buf_printf(&text, "%s%s", i > 0 ? ", " : "",
                          before
                              ? self->range.cursor.texts[i]
                              : lm_page_key(page, &self->query,
                                            end == 0 ? 0 : page->rows - 1, i));
        }
    }
    lm_buf_puts(&text, "), rolled back");
    LM_ERR_COPY(err->batch, lm_buf_text(&text));
    lm_buf_release(&text);
}

/* By how much the process may grow. Other workers read pages at the same time,
 * and make Lua values of them. */
static size_t
most_bytes(const struct lm_lane *self, size_t bytes)
{
    return bytes + (size_t)self->others * 2 * LM_LANE_PAGE_BYTES;
}

static const struct lm_key *
bound_of(const struct lm_lane *self, const struct lm_key *window_end)
{
    return lm_key_is_empty(window_end) ? &self->range.upper : window_end;
}

static bool
begin_transaction(struct lm_lane *self, struct lm_err *err)
{
    return lm_lane_begin_source(self, err) &&
           self->host.begin_batch(self->host.run, err) &&
           lm_repo_post_check(self->repo, self->conn, err);
}

static bool
ask_page(struct lm_lane *self, struct lm_key *window_end, int64_t rows,
         struct lm_err *err)
{
    return lm_lane_witness(self, LM_BEFORE_PAGE, self->batch, err) &&
           lm_lane_find_window(self, window_end, err) &&
           lm_lane_narrow_page(self, window_end, err) &&
           lm_lane_ask_page(self, &self->range.cursor,
                            bound_of(self, window_end), rows, err);
}

static void
begin_page(struct lm_lane *self, int64_t rows)
{
    lm_attempt_look_for_page(&self->attempt);
    lm_conn_limit_answer(lm_lane_reader(self),
                         rows > 1 ? most_bytes(self, LM_LANE_PAGE_BYTES) : 0);
}

/* ok: the page was asked for. */
static bool
read_page(struct lm_lane *self, bool ok, const struct lm_key *window_end,
          struct lm_page *page, struct lm_err *err)
{
    ok = ok && lm_lane_read_page(self, &self->range.cursor,
                                 bound_of(self, window_end), page, err);
    lm_conn_limit_answer(lm_lane_reader(self),
                         most_bytes(self, LM_LANE_ANSWER_BYTES));
    lm_conn_limit_answer(self->conn, most_bytes(self, LM_LANE_ANSWER_BYTES));
    if (ok)
        lm_attempt_found_page(&self->attempt, page->rows);
    return ok;
}

static bool
fetch_page(struct lm_lane *self, bool asked, struct lm_key *window_end,
           struct lm_page *page, struct lm_err *err)
{
    int64_t begun_ms = lm_clock_ms();
    int64_t rows = rows_to_ask_for(self);
    bool ok;

    begin_page(self, rows);
    lm_narrow_begin_page(&self->narrow, rows);
    ok = asked || ask_page(self, window_end, rows, err);
    ok = read_page(self, ok, window_end, page, err);
    lm_pace_note(&self->pace, lm_clock_ms() - begun_ms);
    if (ok)
        lm_lane_window_passed(self, page->more);
    return ok;
}

bool
lm_lane_read_again(struct lm_lane *self, const struct lm_key *window_end,
                   struct lm_page *page, struct lm_err *err)
{
    int64_t rows = rows_to_ask_for(self);
    bool ok;

    memset(page, 0, sizeof *page);
    self->begun_ms = lm_clock_ms();
    if (!begin_transaction(self, err))
        return false;
    begin_page(self, rows);
    ok = lm_lane_witness(self, LM_BEFORE_PAGE, self->batch, err) &&
         lm_lane_ask_page(self, &self->range.cursor, bound_of(self, window_end),
                          rows, err);
    return read_page(self, ok, window_end, page, err);
}

/* Nothing matched in a window: the cursor moves to its end. */
static bool
pass_window(struct lm_lane *self, const struct lm_page *page,
            struct lm_key *window_end, struct lm_err *err)
{
    if (!self->host.end_batch(self->host.run, page, window_end, err))
        return false;
    lm_key_swap(&self->range.cursor, window_end);
    self->range.seq++;
    lm_attempt_committed(&self->attempt);
    lm_lane_narrow_passed(self, page);
    lm_lane_prepared_passed(self);
    count_batch(self, 0);
    return true;
}

static void
note_first_key(struct lm_lane *self, const struct lm_page *page)
{
    if (self->first_key == NULL && self->batch == 1)
        self->first_key = lm_strdup(lm_page_key(page, &self->query, 0, 0));
}

/* Inside the transaction. */
static bool
work_on_page(struct lm_lane *self, const struct lm_page *page,
             struct lm_key *window_end, struct lm_err *err)
{
    bool ends_window = !lm_key_is_empty(window_end) && !page->more;
    struct lm_key cursor = {NULL, 0};
    bool ok;

    if (page->rows == 0 && ends_window)
        return pass_window(self, page, window_end, err);
    if (page->rows == 0) {
        lm_conn_rollback(self->conn);
        self->range_done = true;
        return true;
    }
    note_first_key(self, page);
    ok = migrate_and_end(self, page, ends_window ? window_end : NULL, &cursor,
                         err);
    if (ok) {
        LM_FAULT("after_commit");
        advance(self, page, &cursor);
        self->range_done = !page->more && !ends_window;
        ok = lm_lane_witness(self, LM_AFTER_COMMIT, self->batch, err);
    } else if (err->kind != LM_ERR_LOST) {
        lm_lane_name_batch(self, page, err);
        lm_lane_note_failed_page(self, page);
    }
    lm_key_release(&cursor);
    return ok;
}

void
lm_lane_set_range(struct lm_lane *self, struct lm_range *range)
{
    lm_range_release(&self->range);
    self->range = *range;
    memset(range, 0, sizeof *range);
    self->range_done = false;
}

/* After the connection to the source is made, or made again. Other workers may
 * have cut the range meanwhile, or taken it: the next step looks at it. */
static bool
enter_source(struct lm_lane *self, struct lm_err *err)
{
    return lm_lane_enter_source(self, err) &&
           (self->options.dry || lm_lane_refresh(self, err));
}

bool
lm_lane_batch(struct lm_lane *self, struct lm_err *err)
{
    struct lm_key window_end = {NULL, 0};
    struct lm_page page;
    bool leaves = false;
    bool asked;
    bool ok;

    if (!lm_lane_has_entered_source(self))
        return enter_source(self, err);
    asked = has_asked_ahead(self);
    lm_attempt_begin_batch(&self->attempt);
    self->begun_ms = lm_clock_ms();
    self->number = lm_account_number(self->account, self->number);
    self->batch = self->number;
    lm_repo_begin_batch(self->repo, self->conn);
    ok = (asked || begin_transaction(self, err)) &&
         fetch_page(self, asked, &window_end, &page, err) &&
         lm_lane_prepare_page(self, &window_end, &page, &leaves, err);
    if (ok && !leaves) {
        LM_FAULT("after_page");
        ok = work_on_page(self, &page, &window_end, err);
        lm_page_release(&page);
    }
    lm_key_release(&window_end);
    return ok;
}
