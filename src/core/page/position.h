/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PAGE_POSITION_H
#define LM_CORE_PAGE_POSITION_H

/* Estimates where a key is between the lowest and the highest, by the
 * histogram that ANALYZE made of its column. It is only as good as a hundred
 * buckets and the last ANALYZE. */

#include "core/page/base_query.h"
#include "pg/conn/conn.h"

struct lm_position {
    bool useless; /* the server refused once; do not ask again */
    char *sql;    /* owned; NULL: not made yet */
    char *column; /* owned */
    char table[16];
};
void lm_position_release(struct lm_position *self);

/*
 * How far key is between first (NULL: the lowest) and last (NULL: the
 * highest), from 0 to 1. -1 if unknown: the key has several columns, its
 * column has no histogram, or everything is in one bucket. Inside a
 * transaction of its own, which an error may have ended.
 */
double lm_position_find(struct lm_position *self, struct lm_conn *conn,
                        const struct lm_base_query *query, const char *first,
                        const char *key, const char *last);

/* A value in the middle of a key column (by number), as text, freed by the
 * caller. NULL if the column has no statistics. Inside a transaction of its
 * own, as above. */
char *lm_position_middle(struct lm_conn *conn,
                         const struct lm_base_query *query, int key);

#endif
