/* SPDX-License-Identifier: MIT */
/* Finds WITH queries by name, and where a name is visible. Without RECURSIVE,
 * a WITH query sees only those before it; its own name, or the name of a later
 * one, means a table or view. */

#include "pg/query/private.h"

#include <string.h>

typedef PgQuery__CommonTableExpr With;

const With *
lm_scope_find_with(const struct scope **scope, const PgQuery__RangeVar *range)
{
    if (*range->schemaname != '\0')
        return NULL;
    for (const struct scope *at = *scope; at != NULL; at = at->outer) {
        const PgQuery__WithClause *clause = at->select->with_clause;

        for (size_t i = 0; clause != NULL && i < clause->n_ctes; i++) {
            const With *with = clause->ctes[i]->common_table_expr;

            if (with == at->until_with)
                break;
            if (strcmp(with->ctename, range->relname) == 0) {
                *scope = at;
                return with;
            }
        }
    }
    return NULL;
}

struct scope
lm_scope_within(const struct scope *scope, const With *with)
{
    struct scope seen = *scope;

    seen.until = scope->select;
    seen.until_with = scope->select->with_clause->recursive ? NULL : with;
    return seen;
}

struct tables {
    const struct scope *scope;
    lm_visit_table_fn visit;
    void *data;
};

static enum lm_visit
visit_node(const ProtobufCMessage *message, void *data)
{
    const struct tables *self = data;
    const struct scope *scope = self->scope;
    struct scope inner;
    struct tables within = {&inner, self->visit, self->data};

    if (lm_tree_is(message, &pg_query__common_table_expr__descriptor)) {
        const With *with = (const With *)message;

        inner = lm_scope_within(scope, with);
        return lm_tree_walk(&with->ctequery->base, visit_node, &within)
                   ? LM_VISIT_FOUND
                   : LM_VISIT_SKIP;
    }
    if (lm_tree_is(message, &pg_query__select_stmt__descriptor) &&
        (scope == NULL || message != &scope->select->base)) {
        inner = (struct scope){(const PgQuery__SelectStmt *)message, scope,
                               NULL, NULL, NULL};
        return lm_tree_walk(message, visit_node, &within) ? LM_VISIT_FOUND
                                                          : LM_VISIT_SKIP;
    }
    if (lm_tree_is(message, &pg_query__locking_clause__descriptor))
        return LM_VISIT_SKIP; /* FOR UPDATE OF names aliases */
    if (lm_tree_is(message, &pg_query__range_var__descriptor)) {
        const PgQuery__RangeVar *range = (const PgQuery__RangeVar *)message;

        return lm_scope_find_with(&scope, range) == NULL
                   ? self->visit(range, self->data)
                   : LM_VISIT_ON;
    }
    return LM_VISIT_ON;
}

bool
lm_query_walk_tables(const PgQuery__SelectStmt *select, lm_visit_table_fn visit,
                     void *data)
{
    struct tables tables = {NULL, visit, data};

    return lm_tree_walk(&select->base, visit_node, &tables);
}
