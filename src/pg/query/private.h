/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_QUERY_PRIVATE_H
#define LM_PG_QUERY_PRIVATE_H

/* What the files of pg/query share. */

#include "pg/query/query.h"
#include "pg/sql/parse.h"
#include "pg/sql/tree.h"

struct lm_query_tree {
    PgQuery__ParseResult *result;
    const PgQuery__SelectStmt *select;
};

/* A text that is read: the base query, or the definition of a view. */
struct source {
    const char *sql;
    const char *view; /* its name, or NULL */
};

/* A SELECT and the names that it can use: of its own FROM and WITH, then of
 * the scopes around it. Of a scope around it, it may see only a part. */
struct scope {
    const PgQuery__SelectStmt *select;
    const struct scope *outer; /* or NULL */
    const struct source *source;
    /* FROM is seen up to this item; the SELECT itself: nothing of FROM is
     * seen; NULL: all of it */
    const void *until;
    const PgQuery__CommonTableExpr *until_with; /* the same of WITH */
};

/* Finds the WITH query of that name; *scope becomes the scope that it stands
 * in. NULL: the name is a table or view, or has a schema. */
const PgQuery__CommonTableExpr *
lm_scope_find_with(const struct scope **scope, const PgQuery__RangeVar *range);
/* The part of scope that one of its WITH queries sees. */
struct scope lm_scope_within(const struct scope *scope,
                             const PgQuery__CommonTableExpr *with);

/* Calls fn for each table and view that a SELECT and its subselects read,
 * until fn returns FOUND. */
typedef enum lm_visit (*lm_visit_table_fn)(const PgQuery__RangeVar *table,
                                           void *data);
bool lm_query_walk_tables(const PgQuery__SelectStmt *select,
                          lm_visit_table_fn visit, void *data);

/* The source of an output column: an expression of the select list (*out), or
 * one of its stars (*out is NULL). False if unknown. */
bool lm_query_find_output(const PgQuery__SelectStmt *select, const char *column,
                          const PgQuery__Node **out);

/* The expression at a position (from 0); NULL when there is none, or a star
 * before it. */
const PgQuery__Node *lm_query_output_at(const PgQuery__SelectStmt *select,
                                        int position);

/* Do two column references or stars with one name mean the same table? "id"
 * and "u.id" do, because the server refuses an ambiguous id; but not if a join
 * with USING makes one id of two. */
bool lm_query_same_source(const PgQuery__SelectStmt *select,
                          const PgQuery__ColumnRef *a,
                          const PgQuery__ColumnRef *b);

#endif
