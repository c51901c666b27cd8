/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_QUERY_QUERY_H
#define LM_PG_QUERY_QUERY_H

/*
 * What luamig must know about a base query. It reads PostgreSQL's own parse
 * tree, never the text.
 *
 * The parser has the grammar of one PostgreSQL version. If it cannot parse a
 * query (newer grammar, a syntax error, nesting too deep to parse safely),
 * luamig knows nothing about it: the server says whether it is SQL, and if it
 * is, luamig refuses it.
 */

#include "base/err.h"

/* A base query that can be paged. */
struct lm_query_shape {
    bool parsed;                /* false: nothing below is proved */
    char *text;                 /* the statement alone, see below */
    struct lm_query_tree *tree; /* NULL unless parsed */
};

/*
 * Reads a base query. Refuses (LM_ERR_SCRIPT) a text that cannot become a page
 * query: no statement or several, anything but a SELECT, SELECT INTO, VALUES,
 * ORDER BY, LIMIT, OFFSET, FETCH FIRST or FOR UPDATE at its top level, and
 * INSERT, UPDATE, DELETE in WITH. The error's detail shows the place, if the
 * parser gives it.
 *
 * text is the statement without the semicolon and what follows the semicolon.
 * It may end with a -- comment, so a line break must follow it.
 *
 * A query that does not parse is a success with parsed = false and text only
 * trimmed. The caller calls lm_query_release, which may also be called after a
 * failure.
 */
bool lm_query_inspect(const char *sql, struct lm_query_shape *out,
                      struct lm_err *err) LM_MUSTCHECK;
void lm_query_release(struct lm_query_shape *self);

/* Sets the error (LM_ERR_SCRIPT) for a base query that the server accepts but
 * the parser does not; key is for the hint. */
void lm_query_refuse_unparsed(const char *sql, const char *key,
                              struct lm_err *err);

/* Adds the place of the select list to an error about sql, which was parsed
 * into shape. */
void lm_query_show_columns(const struct lm_query_shape *self, const char *sql,
                           struct lm_err *err);

/* Calls fn for each function call in the query; schema is NULL if the query
 * gives none. The names live as long as the shape. */
typedef void (*lm_query_call_fn)(const char *schema, const char *name,
                                 void *arg);
void lm_query_each_call(const struct lm_query_shape *self,
                        lm_query_call_fn each, void *arg);

/* Calls fn in the same way for each table or view that the query names. Names
 * of WITH queries are left out. */
void lm_query_each_table(const struct lm_query_shape *self,
                         lm_query_call_fn each, void *arg);

/* What the catalog says of a table or view that a query names. */
struct lm_query_relation {
    char *definition; /* the SQL of a view; NULL: a table */
    char **columns;
    int column_count;
};

/* What the catalog says of a function: of any function with this name and
 * number of arguments. */
struct lm_query_function {
    bool aggregate;
    bool returns_set;
    bool is_volatile;
    bool is_stable;   /* depends on settings, which luamig keeps the same */
    bool reads_state; /* depends on the time, the session or on other rows */
};

/*
 * How the catalog is asked. schema is "" or NULL if the query gives none.
 * *relation is NULL if there is no relation of that name; it stays at its
 * address. With LM_QUERY_FIELD arguments only the name is known, after one
 * argument: (value).name, which means a field first, if the type has one.
 */
enum { LM_QUERY_FIELD = -1 };

struct lm_query_catalog {
    bool (*relation)(void *arg, const char *schema, const char *name,
                     const struct lm_query_relation **relation,
                     struct lm_err *err);
    bool (*function)(void *arg, const char *schema, const char *name, int args,
                     struct lm_query_function *function, struct lm_err *err);
    void *arg;
};

/* A key column, and whether the server says that it is an unchanged column of
 * a table, through views and subselects. */
struct lm_query_key {
    const char *column;
    bool is_of_table;
};

/*
 * Refuses (LM_ERR_SCRIPT) a key whose values depend on more than their row: on
 * other rows, as with window functions and aggregates, on the time, or on
 * chance. sql is the text that was parsed into shape. If the shape was not
 * parsed, nothing is refused. If a view cannot be parsed, only a column of a
 * table is accepted.
 */
bool lm_query_check_constant(const struct lm_query_shape *self, const char *sql,
                             const struct lm_query_key *key, int key_count,
                             const struct lm_query_catalog *catalog,
                             struct lm_err *err) LM_MUSTCHECK;

/*
 * Proofs. Each is true only if the parse tree shows it, so false means "not
 * proved"; it is always false for a shape that was not parsed. column is the
 * name of an output column, as the server describes it; the query must not
 * return two columns of that name. Assumes that operators and casts are
 * neither volatile nor set-returning, and that t.name is a column, not a
 * function of t.
 */

/*
 * Does the WHERE clause say IS NOT NULL about the expression of the output
 * column, AND-ed with the rest? For "SELECT u.key AS id", "u.key IS NOT NULL"
 * does and "id IS NOT NULL" does not: there, id is a column of some table. An
 * expression with a function call or subquery proves nothing; if it is wrapped
 * into a subselect, its alias does.
 */
bool lm_query_column_excludes_null(const struct lm_query_shape *self,
                                   const char *column);

/* Adds the column that WHERE ... IS NOT NULL must name to exclude NULL, as
 * "u.key". False, and adds nothing: only a SELECT around the query can do it.
 */
bool lm_query_add_nullable(const struct lm_query_shape *self,
                           const char *column, struct lm_buf *out);

/* The server says that the output column is a NOT NULL column of the table
 * named relation (without schema). Does the query keep it NOT NULL? Outer
 * joins that may add NULLs to it, grouping sets and set operations do not. */
bool lm_query_keeps_not_null(const struct lm_query_shape *self,
                             const char *column, const char *relation);

/*
 * Is every row of one table at most once in the output, so that unique columns
 * of the table are unique in the output? Needs a single table in FROM and no
 * function call in the select list, GROUP BY, DISTINCT ON or WINDOW, because a
 * function may return a set, and only the server knows that.
 */
bool lm_query_keeps_unique(const struct lm_query_shape *self);

/* Is FROM a single table with ONLY? Without ONLY, columns that are unique in a
 * parent table may have duplicates among its children. */
bool lm_query_from_only(const struct lm_query_shape *self);

/* Does it return every row of one table or view: no WHERE, no GROUP BY and the
 * like? Then migrated rows stay in its result. */
bool lm_query_takes_all(const struct lm_query_shape *self);

#endif
