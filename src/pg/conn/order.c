/* SPDX-License-Identifier: MIT */
/*
 * Asks pg_opclass, pg_amop and pg_operator; see the header.
 *
 * A parameter has its type's own collation. Where the column has another one,
 * the server would not know which is meant, or take the wrong one: the
 * parameter then names the column's.
 */

#include "pg/conn/order.h"

#include "base/text.h"
#include "pg/conn/conn.h"
#include "pg/conn/own.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BTREE LM_ORDER_OPCLASS("$1::pg_catalog.oid", "btree")

/* Types are looked into for parts that are names. */
static const char order_sql[] = LM_OWN
    "WITH RECURSIVE parts AS (SELECT $1::pg_catalog.oid AS oid UNION"
    "  SELECT p.oid FROM parts JOIN pg_catalog.pg_type t ON t.oid = parts.oid,"
    "  LATERAL (SELECT t.typelem WHERE t.typlen = -1 UNION ALL"
    "   SELECT t.typbasetype UNION ALL SELECT a.atttypid"
    "   FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid"
    "   AND t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped) AS p (oid)"
    "  WHERE p.oid <> 0)"
    " SELECT o.oid, pg_catalog.format('%I.%I', tn.nspname, t.typname),"
    " CASE WHEN i.oid <> t.oid AND i.typtype <> 'p'"
    "  THEN pg_catalog.format('%I.%I', n.nspname, i.typname) END,"
    " coalesce(nullif(i.typcollation, 0), t.typcollation),"
    " EXISTS (SELECT FROM parts JOIN pg_catalog.pg_type r USING (oid)"
    "  WHERE r.typnamespace = 'pg_catalog'::pg_catalog.regnamespace"
    "  AND r.typname LIKE 'reg%' AND r.typtype = 'b'),"
    " t.typtype = 'p' OR t.typname = '_record',"
    " ARRAY(SELECT pg_catalog.format('OPERATOR(%I.%s)', pn.nspname, p.oprname)"
    "  FROM pg_catalog.pg_amop m JOIN pg_catalog.pg_operator p"
    "  ON p.oid = m.amopopr JOIN pg_catalog.pg_namespace pn"
    "  ON pn.oid = p.oprnamespace WHERE m.amopfamily = o.opcfamily"
    "  AND m.amoplefttype = o.opcintype AND m.amoprighttype = o.opcintype"
    "  AND m.amoppurpose = 's' ORDER BY m.amopstrategy),"
    " (SELECT m.amopopr FROM pg_catalog.pg_amop m"
    "  WHERE m.amopfamily = o.opcfamily AND m.amoplefttype = o.opcintype"
    "  AND m.amoprighttype = o.opcintype AND m.amopstrategy = 3),"
    " EXISTS (SELECT FROM parts JOIN pg_catalog.pg_type r USING (oid)"
    "  JOIN pg_catalog.pg_proc f ON f.oid = r.typinput"
    "  JOIN pg_catalog.pg_language g ON g.oid = f.prolang"
    "  WHERE r.typtype = 'b' AND g.lanname <> 'internal')"
    " FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace tn"
    " ON tn.oid = t.typnamespace LEFT JOIN " BTREE " AS o ON true"
    " LEFT JOIN pg_catalog.pg_type i ON i.oid = o.opcintype"
    " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = i.typnamespace"
    " WHERE t.oid = $1::pg_catalog.oid";
static const char order_shape[] = "1: o? t t? o b b t[] o? b";

enum {
    OPCLASS,
    NAME,
    CAST,
    COLLATION,
    IS_NAME,
    IS_PSEUDO,
    OPERATORS,
    EQUALITY,
    MAY_ROUND
};

/* OIDs of pg_collation.dat */
enum { DEFAULT_COLLATION = 100, C_COLLATION = 950 };

static void
take_operators(const struct lm_answer *row, struct lm_order *out)
{
    char **names = NULL;
    int count = lm_answer_texts(row, 0, OPERATORS, &names);

    if (count == LM_COMPARISONS) {
        for (int i = 0; i < count; i++)
            out->operators[i] = lm_strdup(names[i]);
        out->opclass = lm_answer_oid(row, 0, OPCLASS);
        out->equality = lm_answer_oid(row, 0, EQUALITY);
    }
    lm_free_texts(names, count);
}

/* Operators and an equality belong to a class: where it is lost, the type would
 * be taken for one without an order. */
static bool
is_consistent(const struct lm_answer *row)
{
    return lm_answer_is_null(row, 0, OPCLASS) ==
           lm_answer_is_null(row, 0, EQUALITY);
}

static void
take(const struct lm_answer *row, struct lm_order *out)
{
    out->type_name = lm_answer_copy(row, 0, NAME);
    out->cast = lm_answer_copy(row, 0, CAST);
    out->own_collation = lm_answer_oid(row, 0, COLLATION);
    out->collation = out->own_collation;
    out->may_round = lm_answer_bool(row, 0, MAY_ROUND);
    out->is_name = lm_answer_bool(row, 0, IS_NAME);
    out->is_pseudo = lm_answer_bool(row, 0, IS_PSEUDO);
    if (!lm_answer_is_null(row, 0, OPCLASS))
        take_operators(row, out);
}

bool
lm_order_find(struct lm_conn *conn, uint32_t type, struct lm_order *out,
              struct lm_err *err)
{
    struct lm_answer *row = NULL;
    bool ok;

    memset(out, 0, sizeof *out);
    out->type = type;
    if (!lm_conn_ask(conn, order_sql, order_shape, LM_VALUES(LM_DIGITS(type)),
                     &row, err))
        return false;
    ok = is_consistent(row) ||
         lm_answer_fail(row, "operators without their class", err);
    if (ok)
        take(row, out);
    lm_answer_free(row);
    return ok;
}

bool
lm_order_set_collation(struct lm_order *self, struct lm_conn *conn,
                       uint32_t collation, struct lm_err *err)
{
    static const char sql[] = LM_OWN
        "SELECT pg_catalog.format(' COLLATE %I.%I', n.nspname, l.collname)"
        " FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace n"
        " ON n.oid = l.collnamespace WHERE l.oid = $1::pg_catalog.oid";
    struct lm_answer *row = NULL;

    self->collation = collation;
    free(self->collate);
    self->collate = NULL;
    if (collation == self->own_collation)
        return true;
    if (!lm_conn_ask(conn, sql, "1: t", LM_VALUES(LM_DIGITS(collation)), &row,
                     err))
        return false;
    self->collate = lm_answer_copy(row, 0, 0);
    lm_answer_free(row);
    return true;
}

void
lm_order_release(struct lm_order *self)
{
    free(self->type_name);
    free(self->cast);
    free(self->collate);
    for (int i = 0; i < LM_COMPARISONS; i++)
        free(self->operators[i]);
    memset(self, 0, sizeof *self);
}

bool
lm_order_same_operators(const struct lm_order *a, const struct lm_order *b)
{
    for (int i = 0; i < LM_COMPARISONS; i++) {
        if (strcmp(a->operators[i], b->operators[i]) != 0)
            return false;
    }
    return true;
}

/* Types have one of these two: CREATE TYPE knows no other. */
void
lm_order_add_own_collation(struct lm_buf *sql, const struct lm_order *self)
{
    if (self->own_collation == DEFAULT_COLLATION) {
        lm_buf_puts(sql, " COLLATE pg_catalog.\"default\"");
    } else if (self->own_collation == C_COLLATION) {
        lm_buf_puts(sql, " COLLATE pg_catalog.\"C\"");
    }
}

void
lm_order_add_cast(struct lm_buf *sql, const struct lm_order *self,
                  bool is_param)
{
    if (self->cast != NULL)
        lm_buf_printf(sql, "::%s", self->cast);
    if (is_param && self->collate != NULL)
        lm_buf_puts(sql, self->collate);
}
