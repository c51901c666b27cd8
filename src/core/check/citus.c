/* SPDX-License-Identifier: MIT */
/*
 * What check says of tables that Citus knows. The plan of a page names shards;
 * for all other checks, each becomes its table. The coordinator has no rows of
 * a distributed table and no statistics, so the planners of the nodes are asked
 * how many there are.
 */

#include "core/check/private.h"

#include "pg/conn/own.h"
#include "pg/sql/sql.h"

#include <stdlib.h>
#include <string.h>

/* -- shards --------------------------------------------------------------- */

static const char shards_sql[] =
    LM_OWN "SELECT w.schema, w.name, n.nspname, c.relname"
           " FROM ROWS FROM (unnest($1::text[]), unnest($2::text[]))"
           "  AS w (schema, name)"
           " JOIN pg_catalog.pg_dist_shard s ON s.shardid ="
           "  substring(w.name FROM '_([0-9]{1,18})$')::int8"
           " JOIN pg_catalog.pg_class c ON c.oid = s.logicalrelid"
           " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
           "  AND n.nspname = w.schema";

/* How many rows the table has, by the planners of the nodes; 0: unknown. */
static double
count_rows(struct lm_conn *conn, const char *schema, const char *table)
{
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_answer *answer = NULL;
    struct lm_plan plan;
    struct lm_err ignored;
    double rows = 0;

    lm_buf_puts(&sql, LM_OWN "EXPLAIN (FORMAT JSON) SELECT 1 FROM ");
    lm_sql_add_identifier(&sql, schema);
    lm_buf_putc(&sql, '.');
    lm_sql_add_identifier(&sql, table);
    if (lm_conn_ask(conn, lm_buf_text(&sql), "1: t", LM_NO_VALUES, &answer,
                    &ignored)) {
        if (lm_plan_read(&plan, lm_answer_text(answer, 0, 0)))
            rows = lm_plan_rows_returned(&plan);
        lm_plan_release(&plan);
    }
    lm_answer_free(answer);
    lm_buf_release(&sql);
    return rows;
}

static void
name_shard(struct lm_conn *conn, struct lm_plan *plan,
           const struct lm_answer *rows, int row)
{
    const char *schema = lm_answer_text(rows, row, 2);
    const char *table = lm_answer_text(rows, row, 3);
    double table_rows = count_rows(conn, schema, table);

    for (int i = 0; i < plan->count; i++) {
        struct lm_plan_node *node = &plan->nodes[i];

        if (!lm_plan_scans(node) || node->schema == NULL ||
            strcmp(node->schema, lm_answer_text(rows, row, 0)) != 0 ||
            strcmp(node->relation, lm_answer_text(rows, row, 1)) != 0)
            continue;
        free(node->relation);
        node->relation = lm_strdup(table);
        node->table_rows = table_rows;
    }
}

bool
lm_check_name_shards(struct lm_checking *self, struct lm_plan *plan,
                     struct lm_err *err)
{
    struct lm_buf schemas = LM_BUF_INIT;
    struct lm_buf names = LM_BUF_INIT;
    struct lm_answer *rows = NULL;
    bool ok;

    if (!lm_conn_is_citus(self->conn))
        return true;
    lm_check_add_scanned(plan, &schemas, &names);
    ok = lm_conn_ask(self->conn, shards_sql, "*: 4t",
                     LM_VALUES(lm_buf_text(&schemas), lm_buf_text(&names)),
                     &rows, err);
    for (int row = 0; ok && row < lm_answer_rows(rows); row++)
        name_shard(self->conn, plan, rows, row);
    lm_answer_free(rows);
    lm_buf_release(&schemas);
    lm_buf_release(&names);
    return ok;
}

/* -- tables --------------------------------------------------------------- */

static const char tables_sql[] = LM_OWN
    "SELECT format('%I.%I', n.nspname, c.relname), c.oid,"
    " CASE WHEN p.partmethod <> 'n' THEN 'd' WHEN p.repmodel = 't' THEN 'r'"
    "  WHEN p.colocationid = 0 THEN 'l' ELSE 's' END,"
    " CASE WHEN p.partmethod <> 'n' THEN"
    "  column_to_column_name(p.logicalrelid, p.partkey) END,"
    " (SELECT count(*) FROM pg_catalog.pg_dist_shard s"
    "  WHERE s.logicalrelid = p.logicalrelid),"
    " (SELECT count(DISTINCT a.groupid) FROM pg_catalog.pg_dist_shard s"
    "  JOIN pg_catalog.pg_dist_placement a ON a.shardid = s.shardid"
    "  WHERE s.logicalrelid = p.logicalrelid),"
    " pg_size_pretty(citus_total_relation_size(p.logicalrelid))"
    " FROM pg_catalog.pg_dist_partition p"
    " JOIN pg_catalog.pg_class c ON c.oid = p.logicalrelid"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.oid = ANY ($3::oid[]) OR (n.nspname, c.relname) IN (SELECT w.*"
    "  FROM ROWS FROM (unnest($1::text[]), unnest($2::text[])) AS w)"
    " ORDER BY 1";

enum column {
    COL_NAME,
    COL_OID,
    COL_KIND,
    COL_BY,
    COL_SHARDS,
    COL_NODES,
    COL_SIZE
};

static bool
key_has(const struct lm_base_query *query, uint32_t table, const char *column)
{
    for (int i = 0; i < query->source_count; i++) {
        if (query->sources[i].table == table &&
            strcmp(query->sources[i].column, column) == 0)
            return true;
    }
    return false;
}

static void
add_distributed(struct lm_checking *self, const struct lm_answer *rows, int row)
{
    const char *name = lm_answer_text(rows, row, COL_NAME);
    const char *by = lm_answer_text(rows, row, COL_BY);
    struct lm_finding *finding;

    lm_check_add(self->check, LM_VERDICT_OK, "citus",
                 "%s is distributed by %s: %lld shards on %lld nodes, %s%s",
                 name, by, (long long)lm_answer_int(rows, row, COL_SHARDS),
                 (long long)lm_answer_int(rows, row, COL_NODES),
                 lm_answer_text(rows, row, COL_SIZE),
                 lm_plan_tasks(&self->plan) > 1 ? "; each page asks all shards"
                                                : "");
    if (key_has(&self->query, lm_answer_oid(rows, row, COL_OID), by))
        return;
    finding =
        lm_check_add(self->check, LM_VERDICT_WARNING, "citus",
                     "%s: the key lacks the distribution column, %s", name, by);
    lm_finding_hint(finding,
                    "A write that does not name the value of %s asks every "
                    "shard. Add it to the base query, and name it in each "
                    "write.",
                    by);
}

static void
add_table(struct lm_checking *self, const struct lm_answer *rows, int row)
{
    const char *name = lm_answer_text(rows, row, COL_NAME);
    const char *size = lm_answer_text(rows, row, COL_SIZE);

    switch (lm_answer_text(rows, row, COL_KIND)[0]) {
    case 'd':
        add_distributed(self, rows, row);
        break;
    case 'r':
        lm_check_add(self->check, LM_VERDICT_OK, "citus",
                     "%s is a reference table, %s; each write goes to %lld "
                     "servers",
                     name, size,
                     (long long)lm_answer_int(rows, row, COL_NODES));
        break;
    default:
        lm_check_add(self->check, LM_VERDICT_OK, "citus",
                     "%s is a table of one shard, %s", name, size);
    }
}

bool
lm_check_citus(struct lm_checking *self, struct lm_err *err)
{
    struct lm_buf schemas = LM_BUF_INIT;
    struct lm_buf names = LM_BUF_INIT;
    struct lm_buf oids = LM_BUF_INIT;
    struct lm_answer *rows = NULL;
    bool ok;

    if (!lm_conn_is_citus(self->conn))
        return true;
    lm_check_add_scanned(&self->plan, &schemas, &names);
    lm_check_add_sources(&self->query, &oids);
    ok = lm_check_ask(self, "citus", tables_sql, "*: t o t t? 2n t",
                      LM_VALUES(lm_buf_text(&schemas), lm_buf_text(&names),
                                lm_buf_text(&oids)),
                      &rows, err);
    for (int row = 0; rows != NULL && row < lm_answer_rows(rows); row++)
        add_table(self, rows, row);
    lm_answer_free(rows);
    lm_buf_release(&schemas);
    lm_buf_release(&names);
    lm_buf_release(&oids);
    return ok;
}
