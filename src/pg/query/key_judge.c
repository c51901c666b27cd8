/* SPDX-License-Identifier: MIT */
/* Refuses sources of a key that are not constant: window functions,
 * aggregates, functions (by what the catalog says), subselects, the clock, and
 * the row that DISTINCT ON keeps. */

#include "pg/query/key_private.h"

#include <string.h>

typedef PgQuery__Node Node;
typedef PgQuery__SelectStmt SelectStmt;
typedef PgQuery__ColumnRef ColumnRef;
typedef PgQuery__FuncCall FuncCall;

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

/* -- functions --------------------------------------------------------- */

struct refusal {
    const char *what;
    const char *hint;
};

static const struct refusal window_function = {
    "the window function",
    "The result of a window function depends on other rows. Page by columns of "
    "a table: name them with config.key."};

static const struct refusal aggregate = {
    "the aggregate", "The result of an aggregate depends on several rows. Page "
                     "by the columns of GROUP BY: name them with config.key."};

static const struct refusal volatile_function = {
    "the volatile function",
    "Page by columns of a table, or declare the function IMMUTABLE if it "
    "always returns the same for the same arguments."};

static const struct refusal set_function = {
    "the set-returning function",
    "Put the function into FROM, and page by columns of a table and by what it "
    "returns: FROM t, unnest(t.tags) AS tag, with key = { \"id\", \"tag\" }."};

static const struct refusal state_function = {
    "a function that depends on more than the row",
    "Page by columns of a table, or declare the function IMMUTABLE if it "
    "always returns the same for the same arguments."};

struct judging {
    struct trace *trace;
    const struct scope *scope;
    bool in_from; /* a function there may return a set */
};

/* A call without arguments, of a stable function, tells of the time or the
 * session. */
static const struct refusal *
find_refusal(const struct judging *self, const struct lm_query_function *of,
             int args)
{
    if (of->aggregate)
        return &aggregate;
    if (of->is_volatile)
        return &volatile_function;
    if (of->returns_set && !self->in_from)
        return &set_function;
    if (of->reads_state || (of->is_stable && args == 0))
        return &state_function;
    return NULL;
}

static bool
judge_function(const struct judging *self, const char *schema, const char *name,
               int args, int location)
{
    struct trace *trace = self->trace;
    struct lm_query_function function = {0};
    const struct refusal *refusal;

    if (!trace->catalog->function(trace->catalog->arg, schema, name, args,
                                  &function, trace->err))
        return false;
    refusal = find_refusal(self, &function, args);
    return refusal == NULL || lm_key_fail(trace, self->scope->source, location,
                                          refusal->hint, refusal->what, name);
}

static bool
judge_call(const struct judging *self, const FuncCall *call)
{
    size_t last = call->n_funcname - 1;
    const char *name = lm_tree_name(call->funcname[last]);
    size_t args =
        call->n_args + (call->agg_within_group ? call->n_agg_order : 0);

    if (call->over != NULL) {
        return lm_key_fail(self->trace, self->scope->source, call->location,
                           window_function.hint, window_function.what, name);
    }
    return judge_function(
        self, last > 0 ? lm_tree_name(call->funcname[last - 1]) : NULL, name,
        (int)args, call->location);
}

bool
lm_key_judge_of_row(struct trace *self, const struct scope *scope,
                    const char *name, int location)
{
    return judge_function(&(struct judging){self, scope, false}, NULL, name, 1,
                          location);
}

/* (value).name is name(value) where the value has no such field. */
static bool
judge_fields(const struct judging *self, const PgQuery__AIndirection *fields)
{
    for (size_t i = 0; i < fields->n_indirection; i++) {
        const char *name = lm_tree_name(fields->indirection[i]);

        if (name != NULL && !judge_function(self, NULL, name, LM_QUERY_FIELD,
                                            lm_tree_location(&fields->base)))
            return false;
    }
    return true;
}

/* -- expressions ------------------------------------------------------- */

/* 'now'::timestamptz, date 'today' and the like */
static bool
reads_clock(const PgQuery__TypeCast *cast)
{
    static const char *const types[] = {"date", "time", "timetz", "timestamp",
                                        "timestamptz"};
    static const char *const words[] = {"now", "today", "tomorrow",
                                        "yesterday"};
    const Node *arg = cast->arg;
    const char *type =
        lm_tree_last_name(cast->type_name->names, cast->type_name->n_names);
    bool is_time = false;

    for (size_t i = 0; type != NULL && i < LM_COUNT(types); i++)
        is_time = is_time || strcmp(type, types[i]) == 0;
    while (arg->node_case == PG_QUERY__NODE__NODE_TYPE_CAST)
        arg = arg->type_cast->arg;
    if (!is_time || arg->node_case != PG_QUERY__NODE__NODE_A_CONST ||
        arg->a_const->val_case != PG_QUERY__A__CONST__VAL_SVAL)
        return false;
    for (size_t i = 0; i < LM_COUNT(words); i++) {
        if (strcasestr(arg->a_const->sval->sval, words[i]) != NULL)
            return true;
    }
    return false;
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
    } else if (lm_tree_is(message, &pg_query__a__indirection__descriptor)) {
        ok = judge_fields(self, (const PgQuery__AIndirection *)message);
    } else if (lm_tree_is(message, &pg_query__sub_link__descriptor)) {
        ok =
            lm_key_fail(trace, source, lm_tree_location(message),
                        "The result of a subselect depends on other rows. Join "
                        "the table instead, and page by columns of tables.",
                        "a subselect", NULL);
    } else if (lm_tree_is(message, &pg_query__sqlvalue_function__descriptor) ||
               (lm_tree_is(message, &pg_query__type_cast__descriptor) &&
                reads_clock((const PgQuery__TypeCast *)message))) {
        ok = lm_key_fail(trace, source, lm_tree_location(message),
                         "Page by columns of a table: name them with "
                         "config.key.",
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

/* Does an expression of DISTINCT ON mean the output column, or the column of
 * that name behind a star? A number is a position; a bare name is that of an
 * output column where there is one. */
static bool
means_output(const SelectStmt *select, const Node *distinct,
             struct target target, const Node *output)
{
    const ColumnRef *ref = lm_tree_column(distinct);
    const ColumnRef *column = output != NULL ? lm_tree_column(output) : NULL;
    const char *name =
        ref != NULL ? lm_tree_last_name(ref->fields, ref->n_fields) : NULL;
    const Node *named = NULL;
    int number;

    if (lm_tree_integer(distinct, &number)) {
        named = lm_query_output_at(select, number - 1);
        return named != NULL && named == output;
    }
    if (name != NULL && ref->n_fields == 1)
        lm_query_find_output(select, name, &named);
    if (named != NULL)
        return output != NULL && lm_tree_same(&named->base, &output->base);
    if (output == NULL) {
        return name != NULL && target.name != NULL &&
               strcmp(name, target.name) == 0;
    }
    if (name != NULL && column != NULL) {
        const char *own = lm_tree_last_name(column->fields, column->n_fields);

        return own != NULL && strcmp(name, own) == 0 &&
               lm_query_same_source(select, ref, column);
    }
    return lm_tree_same(&output->base, &distinct->base);
}

bool
lm_key_judge_distinct(struct trace *self, const struct scope *scope,
                      struct target target, const Node *output)
{
    const SelectStmt *select = scope->select;

    if (!has_distinct_on(select))
        return true;
    for (size_t i = 0; i < select->n_distinct_clause; i++) {
        if (means_output(select, select->distinct_clause[i], target, output))
            return true;
    }
    return lm_key_fail(
        self, scope->source,
        lm_tree_list_location(select->distinct_clause,
                              select->n_distinct_clause),
        "DISTINCT ON may keep another row when rows change. Page by the "
        "columns of DISTINCT ON: name them with config.key.",
        "the row that DISTINCT ON keeps", NULL);
}
