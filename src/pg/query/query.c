/* SPDX-License-Identifier: MIT */
/*
 * Reads base queries: can this query be paged?
 *
 * Owns the tree of a shape. Never decides by text, never connects, never
 * rewrites a query.
 */

#include "pg/query/private.h"

#include <stdlib.h>
#include <string.h>

typedef PgQuery__SelectStmt SelectStmt;

static enum lm_visit
visit_write(const ProtobufCMessage *message, void *found)
{
    if (!lm_tree_is(message, &pg_query__insert_stmt__descriptor) &&
        !lm_tree_is(message, &pg_query__update_stmt__descriptor) &&
        !lm_tree_is(message, &pg_query__delete_stmt__descriptor) &&
        !lm_tree_is(message, &pg_query__merge_stmt__descriptor))
        return LM_VISIT_ON;
    *(const ProtobufCMessage **)found = message;
    return LM_VISIT_FOUND;
}

/* The first statement in the tree that writes, or NULL. */
static const ProtobufCMessage *
find_write(const ProtobufCMessage *message)
{
    const ProtobufCMessage *found = NULL;

    lm_tree_walk(message, visit_write, (void *)&found);
    return found;
}

/* -- refusing ---------------------------------------------------------- */

static bool
refuse(struct lm_err *err, const char *sql, int location, const char *message,
       const char *hint)
{
    lm_err_set(err, LM_ERR_SCRIPT, "base_query %s", message);
    lm_err_hint(err, "%s", hint);
    lm_parse_show_place(err, sql, location);
    return false;
}

/* FETCH FIRST ROW ONLY has no number to point at. */
static int
limit_location(const char *sql, const SelectStmt *select)
{
    int location = lm_tree_location(&select->limit_count->base);

    return location >= 0 ? location
                         : lm_parse_last_token(sql, PG_QUERY__TOKEN__FETCH);
}

/* What luamig adds to the query itself, or could not page over. */
static bool
check_clauses(const char *sql, const SelectStmt *select, struct lm_err *err)
{
    if (select->n_sort_clause > 0) {
        return refuse(
            err, sql,
            lm_tree_list_location(select->sort_clause, select->n_sort_clause),
            "must not have ORDER BY",
            "luamig pages through the rows in the order of the key. Remove "
            "ORDER BY, or name other key columns in config.key.");
    }
    if (select->limit_count != NULL) {
        return refuse(err, sql, limit_location(sql, select),
                      "must not have LIMIT or FETCH FIRST",
                      "luamig reads one batch at a time. Set "
                      "config.batch_size, or migrate fewer rows with a WHERE "
                      "condition or luamig run --limit.");
    }
    if (select->limit_offset != NULL) {
        return refuse(err, sql, lm_tree_location(&select->limit_offset->base),
                      "must not have OFFSET",
                      "To leave out the first rows, set config.start_after to "
                      "the key before the first row to migrate.");
    }
    if (select->n_locking_clause > 0) {
        return refuse(
            err, sql, lm_parse_last_token(sql, PG_QUERY__TOKEN__FOR),
            "must not lock rows (FOR UPDATE, FOR SHARE)",
            "Remove the clause. Under repeatable read, the default, luamig "
            "starts a batch again if another session changes one of its rows.");
    }
    return true;
}

static bool
check_select(const char *sql, const PgQuery__RawStmt *stmt, struct lm_err *err)
{
    const SelectStmt *select = lm_tree_select(stmt->stmt);
    const PgQuery__IntoClause *into;
    const ProtobufCMessage *write;

    if (select == NULL || select->n_values_lists > 0) {
        return refuse(err, sql, lm_parse_statement_start(sql, stmt),
                      "is not a SELECT",
                      "Write one SELECT that returns the rows to migrate. "
                      "Changes belong in migrate.");
    }
    into = lm_tree_into(select);
    if (into != NULL) {
        return refuse(err, sql, lm_tree_location(&into->base),
                      "must not be SELECT INTO",
                      "Remove INTO. The rows are passed to migrate.");
    }
    write = find_write(&select->base);
    if (write != NULL) {
        return refuse(err, sql, lm_tree_location(write),
                      "must not change rows in a WITH query",
                      "Write one SELECT that only reads. Changes belong in "
                      "migrate.");
    }
    return check_clauses(sql, select, err);
}

static bool
check_statements(const char *sql, const PgQuery__ParseResult *result,
                 struct lm_err *err)
{
    if (result->n_stmts == 0) {
        return refuse(err, sql, -1, "is empty",
                      "Write one SELECT that returns the rows to migrate.");
    }
    if (result->n_stmts > 1) {
        return refuse(err, sql, lm_parse_statement_start(sql, result->stmts[1]),
                      "contains more than one statement",
                      "Write one SELECT that returns the rows to migrate. "
                      "Statements to run before it belong in on_start.");
    }
    return check_select(sql, result->stmts[0], err);
}

static bool
is_space(char c)
{
    return c != '\0' && strchr(" \t\n\r\f\v", c) != NULL;
}

static char *
trimmed(const char *text, size_t len, bool semicolons)
{
    while (len > 0 && is_space(*text)) {
        text++;
        len--;
    }
    while (len > 0 &&
           (is_space(text[len - 1]) || (semicolons && text[len - 1] == ';')))
        len--;
    return lm_strndup(text, len);
}

static char *
statement_text(const char *sql, const PgQuery__RawStmt *stmt)
{
    const char *start = sql + lm_parse_text_start(sql, stmt);
    const char *end = stmt->stmt_len > 0
                          ? sql + stmt->stmt_location + stmt->stmt_len
                          : start + strlen(start);

    return trimmed(start, (size_t)(end - start), false);
}

bool
lm_query_inspect(const char *sql, struct lm_query_shape *out,
                 struct lm_err *err)
{
    PgQuery__ParseResult *result = lm_parse(sql, NULL);

    memset(out, 0, sizeof *out);
    if (result == NULL) {
        out->text = trimmed(sql, strlen(sql), true);
        return true;
    }
    if (!check_statements(sql, result, err)) {
        pg_query__parse_result__free_unpacked(result, NULL);
        return false;
    }
    out->parsed = true;
    out->text = statement_text(sql, result->stmts[0]);
    out->tree = lm_calloc(1, sizeof *out->tree);
    out->tree->result = result;
    out->tree->select = lm_tree_select(result->stmts[0]->stmt);
    return true;
}

void
lm_query_refuse_unparsed(const char *sql, const char *key, struct lm_err *err)
{
    struct lm_parse_failure failure;
    PgQuery__ParseResult *result = lm_parse(sql, &failure);

    if (result != NULL)
        pg_query__parse_result__free_unpacked(result, NULL);
    if (failure.too_deep) {
        lm_err_set(err, LM_ERR_SCRIPT,
                   "base_query cannot be analysed: it is nested too deeply");
    } else {
        lm_err_set(err, LM_ERR_SCRIPT,
                   "base_query cannot be analysed: it does not fit the grammar "
                   "of PostgreSQL %d, which luamig uses",
                   lm_parse_grammar());
    }
    lm_err_hint(err,
                "Put the query into a view and page that: SELECT * FROM "
                "that_view WHERE %s IS NOT NULL.",
                key);
    lm_parse_show_failure(err, sql, &failure);
}

void
lm_query_release(struct lm_query_shape *self)
{
    if (self->tree != NULL)
        pg_query__parse_result__free_unpacked(self->tree->result, NULL);
    free(self->tree);
    free(self->text);
    memset(self, 0, sizeof *self);
}

/* -- what others ask ---------------------------------------------------- */

void
lm_query_show_columns(const struct lm_query_shape *self, const char *sql,
                      struct lm_err *err)
{
    const SelectStmt *select = self->tree != NULL ? self->tree->select : NULL;

    if (select == NULL)
        return;
    while (select->larg != NULL)
        select = select->larg;
    lm_parse_show_place(
        err, sql,
        lm_tree_list_location(select->target_list, select->n_target_list));
}

struct calls {
    lm_query_call_fn each;
    void *arg;
};

static enum lm_visit
visit_call(const ProtobufCMessage *message, void *data)
{
    const PgQuery__FuncCall *call = (const PgQuery__FuncCall *)message;
    const struct calls *calls = data;

    if (lm_tree_is(message, &pg_query__func_call__descriptor)) {
        size_t last = call->n_funcname - 1;

        calls->each(last > 0 ? lm_tree_name(call->funcname[last - 1]) : NULL,
                    lm_tree_name(call->funcname[last]), calls->arg);
    }
    return LM_VISIT_ON;
}

void
lm_query_each_call(const struct lm_query_shape *self, lm_query_call_fn each,
                   void *arg)
{
    struct calls calls = {each, arg};

    if (self->tree != NULL)
        lm_tree_walk(&self->tree->select->base, visit_call, &calls);
}

static enum lm_visit
visit_table(const PgQuery__RangeVar *table, void *data)
{
    const struct calls *calls = data;

    calls->each(*table->schemaname != '\0' ? table->schemaname : NULL,
                table->relname, calls->arg);
    return LM_VISIT_ON;
}

void
lm_query_each_table(const struct lm_query_shape *self, lm_query_call_fn each,
                    void *arg)
{
    struct calls calls = {each, arg};

    if (self->tree != NULL)
        lm_query_walk_tables(self->tree->select, visit_table, &calls);
}
