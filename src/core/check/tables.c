/* SPDX-License-Identifier: MIT */
/*
 * The tables that the base query reads: what else happens if they are written,
 * and what the role may do there. The plan names the tables, below all views;
 * for a partition it means the whole table. luamig does not know which other
 * tables a script writes.
 *
 * One statement reads all facts; each fact is a text, or NULL if there is
 * nothing to say.
 */

#include "core/check/private.h"

#include "base/clock.h"
#include "pg/conn/own.h"
#include "pg/sql/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Foreign keys that are; NOT ENFORCED, of version 18, there is no column for
 * in earlier ones. */
#define ENFORCED                                 \
    "f.contype = 'f' AND pg_catalog.to_jsonb(f)" \
    " OPERATOR(pg_catalog.->) 'conenforced'"     \
    " IS DISTINCT FROM 'false'::pg_catalog.jsonb"

static const char tables_sql[] = LM_OWN
    "WITH named AS (SELECT c.oid FROM ROWS FROM ("
    "   pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]))"
    "   AS w (schema, name)"
    "  JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema"
    "  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid"
    "   AND c.relname = w.name"
    "  UNION SELECT k.oid FROM pg_catalog.unnest($3::pg_catalog.oid[])"
    "   AS k (oid)),"
    " target AS (SELECT DISTINCT coalesce("
    "   pg_catalog.pg_partition_root(oid)::pg_catalog.oid, oid) AS oid"
    "  FROM named),"
    " member AS (SELECT t.oid AS target, t.oid FROM target t"
    "  UNION SELECT t.oid, p.relid::pg_catalog.oid FROM target t,"
    "   pg_catalog.pg_partition_tree(t.oid::regclass) p),"
    " sizes AS (SELECT m.target, count(*) AS partitions, CASE WHEN bool_or("
    /* never analyzed, and not empty */
    "    CASE WHEN c.relkind = 'f' THEN c.reltuples <= 0 ELSE"
    "     (c.relpages = 0 OR c.reltuples < 0)"
    "     AND pg_catalog.pg_relation_size(c.oid) > 0 END) THEN NULL"
    "    ELSE sum(greatest(c.reltuples, 0))::bigint END AS rows"
    "  FROM member m JOIN pg_catalog.pg_class c ON c.oid = m.oid"
    "  WHERE c.relkind <> 'p' GROUP BY m.target)"
    " SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind,"
    "  CASE WHEN s.target IS NULL THEN 0 ELSE s.rows END,"
    "  coalesce(s.partitions, 0),"
    "  c.relpersistence = 'u',"
    "  c.relkind IN ('r', 'p') AND pg_catalog.row_security_active(c.oid),"
    /* triggers that fire for a session like luamig's */
    "  (SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('%I (%s)',"
    "    t.tgname, pg_catalog.concat_ws(', ',"
    "    CASE WHEN (t.tgtype & 4) <> 0 THEN 'INSERT' END,"
    "    CASE WHEN (t.tgtype & 16) <> 0 THEN 'UPDATE' END,"
    "    CASE WHEN (t.tgtype & 8) <> 0 THEN 'DELETE' END)), ', ')"
    "   FROM member m JOIN pg_catalog.pg_trigger t ON t.tgrelid = m.oid"
    "   WHERE m.target = c.oid AND NOT t.tgisinternal"
    "   AND t.tgenabled IN ('O', 'A') AND (t.tgtype & 28) <> 0),"
    "  (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(r.rulename), ', '"
    "    ORDER BY r.rulename) FROM pg_catalog.pg_rewrite r"
    "   WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN'"
    "   AND r.ev_enabled IN ('O', 'A')),"
    "  (SELECT pg_catalog.string_agg(DISTINCT f.confrelid::regclass::text,"
    "    ', ') FROM pg_catalog.pg_constraint f WHERE f.conrelid = c.oid"
    "   AND " ENFORCED "),"
    "  (SELECT pg_catalog.string_agg(DISTINCT f.conrelid::regclass::text,"
    "    ', ') FROM pg_catalog.pg_constraint f WHERE f.confrelid = c.oid"
    "   AND " ENFORCED " AND f.conparentid = 0),"
    "  (SELECT pg_catalog.string_agg(pg_catalog.format('%I of %s', f.conname,"
    "    f.conrelid::regclass), ', ' ORDER BY f.conname)"
    "   FROM pg_catalog.pg_constraint f WHERE f.confrelid = c.oid"
    "   AND " ENFORCED " AND f.conparentid = 0 AND NOT EXISTS (SELECT"
    "    FROM pg_catalog.pg_index i WHERE i.indrelid = f.conrelid"
    "    AND i.indisvalid AND i.indpred IS NULL"
    "    AND i.indkey[0] = ANY (f.conkey))),"
    "  (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', '"
    "    ORDER BY a.attnum) FROM pg_catalog.pg_attribute a"
    "   WHERE a.attrelid = c.oid AND a.attgenerated <> ''"
    "   AND NOT a.attisdropped),"
    /* without an identity, what is published cannot be updated */
    "  (SELECT pg_catalog.string_agg(DISTINCT pg_catalog.quote_ident("
    "    p.pubname), ', ') FROM member m"
    "   JOIN pg_catalog.pg_class mc ON mc.oid = m.oid"
    "   JOIN pg_catalog.pg_namespace mn ON mn.oid = mc.relnamespace"
    "   JOIN pg_catalog.pg_publication_tables pt"
    "    ON pt.schemaname = mn.nspname AND pt.tablename = mc.relname"
    "   JOIN pg_catalog.pg_publication p ON p.pubname = pt.pubname"
    "    AND (p.pubupdate OR p.pubdelete)"
    "   WHERE m.target = c.oid AND mc.relkind = 'r' AND (mc.relreplident = 'n'"
    "    OR mc.relreplident IN ('d', 'i') AND NOT EXISTS (SELECT"
    "     FROM pg_catalog.pg_index i WHERE i.indrelid = mc.oid"
    "     AND CASE WHEN mc.relreplident = 'd' THEN i.indisprimary"
    "      ELSE i.indisreplident END))),"
    "  CASE WHEN c.relkind = 'v' THEN (pg_catalog.pg_relation_is_updatable("
    "   c.oid, true) & 4) <> 0 END,"
    "  CASE WHEN c.oid = ANY ($3::pg_catalog.oid[]) THEN nullif("
    "   pg_catalog.concat_ws(', ',"
    "   CASE WHEN NOT pg_catalog.has_any_column_privilege(c.oid, 'UPDATE')"
    "    THEN 'UPDATE' END,"
    "   CASE WHEN NOT pg_catalog.has_any_column_privilege(c.oid, 'INSERT')"
    "    THEN 'INSERT' END,"
    "   CASE WHEN NOT pg_catalog.has_table_privilege(c.oid, 'DELETE')"
    "    THEN 'DELETE' END), '') END,"
    "  EXISTS (SELECT FROM pg_catalog.pg_inherits h"
    "   WHERE h.inhparent = c.oid)"
    " FROM target x JOIN pg_catalog.pg_class c ON c.oid = x.oid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " LEFT JOIN sizes s ON s.target = c.oid"
    " WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')"
    " ORDER BY 1";
static const char tables_shape[] = "*: t t n? n b b 7t? b? t? b";

enum column {
    COL_NAME,
    COL_KIND,
    COL_ROWS,
    COL_PARTITIONS,
    COL_UNLOGGED,
    COL_ROW_SECURITY,
    COL_TRIGGERS,
    COL_RULES,
    COL_REFERS_TO,
    COL_REFERRED_BY,
    COL_REFERRED_WITHOUT_INDEX,
    COL_GENERATED,
    COL_WITHOUT_IDENTITY,
    COL_UPDATABLE,
    COL_MISSING_RIGHTS,
    COL_INHERITED
};

/* Facts that are findings if they have a text; %s: the table, and the text. */
static const struct {
    enum column column;
    enum lm_check_verdict verdict;
    const char *subject;
    const char *message; /* after the table's name */
    const char *hint;
} facts[] = {
    {COL_TRIGGERS, LM_VERDICT_WARNING, "triggers", "triggers fire: ",
     "They fire for each row that the script writes, and keep luamig from "
     "combining those writes; config.combine = \"always\" combines them "
     "anyway."},
    {COL_RULES, LM_VERDICT_WARNING, "rules", "rules rewrite what is written: ",
     "Writes to this table are not combined."},
    {COL_REFERS_TO, LM_VERDICT_OK, "foreign_keys", "foreign keys to ", NULL},
    {COL_REFERRED_BY, LM_VERDICT_OK, "foreign_keys", "foreign keys come from ",
     NULL},
    {COL_REFERRED_WITHOUT_INDEX, LM_VERDICT_WARNING, "foreign_keys",
     "foreign keys that refer to it have no index: ",
     "Each DELETE, and each change of the key that they refer to, scans their "
     "table. Create an index on their columns first, unless the script does "
     "neither."},
    {COL_GENERATED, LM_VERDICT_OK, "generated_columns",
     "generated columns are computed again: ", NULL},
    {COL_WITHOUT_IDENTITY, LM_VERDICT_WARNING, "replica_identity",
     "it has no replica identity, and is published in ",
     "The server refuses UPDATE and DELETE there. Give it a primary key, or "
     "ALTER TABLE ... REPLICA IDENTITY FULL."},
    {COL_MISSING_RIGHTS, LM_VERDICT_WARNING, "privileges", "the role may not ",
     "If the script does that, let the owner GRANT it."},
};

static void
add_facts(struct lm_check *check, const struct lm_answer *rows, int row)
{
    for (size_t i = 0; i < LM_COUNT(facts); i++) {
        const char *text =
            lm_answer_text_or(rows, row, (int)facts[i].column, NULL);
        struct lm_finding *finding;

        if (text == NULL)
            continue;
        finding = lm_check_add(check, facts[i].verdict, facts[i].subject,
                               "%s: %s%s", lm_answer_text(rows, row, COL_NAME),
                               facts[i].message, text);
        if (facts[i].hint != NULL)
            lm_finding_hint(finding, "%s", facts[i].hint);
    }
}

/* The rows of a table that Citus has distributed: the catalog knows none. */
static int64_t
planned_rows(const struct lm_checking *self, const char *table)
{
    struct lm_buf name = LM_BUF_INIT;
    double rows = 0;

    for (int i = 0; lm_conn_is_citus(self->conn) && i < self->plan.count; i++) {
        const struct lm_plan_node *node = &self->plan.nodes[i];

        if (!lm_plan_scans(node) || node->schema == NULL)
            continue;
        lm_buf_clear(&name);
        lm_sql_add_name(&name, node->schema);
        lm_buf_putc(&name, '.');
        lm_sql_add_name(&name, node->relation);
        if (strcmp(lm_buf_text(&name), table) == 0)
            rows = node->table_rows;
    }
    lm_buf_release(&name);
    return (int64_t)rows;
}

static void
describe_size(const struct lm_checking *self, const struct lm_answer *rows,
              int row, char *out, size_t size)
{
    int64_t count = planned_rows(self, lm_answer_text(rows, row, COL_NAME));

    if (count == 0 && lm_answer_is_null(rows, row, COL_ROWS)) {
        snprintf(out, size, "rows that no ANALYZE has counted");
        return;
    }
    if (count == 0)
        count = lm_answer_int(rows, row, COL_ROWS);
    snprintf(out, size, "about %s rows", lm_clock_count(count).text);
}

static void
add_table(struct lm_checking *self, const struct lm_answer *rows, int row)
{
    struct lm_check *check = self->check;
    const char *name = lm_answer_text(rows, row, COL_NAME);
    int64_t partitions = lm_answer_int(rows, row, COL_PARTITIONS);
    char size[64];

    describe_size(self, rows, row, size, sizeof size);
    switch (lm_answer_text(rows, row, COL_KIND)[0]) {
    case 'v':
        lm_check_add(check, LM_VERDICT_OK, "table", "%s is a view%s", name,
                     lm_answer_bool(rows, row, COL_UPDATABLE)
                         ? ""
                         : " that cannot be updated");
        break;
    case 'm':
        lm_check_add(check, LM_VERDICT_OK, "table",
                     "%s is a materialized view, %s", name, size);
        break;
    case 'f':
        lm_finding_detail(lm_check_add(check, LM_VERDICT_WARNING, "table",
                                       "%s is a foreign table, %s", name, size),
                          "Writes to it commit on another server. luamig does "
                          "not promise that they happen exactly once.");
        break;
    case 'p':
        lm_check_add(check, LM_VERDICT_OK, "table",
                     "%s is partitioned (%lld), %s", name,
                     (long long)partitions, size);
        break;
    default:
        lm_check_add(check, LM_VERDICT_OK, "table", "%s has %s%s", name, size,
                     lm_answer_bool(rows, row, COL_INHERITED)
                         ? ", and others inherit from it"
                         : "");
    }
}

static void
add_dangers(struct lm_check *check, const struct lm_answer *rows, int row)
{
    const char *name = lm_answer_text(rows, row, COL_NAME);

    if (lm_answer_bool(rows, row, COL_UNLOGGED)) {
        lm_finding_detail(lm_check_add(check, LM_VERDICT_WARNING, "unlogged",
                                       "%s is unlogged", name),
                          "A crash of the server empties it, while the journal "
                          "still says that its rows are done.");
    }
    if (lm_answer_bool(rows, row, COL_ROW_SECURITY)) {
        lm_finding_hint(
            lm_check_add(check, LM_VERDICT_WARNING, "row_security",
                         "%s: row level security applies to the role", name),
            "luamig does not migrate rows that its policies hide. Accept this "
            "with config.row_security = true.");
    }
}

void
lm_check_add_scanned(const struct lm_plan *plan, struct lm_buf *schemas,
                     struct lm_buf *names)
{
    const char **texts[2];
    int count = 0;

    texts[0] = lm_calloc((size_t)plan->count, sizeof *texts[0]);
    texts[1] = lm_calloc((size_t)plan->count, sizeof *texts[1]);
    for (int i = 0; i < plan->count; i++) {
        if (lm_plan_scans(&plan->nodes[i]) && plan->nodes[i].schema != NULL) {
            texts[0][count] = plan->nodes[i].schema;
            texts[1][count++] = plan->nodes[i].relation;
        }
    }
    lm_sql_add_array(schemas, texts[0], count);
    lm_sql_add_array(names, texts[1], count);
    free(texts[0]);
    free(texts[1]);
}

void
lm_check_add_sources(const struct lm_base_query *query, struct lm_buf *oids)
{
    lm_buf_putc(oids, '{');
    for (int i = 0; i < query->source_count; i++) {
        lm_buf_printf(oids, "%s%u", i > 0 ? "," : "", query->sources[i].table);
    }
    lm_buf_putc(oids, '}');
}

bool
lm_check_tables(struct lm_checking *self, struct lm_err *err)
{
    struct lm_buf schemas = LM_BUF_INIT;
    struct lm_buf names = LM_BUF_INIT;
    struct lm_buf oids = LM_BUF_INIT;
    struct lm_answer *rows = NULL;
    bool ok;

    lm_check_add_scanned(&self->plan, &schemas, &names);
    lm_check_add_sources(&self->query, &oids);
    ok = lm_check_ask(self, "table", tables_sql, tables_shape,
                      LM_VALUES(lm_buf_text(&schemas), lm_buf_text(&names),
                                lm_buf_text(&oids)),
                      &rows, err);
    for (int row = 0; rows != NULL && row < lm_answer_rows(rows); row++) {
        add_table(self, rows, row);
        add_dangers(self->check, rows, row);
        add_facts(self->check, rows, row);
    }
    lm_answer_free(rows);
    lm_buf_release(&schemas);
    lm_buf_release(&names);
    lm_buf_release(&oids);
    return ok;
}
