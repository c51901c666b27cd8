/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_GUARD_PRIVATE_H
#define LM_PG_GUARD_PRIVATE_H

/* What the files of pg/guard share. */

#include <pg_query/pg_query.pb-c.h>
#include <stdbool.h>

/* Is the condition (negated: NOT of it) the same for every row, or may one
 * constant among its parts make it so? */
bool lm_guard_is_constant(const PgQuery__Node *condition, bool negated);

/* A function of PostgreSQL's own, as far as its name tells. */
bool lm_guard_is_builtin(const PgQuery__FuncCall *call, const char *name);

/* A constant that boolean reads as false. */
bool lm_guard_is_false(const PgQuery__Node *value);

/* Would the server refuse the statement inside a transaction? The usual ones;
 * those that are forgotten it refuses itself. */
bool lm_guard_needs_no_transaction(const PgQuery__Node *node);

#endif
