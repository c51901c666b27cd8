/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_QUERY_KEY_PRIVATE_H
#define LM_PG_QUERY_KEY_PRIVATE_H

/*
 * What the files that trace a key to its source share. query/key.c goes from a
 * SELECT to its columns, query/key_from.c from a reference to a column of
 * FROM. query/key_judge.c and query/key_rows.c refuse sources that are not
 * constant. Functions that return false have set the error of the trace.
 */

#include "pg/query/private.h"

/* An output column of a SELECT: by name, else by position (from 0), else any.
 * guess: a column with an unknown name counts as this one. */
struct target {
    const char *name;
    int position;
    bool guess;
};

#define LM_KEY_ANY ((struct target){NULL, -1, false})

/* A part that was visited before, for example in a recursive query. */
struct visit {
    const void *what;
    struct target target;
    bool found; /* there is such a column */
};

struct trace {
    const struct lm_query_catalog *catalog;
    const char *key;  /* the column that is followed */
    bool is_of_table; /* the server says so */
    struct visit *visits;
    size_t visit_count;
    int depth;
    bool is_cut_short;             /* the query was too large */
    PgQuery__ParseResult **parsed; /* views */
    size_t parsed_count;
    struct lm_err *err;
};

/* Refuses the key: it comes from `what`, with this name (NULL: no name). */
bool lm_key_fail(struct trace *self, const struct source *source, int location,
                 const char *hint, const char *what, const char *name);
/* Was it visited before, as *index? From now on it is visited. */
bool lm_key_visit_again(struct trace *self, const void *what,
                        struct target target, size_t *index);
/* The definition of a view, parsed; NULL when it cannot be read. */
const PgQuery__SelectStmt *lm_key_parse_view(struct trace *self,
                                             const char *definition);

/* Follows a column of what a SELECT returns; *found becomes true where there
 * is one. */
bool lm_key_trace_output(struct trace *self, const struct scope *scope,
                         struct target target, bool *found);
/* Follows a column of an expression, through the scopes around it. */
bool lm_key_trace_reference(struct trace *self, const struct scope *scope,
                            const PgQuery__ColumnRef *column);
/* Follows a column that one of the stars of the select list may give. */
bool lm_key_trace_star(struct trace *self, const struct scope *scope,
                       const PgQuery__ColumnRef *star, struct target target,
                       bool *found);

/* Judges an expression, which in FROM may return a set. */
bool lm_key_judge(struct trace *self, const struct scope *scope,
                  const ProtobufCMessage *expression, bool in_from);
/* Judges a function that is called like a column of a row: row.name. */
bool lm_key_judge_of_row(struct trace *self, const struct scope *scope,
                         const char *name, int location);
/* Judges DISTINCT ON for an output column; output is NULL behind a star. */
bool lm_key_judge_distinct(struct trace *self, const struct scope *scope,
                           struct target target, const PgQuery__Node *output);
/* Judges OFFSET and LIMIT. */
bool lm_key_judge_limits(struct trace *self, const struct scope *scope);
/* Judges a view that cannot be read. */
bool lm_key_judge_unread(struct trace *self, const char *definition,
                         const char *name);
/* Refuses clauses that return other rows for each page, anywhere in the query
 * and in its views: TABLESAMPLE, SKIP LOCKED. */
bool lm_key_refuse_samples(struct trace *self,
                           const PgQuery__SelectStmt *select,
                           struct source source);

#endif
