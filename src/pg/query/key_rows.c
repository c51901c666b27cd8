/* SPDX-License-Identifier: MIT */
/* Refuses clauses that choose other rows for each page: OFFSET and LIMIT below
 * a key, samples, SKIP LOCKED; and views that cannot be parsed, if they may
 * have such a clause. */

#include "pg/query/key_private.h"
#include "pg/sql/words.h"

#include <string.h>

typedef PgQuery__Node Node;
typedef PgQuery__SelectStmt SelectStmt;

static void
refuse(const struct trace *self, const struct source *source, int location,
       const char *what, const char *hint)
{
    lm_err_set(self->err, LM_ERR_SCRIPT, "base_query must not have %s%s%s",
               what, source->view != NULL ? ", as in the view " : "",
               source->view != NULL ? source->view : "");
    lm_err_hint(self->err, "%s", hint);
    lm_parse_show_place(self->err, source->sql, location);
}

/* -- OFFSET, LIMIT --------------------------------------------------------- */

/* Is it nothing but columns = columns, as for a join? */
static bool
is_join(const Node *condition)
{
    const PgQuery__BoolExpr *both = condition->bool_expr;
    const PgQuery__AExpr *equal = condition->a_expr;

    if (condition->node_case == PG_QUERY__NODE__NODE_A_EXPR) {
        const char *name = lm_tree_last_name(equal->name, equal->n_name);

        return equal->kind == PG_QUERY__A__EXPR__KIND__AEXPR_OP &&
               strcmp(name, "=") == 0 && equal->lexpr != NULL &&
               lm_tree_has(&equal->lexpr->base,
                           &pg_query__column_ref__descriptor) &&
               lm_tree_has(&equal->rexpr->base,
                           &pg_query__column_ref__descriptor);
    }
    if (condition->node_case != PG_QUERY__NODE__NODE_BOOL_EXPR ||
        both->boolop != PG_QUERY__BOOL_EXPR_TYPE__AND_EXPR)
        return false;
    for (size_t i = 0; i < both->n_args; i++) {
        if (!is_join(both->args[i]))
            return false;
    }
    return true;
}

/* Is it, or is it inside, a subselect that looks up rows for an outer row? */
static bool
is_lateral(const struct scope *scope)
{
    for (const struct scope *at = scope->outer; at != NULL; at = at->outer) {
        if (at->until != NULL && at->until != at->select)
            return true;
    }
    return false;
}

/* What LIMIT takes its rows from. */
struct taking {
    struct trace *trace;
    const struct scope *scope;
    bool failed; /* the catalog has not answered */
};

static enum lm_visit visit_condition(const ProtobufCMessage *message,
                                     void *data);

/* The same in a WITH query, or in a view. */
static enum lm_visit
visit_range(struct taking *self, const PgQuery__RangeVar *range)
{
    static const struct target once = {"LIMIT", -1, false};
    struct trace *trace = self->trace;
    const struct scope *at = self->scope;
    const PgQuery__CommonTableExpr *with = lm_scope_find_with(&at, range);
    const struct lm_query_relation *relation = NULL;
    const SelectStmt *select = NULL;
    size_t visit;

    if (with == NULL &&
        !trace->catalog->relation(trace->catalog->arg, range->schemaname,
                                  range->relname, &relation, trace->err)) {
        self->failed = true;
        return LM_VISIT_FOUND;
    }
    if (with == NULL && (relation == NULL || relation->definition == NULL))
        return LM_VISIT_ON;
    if (lm_key_visit_again(trace, with != NULL ? (const void *)with : relation,
                           once, &visit))
        return LM_VISIT_ON;
    select = with != NULL ? lm_tree_select(with->ctequery)
                          : lm_key_parse_view(trace, relation->definition);
    return select == NULL || lm_tree_walk(&select->base, visit_condition, self)
               ? LM_VISIT_FOUND
               : LM_VISIT_ON;
}

/* Is it a condition that may say which rows are still to be migrated? */
static enum lm_visit
visit_condition(const ProtobufCMessage *message, void *data)
{
    const Node *condition = NULL;
    bool found = false;

    if (lm_tree_is(message, &pg_query__select_stmt__descriptor)) {
        const SelectStmt *select = (const SelectStmt *)message;

        condition = select->where_clause;
        found = select->having_clause != NULL;
    } else if (lm_tree_is(message, &pg_query__join_expr__descriptor)) {
        condition = ((const PgQuery__JoinExpr *)message)->quals;
    } else if (lm_tree_is(message, &pg_query__range_var__descriptor)) {
        return visit_range(data, (const PgQuery__RangeVar *)message);
    } else if (lm_tree_is(message, &pg_query__sub_link__descriptor)) {
        return LM_VISIT_SKIP;
    }
    found = found || (condition != NULL && !is_join(condition));
    return found ? LM_VISIT_FOUND : LM_VISIT_ON;
}

/* LIMIT takes the same rows each time as long as they have an order, and no
 * condition says which of them are still to be migrated. */
static bool
judge_limit(struct trace *self, const struct scope *scope)
{
    const SelectStmt *select = scope->select;
    const Node *limit = select->limit_count;
    struct taking taking = {self, scope, false};

    if (limit == NULL || (limit->node_case == PG_QUERY__NODE__NODE_A_CONST &&
                          limit->a_const->isnull))
        return true;
    if (select->n_sort_clause > 0 &&
        !lm_tree_walk(&select->base, visit_condition, &taking))
        return true;
    if (taking.failed)
        return false;
    refuse(
        self, scope->source, lm_tree_location(&limit->base),
        "LIMIT in the subselect that returns its key",
        is_lateral(scope)
            ? "LIMIT may choose other rows while rows are migrated. Page by "
              "the key of the outer row, for which the subselect looks up rows."
            : "LIMIT may choose other rows while rows are migrated. Add ORDER "
              "BY and move the conditions out of the subselect, or migrate "
              "fewer rows with luamig run --limit.");
    return false;
}

/* Rows that are left out by their number are other ones on each page. "OFFSET
 * 0" leaves out none. */
bool
lm_key_judge_limits(struct trace *self, const struct scope *scope)
{
    const Node *offset = scope->select->limit_offset;
    int number;

    if (offset == NULL || (lm_tree_integer(offset, &number) && number == 0))
        return judge_limit(self, scope);
    refuse(self, scope->source, lm_tree_location(&offset->base),
           "OFFSET in the subselect that returns its key",
           "OFFSET may leave out other rows while rows are migrated. Leave "
           "rows out by a condition, or set config.start_after.");
    return false;
}

/* -- views that cannot be read ---------------------------------------------- */

/* Does it have one of the words? They end with NULL. */
static bool
has_word(const char *sql, const char *const *words)
{
    struct lm_words at = {.next = sql};
    enum lm_word_kind kind;

    do {
        kind = lm_words_next(&at);
        if (kind == LM_WORD_PLAIN && lm_words_among(&at, words))
            return true;
    } while (kind != LM_WORD_END && kind != LM_WORD_BROKEN);
    return kind == LM_WORD_BROKEN;
}

static bool
fail_unread(const struct trace *self, const char *name)
{
    lm_err_set(self->err, LM_ERR_SCRIPT,
               "the key column \"%s\" is not known to be constant: the view "
               "\"%s\" cannot be analysed",
               self->key, name);
    lm_err_detail(self->err,
                  "Its definition does not fit the grammar of PostgreSQL %d, "
                  "which luamig uses.",
                  lm_parse_grammar());
    return lm_err_hint(
        self->err,
        "Page by a column of a table that the view returns unchanged. If the "
        "view has DISTINCT, LIMIT, OFFSET, TABLESAMPLE or SKIP LOCKED, move "
        "the newer SQL into another view, and let this view read that one.");
}

bool
lm_key_judge_unread(struct trace *self, const char *definition,
                    const char *name)
{
    static const char *const words[] = {"distinct", "limit", "fetch", "offset",
                                        NULL};

    return (self->is_of_table && !has_word(definition, words)) ||
           fail_unread(self, name);
}

/* -- samples ------------------------------------------------------------- */

struct sampling {
    struct trace *trace;
    const struct source *source;
};

static enum lm_visit
visit_sample(const ProtobufCMessage *message, void *data)
{
    const struct sampling *self = data;

    if (lm_tree_is(message, &pg_query__range_table_sample__descriptor)) {
        refuse(self->trace, self->source, lm_tree_location(message),
               "TABLESAMPLE",
               "Each page would read another sample. Choose rows by their key: "
               "WHERE id % 100 = 0.");
        return LM_VISIT_FOUND;
    }
    if (lm_tree_is(message, &pg_query__locking_clause__descriptor) &&
        ((const PgQuery__LockingClause *)message)->wait_policy ==
            PG_QUERY__LOCK_WAIT_POLICY__LockWaitSkip) {
        refuse(self->trace, self->source, -1, "SKIP LOCKED",
               "With SKIP LOCKED, luamig would never migrate the rows that "
               "other sessions have locked. Remove the clause: luamig starts "
               "a batch again if another session changes one of its rows.");
        return LM_VISIT_FOUND;
    }
    return LM_VISIT_ON;
}

static enum lm_visit
visit_table(const PgQuery__RangeVar *range, void *data)
{
    static const char *const words[] = {"tablesample", "skip", NULL};
    const struct sampling *self = data;
    const struct lm_query_relation *relation = NULL;
    struct trace *trace = self->trace;
    const SelectStmt *select;
    size_t visit;
    bool ok;

    if (!trace->catalog->relation(trace->catalog->arg, range->schemaname,
                                  range->relname, &relation, trace->err))
        return LM_VISIT_FOUND;
    if (relation == NULL || relation->definition == NULL ||
        lm_key_visit_again(trace, relation, LM_KEY_ANY, &visit))
        return LM_VISIT_ON;
    select = lm_key_parse_view(trace, relation->definition);
    if (select == NULL) {
        ok = !has_word(relation->definition, words) ||
             fail_unread(trace, range->relname);
    } else {
        ok = lm_key_refuse_samples(
            trace, select,
            (struct source){relation->definition, range->relname});
    }
    return ok ? LM_VISIT_ON : LM_VISIT_FOUND;
}

bool
lm_key_refuse_samples(struct trace *self, const SelectStmt *select,
                      struct source source)
{
    struct sampling sampling = {self, &source};

    return !lm_tree_walk(&select->base, visit_sample, &sampling) &&
           !lm_query_walk_tables(select, visit_table, &sampling);
}
