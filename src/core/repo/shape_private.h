/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_REPO_SHAPE_PRIVATE_H
#define LM_CORE_REPO_SHAPE_PRIVATE_H

/* What shape.c and repo/shape_facts.c share, and nobody else. */

#include "core/repo/shape.h"
#include "pg/conn/conn.h"

/* Count and sum for the parts of tables, under any search_path: part.oid comes from the array. Other
 * catalogs need no look: a foreign key, also one that refers to the table, is
 * there as its triggers; a check is counted in pg_class; a default has changed
 * the row of its column. */
#define LM_SHAPE_EQ " OPERATOR(pg_catalog.=) part.oid"
#define LM_SHAPE_VERSION(parts)                                           \
    "(SELECT pg_catalog.count(*),"                                        \
    "  coalesce(pg_catalog.sum(x.xid::pg_catalog.text::pg_catalog.int8)," \
    "   0)::pg_catalog.int8 AS sum"                                       \
    "  FROM pg_catalog.unnest(" parts ") AS part (oid), LATERAL ("        \
    "   SELECT xmin FROM pg_catalog.pg_class WHERE oid" LM_SHAPE_EQ       \
    "   UNION ALL SELECT xmin FROM pg_catalog.pg_attribute WHERE "        \
    "attrelid" LM_SHAPE_EQ "   UNION ALL SELECT xmin FROM "               \
    "pg_catalog.pg_index WHERE indrelid" LM_SHAPE_EQ                      \
    "   UNION ALL SELECT xmin FROM pg_catalog.pg_inherits WHERE "         \
    "inhparent" LM_SHAPE_EQ "   UNION ALL SELECT xmin FROM "              \
    "pg_catalog.pg_trigger WHERE tgrelid" LM_SHAPE_EQ                     \
    "   UNION ALL SELECT xmin FROM pg_catalog.pg_rewrite WHERE "          \
    "ev_class" LM_SHAPE_EQ ") AS x (xid))"

/* The OIDs of an array in the first row. Freed by the caller. */
struct lm_oids lm_shape_read_oids(const struct lm_answer *result, int column);
/* Forgets all facts of a shape; keeps its form. */
void lm_shape_forget_facts(struct lm_shape *self);

#endif
