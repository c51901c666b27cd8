/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_ANSWER_H
#define LM_PG_CONN_ANSWER_H

/*
 * What the server answers to a statement of luamig's own.
 *
 * Whoever asks says what shape the answer must have. It is held against that
 * once, when it comes; a wrong answer is an error that names the statement, the
 * row and the column (LM_ERR_DATABASE, SQLSTATE LM_ANSWER_WRONG). So whoever
 * has a struct lm_answer may read it without looking: there are the rows and
 * columns that were asked for, a number is a number, and what must not be NULL
 * is not.
 *
 *     "1: i t? b"      one row of three columns
 *     "!: b i t?"      one row that begins with whether the rest is there; what
 *                      is not there is NULL
 *     "?: i"           one row or none
 *     "*: t t[] 3t?"   any number of rows; the last kind stands for three
 *     "+: t"           one row at least
 *
 *     i   a whole number of 64 bits           b   a boolean
 *     n   the same, not negative              t   a text
 *     d   the same, of 31 bits                v   anything; it is not read
 *     o   an OID                              r   a finite number
 *
 * "?" after a kind: it may be NULL. "[]": an array of it, without NULLs; of
 * texts also "t?[]", with them.
 *
 * That no row was lost on the way is seen by what the server counts. Where it
 * would be dangerous to find nothing, the statement always answers with a row,
 * which says so.
 */

#include "base/err.h"

#include <stdint.h>

struct lm_answer;
struct lm_conn;
struct lm_stmt;
struct lm_values;

/* protocol_violation. */
#define LM_ANSWER_WRONG "08P01"

/* Runs a statement once, unprepared; the server infers the types of the
 * parameters. *out is freed with lm_answer_free. */
bool lm_conn_ask(struct lm_conn *conn, const char *sql, const char *shape,
                 struct lm_values values, struct lm_answer **out,
                 struct lm_err *err) LM_MUSTCHECK;
/* The same with the parameters' type OIDs given, one a value. */
bool lm_conn_ask_typed(struct lm_conn *conn, const char *sql, const char *shape,
                       const uint32_t *types, struct lm_values values,
                       struct lm_answer **out, struct lm_err *err) LM_MUSTCHECK;
/* The same of a statement that is prepared. */
bool lm_conn_ask_prepared(struct lm_conn *conn, const struct lm_stmt *stmt,
                          const char *shape, struct lm_values values,
                          struct lm_answer **out,
                          struct lm_err *err) LM_MUSTCHECK;

/*
 * Posts it: see pg/conn/conn.h. The hearer is called once, as a listener is: with the
 * answer, with an error, which may be that it is wrong, or with neither. A wrong answer that
 * comes along with that of a COMMIT that has succeeded is passed over: what the
 * statement did is committed.
 */
typedef void (*lm_conn_answer_listener)(void *arg,
                                        const struct lm_answer *answer,
                                        struct lm_err *err);
bool lm_conn_post_question(struct lm_conn *conn, const struct lm_stmt *stmt,
                           const char *shape, struct lm_values values,
                           lm_conn_answer_listener answer_listener, void *arg,
                           struct lm_err *err) LM_MUSTCHECK;

/* For what only the reader can see, such as an answer that contradicts itself:
 * the error of a wrong answer, for an answer or for its statement. Always
 * false. */
bool lm_answer_fail(const struct lm_answer *self, const char *what,
                    struct lm_err *err);
bool lm_answer_fail_of(const char *sql, const char *what, struct lm_err *err);

void lm_answer_free(struct lm_answer *self); /* NULL is allowed */
int lm_answer_rows(const struct lm_answer *self);

/* Values, by row and column from 0. What is not there is 0, false or "", as is
 * NULL; so ask lm_answer_is_null first, or pass what is to stand for it. Texts
 * are owned by the answer. */
bool lm_answer_is_null(const struct lm_answer *self, int row, int column);
const char *lm_answer_text(const struct lm_answer *self, int row, int column);
const char *lm_answer_text_or(const struct lm_answer *self, int row, int column,
                              const char *other);
char *lm_answer_copy(const struct lm_answer *self, int row,
                     int column); /* NULL for NULL; freed by the caller */
int64_t lm_answer_int(const struct lm_answer *self, int row, int column);
int lm_answer_small(const struct lm_answer *self, int row, int column);
double lm_answer_real(const struct lm_answer *self, int row, int column);
uint32_t lm_answer_oid(const struct lm_answer *self, int row, int column);
bool lm_answer_bool(const struct lm_answer *self, int row, int column);

/* The elements of an array, and how many there are: 0 for NULL. *out is freed
 * with lm_sql_free_array, or with free. */
int lm_answer_texts(const struct lm_answer *self, int row, int column,
                    char ***out);
int lm_answer_oids(const struct lm_answer *self, int row, int column,
                   uint32_t **out);

#endif
