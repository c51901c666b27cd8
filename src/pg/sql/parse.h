/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_SQL_PARSE_H
#define LM_PG_SQL_PARSE_H

/*
 * SQL and its parse tree: getting from one to the other, and back to a place
 * in the text. Private to src/pg.
 *
 * Any thread may parse, and what the parser keeps for a thread ends with it.
 * But each thread that parses takes one of the 1,024 thread keys of the
 * process for ever: threads that parse are few, and used again.
 */

#include "base/err.h"

#include <pg_query.h> /* PG_VERSION_NUM */
#include <pg_query/pg_query.pb-c.h>

/* Why a text has no tree. */
struct lm_parse_failure {
    bool too_deep;     /* nested so that parsing would be a risk */
    char message[256]; /* the parser's, else "" */
    int location;      /* where it stands in the text; -1: nowhere */
};

/* The major version of PostgreSQL whose grammar this is. */
int lm_parse_grammar(void);

/* The tree, to be freed with pg_query__parse_result__free_unpacked, or NULL;
 * failure may be NULL. */
PgQuery__ParseResult *lm_parse(const char *sql,
                               struct lm_parse_failure *failure);

/* The first token of a statement: the parser counts the comments before it as
 * part of it. -1 if unknown. */
int lm_parse_statement_start(const char *sql, const PgQuery__RawStmt *stmt);

/* Where the text of a statement begins, with its comments: after the semicolon
 * before it. Some versions of the parser leave the comments out. */
int lm_parse_text_start(const char *sql, const PgQuery__RawStmt *stmt);

/* The last token of that kind; -1: none. Many clauses at the end of a
 * statement begin with such a token and have no place in the tree. */
int lm_parse_last_token(const char *sql, PgQuery__Token kind);

/* Puts the line of SQL into the error's detail, with a caret below the place;
 * nothing when location is negative. */
void lm_parse_show_place(struct lm_err *err, const char *sql, int location);
/* The same for a text that has no tree, below what the parser says. */
void lm_parse_show_failure(struct lm_err *err, const char *sql,
                           const struct lm_parse_failure *failure);

#endif
