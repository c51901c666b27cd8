/* SPDX-License-Identifier: MIT */
/*
 * What may have a part in the value of a key, and what is refused: window
 * functions, aggregates, functions by what the catalog says of them,
 * subselects, the clock, the row that DISTINCT ON keeps, OFFSET, samples.
 */

#include "pg/query_key_private.h"

#include <string.h>

typedef PgQuery__Node Node;
typedef PgQuery__SelectStmt SelectStmt;
typedef PgQuery__ColumnRef ColumnRef;
typedef PgQuery__FuncCall FuncCall;

static const char by_column[] =
    "Page by columns of a table: name them with config.key.";

/* -- refusing ---------------------------------------------------------- */

bool
lm_key_fail(struct trace *self, const struct source *source, int location,
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

/* -- expressions ------------------------------------------------------- */

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
        return lm_key_fail(
            trace, source, call->location,
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
        return lm_key_fail(
            trace, source, call->location,
            "What an aggregate returns depends on which rows there "
            "are. Page by the columns of GROUP BY: name them with "
            "config.key.",
            "the aggregate", name);
    }
    if (function.is_volatile) {
        return lm_key_fail(
            trace, source, call->location,
            "Page by columns of a table, or declare the function "
            "IMMUTABLE if it always returns the same for the same "
            "arguments.",
            "the volatile function", name);
    }
    if (function.returns_set && !self->in_from) {
        return lm_key_fail(
            trace, source, call->location,
            "Put the function into FROM, and page by columns of a "
            "table and by what it returns: FROM t, unnest(t.tags) AS "
            "tag, with key = { \"id\", \"tag\" }.",
            "the set-returning function", name);
    }
    if (function.reads_state ||
        (function.is_stable &&
         !lm_tree_walk(&call->base, visit_any_column, NULL))) {
        return lm_key_fail(
            trace, source, call->location,
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
        ok = lm_key_trace_reference(trace, self->scope,
                                    (const ColumnRef *)message);
    } else if (lm_tree_is(message, &pg_query__sub_link__descriptor)) {
        ok = lm_key_fail(
            trace, source, lm_tree_location(message),
            "What a subselect returns depends on other rows. Join the "
            "table instead, and page by columns of tables.",
            "a subselect", NULL);
    } else if (lm_tree_is(message, &pg_query__sqlvalue_function__descriptor)) {
        ok = lm_key_fail(trace, source, lm_tree_location(message), by_column,
                         "the time or the session", NULL);
    }
    return ok ? LM_VISIT_ON : LM_VISIT_FOUND;
}

bool
lm_key_judge(struct trace *self, const struct scope *scope,
             const ProtobufCMessage *expression, bool in_from)
{
    struct judging judging = {self, scope, in_from};

    return !lm_tree_walk(expression, visit_expression, &judging);
}

/* -- DISTINCT ON -------------------------------------------------------- */

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

bool
lm_key_judge_distinct(struct trace *self, const struct scope *scope,
                      struct target target, const Node *output)
{
    const SelectStmt *select = scope->select;

    if (!has_distinct_on(select) || is_distinct_on(select, target, output))
        return true;
    return lm_key_fail(
        self, scope->source,
        lm_tree_list_location(select->distinct_clause,
                              select->n_distinct_clause),
        "Which row DISTINCT ON keeps depends on the other rows. Page "
        "by the columns of DISTINCT ON: name them with config.key.",
        "the row that DISTINCT ON keeps", NULL);
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
bool
lm_key_judge_offset(struct trace *self, const struct scope *scope)
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
        lm_key_visit_again(trace, relation, (struct target){"TABLESAMPLE", -1}))
        return LM_VISIT_ON;
    view = (struct source){relation->definition, range->relname};
    select = lm_key_parse_view(trace, relation->definition);
    return select != NULL && !lm_key_refuse_samples(trace, select, view)
               ? LM_VISIT_FOUND
               : LM_VISIT_ON;
}

bool
lm_key_refuse_samples(struct trace *self, const SelectStmt *select,
                      struct source source)
{
    struct sampling sampling = {self, source};

    return !lm_tree_walk(&select->base, visit_sample, &sampling);
}
