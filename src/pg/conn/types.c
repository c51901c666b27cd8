/* SPDX-License-Identifier: MIT */

#include "pg/conn/types.h"

#include "base/text.h"
#include "pg/conn/conn.h"
#include "pg/conn/own.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names as format_type gives them. */
static const struct lm_type scalars[] = {
    {.oid = LM_TYPE_BOOL, .base = LM_TYPE_BOOL, .name = "boolean"},
    {.oid = LM_TYPE_BYTEA, .base = LM_TYPE_BYTEA, .name = "bytea"},
    {.oid = 18, .base = 18, .name = "\"char\""},
    {.oid = LM_TYPE_NAME, .base = LM_TYPE_NAME, .name = "name"},
    {.oid = LM_TYPE_INT8, .base = LM_TYPE_INT8, .name = "bigint"},
    {.oid = LM_TYPE_INT2, .base = LM_TYPE_INT2, .name = "smallint"},
    {.oid = LM_TYPE_INT4, .base = LM_TYPE_INT4, .name = "integer"},
    {.oid = LM_TYPE_TEXT, .base = LM_TYPE_TEXT, .name = "text"},
    {.oid = LM_TYPE_OID, .base = LM_TYPE_OID, .name = "oid"},
    {.oid = LM_TYPE_JSON, .base = LM_TYPE_JSON, .name = "json"},
    {.oid = 142, .base = 142, .name = "xml"},
    {.oid = LM_TYPE_FLOAT4, .base = LM_TYPE_FLOAT4, .name = "real"},
    {.oid = LM_TYPE_FLOAT8, .base = LM_TYPE_FLOAT8, .name = "double precision"},
    {.oid = 1042, .base = 1042, .name = "character"},
    {.oid = 1043, .base = 1043, .name = "character varying"},
    {.oid = 1082, .base = 1082, .name = "date"},
    {.oid = 1083, .base = 1083, .name = "time without time zone"},
    {.oid = 1114, .base = 1114, .name = "timestamp without time zone"},
    {.oid = 1184, .base = 1184, .name = "timestamp with time zone"},
    {.oid = 1186, .base = 1186, .name = "interval"},
    {.oid = 1266, .base = 1266, .name = "time with time zone"},
    {.oid = LM_TYPE_NUMERIC, .base = LM_TYPE_NUMERIC, .name = "numeric"},
    {.oid = 2950, .base = 2950, .name = "uuid"},
    {.oid = LM_TYPE_JSONB, .base = LM_TYPE_JSONB, .name = "jsonb"},
};

void
lm_types_release(struct lm_types *self)
{
    for (size_t i = 0; i < self->count; i++)
        free(self->known[i]);
    free(self->known);
    self->known = NULL;
    self->count = 0;
}

bool
lm_type_is_json(const struct lm_type *type)
{
    return type->base == LM_TYPE_JSON || type->base == LM_TYPE_JSONB;
}

static const struct lm_type *
find_known(const struct lm_types *self, uint32_t oid)
{
    for (size_t i = 0; i < LM_COUNT(scalars); i++) {
        if (scalars[i].oid == oid)
            return &scalars[i];
    }
    for (size_t i = 0; i < self->count; i++) {
        if (self->known[i]->oid == oid)
            return self->known[i];
    }
    return NULL;
}

/*
 * Through the domains to the base type; if that is an array, the same for its
 * elements. Types such as point and int2vector have elements, too, but are not
 * written as arrays: a true array is what its element names as such.
 */
static const char question[] = LM_OWN
    "WITH RECURSIVE chain AS ("
    " SELECT oid, typtype, typbasetype, typelem FROM pg_catalog.pg_type"
    "  WHERE oid = $1::pg_catalog.oid"
    " UNION ALL"
    " SELECT t.oid, t.typtype, t.typbasetype, t.typelem FROM chain"
    "  JOIN pg_catalog.pg_type t ON t.oid = chain.typbasetype"
    "  WHERE chain.typtype = 'd'),"
    " element AS ("
    " SELECT e.oid, e.typtype, e.typbasetype, e.typelem, e.oid AS first,"
    "   e.typdelim AS delimiter FROM chain"
    "  JOIN pg_catalog.pg_type e"
    "   ON e.oid = chain.typelem AND e.typarray = chain.oid"
    "  WHERE chain.typtype <> 'd'"
    " UNION ALL"
    " SELECT t.oid, t.typtype, t.typbasetype, t.typelem, element.first,"
    "   element.delimiter FROM element"
    "  JOIN pg_catalog.pg_type t ON t.oid = element.typbasetype"
    "  WHERE element.typtype = 'd')"
    " SELECT chain.oid, pg_catalog.format_type($1::pg_catalog.oid, NULL),"
    "  element.first, element.delimiter,"
    "  pg_catalog.format_type(element.first, NULL),"
    "  CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_type e"
    "   WHERE e.oid = element.typelem AND e.typarray = element.oid)"
    "  THEN 0 ELSE element.oid::pg_catalog.int8 END"
    " FROM chain LEFT JOIN element ON element.typtype <> 'd'"
    " WHERE chain.typtype <> 'd'";
static const char question_shape[] = "?: o t o? t? t? o?";

static void
read_answer(const struct lm_answer *answer, struct lm_type *out)
{
    out->base = lm_answer_oid(answer, 0, 0);
    LM_ERR_COPY(out->name, lm_answer_text(answer, 0, 1));
    if (lm_answer_is_null(answer, 0, 2))
        return;
    out->element = lm_answer_oid(answer, 0, 2);
    out->delimiter = *lm_answer_text(answer, 0, 3);
    LM_ERR_COPY(out->element_name, lm_answer_text(answer, 0, 4));
    out->element_base = lm_answer_oid(answer, 0, 5);
}

static bool
ask(struct lm_conn *conn, uint32_t oid, struct lm_type *out, struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    if (!lm_conn_ask(conn, question, question_shape, LM_VALUES(LM_DIGITS(oid)),
                     &answer, err))
        return false;
    memset(out, 0, sizeof *out);
    out->oid = out->base = oid;
    snprintf(out->name, sizeof out->name, "type %" PRIu32, oid);
    if (lm_answer_rows(answer) == 1)
        read_answer(answer, out);
    lm_answer_free(answer);
    return true;
}

bool
lm_types_find(struct lm_types *self, struct lm_conn *conn, uint32_t oid,
              const struct lm_type **out, struct lm_err *err)
{
    struct lm_type found;
    struct lm_type *kept;

    *out = find_known(self, oid);
    if (*out != NULL)
        return true;
    if (!ask(conn, oid, &found, err))
        return false;
    kept = lm_alloc(sizeof *kept);
    *kept = found;
    self->known =
        lm_realloc(self->known, self->count + 1, sizeof(struct lm_type *));
    self->known[self->count++] = kept;
    *out = kept;
    return true;
}
