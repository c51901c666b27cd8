/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_JOURNAL_STATUS_H
#define LM_CORE_JOURNAL_STATUS_H

/* Reading the journal for people: which runs there are and how far. */

#include "pg/conn/conn.h"

/*
 * The newest so many of those runs whose numbers are given (as an array
 * literal; NULL: of all). One row a run, newest first, all columns as text: id,
 * script, args, state, live ("t" when a runner holds it and shows itself), rows,
 * batches, retries, cursor, started_at, finished_at, started_by, host, pid,
 * error, error_sqlstate, exit_code, failures, total, batch_size, waits_for. Of
 * a run that has no row in progress, rows, batches, retries, failures, host and
 * pid are NULL. With as_json: one row with one column, a JSON array of objects.
 */
bool lm_status_read(struct lm_conn *conn, const char *schema, const char *runs,
                    int64_t limit, bool as_json, struct lm_answer **out,
                    struct lm_err *err) LM_MUSTCHECK;

struct lm_status_run {
    int64_t id;
    char script[512];
    char path[1024]; /* where it was run last; "": nobody knows */
    char state[24];
    bool live;       /* a runner holds it and shows itself */
    bool leased;     /* ... or did so lately, and may be reconnecting */
    bool unfinished; /* it may go on */
};

/* What a script may be called in the journal, the likeliest first, and what its
 * file is; NULL where there is none. */
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
    int64_t other;    /* where it has none, that of another file by its name */
    char *other_path; /* where that file is */
};
void lm_status_script_release(struct lm_status_script *self);

/*
 * Which runs are a script's: those by its name or file, or those of luamig 0.1
 * that were begun by a file of that text, whose path their name ends. Where
 * there is a file, a run that was begun by another one is not this script's,
 * unless it has the same text, or the same place in a marked project
 * (journal/find.c goes by the same rule).
 */
bool lm_status_find_script(struct lm_conn *conn, const char *schema,
                           const struct lm_status_names *names,
                           struct lm_status_script *out,
                           struct lm_err *err) LM_MUSTCHECK;

/* The run that people mean, of those whose numbers are given: the unfinished
 * one, else the latest. LM_ERR_FAILED when there is none by that word, more than
 * one is unfinished, or it has lost its progress. */
bool lm_status_find(struct lm_conn *conn, const char *schema, const char *runs,
                    const char *which, struct lm_status_run *out,
                    struct lm_err *err) LM_MUSTCHECK;
bool lm_status_find_number(struct lm_conn *conn, const char *schema, int64_t id,
                           struct lm_status_run *out,
                           struct lm_err *err) LM_MUSTCHECK;

/* The latest of those runs that has set rows aside which are not resolved,
 * where the run that was found has none: *out is left as it is when there is
 * no other. */
bool lm_status_find_failed(struct lm_conn *conn, const char *schema,
                           const char *runs, struct lm_status_run *out,
                           struct lm_err *err) LM_MUSTCHECK;

/* The rows that a run has set aside and that are not resolved, by age: id,
 * key_columns, key, sqlstate, message, detail, line, row, attempts, failed_at;
 * with as_json as above. */
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

/* What people have asked of a run, by age: verb, role, host, time, answer,
 * settings as JSON or NULL. */
bool lm_status_requests(struct lm_conn *conn, const char *schema,
                        int64_t run_id, struct lm_answer **out,
                        struct lm_err *err) LM_MUSTCHECK;

/* A run at one moment. */
struct lm_status_progress {
    char state[24];
    bool leased; /* its runner has been heard of lately */
    int64_t rows;
    int64_t batches;
    int64_t retries;
    int64_t total;      /* -1: unknown */
    int64_t batch_size; /* 0: unknown */
    char waits_for[256];
    int exit_code; /* of a run that has ended */
    char error[1024];
};
bool lm_status_progress(struct lm_conn *conn, const char *schema,
                        int64_t run_id, struct lm_status_progress *out,
                        struct lm_err *err) LM_MUSTCHECK;

#endif
