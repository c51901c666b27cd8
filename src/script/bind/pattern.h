/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_BIND_PATTERN_H
#define LM_SCRIPT_BIND_PATTERN_H

/*
 * A pattern: which fields a line passed to a structured write before, in the
 * order of lua_next, and the shape that these fields gave. While the next
 * calls pass the same fields, luamig encodes their values directly from the
 * tables, without sorting or looking up.
 *
 * Lua has one copy of each short string, so strings are compared by identity
 * (lua_topointer); a table in the registry keeps them alive.
 */

#include "core/repo/repo.h"
#include "script/value/params.h"

struct lm_pattern {
    struct lm_pattern *next;
    enum lm_verb verb;
    const void *table;
    const struct lm_base_query *paged;
    struct lm_shape *shape;
    uint64_t epoch;
    const void **fields; /* the changes, then the key */
    int *positions; /* of each among the shape's columns; behind them: among the
                       columns that get an old value */
    int changes;    /* fields of that table, also those without a value */
    int count;
};

/* The tables of a call, by their stack indices; 0 where there is none. */
struct lm_tables {
    int changes;
    int key;
};

/* Adds what a call passed. anchors is the stack index of the table that keeps
 * strings alive. Names that are too long are no pattern. [-0, +0, memory] */
void lmL_pattern_add(lua_State *L, struct lm_pattern **list, int anchors,
                     const struct lm_repo *repo, const char *table,
                     struct lm_tables tables, struct lm_shape *shape);

/* Could the call fit the pattern, without reading its fields? table is the
 * identity of its name. */
bool lm_pattern_may_fit(const struct lm_pattern *self,
                        const struct lm_repo *repo, enum lm_verb verb,
                        const void *table);

/* Encodes the values, if the call passes the same fields; *fits is false if it
 * does not. A value that cannot be encoded is an error, and *column is where
 * it belongs. Never raises. */
bool lm_pattern_encode(const struct lm_pattern *self, lua_State *L,
                       struct lm_tables tables, struct lm_params *params,
                       bool *fits, int *column,
                       struct lm_err *err) LM_MUSTCHECK;

void lm_pattern_free_all(struct lm_pattern **list);

#endif
