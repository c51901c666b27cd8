/* SPDX-License-Identifier: MIT */
/*
 * Reads SQL with libpg_query and answers questions about the parse tree.
 *
 * Owns the tree that a shape keeps. Promises that a proof which answers true
 * holds whatever the catalog says; what it cannot see it does not prove. Never
 * decides by text, never connects, never rewrites a query.
 *
 * Trees are walked through protobuf's own description of each message, so that
 * no kind of node can be forgotten. Parser and walks recurse; the parser has
 * no limit of its own and would overflow the stack, so the nesting is estimated
 * from the tokens first.
 */

#include "pg/query.h"

#include <pg_query.h>
#include <pg_query/pg_query.pb-c.h>
#include <stdlib.h>
#include <string.h>

typedef PgQuery__Node Node;
typedef PgQuery__SelectStmt SelectStmt;
typedef PgQuery__ColumnRef ColumnRef;
typedef PgQuery__ResTarget ResTarget;
typedef PgQuery__JoinExpr JoinExpr;

struct lm_query_tree {
    PgQuery__ParseResult *result;
    const SelectStmt *select;
};

enum {
    SHORT_TEXT = 1500,  /* cannot nest deeper than MAX_NESTING */
    MAX_NESTING = 1500, /* takes about half of a stack of 8 MB */
    MAX_BRACKETS = 750,
    EXCERPT_BEFORE = 50, /* bytes of a long line shown around an error */
    EXCERPT_AFTER = 40
};

/* The parser */

/* How deep the tree may become: every operator or keyword can put one more
 * level above what stands to its left, until a comma or bracket ends it. */
struct nesting {
    int chain[MAX_BRACKETS + 1];   /* since the last comma */
    int longest[MAX_BRACKETS + 1]; /* of the chains so far */
    int open;
};

static int
close_chain(struct nesting *self)
{
    int *longest = &self->longest[self->open];

    if (self->chain[self->open] > *longest)
        *longest = self->chain[self->open];
    self->chain[self->open] = 0;
    return *longest;
}

static bool
count_token(struct nesting *self, PgQuery__Token token)
{
    int inner;

    switch ((int)token) {
    case '(':
    case '[':
        if (self->open == MAX_BRACKETS)
            return false;
        self->open++;
        self->chain[self->open] = self->longest[self->open] = 0;
        return true;
    case ')':
    case ']':
        inner = close_chain(self);
        if (self->open > 0)
            self->open--;
        self->chain[self->open] += inner + 1;
        return true;
    case ',':
        close_chain(self);
        return true;
    case '.':
    case ';':
    case PG_QUERY__TOKEN__IDENT:
    case PG_QUERY__TOKEN__UIDENT:
    case PG_QUERY__TOKEN__FCONST:
    case PG_QUERY__TOKEN__SCONST:
    case PG_QUERY__TOKEN__USCONST:
    case PG_QUERY__TOKEN__BCONST:
    case PG_QUERY__TOKEN__XCONST:
    case PG_QUERY__TOKEN__ICONST:
    case PG_QUERY__TOKEN__PARAM:
    case PG_QUERY__TOKEN__SQL_COMMENT:
    case PG_QUERY__TOKEN__C_COMMENT:
        return true;
    default:
        self->chain[self->open]++;
        return true;
    }
}

/* NULL when the text cannot even be cut into tokens. */
static PgQuery__ScanResult *
scan(const char *sql)
{
    PgQueryScanResult raw = pg_query_scan(sql);
    PgQuery__ScanResult *tokens = NULL;

    if (raw.error == NULL) {
        tokens = pg_query__scan_result__unpack(NULL, raw.pbuf.len,
                                               (const uint8_t *)raw.pbuf.data);
    }
    pg_query_free_scan_result(raw);
    return tokens;
}

static bool
may_parse(const char *sql)
{
    struct nesting nesting = {.open = 0};
    PgQuery__ScanResult *tokens;
    bool fits;

    if (strlen(sql) <= SHORT_TEXT)
        return true;
    tokens = scan(sql);
    fits = tokens != NULL;
    for (size_t i = 0; fits && i < tokens->n_tokens; i++)
        fits = count_token(&nesting, tokens->tokens[i]->token);
    if (tokens != NULL)
        pg_query__scan_result__free_unpacked(tokens, NULL);
    while (fits && nesting.open > 0)
        count_token(&nesting, (PgQuery__Token)')');
    return fits && close_chain(&nesting) <= MAX_NESTING;
}

/* NULL when the text is left to the server to judge. */
static PgQuery__ParseResult *
parse(const char *sql)
{
    PgQueryProtobufParseResult raw;
    PgQuery__ParseResult *result = NULL;

    if (!may_parse(sql))
        return NULL;
    raw = pg_query_parse_protobuf(sql);
    if (raw.error == NULL) {
        result = pg_query__parse_result__unpack(
            NULL, raw.parse_tree.len, (const uint8_t *)raw.parse_tree.data);
    }
    pg_query_free_protobuf_parse_result(raw);
    return result;
}

/* Walking a tree */

enum visit { VISIT_ON, VISIT_SKIP, VISIT_FOUND };

typedef enum visit (*visit_fn)(const ProtobufCMessage *message, void *data);

static const void *
member(const ProtobufCMessage *message, unsigned offset)
{
    return (const char *)message + offset;
}

/* The messages in one field of a message; returns how many. */
static size_t
children(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
         ProtobufCMessage *const **out)
{
    if (field->type != PROTOBUF_C_TYPE_MESSAGE)
        return 0;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        *out =
            *(ProtobufCMessage *const *const *)member(message, field->offset);
        return *(const size_t *)member(message, field->quantifier_offset);
    }
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
        *(const uint32_t *)member(message, field->quantifier_offset) !=
            field->id)
        return 0;
    *out = (ProtobufCMessage *const *)member(message, field->offset);
    return **out != NULL ? 1 : 0;
}

/* Visits message and all below it, parents first, until one is FOUND. */
static bool
walk(const ProtobufCMessage *message, visit_fn visit, void *data)
{
    const ProtobufCMessageDescriptor *kind = message->descriptor;
    enum visit seen = visit(message, data);

    if (seen != VISIT_ON)
        return seen == VISIT_FOUND;
    for (unsigned i = 0; i < kind->n_fields; i++) {
        ProtobufCMessage *const *child = NULL;
        size_t count = children(message, &kind->fields[i], &child);

        for (size_t j = 0; j < count; j++) {
            if (walk(child[j], visit, data))
                return true;
        }
    }
    return false;
}

static bool
walk_list(Node *const *nodes, size_t count, visit_fn visit, void *data)
{
    for (size_t i = 0; i < count; i++) {
        if (walk(&nodes[i]->base, visit, data))
            return true;
    }
    return false;
}

static bool
is_a(const ProtobufCMessage *message, const ProtobufCMessageDescriptor *kind)
{
    return message->descriptor == kind;
}

static enum visit
visit_write(const ProtobufCMessage *message, void *found)
{
    if (!is_a(message, &pg_query__insert_stmt__descriptor) &&
        !is_a(message, &pg_query__update_stmt__descriptor) &&
        !is_a(message, &pg_query__delete_stmt__descriptor) &&
        !is_a(message, &pg_query__merge_stmt__descriptor))
        return VISIT_ON;
    *(const ProtobufCMessage **)found = message;
    return VISIT_FOUND;
}

/* The first statement in the tree that writes, or NULL. */
static const ProtobufCMessage *
find_write(const ProtobufCMessage *message)
{
    const ProtobufCMessage *found = NULL;

    walk(message, visit_write, (void *)&found);
    return found;
}

static enum visit
visit_location(const ProtobufCMessage *message, void *first)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor,
                                                        "location");
    int *least = first;
    int32_t location;

    if (field == NULL || field->type != PROTOBUF_C_TYPE_INT32)
        return VISIT_ON;
    location = *(const int32_t *)member(message, field->offset);
    if (location > 0 && (*least < 0 || location < *least))
        *least = location;
    return VISIT_ON;
}

/* Where the text of a tree begins, roughly; -1 when no node says. */
static int
first_location(const ProtobufCMessage *message)
{
    int least = -1;

    walk(message, visit_location, &least);
    return least;
}

/* Are two expressions the same but for where they stand? */
static bool same_tree(const ProtobufCMessage *a, const ProtobufCMessage *b);

static bool
same_field(const ProtobufCMessage *a, const ProtobufCMessage *b,
           const ProtobufCFieldDescriptor *field)
{
    ProtobufCMessage *const *children_a = NULL;
    ProtobufCMessage *const *children_b = NULL;
    const void *value_a = member(a, field->offset);
    const void *value_b = member(b, field->offset);
    size_t count = children(a, field, &children_a);

    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        if (count != children(b, field, &children_b))
            return false;
        for (size_t i = 0; i < count; i++) {
            if (!same_tree(children_a[i], children_b[i]))
                return false;
        }
        return true;
    case PROTOBUF_C_TYPE_STRING:
        return field->label != PROTOBUF_C_LABEL_REPEATED &&
               strcmp(*(char *const *)value_a, *(char *const *)value_b) == 0;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_BOOL:
        return field->label != PROTOBUF_C_LABEL_REPEATED &&
               memcmp(value_a, value_b, sizeof(int32_t)) == 0;
    default:
        return false;
    }
}

static bool
same_tree(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    const ProtobufCMessageDescriptor *kind = a->descriptor;

    if (kind != b->descriptor)
        return false;
    for (unsigned i = 0; i < kind->n_fields; i++) {
        if (strcmp(kind->fields[i].name, "location") != 0 &&
            !same_field(a, b, &kind->fields[i]))
            return false;
    }
    return true;
}

/* What kind of statement */

static const SelectStmt *
as_select(const Node *node)
{
    return node->node_case == PG_QUERY__NODE__NODE_SELECT_STMT
               ? node->select_stmt
               : NULL;
}

/* SELECT INTO, also when a set operation follows: it stands at the left. */
static const PgQuery__IntoClause *
find_into(const SelectStmt *select)
{
    while (select->larg != NULL)
        select = select->larg;
    return select->into_clause;
}

static enum lm_query_kind
set_kind(const PgQuery__VariableSetStmt *set)
{
    if (set->kind == PG_QUERY__VARIABLE_SET_KIND__VAR_SET_MULTI &&
        strncmp(set->name, "TRANSACTION", strlen("TRANSACTION")) == 0)
        return LM_QUERY_TRANSACTION;
    return set->is_local ? LM_QUERY_OTHER : LM_QUERY_SESSION;
}

static enum lm_query_kind
cursor_kind(const PgQuery__DeclareCursorStmt *cursor)
{
    enum { WITH_HOLD = 0x0020 }; /* CURSOR_OPT_HOLD of the parser */

    return (cursor->options & WITH_HOLD) != 0 ? LM_QUERY_SESSION
                                              : LM_QUERY_OTHER;
}

/* The statements that are not about rows. */
static enum lm_query_kind
utility_kind(const Node *node)
{
    switch ((int)node->node_case) {
    case PG_QUERY__NODE__NODE_TRANSACTION_STMT:
        return LM_QUERY_TRANSACTION;
    case PG_QUERY__NODE__NODE_VARIABLE_SET_STMT:
        return set_kind(node->variable_set_stmt);
    case PG_QUERY__NODE__NODE_DECLARE_CURSOR_STMT:
        return cursor_kind(node->declare_cursor_stmt);
    case PG_QUERY__NODE__NODE_DISCARD_STMT:
    case PG_QUERY__NODE__NODE_PREPARE_STMT:
    case PG_QUERY__NODE__NODE_EXECUTE_STMT:
    case PG_QUERY__NODE__NODE_DEALLOCATE_STMT:
    case PG_QUERY__NODE__NODE_LISTEN_STMT:
    case PG_QUERY__NODE__NODE_UNLISTEN_STMT:
    case PG_QUERY__NODE__NODE_LOAD_STMT:
        return LM_QUERY_SESSION;
    case PG_QUERY__NODE__NODE_COPY_STMT:
        return LM_QUERY_COPY;
    default:
        return LM_QUERY_OTHER;
    }
}

static enum lm_query_kind
statement_kind(const Node *node)
{
    switch (node->node_case) {
    case PG_QUERY__NODE__NODE_SELECT_STMT:
        if (find_into(node->select_stmt) != NULL)
            return LM_QUERY_OTHER;
        return find_write(&node->base) != NULL ? LM_QUERY_WRITE
                                               : LM_QUERY_SELECT;
    case PG_QUERY__NODE__NODE_INSERT_STMT:
    case PG_QUERY__NODE__NODE_UPDATE_STMT:
    case PG_QUERY__NODE__NODE_DELETE_STMT:
    case PG_QUERY__NODE__NODE_MERGE_STMT:
        return LM_QUERY_WRITE;
    default:
        return utility_kind(node);
    }
}

enum lm_query_kind
lm_query_classify(const char *sql)
{
    PgQuery__ParseResult *result = parse(sql);
    enum lm_query_kind kind;

    if (result == NULL)
        return LM_QUERY_UNPARSED;
    if (result->n_stmts == 0) {
        kind = LM_QUERY_EMPTY;
    } else if (result->n_stmts > 1) {
        kind = LM_QUERY_MULTIPLE;
    } else {
        kind = statement_kind(result->stmts[0]->stmt);
    }
    pg_query__parse_result__free_unpacked(result, NULL);
    return kind;
}

/* Refusing a base query */

static bool
is_continuation(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* Puts the line of SQL into the detail, with a caret below the place. */
static void
show_place(struct lm_err *err, const char *sql, int location)
{
    struct lm_buf buf = LM_BUF_INIT;
    const char *line = sql;
    const char *place;
    const char *start;
    const char *end;
    int number = 1;
    size_t indent;

    if (location < 0 || (size_t)location > strlen(sql))
        return;
    place = sql + location;
    for (const char *c = sql; c < place; c++) {
        if (*c == '\n') {
            line = c + 1;
            number++;
        }
    }
    start = place - line > EXCERPT_BEFORE ? place - EXCERPT_BEFORE : line;
    while (start < place && is_continuation(*start))
        start++;
    end = place + strcspn(place, "\r\n");
    if (end - place > EXCERPT_AFTER)
        end = place + EXCERPT_AFTER;
    while (end > place && is_continuation(*end))
        end--;
    lm_buf_printf(&buf, "LINE %d: %s", number, start > line ? "..." : "");
    indent = buf.len;
    lm_buf_add(&buf, start, (size_t)(end - start));
    if (*end != '\0' && *end != '\r' && *end != '\n')
        lm_buf_puts(&buf, "...");
    lm_buf_printf(&buf, "\n%*s", (int)indent, "");
    for (const char *c = start; c < place; c++) {
        if (!is_continuation(*c))
            lm_buf_putc(&buf, *c == '\t' ? '\t' : ' ');
    }
    lm_buf_putc(&buf, '^');
    lm_err_detail(err, "%s", lm_buf_text(&buf));
    lm_buf_release(&buf);
}

static bool
refuse(struct lm_err *err, const char *sql, int location, const char *message,
       const char *hint)
{
    lm_err_set(err, LM_ERR_SCRIPT, "base_query %s", message);
    lm_err_hint(err, "%s", hint);
    show_place(err, sql, location);
    return false;
}

/* The first token of a statement: the parser counts the comments before it as
 * part of it. */
static int
statement_start(const char *sql, const PgQuery__RawStmt *stmt)
{
    PgQuery__ScanResult *tokens = scan(sql);
    int start = -1;

    if (tokens == NULL)
        return -1;
    for (size_t i = 0; start < 0 && i < tokens->n_tokens; i++) {
        const PgQuery__ScanToken *token = tokens->tokens[i];

        if (token->start >= stmt->stmt_location &&
            token->token != PG_QUERY__TOKEN__SQL_COMMENT &&
            token->token != PG_QUERY__TOKEN__C_COMMENT)
            start = token->start;
    }
    pg_query__scan_result__free_unpacked(tokens, NULL);
    return start;
}

static int
list_location(Node *const *nodes, size_t count)
{
    int least = -1;

    walk_list(nodes, count, visit_location, &least);
    return least;
}

/* What luamig adds to the query itself, or could not page over. */
static bool
check_clauses(const char *sql, const SelectStmt *select, struct lm_err *err)
{
    if (select->n_sort_clause > 0) {
        return refuse(
            err, sql, list_location(select->sort_clause, select->n_sort_clause),
            "must not have ORDER BY",
            "luamig pages through the rows in the order of the key. Remove "
            "ORDER BY, or name other key columns in config.key.");
    }
    if (select->limit_count != NULL) {
        return refuse(err, sql, first_location(&select->limit_count->base),
                      "must not have LIMIT or FETCH FIRST",
                      "luamig reads one batch at a time. Set "
                      "config.batch_size, or migrate fewer rows with a WHERE "
                      "condition or luamig run --limit.");
    }
    if (select->limit_offset != NULL) {
        return refuse(err, sql, first_location(&select->limit_offset->base),
                      "must not have OFFSET",
                      "To leave out the first rows, set config.start_after "
                      "to the key that precedes those to migrate.");
    }
    if (select->n_locking_clause > 0) {
        return refuse(
            err, sql,
            list_location(select->locking_clause, select->n_locking_clause),
            "must not lock rows (FOR UPDATE, FOR SHARE)",
            "Remove the clause. Under repeatable read, the default, a row that "
            "someone else changes meanwhile makes the batch start again.");
    }
    return true;
}

static bool
check_select(const char *sql, const PgQuery__RawStmt *stmt, struct lm_err *err)
{
    const SelectStmt *select = as_select(stmt->stmt);
    const PgQuery__IntoClause *into;
    const ProtobufCMessage *write;

    if (select == NULL || select->n_values_lists > 0) {
        return refuse(err, sql, statement_start(sql, stmt), "is not a SELECT",
                      "Write one SELECT that returns the rows to migrate. "
                      "Changes belong in migrate.");
    }
    into = find_into(select);
    if (into != NULL) {
        return refuse(err, sql, first_location(&into->base),
                      "must not be SELECT INTO",
                      "Remove INTO. The rows are passed to migrate.");
    }
    write = find_write(&select->base);
    if (write != NULL) {
        return refuse(err, sql, first_location(write),
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
        return refuse(err, sql, statement_start(sql, result->stmts[1]),
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
    const char *start = sql + stmt->stmt_location;

    return trimmed(start,
                   stmt->stmt_len > 0 ? (size_t)stmt->stmt_len : strlen(start),
                   false);
}

bool
lm_query_inspect(const char *sql, struct lm_query_shape *out,
                 struct lm_err *err)
{
    PgQuery__ParseResult *result = parse(sql);

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
    out->tree->select = as_select(result->stmts[0]->stmt);
    return true;
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

/* Proofs: what the tree must not contain */

static enum visit
visit_grouping_set(const ProtobufCMessage *message, void *data)
{
    (void)data;
    return is_a(message, &pg_query__grouping_set__descriptor) ? VISIT_FOUND
                                                              : VISIT_ON;
}

/* Volatile functions and subqueries have another value each time. */
static enum visit
visit_call(const ProtobufCMessage *message, void *data)
{
    (void)data;
    return is_a(message, &pg_query__func_call__descriptor) ||
                   is_a(message, &pg_query__sub_link__descriptor)
               ? VISIT_FOUND
               : VISIT_ON;
}

/* A subquery in the select list is one value, whatever it calls inside. */
static enum visit
visit_set_returning(const ProtobufCMessage *message, void *data)
{
    (void)data;
    if (is_a(message, &pg_query__select_stmt__descriptor))
        return VISIT_SKIP;
    return is_a(message, &pg_query__func_call__descriptor) ? VISIT_FOUND
                                                           : VISIT_ON;
}

/* Joins of this query that merge columns of the same name into one. */
static enum visit
visit_merging_join(const ProtobufCMessage *message, void *data)
{
    const JoinExpr *join = (const JoinExpr *)message;

    (void)data;
    if (is_a(message, &pg_query__select_stmt__descriptor))
        return VISIT_SKIP;
    if (!is_a(message, &pg_query__join_expr__descriptor))
        return VISIT_ON;
    return join->is_natural || join->n_using_clause > 0 ? VISIT_FOUND
                                                        : VISIT_ON;
}

/* Whatever can turn a NOT NULL column into NULL on its way up. */
static enum visit
visit_null_maker(const ProtobufCMessage *message, void *data)
{
    bool found = false;

    (void)data;
    if (is_a(message, &pg_query__join_expr__descriptor)) {
        found = ((const JoinExpr *)message)->jointype !=
                PG_QUERY__JOIN_TYPE__JOIN_INNER;
    } else if (is_a(message, &pg_query__select_stmt__descriptor)) {
        found = ((const SelectStmt *)message)->op !=
                PG_QUERY__SET_OPERATION__SETOP_NONE;
    } else {
        found = is_a(message, &pg_query__grouping_set__descriptor);
    }
    return found ? VISIT_FOUND : VISIT_ON;
}

/* A subselect that may read columns of its neighbours in FROM. */
static enum visit
visit_lateral(const ProtobufCMessage *message, void *data)
{
    (void)data;
    return is_a(message, &pg_query__range_subselect__descriptor) &&
                   ((const PgQuery__RangeSubselect *)message)->lateral
               ? VISIT_FOUND
               : VISIT_ON;
}

static bool
makes_null(const ProtobufCMessage *message)
{
    return walk(message, visit_null_maker, NULL);
}

/* Proofs: names */

/* NULL for a star, which is never the name of anything. */
static const char *
name_of(const Node *node)
{
    return node->node_case == PG_QUERY__NODE__NODE_STRING ? node->string->sval
                                                          : NULL;
}

static const char *
last_name(Node *const *names, size_t count)
{
    return count > 0 ? name_of(names[count - 1]) : NULL;
}

static bool
is_star(const ColumnRef *ref)
{
    return last_name(ref->fields, ref->n_fields) == NULL;
}

/* The table name or alias before the column, or NULL. */
static const char *
qualifier(const ColumnRef *ref)
{
    return ref->n_fields > 1 ? name_of(ref->fields[ref->n_fields - 2]) : NULL;
}

static const ColumnRef *
as_column(const Node *node)
{
    return node->node_case == PG_QUERY__NODE__NODE_COLUMN_REF ? node->column_ref
                                                              : NULL;
}

/* The name that the server gives to an expression without alias: "" when it
 * is ?column?, NULL when it takes more to find out. */
static const char *
implied_name(const Node *node)
{
    const char *name;

    switch (node->node_case) {
    case PG_QUERY__NODE__NODE_COLUMN_REF:
        return last_name(node->column_ref->fields, node->column_ref->n_fields);
    case PG_QUERY__NODE__NODE_FUNC_CALL:
        return last_name(node->func_call->funcname,
                         node->func_call->n_funcname);
    case PG_QUERY__NODE__NODE_COALESCE_EXPR:
        return "coalesce";
    case PG_QUERY__NODE__NODE_COLLATE_CLAUSE:
        return implied_name(node->collate_clause->arg);
    case PG_QUERY__NODE__NODE_TYPE_CAST:
        name = implied_name(node->type_cast->arg);
        if (name == NULL || *name != '\0')
            return name;
        return last_name(node->type_cast->type_name->names,
                         node->type_cast->type_name->n_names);
    case PG_QUERY__NODE__NODE_A_EXPR:
        return node->a_expr->kind == PG_QUERY__A__EXPR__KIND__AEXPR_NULLIF
                   ? "nullif"
                   : "";
    case PG_QUERY__NODE__NODE_A_CONST:
    case PG_QUERY__NODE__NODE_PARAM_REF:
    case PG_QUERY__NODE__NODE_BOOL_EXPR:
    case PG_QUERY__NODE__NODE_NULL_TEST:
    case PG_QUERY__NODE__NODE_BOOLEAN_TEST:
        return "";
    default:
        return NULL;
    }
}

/*
 * What gives the output column: an expression of the select list (*out), or
 * one of its stars (*out is NULL). False when that cannot be told.
 */
static bool
find_output(const SelectStmt *select, const char *column, const Node **out)
{
    bool star = false;
    bool unknown = false;

    *out = NULL;
    for (size_t i = 0; i < select->n_target_list; i++) {
        const ResTarget *target = select->target_list[i]->res_target;
        const ColumnRef *ref = as_column(target->val);
        const char *name =
            *target->name != '\0' ? target->name : implied_name(target->val);

        if (ref != NULL && is_star(ref)) {
            star = true;
        } else if (name == NULL) {
            unknown = true;
        } else if (strcmp(name, column) == 0) {
            *out = target->val;
            return true;
        }
    }
    return star && !unknown;
}

/*
 * Do two column references or stars, of one name, look into the same table?
 * "id" and "u.id" do, since the server refuses an ambiguous id, unless a join
 * with USING makes an id of its own out of two.
 */
static bool
same_source(const SelectStmt *select, const ColumnRef *a, const ColumnRef *b)
{
    size_t count_a = a->n_fields;
    size_t count_b = b->n_fields;

    if (count_a == 1 && count_b == 1)
        return true;
    if (count_a == 1 || count_b == 1) {
        return !walk_list(select->from_clause, select->n_from_clause,
                          visit_merging_join, NULL);
    }
    while (count_a > 1 && count_b > 1) {
        const char *name_a = name_of(a->fields[--count_a - 1]);
        const char *name_b = name_of(b->fields[--count_b - 1]);

        if (name_a == NULL || name_b == NULL || strcmp(name_a, name_b) != 0)
            return false;
    }
    return true;
}

static bool
has_grouping_sets(const SelectStmt *select)
{
    return walk_list(select->group_clause, select->n_group_clause,
                     visit_grouping_set, NULL);
}

/* The query, if it is one whose rows come from its own FROM, else NULL. */
static const SelectStmt *
plain_select(const struct lm_query_shape *self)
{
    const SelectStmt *select = self->tree != NULL ? self->tree->select : NULL;

    if (select == NULL || select->op != PG_QUERY__SET_OPERATION__SETOP_NONE ||
        has_grouping_sets(select))
        return NULL;
    return select;
}

/* Proof: WHERE ... IS NOT NULL */

static bool
star_gives(const SelectStmt *select, const char *column, const ColumnRef *ref)
{
    const char *name = last_name(ref->fields, ref->n_fields);

    if (name == NULL || strcmp(name, column) != 0)
        return false;
    for (size_t i = 0; i < select->n_target_list; i++) {
        const ColumnRef *star =
            as_column(select->target_list[i]->res_target->val);

        if (star != NULL && is_star(star) && same_source(select, star, ref))
            return true;
    }
    return false;
}

/* Is the tested expression what the output column stands for? */
static bool
tests_output(const SelectStmt *select, const char *column, const Node *output,
             const Node *tested)
{
    const ColumnRef *ref = as_column(tested);
    const ColumnRef *source;

    if (output == NULL)
        return ref != NULL && star_gives(select, column, ref);
    source = as_column(output);
    if (ref != NULL && source != NULL && !is_star(ref)) {
        return strcmp(last_name(ref->fields, ref->n_fields),
                      last_name(source->fields, source->n_fields)) == 0 &&
               same_source(select, ref, source);
    }
    return same_tree(&output->base, &tested->base) &&
           !walk(&output->base, visit_call, NULL);
}

static bool
condition_excludes_null(const SelectStmt *select, const char *column,
                        const Node *output, const Node *condition)
{
    const PgQuery__BoolExpr *both = condition->bool_expr;
    const PgQuery__NullTest *test = condition->null_test;

    if (condition->node_case == PG_QUERY__NODE__NODE_NULL_TEST) {
        return test->nulltesttype == PG_QUERY__NULL_TEST_TYPE__IS_NOT_NULL &&
               tests_output(select, column, output, test->arg);
    }
    if (condition->node_case != PG_QUERY__NODE__NODE_BOOL_EXPR ||
        both->boolop != PG_QUERY__BOOL_EXPR_TYPE__AND_EXPR)
        return false;
    for (size_t i = 0; i < both->n_args; i++) {
        if (condition_excludes_null(select, column, output, both->args[i]))
            return true;
    }
    return false;
}

bool
lm_query_column_excludes_null(const struct lm_query_shape *self,
                              const char *column)
{
    const SelectStmt *select = plain_select(self);
    const Node *output;

    return select != NULL && select->where_clause != NULL &&
           find_output(select, column, &output) &&
           condition_excludes_null(select, column, output,
                                   select->where_clause);
}

/* Proof: NOT NULL stays NOT NULL */

/* A column that the server has traced to a table. */
struct trace {
    const SelectStmt *select;
    const char *qualifier; /* as written before the column; NULL: none */
    const char *relation;  /* the table */
};

static bool
may_mean(const struct trace *trace, const char *name)
{
    return trace->qualifier == NULL || strcmp(trace->qualifier, name) == 0;
}

static const char *
range_name(const PgQuery__RangeVar *range)
{
    return range->alias != NULL ? range->alias->aliasname : range->relname;
}

static bool
is_cte(const SelectStmt *select, const PgQuery__RangeVar *range)
{
    const PgQuery__WithClause *with = select->with_clause;

    if (with == NULL || *range->schemaname != '\0')
        return false;
    for (size_t i = 0; i < with->n_ctes; i++) {
        if (strcmp(with->ctes[i]->common_table_expr->ctename, range->relname) ==
            0)
            return true;
    }
    return false;
}

static bool
with_makes_null(const SelectStmt *select)
{
    return select->with_clause != NULL &&
           makes_null(&select->with_clause->base);
}

/* A subselect, a WITH query or a join with a name of its own: whatever is in
 * it may be where the column comes from. */
static bool
opaque_keeps(const struct trace *trace, const PgQuery__Alias *alias,
             const ProtobufCMessage *content, bool nullable)
{
    const SelectStmt *select = trace->select;

    if (alias != NULL && !may_mean(trace, alias->aliasname))
        return true;
    if (walk(content, visit_lateral, NULL) &&
        walk_list(select->from_clause, select->n_from_clause, visit_null_maker,
                  NULL))
        return false;
    return !nullable && !makes_null(content) && !with_makes_null(select);
}

static bool
table_keeps(const struct trace *trace, const PgQuery__RangeVar *range,
            bool nullable)
{
    if (!may_mean(trace, range_name(range)))
        return true;
    if (is_cte(trace->select, range))
        return !nullable && !with_makes_null(trace->select);
    return !nullable || strcmp(range->relname, trace->relation) != 0;
}

static bool item_keeps(const struct trace *trace, const Node *item,
                       bool nullable);

static bool
join_keeps(const struct trace *trace, const JoinExpr *join, bool nullable)
{
    bool full = join->jointype == PG_QUERY__JOIN_TYPE__JOIN_FULL;
    bool left = join->jointype == PG_QUERY__JOIN_TYPE__JOIN_LEFT;
    bool right = join->jointype == PG_QUERY__JOIN_TYPE__JOIN_RIGHT;

    if (join->alias != NULL)
        return opaque_keeps(trace, join->alias, &join->base, nullable);
    /* JOIN ... USING (id) AS x: x.id is a column of either side. */
    if (join->join_using_alias != NULL && trace->qualifier != NULL &&
        may_mean(trace, join->join_using_alias->aliasname))
        return false;
    return item_keeps(trace, join->larg, nullable || right || full) &&
           item_keeps(trace, join->rarg, nullable || left || full);
}

/* False when the column may come from this item of FROM and be NULL there. */
static bool
item_keeps(const struct trace *trace, const Node *item, bool nullable)
{
    switch (item->node_case) {
    case PG_QUERY__NODE__NODE_RANGE_VAR:
        return table_keeps(trace, item->range_var, nullable);
    case PG_QUERY__NODE__NODE_RANGE_TABLE_SAMPLE:
        return item_keeps(trace, item->range_table_sample->relation, nullable);
    case PG_QUERY__NODE__NODE_JOIN_EXPR:
        return join_keeps(trace, item->join_expr, nullable);
    case PG_QUERY__NODE__NODE_RANGE_SUBSELECT:
        return opaque_keeps(trace, item->range_subselect->alias, &item->base,
                            nullable);
    case PG_QUERY__NODE__NODE_RANGE_FUNCTION:
    case PG_QUERY__NODE__NODE_RANGE_TABLE_FUNC:
        return true; /* the server traces no column to what they return */
    default:
        return false;
    }
}

static bool
reference_keeps(const SelectStmt *select, const ColumnRef *ref,
                const char *relation)
{
    struct trace trace = {select, qualifier(ref), relation};

    for (size_t i = 0; i < select->n_from_clause; i++) {
        if (!item_keeps(&trace, select->from_clause[i], false))
            return false;
    }
    return true;
}

bool
lm_query_keeps_not_null(const struct lm_query_shape *self, const char *column,
                        const char *relation)
{
    const SelectStmt *select = plain_select(self);
    const Node *output;

    if (select == NULL || !find_output(select, column, &output))
        return false;
    /* The server looks through a cast that changes nothing. */
    while (output != NULL &&
           output->node_case == PG_QUERY__NODE__NODE_TYPE_CAST)
        output = output->type_cast->arg;
    if (output != NULL) {
        return as_column(output) != NULL &&
               reference_keeps(select, as_column(output), relation);
    }
    for (size_t i = 0; i < select->n_target_list; i++) {
        const ColumnRef *star =
            as_column(select->target_list[i]->res_target->val);

        if (star != NULL && is_star(star) &&
            !reference_keeps(select, star, relation))
            return false;
    }
    return true;
}

/* Proof: unique stays unique */

/* The table, if FROM is one table and nothing else, else NULL. */
static const PgQuery__RangeVar *
single_table(const SelectStmt *select)
{
    const Node *item;

    if (select->n_from_clause != 1)
        return NULL;
    item = select->from_clause[0];
    if (item->node_case == PG_QUERY__NODE__NODE_RANGE_TABLE_SAMPLE)
        item = item->range_table_sample->relation;
    if (item->node_case != PG_QUERY__NODE__NODE_RANGE_VAR ||
        is_cte(select, item->range_var))
        return NULL;
    return item->range_var;
}

bool
lm_query_keeps_unique(const struct lm_query_shape *self)
{
    const SelectStmt *select = plain_select(self);

    return select != NULL && single_table(select) != NULL &&
           !walk_list(select->target_list, select->n_target_list,
                      visit_set_returning, NULL) &&
           !walk_list(select->group_clause, select->n_group_clause,
                      visit_set_returning, NULL) &&
           !walk_list(select->distinct_clause, select->n_distinct_clause,
                      visit_set_returning, NULL) &&
           !walk_list(select->window_clause, select->n_window_clause,
                      visit_set_returning, NULL);
}

bool
lm_query_from_only(const struct lm_query_shape *self)
{
    const SelectStmt *select = self->tree != NULL ? self->tree->select : NULL;
    const PgQuery__RangeVar *table =
        select != NULL ? single_table(select) : NULL;

    return table != NULL && !table->inh;
}
