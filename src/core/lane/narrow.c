/* SPDX-License-Identifier: MIT */
/*
 * Pages that cannot be read: the base query raises an error at a row (a text
 * that is not jsonb, a division by zero), or the rows take too much memory.
 * Then luamig reads only the keys, and the page ends at one of them. So the
 * query does not touch any row after it, not even the extra row of other
 * pages.
 *
 * A page that raises is cut in half until the failing row is its only row; the
 * rows before it are migrated on the way. If the base query raises even when
 * it returns only keys, the cause is in its conditions; then the keys come
 * from their table.
 *
 * Pages that were read show how many rows fit into memory.
 */

#include "core/lane/private.h"
#include "pg/conn/sqlstate.h"

void
lm_narrow_begin_page(struct lm_narrow *self, int64_t rows)
{
    self->asked = rows;
    self->rows = 0;
}

int64_t
lm_narrow_rows(const struct lm_narrow *self, int64_t rows)
{
    return self->most > 0 && self->most < rows ? self->most : rows;
}

/* -- where a page ends ---------------------------------------------------- */

static bool
find_end(struct lm_lane *self, const struct lm_key *bound, struct lm_key *end,
         struct lm_err *err)
{
    struct lm_narrow *narrow = &self->narrow;

    if (!narrow->by_table) {
        return lm_page_key_ahead(lm_lane_reader(self), &self->query,
                                 &self->range.cursor, bound, narrow->asked, end,
                                 &narrow->rows, err);
    }
    if (!lm_page_window_end(lm_lane_reader(self), &self->query,
                            self->window.table, &self->range.cursor, bound,
                            narrow->asked, end, err))
        return false;
    narrow->rows = lm_key_is_empty(end) ? 0 : narrow->asked;
    return true;
}

/* A small table is read as a whole, and the base query's conditions may be
 * evaluated before those on the key: at any row, whatever rows are asked for.
 * By an index on the key they meet its rows only. */
static bool
prefer_index(struct lm_lane *self, struct lm_err *err)
{
    struct lm_conn *conn = lm_lane_reader(self);

    return lm_conn_command(conn, "SET LOCAL enable_seqscan = off", err) &&
           lm_conn_command(
               conn, "SET LOCAL plan_cache_mode = force_custom_plan", err);
}

bool
lm_lane_narrow_page(struct lm_lane *self, struct lm_key *end,
                    struct lm_err *err)
{
    struct lm_narrow *narrow = &self->narrow;
    struct lm_key found = {NULL, 0};

    if (!narrow->on)
        return true;
    if (self->bisection.rows > 0 && !prefer_index(self, err))
        return false;
    narrow->by_keys = true;
    if (!find_end(self, lm_key_is_empty(end) ? &self->range.upper : end, &found,
                  err))
        return false;
    narrow->by_keys = false;
    if (lm_key_is_empty(&found))
        return true;
    lm_key_copy(&narrow->end, &found);
    lm_key_swap(end, &found);
    lm_key_release(&found);
    return true;
}

bool
lm_lane_highest(struct lm_lane *self, struct lm_key *out, struct lm_err *err)
{
    struct lm_window *window = &self->window;
    struct lm_err raised;

    if (!lm_conn_command(lm_lane_reader(self), "SAVEPOINT luamig_bound", err))
        return false;
    if (lm_page_highest(lm_lane_reader(self), &self->query, NULL, out, err))
        return true;
    raised = *err;
    if (!lm_lane_is_row_error(err))
        return false;
    if (!lm_conn_command(lm_lane_reader(self),
                         "ROLLBACK TO SAVEPOINT luamig_bound", err) ||
        !lm_window_find_table(self, err))
        return false;
    if (window->table == NULL) {
        *err = raised;
        return false;
    }
    return lm_page_highest(lm_lane_reader(self), &self->query, window->table,
                           out, err);
}

/* -- what a page that was read has shown ---------------------------------- */

/* As many rows as half of a page's memory holds, and at most twice as many as
 * before. */
static void
note_row_size(struct lm_narrow *self, const struct lm_page *page, int64_t size)
{
    size_t bytes = lm_page_bytes(page);
    size_t share = LM_LANE_PAGE_BYTES / 2;
    int64_t fit;

    if (page->rows == 0 || (self->most == 0 && bytes <= share))
        return;
    fit = (int64_t)(share / (bytes / (size_t)(page->rows + 1) + 1));
    if (self->most > 0 && fit > 2 * self->most)
        fit = 2 * self->most;
    if (self->ceiling > 0 && fit > self->ceiling)
        fit = self->ceiling;
    self->most = fit > 1 ? fit : 1;
    if (self->most >= size)
        self->most = 0;
}

void
lm_lane_narrow_passed(struct lm_lane *self, const struct lm_page *page)
{
    struct lm_narrow *narrow = &self->narrow;
    int64_t size = lm_size_rows(&self->size);

    lm_bisection_passed(&self->bisection,
                        narrow->by_table ? narrow->asked : page->rows, size);
    note_row_size(narrow, page, size);
    narrow->on = self->bisection.rows > 0 || narrow->most > 0;
    narrow->by_table = narrow->by_table && narrow->on;
}

/* -- a page that was not read --------------------------------------------- */

bool
lm_lane_is_row_error(const struct lm_err *err)
{
    enum lm_sqlstate meaning = lm_sqlstate_meaning(err->sqlstate);

    return err->kind == LM_ERR_DATABASE &&
           (meaning == LM_SQLSTATE_ROW || meaning == LM_SQLSTATE_PAGE);
}

bool
lm_lane_take_fewer(struct lm_lane *self)
{
    struct lm_narrow *narrow = &self->narrow;
    int64_t rows =
        self->attempt.page_rows > 0 ? self->attempt.page_rows : narrow->asked;

    if (rows <= 1)
        return false;
    if (self->attempt.paging && narrow->rows > 0 && narrow->rows < rows)
        rows = narrow->rows;
    narrow->on = true;
    narrow->most = rows > 4 ? rows / 4 : 1;
    if (!self->attempt.paging)
        narrow->ceiling = rows / 2;
    return true;
}

static void
cut(struct lm_lane *self, int64_t rows)
{
    lm_bisection_cut(&self->bisection, rows);
    self->narrow.on = true;
}

/* The base query's conditions raise: what rows there are, its table knows. */
static bool
ask_table(struct lm_lane *self, struct lm_err *err)
{
    struct lm_window *window = &self->window;
    const char *why = "the key does not come from one table";
    struct lm_err failed = {0};

    if (!self->narrow.by_table && !lm_window_find_table(self, &failed)) {
        lm_conn_rollback(lm_lane_reader(self));
        why = failed.message;
    } else if (self->narrow.by_table) {
        why = "reading the keys of its table fails, too";
    }
    if (self->narrow.by_table || window->table == NULL) {
        lm_err_prefix(err, "the base query's conditions fail at a row");
        lm_err_hint(err,
                    "luamig cannot find out which row it is: %s. Correct the "
                    "row, or exclude it by the conditions.",
                    why);
        return false;
    }
    self->narrow.by_table = true;
    lm_attempt_begin_anew(&self->attempt);
    lm_lane_count_retry(self, err, "looking for the row by its table's keys");
    return true;
}

/* Is it the row, or does the query raise whatever it is asked for? */
static bool
raises_without_rows(struct lm_lane *self)
{
    const struct lm_key *key = &self->narrow.end;
    struct lm_txn txn = lm_lane_read_txn(self);
    struct lm_conn *conn = lm_lane_reader(self);
    struct lm_page page;
    struct lm_err found;
    bool raises = false;

    if (lm_txn_begin(conn, &txn, &found) && prefer_index(self, &found)) {
        if (lm_page_fetch(lm_lane_reader(self), &self->query, key, key, 1,
                          &page, &found)) {
            lm_page_release(&page);
        } else {
            raises = lm_lane_is_row_error(&found);
        }
    }
    lm_conn_rollback(conn);
    return raises;
}

static bool
fail_at_row(struct lm_lane *self, struct lm_err *err)
{
    struct lm_buf key = LM_BUF_INIT;

    lm_key_describe(&self->narrow.end, &self->query, &key);
    lm_err_prefix(err, "the base query fails at the row %s", lm_buf_text(&key));
    lm_buf_release(&key);
    if (err->hint[0] == '\0') {
        lm_err_hint(err,
                    "Correct the row, or exclude it in the base query, and "
                    "run the same command%s.",
                    self->migration->record_failures
                        ? "; a run records such rows as failed rows"
                        : "; or record such rows as failed rows with "
                          "config.on_error = \"quarantine\"");
    }
    return false;
}

/* The page had this row only. */
static bool
handle_failed_row(struct lm_lane *self, struct lm_err *err)
{
    if (raises_without_rows(self)) {
        lm_err_prefix(err, "the base query fails before it returns a row");
        return false;
    }
    lm_lane_note_failed_key(self, &self->narrow.end);
    if (self->options.dry || !self->migration->record_failures)
        return fail_at_row(self, err);
    if (err->detail[0] == '\0')
        lm_err_detail(err, "The base query raises this at the row.");
    return lm_lane_record_failed_row(self, err);
}

bool
lm_lane_narrow(struct lm_lane *self, struct lm_err *err)
{
    struct lm_narrow *narrow = &self->narrow;
    int64_t rows = narrow->rows > 0 ? narrow->rows : narrow->asked;

    if (narrow->by_keys) {
        narrow->by_keys = false;
        return ask_table(self, err);
    }
    if (narrow->rows == 1)
        return handle_failed_row(self, err);
    if (narrow->on && rows == 1) {
        return lm_err_prefix(
            err, "the base query fails, but not at a row that it returns");
    }
    cut(self, rows);
    lm_attempt_begin_anew(&self->attempt);
    lm_lane_count_retry(self, err, "half of the page's rows");
    return true;
}
