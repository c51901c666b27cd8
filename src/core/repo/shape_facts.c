/* SPDX-License-Identifier: MIT */
/*
 * What the catalog says about a form of writes: may they be combined?
 *
 * A combined statement sees the table as it was before the first of its rows,
 * fires triggers after the last, and checks constraints in an order of its
 * own. So it is not used if that could make a difference: for tables with
 * triggers for the verb, rules, row security, foreign partitions, children, or
 * a foreign key to itself; for columns of the key or of a unique or exclusion
 * index (a shift 1 to 2, 2 to 3 fails or not by order); or if the key is not
 * proved unique. Array parameters have the array type's OID, never a cast:
 * $1::character[] would silently cut to one letter. Values that an array
 * cannot hold, arrays and composites, travel as text and are cast one by one,
 * to the base type by its own name, which has no length.
 */

#include "core/repo/shape_private.h"

#include "pg/conn/order.h"
#include "pg/conn/own.h"
#include "pg/sql/sql.h"

#include <stdlib.h>
#include <string.h>

/* How a key column compares, and what the value needs after it: the type where
 * the operator takes rows of any, the column's collation where it is not the
 * type's. */
#define BASE_EQUALITY LM_ORDER_EQUALITY("cols.base")
#define EQUALS                                                            \
    " equals AS (SELECT cols.n, " BASE_EQUALITY " AS op,"                 \
    "  pg_catalog.concat(CASE WHEN cols.typtype = 'c' THEN"               \
    "   (SELECT pg_catalog.format('::%I.%I', s.nspname, cols.typname)"    \
    "    FROM pg_catalog.pg_namespace s WHERE s.oid = cols.typnamespace)" \
    "   END, (SELECT pg_catalog.format(' COLLATE %I.%I', s.nspname,"      \
    "    l.collname) FROM pg_catalog.pg_collation l"                      \
    "   JOIN pg_catalog.pg_namespace s ON s.oid = l.collnamespace"        \
    "   WHERE l.oid = cols.attcollation AND l.oid <> cols.typcollation))" \
    "   AS suffix FROM cols WHERE is_key),"

/* $1 table, $2 columns and then key columns, $3 key columns, $4 columns that
 * an UPDATE sets, $5 the verb's bits in tgtype, $6 whether triggers do not
 * matter, $7 whether the keys are counted, $8 other columns, $9 columns to whose
 * old value something is added. */
static const char facts_sql[] = LM_OWN_ABOUT_TABLE
    "WITH RECURSIVE t AS (SELECT c.oid, c.relkind, c.relrowsecurity, "
    "c.relhassubclass,"
    "  coalesce(pg_catalog.pg_partition_root(c.oid), c.oid)::oid AS root"
    "  FROM pg_catalog.pg_class c"
    "  WHERE c.oid = " LM_OWN_TABLE "),"
    " parts AS (SELECT CASE t.relkind WHEN 'p' THEN ARRAY("
    "  SELECT p.relid::oid FROM pg_catalog.pg_partition_tree(t.oid) p)"
    "  ELSE ARRAY[t.oid] END AS every FROM t),"
    " tree AS (SELECT u.oid FROM parts, pg_catalog.unnest(parts.every)"
    "  AS u (oid)),"
    /* The types of all columns, and what is below their domains. */
    " chain AS (SELECT DISTINCT y.oid AS top, y.oid, y.typtype, y.typbasetype"
    "   FROM tree JOIN pg_catalog.pg_attribute a ON a.attrelid = tree.oid"
    "    AND a.attnum > 0 AND NOT a.attisdropped"
    "   JOIN pg_catalog.pg_type y ON y.oid = a.atttypid"
    "  UNION ALL SELECT c.top, y.oid, y.typtype, y.typbasetype FROM chain c"
    "   JOIN pg_catalog.pg_type y ON y.oid = c.typbasetype"
    "   WHERE c.typtype = 'd'),"
    /* A key is compared as its base type, and a sum is made by it; other
     * columns take what their own type takes. */
    " cols AS (SELECT u.n, a.attnum, a.attname, a.attcollation,"
    "  y.oid AS type, y.typarray, y.typdelim, b.oid AS base, b.typtype,"
    "  b.typcollation,"
    "  b.typname, b.typnamespace,"
    "  b.typcategory IN ('A', 'C') OR b.typtype = 'c' AS as_text,"
    "  k.is_key, k.is_sum"
    "  FROM t, pg_catalog.unnest($2::text[]) WITH ORDINALITY AS u (name, n),"
    "  LATERAL (SELECT u.n > pg_catalog.cardinality($2::text[])"
    "   - pg_catalog.cardinality($3::text[])) AS p (is_key),"
    "  LATERAL (SELECT p.is_key, NOT p.is_key AND u.name = ANY ($9::text[]))"
    "   AS k (is_key, is_sum),"
    "  pg_catalog.pg_attribute a JOIN chain c ON c.top = a.atttypid"
    "   AND c.typtype <> 'd' JOIN pg_catalog.pg_type b ON b.oid = c.oid,"
    "  pg_catalog.pg_type y"
    "  WHERE a.attrelid = t.oid AND a.attname = u.name::name"
    "  AND a.attnum > 0 AND NOT a.attisdropped"
    "  AND y.oid = CASE WHEN k.is_key OR k.is_sum THEN b.oid"
    "   ELSE a.atttypid END)," EQUALS
    " unsuited AS (SELECT n, pg_catalog.format_type(base, NULL) AS type"
    "  FROM cols WHERE is_sum AND base <> ALL ('{int2,int4,int8,float4,float8,"
    "numeric}'::regtype[]) ORDER BY n LIMIT 1),"
    " uniq AS (SELECT i.* FROM tree, pg_catalog.pg_index i WHERE"
    "  i.indrelid = tree.oid AND (i.indisunique OR i.indisexclusion)),"
    /* Foreign keys, by the roots of both sides. */
    " keys AS (SELECT k.* FROM t, (SELECT f.confdeltype,"
    "   coalesce(pg_catalog.pg_partition_root(f.conrelid), f.conrelid)::oid"
    "    AS child,"
    "   coalesce(pg_catalog.pg_partition_root(f.confrelid), f.confrelid)::oid"
    "    AS parent FROM pg_catalog.pg_constraint f WHERE f.contype = 'f') k"
    "  WHERE t.root IN (k.child, k.parent)),"
    /* What checks and defaults are made of, also those of domains. */
    " parts_of AS (SELECT 'pg_catalog.pg_constraint'::regclass AS class, c.oid,"
    "   NULL::text AS text FROM tree JOIN pg_catalog.pg_constraint c"
    "   ON c.conrelid = tree.oid"
    "  UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass, c.oid, NULL"
    "   FROM chain JOIN pg_catalog.pg_constraint c ON c.contypid = chain.oid"
    "   WHERE chain.typtype = 'd'"
    "  UNION ALL SELECT 'pg_catalog.pg_attrdef'::regclass, e.oid,"
    "   pg_catalog.pg_get_expr(e.adbin, e.adrelid)"
    "   FROM tree JOIN pg_catalog.pg_attrdef e ON e.adrelid = tree.oid"
    "  UNION ALL SELECT 'pg_catalog.pg_type'::regclass, y.oid, y.typdefault"
    "   FROM chain JOIN pg_catalog.pg_type y ON y.oid = chain.oid"
    "   WHERE chain.typtype = 'd'),"
    " used AS (SELECT d.classid, d.objid, d.refclassid, d.refobjid"
    "  FROM parts_of JOIN pg_catalog.pg_depend d"
    "  ON d.classid = parts_of.class AND d.objid = parts_of.oid),"
    " numbers AS (SELECT used.classid, used.objid, s.oid FROM used"
    "  JOIN pg_catalog.pg_class s ON s.oid = used.refobjid"
    "  WHERE used.refclassid = 'pg_catalog.pg_class'::regclass"
    "  AND s.relkind = 'S'),"
    " triggers AS (SELECT FROM tree JOIN pg_catalog.pg_trigger g"
    "  ON g.tgrelid = tree.oid WHERE NOT g.tgisinternal"
    "  AND g.tgenabled <> 'D' AND g.tgtype & $5::int <> 0)"
    " SELECT t.oid, parts.every::text[], v.count, v.sum,"
    " t.relkind IN ('r', 'p') AND NOT t.relrowsecurity"
    " AND (t.relkind = 'p' OR NOT t.relhassubclass)"
    " AND NOT EXISTS (SELECT FROM tree JOIN pg_catalog.pg_class c USING (oid)"
    "  WHERE c.relkind NOT IN ('r', 'p') OR c.relrowsecurity)"
    " AND ($6 OR NOT EXISTS (SELECT FROM triggers))"
    " AND NOT EXISTS (SELECT FROM tree JOIN pg_catalog.pg_rewrite r"
    "  ON r.ev_class = tree.oid)"
    " AND NOT EXISTS (SELECT FROM keys WHERE child = parent)"
    /* What a deletion does to others may come back, or be seen by them. */
    " AND ($5::int & 8 = 0 OR NOT EXISTS (SELECT FROM keys"
    "  WHERE parent = t.root AND confdeltype IN ('c', 'n', 'd')))"
    /* Checks and defaults that may read the table. */
    " AND NOT EXISTS (SELECT FROM used LEFT JOIN pg_catalog.pg_operator o"
    "  ON used.refclassid = 'pg_catalog.pg_operator'::regclass"
    "   AND o.oid = used.refobjid JOIN pg_catalog.pg_proc p"
    "  ON p.oid = CASE used.refclassid"
    "   WHEN 'pg_catalog.pg_proc'::regclass THEN used.refobjid"
    "   ELSE o.oprcode END"
    "  WHERE p.provolatile <> 'i' AND p.oid >= 16384)"
    " AND NOT EXISTS (SELECT FROM unsuited)"
    " AND $2::text[] <> '{}' AND pg_catalog.cardinality($2::text[]) ="
    "  (SELECT pg_catalog.count(*) FROM cols)"
    " AND NOT EXISTS (SELECT FROM cols WHERE typarray = 0 AND NOT as_text)"
    /* Text is to become what the type's own input makes of it. */
    " AND NOT EXISTS (SELECT FROM cols JOIN pg_catalog.pg_cast c"
    "  ON c.castsource = 'text'::regtype AND c.casttarget = cols.base"
    "  WHERE as_text)"
    /* A key is compared by an equality of its own type; in k = $1 the server
     * would else take the parameter for another type. */
    " AND NOT EXISTS (SELECT FROM equals WHERE op IS NULL)"
    " AND NOT EXISTS (SELECT FROM cols WHERE is_key AND NOT as_text"
    "  AND typtype NOT IN ('e', 'r', 'm') AND NOT EXISTS ("
    "   SELECT FROM pg_catalog.pg_opclass c JOIN pg_catalog.pg_am m"
    "   ON m.oid = c.opcmethod AND m.amname IN ('btree', 'hash')"
    "   WHERE c.opcdefault AND (c.opcintype = cols.base"
    "    OR (cols.base = 'varchar'::regtype AND c.opcintype = "
    "'text'::regtype))))"
    /* An update must not touch what is unique, nor its own key. */
    " AND ($4::text[] = '{}' OR NOT EXISTS (SELECT FROM uniq WHERE"
    "  indexprs IS NOT NULL OR indpred IS NOT NULL OR EXISTS ("
    "   SELECT FROM pg_catalog.pg_attribute a WHERE"
    "   a.attrelid = uniq.indrelid AND a.attnum = ANY (uniq.indkey)"
    "   AND (a.attgenerated <> '' OR a.attname = ANY ($4::text[]::name[])))))"
    " AND NOT $3::text[] && $4::text[]"
    /* Keys are counted by the type's own equality. */
    " AND NOT ($7 AND EXISTS (SELECT FROM cols JOIN pg_catalog.pg_collation l"
    "  ON l.oid = cols.attcollation"
    "  WHERE is_key AND NOT l.collisdeterministic))"
    /* The key of a keyed write must be proved unique. */
    " AND ($3::text[] = '{}' OR EXISTS (SELECT FROM uniq WHERE indisunique"
    "  AND indrelid = t.oid AND indisvalid AND indimmediate AND indpred IS NULL"
    "  AND indexprs IS NULL AND NOT EXISTS ("
    "   SELECT FROM ROWS FROM (pg_catalog.unnest(uniq.indkey::int2[]),"
    "     pg_catalog.unnest(uniq.indcollation::oid[]), "
    "pg_catalog.unnest(uniq.indclass::oid[]))"
    "    WITH ORDINALITY AS k (attnum, coll, class, n)"
    "    JOIN pg_catalog.pg_attribute a"
    "    ON a.attrelid = t.oid AND a.attnum = k.attnum"
    "    JOIN pg_catalog.pg_opclass o ON o.oid = k.class"
    "   WHERE k.n <= uniq.indnkeyatts AND"
    "    (k.attnum NOT IN (SELECT attnum FROM cols WHERE is_key)"
    "    OR k.coll <> a.attcollation OR NOT o.opcdefault OR EXISTS ("
    "     SELECT FROM pg_catalog.pg_opclass own, pg_catalog.pg_type y"
    "     WHERE y.oid = a.atttypid AND own.opcdefault"
    "     AND own.opcmethod = o.opcmethod AND own.oid <> o.oid"
    "     AND own.opcintype IN (y.oid, y.typbasetype)))))),"
    " (SELECT u.name FROM pg_catalog.unnest($2::text[] || $8::text[])"
    "  WITH ORDINALITY AS u (name, n) WHERE NOT EXISTS ("
    "   SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.oid"
    "   AND a.attname = u.name::name AND NOT a.attisdropped"
    "   AND (a.attnum > 0 OR u.name = ANY ($3::text[])))"
    "  ORDER BY u.n LIMIT 1) AS stray,"
    " (SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attnum)"
    "  FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.oid"
    "  AND a.attnum > 0 AND NOT a.attisdropped),"
    /* A sequence that nobody has recorded may be any. */
    " t.root, EXISTS (SELECT FROM triggers) OR EXISTS (SELECT FROM parts_of"
    "  WHERE text ~ '\\m(nextval|currval|lastval|setval)\\M'"
    "  AND NOT EXISTS (SELECT FROM numbers WHERE classid = class"
    "   AND objid = parts_of.oid)),"
    " ARRAY(SELECT child::text FROM keys UNION SELECT parent::text FROM keys),"
    " ARRAY(SELECT oid::text FROM numbers UNION"
    "  SELECT d.objid::text FROM tree JOIN pg_catalog.pg_depend d"
    "  ON d.refclassid = 'pg_catalog.pg_class'::regclass"
    "   AND d.refobjid = tree.oid"
    "   AND d.classid = 'pg_catalog.pg_class'::regclass"
    "  JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'),"
    " (SELECT pg_catalog.array_agg(type::text ORDER BY n) FROM cols),"
    " (SELECT pg_catalog.array_agg("
    "  CASE WHEN as_text THEN '1009' ELSE typarray::text END"
    "  ORDER BY n) FROM cols),"
    " (SELECT pg_catalog.string_agg("
    "  CASE WHEN as_text THEN ',' ELSE typdelim::text END, ''"
    "  ORDER BY n) FROM cols),"
    " (SELECT pg_catalog.array_agg("
    "  CASE WHEN as_text THEN pg_catalog.format('%I.%I', nspname, typname) END"
    "  ORDER BY n) FROM cols JOIN pg_catalog.pg_namespace s"
    "  ON s.oid = typnamespace)"
    ", ARRAY(SELECT coalesce(op, '=') FROM equals ORDER BY n),"
    " ARRAY(SELECT suffix FROM equals ORDER BY n),"
    " (SELECT n FROM unsuited), (SELECT type FROM unsuited)"
    " FROM t, parts, LATERAL " LM_SHAPE_VERSION("parts.every") " AS v";
static const char facts_shape[] =
    "?: o o[] n i b t? t[]? o b o[] o[] o[]? o[]? t? t?[]? t[] t[] i? t?";

enum fact {
    FACT_OID,
    FACT_PARTS,
    FACT_VERSION_COUNT,
    FACT_VERSION_SUM,
    FACT_MAY_COMBINE,
    FACT_STRAY,
    FACT_COLUMNS,
    FACT_ROOT,
    FACT_FIRES,
    FACT_LINKED,
    FACT_SEQUENCES,
    FACT_TYPES,
    FACT_ARRAY_TYPES,
    FACT_DELIMITERS,
    FACT_CASTS,
    FACT_EQUAL,
    FACT_SUFFIXES,
    FACT_UNSUITED,
    FACT_UNSUITED_TYPE
};

/* The bits of pg_trigger.tgtype. */
static const char *
trigger_bits(const struct lm_form *form)
{
    switch (form->verb) {
    case LM_VERB_INSERT:
        return form->conflict == LM_CONFLICT_UPDATE ? "20" : "4";
    case LM_VERB_UPDATE:
        return "16";
    case LM_VERB_DELETE:
        break;
    }
    return "8";
}

/* The array of all names of the lists. */
static void
add_names(struct lm_buf *buf, const struct lm_names *lists, int count)
{
    const char **all = NULL;
    int length = 0;

    for (int i = 0; i < count; i++) {
        for (int n = 0; n < lists[i].count; n++)
            LM_ADD(all, length) = lists[i].names[n];
    }
    lm_sql_add_array(buf, all, length);
    free((void *)all);
}

/* The columns that an UPDATE sets, also that of an insert. */
static void
add_set_columns(struct lm_buf *buf, const struct lm_form *form)
{
    bool is_update = form->verb == LM_VERB_UPDATE;
    const struct lm_names lists[] = {is_update ? form->changes
                                               : form->overwritten,
                                     form->copied, form->summed};

    add_names(buf, lists, LM_COUNT(lists));
}

static void
add_sums(struct lm_buf *buf, const struct lm_form *form)
{
    const char **sums = NULL;
    int count = 0;

    for (int i = 0; form->sums != NULL && i < form->changes.count; i++) {
        if (form->sums[i])
            LM_ADD(sums, count) = form->changes.names[i];
    }
    lm_sql_add_array(buf, sums, count);
    free((void *)sums);
}

struct lm_oids
lm_shape_read_oids(const struct lm_answer *result, int column)
{
    struct lm_oids oids;

    oids.count = lm_answer_oids(result, 0, column, &oids.oids);
    return oids;
}

static bool
read_types(struct lm_shape *shape, const struct lm_answer *result,
           struct lm_conn *conn, struct lm_types *types, struct lm_err *err)
{
    struct lm_oids oids = lm_shape_read_oids(result, FACT_TYPES);
    bool ok = true;

    shape->types = lm_calloc((size_t)oids.count, sizeof(void *));
    for (int i = 0; ok && i < oids.count; i++)
        ok = lm_types_find(types, conn, oids.oids[i], &shape->types[i], err);
    free(oids.oids);
    return ok;
}

/* The parameters' types: the arrays, and the number of rows. */
static void
read_array_types(struct lm_shape *shape, const struct lm_answer *result)
{
    struct lm_oids oids = lm_shape_read_oids(result, FACT_ARRAY_TYPES);

    oids.oids = lm_realloc(oids.oids, (size_t)oids.count + 1, sizeof(uint32_t));
    oids.oids[oids.count] = LM_TYPE_INT8;
    shape->array_types = oids;
}

static void
add_distinct(struct lm_shape *shape, struct lm_names columns)
{
    for (int i = 0; i < columns.count; i++) {
        for (int at = 0; at < lm_shape_column_count(shape); at++) {
            if (strcmp(lm_shape_column(shape, at), columns.names[i]) != 0)
                continue;
            LM_ADD(shape->distinct, shape->distinct_count) = at;
        }
    }
}

/* What may be combined has a type, an array's type, a delimiter and a cast for
 * each column. */
static bool
check_columns(const struct lm_shape *shape, const struct lm_answer *result,
              struct lm_err *err)
{
    int count = lm_shape_column_count(shape);
    struct lm_oids types = lm_shape_read_oids(result, FACT_TYPES);
    struct lm_oids arrays = lm_shape_read_oids(result, FACT_ARRAY_TYPES);
    char **casts = NULL;
    int cast_count = lm_answer_texts(result, 0, FACT_CASTS, &casts);
    size_t delimiters = strlen(lm_answer_text(result, 0, FACT_DELIMITERS));
    bool ok = types.count == count && arrays.count == count &&
              cast_count == count && delimiters == (size_t)count;

    free(types.oids);
    free(arrays.oids);
    lm_free_texts(casts, cast_count);
    return ok || lm_answer_fail(result, "not all columns are there", err);
}

/* Citus casts no column of the values in UPDATE or DELETE. */
static bool
may_cast(const struct lm_shape *shape, const struct lm_conn *conn,
         char *const *casts, int count)
{
    for (int i = 0; i < count; i++) {
        if (casts[i] != NULL && shape->form.verb != LM_VERB_INSERT &&
            lm_conn_is_citus(conn))
            return false;
    }
    return true;
}

static bool
read_combined(struct lm_shape *shape, const struct lm_answer *result,
              struct lm_conn *conn, struct lm_types *types, const char *journal,
              struct lm_err *err)
{
    struct lm_buf sql = LM_BUF_INIT;
    char **casts = NULL;
    int count;

    if (!check_columns(shape, result, err) ||
        !read_types(shape, result, conn, types, err))
        return false;
    read_array_types(shape, result);
    shape->delimiters = lm_answer_copy(result, 0, FACT_DELIMITERS);
    shape->root = lm_answer_oid(result, 0, FACT_ROOT);
    shape->fires = lm_answer_bool(result, 0, FACT_FIRES);
    shape->linked = lm_shape_read_oids(result, FACT_LINKED);
    shape->sequences = lm_shape_read_oids(result, FACT_SEQUENCES);
    add_distinct(shape, shape->form.key);
    add_distinct(shape, shape->form.target);
    count = lm_answer_texts(result, 0, FACT_CASTS, &casts);
    shape->may_combine =
        may_cast(shape, conn, casts, count) &&
        lm_write_combined(&sql, &shape->form, shape->equal, casts, journal);
    shape->sql = lm_buf_take(&sql);
    shape->may_combine =
        shape->may_combine && lm_write_one(&sql, &shape->form, shape->equal);
    shape->single_sql = lm_buf_take(&sql);
    lm_free_texts(casts, count);
    return true;
}

/* Fewer than key columns: one of them is not there. */
static void
read_equal(struct lm_shape *shape, const struct lm_answer *result)
{
    char **ops = NULL;
    char **suffixes = NULL;
    int count = lm_answer_texts(result, 0, FACT_EQUAL, &ops);
    int other = lm_answer_texts(result, 0, FACT_SUFFIXES, &suffixes);

    if (count == shape->form.key.count && other == count) {
        shape->equal = lm_calloc((size_t)count, sizeof *shape->equal);
        for (int i = 0; i < count; i++) {
            shape->equal[i].op = lm_strdup(ops[i]);
            shape->equal[i].collate = lm_strdup(suffixes[i]);
        }
    }
    lm_free_texts(ops, count);
    lm_free_texts(suffixes, other);
}

/* An update by a condition is a statement of its own. So is an insert that
 * returns its row: INSERT ... SELECT returns rows in no known order. */
static bool
is_alone(const struct lm_form *form)
{
    return form->returned.count > 0 ||
           (form->verb == LM_VERB_UPDATE && form->key.count == 0);
}

static bool
read_facts(struct lm_shape *shape, const struct lm_answer *result,
           struct lm_conn *conn, struct lm_types *types, const char *journal,
           struct lm_err *err)
{
    shape->known = true;
    if (lm_answer_rows(result) == 0)
        return true; /* the statement itself will say so */
    shape->oid = lm_answer_oid(result, 0, FACT_OID);
    shape->parts = lm_shape_read_oids(result, FACT_PARTS);
    shape->version.count = lm_answer_int(result, 0, FACT_VERSION_COUNT);
    shape->version.sum = lm_answer_int(result, 0, FACT_VERSION_SUM);
    shape->stray = lm_answer_copy(result, 0, FACT_STRAY);
    shape->column_count =
        lm_answer_texts(result, 0, FACT_COLUMNS, &shape->columns);
    read_equal(shape, result);
    if (!lm_answer_is_null(result, 0, FACT_UNSUITED)) {
        shape->unsuited = (int)lm_answer_int(result, 0, FACT_UNSUITED) - 1;
        shape->unsuited_type = lm_answer_copy(result, 0, FACT_UNSUITED_TYPE);
    }
    return is_alone(&shape->form) ||
           !lm_answer_bool(result, 0, FACT_MAY_COMBINE) ||
           read_combined(shape, result, conn, types, journal, err);
}

bool
lm_shapes_ask(struct lm_conn *conn, struct lm_types *types,
              const struct lm_combine_options *options, struct lm_shape *shape,
              struct lm_err *err)
{
    enum { COLUMNS, KEY, SET, OTHERS, SUMS, ARRAYS };
    const struct lm_form *form = &shape->form;
    struct lm_buf table = LM_BUF_INIT;
    struct lm_buf arrays[ARRAYS] = {LM_BUF_INIT};
    const struct lm_names columns[] = {form->changes, form->key};
    const struct lm_names others[] = {form->target,  form->overwritten,
                                      form->summed,  form->copied,
                                      form->sources, form->returned};
    struct lm_answer *result = NULL;
    struct lm_stmt *stmt;
    bool ok = true;

    lm_shape_forget_facts(shape);
    if (!lm_sql_add_table(&table, form->table)) {
        lm_buf_release(&table);
        return true; /* the statement itself will say so */
    }
    shape->name = lm_buf_take(&table);
    add_names(&arrays[COLUMNS], columns, LM_COUNT(columns));
    add_names(&arrays[KEY], &form->key, 1);
    add_set_columns(&arrays[SET], form);
    add_names(&arrays[OTHERS], others, LM_COUNT(others));
    add_sums(&arrays[SUMS], form);
    {
        ok = lm_conn_prepare_rare(conn, facts_sql, &stmt, err) &&
             lm_conn_ask_prepared(
                 conn, stmt, facts_shape,
                 LM_VALUES(shape->name, lm_buf_text(&arrays[COLUMNS]),
                           lm_buf_text(&arrays[KEY]), lm_buf_text(&arrays[SET]),
                           trigger_bits(form), options->always ? "t" : "f",
                           form->may_miss ? "t" : "f",
                           lm_buf_text(&arrays[OTHERS]),
                           lm_buf_text(&arrays[SUMS])),
                 &result, err) &&
             read_facts(shape, result, conn, types, options->journal, err);
    }
    lm_answer_free(result);
    for (int i = 0; i < ARRAYS; i++)
        lm_buf_release(&arrays[i]);
    if (!ok)
        lm_shape_forget_facts(shape);
    return ok;
}
