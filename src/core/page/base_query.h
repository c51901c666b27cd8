/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PAGE_BASE_QUERY_H
#define LM_CORE_PAGE_BASE_QUERY_H

/*
 * What is known of a base query once preflight has asked the server: plain
 * data, filled by preflight and read by pager, repo and runner.
 */

#include "pg/conn/order.h"

#include <stdbool.h>
#include <stdint.h>

/* What the server says that a key column is: a column of a table or view. */
struct lm_key_origin {
    uint32_t table; /* OID; 0: the base query computes it */
    int column;     /* attnum */
};

/* A column of a table or view that a key column comes from. */
struct lm_key_source {
    uint32_t table; /* OID */
    char *column;
    bool is_view;
};

struct lm_base_query {
    char *sql;     /* one SELECT without semicolon; may end with a -- comment */
    char **params; /* texts, NULL for NULL; one each of param_types */
    uint32_t *param_types;
    int param_count;
    char **columns; /* names, all different */
    int column_count;
    int key_count;
    char **key;          /* names of the key columns */
    int *key_index;      /* where they are among columns */
    uint32_t *key_types; /* OIDs the key parameters are bound with */
    struct lm_key_origin *key_origins;
    struct lm_order *order; /* how each key column compares; NULL: unknown */
    bool key_is_unique;     /* proved; otherwise watched as rows go by */
    bool takes_all;         /* every row of its table, migrated or not */
    struct lm_key_source *sources; /* views, and what is below them */
    int source_count;
    char *volatile_calls; /* functions it calls, "nextval, random"; or NULL */
    int *key_source;      /* of each key column, the source at the bottom; -1 */
};

#endif
