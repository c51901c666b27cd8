/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_STMT_H
#define LM_PG_CONN_STMT_H

/*
 * The prepared statements of one connection, kept by text and types. Private
 * to src/pg; others see struct lm_stmt through pg/conn/conn.h.
 */

#include "pg/conn/conn.h"

struct lm_stmt {
    char name[24];
    char *sql;
    uint32_t *asked_types; /* what the caller asked for, part of the key */
    int asked_count;
    uint64_t hash;
    uint64_t last_use;
    uint64_t times; /* by lm_conn_prepare_rare */
    bool kept;      /* the server has described it, and keeps it by name */
    bool judged;    /* a verdict was set */
    struct lm_verdict verdict;
    int param_count;
    uint32_t *param_types;
    int column_count;
    struct lm_column *columns;
};

struct lm_stmt_cache {
    struct lm_stmt **entries;
    size_t count;
    uint64_t uses;
    uint64_t names; /* statement names are never used twice */
};

struct lm_stmt *lm_stmt_cache_find(struct lm_stmt_cache *self, const char *sql,
                                   const uint32_t *types, int type_count);
/* Adds a statement with a name of its own; not described yet. */
struct lm_stmt *lm_stmt_cache_add(struct lm_stmt_cache *self, const char *sql,
                                  const uint32_t *types, int type_count);
/* The least recently used statement when the cache is full, else NULL. */
struct lm_stmt *lm_stmt_cache_oldest(const struct lm_stmt_cache *self);
void lm_stmt_cache_drop(struct lm_stmt_cache *self, struct lm_stmt *stmt);
/* Drops all; names go on. */
void lm_stmt_cache_clear(struct lm_stmt_cache *self);
void lm_stmt_cache_release(struct lm_stmt_cache *self);

#endif
