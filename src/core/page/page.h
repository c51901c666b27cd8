/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PAGE_PAGE_H
#define LM_CORE_PAGE_PAGE_H

/*
 * Keyset paging: wraps the base query so that the server returns the rows
 * after a cursor, in the order of the key, one batch and one row at a time.
 * The row more tells whether there is another page without fetching it.
 */

#include "core/page/base_query.h"
#include "core/page/key.h"
#include "pg/conn/conn.h"

struct lm_page {
    struct lm_result *result; /* owned */
    int rows;                 /* of this batch, without the row more */
    int columns;              /* of the base query */
    bool more;                /* there are rows after these */
};
void lm_page_release(struct lm_page *page);
/* What it takes of memory. */
size_t lm_page_bytes(const struct lm_page *page);

/* Key column i of a row as text; never NULL; owned by the page. */
const char *lm_page_key(const struct lm_page *page,
                        const struct lm_base_query *query, int row, int i);
/* Sets out to the key of a row. */
void lm_page_copy_key(const struct lm_page *page,
                      const struct lm_base_query *query, int row,
                      struct lm_key *out);

/*
 * Fetches at most limit rows after cursor and up to bound; either may be empty.
 * LM_ERR_FAILED names a key that is
 * NULL or occurs twice, also when the second one is the row more, whose text is
 * not that of its value, as of a type that rounds, or says that
 * the query's key has another type than preflight found. A column that the
 * query does not return is SQLSTATE 42703.
 */
bool lm_page_fetch(struct lm_conn *conn, const struct lm_base_query *query,
                   const struct lm_key *cursor, const struct lm_key *bound,
                   int64_t limit, struct lm_page *out,
                   struct lm_err *err) LM_MUSTCHECK;

/* The table that all key columns come from, as SQL, to be freed; NULL when
 * they do not come from one table. */
bool lm_page_key_table(struct lm_conn *conn, const struct lm_base_query *query,
                       char **table, struct lm_err *err) LM_MUSTCHECK;
/* Sets out to the key that lies so many rows of that table after cursor, up to
 * bound; empty when there are fewer. */
bool lm_page_window_end(struct lm_conn *conn, const struct lm_base_query *query,
                        const char *table, const struct lm_key *cursor,
                        const struct lm_key *bound, int64_t rows,
                        struct lm_key *out, struct lm_err *err) LM_MUSTCHECK;

/* The key of the last of so many rows of the base query after cursor and up to
 * bound, in the same way, without reading any other column; *found says how
 * many rows there are. */
bool lm_page_key_ahead(struct lm_conn *conn, const struct lm_base_query *query,
                       const struct lm_key *cursor, const struct lm_key *bound,
                       int64_t rows, struct lm_key *out, int64_t *found,
                       struct lm_err *err) LM_MUSTCHECK;

/* The row with this key, or a page without rows; with two where there are
 * more. */
bool lm_page_fetch_row(struct lm_conn *conn, const struct lm_base_query *query,
                       const struct lm_key *key, struct lm_page *out,
                       struct lm_err *err) LM_MUSTCHECK;

/* Does the server take the texts for values of the key's types?
 * LM_ERR_DATABASE when it does not. Inside a transaction. */
bool lm_page_check_key(struct lm_conn *conn, const struct lm_base_query *query,
                       const struct lm_key *key,
                       struct lm_err *err) LM_MUSTCHECK;

/* Sets out to the highest key there is, empty when there are no rows;
 * LM_ERR_FAILED when it is NULL. That of the
 * table, by lm_page_key_table, unless it is NULL. Inside a transaction. */
bool lm_page_highest(struct lm_conn *conn, const struct lm_base_query *query,
                     const char *table, struct lm_key *out,
                     struct lm_err *err) LM_MUSTCHECK;

/* Counts the rows of the base query, and those of them beyond bound (none
 * when bound is empty). Inside a transaction with a timeout. */
bool lm_page_count(struct lm_conn *conn, const struct lm_base_query *query,
                   const struct lm_key *bound, int64_t *total, int64_t *beyond,
                   struct lm_err *err) LM_MUSTCHECK;

/* Counts the rows after cursor and up to bound; either may be empty. Inside a
 * transaction with a timeout. */
bool lm_page_count_left(struct lm_conn *conn, const struct lm_base_query *query,
                        const struct lm_key *cursor, const struct lm_key *bound,
                        int64_t *rows, struct lm_err *err) LM_MUSTCHECK;

/* The planner's idea of how many rows there are after cursor and up to bound;
 * either may be empty. -1: none. */
int64_t lm_page_estimate(struct lm_conn *conn,
                         const struct lm_base_query *query,
                         const struct lm_key *cursor,
                         const struct lm_key *bound);

/* The plan of what lm_page_fetch would ask, as EXPLAIN's JSON in the one value
 * of *out; run: with what it took to run it. Inside a transaction with a
 * timeout. */
bool lm_page_explain(struct lm_conn *conn, const struct lm_base_query *query,
                     const struct lm_key *cursor, const struct lm_key *bound,
                     int64_t limit, bool run, struct lm_answer **out,
                     struct lm_err *err) LM_MUSTCHECK;

#endif
