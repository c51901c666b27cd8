/* SPDX-License-Identifier: MIT */
/*
 * Which writes may be combined, and the statement that does it.
 *
 * A combined statement sees the table as it was before the first of its rows,
 * fires triggers after the last, and checks constraints in an order of its
 * own. So it is not for tables where somebody could notice: with triggers for
 * the verb, rules, row security, partitions elsewhere, children, a foreign key
 * to itself; not for columns of the key or of a unique or exclusion index
 * (a shift 1 to 2, 2 to 3 fails or not by order); not where the key is not
 * proved unique. Array parameters have the array type's OID, never a cast:
 * $1::character[] would cut to one letter in silence.
 */

#include "core/shape.h"

#include "pg/conn.h"
#include "pg/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* $1 table, $2 changed columns, $3 key columns, $4 the verb's bit in tgtype,
 * $5 whether triggers do not matter. */
static const char facts_sql[] =
    "WITH t AS (SELECT c.oid, c.relkind, c.relrowsecurity, c.relhassubclass"
    "  FROM pg_catalog.pg_class c"
    "  WHERE c.oid = pg_catalog.to_regclass($1)),"
    " tree AS (SELECT oid FROM t UNION SELECT p.relid::oid FROM t,"
    "  pg_catalog.pg_partition_tree(t.oid) p WHERE t.relkind = 'p'),"
    " cols AS (SELECT u.n, a.attnum, a.atttypid, y.typarray, y.typdelim,"
    "  y.typcategory, y.typtype, y.typbasetype,"
    "  u.n <= pg_catalog.cardinality($2::text[]) AS changed"
    "  FROM t, pg_catalog.unnest($2::text[] || $3::text[]) WITH ORDINALITY AS "
    "u (name, n)"
    "  JOIN pg_catalog.pg_attribute a ON a.attname = u.name"
    "   AND a.attnum > 0 AND NOT a.attisdropped"
    "  JOIN pg_catalog.pg_type y ON y.oid = a.atttypid"
    "  WHERE a.attrelid = t.oid),"
    " uniq AS (SELECT i.* FROM tree, pg_catalog.pg_index i WHERE"
    "  i.indrelid = tree.oid AND (i.indisunique OR i.indisexclusion))"
    " SELECT t.oid,"
    " t.relkind IN ('r', 'p') AND NOT t.relrowsecurity"
    " AND (t.relkind = 'p' OR NOT t.relhassubclass)"
    " AND NOT EXISTS (SELECT FROM tree JOIN pg_catalog.pg_class c USING (oid)"
    "  WHERE c.relkind NOT IN ('r', 'p') OR c.relrowsecurity)"
    " AND ($5 OR NOT EXISTS (SELECT FROM tree JOIN pg_catalog.pg_trigger g"
    "  ON g.tgrelid = tree.oid WHERE NOT g.tgisinternal"
    "  AND g.tgenabled <> 'D' AND g.tgtype & $4::int <> 0))"
    " AND NOT EXISTS (SELECT FROM tree JOIN pg_catalog.pg_rewrite r"
    "  ON r.ev_class = tree.oid)"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint f"
    "  WHERE f.contype = 'f' AND"
    "   coalesce(pg_catalog.pg_partition_root(f.conrelid), f.conrelid) ="
    "   coalesce(pg_catalog.pg_partition_root(t.oid), t.oid) AND"
    "   coalesce(pg_catalog.pg_partition_root(f.confrelid), f.confrelid) ="
    "   coalesce(pg_catalog.pg_partition_root(t.oid), t.oid))"
    /* What a deletion does to others may come back, or be seen by them. */
    " AND ($4 <> '8' OR NOT EXISTS (SELECT FROM pg_catalog.pg_constraint f"
    "  WHERE f.contype = 'f' AND f.confdeltype IN ('c', 'n', 'd') AND"
    "   coalesce(pg_catalog.pg_partition_root(f.confrelid), f.confrelid) ="
    "   coalesce(pg_catalog.pg_partition_root(t.oid), t.oid)))"
    /* Checks and defaults that may read the table. */
    " AND NOT EXISTS (SELECT FROM tree, pg_catalog.pg_depend d"
    "  JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid"
    "  WHERE d.refclassid = 'pg_catalog.pg_proc'::regclass"
    "  AND p.provolatile <> 'i' AND p.oid >= 16384 AND ("
    "   (d.classid = 'pg_catalog.pg_constraint'::regclass AND d.objid IN ("
    "    SELECT c.oid FROM pg_catalog.pg_constraint c"
    "    WHERE c.conrelid = tree.oid)) OR"
    "   (d.classid = 'pg_catalog.pg_attrdef'::regclass AND d.objid IN ("
    "    SELECT e.oid FROM pg_catalog.pg_attrdef e"
    "    WHERE e.adrelid = tree.oid))))"
    " AND (SELECT pg_catalog.count(*) FROM cols) = "
    "pg_catalog.cardinality($2::text[] || $3::text[])"
    " AND NOT EXISTS (SELECT FROM cols WHERE typarray = 0"
    "  OR typcategory IN ('A', 'C') OR typtype = 'c')"
    /* An update must not touch what is unique, nor its own key. */
    " AND ($4 <> '16' OR NOT EXISTS (SELECT FROM uniq WHERE"
    "  indexprs IS NOT NULL OR indpred IS NOT NULL OR EXISTS ("
    "   SELECT FROM pg_catalog.pg_attribute a WHERE"
    "   a.attrelid = uniq.indrelid AND a.attnum = ANY (uniq.indkey)"
    "   AND (a.attgenerated <> '' OR a.attname = ANY ($2::text[])))))"
    " AND NOT EXISTS (SELECT FROM cols a JOIN cols b USING (attnum)"
    "  WHERE a.changed AND NOT b.changed)"
    /* The key of a keyed write must be proved unique. */
    " AND ($4 = '4' OR EXISTS (SELECT FROM uniq WHERE indisunique"
    "  AND indrelid = t.oid AND indisvalid AND indimmediate AND indpred IS NULL"
    "  AND indexprs IS NULL AND NOT EXISTS ("
    "   SELECT FROM ROWS FROM (pg_catalog.unnest(uniq.indkey::int2[]),"
    "     pg_catalog.unnest(uniq.indcollation::oid[]), "
    "pg_catalog.unnest(uniq.indclass::oid[]))"
    "    AS k (attnum, coll, class) JOIN pg_catalog.pg_attribute a"
    "    ON a.attrelid = t.oid AND a.attnum = k.attnum"
    "    JOIN pg_catalog.pg_opclass o ON o.oid = k.class"
    "   WHERE k.class IS NOT NULL AND"
    "    (k.attnum NOT IN (SELECT attnum FROM cols WHERE NOT changed)"
    "    OR k.coll <> a.attcollation OR NOT o.opcdefault OR EXISTS ("
    "     SELECT FROM pg_catalog.pg_opclass own, pg_catalog.pg_type y"
    "     WHERE y.oid = a.atttypid AND own.opcdefault"
    "     AND own.opcmethod = o.opcmethod AND own.oid <> o.oid"
    "     AND own.opcintype IN (y.oid, y.typbasetype)))))),"
    " (SELECT pg_catalog.array_agg(atttypid::text ORDER BY n) FROM cols),"
    " (SELECT pg_catalog.array_agg(typarray::text ORDER BY n) FROM cols),"
    " (SELECT pg_catalog.string_agg(typdelim::text, '' ORDER BY n) FROM cols)"
    " FROM t";

static void
shape_free(struct lm_shape *self)
{
    for (int i = 0; i < self->change_count + self->key_count; i++)
        free(self->columns[i]);
    free(self->columns);
    free(self->table);
    free(self->types);
    free(self->array_types);
    free(self->delimiters);
    free(self->sql);
    free(self);
}

void
lm_shapes_release(struct lm_shapes *self)
{
    for (size_t i = 0; i < self->count; i++)
        shape_free(self->known[i]);
    free(self->known);
    self->known = NULL;
    self->count = 0;
}

static bool
same_names(char *const *columns, struct lm_names names)
{
    for (int i = 0; i < names.count; i++) {
        if (strcmp(columns[i], names.names[i]) != 0)
            return false;
    }
    return true;
}

static struct lm_shape *
look_up(const struct lm_shapes *self, enum lm_verb verb, const char *table,
        struct lm_names changes, struct lm_names key)
{
    for (size_t i = 0; i < self->count; i++) {
        struct lm_shape *shape = self->known[i];

        if (shape->verb == verb && shape->change_count == changes.count &&
            shape->key_count == key.count && strcmp(shape->table, table) == 0 &&
            same_names(shape->columns, changes) &&
            same_names(shape->columns + changes.count, key))
            return shape;
    }
    return NULL;
}

static struct lm_shape *
shape_new(enum lm_verb verb, const char *table, struct lm_names changes,
          struct lm_names key)
{
    struct lm_shape *self = lm_calloc(1, sizeof *self);
    size_t count = (size_t)changes.count + (size_t)key.count;

    self->verb = verb;
    self->table = lm_strdup(table);
    self->change_count = changes.count;
    self->key_count = key.count;
    self->columns = lm_calloc(count, sizeof *self->columns);
    for (int i = 0; i < changes.count; i++)
        self->columns[i] = lm_strdup(changes.names[i]);
    for (int i = 0; i < key.count; i++)
        self->columns[changes.count + i] = lm_strdup(key.names[i]);
    return self;
}

/* -- the combined statement ------------------------------------------- */

/* The subselects hide the arrays' lengths from the planner: it would turn from
 * the index to a sequential scan where a batch is large. */
static void
add_unnest(struct lm_buf *sql, int count)
{
    lm_buf_puts(sql, "ROWS FROM (");
    for (int i = 0; i < count; i++) {
        lm_buf_printf(sql, "%spg_catalog.unnest((SELECT $%d))",
                      i > 0 ? ", " : "", i + 1);
    }
    lm_buf_puts(sql, ") AS v (");
    for (int i = 0; i < count; i++)
        lm_buf_printf(sql, "%sc%d", i > 0 ? ", " : "", i + 1);
    lm_buf_putc(sql, ')');
}

static void
add_key_condition(struct lm_buf *sql, const struct lm_shape *shape)
{
    lm_buf_puts(sql, " WHERE ");
    for (int i = 0; i < shape->key_count; i++) {
        lm_buf_puts(sql, i > 0 ? " AND t." : "t.");
        lm_sql_add_identifier(sql, shape->columns[shape->change_count + i]);
        lm_buf_printf(sql, " = v.c%d", shape->change_count + i + 1);
    }
    lm_buf_puts(sql, " RETURNING 1");
}

static bool
add_statement(struct lm_buf *sql, const struct lm_shape *shape)
{
    int count = shape->change_count + shape->key_count;

    switch (shape->verb) {
    case LM_VERB_INSERT:
        lm_buf_puts(sql, "INSERT INTO ");
        if (!lm_sql_add_table(sql, shape->table))
            return false;
        for (int i = 0; i < count; i++) {
            lm_buf_puts(sql, i > 0 ? ", " : " (");
            lm_sql_add_identifier(sql, shape->columns[i]);
        }
        lm_buf_puts(sql, ") SELECT * FROM ");
        add_unnest(sql, count);
        lm_buf_puts(sql, " RETURNING 1");
        return true;
    case LM_VERB_UPDATE:
        lm_buf_puts(sql, "UPDATE ");
        if (!lm_sql_add_table(sql, shape->table))
            return false;
        lm_buf_puts(sql, " AS t SET ");
        for (int i = 0; i < shape->change_count; i++) {
            if (i > 0)
                lm_buf_puts(sql, ", ");
            lm_sql_add_identifier(sql, shape->columns[i]);
            lm_buf_printf(sql, " = v.c%d", i + 1);
        }
        lm_buf_puts(sql, " FROM ");
        add_unnest(sql, count);
        add_key_condition(sql, shape);
        return true;
    case LM_VERB_DELETE:
        break;
    }
    lm_buf_puts(sql, "DELETE FROM ");
    if (!lm_sql_add_table(sql, shape->table))
        return false;
    lm_buf_puts(sql, " AS t USING ");
    add_unnest(sql, count);
    add_key_condition(sql, shape);
    return true;
}

static bool
build_sql(struct lm_shape *shape, const char *journal)
{
    struct lm_buf sql = LM_BUF_INIT;
    bool ok;

    lm_buf_puts(&sql, "WITH written AS (");
    ok = add_statement(&sql, shape);
    lm_buf_puts(&sql, ") SELECT ");
    lm_sql_add_identifier(&sql, journal);
    lm_buf_printf(&sql, ".expect(pg_catalog.count(*), $%d) FROM written",
                  shape->change_count + shape->key_count + 1);
    shape->sql = lm_buf_take(&sql);
    return ok;
}

/* -- asking ----------------------------------------------------------- */

static const char *
trigger_bit(enum lm_verb verb)
{
    switch (verb) {
    case LM_VERB_INSERT:
        return "4";
    case LM_VERB_UPDATE:
        return "16";
    case LM_VERB_DELETE:
        break;
    }
    return "8";
}

static bool
read_types(struct lm_shape *shape, const struct lm_result *result,
           struct lm_conn *conn, struct lm_types *types, struct lm_err *err)
{
    char **oids = NULL;
    char **arrays = NULL;
    int count = lm_sql_parse_array(lm_result_text(result, 0, 2), &oids);
    int array_count = lm_sql_parse_array(lm_result_text(result, 0, 3), &arrays);
    bool ok = true;

    shape->oid = (uint32_t)lm_result_int(result, 0, 0);
    shape->delimiters = lm_strdup(lm_result_text(result, 0, 4));
    shape->types = lm_calloc((size_t)count, sizeof *shape->types);
    shape->array_types = lm_calloc((size_t)count, sizeof *shape->array_types);
    for (int i = 0; ok && i < count; i++) {
        shape->array_types[i] = (uint32_t)strtoul(arrays[i], NULL, 10);
        ok = lm_types_find(types, conn, (uint32_t)strtoul(oids[i], NULL, 10),
                           &shape->types[i], err);
    }
    lm_sql_free_array(oids, count);
    lm_sql_free_array(arrays, array_count);
    return ok;
}

static char *
as_array(struct lm_names names)
{
    struct lm_buf buf = LM_BUF_INIT;

    lm_sql_add_array(&buf, names.names, names.count);
    return lm_buf_take(&buf);
}

static bool
ask(struct lm_shape *shape, struct lm_conn *conn, struct lm_types *types,
    const struct lm_combine_options *options, struct lm_names changes,
    struct lm_names key, struct lm_err *err)
{
    struct lm_buf table = LM_BUF_INIT;
    char *change_array = as_array(changes);
    char *key_array = as_array(key);
    struct lm_result *result = NULL;
    struct lm_stmt *stmt;
    bool ok = true;

    if (lm_sql_add_table(&table, shape->table)) {
        const char *texts[] = {lm_buf_text(&table), change_array, key_array,
                               trigger_bit(shape->verb),
                               options->always ? "t" : "f"};
        struct lm_values values = {texts, 5};

        ok = lm_conn_prepare(conn, facts_sql, NULL, 0, &stmt, err) &&
             lm_conn_execute(conn, stmt, values, &result, err);
        if (ok && lm_result_rows(result) == 1 && lm_result_bool(result, 0, 1)) {
            ok = read_types(shape, result, conn, types, err);
            shape->may_combine = ok && build_sql(shape, options->journal);
        }
        lm_result_free(result);
    }
    lm_buf_release(&table);
    free(change_array);
    free(key_array);
    return ok;
}

bool
lm_shapes_find(struct lm_shapes *self, struct lm_conn *conn,
               struct lm_types *types, const struct lm_combine_options *options,
               enum lm_verb verb, const char *table, struct lm_names changes,
               struct lm_names key, struct lm_shape **out, struct lm_err *err)
{
    struct lm_shape *shape = look_up(self, verb, table, changes, key);

    if (shape == NULL) {
        shape = shape_new(verb, table, changes, key);
        if (changes.count + key.count > 0 &&
            !ask(shape, conn, types, options, changes, key, err)) {
            shape_free(shape);
            return false;
        }
        self->known =
            lm_realloc(self->known, self->count + 1, sizeof(struct lm_shape *));
        self->known[self->count++] = shape;
    }
    *out = shape;
    return true;
}
