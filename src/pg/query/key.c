/* SPDX-License-Identifier: MIT */
/*
 * Is the key constant? Traces each key column through the parse tree to the
 * source of its values: select lists, subselects, WITH queries, views at any
 * depth, set operations, joins. If a value depends on other rows, on the time
 * or on chance, it is another value on the next page, and luamig would
 * silently skip rows.
 *
 * If several columns may be meant, all of them are traced. Operators and casts
 * count as constant.
 */

#include "pg/query/key_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef PgQuery__Node Node;
typedef PgQuery__SelectStmt SelectStmt;

enum { MAX_VISITS = 10000, MAX_DEPTH = 500 };

bool
lm_key_visit_again(struct trace *self, const void *what, struct target target,
                   size_t *index)
{
    struct visit *visit;

    for (size_t i = 0; i < self->visit_count; i++) {
        visit = &self->visits[i];
        if (visit->what == what && visit->target.position == target.position &&
            visit->target.guess == target.guess &&
            (visit->target.name == target.name ||
             (visit->target.name != NULL && target.name != NULL &&
              strcmp(visit->target.name, target.name) == 0))) {
            *index = i;
            return true;
        }
    }
    *index = 0;
    if (self->visit_count == MAX_VISITS || self->depth == MAX_DEPTH) {
        self->is_cut_short = true;
        return true;
    }
    *index = self->visit_count;
    LM_ADD(self->visits, self->visit_count) =
        (struct visit){what, target, true};
    return false;
}

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

/* -- select lists -------------------------------------------------------- */

static const Node *
output_at(const SelectStmt *select, size_t i)
{
    return select->target_list[i]->res_target->val;
}

/* VALUES calls its columns column1, column2, ... */
static int
position_in_values(const SelectStmt *select, struct target target)
{
    const PgQuery__List *row = select->values_lists[0]->list;

    for (size_t i = 0; target.name != NULL && i < row->n_items; i++) {
        char name[32];

        snprintf(name, sizeof name, "column%zu", i + 1);
        if (strcmp(name, target.name) == 0)
            return (int)i;
    }
    return target.position;
}

/* The position of the column with this name; -1 if unknown. */
static int
position_of(const SelectStmt *select, struct target target)
{
    const Node *output = NULL;

    if (target.name == NULL)
        return target.position;
    while (select->larg != NULL)
        select = select->larg;
    if (select->n_values_lists > 0)
        return position_in_values(select, target);
    if (!lm_query_find_output(select, target.name, &output) || output == NULL)
        return -1;
    for (size_t i = 0; i < select->n_target_list; i++) {
        if (output_at(select, i) == output)
            return lm_query_output_at(select, (int)i) != NULL ? (int)i : -1;
    }
    return -1;
}

static bool
trace_values(struct trace *self, const struct scope *scope,
             struct target target, bool *found)
{
    const SelectStmt *select = scope->select;
    int position = position_in_values(select, target);

    if (target.name != NULL && position < 0)
        return true;
    *found = true;
    for (size_t i = 0; i < select->n_values_lists; i++) {
        const PgQuery__List *row = select->values_lists[i]->list;

        for (size_t j = 0; j < row->n_items; j++) {
            if ((position < 0 || (size_t)position == j) &&
                !lm_key_judge(self, scope, &row->items[j]->base, false))
                return false;
        }
    }
    return true;
}

/* The column may be one of those behind the stars. */
static bool
trace_stars(struct trace *self, const struct scope *scope, struct target target,
            bool *found)
{
    const SelectStmt *select = scope->select;

    for (size_t i = 0; i < select->n_target_list; i++) {
        const PgQuery__ColumnRef *star = lm_tree_column(output_at(select, i));

        if (star != NULL && lm_tree_is_star(star) &&
            !lm_key_trace_star(self, scope, star, target, found))
            return false;
    }
    return true;
}

/* Unknown which one: each may be it. */
static bool
trace_all(struct trace *self, const struct scope *scope, bool *found)
{
    const SelectStmt *select = scope->select;

    *found = true;
    for (size_t i = 0; i < select->n_target_list; i++) {
        if (!lm_key_judge(self, scope, &output_at(select, i)->base, false))
            return false;
    }
    return true;
}

/* The right part has its columns by position; what their names are is nothing.
 * Of what EXCEPT and INTERSECT return, all values come from the left. */
static bool
trace_set_operation(struct trace *self, const struct scope *scope,
                    struct target target, bool *found)
{
    const SelectStmt *select = scope->select;
    struct scope left = {select->larg, scope, scope->source, NULL, NULL};
    struct scope right = {select->rarg, scope, scope->source, NULL, NULL};
    bool also = false;
    int position = position_of(select, target);

    if (position >= 0)
        target = (struct target){NULL, position, target.guess};
    if (!lm_key_trace_output(self, &left, target, found))
        return false;
    if (!*found || select->op != PG_QUERY__SET_OPERATION__SETOP_UNION)
        return true;
    target.name = NULL;
    return lm_key_trace_output(self, &right, target, &also);
}

static bool
trace_select(struct trace *self, const struct scope *scope,
             struct target target, bool *found)
{
    const SelectStmt *select = scope->select;
    const Node *output = NULL;
    bool ok;

    if (select->op != PG_QUERY__SET_OPERATION__SETOP_NONE)
        return trace_set_operation(self, scope, target, found);
    if (select->n_values_lists > 0)
        return trace_values(self, scope, target, found);
    if (target.name == NULL) {
        output = lm_query_output_at(select, target.position);
    } else {
        lm_query_find_output(select, target.name, &output);
    }
    if (output != NULL) {
        *found = true;
        ok = lm_key_judge(self, scope, &output->base, false);
    } else {
        ok = target.name == NULL || trace_stars(self, scope, target, found);
        if (ok && !*found && (target.name == NULL || target.guess))
            ok = trace_all(self, scope, found);
    }
    return ok &&
           (!*found || lm_key_judge_distinct(self, scope, target, output));
}

bool
lm_key_trace_output(struct trace *self, const struct scope *scope,
                    struct target target, bool *found)
{
    size_t visit;
    bool here = false;

    if (lm_key_visit_again(self, scope->select, target, &visit)) {
        *found = *found || self->is_cut_short || self->visits[visit].found;
        return true;
    }
    self->depth++;
    if (!trace_select(self, scope, target, &here) ||
        (here && !lm_key_judge_limits(self, scope)))
        return false;
    self->depth--;
    self->visits[visit].found = here;
    *found = *found || here;
    return true;
}

/* -- the key --------------------------------------------------------------- */

static bool
fail_too_large(const struct trace *self)
{
    lm_err_set(self->err, LM_ERR_SCRIPT,
               "luamig cannot find out where the key column \"%s\" comes from: "
               "the base query is too large",
               self->key);
    return lm_err_hint(self->err, "Page by a column that comes through fewer "
                                  "subselects, WITH queries and views.");
}

static bool
trace_key(struct trace *self, const struct scope *scope)
{
    struct target target = {self->key, -1, false};
    bool found = false;

    self->visit_count = 0;
    self->depth = 0;
    if (!lm_key_trace_output(self, scope, target, &found))
        return false;
    target.guess = true;
    if (!found && !lm_key_trace_output(self, scope, target, &found))
        return false;
    if (!found && !lm_key_trace_output(self, scope, LM_KEY_ANY, &found))
        return false;
    return !self->is_cut_short || fail_too_large(self);
}

bool
lm_query_check_constant(const struct lm_query_shape *self, const char *sql,
                        const struct lm_query_key *key, int key_count,
                        const struct lm_query_catalog *catalog,
                        struct lm_err *err)
{
    struct trace trace = {.catalog = catalog, .err = err};
    struct source source = {sql, NULL};
    bool ok = true;

    if (self->tree == NULL)
        return true;
    for (int i = 0; ok && i < key_count; i++) {
        struct scope scope = {self->tree->select, NULL, &source, NULL, NULL};

        trace.key = key[i].column;
        trace.is_of_table = key[i].is_of_table;
        ok = trace_key(&trace, &scope);
    }
    trace.visit_count = 0;
    ok = ok && lm_key_refuse_samples(&trace, self->tree->select, source);
    for (size_t i = 0; i < trace.parsed_count; i++)
        pg_query__parse_result__free_unpacked(trace.parsed[i], NULL);
    free((void *)trace.parsed);
    free(trace.visits);
    return ok;
}
