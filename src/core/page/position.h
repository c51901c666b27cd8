/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PAGE_POSITION_H
#define LM_CORE_PAGE_POSITION_H

/*
 * Where a key lies among the others, by the histogram that ANALYZE has made of
 * its column. It is a guess: a hundred buckets, as old as the last ANALYZE.
 */

#include "core/page/base_query.h"
#include "pg/conn/conn.h"

struct lm_position {
    bool useless; /* the server does not answer; nobody asks again */
    char *sql;    /* owned; NULL: not made yet */
    char *column; /* owned */
    char table[16];
};
void lm_position_release(struct lm_position *self);

/*
 * How far key is on the way from the key first (NULL: the lowest) to last
 * (NULL: the highest), from 0 to 1; -1 when nobody knows: the key has several
 * columns, or its column no histogram, or all of it lies in one bucket. Inside
 * a transaction of its own, which an error may have ended.
 */
double lm_position_find(struct lm_position *self, struct lm_conn *conn,
                        const struct lm_base_query *query, const char *first,
                        const char *key, const char *last);

/* A value in the middle of a key column, by number, as text to be freed; NULL
 * when the column has no statistics. Inside a transaction of its own, as
 * above. */
char *lm_position_middle(struct lm_conn *conn,
                         const struct lm_base_query *query, int key);

#endif
