/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_JOURNAL_STATUS_H
#define LM_CORE_JOURNAL_STATUS_H

/* Reading the journal for people: which runs there are and how far. */

#include "pg/conn/conn.h"

/*
 * Reads the newest `limit` of the runs with these numbers (as an array
 * literal; NULL: all runs). One row a run, newest first, all columns as text:
 * id, script, args, state, live ("t" if a runner works on it and is alive),
 * rows, batches, retries, cursor, started_at, finished_at, started_by, host,
 * pid, error, error_sqlstate, exit_code, failures, total, batch_size,
 * waits_for. If a run has no row in progress, its rows, batches, retries,
 * failures, host and pid are NULL. With as_json: one row with one column, a
 * JSON array of objects.
 */
bool lm_status_read(struct lm_conn *conn, const char *schema, const char *runs,
                    int64_t limit, bool as_json, struct lm_answer **out,
                    struct lm_err *err) LM_MUSTCHECK;

struct lm_status_run {
    int64_t id;
    char script[512];
    char path[1024]; /* where it was last; "": unknown */
    char state[24];
    bool live;       /* a runner works on it and is alive */
    bool leased;     /* ... or was lately, and may be reconnecting */
    bool unfinished; /* it can be resumed */
};

/* The names that the journal may have for a script, the likeliest first, and
 * facts about its file; NULL if unknown. */
struct lm_status_names {
    const char *const *names;
    int count;
    const char *path;   /* absolute, without links */
    const char *typed;  /* absolute, as it was written */
    const char *source; /* its text */
    const char *file;   /* relative to its root; NULL: no folder is marked */
};

/* The runs of a script. */
struct lm_status_script {
    char *name;       /* what the journal calls it; NULL: it has no run */
    char *runs;       /* their numbers, as an array literal */
    int64_t other;    /* if it has none: a run of another file with its name */
    char *other_path; /* where that file is */
};
void lm_status_script_release(struct lm_status_script *self);

/*
 * The runs of a script: those with its name or file; and those of luamig 0.1
 * that were begun by a file of the same text, whose path ends with their name.
 * A run that another file began belongs to the script only if it has the same
 * text, or the same place in a marked project (journal/find.c uses the same
 * rule).
 */
bool lm_status_find_script(struct lm_conn *conn, const char *schema,
                           const struct lm_status_names *names,
                           struct lm_status_script *out,
                           struct lm_err *err) LM_MUSTCHECK;

/* The run that a command means, of the runs with these numbers: the unfinished
 * one, else the latest. LM_ERR_FAILED if there is no run, if more than one is
 * unfinished, or if it has no progress row. */
bool lm_status_find(struct lm_conn *conn, const char *schema, const char *runs,
                    const char *which, struct lm_status_run *out,
                    struct lm_err *err) LM_MUSTCHECK;
bool lm_status_find_number(struct lm_conn *conn, const char *schema, int64_t id,
                           struct lm_status_run *out,
                           struct lm_err *err) LM_MUSTCHECK;

/* If the run that was found has no unresolved failed rows: the latest of these
 * runs that has some. Leaves *out unchanged if there is none. */
bool lm_status_find_failed(struct lm_conn *conn, const char *schema,
                           const char *runs, struct lm_status_run *out,
                           struct lm_err *err) LM_MUSTCHECK;

/* The unresolved failed rows of a run, by age: id, key_columns, key, sqlstate,
 * message, detail, line, row, attempts, failed_at; with as_json as above. */
bool lm_status_failures(struct lm_conn *conn, const char *schema,
                        int64_t run_id, bool as_json, struct lm_answer **out,
                        struct lm_err *err) LM_MUSTCHECK;

bool lm_status_count_failures(struct lm_conn *conn, const char *schema,
                              int64_t run_id, int64_t *count,
                              struct lm_err *err) LM_MUSTCHECK;

/* A run's arguments, "name=value" each, as the command line takes them. */
struct lm_status_args {
    char **texts;
    int count;
};
bool lm_status_args(struct lm_conn *conn, const char *schema, int64_t run_id,
                    struct lm_status_args *out,
                    struct lm_err *err) LM_MUSTCHECK;
void lm_status_args_release(struct lm_status_args *self);

/* The requests to a run, by age: verb, role, host, time, answer, settings as
 * JSON or NULL. */
bool lm_status_requests(struct lm_conn *conn, const char *schema,
                        int64_t run_id, struct lm_answer **out,
                        struct lm_err *err) LM_MUSTCHECK;

/* The workers of an unfinished run: host, pid, number, rows, rows a second,
 * the keys (as text, "" if there is none) after and up to which it works, what
 * it does, how many workers its process has, and why. */
bool lm_status_workers(struct lm_conn *conn, const char *schema, int64_t run_id,
                       struct lm_answer **out, struct lm_err *err) LM_MUSTCHECK;

/* A run at one moment. */
struct lm_status_progress {
    char state[24];
    bool leased; /* its runner was alive lately */
    int64_t rows;
    int64_t batches;
    int64_t retries;
    int64_t total;      /* -1: unknown */
    int64_t batch_size; /* 0: unknown */
    char waits_for[256];
    int64_t waits_ms; /* how long it has waited */
    int exit_code;    /* of a run that has ended */
    char error[1024];
    int workers;            /* that have a range */
    char workers_note[256]; /* why the leader has so many */
};
bool lm_status_progress(struct lm_conn *conn, const char *schema,
                        int64_t run_id, struct lm_status_progress *out,
                        struct lm_err *err) LM_MUSTCHECK;

#endif
