/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PAGE_PRIVATE_H
#define LM_CORE_PAGE_PRIVATE_H

/* The SQL of pages, which page_sql.c builds and the other files
 * send. */

#include "core/page/page.h"
#include "pg/conn/answer.h"

/* The key that begins at a column of an answer's row. */
void lm_page_take_key(const struct lm_answer *answer, int row, int column,
                      const struct lm_base_query *query, struct lm_key *out);

/* A statement and its parameters: the base query's, then keys, then others. */
struct lm_page_request {
    const struct lm_base_query *query;
    struct lm_buf sql;
    const char **texts;
    uint32_t *types;
    int count;
    const struct lm_page_where *where; /* NULL: it is not lm_page_add_where's */
};
void lm_request_init(struct lm_page_request *self,
                     const struct lm_base_query *query);
void lm_request_release(struct lm_page_request *self);

/* Prepares and runs it. */
bool lm_request_ask(const struct lm_page_request *self, struct lm_conn *conn,
                    const char *shape, struct lm_answer **out,
                    struct lm_err *err) LM_MUSTCHECK;

/* The rows that a page may have: after cursor and up to bound; either may be
 * empty. */
struct lm_bounds {
    const struct lm_key *cursor;
    const struct lm_key *bound;
};

/* Adds a parameter; returns its number. */
int lm_request_param(struct lm_page_request *self, const char *text,
                     uint32_t type);

/* "page.a, page.b": the columns of a page; the key. suffix follows each. */
void lm_request_add_columns(struct lm_page_request *self, const char *table);
void lm_request_add_keys(struct lm_page_request *self, const char *table,
                         const char *suffix);
/* " FROM (base query) AS page" */
void lm_request_add_source(struct lm_page_request *self);

/* Is the key of "page" this one, or after it, or before it? */
void lm_request_add_key_is(struct lm_page_request *self,
                           const struct lm_key *key);
void lm_request_add_key_after(struct lm_page_request *self,
                              const struct lm_key *key);
void lm_request_add_key_before(struct lm_page_request *self,
                               const struct lm_key *key);
/* "$1 AS k1, $2 AS k2" */
void lm_request_add_key_values(struct lm_page_request *self,
                               const struct lm_key *key);
/* " FROM (...) AS page": the key columns of a table that all of them come from.
 * how: text behind the table's name, "" or a TABLESAMPLE clause. */
void lm_request_add_key_source(struct lm_page_request *self, const char *table,
                               const char *how);

/* The rows of the range, without order and limit. */
void lm_request_add_range(struct lm_page_request *self, struct lm_bounds range);
/* The first rows of the range in the order of the key. */
void lm_request_add_page(struct lm_page_request *self, struct lm_bounds range,
                         const char *limit);
/* The last two of those rows, if there are as many as limit; if there is one
 * row less, the last one. */
void lm_request_add_page_end(struct lm_page_request *self,
                             struct lm_bounds range, const char *limit);
/* May the text of a key have another value than the key? */
bool lm_request_may_round(const struct lm_base_query *query);
/* Does the text of the key have the key's value? For keys that may round. */
void lm_request_add_is_exact(struct lm_page_request *self, const char *table);
/* The same with more columns at the end: is the key the same as in the row
 * before (unless it is proved unique), and does its text have the key's value
 * (if it may round)? */
void lm_request_add_watched_page(struct lm_page_request *self,
                                 struct lm_bounds range, const char *limit);
/* The keys of those first rows, and no other column. */
void lm_request_add_key_page(struct lm_page_request *self,
                             struct lm_bounds range, const char *limit);
/* The highest key of the base query, or of a table that all key columns come
 * from; table may be NULL. below: only of keys that are less; may be empty. */
void lm_request_add_highest(struct lm_page_request *self, const char *table,
                            const struct lm_key *below);
/* The last key of so many rows of the range, in a table that all key columns
 * come from. */
void lm_request_add_window_end(struct lm_page_request *self, const char *table,
                               struct lm_bounds range, const char *rows);

#endif
