/* SPDX-License-Identifier: MIT */
/*
 * Judges a statement by its parse tree.
 *
 * It lists the harmless kinds of statements; every other kind counts as DDL,
 * so none is forgotten. It looks for writes and for function calls in every
 * part that would be executed. If a statement has no tree, its words decide:
 * it passes if they can only mean a query. Never connects.
 */

#include "pg/sql/guard.h"

#include "pg/sql/guard_private.h"
#include "pg/sql/parse.h"
#include "pg/sql/tree.h"

typedef PgQuery__Node Node;

/* -- what may be charged ---------------------------------------------- */

/* The most serious first: the error names only one of them. */
enum rule {
    EMPTY,
    SEVERAL,
    TRANSACTION,
    OUTSIDE,
    COPY,
    SESSION,
    SET_CONFIG,
    ADVISORY_LOCK,
    DDL,
    UNJUDGED,
    UPDATE_ALL,
    DELETE_ALL,
    SAME_WHERE,
    SAME_ON,
    NO_SOURCE,
    NO_RULE
};

#define SAY_ALL                                                              \
    "Add a condition on a column. If you want every row, pass luamig.ALL: "  \
    "repo:execute(luamig.ALL, sql, ...), or luamig.ALL as the condition of " \
    "repo:update_all and repo:delete_all."

static const struct {
    enum lm_guard_refusal refusal;
    const char *message;
    const char *hint;
} rules[] = {
    [EMPTY] = {LM_GUARD_NEVER, "the statement is empty",
               "Pass one SQL statement."},
    [SEVERAL] = {LM_GUARD_NEVER, "the call has several statements",
                 "Pass each statement in a call of its own."},
    [TRANSACTION] = {LM_GUARD_NEVER,
                     "a script must not begin or end transactions",
                     "luamig runs each batch in one transaction. Use "
                     "repo:savepoint to try a statement that may fail."},
    [OUTSIDE] =
        {LM_GUARD_NEVER, "the statement cannot run inside a transaction",
         "luamig runs a script's statements in transactions. Run this "
         "statement before or after the migration, with psql for example."},
    [COPY] = {LM_GUARD_NEVER, "COPY cannot be used in a migration",
              "Use repo:insert or repo:insert_all."},
    [SESSION] =
        {LM_GUARD_NEVER, "a script must not change the session",
         "luamig may reconnect between two batches, and the new session does "
         "not have the change. Use SET LOCAL in each batch."},
    [SET_CONFIG] = {LM_GUARD_NEVER, "a script must not change the session",
                    "luamig may reconnect between two batches, and the new "
                    "session does not have the change. Call set_config in each "
                    "batch, and pass true as its third argument."},
    [ADVISORY_LOCK] =
        {LM_GUARD_NEVER, "a script must not hold a lock beyond its transaction",
         "luamig may reconnect between two batches, and the new session does "
         "not have the lock. Use pg_advisory_xact_lock, or a variant of it, in "
         "each batch."},
    [DDL] = {LM_GUARD_DDL,
             "DDL, TRUNCATE and LOCK are refused without config.allow_ddl",
             "Their locks keep other sessions from the table until the "
             "transaction ends. Change the schema before the migration, or set "
             "allow_ddl = true in the script's config."},
    [UNJUDGED] = {LM_GUARD_UNJUDGED, "",
                  "Make sure that the statement changes only the rows that it "
                  "should change. Then allow it: repo:execute(luamig.ALL, sql, "
                  "...), or allow_unjudged = true in the script's config."},
    [UPDATE_ALL] = {LM_GUARD_EVERY_ROW,
                    "UPDATE without WHERE would change every row", SAY_ALL},
    [DELETE_ALL] = {LM_GUARD_EVERY_ROW,
                    "DELETE without WHERE would delete every row", SAY_ALL},
    [SAME_WHERE] = {LM_GUARD_EVERY_ROW,
                    "the WHERE condition has the same result for every row",
                    SAY_ALL},
    [SAME_ON] = {LM_GUARD_EVERY_ROW,
                 "the ON condition of MERGE has the same result for every row",
                 SAY_ALL},
    [NO_SOURCE] =
        {LM_GUARD_EVERY_ROW,
         "MERGE would change every row that matches no row of its source",
         "Add a condition on a column: WHEN NOT MATCHED BY SOURCE AND ... "
         "THEN. If you want every row, pass luamig.ALL: "
         "repo:execute(luamig.ALL, sql, ...)."},
};

struct judging {
    const char *sql;
    unsigned allowed;
    int start; /* of the statement, in sql */
    struct lm_verdict *verdict;
    enum rule worst; /* of those that are not allowed */
    int location;
};

static void
refuse(struct judging *self, enum rule rule, int location)
{
    enum lm_guard_refusal kind = rules[rule].refusal;

    self->verdict->refusals |= kind;
    if ((kind & ~self->allowed) == 0 || rule >= self->worst)
        return;
    self->worst = rule;
    self->location = location;
}

static void
refuse_statement(struct judging *self, enum rule rule)
{
    refuse(self, rule, self->start);
}

/* -- conditions ------------------------------------------------------- */

static void
judge_where(struct judging *self, const PgQuery__RangeVar *table,
            const Node *where, enum rule without)
{
    if (where == NULL) {
        refuse(self, without, lm_tree_location(&table->base));
    } else if (lm_guard_is_constant(where, table) ||
               lm_guard_may_hit_all(where, table)) {
        refuse(self, SAME_WHERE, lm_tree_location(&where->base));
    }
}

/* MERGE's clauses: for rows of the table that have a partner, for those that
 * have none, for those that are yet to come. */
enum merge_match { MATCHED, WITHOUT_SOURCE, NEW };

static enum merge_match
match_of(const PgQuery__MergeWhenClause *when)
{
#if PG_VERSION_NUM >= 170000
    if (when->match_kind ==
        PG_QUERY__MERGE_MATCH_KIND__MERGE_WHEN_NOT_MATCHED_BY_TARGET)
        return NEW;
    return when->match_kind == PG_QUERY__MERGE_MATCH_KIND__MERGE_WHEN_MATCHED
               ? MATCHED
               : WITHOUT_SOURCE;
#else
    return when->matched ? MATCHED : NEW;
#endif
}

/* Updates, or deletes. */
static bool
changes(const PgQuery__MergeWhenClause *when)
{
    return when->command_type != PG_QUERY__CMD_TYPE__CMD_NOTHING &&
           when->command_type != PG_QUERY__CMD_TYPE__CMD_INSERT;
}

/*
 * Rows that match are those of ON, and of the clause's own condition. Rows
 * without a partner are all but those, perhaps all: only the clause's own
 * condition holds them together.
 */
static void
judge_merge(struct judging *self, const PgQuery__MergeStmt *merge)
{
    const PgQuery__RangeVar *table = merge->relation;
    const Node *on = merge->join_condition;
    bool on_hits_all = lm_guard_may_hit_all(on, table);

    for (size_t i = 0; i < merge->n_merge_when_clauses; i++) {
        const PgQuery__MergeWhenClause *when =
            merge->merge_when_clauses[i]->merge_when_clause;
        enum merge_match match = match_of(when);

        if (match == NEW || !changes(when) ||
            (when->condition != NULL &&
             !lm_guard_may_hit_all(when->condition, table)))
            continue;
        if (match == WITHOUT_SOURCE) {
            refuse(self, NO_SOURCE, lm_tree_location(&table->base));
        } else if (on_hits_all) {
            refuse(self, SAME_ON, lm_tree_location(&on->base));
        }
    }
}

/* -- functions -------------------------------------------------------- */

static void
judge_call(struct judging *self, const PgQuery__FuncCall *call)
{
    static const char *const locks[] = {
        "pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock",
        "pg_try_advisory_lock_shared"};

    for (size_t i = 0; i < LM_COUNT(locks); i++) {
        if (lm_guard_is_builtin(call, locks[i]))
            refuse(self, ADVISORY_LOCK, call->location);
    }
    if (!lm_guard_is_builtin(call, "set_config"))
        return;
    self->verdict->plain = false; /* it may be the search_path */
    self->verdict->keeps_columns = false;
    if (call->n_args == 3 && lm_guard_is_false(call->args[2]))
        refuse(self, SET_CONFIG, call->location);
}

/* -- statements ------------------------------------------------------- */

static enum lm_visit
visit_part(const ProtobufCMessage *message, void *data)
{
    struct judging *self = data;

    if (lm_tree_is(message, &pg_query__update_stmt__descriptor)) {
        const PgQuery__UpdateStmt *update =
            (const PgQuery__UpdateStmt *)message;

        judge_where(self, update->relation, update->where_clause, UPDATE_ALL);
    } else if (lm_tree_is(message, &pg_query__delete_stmt__descriptor)) {
        const PgQuery__DeleteStmt *delete_ =
            (const PgQuery__DeleteStmt *)message;

        judge_where(self, delete_->relation, delete_->where_clause, DELETE_ALL);
    } else if (lm_tree_is(message, &pg_query__merge_stmt__descriptor)) {
        judge_merge(self, (const PgQuery__MergeStmt *)message);
    } else if (lm_tree_is(message, &pg_query__func_call__descriptor)) {
        judge_call(self, (const PgQuery__FuncCall *)message);
    }
    return LM_VISIT_ON;
}

/* Judges all parts of a statement that is executed. */
static void
judge_parts(struct judging *self, const Node *node)
{
    lm_tree_walk(&node->base, visit_part, self);
}

static void
judge_ddl(struct judging *self)
{
    self->verdict->plain = self->verdict->keeps_columns = false;
    refuse_statement(self, DDL);
}

static void
judge_set(struct judging *self, const PgQuery__VariableSetStmt *set)
{
    /* SET TRANSACTION, SET SESSION CHARACTERISTICS AS TRANSACTION */
    if (set->kind == PG_QUERY__VARIABLE_SET_KIND__VAR_SET_MULTI) {
        refuse_statement(self, TRANSACTION);
    } else if (!set->is_local) {
        refuse_statement(self, SESSION);
    }
}

static void judge_statement(struct judging *self, const Node *node);

static void
judge_cursor(struct judging *self, const PgQuery__DeclareCursorStmt *cursor)
{
    enum { WITH_HOLD = 0x0020 }; /* CURSOR_OPT_HOLD of the parser */

    if ((cursor->options & WITH_HOLD) != 0)
        refuse_statement(self, SESSION);
    judge_statement(self, cursor->query);
}

/* The statements that are not about rows. */
static void
judge_utility(struct judging *self, const Node *node)
{
    switch ((int)node->node_case) {
    case PG_QUERY__NODE__NODE_EXPLAIN_STMT:
        if (lm_guard_executes(node->explain_stmt))
            judge_statement(self, node->explain_stmt->query);
        break;
    case PG_QUERY__NODE__NODE_DECLARE_CURSOR_STMT:
        judge_cursor(self, node->declare_cursor_stmt);
        break;
    case PG_QUERY__NODE__NODE_CREATE_TABLE_AS_STMT:
        judge_ddl(self);
        judge_statement(self, node->create_table_as_stmt->query);
        break;
    case PG_QUERY__NODE__NODE_VARIABLE_SET_STMT:
        judge_set(self, node->variable_set_stmt);
        break;
    case PG_QUERY__NODE__NODE_CALL_STMT:
        judge_parts(self, node);
        break;
    case PG_QUERY__NODE__NODE_DO_STMT: /* it may hold anything */
        self->verdict->keeps_columns = false;
        break;
    case PG_QUERY__NODE__NODE_VARIABLE_SHOW_STMT:
    case PG_QUERY__NODE__NODE_NOTIFY_STMT:
    case PG_QUERY__NODE__NODE_FETCH_STMT:
    case PG_QUERY__NODE__NODE_CLOSE_PORTAL_STMT:
    case PG_QUERY__NODE__NODE_CONSTRAINTS_SET_STMT:
    case PG_QUERY__NODE__NODE_VACUUM_STMT: /* ANALYZE */
        break;
    case PG_QUERY__NODE__NODE_TRANSACTION_STMT:
        refuse_statement(self, TRANSACTION);
        break;
    case PG_QUERY__NODE__NODE_COPY_STMT:
        refuse_statement(self, COPY);
        break;
    case PG_QUERY__NODE__NODE_DISCARD_STMT:
    case PG_QUERY__NODE__NODE_PREPARE_STMT:
    case PG_QUERY__NODE__NODE_EXECUTE_STMT:
    case PG_QUERY__NODE__NODE_DEALLOCATE_STMT:
    case PG_QUERY__NODE__NODE_LISTEN_STMT:
    case PG_QUERY__NODE__NODE_UNLISTEN_STMT:
    case PG_QUERY__NODE__NODE_LOAD_STMT:
        refuse_statement(self, SESSION);
        break;
    case PG_QUERY__NODE__NODE_LOCK_STMT:
        refuse_statement(self, DDL);
        break;
    default:
        judge_ddl(self);
        break;
    }
}

static void
judge_statement(struct judging *self, const Node *node)
{
    if (lm_guard_needs_no_transaction(node))
        refuse_statement(self, OUTSIDE);
    switch (node->node_case) {
    case PG_QUERY__NODE__NODE_SELECT_STMT:
        if (lm_tree_into(node->select_stmt) != NULL)
            judge_ddl(self);
        judge_parts(self, node);
        break;
    case PG_QUERY__NODE__NODE_INSERT_STMT:
    case PG_QUERY__NODE__NODE_UPDATE_STMT:
    case PG_QUERY__NODE__NODE_DELETE_STMT:
    case PG_QUERY__NODE__NODE_MERGE_STMT:
        judge_parts(self, node);
        break;
    default:
        self->verdict->plain = false;
        judge_utility(self, node);
        break;
    }
}

static void
judge_all(struct judging *self, const PgQuery__ParseResult *result)
{
    if (result->n_stmts == 0) {
        refuse(self, EMPTY, -1);
    } else if (result->n_stmts > 1) {
        refuse(self, SEVERAL,
               lm_parse_statement_start(self->sql, result->stmts[1]));
    } else {
        self->start = lm_parse_statement_start(self->sql, result->stmts[0]);
        judge_statement(self, result->stmts[0]->stmt);
    }
}

/* -- statements without a tree ---------------------------------------- */

static void
judge_words(struct judging *self)
{
    static const enum rule also[] = {
        [LM_WORDING_READS] = NO_RULE,           [LM_WORDING_WRITES] = NO_RULE,
        [LM_WORDING_OTHER] = NO_RULE,           [LM_WORDING_DDL] = DDL,
        [LM_WORDING_SESSION] = SESSION,         [LM_WORDING_COPY] = COPY,
        [LM_WORDING_TRANSACTION] = TRANSACTION, [LM_WORDING_OUTSIDE] = OUTSIDE};
    struct lm_reading reading;
    bool rows;

    lm_guard_read_words(self->sql, &reading);
    rows =
        reading.kind == LM_WORDING_READS || reading.kind == LM_WORDING_WRITES;
    self->verdict->plain = self->verdict->keeps_columns =
        rows && !reading.calls && !reading.several;
    if (rows && reading.several)
        refuse_statement(self, SEVERAL);
    if (reading.kind != LM_WORDING_READS)
        refuse_statement(self, UNJUDGED);
    if (also[reading.kind] != NO_RULE)
        refuse_statement(self, also[reading.kind]);
}

int
lm_guard_grammar(void)
{
    return lm_parse_grammar();
}

static void
describe_unjudged(const struct lm_parse_failure *failure, struct lm_err *err)
{
    if (failure->too_deep) {
        lm_err_set(
            err, LM_ERR_FAILED,
            "luamig cannot judge the statement: it is nested too deeply");
    } else {
        lm_err_set(err, LM_ERR_FAILED,
                   "luamig cannot judge the statement: it does not fit the "
                   "grammar of PostgreSQL %d, which luamig uses",
                   lm_parse_grammar());
    }
}

bool
lm_guard_judge(const char *sql, unsigned allowed, struct lm_verdict *out,
               struct lm_err *err)
{
    struct lm_parse_failure failure;
    PgQuery__ParseResult *result = lm_parse(sql, &failure);
    struct judging judging = {
        .sql = sql, .allowed = allowed, .verdict = out, .worst = NO_RULE};

    *out = (struct lm_verdict){.parsed = result != NULL};
    if (result == NULL) {
        judge_words(&judging);
    } else {
        out->plain = out->keeps_columns = true;
        judge_all(&judging, result);
        pg_query__parse_result__free_unpacked(result, NULL);
    }
    if (judging.worst == NO_RULE)
        return true;
    lm_err_set(err, LM_ERR_FAILED, "%s", rules[judging.worst].message);
    if (judging.worst == UNJUDGED)
        describe_unjudged(&failure, err);
    LM_ERR_COPY(err->sql, sql);
    lm_err_hint(err, "%s", rules[judging.worst].hint);
    if (out->parsed) {
        lm_parse_show_place(err, sql, judging.location);
    } else {
        lm_parse_show_failure(err, sql, &failure);
    }
    return false;
}
