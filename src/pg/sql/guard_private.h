/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_SQL_GUARD_PRIVATE_H
#define LM_PG_SQL_GUARD_PRIVATE_H

/* What the files of the guard share: guard.c judges, and has the rules. */

#include <pg_query/pg_query.pb-c.h>
#include <stdbool.h>

/* -- guard_node.c: what a part of a statement's tree means ------------------- */

/* Has the condition the same result for all rows: does it read no column of
 * the table and nothing else that may differ from row to row? */
bool lm_guard_is_constant(const PgQuery__Node *condition,
                          const PgQuery__RangeVar *table);
/* May the condition be true for all rows of the table, whatever their values?
 * That is so if it is a constant other than false, or if one part of it that
 * decides alone is such a constant. */
bool lm_guard_may_hit_all(const PgQuery__Node *condition,
                          const PgQuery__RangeVar *table);

/* EXPLAIN executes a statement with ANALYZE only. */
bool lm_guard_executes(const PgQuery__ExplainStmt *explain);

/* Is it a function of PostgreSQL's own, by its name? */
bool lm_guard_is_builtin(const PgQuery__FuncCall *call, const char *name);

/* A constant that boolean reads as false, or NULL. */
bool lm_guard_is_false(const PgQuery__Node *value);

/* Would the server refuse the statement inside a transaction? Knows the usual
 * ones; the server refuses the others itself. */
bool lm_guard_needs_no_transaction(const PgQuery__Node *node);

/* -- guard_words.c: a statement that the grammar does not know --------------- */

/* What a statement that has no tree seems to be, by its words. */
enum lm_wording {
    LM_WORDING_READS,  /* a query, in which only functions could write */
    LM_WORDING_WRITES, /* rows, perhaps */
    LM_WORDING_OTHER,  /* leaves session, transaction and schema alone */
    LM_WORDING_DDL,    /* anything else */
    LM_WORDING_SESSION,
    LM_WORDING_TRANSACTION,
    LM_WORDING_COPY,
    LM_WORDING_OUTSIDE
};
struct lm_reading {
    enum lm_wording kind;
    bool several; /* something follows a semicolon */
    bool writes;  /* a word for writing is in it */
    bool calls;   /* set_config, or a function that locks for the session */
};
void lm_guard_read_words(const char *sql, struct lm_reading *out);

#endif
