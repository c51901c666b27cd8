/* SPDX-License-Identifier: MIT */
/*
 * config.on_error = "quarantine": finds the failed rows, records them in the
 * journal, and lets the run continue after them.
 *
 * A batch that fails is cut in half until a single row is left. Once the rows
 * before the failed row are migrated, the other half has it, and is cut in
 * turn. So one failed row among n costs about log2 n batches, and as many
 * again until batches have their full size. The row is recorded in the
 * transaction that moves the cursor past it.
 *
 * A script that gets ranges (lane/stretch.c) is no exception: a range with one
 * row is that row's.
 *
 * Only errors of rows or of the script are treated so: never lost connections,
 * timeouts, conflicts, or a lack of resources on the server.
 */

#include "base/log.h"
#include "base/secret.h"
#include "core/lane/private.h"
#include "pg/sql/sql.h"

#include <inttypes.h>
#include <stdlib.h>

int64_t
lm_bisection_rows(const struct lm_bisection *self, int64_t rows)
{
    return self->rows > 0 && self->rows < rows ? self->rows : rows;
}

void
lm_bisection_passed(struct lm_bisection *self, int64_t rows, int64_t most)
{
    if (self->rows == 0)
        return;
    if (self->rows_to_search > rows) {
        self->rows_to_search -= rows;
        self->rows = self->rows_to_search > 1 ? self->rows_to_search / 2 : 1;
        return;
    }
    self->rows_to_search = 0;
    self->rows *= 2;
    if (self->rows >= most)
        self->rows = 0;
}

void
lm_bisection_failed(struct lm_bisection *self, int64_t rows)
{
    self->rows_to_search = rows;
    self->rows = rows / 2;
}

void
lm_bisection_cut(struct lm_bisection *self, int64_t rows)
{
    lm_bisection_failed(self, rows);
    if (self->rows == 0)
        self->rows = 1;
}

void
lm_bisection_found(struct lm_bisection *self)
{
    self->rows_to_search = 0;
    self->rows = 1;
}

static char *
copy_names(const struct lm_page *page)
{
    const char **names = lm_calloc((size_t)page->columns, sizeof *names);
    struct lm_buf array = LM_BUF_INIT;

    for (int i = 0; i < page->columns; i++)
        names[i] = lm_result_column_name(page->result, i);
    lm_sql_add_array(&array, names, page->columns);
    free(names);
    return lm_buf_take(&array);
}

static char *
copy_values(const struct lm_page *page)
{
    char **texts = lm_calloc((size_t)page->columns, sizeof *texts);
    struct lm_buf array = LM_BUF_INIT;

    for (int i = 0; i < page->columns; i++)
        texts[i] = lm_secret_masked(lm_result_text(page->result, 0, i));
    lm_sql_add_array(&array, (const char *const *)texts, page->columns);
    lm_free_texts(texts, page->columns);
    return lm_buf_take(&array);
}

void
lm_failed_batch_release(struct lm_failed_batch *self)
{
    lm_key_release(&self->key);
    free(self->columns);
    free(self->values);
    self->columns = self->values = NULL;
    self->rows = 0;
}

void
lm_lane_note_failed_page(struct lm_lane *self, const struct lm_page *page)
{
    struct lm_failed_batch *failed_batch = &self->failed_batch;

    lm_failed_batch_release(failed_batch);
    failed_batch->rows = page->rows;
    if (page->rows != 1)
        return;
    lm_page_copy_key(page, &self->query, 0, &failed_batch->key);
    if (self->migration->keep_failed_rows) {
        failed_batch->columns = copy_names(page);
        failed_batch->values = copy_values(page);
    }
}

void
lm_lane_note_failed_key(struct lm_lane *self, const struct lm_key *key)
{
    lm_failed_batch_release(&self->failed_batch);
    self->failed_batch.rows = 1;
    lm_key_copy(&self->failed_batch.key, key);
}

bool
lm_lane_may_record_row(const struct lm_lane *self, const struct lm_err *err)
{
    if (!self->migration->record_failures || self->failed_batch.rows == 0 ||
        lm_err_is_state(err, LM_SCRIPT_RETRY))
        return false;
    return err->kind == LM_ERR_FAILED ||
           (err->kind == LM_ERR_DATABASE && lm_repo_may_catch(err));
}

static bool
record(struct lm_lane *self, const struct lm_err *why, struct lm_err *err)
{
    const struct lm_failed_batch *failed_batch = &self->failed_batch;
    struct lm_txn txn = lm_lane_txn(self);
    struct lm_failure failure = {.key = &failed_batch->key,
                                 .error = why,
                                 .columns = failed_batch->columns,
                                 .values = failed_batch->values};

    txn.own = true;
    txn.durable = self->migration->durable_batches;
    return lm_txn_begin(self->conn, &txn, err) &&
           lm_lane_note_source(self, err) &&
           lm_journal_record_failed_row(&self->journal, self->run->id,
                                        &self->range, &failure,
                                        self->attempt.uncounted_retries, err) &&
           lm_conn_commit(self->conn, "quarantine_before_commit",
                          "quarantine_after_commit_sent", err);
}

static void
log_failed_row(const struct lm_lane *self, const struct lm_err *why)
{
    struct lm_buf key = LM_BUF_INIT;

    lm_key_describe(&self->failed_batch.key, &self->query, &key);
    lm_log(LM_LOG_WARNING, "row %s failed and is recorded: %s%s%s%s%s%s",
           lm_buf_text(&key), why->message,
           why->sqlstate[0] != '\0' ? " (SQLSTATE " : "", why->sqlstate,
           why->sqlstate[0] != '\0' ? ")" : "",
           why->where[0] != '\0' ? ", at " : "", why->where);
    lm_buf_release(&key);
}

static bool
record_or_stop(struct lm_lane *self, struct lm_err *err)
{
    const struct lm_counts recorded = {.failures = 1};
    struct lm_err why = *err;

    if (lm_account_run(self->account).failures >=
        self->migration->max_failures) {
        lm_err_prefix(
            err,
            "more rows have failed than config.max_failures = %" PRId64
            " allows",
            self->migration->max_failures);
        lm_err_hint(err,
                    "See \"luamig failures %" PRId64 "\". Correct the script "
                    "or the rows, or raise config.max_failures, and run the "
                    "same command.",
                    self->run->id);
        return false;
    }
    if (!record(self, &why, err))
        return false;
    log_failed_row(self, &why);
    lm_key_copy(&self->range.cursor, &self->failed_batch.key);
    self->range.seq++;
    lm_lane_count(self, &recorded);
    lm_attempt_committed(&self->attempt);
    lm_attempt_begin_anew(&self->attempt);
    lm_bisection_found(&self->bisection);
    return true;
}

bool
lm_lane_record_failed_row(struct lm_lane *self, struct lm_err *err)
{
    if (self->failed_batch.rows > 1) {
        lm_bisection_failed(&self->bisection, self->failed_batch.rows);
        lm_attempt_begin_anew(&self->attempt);
        lm_lane_count_retry(self, err, "half of the batch's rows");
        return true;
    }
    return record_or_stop(self, err);
}

static bool
migrate_alone(struct lm_lane *self, const struct lm_page *page,
              const struct lm_key *key, struct lm_err *err)
{
    struct lm_key before = {NULL, 0};
    struct lm_stretch alone = {&before, key};
    bool ok = (!self->migration->by_range ||
               lm_lane_find_key_before(self, key, &before, err)) &&
              lm_lane_migrate_page(self, page, &alone, err);

    lm_key_release(&before);
    return ok;
}

static bool
read_alone(struct lm_lane *self, const struct lm_key *key, struct lm_page *page,
           struct lm_err *err)
{
    struct lm_txn txn = lm_lane_txn(self);

    lm_attempt_look_for_page(&self->attempt);
    if (!lm_lane_enter_source(self, err) || !lm_lane_begin_source(self, err) ||
        !lm_txn_begin(self->conn, &txn, err) ||
        !lm_page_fetch_row(lm_lane_reader(self), &self->query, key, page, err))
        return false;
    lm_attempt_found_page(&self->attempt, page->rows);
    self->failed_batch.rows = page->rows == 1 ? 1 : 0;
    return true;
}

bool
lm_lane_retry_row(struct lm_lane *self, const struct lm_key *key, int attempt,
                  int *rows, struct lm_err *err)
{
    struct lm_page page;
    bool ready = false;
    bool ok = true;

    self->failed_batch.rows = 0;
    lm_attempt_is(&self->attempt, attempt);
    for (bool again = false; ok && !ready; again = true) {
        if (!read_alone(self, key, &page, err))
            return false;
        *rows = page.rows;
        ok = lm_lane_prepare_row(self, &page, again, &ready, err);
        if (ok && ready && page.rows == 1)
            ok = migrate_alone(self, &page, key, err);
        lm_page_release(&page);
    }
    return ok;
}

bool
lm_lane_has_failed_at_row(const struct lm_lane *self, const struct lm_err *err)
{
    return lm_lane_may_record_row(self, err) ||
           (self->attempt.paging && lm_lane_is_row_error(err));
}
