/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_QUERY_PRIVATE_H
#define LM_PG_QUERY_PRIVATE_H

/* What the files of pg/query share. */

#include "pg/parse.h"
#include "pg/query.h"
#include "pg/tree.h"

struct lm_query_tree {
    PgQuery__ParseResult *result;
    const PgQuery__SelectStmt *select;
};

/*
 * What gives the output column: an expression of the select list (*out), or
 * one of its stars (*out is NULL). False when that cannot be told.
 */
bool lm_query_find_output(const PgQuery__SelectStmt *select, const char *column,
                          const PgQuery__Node **out);

/* Does the select list have a column whose name only the server knows? */
bool lm_query_has_unnamed(const PgQuery__SelectStmt *select);

/*
 * Do two column references or stars, of one name, look into the same table?
 * "id" and "u.id" do, since the server refuses an ambiguous id, unless a join
 * with USING makes an id of its own out of two.
 */
bool lm_query_same_source(const PgQuery__SelectStmt *select,
                          const PgQuery__ColumnRef *a,
                          const PgQuery__ColumnRef *b);

#endif
