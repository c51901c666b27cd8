/* SPDX-License-Identifier: MIT */
/*
 * Proves that a query keeps properties of its tables.
 *
 * If a proof is true, it is true whatever the catalog says. If it cannot see
 * something, it does not prove it.
 */

#include "pg/query/private.h"
#include "pg/sql/sql.h"

#include <string.h>

typedef PgQuery__Node Node;
typedef PgQuery__SelectStmt SelectStmt;
typedef PgQuery__ColumnRef ColumnRef;
typedef PgQuery__JoinExpr JoinExpr;

/* Proofs: what the tree must not contain */

/* A subquery in the select list is one value, whatever it calls inside. */
static enum lm_visit
visit_set_returning(const ProtobufCMessage *message, void *data)
{
    (void)data;
    if (lm_tree_is(message, &pg_query__select_stmt__descriptor))
        return LM_VISIT_SKIP;
    return lm_tree_is(message, &pg_query__func_call__descriptor)
               ? LM_VISIT_FOUND
               : LM_VISIT_ON;
}

/* Whatever can turn a NOT NULL column into NULL on its way up. */
static enum lm_visit
visit_null_maker(const ProtobufCMessage *message, void *data)
{
    bool found = false;

    (void)data;
    if (lm_tree_is(message, &pg_query__join_expr__descriptor)) {
        found = ((const JoinExpr *)message)->jointype !=
                PG_QUERY__JOIN_TYPE__JOIN_INNER;
    } else if (lm_tree_is(message, &pg_query__select_stmt__descriptor)) {
        found = ((const SelectStmt *)message)->op !=
                PG_QUERY__SET_OPERATION__SETOP_NONE;
    } else {
        found = lm_tree_is(message, &pg_query__grouping_set__descriptor);
    }
    return found ? LM_VISIT_FOUND : LM_VISIT_ON;
}

/* A subselect that may read columns of its neighbours in FROM. */
static enum lm_visit
visit_lateral(const ProtobufCMessage *message, void *data)
{
    (void)data;
    return lm_tree_is(message, &pg_query__range_subselect__descriptor) &&
                   ((const PgQuery__RangeSubselect *)message)->lateral
               ? LM_VISIT_FOUND
               : LM_VISIT_ON;
}

static bool
makes_null(const ProtobufCMessage *message)
{
    return lm_tree_walk(message, visit_null_maker, NULL);
}

/* The table name or alias before the column, or NULL. */
static const char *
qualifier(const ColumnRef *ref)
{
    return ref->n_fields > 1 ? lm_tree_name(ref->fields[ref->n_fields - 2])
                             : NULL;
}

static bool
has_grouping_sets(const SelectStmt *select)
{
    for (size_t i = 0; i < select->n_group_clause; i++) {
        if (lm_tree_has(&select->group_clause[i]->base,
                        &pg_query__grouping_set__descriptor))
            return true;
    }
    return false;
}

/* The query, if it is one whose rows come from its own FROM, else NULL. */
static const SelectStmt *
plain_select(const struct lm_query_shape *self)
{
    const SelectStmt *select = self->tree != NULL ? self->tree->select : NULL;

    if (select == NULL || select->op != PG_QUERY__SET_OPERATION__SETOP_NONE ||
        has_grouping_sets(select))
        return NULL;
    return select;
}

/* Proof: WHERE ... IS NOT NULL */

static bool
star_gives(const SelectStmt *select, const char *column, const ColumnRef *ref)
{
    const char *name = lm_tree_last_name(ref->fields, ref->n_fields);

    if (name == NULL || strcmp(name, column) != 0)
        return false;
    for (size_t i = 0; i < select->n_target_list; i++) {
        const ColumnRef *star =
            lm_tree_column(select->target_list[i]->res_target->val);

        if (star != NULL && lm_tree_is_star(star) &&
            lm_query_same_source(select, star, ref))
            return true;
    }
    return false;
}

/* Is the tested expression what the output column stands for? */
static bool
tests_output(const SelectStmt *select, const char *column, const Node *output,
             const Node *tested)
{
    const ColumnRef *ref = lm_tree_column(tested);
    const ColumnRef *source;

    if (output == NULL)
        return ref != NULL && star_gives(select, column, ref);
    source = lm_tree_column(output);
    if (ref != NULL && source != NULL && !lm_tree_is_star(ref)) {
        return strcmp(lm_tree_last_name(ref->fields, ref->n_fields),
                      lm_tree_last_name(source->fields, source->n_fields)) ==
                   0 &&
               lm_query_same_source(select, ref, source);
    }
    /* Volatile functions and subqueries have another value each time. */
    return lm_tree_same(&output->base, &tested->base) &&
           !lm_tree_has(&output->base, &pg_query__func_call__descriptor) &&
           !lm_tree_has(&output->base, &pg_query__sub_link__descriptor);
}

static bool
condition_excludes_null(const SelectStmt *select, const char *column,
                        const Node *output, const Node *condition)
{
    const PgQuery__BoolExpr *both = condition->bool_expr;
    const PgQuery__NullTest *test = condition->null_test;

    if (condition->node_case == PG_QUERY__NODE__NODE_NULL_TEST) {
        return test->nulltesttype == PG_QUERY__NULL_TEST_TYPE__IS_NOT_NULL &&
               tests_output(select, column, output, test->arg);
    }
    if (condition->node_case != PG_QUERY__NODE__NODE_BOOL_EXPR ||
        both->boolop != PG_QUERY__BOOL_EXPR_TYPE__AND_EXPR)
        return false;
    for (size_t i = 0; i < both->n_args; i++) {
        if (condition_excludes_null(select, column, output, both->args[i]))
            return true;
    }
    return false;
}

bool
lm_query_column_excludes_null(const struct lm_query_shape *self,
                              const char *column)
{
    const SelectStmt *select = plain_select(self);
    const Node *output;

    return select != NULL && select->where_clause != NULL &&
           lm_query_find_output(select, column, &output) &&
           condition_excludes_null(select, column, output,
                                   select->where_clause);
}

static void
add_reference(const ColumnRef *ref, struct lm_buf *out)
{
    for (size_t i = 0; i < ref->n_fields; i++) {
        const char *name = lm_tree_name(ref->fields[i]);

        lm_buf_puts(out, i > 0 ? "." : "");
        lm_sql_add_name(out, name);
    }
}

bool
lm_query_add_nullable(const struct lm_query_shape *self, const char *column,
                      struct lm_buf *out)
{
    const SelectStmt *select = plain_select(self);
    const Node *output = NULL;

    if (select == NULL || !lm_query_find_output(select, column, &output))
        return false;
    if (output != NULL) {
        const ColumnRef *ref = lm_tree_column(output);

        if (ref == NULL || lm_tree_is_star(ref))
            return false;
        add_reference(ref, out);
        return true;
    }
    /* Behind a star, names are clear where there is one table. */
    if (select->n_from_clause != 1 ||
        select->from_clause[0]->node_case == PG_QUERY__NODE__NODE_JOIN_EXPR)
        return false;
    lm_sql_add_name(out, column);
    return true;
}

/* Proof: NOT NULL stays NOT NULL */

/* A column that the server has traced to a table. */
struct trace {
    const SelectStmt *select;
    const char *qualifier; /* as written before the column; NULL: none */
    const char *relation;  /* the table */
};

static bool
may_mean(const struct trace *trace, const char *name)
{
    return trace->qualifier == NULL || strcmp(trace->qualifier, name) == 0;
}

static const char *
range_name(const PgQuery__RangeVar *range)
{
    return range->alias != NULL ? range->alias->aliasname : range->relname;
}

static bool
is_cte(const SelectStmt *select, const PgQuery__RangeVar *range)
{
    const PgQuery__WithClause *with = select->with_clause;

    if (with == NULL || *range->schemaname != '\0')
        return false;
    for (size_t i = 0; i < with->n_ctes; i++) {
        if (strcmp(with->ctes[i]->common_table_expr->ctename, range->relname) ==
            0)
            return true;
    }
    return false;
}

static bool
with_makes_null(const SelectStmt *select)
{
    return select->with_clause != NULL &&
           makes_null(&select->with_clause->base);
}

/* A subselect, a WITH query or a join with a name of its own: whatever is in
 * it may be where the column comes from. */
static bool
opaque_keeps(const struct trace *trace, const PgQuery__Alias *alias,
             const ProtobufCMessage *content, bool nullable)
{
    const SelectStmt *select = trace->select;

    if (alias != NULL && !may_mean(trace, alias->aliasname))
        return true;
    if (lm_tree_walk(content, visit_lateral, NULL) &&
        lm_tree_walk_list(select->from_clause, select->n_from_clause,
                          visit_null_maker, NULL))
        return false;
    return !nullable && !makes_null(content) && !with_makes_null(select);
}

static bool
table_keeps(const struct trace *trace, const PgQuery__RangeVar *range,
            bool nullable)
{
    if (!may_mean(trace, range_name(range)))
        return true;
    if (is_cte(trace->select, range))
        return !nullable && !with_makes_null(trace->select);
    return !nullable || strcmp(range->relname, trace->relation) != 0;
}

static bool item_keeps(const struct trace *trace, const Node *item,
                       bool nullable);

static bool
join_keeps(const struct trace *trace, const JoinExpr *join, bool nullable)
{
    bool full = join->jointype == PG_QUERY__JOIN_TYPE__JOIN_FULL;
    bool left = join->jointype == PG_QUERY__JOIN_TYPE__JOIN_LEFT;
    bool right = join->jointype == PG_QUERY__JOIN_TYPE__JOIN_RIGHT;

    if (join->alias != NULL)
        return opaque_keeps(trace, join->alias, &join->base, nullable);
    /* JOIN ... USING (id) AS x: x.id is a column of either side. */
    if (join->join_using_alias != NULL && trace->qualifier != NULL &&
        may_mean(trace, join->join_using_alias->aliasname))
        return false;
    return item_keeps(trace, join->larg, nullable || right || full) &&
           item_keeps(trace, join->rarg, nullable || left || full);
}

/* False when the column may come from this item of FROM and be NULL there. */
static bool
item_keeps(const struct trace *trace, const Node *item, bool nullable)
{
    switch (item->node_case) {
    case PG_QUERY__NODE__NODE_RANGE_VAR:
        return table_keeps(trace, item->range_var, nullable);
    case PG_QUERY__NODE__NODE_RANGE_TABLE_SAMPLE:
        return item_keeps(trace, item->range_table_sample->relation, nullable);
    case PG_QUERY__NODE__NODE_JOIN_EXPR:
        return join_keeps(trace, item->join_expr, nullable);
    case PG_QUERY__NODE__NODE_RANGE_SUBSELECT:
        return opaque_keeps(trace, item->range_subselect->alias, &item->base,
                            nullable);
    case PG_QUERY__NODE__NODE_RANGE_FUNCTION:
    case PG_QUERY__NODE__NODE_RANGE_TABLE_FUNC:
        return true; /* the server traces no column to what they return */
    default:
        return false;
    }
}

static bool
reference_keeps(const SelectStmt *select, const ColumnRef *ref,
                const char *relation)
{
    struct trace trace = {select, qualifier(ref), relation};

    for (size_t i = 0; i < select->n_from_clause; i++) {
        if (!item_keeps(&trace, select->from_clause[i], false))
            return false;
    }
    return true;
}

bool
lm_query_keeps_not_null(const struct lm_query_shape *self, const char *column,
                        const char *relation)
{
    const SelectStmt *select = plain_select(self);
    const Node *output;

    if (select == NULL || !lm_query_find_output(select, column, &output))
        return false;
    /* The server looks through a cast that changes nothing. */
    while (output != NULL &&
           output->node_case == PG_QUERY__NODE__NODE_TYPE_CAST)
        output = output->type_cast->arg;
    if (output != NULL) {
        return lm_tree_column(output) != NULL &&
               reference_keeps(select, lm_tree_column(output), relation);
    }
    for (size_t i = 0; i < select->n_target_list; i++) {
        const ColumnRef *star =
            lm_tree_column(select->target_list[i]->res_target->val);

        if (star != NULL && lm_tree_is_star(star) &&
            !reference_keeps(select, star, relation))
            return false;
    }
    return true;
}

/* Proof: unique stays unique */

/* The table, if FROM is one table and nothing else, else NULL. */
static const PgQuery__RangeVar *
single_table(const SelectStmt *select)
{
    const Node *item;

    if (select->n_from_clause != 1)
        return NULL;
    item = select->from_clause[0];
    if (item->node_case == PG_QUERY__NODE__NODE_RANGE_TABLE_SAMPLE)
        item = item->range_table_sample->relation;
    if (item->node_case != PG_QUERY__NODE__NODE_RANGE_VAR ||
        is_cte(select, item->range_var))
        return NULL;
    return item->range_var;
}

bool
lm_query_keeps_unique(const struct lm_query_shape *self)
{
    const SelectStmt *select = plain_select(self);

    return select != NULL && single_table(select) != NULL &&
           !lm_tree_walk_list(select->target_list, select->n_target_list,
                              visit_set_returning, NULL) &&
           !lm_tree_walk_list(select->group_clause, select->n_group_clause,
                              visit_set_returning, NULL) &&
           !lm_tree_walk_list(select->distinct_clause,
                              select->n_distinct_clause, visit_set_returning,
                              NULL) &&
           !lm_tree_walk_list(select->window_clause, select->n_window_clause,
                              visit_set_returning, NULL);
}

bool
lm_query_from_only(const struct lm_query_shape *self)
{
    const SelectStmt *select = self->tree != NULL ? self->tree->select : NULL;
    const PgQuery__RangeVar *table =
        select != NULL ? single_table(select) : NULL;

    return table != NULL && !table->inh;
}

bool
lm_query_takes_all(const struct lm_query_shape *self)
{
    const SelectStmt *select = self->tree != NULL ? self->tree->select : NULL;

    return select != NULL && single_table(select) != NULL &&
           select->where_clause == NULL && select->n_group_clause == 0 &&
           select->having_clause == NULL && select->n_distinct_clause == 0;
}
