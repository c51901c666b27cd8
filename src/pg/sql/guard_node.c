/* SPDX-License-Identifier: MIT */
/*
 * What the guard asks about single nodes of a tree.
 */

#include "pg/sql/guard_private.h"
#include "pg/sql/tree.h"

#include "base/mem.h"

#include <string.h>
#include <strings.h>

typedef PgQuery__Node Node;

/* -- conditions ------------------------------------------------------- */

/* Without a table's name before it, a column may be of any. But system_user is
 * none since PostgreSQL 16, which older grammars do not know. */
static bool
may_be_of(const PgQuery__ColumnRef *ref, const PgQuery__RangeVar *table)
{
    const char *name =
        table->alias != NULL ? table->alias->aliasname : table->relname;

    if (ref->n_fields == 1) {
        const char *column = lm_tree_name(ref->fields[0]);

        return column == NULL || strcmp(column, "system_user") != 0;
    }
    return strcmp(lm_tree_name(ref->fields[ref->n_fields - 2]), name) == 0;
}

/* A function may return anything, but for the time of the transaction and the
 * user. */
static bool
is_fixed(const PgQuery__FuncCall *call)
{
    return lm_guard_is_builtin(call, "system_user") ||
           lm_guard_is_builtin(call, "now") ||
           lm_guard_is_builtin(call, "transaction_timestamp") ||
           lm_guard_is_builtin(call, "statement_timestamp");
}

static enum lm_visit
visit_row_dependence(const ProtobufCMessage *message, void *data)
{
    bool found;

    if (lm_tree_is(message, &pg_query__column_ref__descriptor)) {
        found = may_be_of((const PgQuery__ColumnRef *)message, data);
    } else if (lm_tree_is(message, &pg_query__func_call__descriptor)) {
        found = !is_fixed((const PgQuery__FuncCall *)message);
    } else {
        found = lm_tree_is(message, &pg_query__range_var__descriptor) ||
                lm_tree_is(message, &pg_query__current_of_expr__descriptor);
    }
    return found ? LM_VISIT_FOUND : LM_VISIT_ON;
}

static bool
is_integer(const Node *node)
{
    return node != NULL && node->node_case == PG_QUERY__NODE__NODE_A_CONST &&
           node->a_const->val_case == PG_QUERY__A__CONST__VAL_IVAL;
}

/* false, NULL, 1 = 0: with these, lists of alternatives begin. */
static bool
hits_none(const Node *condition, bool negated)
{
    const PgQuery__AExpr *pair = condition->a_expr;

    if (condition->node_case == PG_QUERY__NODE__NODE_A_CONST) {
        const PgQuery__AConst *value = condition->a_const;

        return value->isnull ||
               (value->val_case == PG_QUERY__A__CONST__VAL_BOOLVAL &&
                value->boolval->boolval == negated);
    }
    return condition->node_case == PG_QUERY__NODE__NODE_A_EXPR &&
           pair->kind == PG_QUERY__A__EXPR__KIND__AEXPR_OP &&
           strcmp(lm_tree_last_name(pair->name, pair->n_name), "=") == 0 &&
           is_integer(pair->lexpr) && is_integer(pair->rexpr) &&
           (pair->lexpr->a_const->ival->ival ==
            pair->rexpr->a_const->ival->ival) == negated;
}

bool
lm_guard_is_constant(const Node *condition, const PgQuery__RangeVar *table)
{
    return !lm_tree_walk(&condition->base, visit_row_dependence, (void *)table);
}

/* Part of a condition that looks at the rows. A parameter beside others is a
 * switch: $1 IS NULL OR id = $1. */
static bool
is_always_true(const Node *part, const PgQuery__RangeVar *table, bool negated)
{
    return lm_guard_is_constant(part, table) && !hits_none(part, negated) &&
           !lm_tree_has(&part->base, &pg_query__param_ref__descriptor);
}

/* NOT turns OR into AND. */
static bool
folds_to_true(const Node *condition, const PgQuery__RangeVar *table,
              bool negated)
{
    const PgQuery__BoolExpr *parts = condition->bool_expr;
    bool any;

    if (condition->node_case != PG_QUERY__NODE__NODE_BOOL_EXPR)
        return is_always_true(condition, table, negated);
    if (parts->boolop == PG_QUERY__BOOL_EXPR_TYPE__NOT_EXPR)
        return folds_to_true(parts->args[0], table, !negated);
    any = (parts->boolop == PG_QUERY__BOOL_EXPR_TYPE__OR_EXPR) != negated;
    for (size_t i = 0; i < parts->n_args; i++) {
        if (folds_to_true(parts->args[i], table, negated) == any)
            return any;
    }
    return !any;
}

bool
lm_guard_may_hit_all(const Node *condition, const PgQuery__RangeVar *table)
{
    if (lm_guard_is_constant(condition, table))
        return !hits_none(condition, false);
    return folds_to_true(condition, table, false);
}

/* -- functions -------------------------------------------------------- */

bool
lm_guard_is_builtin(const PgQuery__FuncCall *call, const char *name)
{
    const char *schema;

    if (strcmp(lm_tree_last_name(call->funcname, call->n_funcname), name) != 0)
        return false;
    schema = lm_tree_name(call->funcname[0]);
    return call->n_funcname == 1 || strcmp(schema, "pg_catalog") == 0;
}

bool
lm_guard_is_false(const Node *value)
{
    static const char *const names[] = {"false", "off", "no", "0"};
    const PgQuery__AConst *constant = value->a_const;
    const char *text;

    if (value->node_case == PG_QUERY__NODE__NODE_NAMED_ARG_EXPR)
        return lm_guard_is_false(value->named_arg_expr->arg);
    if (value->node_case == PG_QUERY__NODE__NODE_TYPE_CAST)
        return lm_guard_is_false(value->type_cast->arg);
    if (value->node_case != PG_QUERY__NODE__NODE_A_CONST)
        return false;
    if (constant->isnull)
        return true;
    if (constant->val_case == PG_QUERY__A__CONST__VAL_BOOLVAL)
        return !constant->boolval->boolval;
    if (constant->val_case != PG_QUERY__A__CONST__VAL_SVAL)
        return false;
    text = constant->sval->sval;
    for (size_t i = 0; i < LM_COUNT(names); i++) {
        if (*text != '\0' && strncasecmp(names[i], text, strlen(text)) == 0)
            return true;
    }
    return false;
}

/* -- statements ------------------------------------------------------- */

static bool
has_option(Node *const *options, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(options[i]->def_elem->defname, name) == 0)
            return true;
    }
    return false;
}

static bool
reindex_needs_none(const PgQuery__ReindexStmt *reindex)
{
    return reindex->kind >
               PG_QUERY__REINDEX_OBJECT_TYPE__REINDEX_OBJECT_TABLE ||
           has_option(reindex->params, reindex->n_params, "concurrently");
}

static bool
is_off(const Node *value)
{
    if (value == NULL)
        return false;
    if (value->node_case == PG_QUERY__NODE__NODE_INTEGER)
        return value->integer->ival == 0;
    return value->node_case == PG_QUERY__NODE__NODE_STRING &&
           (strcasecmp(value->string->sval, "off") == 0 ||
            strcasecmp(value->string->sval, "false") == 0);
}

bool
lm_guard_executes(const PgQuery__ExplainStmt *explain)
{
    for (size_t i = 0; i < explain->n_options; i++) {
        const PgQuery__DefElem *option = explain->options[i]->def_elem;

        if (strcmp(option->defname, "analyze") == 0 && !is_off(option->arg))
            return true;
    }
    return false;
}

/* ALTER TABLE ... DETACH PARTITION ... CONCURRENTLY */
static bool
alter_needs_none(const PgQuery__AlterTableStmt *alter)
{
    for (size_t i = 0; i < alter->n_cmds; i++) {
        const Node *def = alter->cmds[i]->alter_table_cmd->def;

        if (def != NULL &&
            def->node_case == PG_QUERY__NODE__NODE_PARTITION_CMD &&
            def->partition_cmd->concurrent)
            return true;
    }
    return false;
}

bool
lm_guard_needs_no_transaction(const Node *node)
{
    switch ((int)node->node_case) {
    case PG_QUERY__NODE__NODE_VACUUM_STMT:
        return node->vacuum_stmt->is_vacuumcmd;
    case PG_QUERY__NODE__NODE_INDEX_STMT:
        return node->index_stmt->concurrent;
    case PG_QUERY__NODE__NODE_DROP_STMT:
        return node->drop_stmt->concurrent;
    case PG_QUERY__NODE__NODE_REINDEX_STMT:
        return reindex_needs_none(node->reindex_stmt);
    case PG_QUERY__NODE__NODE_ALTER_TABLE_STMT:
        return alter_needs_none(node->alter_table_stmt);
    case PG_QUERY__NODE__NODE_CLUSTER_STMT:
        return node->cluster_stmt->relation == NULL;
    case PG_QUERY__NODE__NODE_CREATEDB_STMT:
    case PG_QUERY__NODE__NODE_DROPDB_STMT:
    case PG_QUERY__NODE__NODE_CREATE_TABLE_SPACE_STMT:
    case PG_QUERY__NODE__NODE_DROP_TABLE_SPACE_STMT:
    case PG_QUERY__NODE__NODE_ALTER_SYSTEM_STMT:
        return true;
    default:
        return false;
    }
}
