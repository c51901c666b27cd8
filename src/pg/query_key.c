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

#include "pg/query_private.h"

#include <stdlib.h>
#include <string.h>

typedef PgQuery__Node Node;
typedef PgQuery__SelectStmt SelectStmt;
typedef PgQuery__ColumnRef ColumnRef;
typedef PgQuery__FuncCall FuncCall;

enum { MAX_VISITS = 10000 };

/* A text that is looked at: the base query, or the definition of a view. */
struct source {
    const char *sql;
    const char *view; /* its name, or NULL */
};

/* A SELECT, and what names mean in it. */
struct scope {
    const SelectStmt *select;
    const struct scope *outer; /* for WITH queries and LATERAL, or NULL */
    const struct source *source;
};

/* A column of what a SELECT returns: by name, else by position (from 0), else
 * any. */
struct target {
    const char *name;
    int position;
};

static const struct target any = {NULL, -1};

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

static bool trace_output(struct trace *self, const struct scope *scope,
                         struct target target, bool *found);
static bool judge_offset(struct trace *self, const struct scope *scope);
static bool judge(struct trace *self, const struct scope *scope,
                  const ProtobufCMessage *expression, bool in_from);

/* -- refusing ---------------------------------------------------------- */

static const char by_column[] =
    "Page by columns of a table: name them with config.key.";

static bool
fail(struct trace *self, const struct source *source, int location,
     const char *hint, const char *what, const char *name)
{
    struct lm_buf text = LM_BUF_INIT;

    lm_buf_printf(&text,
                  "the key column \"%s\" is not constant: it comes "
                  "from %s%s%s%s",
                  self->key, what, name != NULL ? " \"" : "",
                  name != NULL ? name : "", name != NULL ? "\"" : "");
    if (source->view != NULL)
        lm_buf_printf(&text, ", in the view \"%s\"", source->view);
    lm_err_set(self->err, LM_ERR_SCRIPT, "%s", lm_buf_text(&text));
    lm_err_hint(self->err, "%s", hint);
    lm_parse_show_place(self->err, source->sql, location);
    lm_buf_release(&text);
    return false;
}

static bool
visit_again(struct trace *self, const void *what, struct target target)
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
static const SelectStmt *
parse_view(struct trace *self, const char *definition)
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

    if (visit_again(self, relation, target))
        return true;
    scope.select = parse_view(self, relation->definition);
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
    return fail(self, scope->source, location, by_column, "the system column",
                target.name);
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
    if (visit_again(self, function, any))
        return true;
    for (size_t i = 0; i < function->n_functions; i++) {
        if (!judge(self, scope, &function->functions[i]->base, true))
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

static bool
trace_reference(struct trace *self, const struct scope *scope,
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

struct judging {
    struct trace *trace;
    const struct scope *scope;
    bool in_from; /* a function there may return a set */
};

static enum lm_visit
visit_any_column(const ProtobufCMessage *message, void *data)
{
    (void)data;
    return lm_tree_is(message, &pg_query__column_ref__descriptor)
               ? LM_VISIT_FOUND
               : LM_VISIT_ON;
}

static bool
judge_call(const struct judging *self, const FuncCall *call)
{
    struct trace *trace = self->trace;
    const struct source *source = self->scope->source;
    size_t last = call->n_funcname - 1;
    const char *name = lm_tree_name(call->funcname[last]);
    size_t args =
        call->n_args + (call->agg_within_group ? call->n_agg_order : 0);
    struct lm_query_function function = {0};

    if (call->over != NULL) {
        return fail(trace, source, call->location,
                    "What a window function returns for a row depends on the "
                    "other rows. Page by columns of a table: name them with "
                    "config.key.",
                    "the window function", name);
    }
    if (!trace->catalog->function(
            trace->catalog->arg,
            last > 0 ? lm_tree_name(call->funcname[last - 1]) : NULL, name,
            (int)args, &function, trace->err))
        return false;
    if (function.aggregate) {
        return fail(trace, source, call->location,
                    "What an aggregate returns depends on which rows there "
                    "are. Page by the columns of GROUP BY: name them with "
                    "config.key.",
                    "the aggregate", name);
    }
    if (function.is_volatile) {
        return fail(trace, source, call->location,
                    "Page by columns of a table, or declare the function "
                    "IMMUTABLE if it always returns the same for the same "
                    "arguments.",
                    "the volatile function", name);
    }
    if (function.returns_set && !self->in_from) {
        return fail(trace, source, call->location,
                    "Put the function into FROM, and page by columns of a "
                    "table and by what it returns: FROM t, unnest(t.tags) AS "
                    "tag, with key = { \"id\", \"tag\" }.",
                    "the set-returning function", name);
    }
    if (function.reads_state ||
        (function.is_stable &&
         !lm_tree_walk(&call->base, visit_any_column, NULL))) {
        return fail(trace, source, call->location,
                    "Page by columns of a table, or declare the function "
                    "IMMUTABLE if it always returns the same for the same "
                    "arguments.",
                    "a function that depends on more than the row", name);
    }
    return true;
}

static enum lm_visit
visit_expression(const ProtobufCMessage *message, void *data)
{
    const struct judging *self = data;
    struct trace *trace = self->trace;
    const struct source *source = self->scope->source;
    bool ok = true;

    if (lm_tree_is(message, &pg_query__func_call__descriptor)) {
        ok = judge_call(self, (const FuncCall *)message);
    } else if (lm_tree_is(message, &pg_query__column_ref__descriptor)) {
        ok = trace_reference(trace, self->scope, (const ColumnRef *)message);
    } else if (lm_tree_is(message, &pg_query__sub_link__descriptor)) {
        ok = fail(trace, source, lm_tree_location(message),
                  "What a subselect returns depends on other rows. Join the "
                  "table instead, and page by columns of tables.",
                  "a subselect", NULL);
    } else if (lm_tree_is(message, &pg_query__sqlvalue_function__descriptor)) {
        ok = fail(trace, source, lm_tree_location(message), by_column,
                  "the time or the session", NULL);
    }
    return ok ? LM_VISIT_ON : LM_VISIT_FOUND;
}

static bool
judge(struct trace *self, const struct scope *scope,
      const ProtobufCMessage *expression, bool in_from)
{
    struct judging judging = {self, scope, in_from};

    return !lm_tree_walk(expression, visit_expression, &judging);
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
                !judge(self, scope, &row->items[j]->base, false))
                return false;
        }
    }
    return true;
}

/* SELECT DISTINCT ON (a, b): of each group one row is kept, and which one is
 * decided by the others. Plain DISTINCT has one empty node. */
static bool
has_distinct_on(const SelectStmt *select)
{
    return select->n_distinct_clause > 0 &&
           select->distinct_clause[0]->node_case !=
               PG_QUERY__NODE__NODE__NOT_SET;
}

/* Is the output column, or the column of that name behind a star, one of
 * those that DISTINCT ON names? */
static bool
is_distinct_on(const SelectStmt *select, struct target target,
               const Node *output)
{
    const ColumnRef *column = output != NULL ? lm_tree_column(output) : NULL;
    const char *name = target.name;

    if (column != NULL)
        name = lm_tree_last_name(column->fields, column->n_fields);
    for (size_t i = 0; i < select->n_distinct_clause; i++) {
        const Node *distinct = select->distinct_clause[i];
        const ColumnRef *ref = lm_tree_column(distinct);

        if (output != NULL && lm_tree_same(&output->base, &distinct->base))
            return true;
        if (ref != NULL && name != NULL && (output == NULL || column != NULL) &&
            strcmp(lm_tree_last_name(ref->fields, ref->n_fields), name) == 0)
            return true;
    }
    return false;
}

static bool
judge_distinct(struct trace *self, const struct scope *scope,
               struct target target, const Node *output)
{
    const SelectStmt *select = scope->select;

    if (!has_distinct_on(select) || is_distinct_on(select, target, output))
        return true;
    return fail(self, scope->source,
                lm_tree_list_location(select->distinct_clause,
                                      select->n_distinct_clause),
                "Which row DISTINCT ON keeps depends on the other rows. Page "
                "by the columns of DISTINCT ON: name them with config.key.",
                "the row that DISTINCT ON keeps", NULL);
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
            !judge(self, scope, &select->target_list[i]->res_target->val->base,
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

    if (visit_again(self, select, target)) {
        *found = true;
        return true;
    }
    if (!judge_offset(self, scope))
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
               (!*found || judge_distinct(self, scope, target, NULL));
    }
    *found = true;
    return judge(self, scope, &output->base, false) &&
           judge_distinct(self, scope, target, output);
}

/* -- OFFSET --------------------------------------------------------------- */

static bool
is_zero(const Node *node)
{
    return node->node_case == PG_QUERY__NODE__NODE_A_CONST &&
           node->a_const->val_case == PG_QUERY__A__CONST__VAL_IVAL &&
           node->a_const->ival->ival == 0;
}

/* Rows that are left out by their number are other ones on each page. "OFFSET
 * 0" leaves out none. */
static bool
judge_offset(struct trace *self, const struct scope *scope)
{
    const Node *offset = scope->select->limit_offset;

    if (offset == NULL || is_zero(offset))
        return true;
    lm_err_set(self->err, LM_ERR_SCRIPT,
               "base_query must not have OFFSET in what its key comes from%s%s",
               scope->source->view != NULL ? ", as has the view " : "",
               scope->source->view != NULL ? scope->source->view : "");
    lm_err_hint(self->err,
                "Which rows it leaves out changes as rows are migrated. Leave "
                "them out by a condition, or set config.start_after.");
    lm_parse_show_place(self->err, scope->source->sql,
                        lm_tree_location(&offset->base));
    return false;
}

/* -- samples ------------------------------------------------------------- */

struct sampling {
    struct trace *trace;
    struct source source;
};

static bool look_for_samples(struct trace *self, const SelectStmt *select,
                             struct source source);

static enum lm_visit
visit_sample(const ProtobufCMessage *message, void *data)
{
    const struct sampling *self = data;
    const PgQuery__RangeVar *range = (const PgQuery__RangeVar *)message;
    const struct lm_query_relation *relation = NULL;
    struct trace *trace = self->trace;
    struct source view;
    const SelectStmt *select;

    if (lm_tree_is(message, &pg_query__range_table_sample__descriptor)) {
        lm_err_set(trace->err, LM_ERR_SCRIPT,
                   "base_query must not have TABLESAMPLE%s%s",
                   self->source.view != NULL ? ", as has the view " : "",
                   self->source.view != NULL ? self->source.view : "");
        lm_err_hint(trace->err,
                    "Each page would be of another sample. Choose rows by "
                    "their key: WHERE id %% 100 = 0.");
        lm_parse_show_place(trace->err, self->source.sql,
                            lm_tree_location(message));
        return LM_VISIT_FOUND;
    }
    if (!lm_tree_is(message, &pg_query__range_var__descriptor))
        return LM_VISIT_ON;
    if (!trace->catalog->relation(trace->catalog->arg, range->schemaname,
                                  range->relname, &relation, trace->err))
        return LM_VISIT_FOUND;
    if (relation == NULL || relation->definition == NULL ||
        visit_again(trace, relation, (struct target){"TABLESAMPLE", -1}))
        return LM_VISIT_ON;
    view = (struct source){relation->definition, range->relname};
    select = parse_view(trace, relation->definition);
    return select != NULL && !look_for_samples(trace, select, view)
               ? LM_VISIT_FOUND
               : LM_VISIT_ON;
}

static bool
look_for_samples(struct trace *self, const SelectStmt *select,
                 struct source source)
{
    struct sampling sampling = {self, source};

    return !lm_tree_walk(&select->base, visit_sample, &sampling);
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
    ok = ok && look_for_samples(&trace, self->tree->select, source);
    for (size_t i = 0; i < trace.parsed_count; i++)
        pg_query__parse_result__free_unpacked(trace.parsed[i], NULL);
    free((void *)trace.parsed);
    free(trace.visits);
    return ok;
}
