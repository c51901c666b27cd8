/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_WRITE_H
#define LM_CORE_WRITE_H

/*
 * The SQL of structured writes. Column names come in the order in which the
 * parameters will; the texts depend only on table and columns, so that each
 * shape is prepared once. False when the table name is malformed.
 */

#include "base/mem.h"

struct lm_names {
    const char *const *names;
    int count;
};

/* UPDATE t SET c1 = $1 ... WHERE k1 = $n ...: changes, then key. */
bool lm_write_update(struct lm_buf *sql, const char *table,
                     struct lm_names changes, struct lm_names key) LM_MUSTCHECK;

/* DELETE FROM t WHERE k1 = $1 ... */
bool lm_write_delete(struct lm_buf *sql, const char *table,
                     struct lm_names key) LM_MUSTCHECK;

enum lm_conflict {
    LM_CONFLICT_ERROR,
    LM_CONFLICT_NOTHING, /* on target, or on anything when it is empty */
    LM_CONFLICT_UPDATE   /* set the update columns from the row proposed */
};

/* INSERT INTO t (c1, ...) VALUES ($1, ...) ON CONFLICT ... */
bool lm_write_insert(struct lm_buf *sql, const char *table,
                     struct lm_names columns, enum lm_conflict conflict,
                     struct lm_names target,
                     struct lm_names update) LM_MUSTCHECK;

/*
 * UPDATE or DELETE by a condition, which is SQL with $1 ... of its own
 * (where_params of them), NULL for every row. For an equality condition
 * lm_write_equality makes that SQL: c1 = $1 AND c2 IS NULL ..., NULL where
 * nulls[i].
 */
bool lm_write_update_all(struct lm_buf *sql, const char *table,
                         struct lm_names changes, const char *where,
                         int where_params) LM_MUSTCHECK;
bool lm_write_delete_all(struct lm_buf *sql, const char *table,
                         const char *where) LM_MUSTCHECK;
void lm_write_equality(struct lm_buf *sql, struct lm_names columns,
                       const bool *nulls);

#endif
