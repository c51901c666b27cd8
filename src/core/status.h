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
 * error_sqlstate. With as_json: one row with one column, a JSON array of
 * objects.
 */
bool lm_status_read(struct lm_conn *conn, const char *schema,
                    const struct lm_status_filter *filter, bool as_json,
                    struct lm_result **out, struct lm_err *err) LM_MUSTCHECK;

#endif
