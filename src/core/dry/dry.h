/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_DRY_DRY_H
#define LM_CORE_DRY_DRY_H

/*
 * A dry run: the steps of a run with real batches. Each batch is rolled back,
 * and the report says what it did.
 *
 * - Each batch is a transaction of its own, as in a run. One transaction for
 *   all batches would keep its locks, and would hold back vacuum, until the
 *   dry run ends. So a batch does not see what earlier batches wrote.
 * - Batches may depend on what on_start writes. So on_start is called again at
 *   the begin of each batch's transaction, and its writes are counted once.
 * - on_complete is called at the end. It does not see what the batches wrote.
 * - SET CONSTRAINTS ALL IMMEDIATE before the rollback finds what COMMIT would
 *   find: deferred constraints and triggers.
 * - It has no journal, ignores other runs of the script, and begins at the
 *   first row. A lost connection ends it.
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
    bool worked;           /* it reached its first step */
    bool complete;         /* all rows were tried; no limit, stop or failure */
    bool one_shot;
    bool would_record_row; /* a run would record the failed row and continue */
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
    /* Estimates for the whole run; -1: unknown. */
    int64_t full_rows;
    int64_t full_ms;
    int64_t full_wal_bytes;
};
void lm_dry_report_release(struct lm_dry_report *self);

/* Uses these options: conninfo, silence_ms, limit, replicas, keep_..., count.
 * Sets err if, and only if, the ending is LM_END_FAILED. */
void lm_runner_dry_run(const struct lm_migration *migration,
                       const struct lm_runner_options *options,
                       struct lm_dry_report *report, struct lm_err *err);

#endif
