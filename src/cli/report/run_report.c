/* SPDX-License-Identifier: MIT */

#include "cli/report/run_report.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/record.h"
#include "base/show.h"
#include "cli/cli.h"
#include "core/journal/journal.h"

#include <inttypes.h>

static void
print_counts(const struct lm_outcome *outcome)
{
    if (outcome->one_shot) {
        lm_out_own("one transaction");
        return;
    }
    lm_out("%s row%s, %" PRId64 " batch%s", lm_clock_count(outcome->rows).text,
           outcome->rows == 1 ? "" : "s", outcome->batches,
           outcome->batches == 1 ? "" : "es");
}

/* The speed is this call's, the counts are the run's. */
static void
print_speed(const struct lm_outcome *outcome)
{
    int64_t ms = outcome->elapsed_ms > 0 ? outcome->elapsed_ms : 1;

    lm_out(", %s", lm_clock_span(outcome->elapsed_ms).text);
    if (!outcome->one_shot) {
        lm_out(", %s rows/s",
               lm_clock_count(outcome->own_rows * 1000 / ms).text);
    }
    lm_out(", %" PRId64 " retr%s", outcome->retries,
           outcome->retries == 1 ? "y" : "ies");
    if (outcome->held != NULL)
        lm_out(", %s", outcome->held);
}

static void
print_matching(const struct lm_outcome *outcome)
{
    bool all = outcome->rows > 0 &&
               outcome->matching - outcome->beyond >= outcome->rows;

    /* A base query of all rows says nothing about those that are left. */
    if (!outcome->counted ||
        (all && outcome->takes_all && outcome->beyond == 0))
        return;
    lm_out("still matching: %s row%s", lm_clock_count(outcome->matching).text,
           outcome->matching == 1 ? "" : "s");
    if (outcome->beyond > 0) {
        lm_out(", %s of them beyond the last key of this run",
               lm_clock_count(outcome->beyond).text);
    }
    if (all && !outcome->takes_all) {
        lm_out_own(
            "; the base query also returns rows that are already migrated");
    }
    lm_out("\n");
}

/* Failed rows, and the exit code of a run that is done. */
static int
print_failures(const struct lm_outcome *outcome)
{
    if (outcome->failures == 0)
        return LM_EXIT_DONE;
    lm_out("failed rows: %" PRId64 "; see \"luamig failures %" PRId64 "\"\n",
           outcome->failures, outcome->run_id);
    return LM_EXIT_FAILURES;
}

/* Is another runner at work on the run? */
static bool
is_elsewhere(const struct lm_outcome *outcome, const struct lm_err *err)
{
    return outcome->ending == LM_END_FAILED &&
           (err->kind == LM_ERR_BUSY || err->kind == LM_ERR_FENCED);
}

/* The last line of --log json. */
static void
log_end(const struct lm_outcome *outcome, const struct lm_err *err, int code)
{
    struct lm_buf fields = LM_BUF_INIT;
    const char *reason = NULL;

    if (outcome->ending == LM_END_FAILED) {
        reason = err->message;
    } else if (outcome->ending == LM_END_STOPPED ||
               outcome->ending == LM_END_CANCELLED) {
        reason = outcome->reason;
    }
    lm_record_text(&fields, "event", "end");
    lm_record_known(&fields, "run", outcome->run_id > 0 ? outcome->run_id : -1);
    lm_record_text(&fields, "state",
                   is_elsewhere(outcome, err) ? "running"
                                              : lm_outcome_state(outcome));
    lm_record_int(&fields, "rows", outcome->rows);
    lm_record_int(&fields, "batches", outcome->batches);
    lm_record_int(&fields, "retries", outcome->retries);
    lm_record_int(&fields, "failures", outcome->failures);
    lm_record_int(&fields, "elapsed_ms", outcome->elapsed_ms);
    lm_record_text(&fields, "reason", reason);
    lm_record_text(&fields, "held", outcome->held);
    lm_record_int(&fields, "exit_code", code);
    lm_log_event(LM_LOG_INFO, NULL, &fields);
    lm_buf_release(&fields);
}

static int
report(const struct lm_outcome *outcome, const struct lm_err *err)
{
    switch (outcome->ending) {
    case LM_END_DONE:
        lm_out("run %" PRId64 " done: ", outcome->run_id);
        print_counts(outcome);
        print_speed(outcome);
        lm_out("\n");
        print_matching(outcome);
        return print_failures(outcome);
    case LM_END_DONE_ALREADY:
        lm_out("run %" PRId64 " is done already: ", outcome->run_id);
        print_counts(outcome);
        lm_out_own("; use --again to run it once more\n");
        return print_failures(outcome);
    case LM_END_CANCELLED_ALREADY:
        lm_out("run %" PRId64 " was cancelled after ", outcome->run_id);
        print_counts(outcome);
        lm_out_own("; use --restart to begin a new run\n");
        return LM_EXIT_CANCELLED;
    case LM_END_CANCELLED:
        lm_out("run %" PRId64 " cancelled by %s: ", outcome->run_id,
               outcome->reason);
        print_counts(outcome);
        print_speed(outcome);
        lm_out_own("; its changes stay\n");
        return LM_EXIT_CANCELLED;
    case LM_END_STOPPED:
        lm_out("run %" PRId64 " stopped (%s): ", outcome->run_id,
               outcome->reason);
        print_counts(outcome);
        print_speed(outcome);
        if (outcome->cursor != NULL)
            lm_out(", at %s", outcome->cursor);
        lm_out_own(outcome->others ? "; other processes go on with the run\n"
                                   : "; the same command resumes it\n");
        return LM_EXIT_STOPPED;
    case LM_END_FAILED:
        break;
    }
    if (outcome->refused) {
        lm_out("run %" PRId64 " is cancelled: its file is not loaded\n",
               outcome->run_id);
    } else if (outcome->begun && err->kind != LM_ERR_FENCED) {
        lm_out("run %" PRId64 " failed: ", outcome->run_id);
        print_counts(outcome);
        print_speed(outcome);
        if (outcome->cursor != NULL)
            lm_out(", at %s", outcome->cursor);
        lm_out_own(lm_err_is_state(err, LM_JOURNAL_VANISHED)
                       ? "; the journal is damaged\n"
                       : "; the same command resumes it\n");
    }
    return lm_cli_fail(err);
}

int
lm_run_report_print(const struct lm_outcome *outcome, const struct lm_err *err)
{
    int code = lm_cli_finish_output(report(outcome, err));

    log_end(outcome, err, code);
    return code;
}
