/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_RUN_H
#define LM_CORE_RUN_RUN_H

/*
 * Runs one migration to its end, or until it has to stop:
 *
 *     preflight - acquire - on_start - (page - migrate - checkpoint - COMMIT)*
 *     - on_complete and "done" - count
 *
 * Everything rests on two rules. First, the writes of a batch and the cursor
 * commit together. So if a run is killed, it repeats only a batch that left
 * nothing behind. Second, luamig does not know what became of a COMMIT if the
 * connection breaks during it. So the runner never guesses: it reconnects,
 * writes a fresh owner token, which waits for the old transaction, and reads
 * the cursor.
 *
 * Only the runner retries, and always a whole transaction.
 */

#include "core/lane/lane.h"

struct lm_conn;
struct lm_input_file;

enum { LM_RUNNER_MOST_WORKERS = 64 };

struct lm_runner_options {
    const char *conninfo;
    const char *source_conninfo; /* NULL: the migration has no source */
    const char *journal_schema;
    int64_t lease_ms;
    int64_t silence_ms; /* see pg/conn/conn.h */
    bool again;
    bool restart;
    bool join;     /* work with others that have the run */
    int64_t adopt; /* run to continue, whatever its name; 0: none */
    int64_t limit; /* rows to migrate in this call; 0: all */
    bool prepare;  /* a dry run calls the script's prepare, too */
    const struct lm_input_file *input; /* NULL: none is given */
    const char *const *replicas;       /* conninfos, to ask for their lag */
    int replica_count;
    /* The command line gives this setting, so "luamig set" of an earlier
     * runner does not change it. */
    bool keep_batch_size;
    bool keep_throttle_ms;
    bool keep_target_ms;
    bool keep_workers;
    /* Called once this runner has the run, before the first step; may be NULL.
     */
    void (*under_way)(void *arg, int64_t run_id);
    void *arg;
    bool count; /* count the rows that are left, instead of an estimate */
    bool force; /* run although a check finds an error */
    const struct lm_witness *witness; /* NULL: there is none */
    bool alone;                       /* no monitor: the run gets no requests */
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
    char reason[300]; /* why it stopped: "SIGINT", "the limit of 500 rows" */
    int64_t run_id;   /* 0 when none was found or begun */
    bool begun;       /* this call began it, took it over or joined it */
    bool others;      /* it stopped, and other processes go on with it */
    bool refused;     /* it failed and is cancelled, as its file is wrong */
    bool one_shot;    /* then rows and batches mean nothing */
    bool takes_all;   /* the base query also returns migrated rows */
    int64_t rows;     /* of the whole run */
    int64_t batches;
    int64_t retries;
    int64_t failures; /* failed rows */
    int64_t own_rows; /* of this call */
    int64_t own_batches;
    int64_t own_retries;
    int64_t own_failures;
    int64_t elapsed_ms;
    bool counted;     /* matching and beyond are known */
    int64_t matching; /* rows that the base query still returns */
    int64_t beyond;   /* how many of them are after the run's last key */
    char *cursor;     /* "(id) = (7)", or NULL; owned by this struct */
    char *held;       /* "held 3m12s: replica lag 2m50s, ...", or NULL; owned */
};
void lm_outcome_release(struct lm_outcome *self);
/* The state that the journal has for the ending: "done", "stopped", ... */
const char *lm_outcome_state(const struct lm_outcome *self);

/* Sets err if, and only if, the ending is LM_END_FAILED. */
void lm_runner_run(const struct lm_migration *migration,
                   const struct lm_runner_options *options,
                   struct lm_outcome *outcome, struct lm_err *err);

/* Migrates the failed rows of a run that are not resolved. The outcome has
 * ending, run_id and own_rows. err as above. */
void lm_runner_retry_failures(const struct lm_migration *migration,
                              const struct lm_runner_options *options,
                              int64_t run_id, struct lm_outcome *outcome,
                              struct lm_err *err);

/* Can "luamig set" change this setting, and is the text a value of it?
 * LM_ERR_USAGE says what is wrong. */
bool lm_runner_check_setting(const char *name, const char *text,
                             struct lm_err *err) LM_MUSTCHECK;

#endif
