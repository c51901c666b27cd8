/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_GUARD_PRIVATE_H
#define LM_PG_GUARD_PRIVATE_H

/* What the files of pg/guard share. */

#include <pg_query/pg_query.pb-c.h>
#include <stdbool.h>

/* May the condition (negated: NOT of it) hold for all rows of the table,
 * whatever is in them? It may when it looks at none of their columns, or when
 * one part of it, that does not, decides alone. */
bool lm_guard_may_hit_all(const PgQuery__Node *condition,
                          const PgQuery__RangeVar *table, bool negated);

/* EXPLAIN executes a statement with ANALYZE only. */
bool lm_guard_executes(const PgQuery__ExplainStmt *explain);

/* A function of PostgreSQL's own, as far as its name tells. */
bool lm_guard_is_builtin(const PgQuery__FuncCall *call, const char *name);

/* A constant that boolean reads as false, or NULL. */
bool lm_guard_is_false(const PgQuery__Node *value);

/* Would the server refuse the statement inside a transaction? The usual ones;
 * those that are forgotten it refuses itself. */
bool lm_guard_needs_no_transaction(const PgQuery__Node *node);

#endif
