/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_DRY_TALLY_H
#define LM_CORE_DRY_TALLY_H

/*
 * What a transaction has written, as the server counts it: rows per table, of
 * all kinds of writes (raw SQL, triggers, cascades), and bytes of WAL.
 *
 * The server counts per session, and publishes its counters only between
 * transactions. So the writes of one transaction are the difference of two
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
    int64_t wal_bytes; /* includes other sessions' WAL */
    bool uncounted;    /* track_counts is off: rows are unknown */
};
void lm_tally_release(struct lm_tally *self);

/* Reads the counters. Inside a transaction; out is empty or released. */
bool lm_tally_read(struct lm_tally *out, struct lm_conn *conn,
                   struct lm_err *err) LM_MUSTCHECK;
/* Subtracts an earlier reading; keeps only tables with a difference. */
void lm_tally_subtract(struct lm_tally *self, const struct lm_tally *earlier);
/* Adds a difference. */
void lm_tally_add(struct lm_tally *self, const struct lm_tally *more);

#endif
