/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_PARSE_H
#define LM_PG_PARSE_H

/*
 * SQL and its parse tree: getting from one to the other, and back to a place
 * in the text. Private to src/pg.
 */

#include "base/err.h"

#include <pg_query/pg_query.pb-c.h>

/* The tree, to be freed with pg_query__parse_result__free_unpacked; NULL when
 * the text is left to the server to judge. */
PgQuery__ParseResult *lm_parse(const char *sql);

/* The first token of a statement: the parser counts the comments before it as
 * part of it. -1 when it cannot be told. */
int lm_parse_statement_start(const char *sql, const PgQuery__RawStmt *stmt);

/* The last token of that kind, which many clauses at the end of a statement
 * begin with that have no place in the tree; -1 when there is none. */
int lm_parse_last_token(const char *sql, PgQuery__Token kind);

/* Puts the line of SQL into the error's detail, with a caret below the place;
 * nothing when location is negative. */
void lm_parse_show_place(struct lm_err *err, const char *sql, int location);

#endif
