/* SPDX-License-Identifier: MIT */
/*
 * The dry run's own steps, and its report. See the header for what it
 * promises.
 *
 * Nothing here commits, and nothing reads or writes the journal. Each step
 * rolls its one transaction back; if the runner is killed, the server does.
 */

#include "core/dry/dry.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/run/runner.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLED_BATCHES = 2, MANY_ROWS = 100000 };

struct lm_dry {
    struct lm_dry_report *report;
    char *table;            /* of the key, as SQL; NULL: no single one */
    struct lm_tally before; /* when the current work began */
    bool sampling;          /* rows are to be shown of it */
    bool warned;
    int64_t *ms; /* a figure a batch */
    int64_t *wal_bytes;
    int count;
};

static bool
has(const struct lm_runner *self, enum lm_callback callback)
{
    return self->migration->ops->has(self->migration->self, callback);
}

/* -- around the work of a transaction -------------------------------------- */

/* BEGIN and on_start. on_start changes the tables behind the base query again
 * in each transaction. */
static bool
begin_transaction(struct lm_runner *self, struct lm_err *err)
{
    if (!lm_lane_begin_batch(&self->lane, err))
        return false;
    return !has(self, LM_CALL_ON_START) ||
           (lm_lane_call_back(&self->lane, LM_CALL_ON_START, err) &&
            (self->migration->one_shot || lm_runner_look_again(self, err)));
}

static bool
begin_work(struct lm_runner *self, struct lm_err *err)
{
    struct lm_dry *dry = self->dry;

    lm_tally_release(&dry->before);
    if (!begin_transaction(self, err))
        return false;
    if (dry->sampling) {
        if (!lm_conn_command(self->lane.conn, "SAVEPOINT luamig_dry", err))
            return false;
        lm_samples_begin(&dry->report->samples, self->lane.conn);
    }
    if (!lm_tally_read(&dry->before, self->lane.conn, err))
        return false;
    self->lane.begun_ms = lm_clock_ms();
    return true;
}

/* The keys of a page's first rows, to be freed. */
static const char **
first_keys(const struct lm_runner *self, const struct lm_page *page, int rows)
{
    int count = self->lane.query.key_count;
    const char **texts = lm_calloc((size_t)rows * (size_t)count, sizeof *texts);

    for (int i = 0; i < rows * count; i++)
        texts[i] = lm_page_key(page, &self->lane.query, i / count, i % count);
    return texts;
}

/* page is NULL for work that had none. */
static void
take_sample(struct lm_runner *self, const struct lm_page *page,
            const struct lm_tally *written)
{
    struct lm_dry_report *report = self->dry->report;
    struct lm_sample_page rows = {.query = &self->lane.query,
                                  .table = self->dry->table};
    const char **texts = NULL;
    struct lm_err ignored;

    if (page != NULL) {
        rows.rows = page->rows < LM_SAMPLE_KEYS ? page->rows : LM_SAMPLE_KEYS;
        rows.texts = texts = first_keys(self, page, rows.rows);
    }
    lm_samples_take(&report->samples, self->lane.conn,
                    page != NULL ? &rows : NULL, written);
    lm_residue_look(&report->residue, self->lane.conn);
    if (lm_conn_command(self->lane.conn, "ROLLBACK TO SAVEPOINT luamig_dry",
                        &ignored))
        lm_samples_complete(&report->samples, self->lane.conn);
    free(texts);
}

/* *wal_bytes: how much WAL the work has written. */
static bool
end_work(struct lm_runner *self, const struct lm_page *page, int64_t *wal_bytes,
         struct lm_err *err)
{
    struct lm_dry *dry = self->dry;
    struct lm_tally written = {NULL, 0, 0, false};
    bool ok;

    if (!lm_conn_settle(self->lane.conn, err))
        return false;
    self->lane.worked_ms = lm_clock_ms() - self->lane.begun_ms;
    ok = lm_tally_read(&written, self->lane.conn, err);
    if (ok) {
        LM_FAULT("dry_before_rollback");
        lm_tally_subtract(&written, &dry->before);
        lm_tally_add(&dry->report->tally, &written);
        *wal_bytes = written.wal_bytes;
        if (dry->sampling)
            take_sample(self, page, &written);
        lm_conn_rollback(self->lane.conn);
    }
    lm_tally_release(&written);
    return ok;
}

static void
note_batch(struct lm_runner *self, int64_t wal_bytes)
{
    struct lm_dry *dry = self->dry;
    size_t room = (size_t)dry->count + 1;

    dry->ms = lm_realloc(dry->ms, room, sizeof *dry->ms);
    dry->wal_bytes = lm_realloc(dry->wal_bytes, room, sizeof *dry->wal_bytes);
    dry->ms[dry->count] = self->lane.worked_ms;
    dry->wal_bytes[dry->count++] = wal_bytes;
    dry->sampling = dry->count < SAMPLED_BATCHES;
}

/* -- the steps --------------------------------------------------------------- */

/* What can only be said about a base query that is seen. */
static bool
begin_paging(struct lm_runner *self, struct lm_err *err)
{
    struct lm_err ignored;

    lm_key_release(&self->run.cursor);
    if (!lm_runner_find_start(self, &self->run.cursor, err))
        return false;
    if (!lm_lane_reads_elsewhere(&self->lane) &&
        !lm_page_key_table(self->lane.conn, &self->lane.query,
                           &self->dry->table, &ignored))
        lm_log(LM_LOG_DEBUG, "%s", ignored.message);
    return true;
}

/* on_start has made what the base query reads, and that is gone again. */
static bool
look_late(struct lm_runner *self, struct lm_err *err)
{
    if (!self->unseen)
        return true;
    if (!lm_runner_look_late(self, err) || !begin_paging(self, err))
        return false;
    self->unseen = self->look_again = false;
    return true;
}

/* on_start once for the account, and the bound. */
static bool
start(struct lm_runner *self, struct lm_err *err)
{
    struct lm_dry *dry = self->dry;
    struct lm_key bound = {NULL, 0};
    struct lm_range range = {.id = 0};
    bool sampling = dry->sampling;
    int64_t ignored;
    bool ok;

    dry->sampling = false;
    lm_tally_release(&dry->before);
    ok = lm_lane_begin_batch(&self->lane, err) &&
         lm_tally_read(&dry->before, self->lane.conn, err) &&
         lm_lane_call_back(&self->lane, LM_CALL_ON_START, err) &&
         look_late(self, err) && lm_runner_find_bound(self, &bound, err) &&
         end_work(self, NULL, &ignored, err);
    dry->sampling = sampling;
    if (!ok) {
        lm_key_release(&bound);
        return false;
    }
    if (lm_runner_has_rows_up_to(self, &bound)) {
        range.id = 1;
        lm_key_copy(&range.cursor, &self->run.cursor);
        lm_key_copy(&range.upper, &bound);
    }
    lm_lane_set_range(&self->lane, &range);
    lm_runner_note_started(self, bound);
    return true;
}

static void
warn_of_many(struct lm_runner *self)
{
    if (self->dry->warned || self->options->limit > 0 ||
        self->gauge.progress.total <= MANY_ROWS)
        return;
    self->dry->warned = true;
    lm_log(LM_LOG_WARNING,
           "a dry run of about %s rows: its batches cost as much as real ones "
           "(WAL, dead row versions, locks); --limit 10000 tries fewer",
           lm_clock_count(self->gauge.progress.total).text);
}

static bool
begin_batch(void *run, struct lm_err *err)
{
    struct lm_runner *self = run;

    warn_of_many(self);
    return begin_work(self, err);
}

static bool
end_batch(void *run, const struct lm_page *page, const struct lm_key *cursor,
          struct lm_err *err)
{
    struct lm_runner *self = run;
    int64_t wal_bytes = 0;

    (void)cursor;
    if (page->rows == 0) {
        lm_conn_rollback(self->lane.conn);
        return true;
    }
    if (!end_work(self, page, &wal_bytes, err))
        return false;
    note_batch(self, wal_bytes);
    return true;
}

/* The whole of a one-shot, which is one batch. */
static bool
run_once(struct lm_runner *self, struct lm_err *err)
{
    int64_t wal_bytes = 0;

    if (!begin_work(self, err) ||
        !lm_lane_call_back(&self->lane, LM_CALL_RUN, err) ||
        !lm_lane_call_back(&self->lane, LM_CALL_ON_COMPLETE, err) ||
        !end_work(self, NULL, &wal_bytes, err))
        return false;
    note_batch(self, wal_bytes);
    self->run.batches = 1;
    return true;
}

static bool
complete(struct lm_runner *self, struct lm_err *err)
{
    int64_t ignored;

    if (!has(self, LM_CALL_ON_COMPLETE))
        return true;
    self->dry->sampling = true; /* of tables that batches do not write */
    if (!begin_work(self, err))
        return false;
    if (lm_lane_call_back(&self->lane, LM_CALL_ON_COMPLETE, err) &&
        end_work(self, NULL, &ignored, err))
        return true;
    if (err->hint[0] == '\0') {
        lm_err_hint(err, "In a dry run, on_complete sees nothing that the "
                         "batches wrote. It can check run.dry_run.");
    }
    return false;
}

static bool
finish(struct lm_runner *self, struct lm_err *err)
{
    bool ok =
        self->migration->one_shot ? run_once(self, err) : complete(self, err);

    if (!ok)
        return false;
    self->run.seq++;
    self->ended = true;
    return true;
}

static const struct lm_runner_steps steps = {start, finish};

/* -- the report -------------------------------------------------------------- */

static int
by_size(const void *a, const void *b)
{
    int64_t one = *(const int64_t *)a;
    int64_t other = *(const int64_t *)b;

    return (one > other) - (one < other);
}

static struct lm_dry_figure
sum_up(int64_t *values, int count)
{
    struct lm_dry_figure figure = {0, 0, 0};

    if (count == 0)
        return figure;
    qsort(values, (size_t)count, sizeof *values, by_size);
    for (int i = 0; i < count; i++)
        figure.sum += values[i];
    figure.median = values[count / 2];
    figure.worst = values[count - 1];
    return figure;
}

/* How long all batches of the run take at full size. Batches that --limit has
 * cut may cost as much as full ones, or as much as their rows do; the estimate
 * is the geometric mean of both. */
static int64_t
guess_ms(const struct lm_dry_report *report, double times, int64_t batch_size)
{
    double by_rows = (double)report->batch_ms.sum * times;
    double batches = (double)report->full_rows / (double)batch_size;
    double by_batches;

    if (batches > (double)report->batches * times)
        batches = (double)report->batches * times;
    if (report->complete || report->batches == 0)
        batches = (double)report->batches;
    by_batches = report->batches > 0 ? (double)report->batch_ms.sum /
                                           (double)report->batches * batches
                                     : by_rows;
    return (int64_t)(sqrt(by_rows * by_batches) +
                     batches * (double)report->throttle_ms);
}

/* Scales the figures of these batches to all rows. */
static void
guess_whole(struct lm_dry_report *report, int64_t total, int64_t batch_size)
{
    double times = 1;

    report->full_rows = report->full_ms = report->full_wal_bytes = -1;
    if (!report->one_shot && report->complete) {
        report->full_rows = report->rows;
    } else if (!report->one_shot && total >= 0) {
        report->full_rows = total > report->rows ? total : report->rows;
    }
    if (!report->complete && (report->full_rows < 0 || report->rows == 0))
        return;
    if (report->rows > 0)
        times = (double)report->full_rows / (double)report->rows;
    report->full_ms = report->one_shot ? report->batch_ms.sum
                                       : guess_ms(report, times, batch_size);
    report->full_wal_bytes =
        (int64_t)((double)report->batch_wal_bytes.sum * times);
}

static void
fill_report(struct lm_runner *self, struct lm_dry_report *report)
{
    struct lm_dry *dry = self->dry;

    report->complete = self->ended;
    report->rows = self->run.rows;
    report->batches = self->run.batches;
    report->retries = self->gauge.progress.retries;
    report->elapsed_ms = lm_clock_ms() - self->gauge.progress.started_ms;
    report->throttle_ms = self->migration->throttle_ms;
    report->batch_ms = sum_up(dry->ms, dry->count);
    report->batch_wal_bytes = sum_up(dry->wal_bytes, dry->count);
    guess_whole(report, self->gauge.progress.total,
                self->migration->batch_size);
    lm_conn_set_interruptible(self->lane.conn, false);
    if (lm_conn_is_up(self->lane.conn)) {
        lm_residue_end(&report->residue, self->lane.conn,
                       self->migration->source);
    }
}

/* -- the whole --------------------------------------------------------------- */

static void
conclude(struct lm_runner *self, bool ok, bool stopped, struct lm_err *err)
{
    struct lm_dry_report *report = self->dry->report;

    lm_progress_end(&self->gauge.progress);
    lm_runner_stop_watching(self);
    if (!ok && err->kind == LM_ERR_INTERRUPT)
        ok = stopped = true;
    if (self->lane.conn != NULL)
        lm_conn_rollback(self->lane.conn);
    if (report->worked)
        fill_report(self, report);
    if (!ok && self->migration->ops->prepare != NULL &&
        !self->options->prepare && err->hint[0] == '\0') {
        lm_err_hint(err, "A dry run does not call prepare, so run.prepared is "
                         "empty. With --prepare it does.");
    }
    if (!ok) {
        report->ending = LM_END_FAILED;
        report->would_record_row = lm_lane_may_record_row(&self->lane, err);
    } else if (stopped && lm_stop_level() > 0) {
        report->ending = LM_END_STOPPED;
        snprintf(report->reason, sizeof report->reason, "%s", lm_stop_signal());
    } else {
        report->ending = LM_END_DONE;
    }
    if (report->worked && (!ok || stopped))
        lm_runner_call_on_stop(self, ok ? "stop" : "error");
}

/* Everything before the first step. */
static bool
prepare(struct lm_runner *self, struct lm_err *err)
{
    struct lm_dry *dry = self->dry;

    if (!lm_journal_init(&self->lane.journal, err) ||
        !lm_runner_connect(self, err) || !lm_runner_load_for_dry_run(self, err))
        return false;
    LM_ERR_COPY(self->run.mark, self->lane.journal.process);
    if (lm_runner_look_again(self, err)) {
        if (!lm_runner_check(self, err) ||
            (!self->migration->one_shot && !begin_paging(self, err)))
            return false;
    } else if (!lm_runner_may_look_later(self, false, err)) {
        return false;
    }
    lm_residue_begin(&dry->report->residue, self->lane.conn);
    lm_log(LM_LOG_INFO, "dry run of %s on %s: every batch is rolled back",
           self->migration->name, lm_conn_target(self->lane.conn));
    lm_runner_warn_of_volatile_calls(self);
    return true;
}

void
lm_runner_dry_run(const struct lm_migration *migration,
                  const struct lm_runner_options *options,
                  struct lm_dry_report *report, struct lm_err *err)
{
    struct lm_dry dry = {.report = report, .sampling = true};
    struct lm_outcome outcome;
    struct lm_runner self;
    bool stopped = false;
    bool ok;

    memset(report, 0, sizeof *report);
    report->one_shot = migration->one_shot;
    lm_runner_init(&self, migration, options, &outcome, &dry);
    self.steps = &steps;
    self.lane.host.begin_batch = begin_batch;
    self.lane.host.end_batch = end_batch;
    ok = prepare(&self, err);
    if (ok) {
        report->worked = true;
        lm_runner_watch(&self);
        lm_progress_begin(&self.gauge.progress, 0, 0, 0, 0);
        ok = lm_runner_work(&self, &stopped, err);
    }
    conclude(&self, ok, stopped, err);
    lm_tally_release(&dry.before);
    free(dry.table);
    free(dry.ms);
    free(dry.wal_bytes);
    lm_outcome_release(&outcome);
    lm_runner_release(&self);
}

void
lm_dry_report_release(struct lm_dry_report *self)
{
    lm_tally_release(&self->tally);
    lm_samples_release(&self->samples);
    lm_residue_release(&self->residue);
}
