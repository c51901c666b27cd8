/* SPDX-License-Identifier: MIT */
/*
 * Checks answers against their shapes, and reads them; see the header.
 *
 * An answer remembers the kinds of its columns. So if code reads a text as a
 * number, the first test finds it.
 */

#include "pg/conn/private.h"

#include "pg/sql/sql.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a shape says of a column. */
struct kind {
    int times;
    char letter;
    bool is_array;
    bool has_nulls; /* the array */
    bool is_nullable;
};

/* -- a wrong answer ------------------------------------------------------- */

bool
lm_answer_fail_of(const char *sql, const char *what, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_DATABASE,
               "the server's answer to a statement is wrong: %s", what);
    LM_ERR_COPY(err->sqlstate, LM_ANSWER_WRONG);
    LM_ERR_COPY(err->sql, sql != NULL ? sql : "");
    lm_err_hint(err, "If there is a proxy or a pooler between luamig and the "
                     "server, connect without it.");
    return false;
}

static bool
fail_at(const char *sql, int row, int column, const char *what,
        struct lm_err *err)
{
    char *text = lm_format("column %d of row %d %s", column + 1, row + 1, what);

    lm_answer_fail_of(sql, text, err);
    free(text);
    return false;
}

static bool
fail_count(const char *sql, int has, const char *noun, const char *wanted,
           struct lm_err *err)
{
    char *text = lm_format("it has %d %s%s instead of %s", has, noun,
                           has == 1 ? "" : "s", wanted);

    lm_answer_fail_of(sql, text, err);
    free(text);
    return false;
}

static bool
fail_columns(const char *sql, int has, int wanted, struct lm_err *err)
{
    char text[16];

    snprintf(text, sizeof text, "%d", wanted);
    return fail_count(sql, has, "column", text, err);
}

/* -- shapes --------------------------------------------------------------- */

/* Reads the next kind of a shape; returns what follows it, or NULL at the end.
 */
static const char *
read_kind(const char *p, struct kind *out)
{
    memset(out, 0, sizeof *out);
    while (*p == ' ')
        p++;
    if (*p == '\0')
        return NULL;
    if (*p >= '0' && *p <= '9') {
        char *end;

        out->times = (int)strtol(p, &end, 10);
        p = end;
    } else {
        out->times = 1;
    }
    out->letter = *p++;
    assert(strchr("indortbv", out->letter) != NULL);
    if (strncmp(p, "?[]", 3) == 0) {
        out->is_array = out->has_nulls = true;
        p += 3;
    } else if (strncmp(p, "[]", 2) == 0) {
        out->is_array = true;
        p += 2;
    }
    out->is_nullable = *p == '?' || out->letter == 'v';
    return *p == '?' ? p + 1 : p;
}

static int
count_columns(const char *kinds)
{
    struct kind kind;
    int count = 0;

    while ((kinds = read_kind(kinds, &kind)) != NULL)
        count += kind.times;
    return count;
}

/* -- values --------------------------------------------------------------- */

static bool
is_number(const char *text, int64_t least, int64_t most)
{
    const char *digits = *text == '-' ? text + 1 : text;
    int64_t value;

    if (*digits == '\0' || strspn(digits, "0123456789") != strlen(digits))
        return false;
    errno = 0;
    value = strtoll(text, NULL, 10);
    return errno == 0 && value >= least && value <= most;
}

static bool
is_real(const char *text)
{
    char *end;
    double value = strtod(text, &end);

    return end != text && *end == '\0' && isfinite(value);
}

/* The fault of a text, or NULL. */
static const char *
find_fault(char letter, const char *text)
{
    switch (letter) {
    case 'i':
        return is_number(text, INT64_MIN, INT64_MAX) ? NULL : "is not a number";
    case 'n':
        return is_number(text, 0, INT64_MAX) ? NULL : "is not a count";
    case 'd':
        return is_number(text, 0, INT_MAX) ? NULL : "is not a small count";
    case 'o':
        return is_number(text, 0, UINT32_MAX) ? NULL : "is not an OID";
    case 'r':
        return is_real(text) ? NULL : "is not a number";
    case 'b':
        return strcmp(text, "t") == 0 || strcmp(text, "f") == 0
                   ? NULL
                   : "is not a boolean";
    default:
        return NULL;
    }
}

static const char *
find_array_fault(const struct kind *kind, const char *text)
{
    char **elements = NULL;
    int count = lm_sql_parse_array(text, &elements);
    const char *fault = count < 0 ? "is not an array" : NULL;

    for (int i = 0; fault == NULL && i < count; i++) {
        if (elements[i] != NULL) {
            fault = find_fault(kind->letter, elements[i]);
        } else if (!kind->has_nulls) {
            fault = "has an element that is NULL";
        }
    }
    lm_free_texts(elements, count);
    return fault;
}

static const char *
find_value_fault(const struct kind *kind, const char *text, bool is_there)
{
    if (text == NULL)
        return is_there && !kind->is_nullable ? "is NULL" : NULL;
    if (!is_there) {
        return "is not NULL, although the first column says that nothing was "
               "found";
    }
    return kind->is_array ? find_array_fault(kind, text)
                          : find_fault(kind->letter, text);
}

static bool
check_column(const PGresult *pg, int column, const struct kind *kind,
             bool is_there, const char *sql, struct lm_err *err)
{
    for (int row = 0; row < PQntuples(pg); row++) {
        const char *text = PQgetisnull(pg, row, column) != 0
                               ? NULL
                               : PQgetvalue(pg, row, column);
        const char *fault = find_value_fault(kind, text, is_there);

        if (fault != NULL)
            return fail_at(sql, row, column, fault, err);
    }
    return true;
}

/* -- rows ----------------------------------------------------------------- */

bool
lm_answer_check_count(PGresult *pg, const char *sql, bool is_own,
                      struct lm_err *err)
{
    const char *counted = "";

    if (PQresultStatus(pg) == PGRES_TUPLES_OK)
        counted = PQcmdTuples(pg);
    /* Of what scripts send, rules may make something else than it says. */
    if (*counted == '\0' ||
        (!is_own && strncmp(PQcmdStatus(pg), "SELECT ", 7) != 0) ||
        strtol(counted, NULL, 10) == PQntuples(pg))
        return true;
    return fail_count(sql, PQntuples(pg), "row", counted, err);
}

static bool
check_rows(PGresult *pg, const char *sql, char quantity, struct lm_err *err)
{
    int rows = PQntuples(pg);

    if (!lm_answer_check_count(pg, sql, true, err))
        return false;
    if ((quantity == '1' || quantity == '!') && rows != 1)
        return fail_count(sql, rows, "row", "one", err);
    if (quantity == '?' && rows > 1)
        return fail_count(sql, rows, "row", "at most one", err);
    if (quantity == '+' && rows == 0)
        return fail_count(sql, rows, "row", "at least one", err);
    return true;
}

bool
lm_answer_check(PGresult *pg, const char *sql, const char *shape,
                struct lm_err *err)
{
    const char *kinds = shape + 2;
    struct kind kind;
    int columns = count_columns(kinds);
    int column = 0;
    bool is_there = true;

    assert(strchr("1!?*+", shape[0]) != NULL && shape[1] == ':');
    if (PQresultStatus(pg) != PGRES_TUPLES_OK)
        return lm_answer_fail_of(sql, "it is not a table of rows", err);
    if (PQnfields(pg) != columns)
        return fail_columns(sql, PQnfields(pg), columns, err);
    if (!check_rows(pg, sql, shape[0], err))
        return false;
    while ((kinds = read_kind(kinds, &kind)) != NULL) {
        for (int i = 0; i < kind.times; i++) {
            if (!check_column(pg, column, &kind, is_there, sql, err))
                return false;
            if (column++ == 0 && shape[0] == '!')
                is_there = *PQgetvalue(pg, 0, 0) == 't';
        }
    }
    return true;
}

bool
lm_answer_is_there(const PGresult *pg, const char *sql, struct lm_err *err)
{
    return pg != NULL || lm_answer_fail_of(sql, "it is missing", err);
}

/* -- reading -------------------------------------------------------------- */

struct lm_answer *
lm_answer_new(PGresult *pg, const char *sql, const char *shape)
{
    struct lm_answer *self = lm_alloc(sizeof *self);

    lm_answer_init(self, pg, sql, shape);
    return self;
}

void
lm_answer_init(struct lm_answer *self, PGresult *pg, const char *sql,
               const char *shape)
{
    const char *kinds = shape + 2;
    struct kind kind;
    int column = 0;

    self->pg = pg;
    self->sql = lm_strdup(sql);
    self->letters = lm_alloc((size_t)PQnfields(pg) + 1);
    while ((kinds = read_kind(kinds, &kind)) != NULL) {
        for (int i = 0; i < kind.times; i++)
            self->letters[column++] = kind.letter;
    }
}

void
lm_answer_release(struct lm_answer *self)
{
    free(self->sql);
    free(self->letters);
}

bool
lm_answer_fail(const struct lm_answer *self, const char *what,
               struct lm_err *err)
{
    return lm_answer_fail_of(self->sql, what, err);
}

void
lm_answer_free(struct lm_answer *self)
{
    if (self == NULL)
        return;
    PQclear(self->pg);
    lm_answer_release(self);
    free(self);
}

int
lm_answer_rows(const struct lm_answer *self)
{
    return PQntuples(self->pg);
}

/* The text of a value of one of these kinds; NULL: there is none. */
static const char *
value_of(const struct lm_answer *self, int row, int column, const char *letters)
{
    if (row < 0 || row >= PQntuples(self->pg) || column < 0 ||
        column >= PQnfields(self->pg))
        return NULL;
    assert(strchr(letters, self->letters[column]) != NULL);
    (void)letters;
    if (PQgetisnull(self->pg, row, column) != 0)
        return NULL;
    return PQgetvalue(self->pg, row, column);
}

bool
lm_answer_is_null(const struct lm_answer *self, int row, int column)
{
    return value_of(self, row, column, "indortb") == NULL;
}

const char *
lm_answer_text_or(const struct lm_answer *self, int row, int column,
                  const char *other)
{
    const char *text = value_of(self, row, column, "indortb");

    return text != NULL ? text : other;
}

const char *
lm_answer_text(const struct lm_answer *self, int row, int column)
{
    return lm_answer_text_or(self, row, column, "");
}

char *
lm_answer_copy(const struct lm_answer *self, int row, int column)
{
    const char *text = lm_answer_text_or(self, row, column, NULL);

    return text != NULL ? lm_strdup(text) : NULL;
}

int64_t
lm_answer_int(const struct lm_answer *self, int row, int column)
{
    const char *text = value_of(self, row, column, "ind");

    return text != NULL ? strtoll(text, NULL, 10) : 0;
}

int
lm_answer_small(const struct lm_answer *self, int row, int column)
{
    const char *text = value_of(self, row, column, "d");

    return text != NULL ? (int)strtol(text, NULL, 10) : 0;
}

uint32_t
lm_answer_oid(const struct lm_answer *self, int row, int column)
{
    const char *text = value_of(self, row, column, "o");

    return text != NULL ? (uint32_t)strtoul(text, NULL, 10) : 0;
}

double
lm_answer_real(const struct lm_answer *self, int row, int column)
{
    const char *text = value_of(self, row, column, "r");

    return text != NULL ? strtod(text, NULL) : 0;
}

bool
lm_answer_bool(const struct lm_answer *self, int row, int column)
{
    const char *text = value_of(self, row, column, "b");

    return text != NULL && *text == 't';
}

int
lm_answer_texts(const struct lm_answer *self, int row, int column, char ***out)
{
    const char *text = value_of(self, row, column, "to");

    *out = NULL;
    return text != NULL ? lm_sql_parse_array(text, out) : 0;
}

int
lm_answer_oids(const struct lm_answer *self, int row, int column,
               uint32_t **out)
{
    char **texts = NULL;
    int count = lm_answer_texts(self, row, column, &texts);

    *out = lm_calloc((size_t)count, sizeof **out);
    for (int i = 0; i < count; i++)
        (*out)[i] = (uint32_t)strtoul(texts[i], NULL, 10);
    lm_free_texts(texts, count);
    return count;
}
