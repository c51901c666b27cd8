/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_RUN_H
#define LM_CORE_RUN_RUN_H

/*
 * Runs one migration to its end, or to the point where it has to stop:
 *
 *     preflight - acquire - on_start - (page - migrate - checkpoint - COMMIT)*
 *     - on_complete and "done" - count
 *
 * Two invariants carry everything. The writes of a batch and the cursor that
 * says "done up to here" commit together, so a kill repeats a batch that left
 * nothing behind, or none. And a connection lost during COMMIT tells nothing,
 * so the runner never guesses: it reconnects, writes a fresh owner token,
 * which waits for the transaction in flight, and reads the cursor.
 *
 * Only the runner retries, and always a whole transaction.
 */

#include "core/lane/lane.h"

struct lm_conn;

struct lm_runner_options {
    const char *conninfo;
    const char *journal_schema;
    int64_t lease_ms;
    int64_t silence_ms; /* see pg/conn/conn.h */
    bool again;
    bool restart;
    int64_t adopt; /* the run that is meant, whatever it is called; 0: none */
    int64_t limit; /* rows to migrate in this call; 0: all */
    const char *const *replicas; /* conninfos, to ask for their lag */
    int replica_count;
    /* The command line's figures outweigh what "luamig set" asked for. */
    bool keep_batch_size;
    bool keep_throttle_ms;
    bool keep_target_ms;
    /* Called when the run is acquired, before its first step; may be NULL. */
    void (*under_way)(void *arg, int64_t run_id);
    void *arg;
    bool count; /* the rows that are left, instead of an estimate */
    bool force; /* run although a check says no */
    const struct lm_witness *witness; /* NULL: there is none */
    bool alone; /* no monitor: nobody asks anything of the run */
};

enum lm_ending {
    LM_END_DONE,
    LM_END_DONE_ALREADY,
    LM_END_CANCELLED_ALREADY,
    LM_END_CANCELLED,
    LM_END_STOPPED, /* by a signal or the limit; resumable */
    LM_END_FAILED   /* err says why; resumable unless it never began */
};

struct lm_outcome {
    enum lm_ending ending;
    char reason[300]; /* of a stop: "SIGINT", "the limit of 500 rows" */
    int64_t run_id;   /* 0 when none was found or begun */
    bool begun;       /* by this call, or taken over by it */
    bool one_shot;    /* then there are no rows and batches to tell of */
    bool takes_all;   /* the base query does not look for what is left */
    int64_t rows;     /* of the whole run */
    int64_t batches;
    int64_t retries;
    int64_t failures; /* rows set aside */
    int64_t own_rows; /* of this call */
    int64_t own_batches;
    int64_t own_retries;
    int64_t own_failures;
    int64_t elapsed_ms;
    bool counted;     /* matching and beyond are known */
    int64_t matching; /* rows that the base query still returns */
    int64_t beyond;   /* of them: beyond the last key of the run */
    char *cursor;     /* "(id) = (7)", or NULL; owned by the outcome */
    char *held; /* "held 3m12s: replica lag 2m50s, ...", or NULL; likewise */
};
void lm_outcome_release(struct lm_outcome *self);
/* "done", "stopped", ...: the journal's word for the ending. */
const char *lm_outcome_state(const struct lm_outcome *self);

/* err is set when, and only when, the ending is LM_END_FAILED. */
void lm_runner_run(const struct lm_migration *migration,
                   const struct lm_runner_options *options,
                   struct lm_outcome *outcome, struct lm_err *err);

/* Migrates the rows that a run has set aside and that are not resolved. The
 * outcome holds ending, run_id and own_rows. err as above. */
void lm_runner_retry_failures(const struct lm_migration *migration,
                              const struct lm_runner_options *options,
                              int64_t run_id, struct lm_outcome *outcome,
                              struct lm_err *err);

/* Is that a setting that "luamig set" may change, and does the text fit it?
 * LM_ERR_USAGE says what is wrong. */
bool lm_runner_check_setting(const char *name, const char *text,
                             struct lm_err *err) LM_MUSTCHECK;

#endif
