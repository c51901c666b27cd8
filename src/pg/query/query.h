/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_QUERY_QUERY_H
#define LM_PG_QUERY_QUERY_H

/*
 * What luamig must know about a base query, read from PostgreSQL's own parse
 * tree and never from the text.
 *
 * The parser is the grammar of one PostgreSQL version. Of what it cannot parse
 * (newer grammar, a syntax error, nesting so deep that parsing would be a
 * risk) nothing is known: the server says whether it is SQL, and then it is
 * refused.
 */

#include "base/err.h"

/* A base query that may be paged. */
struct lm_query_shape {
    bool parsed;                /* false: nothing below is proved */
    char *text;                 /* the statement alone, see below */
    struct lm_query_tree *tree; /* NULL unless parsed */
};

/*
 * Reads a base query. Refuses (LM_ERR_SCRIPT) what cannot be wrapped into a
 * page: no statement or several, anything but a SELECT, SELECT INTO, VALUES,
 * ORDER BY, LIMIT, OFFSET, FETCH FIRST or FOR UPDATE at its top level, and
 * INSERT, UPDATE, DELETE in WITH. The error's detail shows the place, where
 * the parser tells it.
 *
 * text is the statement without the semicolon and what follows it. It may end
 * with a -- comment, so whoever embeds it puts a line break after it.
 *
 * A query that does not parse is a success with parsed = false and text only
 * trimmed. Ends with lm_query_release, which is harmless after a failure too.
 */
bool lm_query_inspect(const char *sql, struct lm_query_shape *out,
                      struct lm_err *err) LM_MUSTCHECK;
void lm_query_release(struct lm_query_shape *self);

/* The error (LM_ERR_SCRIPT) for a base query with that key which the server
 * takes and the parser does not. */
void lm_query_refuse_unparsed(const char *sql, const char *key,
                              struct lm_err *err);

/* Lets an error about sql, of which the shape is, point at its select list. */
void lm_query_show_columns(const struct lm_query_shape *self, const char *sql,
                           struct lm_err *err);

/* Names each function call anywhere in the query; schema is NULL when none is
 * written. The names live as long as the shape. */
typedef void (*lm_query_call_fn)(const char *schema, const char *name,
                                 void *arg);
void lm_query_each_call(const struct lm_query_shape *self,
                        lm_query_call_fn each, void *arg);

/* Names each table or view that the query reads by its own text, in the same
 * way; what WITH names is none. */
void lm_query_each_table(const struct lm_query_shape *self,
                         lm_query_call_fn each, void *arg);

/* What the catalog says of a relation that a query names. */
struct lm_query_relation {
    char *definition; /* of a view; NULL: it has rows of its own */
    char **columns;
    int column_count;
};

/* What it says of a function: of any that the name, with so many arguments,
 * may mean. */
struct lm_query_function {
    bool aggregate;
    bool returns_set;
    bool is_volatile;
    bool is_stable;   /* depends on settings, which luamig keeps the same */
    bool reads_state; /* depends on the time, the session or on other rows */
};

/* How it is asked: schema is "" or NULL where none is written. *relation is
 * NULL where there is none of that name, and stays where it is. Of a function
 * with LM_QUERY_FIELD arguments only the name is known, behind the one
 * argument: (value).name, which is a field first where a type has one. */
enum { LM_QUERY_FIELD = -1 };

struct lm_query_catalog {
    bool (*relation)(void *arg, const char *schema, const char *name,
                     const struct lm_query_relation **relation,
                     struct lm_err *err);
    bool (*function)(void *arg, const char *schema, const char *name, int args,
                     struct lm_query_function *function, struct lm_err *err);
    void *arg;
};

/* A key column, and whether the server says that it is a column of a table,
 * as it is, through views and subselects. */
struct lm_query_key {
    const char *column;
    bool is_of_table;
};

/*
 * Refuses (LM_ERR_SCRIPT) a key whose values depend on more than their row:
 * on other rows, as window functions and aggregates, on the time, on chance.
 * sql is the text that the shape is of. Nothing is known, and nothing refused,
 * of a shape that was not parsed. Of a view that cannot be parsed, only a
 * column of a table is taken.
 */
bool lm_query_check_constant(const struct lm_query_shape *self, const char *sql,
                             const struct lm_query_key *key, int key_count,
                             const struct lm_query_catalog *catalog,
                             struct lm_err *err) LM_MUSTCHECK;

/*
 * Proofs. Each answers true only when the parse tree shows it, so false means
 * "not proved", always so for a shape that was not parsed. column is the name
 * of an output column, as the server describes it; the query must not return
 * two columns of that name. Operators and casts are taken to be neither
 * volatile nor set-returning, and t.name to be a column, not a function of t.
 */

/*
 * Does the WHERE clause say IS NOT NULL of the expression behind the output
 * column, AND-ed with the rest? For "SELECT u.key AS id", "u.key IS NOT NULL"
 * does and "id IS NOT NULL" does not: id is a column of some table there.
 * An expression with a function call or subquery proves nothing; wrapped into
 * a subselect, its alias does.
 */
bool lm_query_column_excludes_null(const struct lm_query_shape *self,
                                   const char *column);

/*
 * What WHERE ... IS NOT NULL has to name so that it excludes NULL: a column
 * that the query may name there, as "u.key". Adds it and answers true; false:
 * only a SELECT around the query can say it.
 */
bool lm_query_add_nullable(const struct lm_query_shape *self,
                           const char *column, struct lm_buf *out);

/*
 * The server says that the output column is a NOT NULL column of the table
 * named relation (without schema). Does the query keep it so? Outer joins on
 * whose nullable side it may lie, grouping sets and set operations do not.
 */
bool lm_query_keeps_not_null(const struct lm_query_shape *self,
                             const char *column, const char *relation);

/*
 * Does every row of one table reach the output at most once, so that what is
 * unique in the table is unique in the output? Needs a single table in FROM
 * and no function call in the select list, GROUP BY, DISTINCT ON or WINDOW:
 * it may return a set, which only the server can tell.
 */
bool lm_query_keeps_unique(const struct lm_query_shape *self);

/* Is FROM a single table with ONLY? Without it, what is unique in a parent
 * table need not be unique among its children. */
bool lm_query_from_only(const struct lm_query_shape *self);

/* Does it return every row of one table, or view: no WHERE, no GROUP BY and the
 * like? Then no row that is migrated leaves it. */
bool lm_query_takes_all(const struct lm_query_shape *self);

#endif
