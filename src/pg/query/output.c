/* SPDX-License-Identifier: MIT */
/* Finds the expression of the select list, or its star, that gives an output
 * column. Does not guess what only the server knows. */

#include "pg/query/private.h"

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

/* A name, and whether a cast around the expression gives it another one. */
struct implied {
    const char *name; /* NULL: it takes more to find out */
    bool is_weak;
};

/* The name that the server gives to an expression without alias. */
static struct implied
implied_name(const Node *node)
{
    struct implied of_arg;

    switch (node->node_case) {
    case PG_QUERY__NODE__NODE_COLUMN_REF:
        return (struct implied){lm_tree_last_name(node->column_ref->fields,
                                                  node->column_ref->n_fields),
                                false};
    case PG_QUERY__NODE__NODE_FUNC_CALL:
        return (struct implied){lm_tree_last_name(node->func_call->funcname,
                                                  node->func_call->n_funcname),
                                false};
    case PG_QUERY__NODE__NODE_COALESCE_EXPR:
        return (struct implied){"coalesce", false};
    case PG_QUERY__NODE__NODE_COLLATE_CLAUSE:
        return implied_name(node->collate_clause->arg);
    case PG_QUERY__NODE__NODE_TYPE_CAST:
        of_arg = implied_name(node->type_cast->arg);
        if (of_arg.name == NULL || !of_arg.is_weak)
            return of_arg;
        return (struct implied){
            lm_tree_last_name(node->type_cast->type_name->names,
                              node->type_cast->type_name->n_names),
            true};
    case PG_QUERY__NODE__NODE_A_EXPR:
        if (node->a_expr->kind == PG_QUERY__A__EXPR__KIND__AEXPR_NULLIF)
            return (struct implied){"nullif", false};
        return (struct implied){"?column?", true};
    case PG_QUERY__NODE__NODE_A_CONST:
    case PG_QUERY__NODE__NODE_PARAM_REF:
    case PG_QUERY__NODE__NODE_BOOL_EXPR:
    case PG_QUERY__NODE__NODE_NULL_TEST:
    case PG_QUERY__NODE__NODE_BOOLEAN_TEST:
        return (struct implied){"?column?", true};
    default:
        return (struct implied){NULL, false};
    }
}

/* Does it stand for several columns: t.*, (row).*? */
static bool
is_star(const Node *output)
{
    const ColumnRef *ref = lm_tree_column(output);
    const PgQuery__AIndirection *fields = output->a_indirection;

    if (output->node_case == PG_QUERY__NODE__NODE_A_INDIRECTION) {
        return fields->indirection[fields->n_indirection - 1]->node_case ==
               PG_QUERY__NODE__NODE_A_STAR;
    }
    return ref != NULL && lm_tree_is_star(ref);
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
        const char *name = *target->name != '\0'
                               ? target->name
                               : implied_name(target->val).name;

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

const Node *
lm_query_output_at(const SelectStmt *select, int position)
{
    if (position < 0 || (size_t)position >= select->n_target_list)
        return NULL;
    for (int i = 0; i <= position; i++) {
        if (is_star(select->target_list[i]->res_target->val))
            return NULL;
    }
    return select->target_list[position]->res_target->val;
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
