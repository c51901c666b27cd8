/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_QUERY_KEY_PRIVATE_H
#define LM_PG_QUERY_KEY_PRIVATE_H

/* What the files that follow a key share: query_key.c goes where its values
 * come from, query_key_judge.c says what may have a part in them. Functions
 * that return false have set the error of the trace. */

#include "pg/query_private.h"

/* A text that is looked at: the base query, or the definition of a view. */
struct source {
    const char *sql;
    const char *view; /* its name, or NULL */
};

/* A SELECT, and what names mean in it. */
struct scope {
    const PgQuery__SelectStmt *select;
    const struct scope *outer; /* for WITH queries and LATERAL, or NULL */
    const struct source *source;
};

/* A column of what a SELECT returns: by name, else by position (from 0), else
 * any. */
struct target {
    const char *name;
    int position;
};

/* What was looked at already, in a recursive query for example. */
struct visit {
    const void *what;
    const char *name;
    int position;
};

struct trace {
    const struct lm_query_catalog *catalog;
    const char *key; /* the column that is followed */
    struct visit *visits;
    size_t visit_count;
    PgQuery__ParseResult **parsed; /* views */
    size_t parsed_count;
    struct lm_err *err;
};

/* Refuses the key: it comes from what, called name (NULL: no name). */
bool lm_key_fail(struct trace *self, const struct source *source, int location,
                 const char *hint, const char *what, const char *name);
/* Was it visited before? It is from now on. */
bool lm_key_visit_again(struct trace *self, const void *what,
                        struct target target);
/* The definition of a view, parsed; NULL when it cannot be read. */
const PgQuery__SelectStmt *lm_key_parse_view(struct trace *self,
                                             const char *definition);
/* Follows a column of an expression. */
bool lm_key_trace_reference(struct trace *self, const struct scope *scope,
                            const PgQuery__ColumnRef *column);

/* Judges an expression, which in FROM may return a set. */
bool lm_key_judge(struct trace *self, const struct scope *scope,
                  const ProtobufCMessage *expression, bool in_from);
/* Judges DISTINCT ON for an output column; output is NULL behind a star. */
bool lm_key_judge_distinct(struct trace *self, const struct scope *scope,
                           struct target target, const PgQuery__Node *output);
bool lm_key_judge_offset(struct trace *self, const struct scope *scope);
/* Refuses TABLESAMPLE anywhere in the query and in its views. */
bool lm_key_refuse_samples(struct trace *self,
                           const PgQuery__SelectStmt *select,
                           struct source source);

#endif
