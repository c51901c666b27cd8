/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PAGE_PAGE_H
#define LM_CORE_PAGE_PAGE_H

/* Keyset paging: wraps the base query so that the server returns the rows
 * after a cursor in the order of the key: one batch and one row more. The
 * extra row shows whether another page follows. */

#include "core/page/base_query.h"
#include "core/page/key.h"
#include "pg/conn/conn.h"

struct lm_page {
    struct lm_result *result; /* owned */
    int rows;                 /* without the extra row */
    int columns;              /* of the base query, or of its key */
    bool more;                /* there are rows after these */
    int skipped;              /* rows that were counted, but not sent */
};
void lm_page_release(struct lm_page *page);
/* How much memory it takes, in bytes. */
size_t lm_page_bytes(const struct lm_page *page);

/* Where it lies in the order of the key: after one key (empty: before the first
 * row) and up to another. */
struct lm_stretch {
    const struct lm_key *after;
    const struct lm_key *upto;
};

/* A condition for the rows of a stretch, in a statement of the script. The
 * parameters are the key after which, if there is one, and the key up to which.
 */
struct lm_page_where {
    const char *const *columns; /* SQL for each key column; NULL: its name */
    const char *table;          /* SQL before the names; NULL: none */
    bool has_after;
    int first; /* the number of the first parameter */
};
void lm_page_add_where(struct lm_buf *sql, const struct lm_base_query *query,
                       const struct lm_page_where *where);

/* The index in a page's result of key column i. */
int lm_page_key_index(const struct lm_base_query *query, int i);
/* Key column i of a row that was sent, as text; never NULL; owned by the page. */
const char *lm_page_key(const struct lm_page *page,
                        const struct lm_base_query *query, int row, int i);
/* Copies the key of a row to *out. */
void lm_page_copy_key(const struct lm_page *page,
                      const struct lm_base_query *query, int row,
                      struct lm_key *out);

/*
 * Fetches at most limit rows after cursor and up to bound; either may be
 * empty. LM_ERR_FAILED if a key is NULL or occurs twice (also if the extra row
 * has the same key as the last one), if the text of a key has another value
 * than the key, as in a type that rounds, or if the query's key has another
 * type than preflight found. SQLSTATE 42703 if the query does not return a
 * column.
 */
bool lm_page_fetch(struct lm_conn *conn, const struct lm_base_query *query,
                   const struct lm_key *cursor, const struct lm_key *bound,
                   int64_t limit, struct lm_page *out,
                   struct lm_err *err) LM_MUSTCHECK;

/* May the first rows of a page be skipped: has it keys only, of which nothing
 * is to be checked? */
bool lm_page_may_skip(const struct lm_base_query *query);

/*
 * The same in two steps: ask posts the page's query, read waits for the page.
 * With skip, no row before the last one of a full page is sent; if there are
 * fewer rows than limit, the page has none. The question starts with zeros and
 * belongs to the caller.
 */
struct lm_page_question {
    struct lm_result *result; /* owned */
    char *sql;                /* owned; NULL: nothing was asked */
    int64_t limit;
    bool skip;
};
void lm_page_question_release(struct lm_page_question *self);
bool lm_page_ask(struct lm_conn *conn, const struct lm_base_query *query,
                 const struct lm_key *cursor, const struct lm_key *bound,
                 int64_t limit, bool skip, struct lm_page_question *out,
                 struct lm_err *err) LM_MUSTCHECK;
bool lm_page_read(struct lm_conn *conn, const struct lm_base_query *query,
                  struct lm_page_question *question, struct lm_page *out,
                  struct lm_err *err) LM_MUSTCHECK;

/* The table of all key columns, as SQL; freed by the caller. NULL if they come
 * from several tables or are computed. */
bool lm_page_key_table(struct lm_conn *conn, const struct lm_base_query *query,
                       char **table, struct lm_err *err) LM_MUSTCHECK;
/* Sets out to the key that is so many rows of that table after cursor, up to
 * bound; empty if there are fewer rows. */
bool lm_page_window_end(struct lm_conn *conn, const struct lm_base_query *query,
                        const char *table, const struct lm_key *cursor,
                        const struct lm_key *bound, int64_t rows,
                        struct lm_key *out, struct lm_err *err) LM_MUSTCHECK;

/* Keys at which a range may be cut, in ascending order. */
struct lm_cuts {
    struct lm_key *of;
    int count;
    int64_t seen; /* keys that they were chosen from */
    int64_t rows; /* about how many rows lie in the range */
};
void lm_cuts_release(struct lm_cuts *self);
/*
 * Both inside a transaction, which an error may have ended. sample: keys of
 * that table between cursor and bound, at most most of them, which cut it into
 * parts of about the same size; its rows are those of the table. walk: of so
 * many next rows of the base query, the one in the middle if they are fewer
 * than most, otherwise the last one. Either may find none.
 */
bool lm_page_sample_cuts(struct lm_conn *conn,
                         const struct lm_base_query *query, const char *table,
                         const struct lm_key *cursor,
                         const struct lm_key *bound, int most,
                         struct lm_cuts *out, struct lm_err *err) LM_MUSTCHECK;
bool lm_page_walk_to_cut(struct lm_conn *conn,
                         const struct lm_base_query *query,
                         const struct lm_key *cursor,
                         const struct lm_key *bound, int64_t most,
                         struct lm_cuts *out, struct lm_err *err) LM_MUSTCHECK;
/* Is key after the other one, in the order of pages? */
bool lm_page_is_key_after(struct lm_conn *conn,
                          const struct lm_base_query *query,
                          const struct lm_key *key, const struct lm_key *other,
                          bool *after, struct lm_err *err) LM_MUSTCHECK;

/* The same for rows of the base query, without reading any other column: the
 * key of the last of so many rows. *found says how many rows there are. */
bool lm_page_key_ahead(struct lm_conn *conn, const struct lm_base_query *query,
                       const struct lm_key *cursor, const struct lm_key *bound,
                       int64_t rows, struct lm_key *out, int64_t *found,
                       struct lm_err *err) LM_MUSTCHECK;

/* Fetches the row with this key: a page of one row, of none, or of two if
 * several rows have the key. */
bool lm_page_fetch_row(struct lm_conn *conn, const struct lm_base_query *query,
                       const struct lm_key *key, struct lm_page *out,
                       struct lm_err *err) LM_MUSTCHECK;

/* Does the server accept the texts as values of the key's types?
 * LM_ERR_DATABASE if not. Inside a transaction. */
bool lm_page_check_key(struct lm_conn *conn, const struct lm_base_query *query,
                       const struct lm_key *key,
                       struct lm_err *err) LM_MUSTCHECK;

/* Sets out to the highest key, empty if there are no rows. With a table, by
 * lm_page_key_table: the highest key of that table; NULL: of the base query.
 * LM_ERR_FAILED if the key is NULL. Inside a transaction. */
bool lm_page_highest(struct lm_conn *conn, const struct lm_base_query *query,
                     const char *table, struct lm_key *out,
                     struct lm_err *err) LM_MUSTCHECK;

/* Sets out to the highest key of that table that is less than key; empty if
 * there is none. Inside a transaction. */
bool lm_page_key_before(struct lm_conn *conn, const struct lm_base_query *query,
                        const char *table, const struct lm_key *key,
                        struct lm_key *out, struct lm_err *err) LM_MUSTCHECK;

/* Counts the rows of the base query, and how many of them are after bound (0
 * if bound is empty). Inside a transaction with a timeout. */
bool lm_page_count(struct lm_conn *conn, const struct lm_base_query *query,
                   const struct lm_key *bound, int64_t *total, int64_t *beyond,
                   struct lm_err *err) LM_MUSTCHECK;

/* Counts the rows after cursor and up to bound; either may be empty. Inside a
 * transaction with a timeout. */
bool lm_page_count_left(struct lm_conn *conn, const struct lm_base_query *query,
                        const struct lm_key *cursor, const struct lm_key *bound,
                        int64_t *rows, struct lm_err *err) LM_MUSTCHECK;

/* The planner's estimate of the rows after cursor and up to bound; either may
 * be empty. -1: no estimate. */
int64_t lm_page_estimate(struct lm_conn *conn,
                         const struct lm_base_query *query,
                         const struct lm_key *cursor,
                         const struct lm_key *bound);

/* The plan of the query that lm_page_fetch would run, as EXPLAIN's JSON in the
 * one value of *out. run: executes it, with times. Inside a transaction with a
 * timeout. */
bool lm_page_explain(struct lm_conn *conn, const struct lm_base_query *query,
                     const struct lm_key *cursor, const struct lm_key *bound,
                     int64_t limit, bool run, struct lm_answer **out,
                     struct lm_err *err) LM_MUSTCHECK;

#endif
