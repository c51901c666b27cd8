/* SPDX-License-Identifier: MIT */
/*
 * Parses SQL with libpg_query, and finds places in the text again.
 *
 * The parser recurses without a limit and could overflow the stack. So luamig
 * estimates the nesting from the tokens first, and refuses a text that is
 * nested too deeply.
 */

#include "pg/sql/parse.h"

#include "base/secret.h"

#include <string.h>

enum {
    SHORT_TEXT = 1500,  /* cannot nest deeper than MAX_NESTING */
    MAX_NESTING = 1500, /* takes about half of a stack of 8 MB */
    MAX_BRACKETS = 750,
    EXCERPT_BEFORE = 50, /* bytes of a long line shown around an error */
    EXCERPT_AFTER = 40
};

static bool
is_continuation(char c)
{
    return ((unsigned char)c & 0xC0) == 0x80;
}

/* -- the parser ------------------------------------------------------- */

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
    if (tokens == NULL)
        return true; /* the parser stops where the scanner does */
    fits = true;
    for (size_t i = 0; fits && i < tokens->n_tokens; i++)
        fits = count_token(&nesting, tokens->tokens[i]->token);
    pg_query__scan_result__free_unpacked(tokens, NULL);
    while (fits && nesting.open > 0)
        count_token(&nesting, (PgQuery__Token)')');
    return fits && close_chain(&nesting) <= MAX_NESTING;
}

/* The parser counts characters, from 1. */
static int
byte_location(const char *sql, int cursor)
{
    const char *c = sql;

    while (cursor > 1 && *c != '\0') {
        c++;
        if (!is_continuation(*c))
            cursor--;
    }
    return cursor > 0 ? (int)(c - sql) : -1;
}

int
lm_parse_grammar(void)
{
    return PG_VERSION_NUM / 10000;
}

static void
note_failure(struct lm_parse_failure *self, const char *sql,
             const PgQueryError *error)
{
    LM_ERR_COPY(self->message, error->message);
    self->location = byte_location(sql, error->cursorpos);
    /* What guards the parser's own stack, where it does. */
    self->too_deep = strstr(error->message, "stack depth") != NULL;
}

PgQuery__ParseResult *
lm_parse(const char *sql, struct lm_parse_failure *failure)
{
    struct lm_parse_failure ignored;
    PgQueryProtobufParseResult raw;
    PgQuery__ParseResult *result = NULL;

    if (failure == NULL)
        failure = &ignored;
    *failure = (struct lm_parse_failure){.too_deep = false, .location = -1};
    if (!may_parse(sql)) {
        failure->too_deep = true;
        return NULL;
    }
    raw = pg_query_parse_protobuf(sql);
    if (raw.error == NULL) {
        result = pg_query__parse_result__unpack(
            NULL, raw.parse_tree.len, (const uint8_t *)raw.parse_tree.data);
    } else {
        note_failure(failure, sql, raw.error);
    }
    pg_query_free_protobuf_parse_result(raw);
    return result;
}

/* -- places ----------------------------------------------------------- */

int
lm_parse_statement_start(const char *sql, const PgQuery__RawStmt *stmt)
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

int
lm_parse_text_start(const char *sql, const PgQuery__RawStmt *stmt)
{
    PgQuery__ScanResult *tokens = scan(sql);
    int start = 0;

    if (tokens == NULL)
        return stmt->stmt_location;
    for (size_t i = 0; i < tokens->n_tokens; i++) {
        const PgQuery__ScanToken *token = tokens->tokens[i];

        if (token->start < stmt->stmt_location &&
            token->token == (PgQuery__Token)';')
            start = token->end;
    }
    pg_query__scan_result__free_unpacked(tokens, NULL);
    return start;
}

int
lm_parse_last_token(const char *sql, PgQuery__Token kind)
{
    PgQuery__ScanResult *tokens = scan(sql);
    int last = -1;

    if (tokens == NULL)
        return -1;
    for (size_t i = 0; i < tokens->n_tokens; i++) {
        if (tokens->tokens[i]->token == kind)
            last = tokens->tokens[i]->start;
    }
    pg_query__scan_result__free_unpacked(tokens, NULL);
    return last;
}

/* Adds the line with the place, and a caret below it. */
static void
add_place(struct lm_buf *buf, const char *sql, int location)
{
    const char *line = sql;
    const char *place = sql + location;
    const char *start;
    const char *end;
    int number = 1;
    size_t before = buf->len;
    size_t indent;

    for (const char *c = sql; c < place; c++) {
        if (*c == '\n') {
            line = c + 1;
            number++;
        }
    }
    start = line;
    /* Of a secret that is cut, only the beginning would be found. */
    if (place - line > EXCERPT_BEFORE && !lm_secret_any())
        start = place - EXCERPT_BEFORE;
    while (start < place && is_continuation(*start))
        start++;
    end = place + strcspn(place, "\r\n");
    if (end - place > EXCERPT_AFTER)
        end = place + EXCERPT_AFTER;
    while (end > place && is_continuation(*end))
        end--;
    lm_buf_printf(buf, "LINE %d: %s", number, start > line ? "..." : "");
    indent = buf->len - before;
    lm_buf_add(buf, start, (size_t)(end - start));
    if (*end != '\0' && *end != '\r' && *end != '\n')
        lm_buf_puts(buf, "...");
    lm_buf_printf(buf, "\n%*s", (int)indent, "");
    for (const char *c = start; c < place; c++) {
        if (!is_continuation(*c))
            lm_buf_putc(buf, *c == '\t' ? '\t' : ' ');
    }
    lm_buf_putc(buf, '^');
}

static void
show(struct lm_err *err, const char *message, const char *sql, int location)
{
    struct lm_buf buf = LM_BUF_INIT;

    lm_buf_puts(&buf, message);
    if (location >= 0 && (size_t)location <= strlen(sql)) {
        if (buf.len > 0)
            lm_buf_putc(&buf, '\n');
        add_place(&buf, sql, location);
    }
    if (buf.len > 0)
        lm_err_detail(err, "%s", lm_buf_text(&buf));
    lm_buf_release(&buf);
}

void
lm_parse_show_place(struct lm_err *err, const char *sql, int location)
{
    show(err, "", sql, location);
}

void
lm_parse_show_failure(struct lm_err *err, const char *sql,
                      const struct lm_parse_failure *failure)
{
    show(err, failure->message, sql, failure->location);
}
