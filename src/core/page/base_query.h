/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PAGE_BASE_QUERY_H
#define LM_CORE_PAGE_BASE_QUERY_H

/* A base query as preflight found it: plain data. Preflight fills it; page,
 * repo and runner read it. */

#include "pg/conn/order.h"

#include <stdbool.h>
#include <stdint.h>

/* Where a key column comes from, by the server: a column of a table or view. */
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
    char **params; /* texts, one for each of param_types; NULL for NULL */
    uint32_t *param_types;
    int param_count;
    char **columns; /* names, all different */
    int column_count;
    int key_count;
    char **key;          /* names of the key columns */
    int *key_index;      /* their index in columns */
    uint32_t *key_types; /* OIDs of the key parameters */
    struct lm_key_origin *key_origins;
    struct lm_order *order; /* how each key column compares; NULL: unknown */
    bool key_is_unique;     /* proved; otherwise rows are compared */
    bool takes_all;         /* every row of its table, migrated or not */
    bool keys_only;         /* pages have no columns but the key's */
    struct lm_key_source *sources; /* views, and what is below them */
    int source_count;
    /* its volatile functions, "nextval, random"; or NULL */
    char *volatile_calls;
    int *key_source; /* for each key column: its table among sources; -1 */
};

#endif
