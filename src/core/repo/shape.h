/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_REPO_SHAPE_H
#define LM_CORE_REPO_SHAPE_H

/*
 * The shapes of structured writes. A shape is the form of a write with what
 * the catalog says about table and columns. It says whether writes may be
 * combined: several writes of one shape become one statement over arrays, if
 * that makes no difference to anyone.
 *
 * repo/shape_facts.c has the conditions, in one query for each shape. luamig
 * asks once; after that, each batch asks with its page whether the catalog is
 * the same.
 */

#include "core/repo/write.h"
#include "pg/conn/types.h"

struct lm_oids {
    uint32_t *oids;
    int count;
};

struct lm_shape {
    struct lm_form form; /* its texts belong to the shape */
    bool known;          /* the fields below are the catalog's */
    bool may_combine;
    bool judged;    /* an insert: would the run migrate its rows? */
    bool single;    /* never combined: the script reads .affected */
    char *stray;    /* a column that the table does not have, or NULL */
    char **columns; /* ... and the columns that it has */
    int column_count;
    int unsuited; /* which of the changes nothing can be added to; -1: none */
    char *unsuited_type;    /* its type */
    struct lm_equal *equal; /* how the key columns compare; NULL: not known */
    /* The fields below are set if may_combine. */
    uint32_t root;                /* OID of the table, or of its root table */
    bool fires;                   /* has triggers, which may change any table */
    struct lm_oids linked;        /* roots of tables, by foreign keys */
    struct lm_oids sequences;     /* that its defaults use */
    const struct lm_type **types; /* of the columns, changes before key */
    struct lm_oids array_types;   /* of the statement's parameters */
    char *delimiters;             /* between the arrays' elements */
    int *distinct; /* columns that must differ in each row of a statement */
    int distinct_count;
    char *sql;        /* the combined statement */
    char *single_sql; /* the statement for one row */

    char *name;           /* of the table, quoted */
    uint32_t oid;         /* 0: there is no such table */
    struct lm_oids parts; /* its OID, or those of all its partitions */
    struct {
        int64_t count;
        int64_t sum;
    } version; /* count and sum over the catalog's rows that were read */
    bool used; /* since lm_shapes_begin_use */
};

/* When the server has last read its catalog for a statement about the tables:
 * it does so again after each change. */
struct lm_stamp {
    char *sql;  /* that statement; NULL: none */
    char *time; /* its last answer; NULL: none */
    bool stays; /* the answer before was the same */
    bool holds; /* the facts are those of that time */
};

struct lm_shapes {
    struct lm_shape **all;
    size_t count;
    bool outdated;                    /* a check has found a change */
    uint64_t epoch;                   /* grows when shapes are forgotten */
    struct lm_shapes_question *asked; /* in flight; NULL: nothing is */
    struct lm_stamp stamp;
};

struct lm_combine_options {
    const char *journal; /* schema of the function that asserts counts, or
                            NULL: as lm_write_combined says */
    bool always;         /* also where triggers would tell the difference */
};

/* Finds a shape; asks the server if it is new. *out belongs to self. */
bool lm_shapes_find(struct lm_shapes *self, struct lm_conn *conn,
                    struct lm_types *types,
                    const struct lm_combine_options *options,
                    const struct lm_form *form, struct lm_shape **out,
                    struct lm_err *err) LM_MUSTCHECK;
/* Asks the server again about a shape that was found before. */
bool lm_shapes_ask(struct lm_conn *conn, struct lm_types *types,
                   const struct lm_combine_options *options,
                   struct lm_shape *shape, struct lm_err *err) LM_MUSTCHECK;

/* If not, the next check forgets them all. */
bool lm_shapes_have_room(const struct lm_shapes *self);
/* A callback begins. What it does not use is forgotten by the next check. */
void lm_shapes_begin_use(struct lm_shapes *self);
/* Posts the question whether the shapes in use are unchanged. The answer makes
 * luamig forget those that have changed. */
bool lm_shapes_post_check(struct lm_shapes *self, struct lm_conn *conn,
                          struct lm_err *err) LM_MUSTCHECK;
/* Forgets the facts of all shapes. */
void lm_shapes_forget(struct lm_shapes *self);
void lm_shapes_release(struct lm_shapes *self);

int lm_shape_column_count(const struct lm_shape *self);
const char *lm_shape_column(const struct lm_shape *self, int i);
/* Does the order of writes of these two shapes matter? Not if they are
 * children of one parent; but a sequence numbers rows in their order. */
bool lm_shape_is_linked(const struct lm_shape *a, const struct lm_shape *b);

#endif
