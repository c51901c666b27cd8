/* SPDX-License-Identifier: MIT */
/* The types of an input's columns. The script writes them as SQL does; the
 * server says what they are, one by one, so that a wrong one is named. */

#include "core/input/load.h"

#include "base/text.h"
#include "pg/conn/own.h"

#include <stdlib.h>

static bool
fail_type(const struct lm_input_column *column, struct lm_err *err)
{
    /* 3F000: no such schema. */
    if (err->kind != LM_ERR_DATABASE ||
        !(lm_err_is_state(err, "42") || lm_err_is_state(err, "3F000")))
        return false;
    err->kind = LM_ERR_SCRIPT;
    err->sql[0] = '\0';
    lm_err_prefix(err, "input.columns: column \"%s\" cannot be of type %s",
                  column->name, column->type);
    if (err->hint[0] == '\0')
        lm_err_hint(err, "Write the type as in CREATE TABLE.");
    return false;
}

/* Of a domain: its own. */
static bool
ask_for_oid(struct lm_conn *conn, const struct lm_input_column *column,
            uint32_t *oid, struct lm_err *err)
{
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_answer *answer = NULL;
    bool ok;

    lm_buf_printf(&sql, "SELECT pg_catalog.pg_typeof(NULL::%s)::pg_catalog.oid",
                  column->type);
    ok = lm_conn_ask(conn, lm_buf_text(&sql), "1: o", LM_NO_VALUES, &answer,
                     err);
    lm_buf_release(&sql);
    if (ok)
        *oid = lm_answer_oid(answer, 0, 0);
    lm_answer_free(answer);
    return ok;
}

static bool
ask_for_kind(struct lm_conn *conn, uint32_t base, enum lm_input_kind *kind,
             struct lm_err *err)
{
    static const char sql[] =
        LM_OWN "SELECT t.oid IN ('json'::regtype, 'jsonb'::regtype),"
               " t.typcategory = 'A' FROM pg_catalog.pg_type t"
               " WHERE t.oid = $1::oid";
    struct lm_answer *answer = NULL;

    if (!lm_conn_ask(conn, sql, "1: b b", LM_VALUES(LM_DIGITS(base)), &answer,
                     err))
        return false;
    *kind = lm_answer_bool(answer, 0, 0)   ? LM_INPUT_DOCUMENT
            : lm_answer_bool(answer, 0, 1) ? LM_INPUT_ARRAY
                                           : LM_INPUT_SCALAR;
    lm_answer_free(answer);
    return true;
}

/* A statement that is described has a domain's base type, and the modifier of
 * that. */
static bool
find_type(struct lm_conn *conn, const struct lm_input_column *column,
          struct lm_input_types *out, int i, struct lm_err *err)
{
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_stmt *stmt = NULL;
    uint32_t base = 0;
    bool ok;

    lm_buf_printf(&sql, "SELECT NULL::%s", column->type);
    ok = lm_conn_prepare(conn, lm_buf_text(&sql), NULL, 0, &stmt, err);
    lm_buf_release(&sql);
    if (!ok)
        return false;
    base = lm_stmt_column(stmt, 0)->type;
    out->modifiers[i] = lm_stmt_column(stmt, 0)->modifier;
    if (!ask_for_oid(conn, column, &out->oids[i], err) ||
        !ask_for_kind(conn, base, &out->kinds[i], err))
        return false;
    if (out->oids[i] != base)
        out->modifiers[i] = -1;
    return true;
}

bool
lm_input_find_types(struct lm_conn *conn, const struct lm_input *input,
                    struct lm_input_types *out, struct lm_err *err)
{
    size_t count = (size_t)input->column_count;

    lm_input_types_release(out);
    out->names = lm_calloc(count, sizeof *out->names);
    out->oids = lm_calloc(count, sizeof *out->oids);
    out->modifiers = lm_calloc(count, sizeof *out->modifiers);
    out->kinds = lm_calloc(count, sizeof *out->kinds);
    for (int i = 0; i < input->column_count; i++) {
        out->names[i] = input->columns[i].name;
        if (!find_type(conn, &input->columns[i], out, i, err))
            return fail_type(&input->columns[i], err);
    }
    return true;
}

void
lm_input_types_release(struct lm_input_types *self)
{
    free(self->names);
    free(self->oids);
    free(self->modifiers);
    free(self->kinds);
    self->names = NULL;
    self->oids = NULL;
    self->modifiers = NULL;
    self->kinds = NULL;
}
