/* SPDX-License-Identifier: MIT */
/*
 * Rows that the script prepares before their transaction.
 *
 * A page is read as any other. If the script has not prepared all of its rows
 * as they are now, the transaction is rolled back, and the script prepares
 * them. Then the page is read again in a new transaction: the rows between the
 * cursor and its last key, so that rows which are gone bring in no others from
 * behind. This goes on until nothing has changed. A page that others change all
 * the time is halved, and a single row fails.
 *
 * The script works in calls of about a second. Between two of them the lane
 * hears what is asked of the run. Then, and after some seconds in any case, the
 * rows that are prepared so far become a batch of their own. So nothing is
 * prepared in vain, the runner does between batches what it has to, and a kill
 * costs little.
 */

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "core/lane/private.h"

#include <inttypes.h>

/* lua/luamig/mock/preparation.lua has the first three as well. */
enum {
    FIRST_ROWS = 8,  /* of a call */
    GROWTH = 4,      /* a call has at most so many times the rows of the last */
    MOST_ROUNDS = 3, /* changes of a page before it is halved */
    CALL_MS = 700,
    PAGE_MS = 3000, /* for all calls of a page */
    MOST_ROWS = 1000000
};

bool
lm_lane_prepares(const struct lm_lane *self)
{
    return self->migration->ops->prepare != NULL &&
           !self->options.skips_prepare;
}

/* Inside the transaction: which rows of the page are not prepared as they are?
 */
static bool
look(struct lm_lane *self, const struct lm_page *page, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_repo_use use = {.paged = &self->query};
    struct lm_looked *looked = &self->preparing.looked;
    struct lm_repo *repo =
        lm_lane_has_source(self) ? self->source.repo : self->repo;
    bool ok;

    looked->missing = 0;
    if (!lm_lane_prepares(self) || page->rows == 0)
        return true;
    if (!lm_repo_open(repo, lm_lane_reader(self), &use, err))
        return false;
    ok = m->ops->look(m->self, page, repo, looked, err);
    lm_repo_close(repo);
    return ok;
}

/* -- calling prepare ----------------------------------------------------------- */

static int64_t
most_rows(const struct lm_preparing *self)
{
    return self->most > 0 ? self->most : FIRST_ROWS;
}

/* A call with so many rows took so long; the next one should take as long as it
 * may. */
static void
adapt(struct lm_preparing *self, int64_t rows, int64_t took_ms)
{
    int64_t most = most_rows(self) * GROWTH;
    int64_t fit = rows * CALL_MS / (took_ms > 0 ? took_ms : 1);

    if (most > MOST_ROWS)
        most = MOST_ROWS;
    self->most = fit < 1 ? 1 : fit < most ? fit : most;
}

/* Prepares the missing rows of the page that was looked at; if something is
 * asked of the run, or when they take long, some of them. *ready: how many of
 * the page's first rows are prepared. */
static bool
call_prepare(struct lm_lane *self, int64_t *ready, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    int64_t missing = self->preparing.looked.missing;
    int64_t till_ms = lm_clock_ms() + PAGE_MS;
    struct lm_run_info info = lm_lane_info(self, self->batch);
    bool ok;

    do {
        int64_t most = most_rows(&self->preparing);
        int64_t rows = missing < most ? missing : most;
        int64_t begun_ms = lm_clock_ms();

        self->host.prepares(self->host.run, true);
        ok = m->ops->prepare(m->self, rows, &info, ready, err);
        self->host.prepares(self->host.run, false);
        if (!ok)
            return false;
        lm_attempt_served(&self->attempt);
        adapt(&self->preparing, rows, lm_clock_ms() - begun_ms);
        LM_FAULT("in_prepare");
        missing -= rows;
    } while (missing > 0 && lm_clock_ms() < till_ms &&
             !self->host.is_wanted(self->host.run));
    return true;
}

/* The next page should have hardly more rows than can be prepared in time. */
static void
note_page(struct lm_preparing *self, int64_t rows, int64_t ready)
{
    if (ready < rows) {
        self->page = 2 * (ready < FIRST_ROWS ? (int64_t)FIRST_ROWS : ready);
    } else if (self->page > 0) {
        self->page = self->page < MOST_ROWS ? 2 * self->page : 0;
    }
}

int64_t
lm_preparing_rows(const struct lm_preparing *self, int64_t rows)
{
    return self->page > 0 && self->page < rows ? self->page : rows;
}

/* -- pages that change meanwhile --------------------------------------------- */

/* Logs that the rows have changed, and sees to it that the next page has half
 * of them. */
static void
halve(struct lm_lane *self, const struct lm_page *page)
{
    const struct lm_counts retried = {.retries = 1};

    lm_log(LM_LOG_DEBUG,
           "others have changed rows of the page %d times while they were "
           "prepared, column \"%s\" say; trying half of its %d rows",
           self->preparing.rounds, self->preparing.looked.column, page->rows);
    lm_size_note_failed_rows(&self->size, page->rows);
    (void)lm_size_halve(&self->size);
    lm_lane_add_retries(self, 1);
    lm_lane_count(self, &retried);
    self->preparing.rounds = 0;
}

static bool
fail_unsettled(struct lm_lane *self, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    const char *column = self->preparing.looked.column;
    int rounds = self->preparing.rounds;

    self->preparing.rounds = 0;
    lm_err_set(err, LM_ERR_FAILED,
               "the row was changed %d time%s while it was prepared", rounds,
               rounds == 1 ? "" : "s");
    if (*column != '\0') {
        lm_err_detail(err, "The last time, column \"%s\" had another value.",
                      column);
    }
    if (self->options.dry && m->ops->has(m->self, LM_CALL_ON_START)) {
        return lm_err_hint(
            err, "A dry run calls on_start again in each transaction. If that "
                 "gives rows other values each time, such as random ones or "
                 "the time, they change here, but not in a run, which calls "
                 "it once.");
    }
    return lm_err_hint(
        err, "prepare is called again when a column of the base query changes. "
             "Leave out columns that the script does not need, and values that "
             "depend on the time, such as now().");
}

/* A page that was prepared has rows that are not. *smaller: the next page has
 * half of them; otherwise, prepare is called again. */
static bool
note_change(struct lm_lane *self, const struct lm_page *page, bool *smaller,
            struct lm_err *err)
{
    int rounds = ++self->preparing.rounds;

    *smaller = page->rows > 1 && rounds > MOST_ROUNDS;
    if (*smaller)
        halve(self, page);
    return page->rows > 1 || rounds <= self->migration->retries ||
           fail_unsettled(self, err);
}

void
lm_lane_prepared_passed(struct lm_lane *self)
{
    self->preparing.rounds = 0;
    if (lm_lane_prepares(self))
        self->migration->ops->passed(self->migration->self);
}

/* -- a page -------------------------------------------------------------------- */

/* Where the page ends when it is read again. Without rows after it, that is the
 * end of the window or of the range. */
static void
find_end(struct lm_lane *self, const struct lm_page *page, int64_t ready,
         struct lm_key *window_end)
{
    bool open =
        lm_key_is_empty(window_end) && lm_key_is_empty(&self->range.upper);

    if (ready < page->rows || page->more || open)
        lm_page_copy_key(page, &self->query, (int)ready - 1, window_end);
}

/* Outside of any transaction. *leaves: no row was prepared. */
static bool
prepare_and_read(struct lm_lane *self, struct lm_key *window_end,
                 struct lm_page *page, bool *leaves, struct lm_err *err)
{
    int64_t ready = 0;

    LM_FAULT("before_prepare");
    if (!call_prepare(self, &ready, err))
        return false;
    LM_FAULT("after_prepare");
    note_page(&self->preparing, page->rows, ready);
    *leaves = ready == 0;
    if (*leaves)
        return true;
    find_end(self, page, ready, window_end);
    lm_page_release(page);
    return lm_lane_read_again(self, window_end, page, err);
}

static bool
is_ready(const struct lm_lane *self)
{
    return self->preparing.looked.missing == 0;
}

/* again: the page was prepared before. *smaller as in note_change. */
static bool
judge(struct lm_lane *self, const struct lm_page *page, bool again,
      bool *smaller, struct lm_err *err)
{
    *smaller = false;
    return look(self, page, err) &&
           (is_ready(self) || !again || note_change(self, page, smaller, err));
}

bool
lm_lane_prepare_page(struct lm_lane *self, struct lm_key *window_end,
                     struct lm_page *page, bool *leaves, struct lm_err *err)
{
    bool ok = judge(self, page, false, leaves, err);

    while (ok && !is_ready(self) && !*leaves) {
        lm_lane_rollback(self);
        ok = prepare_and_read(self, window_end, page, leaves, err) &&
             (*leaves || judge(self, page, true, leaves, err));
    }
    if (ok && !*leaves)
        return true;
    if (!ok && page->rows > 0 && err->kind != LM_ERR_LOST) {
        lm_lane_name_batch(self, page, err);
        lm_lane_note_failed_page(self, page);
    }
    if (ok)
        lm_lane_rollback(self);
    lm_page_release(page);
    return ok;
}

bool
lm_lane_prepare_row(struct lm_lane *self, const struct lm_page *page,
                    bool again, bool *ready, struct lm_err *err)
{
    int64_t prepared = 0;
    bool smaller;

    if (!again)
        self->preparing.rounds = 0;
    *ready = page->rows != 1;
    if (*ready)
        return true;
    if (!judge(self, page, again, &smaller, err))
        return false;
    *ready = is_ready(self);
    if (*ready)
        return true;
    lm_lane_rollback(self);
    return call_prepare(self, &prepared, err);
}
