/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_REPO_SHAPE_H
#define LM_CORE_REPO_SHAPE_H

/*
 * The shapes of structured writes, which are their forms with what the catalog
 * says about table and columns, and which of them may be combined: successive
 * writes of one shape then become one statement over arrays, and nobody can
 * tell the difference.
 *
 * What the catalog must show for that is in repo/shape_facts.c, in one query a
 * shape. It is asked once; after that each batch asks, along with its page,
 * whether the catalog's rows are the same ones.
 */

#include "core/repo/write.h"
#include "pg/conn/types.h"

struct lm_oids {
    uint32_t *oids;
    int count;
};

struct lm_shape {
    struct lm_form form; /* its texts belong to the shape */
    bool known;          /* what follows is what the catalog says */
    bool may_combine;
    bool judged;    /* an insert: would the run itself meet such rows? */
    bool single;    /* never combined: a script asks what each write did */
    char *stray;    /* a column that the table does not have, or NULL */
    char **columns; /* then: those that it has */
    int column_count;
    struct lm_equal *equal; /* how the key columns compare; NULL: not known */
    /* What follows is known where it may be combined. */
    uint32_t root; /* OID of the table, or of that which it is a part of */
    bool fires;    /* triggers, which may touch anything */
    struct lm_oids linked;        /* roots of tables, by foreign keys */
    struct lm_oids sequences;     /* behind its defaults */
    const struct lm_type **types; /* of the columns, changes before key */
    struct lm_oids array_types;   /* of the statement's parameters */
    char *delimiters;             /* between the arrays' elements */
    int *distinct; /* columns in which the rows of a statement differ */
    int distinct_count;
    char *sql;        /* the combined statement */
    char *single_sql; /* the statement for one row */

    char *name;           /* of the table, quoted */
    uint32_t oid;         /* 0: there is no such table */
    struct lm_oids parts; /* its OID, or those of all its partitions */
    struct {
        int64_t count;
        int64_t sum;
    } version; /* of the catalog's rows that all this was read from */
    bool used; /* since the last check */
};

struct lm_shapes {
    struct lm_shape **all;
    size_t count;
    bool outdated;  /* a check has found something that changed */
    uint64_t epoch; /* shapes that were found before it changed are gone */
    struct lm_shapes_question *asked; /* in flight; NULL: nothing is */
};

struct lm_combine_options {
    const char *journal; /* schema of the function that asserts counts, or
                            NULL: as lm_write_combined says */
    bool always;         /* also where triggers would tell the difference */
};

/* Finds a shape, asking the server when nothing is known about it. *out
 * belongs to self. */
bool lm_shapes_find(struct lm_shapes *self, struct lm_conn *conn,
                    struct lm_types *types,
                    const struct lm_combine_options *options,
                    const struct lm_form *form, struct lm_shape **out,
                    struct lm_err *err) LM_MUSTCHECK;
/* The same for a shape that was found before. */
bool lm_shapes_ask(struct lm_conn *conn, struct lm_types *types,
                   const struct lm_combine_options *options,
                   struct lm_shape *shape, struct lm_err *err) LM_MUSTCHECK;

/* Posts the question whether the shapes in use are what they were; once it is
 * answered, those that are not are no longer known. */
bool lm_shapes_post_check(struct lm_shapes *self, struct lm_conn *conn,
                          struct lm_err *err) LM_MUSTCHECK;
/* Nothing is known about any shape. */
void lm_shapes_forget(struct lm_shapes *self);
void lm_shapes_release(struct lm_shapes *self);

int lm_shape_column_count(const struct lm_shape *self);
const char *lm_shape_column(const struct lm_shape *self, int i);
/* Could somebody tell in which order writes of the two were made? Not where
 * they are children of one parent; but a sequence numbers by order. */
bool lm_shape_is_linked(const struct lm_shape *a, const struct lm_shape *b);

#endif
