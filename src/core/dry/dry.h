/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_DRY_DRY_H
#define LM_CORE_DRY_DRY_H

/*
 * A dry run: the steps of a run with real batches, each of which is rolled
 * back, and an account of what they did.
 *
 * - Each batch is a transaction of its own, as in a run. One transaction around
 *   all of them would hold its locks, and keep vacuum from its work, for as
 *   long as the dry run lasts. So a batch sees nothing of what batches before
 *   it wrote.
 * - What on_start writes, batches may depend on: it is called again at the
 *   beginning of each batch's transaction, and counted once.
 * - on_complete is called at the end, and sees nothing of the batches.
 * - What COMMIT would find, deferred constraints and triggers, is found by SET
 *   CONSTRAINTS ALL IMMEDIATE before the rollback.
 * - It knows no journal and no other run of the script, and begins at the
 *   beginning. A lost connection ends it.
 */

#include "core/dry/residue.h"
#include "core/dry/sample.h"
#include "core/dry/tally.h"
#include "core/run/run.h"

struct lm_dry_figure {
    int64_t sum;
    int64_t median;
    int64_t worst;
};

struct lm_dry_report {
    enum lm_ending ending; /* LM_END_DONE, _STOPPED by a signal, _FAILED */
    char reason[64];       /* of a stop: "SIGINT" */
    bool worked;           /* it came to its first step */
    bool complete;         /* no row was left; else the limit, stop, failure */
    bool one_shot;
    bool would_record_row; /* what failed would be set aside in a run */
    int64_t rows;
    int64_t batches; /* a one-shot is one */
    int64_t retries;
    int64_t elapsed_ms;
    int64_t throttle_ms;
    struct lm_tally tally; /* of all; its wal_bytes include on_start's */
    struct lm_samples samples;
    struct lm_residue residue;
    struct lm_dry_figure batch_ms; /* from the page to the last constraint */
    struct lm_dry_figure batch_wal_bytes;
    /* What the whole run would take. -1: nobody knows. */
    int64_t full_rows;
    int64_t full_ms;
    int64_t full_wal_bytes;
};
void lm_dry_report_release(struct lm_dry_report *self);

/* Of the options: conninfo, silence_ms, limit, replicas, keep_..., count. err is
 * set when, and only when, the ending is LM_END_FAILED. */
void lm_runner_dry_run(const struct lm_migration *migration,
                       const struct lm_runner_options *options,
                       struct lm_dry_report *report, struct lm_err *err);

#endif
