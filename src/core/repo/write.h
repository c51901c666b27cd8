/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_REPO_WRITE_H
#define LM_CORE_REPO_WRITE_H

/* The SQL of structured writes. Column names come in the order of the
 * parameters. The text depends only on table and columns, so each shape is
 * prepared once. False if the table name is malformed. */

#include "base/mem.h"

struct lm_names {
    const char *const *names;
    int count;
};

enum lm_verb { LM_VERB_INSERT, LM_VERB_UPDATE, LM_VERB_DELETE };

enum lm_conflict {
    LM_CONFLICT_ERROR,
    LM_CONFLICT_NOTHING, /* on target; empty: on any conflict */
    LM_CONFLICT_UPDATE   /* set the overwritten columns from the row proposed */
};

/* How a column is compared with a value. */
struct lm_equal {
    char *op;      /* OPERATOR("s".=) */
    char *collate; /* what the value needs after it, or "" */
};

/* The form of a write of one row: everything but its values. */
struct lm_form {
    enum lm_verb verb;
    const char *table;
    struct lm_names changes;   /* of an insert: the row's columns */
    const bool *sums;          /* of an update: is this change added to the old
                                  value? NULL: no change is */
    struct lm_names copied;    /* of an update: columns that have no parameter:
                                  they get the old values of sources */
    struct lm_names sources;   /* one for each of copied */
    struct lm_names key;       /* of an update or delete */
    bool may_miss;             /* it may write no row (missing = "ignore") */
    enum lm_conflict conflict; /* of an insert, as are those below */
    struct lm_names target;
    const char *target_where; /* SQL, of a partial index; or NULL */
    struct lm_names overwritten;
    struct lm_names summed; /* columns that get their old value and that of the
                                 row proposed */
    struct lm_names
        returned; /* columns that the statement returns of its row */
};

/* Does the server compute values of it from the row? */
bool lm_form_is_computed(const struct lm_form *form);

/*
 * UPDATE t SET c1 = $1 ... WHERE k1 = $n ...: changes, then key; DELETE FROM t
 * WHERE k1 = $1 ...; INSERT INTO t (c1, ...) VALUES ($1, ...) ON CONFLICT ...
 * equal has how each key column is compared; NULL: as "=" is found by name.
 */
bool lm_write_one(struct lm_buf *sql, const struct lm_form *form,
                  const struct lm_equal *equal) LM_MUSTCHECK;

/*
 * The same for many rows in one statement, over one array a column; the last
 * parameter is the number of rows. casts has for each column what the array's
 * elements are cast to, or NULL. The statement returns how many rows it wrote.
 * It fails if that number cannot be the result of so many single writes, or if
 * array_nulls is off: with LM002 (the function expect of the schema journal);
 * with a division by zero if journal is NULL.
 */
bool lm_write_combined(struct lm_buf *sql, const struct lm_form *form,
                       const struct lm_equal *equal, char *const *casts,
                       const char *journal) LM_MUSTCHECK;
/* The shape of its answer (pg/conn/answer.h): how many rows, and the value of
 * the check. */
#define LM_WRITE_COMBINED_SHAPE "1: n v"

/*
 * UPDATE, DELETE or SELECT by a condition, which is SQL with $1 ... of its own
 * (where_params of them), NULL for every row. The form is one without a key. For an equality condition
 * lm_write_equality makes that SQL: c1 = $1 AND c2 IS NULL ..., NULL where
 * nulls[i]; nulls may be NULL. A SELECT without columns is of all of them; it
 * returns at most so many rows, 0: all.
 */
bool lm_write_update_all(struct lm_buf *sql, const struct lm_form *form,
                         const char *where, int where_params) LM_MUSTCHECK;
bool lm_write_delete_all(struct lm_buf *sql, const char *table,
                         const char *where) LM_MUSTCHECK;
bool lm_write_select(struct lm_buf *sql, const char *table,
                     struct lm_names columns, const char *where,
                     int most) LM_MUSTCHECK;
void lm_write_equality(struct lm_buf *sql, struct lm_names columns,
                       const bool *nulls, const struct lm_equal *equal);

#endif
