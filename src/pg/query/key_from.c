/* SPDX-License-Identifier: MIT */
/*
 * Goes from a reference to the columns of FROM that it may mean: tables,
 * views, WITH queries, subselects, functions, joins; then of the scopes around
 * it. If no column has the name, it is a whole row, or a function of a row.
 *
 * The catalog says what a name is. If several columns of a name may be meant,
 * all of them are traced.
 */

#include "pg/query/key_private.h"

#include <string.h>

typedef PgQuery__Node Node;
typedef PgQuery__ColumnRef ColumnRef;

/* A reference: the column, the name of its table before it (or NULL), and
 * where it stands. */
struct reference {
    struct target target;
    const char *qualifier;
    int location;
};

/* -- what a name means --------------------------------------------------- */

/* What a list of names makes of a name: the position of the column, else the
 * name itself. */
static struct target
rename_back(Node *const *names, size_t count, struct target target)
{
    for (size_t i = 0; target.name != NULL && i < count; i++) {
        const char *name = lm_tree_name(names[i]);

        if (name != NULL && strcmp(name, target.name) == 0)
            return (struct target){NULL, (int)i, false};
    }
    return target;
}

/* The same of an alias, which may be NULL. */
static struct target
unalias(const PgQuery__Alias *alias, struct target target)
{
    return alias != NULL
               ? rename_back(alias->colnames, alias->n_colnames, target)
               : target;
}

static bool
is_system_column(const char *name)
{
    static const char *const names[] = {"ctid", "xmin", "xmax",
                                        "cmin", "cmax", "tableoid"};

    for (size_t i = 0; i < LM_COUNT(names); i++) {
        if (strcmp(names[i], name) == 0)
            return true;
    }
    return false;
}

/* The name of the one function that an item of FROM calls. */
static const char *
function_name(const PgQuery__RangeFunction *function)
{
    const PgQuery__List *first =
        function->n_functions == 1 ? function->functions[0]->list : NULL;
    const Node *call = first != NULL ? first->items[0] : NULL;

    if (call == NULL || call->node_case != PG_QUERY__NODE__NODE_FUNC_CALL)
        return NULL;
    return lm_tree_last_name(call->func_call->funcname,
                             call->func_call->n_funcname);
}

static const char *
item_name(const Node *item)
{
    const PgQuery__Alias *alias = NULL;
    const char *unaliased = NULL;

    switch (item->node_case) {
    case PG_QUERY__NODE__NODE_RANGE_VAR:
        alias = item->range_var->alias;
        unaliased = item->range_var->relname;
        break;
    case PG_QUERY__NODE__NODE_RANGE_SUBSELECT:
        alias = item->range_subselect->alias;
        break;
    case PG_QUERY__NODE__NODE_RANGE_FUNCTION:
        alias = item->range_function->alias;
        unaliased = function_name(item->range_function);
        break;
    case PG_QUERY__NODE__NODE_RANGE_TABLE_FUNC:
        alias = item->range_table_func->alias;
        break;
    default:
        break;
    }
    return alias != NULL ? alias->aliasname : unaliased;
}

/* -- tables and views ------------------------------------------------------ */

static bool
trace_view(struct trace *self, const struct lm_query_relation *relation,
           const char *name, struct target target)
{
    struct source source = {relation->definition, name};
    struct scope scope = {NULL, NULL, &source, NULL, NULL};
    bool found = false;
    size_t visit;

    if (lm_key_visit_again(self, relation, target, &visit))
        return true;
    scope.select = lm_key_parse_view(self, relation->definition);
    if (scope.select == NULL)
        return lm_key_judge_unread(self, relation->definition, name);
    return lm_key_trace_output(self, &scope, target, &found);
}

/* The number of the column in the relation; -1: none, or unknown. */
static int
find_column(const struct lm_query_relation *relation, struct target target)
{
    if (target.name == NULL)
        return target.position < relation->column_count ? target.position : -1;
    for (int i = 0; i < relation->column_count; i++) {
        if (strcmp(relation->columns[i], target.name) == 0)
            return i;
    }
    return -1;
}

static bool
trace_relation(struct trace *self, const struct scope *scope,
               const PgQuery__RangeVar *range, struct reference ref,
               bool *found)
{
    const struct lm_query_relation *relation = NULL;
    struct target target = ref.target;
    struct target column = LM_KEY_ANY;

    if (!self->catalog->relation(self->catalog->arg, range->schemaname,
                                 range->relname, &relation, self->err))
        return false;
    if (relation == NULL)
        return true;
    column.position = find_column(relation, target);
    if (column.position >= 0 || (target.name == NULL && target.position < 0)) {
        *found = true;
        return relation->definition == NULL ||
               trace_view(self, relation, range->relname, column);
    }
    if (target.name == NULL || !is_system_column(target.name) ||
        relation->definition != NULL)
        return true;
    *found = true;
    return lm_key_fail(self, scope->source, ref.location,
                       "Page by columns of a table: name them with config.key.",
                       "the system column", target.name);
}

static bool
trace_with(struct trace *self, const struct scope *at,
           const PgQuery__CommonTableExpr *with, struct target target,
           bool *found)
{
    struct scope seen = lm_scope_within(at, with);
    struct scope inner = {lm_tree_select(with->ctequery), &seen, at->source,
                          NULL, NULL};

    target = rename_back(with->aliascolnames, with->n_aliascolnames, target);
    return inner.select == NULL ||
           lm_key_trace_output(self, &inner, target, found);
}

static bool
trace_range(struct trace *self, const struct scope *scope,
            const PgQuery__RangeVar *range, struct reference ref, bool *found)
{
    const struct scope *at = scope;
    const PgQuery__CommonTableExpr *with = lm_scope_find_with(&at, range);

    ref.target = unalias(range->alias, ref.target);
    return with != NULL ? trace_with(self, at, with, ref.target, found)
                        : trace_relation(self, scope, range, ref, found);
}

/* -- functions and subselects ---------------------------------------------- */

/* What an item of FROM sees, which is what stands before it. */
static struct scope
scope_before(const struct scope *scope, const void *item)
{
    struct scope seen = *scope;

    seen.until = item;
    return seen;
}

/* Is it surely a column of a function in FROM? A function of one value names it
 * as its alias does, else by its own name. */
static bool
function_has(const PgQuery__RangeFunction *function, struct target target)
{
    const PgQuery__Alias *alias = function->alias;
    const char *own =
        alias != NULL ? alias->aliasname : function_name(function);

    if (target.name == NULL || unalias(alias, target).name == NULL ||
        (own != NULL && strcmp(own, target.name) == 0))
        return true;
    if (function->ordinality && strcmp(target.name, "ordinality") == 0)
        return true;
    for (size_t i = 0; i < function->n_coldeflist; i++) {
        if (strcmp(function->coldeflist[i]->column_def->colname, target.name) ==
            0)
            return true;
    }
    return false;
}

static bool
trace_function(struct trace *self, const struct scope *scope,
               const PgQuery__RangeFunction *function, struct reference ref,
               bool *found)
{
    struct scope before = scope_before(scope, function);
    size_t visit;

    if (ref.qualifier == NULL && !ref.target.guess &&
        !function_has(function, ref.target))
        return true;
    *found = true;
    if (lm_key_visit_again(self, function, LM_KEY_ANY, &visit))
        return true;
    for (size_t i = 0; i < function->n_functions; i++) {
        if (!lm_key_judge(self, &before, &function->functions[i]->base, true))
            return false;
    }
    return true;
}

/* XMLTABLE */
static bool
trace_table_function(struct trace *self, const struct scope *scope,
                     const PgQuery__RangeTableFunc *function,
                     struct reference ref, bool *found)
{
    struct scope before = scope_before(scope, function);
    bool has = ref.qualifier != NULL || ref.target.name == NULL ||
               unalias(function->alias, ref.target).name == NULL;
    size_t visit;

    for (size_t i = 0; !has && i < function->n_columns; i++) {
        has = strcmp(function->columns[i]->range_table_func_col->colname,
                     ref.target.name) == 0;
    }
    if (!has)
        return true;
    *found = true;
    return lm_key_visit_again(self, function, LM_KEY_ANY, &visit) ||
           lm_key_judge(self, &before, &function->base, true);
}

static bool
trace_subselect(struct trace *self, const struct scope *scope,
                const PgQuery__RangeSubselect *range, struct target target,
                bool *found)
{
    struct scope seen = scope_before(scope, range->lateral ? (const void *)range
                                                           : scope->select);
    struct scope inner = {lm_tree_select(range->subquery), &seen, scope->source,
                          NULL, NULL};

    return inner.select == NULL ||
           lm_key_trace_output(self, &inner, unalias(range->alias, target),
                               found);
}

/* -- FROM --------------------------------------------------------------- */

static bool trace_item(struct trace *self, const struct scope *scope,
                       const Node *item, struct reference ref, bool *found);

static enum lm_visit
visit_until(const ProtobufCMessage *message, void *until)
{
    return message == until ? LM_VISIT_FOUND : LM_VISIT_ON;
}

/* Does what is seen of FROM end in this item? */
static bool
ends_in(const struct scope *scope, const Node *item)
{
    return scope->until != NULL &&
           lm_tree_walk(&item->base, visit_until, (void *)scope->until);
}

/* A join with a name of its own is looked through; where it renames columns,
 * any of them may be meant. */
static bool
trace_join(struct trace *self, const struct scope *scope,
           const PgQuery__JoinExpr *join, struct reference ref, bool *found)
{
    const PgQuery__Alias *alias = join->alias;

    if (ref.qualifier != NULL && alias != NULL) {
        if (strcmp(alias->aliasname, ref.qualifier) != 0)
            return true;
        ref.qualifier = NULL;
    }
    if (ref.qualifier != NULL && join->join_using_alias != NULL &&
        strcmp(join->join_using_alias->aliasname, ref.qualifier) == 0)
        ref.qualifier = NULL;
    if (unalias(alias, ref.target).name == NULL)
        ref.target = LM_KEY_ANY;
    return trace_item(self, scope, join->larg, ref, found) &&
           (ends_in(scope, join->larg) ||
            trace_item(self, scope, join->rarg, ref, found));
}

static bool
trace_named_item(struct trace *self, const struct scope *scope,
                 const Node *item, struct reference ref, bool *found)
{
    switch (item->node_case) {
    case PG_QUERY__NODE__NODE_RANGE_VAR:
        return trace_range(self, scope, item->range_var, ref, found);
    case PG_QUERY__NODE__NODE_RANGE_SUBSELECT:
        return scope->until == item->range_subselect ||
               trace_subselect(self, scope, item->range_subselect, ref.target,
                               found);
    case PG_QUERY__NODE__NODE_RANGE_FUNCTION:
        return scope->until == item->range_function ||
               trace_function(self, scope, item->range_function, ref, found);
    case PG_QUERY__NODE__NODE_RANGE_TABLE_FUNC:
        return scope->until == item->range_table_func ||
               trace_table_function(self, scope, item->range_table_func, ref,
                                    found);
    default:
        return true;
    }
}

static bool
trace_item(struct trace *self, const struct scope *scope, const Node *item,
           struct reference ref, bool *found)
{
    const char *name = item_name(item);

    if (item->node_case == PG_QUERY__NODE__NODE_JOIN_EXPR)
        return trace_join(self, scope, item->join_expr, ref, found);
    if (item->node_case == PG_QUERY__NODE__NODE_RANGE_TABLE_SAMPLE) {
        return trace_item(self, scope, item->range_table_sample->relation, ref,
                          found);
    }
    if (ref.qualifier != NULL &&
        (name == NULL || strcmp(name, ref.qualifier) != 0))
        return true;
    return trace_named_item(self, scope, item, ref, found);
}

static bool
trace_from(struct trace *self, const struct scope *scope, struct reference ref,
           bool *found)
{
    const PgQuery__SelectStmt *select = scope->select;

    if (scope->until == select)
        return true;
    for (size_t i = 0; i < select->n_from_clause; i++) {
        if (!trace_item(self, scope, select->from_clause[i], ref, found))
            return false;
        if (ends_in(scope, select->from_clause[i]))
            break;
    }
    return true;
}

/* -- references ------------------------------------------------------------ */

static struct reference
reference_of(const ColumnRef *ref)
{
    size_t count = ref->n_fields;

    return (struct reference){
        {lm_tree_last_name(ref->fields, count), -1, false},
        count > 1 ? lm_tree_name(ref->fields[count - 2]) : NULL,
        ref->location};
}

/* Goes outwards to the first scope that surely has the column; on the way, a
 * guess is followed too. */
static bool
trace_scopes(struct trace *self, const struct scope *scope,
             struct reference ref, bool *found, bool *guessed)
{
    for (; scope != NULL && !*found; scope = scope->outer) {
        ref.target.guess = false;
        if (!trace_from(self, scope, ref, found))
            return false;
        ref.target.guess = true;
        if (!*found && !trace_from(self, scope, ref, guessed))
            return false;
    }
    return true;
}

/* There is no such column: t is the row of t, and t.f is f(t). Else it is one
 * that only the server knows. */
static bool
trace_row(struct trace *self, const struct scope *scope, struct reference ref,
          bool guessed)
{
    const char *name = ref.target.name;
    struct reference row = {
        LM_KEY_ANY, ref.qualifier != NULL ? ref.qualifier : name, ref.location};
    bool found = false;

    if (!trace_scopes(self, scope, row, &found, &guessed))
        return false;
    if (found && ref.qualifier != NULL && !guessed)
        return lm_key_judge_of_row(self, scope, name, ref.location);
    row.qualifier = NULL;
    return found || guessed || trace_scopes(self, scope, row, &found, &guessed);
}

bool
lm_key_trace_reference(struct trace *self, const struct scope *scope,
                       const ColumnRef *column)
{
    struct reference ref = reference_of(column);
    bool found = false;
    bool guessed = false;

    return trace_scopes(self, scope, ref, &found, &guessed) &&
           (found || trace_row(self, scope, ref, guessed));
}

bool
lm_key_trace_star(struct trace *self, const struct scope *scope,
                  const ColumnRef *star, struct target target, bool *found)
{
    struct reference ref = reference_of(star);

    ref.target = target;
    return trace_from(self, scope, ref, found);
}
