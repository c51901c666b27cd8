/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_ORDER_H
#define LM_PG_CONN_ORDER_H

/*
 * How the values of a type compare in ORDER BY and in a plain index: by the
 * default btree operator class of the type. Operators are named with their
 * schema, so the search_path does not matter. "x > y" in SQL may mean another
 * operator: if the type's operators are in a schema that is not in the
 * search_path, the server compares the values as another type, in another
 * order.
 */

#include "pg/conn/conn.h"

enum lm_compare {
    LM_LESS,
    LM_LESS_EQUAL,
    LM_EQUAL,
    LM_GREATER_EQUAL,
    LM_GREATER,
    LM_COMPARISONS
};

struct lm_order {
    uint32_t type;      /* of the values, never a domain */
    uint32_t opclass;   /* 0: values of the type have no order */
    uint32_t equality;  /* the operator, OID */
    uint32_t collation; /* of the column; 0: the type has none */
    /* of a parameter of the type; 0: the type has none */
    uint32_t own_collation;
    bool is_name;    /* the text of a value is, or holds, a name of an object
                           in the database, as regclass has it */
    bool may_round;  /* the text of a value may be that of another: the type, or
                       a part of it, is not one of PostgreSQL's own */
    bool is_pseudo;  /* values cannot be sent as text, as of record */
    char *type_name; /* quoted, with the schema */
    char *cast;      /* the type that the operators take, or NULL: this one */
    char *collate;   /* COLLATE for a parameter, or NULL */
    char *operators[LM_COMPARISONS]; /* OPERATOR("s".<) */
};

/* Asks the catalog how values of a type compare, under the type's own
 * collation. If a type has no order, that is not an error. */
bool lm_order_find(struct lm_conn *conn, uint32_t type, struct lm_order *out,
                   struct lm_err *err) LM_MUSTCHECK;
/* Sets the column's collation, if it is not the type's own. */
bool lm_order_set_collation(struct lm_order *self, struct lm_conn *conn,
                            uint32_t collation,
                            struct lm_err *err) LM_MUSTCHECK;
void lm_order_release(struct lm_order *self);

/* Do both compare by operators of the same names? Only then may they stand in
 * one comparison of rows. */
bool lm_order_same_operators(const struct lm_order *a,
                             const struct lm_order *b);

/* Adds the cast and collation that a value or a parameter needs for a
 * comparison. */
void lm_order_add_cast(struct lm_buf *sql, const struct lm_order *self,
                       bool is_param);

/* Adds COLLATE with the type's own collation, for a value that stands beside
 * one of another collation. Nothing if the type has none. */
void lm_order_add_own_collation(struct lm_buf *sql,
                                const struct lm_order *self);

/*
 * SQL for the default operator class of a type for an access method: a SELECT
 * in parentheses with the columns oid, opcfamily and opcintype, with no row if
 * there is none. type is SQL for the type's OID; the type is not a domain. The
 * rule is the server's: the exact type; else a binary-compatible type, and of
 * several a preferred one of the category first.
 */
#define LM_ORDER_OPCLASS(type, method)                                       \
    "(SELECT opc.oid, opc.opcfamily, opc.opcintype"                          \
    " FROM pg_catalog.pg_type of JOIN pg_catalog.pg_opclass opc"             \
    " ON opc.opcdefault AND (opc.opcintype = of.oid OR CASE opc.opcintype"   \
    "  WHEN 'pg_catalog.anyarray'::pg_catalog.regtype"                       \
    "  THEN of.typelem <> 0 AND of.typlen = -1"                              \
    "  WHEN 'pg_catalog.anyenum'::pg_catalog.regtype THEN of.typtype = 'e'"  \
    "  WHEN 'pg_catalog.anyrange'::pg_catalog.regtype THEN of.typtype = 'r'" \
    "  WHEN 4537 /* anymultirange, since 14 */ THEN of.typtype = 'm'"        \
    "  WHEN 'pg_catalog.record'::pg_catalog.regtype THEN of.typtype = 'c'"   \
    "  ELSE EXISTS (SELECT FROM pg_catalog.pg_cast same"                     \
    "   WHERE same.castsource = of.oid AND same.casttarget = opc.opcintype"  \
    "   AND same.castmethod = 'b' AND same.castcontext = 'i') END)"          \
    " JOIN pg_catalog.pg_am am ON am.oid = opc.opcmethod"                    \
    "  AND am.amname = '" method "'"                                         \
    " JOIN pg_catalog.pg_type taken ON taken.oid = opc.opcintype"            \
    " WHERE of.oid = " type " ORDER BY opc.opcintype = of.oid DESC,"         \
    " taken.typispreferred AND taken.typcategory = of.typcategory DESC,"     \
    " opc.oid LIMIT 1)"

/* The operator of that class for a strategy, as OPERATOR("s".=); NULL if there
 * is none. */
/* clang-format off */
#define LM_ORDER_OPERATOR(type, method, strategy)                            \
    "(SELECT pg_catalog.format('OPERATOR(%I.%s)', opn.nspname, op.oprname)"  \
    " FROM " LM_ORDER_OPCLASS(type, method) " AS class"                      \
    " JOIN pg_catalog.pg_amop am ON am.amopfamily = class.opcfamily"         \
    "  AND am.amoplefttype = class.opcintype"                                \
    "  AND am.amoprighttype = class.opcintype AND am.amopstrategy = " strategy \
    " JOIN pg_catalog.pg_operator op ON op.oid = am.amopopr"                 \
    " JOIN pg_catalog.pg_namespace opn ON opn.oid = op.oprnamespace)"

/* Equality of a type: by its default btree class, else by that for hashing. */
#define LM_ORDER_EQUALITY(type)                          \
    "coalesce(" LM_ORDER_OPERATOR(type, "btree", "3")    \
    ", " LM_ORDER_OPERATOR(type, "hash", "1") ")"
/* clang-format on */

#endif
