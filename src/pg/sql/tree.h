/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_SQL_TREE_H
#define LM_PG_SQL_TREE_H

/* Looking around in a parse tree. Private to src/pg. */

#include <pg_query/pg_query.pb-c.h>
#include <stdbool.h>

enum lm_visit { LM_VISIT_ON, LM_VISIT_SKIP, LM_VISIT_FOUND };

typedef enum lm_visit (*lm_visit_fn)(const ProtobufCMessage *message,
                                     void *data);

/* Visits message and all below it, parents first, until one is FOUND; what is
 * below one to SKIP is left out. */
bool lm_tree_walk(const ProtobufCMessage *message, lm_visit_fn visit,
                  void *data);
bool lm_tree_walk_list(PgQuery__Node *const *nodes, size_t count,
                       lm_visit_fn visit, void *data);

bool lm_tree_is(const ProtobufCMessage *message,
                const ProtobufCMessageDescriptor *kind);
/* Is there a message of that kind in it? */
bool lm_tree_has(const ProtobufCMessage *message,
                 const ProtobufCMessageDescriptor *kind);
/* Are two trees the same, apart from their places in the text? */
bool lm_tree_same(const ProtobufCMessage *a, const ProtobufCMessage *b);

/* Where the text of a tree begins, roughly; -1 when no node says. */
int lm_tree_location(const ProtobufCMessage *message);
int lm_tree_list_location(PgQuery__Node *const *nodes, size_t count);

/* The node as what it may be, else NULL. */
const PgQuery__SelectStmt *lm_tree_select(const PgQuery__Node *node);
const PgQuery__ColumnRef *lm_tree_column(const PgQuery__Node *node);

/* Is it an integer, and which? */
bool lm_tree_integer(const PgQuery__Node *node, int *out);

/* The INTO of a SELECT; of a set operation, its leftmost SELECT has it. */
const PgQuery__IntoClause *lm_tree_into(const PgQuery__SelectStmt *select);

/* A part of a name; NULL for a star, which is never the name of anything. */
const char *lm_tree_name(const PgQuery__Node *node);
const char *lm_tree_last_name(PgQuery__Node *const *names, size_t count);
bool lm_tree_is_star(const PgQuery__ColumnRef *ref);

#endif
