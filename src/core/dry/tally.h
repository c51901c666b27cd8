/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_DRY_TALLY_H
#define LM_CORE_DRY_TALLY_H

/*
 * What a transaction has written, by the server's own account: rows per table,
 * whoever wrote them (raw SQL, triggers, cascades), and bytes of WAL.
 *
 * The server counts for the session, and hands its counters on between
 * transactions only: what one transaction wrote is the difference of two
 * readings inside of it.
 */

#include "pg/conn/conn.h"

struct lm_tally_table {
    char *name; /* as SQL: public."Odd" */
    int64_t inserted;
    int64_t updated;
    int64_t deleted;
};

struct lm_tally {
    struct lm_tally_table *tables; /* that were written; by name */
    int count;
    int64_t wal_bytes; /* other sessions' among them */
    bool uncounted;    /* track_counts is off: nobody knows the rows */
};
void lm_tally_release(struct lm_tally *self);

/* Reads the counters. Inside a transaction; out is empty or released. */
bool lm_tally_read(struct lm_tally *out, struct lm_conn *conn,
                   struct lm_err *err) LM_MUSTCHECK;
/* Leaves the difference to an earlier reading, of tables where there is one. */
void lm_tally_subtract(struct lm_tally *self, const struct lm_tally *earlier);
/* Adds a difference. */
void lm_tally_add(struct lm_tally *self, const struct lm_tally *more);

#endif
