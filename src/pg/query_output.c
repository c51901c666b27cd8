/* SPDX-License-Identifier: MIT */
/*
 * Which expression of the select list, or which of its stars, gives an output
 * column. What the server would have to be asked for is not guessed.
 */

#include "pg/query_private.h"

#include <string.h>

typedef PgQuery__Node Node;
typedef PgQuery__SelectStmt SelectStmt;
typedef PgQuery__ColumnRef ColumnRef;
typedef PgQuery__ResTarget ResTarget;
typedef PgQuery__JoinExpr JoinExpr;

/* Joins of this query that merge columns of the same name into one. */
static enum lm_visit
visit_merging_join(const ProtobufCMessage *message, void *data)
{
    const JoinExpr *join = (const JoinExpr *)message;

    (void)data;
    if (lm_tree_is(message, &pg_query__select_stmt__descriptor))
        return LM_VISIT_SKIP;
    if (!lm_tree_is(message, &pg_query__join_expr__descriptor))
        return LM_VISIT_ON;
    return join->is_natural || join->n_using_clause > 0 ? LM_VISIT_FOUND
                                                        : LM_VISIT_ON;
}

/* The name that the server gives to an expression without alias: "" when it
 * is ?column?, NULL when it takes more to find out. */
static const char *
implied_name(const Node *node)
{
    const char *name;

    switch (node->node_case) {
    case PG_QUERY__NODE__NODE_COLUMN_REF:
        return lm_tree_last_name(node->column_ref->fields,
                                 node->column_ref->n_fields);
    case PG_QUERY__NODE__NODE_FUNC_CALL:
        return lm_tree_last_name(node->func_call->funcname,
                                 node->func_call->n_funcname);
    case PG_QUERY__NODE__NODE_COALESCE_EXPR:
        return "coalesce";
    case PG_QUERY__NODE__NODE_COLLATE_CLAUSE:
        return implied_name(node->collate_clause->arg);
    case PG_QUERY__NODE__NODE_TYPE_CAST:
        name = implied_name(node->type_cast->arg);
        if (name == NULL || *name != '\0')
            return name;
        return lm_tree_last_name(node->type_cast->type_name->names,
                                 node->type_cast->type_name->n_names);
    case PG_QUERY__NODE__NODE_A_EXPR:
        return node->a_expr->kind == PG_QUERY__A__EXPR__KIND__AEXPR_NULLIF
                   ? "nullif"
                   : "";
    case PG_QUERY__NODE__NODE_A_CONST:
    case PG_QUERY__NODE__NODE_PARAM_REF:
    case PG_QUERY__NODE__NODE_BOOL_EXPR:
    case PG_QUERY__NODE__NODE_NULL_TEST:
    case PG_QUERY__NODE__NODE_BOOLEAN_TEST:
        return "";
    default:
        return NULL;
    }
}

bool
lm_query_find_output(const SelectStmt *select, const char *column,
                     const Node **out)
{
    bool star = false;
    bool unknown = false;

    *out = NULL;
    for (size_t i = 0; i < select->n_target_list; i++) {
        const ResTarget *target = select->target_list[i]->res_target;
        const ColumnRef *ref = lm_tree_column(target->val);
        const char *name =
            *target->name != '\0' ? target->name : implied_name(target->val);

        if (ref != NULL && lm_tree_is_star(ref)) {
            star = true;
        } else if (name == NULL) {
            unknown = true;
        } else if (strcmp(name, column) == 0) {
            *out = target->val;
            return true;
        }
    }
    return star && !unknown;
}

bool
lm_query_has_unnamed(const SelectStmt *select)
{
    for (size_t i = 0; i < select->n_target_list; i++) {
        const ResTarget *target = select->target_list[i]->res_target;
        const ColumnRef *ref = lm_tree_column(target->val);

        if (*target->name == '\0' && implied_name(target->val) == NULL &&
            (ref == NULL || !lm_tree_is_star(ref)))
            return true;
    }
    return false;
}

bool
lm_query_same_source(const SelectStmt *select, const ColumnRef *a,
                     const ColumnRef *b)
{
    size_t count_a = a->n_fields;
    size_t count_b = b->n_fields;

    if (count_a == 1 && count_b == 1)
        return true;
    if (count_a == 1 || count_b == 1) {
        return !lm_tree_walk_list(select->from_clause, select->n_from_clause,
                                  visit_merging_join, NULL);
    }
    while (count_a > 1 && count_b > 1) {
        const char *name_a = lm_tree_name(a->fields[--count_a - 1]);
        const char *name_b = lm_tree_name(b->fields[--count_b - 1]);

        if (name_a == NULL || name_b == NULL || strcmp(name_a, name_b) != 0)
            return false;
    }
    return true;
}
