/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_STATUS_H
#define LM_CORE_STATUS_H

/* Reading the journal for people: which runs there are and how far. */

#include "pg/conn.h"

struct lm_status_filter {
    const char *script; /* NULL: all */
    int64_t run_id;     /* 0: all */
    int64_t limit;      /* the newest so many */
};

/*
 * One row a run, newest first, all columns as text: id, script, args, state,
 * live ("t" when a runner holds it and shows itself), rows, batches, retries,
 * cursor, started_at, finished_at, started_by, host, pid, error,
 * error_sqlstate, exit_code, failures, total, batch_size, waits_for. Of a run that has no row in progress, rows,
 * batches, retries, failures, host and pid are NULL. With as_json: one row with
 * one column, a JSON array of objects.
 */
bool lm_status_read(struct lm_conn *conn, const char *schema,
                    const struct lm_status_filter *filter, bool as_json,
                    struct lm_answer **out, struct lm_err *err) LM_MUSTCHECK;

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
};

/* What it is called there: a run's script by that name or file, or a run of
 * luamig 0.1 that was begun by a file of that text, whose path its name ends.
 * NULL when there is no run of it. */
bool lm_status_name(struct lm_conn *conn, const char *schema,
                    const struct lm_status_names *names, char **script,
                    struct lm_err *err) LM_MUSTCHECK;

/* The run that people mean by its number or the name of its script: of a
 * script, the unfinished run, else the latest. LM_ERR_FAILED when there is
 * none, more than one is unfinished, or it has lost its progress. */
bool lm_status_find(struct lm_conn *conn, const char *schema, const char *which,
                    struct lm_status_run *out, struct lm_err *err) LM_MUSTCHECK;

/* The latest run of the script that has set rows aside which are not resolved,
 * where the run that was found has none: *out is left as it is when there is
 * no other. */
bool lm_status_find_failed(struct lm_conn *conn, const char *schema,
                           struct lm_status_run *out,
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
