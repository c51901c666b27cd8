/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_SHAPE_H
#define LM_CORE_SHAPE_H

/*
 * The shapes of structured writes (verb, table, columns), and which of them
 * may be combined: successive writes of one shape then become one statement
 * over arrays, and nobody can tell the difference.
 *
 * What the catalog must show for that is in shape.c, in one query a shape.
 */

#include "core/write.h"
#include "pg/types.h"

enum lm_verb { LM_VERB_INSERT, LM_VERB_UPDATE, LM_VERB_DELETE };

struct lm_shape {
    enum lm_verb verb;
    char *table;
    char **columns; /* changes, or the row's columns, then the key */
    int change_count;
    int key_count;
    bool may_combine;
    /* What follows is known where it may be combined. */
    uint32_t oid;          /* of the table */
    struct lm_type *types; /* of the columns */
    uint32_t *array_types; /* their arrays' OIDs */
    char *delimiters;      /* between the arrays' elements */
    char *sql;             /* the combined statement */
};

struct lm_shapes {
    struct lm_shape **known;
    size_t count;
};

struct lm_combine_options {
    const char *journal; /* schema of the function that asserts counts */
    bool always;         /* also where triggers would tell the difference */
};

/* Finds a shape, asking the server when it is met for the first time. *out
 * belongs to self. */
bool lm_shapes_find(struct lm_shapes *self, struct lm_conn *conn,
                    struct lm_types *types,
                    const struct lm_combine_options *options, enum lm_verb verb,
                    const char *table, struct lm_names changes,
                    struct lm_names key, struct lm_shape **out,
                    struct lm_err *err) LM_MUSTCHECK;
void lm_shapes_release(struct lm_shapes *self);

#endif
