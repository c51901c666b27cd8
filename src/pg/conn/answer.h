/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_ANSWER_H
#define LM_PG_CONN_ANSWER_H

/*
 * The server's answer to a statement of luamig's own.
 *
 * The caller says what shape the answer must have. luamig checks this once,
 * when the answer comes. A wrong answer is an error that names the statement,
 * the row and the column (LM_ERR_DATABASE, SQLSTATE LM_ANSWER_WRONG). So code
 * that has a struct lm_answer may read it without further checks: the rows and
 * columns are there, a number is a number, and a value is NULL only if the
 * shape allows it.
 *
 *     "1: i t? b"      one row of three columns
 *     "!: b i t?"      one row; its first column says whether a row was found;
 *                      if not, the other columns are NULL
 *     "?: i"           at most one row
 *     "*: t t[] 3t?"   any number of rows; the last kind is for three columns
 *     "+: t"           at least one row
 *
 *     i   a whole number of 64 bits           b   a boolean
 *     n   the same, not negative              t   a text
 *     d   the same, of 31 bits                v   anything; it is not read
 *     o   an OID                              r   a finite number
 *
 * "?" after a kind: it may be NULL. "[]": an array of this kind, without
 * NULLs; for texts also "t?[]", with NULLs.
 *
 * The row count of the server shows that no row was lost on the way. If an
 * empty answer could be dangerous, the statement always returns a row, which
 * says that nothing was found.
 */

#include "base/err.h"

#include <stdint.h>

struct lm_answer;
struct lm_conn;
struct lm_stmt;
struct lm_values;

/* protocol_violation. */
#define LM_ANSWER_WRONG "08P01"

/* Runs a statement once, without preparing it. The server decides the types of
 * the parameters. *out is freed with lm_answer_free. */
bool lm_conn_ask(struct lm_conn *conn, const char *sql, const char *shape,
                 struct lm_values values, struct lm_answer **out,
                 struct lm_err *err) LM_MUSTCHECK;
/* The same with the type OIDs of the parameters, one for each value. */
bool lm_conn_ask_typed(struct lm_conn *conn, const char *sql, const char *shape,
                       const uint32_t *types, struct lm_values values,
                       struct lm_answer **out, struct lm_err *err) LM_MUSTCHECK;
/* The same for a prepared statement. */
bool lm_conn_ask_prepared(struct lm_conn *conn, const struct lm_stmt *stmt,
                          const char *shape, struct lm_values values,
                          struct lm_answer **out,
                          struct lm_err *err) LM_MUSTCHECK;

/*
 * Posts it: see pg/conn/conn.h. The listener is called exactly once: with the
 * answer, with an error (also if the answer is wrong), or with neither. A
 * wrong answer is ignored if it comes together with a COMMIT that succeeded,
 * because the statement's work is committed.
 */
typedef void (*lm_conn_answer_listener)(void *arg,
                                        const struct lm_answer *answer,
                                        struct lm_err *err);
bool lm_conn_post_question(struct lm_conn *conn, const struct lm_stmt *stmt,
                           const char *shape, struct lm_values values,
                           lm_conn_answer_listener answer_listener, void *arg,
                           struct lm_err *err) LM_MUSTCHECK;

/* Sets the error of a wrong answer, for faults that only its reader can see,
 * such as two values that contradict each other. For an answer, or for its
 * statement. Always false. */
bool lm_answer_fail(const struct lm_answer *self, const char *what,
                    struct lm_err *err);
bool lm_answer_fail_of(const char *sql, const char *what, struct lm_err *err);

void lm_answer_free(struct lm_answer *self); /* NULL is allowed */
int lm_answer_rows(const struct lm_answer *self);

/* Values, by row and column from 0. NULL, or a value that does not exist, is
 * 0, false or "". To tell them apart, call lm_answer_is_null first, or pass
 * another value for NULL. Texts belong to the answer. */
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
 * with lm_free_texts, or with free. */
int lm_answer_texts(const struct lm_answer *self, int row, int column,
                    char ***out);
int lm_answer_oids(const struct lm_answer *self, int row, int column,
                   uint32_t **out);

#endif
