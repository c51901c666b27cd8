/* SPDX-License-Identifier: MIT */
/*
 * Is the key constant? Follows each key column through the parse tree to
 * where its values come from: select lists, subselects, WITH queries, views at
 * any depth, set operations, joins. A value that other rows have a part in, or
 * the time, or chance, is another one on the next page, and rows are passed
 * over in silence.
 *
 * The catalog tells what a name is. A column that cannot be told from others
 * of its name is followed to all of them. Operators and casts are taken to be
 * constant.
 */

#include "pg/query_key_private.h"

#include <stdlib.h>
#include <string.h>

typedef PgQuery__Node Node;
typedef PgQuery__SelectStmt SelectStmt;
typedef PgQuery__ColumnRef ColumnRef;

enum { MAX_VISITS = 10000 };

static const struct target any = {NULL, -1};

static const char by_column[] =
    "Page by columns of a table: name them with config.key.";

static bool trace_output(struct trace *self, const struct scope *scope,
                         struct target target, bool *found);

bool
lm_key_visit_again(struct trace *self, const void *what, struct target target)
{
    struct visit *visit;

    for (size_t i = 0; i < self->visit_count; i++) {
        visit = &self->visits[i];
        if (visit->what == what && visit->position == target.position &&
            (visit->name == target.name ||
             (visit->name != NULL && target.name != NULL &&
              strcmp(visit->name, target.name) == 0)))
            return true;
    }
    if (self->visit_count == MAX_VISITS)
        return true;
    self->visits =
        lm_realloc(self->visits, self->visit_count + 1, sizeof *self->visits);
    visit = &self->visits[self->visit_count++];
    *visit = (struct visit){what, target.name, target.position};
    return false;
}

/* -- FROM --------------------------------------------------------------- */

/* What alias.colnames makes of a name: the position of the column, else the
 * name itself. */
static struct target
rename_back(const PgQuery__Alias *alias, struct target target)
{
    for (size_t i = 0;
         alias != NULL && target.name != NULL && i < alias->n_colnames; i++) {
        const char *name = lm_tree_name(alias->colnames[i]);

        if (name != NULL && strcmp(name, target.name) == 0)
            return (struct target){NULL, (int)i};
    }
    return target;
}

static const PgQuery__CommonTableExpr *
find_cte(const struct scope **scope, const char *name)
{
    for (const struct scope *at = *scope; at != NULL; at = at->outer) {
        const PgQuery__WithClause *with = at->select->with_clause;

        for (size_t i = 0; with != NULL && i < with->n_ctes; i++) {
            const PgQuery__CommonTableExpr *cte =
                with->ctes[i]->common_table_expr;

            if (strcmp(cte->ctename, name) == 0) {
                *scope = at;
                return cte;
            }
        }
    }
    return NULL;
}

static struct target
rename_cte(const PgQuery__CommonTableExpr *cte, struct target target)
{
    for (size_t i = 0; target.name != NULL && i < cte->n_aliascolnames; i++) {
        if (strcmp(lm_tree_name(cte->aliascolnames[i]), target.name) == 0)
            return (struct target){NULL, (int)i};
    }
    return target;
}

static bool
trace_cte(struct trace *self, const PgQuery__CommonTableExpr *cte,
          const struct scope *scope, struct target target, bool *found)
{
    struct scope inner = {lm_tree_select(cte->ctequery), scope, scope->source};

    if (inner.select == NULL)
        return true;
    return trace_output(self, &inner, rename_cte(cte, target), found);
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

/* The definition of a view, parsed; NULL when it cannot be read. */
const SelectStmt *
lm_key_parse_view(struct trace *self, const char *definition)
{
    PgQuery__ParseResult *result = lm_parse(definition, NULL);

    if (result == NULL)
        return NULL;
    self->parsed = lm_realloc(self->parsed, self->parsed_count + 1,
                              sizeof(PgQuery__ParseResult *));
    self->parsed[self->parsed_count++] = result;
    return result->n_stmts == 1 ? lm_tree_select(result->stmts[0]->stmt) : NULL;
}

static bool
trace_view(struct trace *self, const struct lm_query_relation *relation,
           const char *name, struct target target)
{
    struct source source = {relation->definition, name};
    struct scope scope = {NULL, NULL, &source};
    bool found = false;

    if (lm_key_visit_again(self, relation, target))
        return true;
    scope.select = lm_key_parse_view(self, relation->definition);
    return scope.select == NULL || trace_output(self, &scope, target, &found);
}

/* Which column of the relation it is; -1: none, or not told. */
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
               const PgQuery__RangeVar *range, struct target target,
               int location, bool *found)
{
    const struct lm_query_relation *relation = NULL;
    struct target column = {NULL, -1};

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
    return lm_key_fail(self, scope->source, location, by_column,
                       "the system column", target.name);
}

static bool
trace_range(struct trace *self, const struct scope *scope,
            const PgQuery__RangeVar *range, struct target target, int location,
            bool *found)
{
    const struct scope *at = scope;
    const PgQuery__CommonTableExpr *cte =
        *range->schemaname == '\0' ? find_cte(&at, range->relname) : NULL;

    target = rename_back(range->alias, target);
    return cte != NULL
               ? trace_cte(self, cte, at, target, found)
               : trace_relation(self, scope, range, target, location, found);
}

/* Is it a column of a function in FROM? A function of one value names it as
 * its alias does, else by its own name. */
static bool
function_has(const PgQuery__RangeFunction *function, struct target target)
{
    const PgQuery__Alias *alias = function->alias;

    if (target.name == NULL || rename_back(alias, target).name == NULL ||
        (alias != NULL && strcmp(alias->aliasname, target.name) == 0))
        return true;
    if (function->ordinality && strcmp(target.name, "ordinality") == 0)
        return true;
    for (size_t i = 0; i < function->n_coldeflist; i++) {
        if (function->coldeflist[i]->node_case ==
                PG_QUERY__NODE__NODE_COLUMN_DEF &&
            strcmp(function->coldeflist[i]->column_def->colname, target.name) ==
                0)
            return true;
    }
    return alias == NULL;
}

static bool
trace_function(struct trace *self, const struct scope *scope,
               const PgQuery__RangeFunction *function, struct target target,
               bool qualified, bool *found)
{
    if (!qualified && !function_has(function, target))
        return true;
    *found = true;
    if (lm_key_visit_again(self, function, any))
        return true;
    for (size_t i = 0; i < function->n_functions; i++) {
        if (!lm_key_judge(self, scope, &function->functions[i]->base, true))
            return false;
    }
    return true;
}

static bool
trace_subselect(struct trace *self, const struct scope *scope,
                const PgQuery__RangeSubselect *range, struct target target,
                bool *found)
{
    struct scope inner = {lm_tree_select(range->subquery), scope,
                          scope->source};

    return inner.select == NULL ||
           trace_output(self, &inner, rename_back(range->alias, target), found);
}

/* A reference: the column, the name of its table before it (or NULL), and
 * where it stands. */
struct reference {
    struct target target;
    const char *qualifier;
    int location;
};

static const char *
item_name(const Node *item)
{
    const PgQuery__Alias *alias = NULL;

    switch (item->node_case) {
    case PG_QUERY__NODE__NODE_RANGE_VAR:
        alias = item->range_var->alias;
        if (alias == NULL)
            return item->range_var->relname;
        break;
    case PG_QUERY__NODE__NODE_RANGE_SUBSELECT:
        alias = item->range_subselect->alias;
        break;
    case PG_QUERY__NODE__NODE_RANGE_FUNCTION:
        alias = item->range_function->alias;
        break;
    case PG_QUERY__NODE__NODE_RANGE_TABLE_FUNC:
        alias = item->range_table_func->alias;
        break;
    default:
        break;
    }
    return alias != NULL ? alias->aliasname : NULL;
}

static bool trace_item(struct trace *self, const struct scope *scope,
                       const Node *item, struct reference ref, bool *found);

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
    if (alias != NULL && rename_back(alias, ref.target).name == NULL)
        ref.target = any;
    return trace_item(self, scope, join->larg, ref, found) &&
           trace_item(self, scope, join->rarg, ref, found);
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
        (name == NULL || strcmp(name, ref.qualifier) != 0)) {
        if (item->node_case != PG_QUERY__NODE__NODE_RANGE_FUNCTION ||
            name != NULL)
            return true;
    }
    switch (item->node_case) {
    case PG_QUERY__NODE__NODE_RANGE_VAR:
        return trace_range(self, scope, item->range_var, ref.target,
                           ref.location, found);
    case PG_QUERY__NODE__NODE_RANGE_SUBSELECT:
        return trace_subselect(self, scope, item->range_subselect, ref.target,
                               found);
    case PG_QUERY__NODE__NODE_RANGE_FUNCTION:
        return trace_function(self, scope, item->range_function, ref.target,
                              ref.qualifier != NULL, found);
    default:
        return true;
    }
}

static bool
trace_from(struct trace *self, const struct scope *scope, struct reference ref,
           bool *found)
{
    const SelectStmt *select = scope->select;

    for (size_t i = 0; i < select->n_from_clause; i++) {
        if (!trace_item(self, scope, select->from_clause[i], ref, found))
            return false;
    }
    return true;
}

/* -- expressions ------------------------------------------------------- */

static struct reference
reference_of(const ColumnRef *ref)
{
    size_t count = ref->n_fields;

    return (struct reference){{lm_tree_last_name(ref->fields, count), -1},
                              count > 1 ? lm_tree_name(ref->fields[count - 2])
                                        : NULL,
                              ref->location};
}

bool
lm_key_trace_reference(struct trace *self, const struct scope *scope,
                       const ColumnRef *column)
{
    struct reference ref = reference_of(column);
    bool found = false;

    for (; scope != NULL && !found; scope = scope->outer) {
        if (!trace_from(self, scope, ref, &found))
            return false;
    }
    return true;
}

/* -- select lists -------------------------------------------------------- */

static const ColumnRef *
star_of(const Node *target)
{
    const ColumnRef *ref = lm_tree_column(target->res_target->val);

    return ref != NULL && lm_tree_is_star(ref) ? ref : NULL;
}

/* A column of the select list by position, where no star stands before it. */
static const Node *
at_position(const SelectStmt *select, int position)
{
    if (position < 0 || (size_t)position >= select->n_target_list)
        return NULL;
    for (int i = 0; i <= position; i++) {
        if (star_of(select->target_list[i]) != NULL)
            return NULL;
    }
    return select->target_list[position]->res_target->val;
}

/* The same of a name; -1 when it cannot be told. */
static int
position_of(const SelectStmt *select, struct target target)
{
    const Node *output = NULL;

    if (target.name == NULL)
        return target.position;
    while (select->larg != NULL)
        select = select->larg;
    if (!lm_query_find_output(select, target.name, &output) || output == NULL)
        return -1;
    for (size_t i = 0; i < select->n_target_list; i++) {
        if (select->target_list[i]->res_target->val == output)
            return at_position(select, (int)i) != NULL ? (int)i : -1;
    }
    return -1;
}

static bool
trace_values(struct trace *self, const struct scope *scope,
             struct target target)
{
    const SelectStmt *select = scope->select;

    for (size_t i = 0; i < select->n_values_lists; i++) {
        const PgQuery__List *row = select->values_lists[i]->list;

        for (size_t j = 0; j < row->n_items; j++) {
            if ((target.position < 0 || (size_t)target.position == j) &&
                !lm_key_judge(self, scope, &row->items[j]->base, false))
                return false;
        }
    }
    return true;
}

/* The column is one of those behind the stars. */
static bool
trace_stars(struct trace *self, const struct scope *scope, struct target target,
            bool *found)
{
    const SelectStmt *select = scope->select;

    for (size_t i = 0; i < select->n_target_list; i++) {
        const ColumnRef *star = star_of(select->target_list[i]);
        struct reference ref;

        if (star == NULL)
            continue;
        ref = reference_of(star);
        ref.target = target;
        if (!trace_from(self, scope, ref, found))
            return false;
    }
    return true;
}

/* Nobody knows which: each may be it. */
static bool
trace_all(struct trace *self, const struct scope *scope, bool *found)
{
    const SelectStmt *select = scope->select;

    for (size_t i = 0; i < select->n_target_list; i++) {
        if (star_of(select->target_list[i]) == NULL &&
            !lm_key_judge(self, scope,
                          &select->target_list[i]->res_target->val->base,
                          false))
            return false;
    }
    *found = true;
    return trace_stars(self, scope, any, found);
}

static bool
trace_set_operation(struct trace *self, const struct scope *scope,
                    struct target target, bool *found)
{
    const SelectStmt *select = scope->select;
    struct scope left = {select->larg, scope, scope->source};
    struct scope right = {select->rarg, scope, scope->source};
    int position = position_of(select, target);

    if (position >= 0)
        target = (struct target){NULL, position};
    return trace_output(self, &left, target, found) &&
           trace_output(self, &right, target, found);
}

static bool
trace_output(struct trace *self, const struct scope *scope,
             struct target target, bool *found)
{
    const SelectStmt *select = scope->select;
    const Node *output = NULL;

    if (lm_key_visit_again(self, select, target)) {
        *found = true;
        return true;
    }
    if (!lm_key_judge_offset(self, scope))
        return false;
    if (select->op != PG_QUERY__SET_OPERATION__SETOP_NONE)
        return trace_set_operation(self, scope, target, found);
    if (select->n_values_lists > 0) {
        *found = true;
        return trace_values(self, scope, target);
    }
    if (target.name == NULL) {
        output = at_position(select, target.position);
        if (output == NULL)
            return trace_all(self, scope, found);
    } else if (!lm_query_find_output(select, target.name, &output)) {
        return lm_query_has_unnamed(select) ? trace_all(self, scope, found)
                                            : true;
    }
    if (output == NULL) {
        return trace_stars(self, scope, target, found) &&
               (!*found || lm_key_judge_distinct(self, scope, target, NULL));
    }
    *found = true;
    return lm_key_judge(self, scope, &output->base, false) &&
           lm_key_judge_distinct(self, scope, target, output);
}

bool
lm_query_check_constant(const struct lm_query_shape *self, const char *sql,
                        const char *const *key, int key_count,
                        const struct lm_query_catalog *catalog,
                        struct lm_err *err)
{
    struct trace trace = {.catalog = catalog, .err = err};
    struct source source = {sql, NULL};
    bool ok = true;

    if (self->tree == NULL)
        return true;
    for (int i = 0; ok && i < key_count; i++) {
        struct scope scope = {self->tree->select, NULL, &source};
        bool found = false;

        trace.key = key[i];
        trace.visit_count = 0;
        ok = trace_output(&trace, &scope, (struct target){key[i], -1}, &found);
    }
    trace.visit_count = 0;
    ok = ok && lm_key_refuse_samples(&trace, self->tree->select, source);
    for (size_t i = 0; i < trace.parsed_count; i++)
        pg_query__parse_result__free_unpacked(trace.parsed[i], NULL);
    free((void *)trace.parsed);
    free(trace.visits);
    return ok;
}
