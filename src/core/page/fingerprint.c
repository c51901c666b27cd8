/* SPDX-License-Identifier: MIT */
/* Reads the fingerprint from the catalog. The parse tree names the tables of
 * the base query. The server says which tables these names mean, and which
 * tables are below views. Preflight has found where the key comes from. */

#include "core/page/fingerprint.h"

#include "core/page/preflight.h"
#include "pg/conn/answer.h"
#include "pg/query/query.h"
#include "pg/sql/sql.h"

#include <inttypes.h>
#include <stdio.h>

/* The version of the database's own collation, $9 as its OID has it. */
static const char own_version[] =
    "pg_catalog.pg_database_collation_actual_version(db.oid)";
static const char own_version_before_15[] =
    "(SELECT pg_catalog.pg_collation_actual_version(same.oid)"
    " FROM pg_catalog.pg_collation same WHERE same.collprovider "
    "OPERATOR(pg_catalog.=) 'c'"
    " AND same.collcollate OPERATOR(pg_catalog.=) db.datcollate"
    " AND same.collencoding OPERATOR(pg_catalog.=) ANY (ARRAY[-1, "
    "db.encoding]) LIMIT 1)";

/* $1 names of tables, $2 key columns, $3 tables, $4 columns, $5 types, $6
 * operator classes, $7 collations, $8 base query, $9 system, $10 schema of the
 * journal. Tables are found under the user's path, so all is qualified. */
static const char take_sql[] =
    "WITH RECURSIVE read (oid) AS ("
    " SELECT pg_catalog.to_regclass(n.name)::pg_catalog.oid"
    "  FROM pg_catalog.unnest($1::pg_catalog.text[]) n (name)"
    "  WHERE pg_catalog.to_regclass(n.name) IS NOT NULL"
    " UNION SELECT d.refobjid FROM read r"
    "  JOIN pg_catalog.pg_class v ON v.oid OPERATOR(pg_catalog.=) r.oid AND"
    " v.relkind OPERATOR(pg_catalog.=) 'v'"
    "  JOIN pg_catalog.pg_rewrite w ON w.ev_class OPERATOR(pg_catalog.=) v.oid"
    "  JOIN pg_catalog.pg_depend d"
    "  ON d.classid OPERATOR(pg_catalog.=)"
    " 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
    "  AND d.objid OPERATOR(pg_catalog.=) w.oid"
    "  AND d.refclassid OPERATOR(pg_catalog.=)"
    " 'pg_catalog.pg_class'::pg_catalog.regclass"
    "  AND d.refobjid OPERATOR(pg_catalog.<>) v.oid),"
    " part (oid) AS (SELECT k.oid"
    "  FROM pg_catalog.unnest($3::pg_catalog.oid[]) k (oid)"
    "  UNION SELECT i.inhrelid FROM part p JOIN pg_catalog.pg_inherits i"
    "   ON i.inhparent OPERATOR(pg_catalog.=) p.oid),"
    " relation (oid, name) AS (SELECT c.oid,"
    "  pg_catalog.format('%%I.%%I', n.nspname, c.relname)"
    "  FROM pg_catalog.pg_class c"
    "  JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=)"
    " c.relnamespace)"
    " SELECT pg_catalog.jsonb_build_object('system', $9::pg_catalog.text,"
    "  'database', db.oid::pg_catalog.text,"
    "  'journal', (SELECT c.oid::pg_catalog.text FROM pg_catalog.pg_class c"
    "   JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=)"
    " c.relnamespace"
    "   WHERE n.nspname OPERATOR(pg_catalog.=) $10 AND c.relname"
    " OPERATOR(pg_catalog.=) 'run'),"
    "  'search_path', pg_catalog.to_jsonb(pg_catalog.current_schemas(false)),"
    "  'query', pg_catalog.encode(pg_catalog.sha256("
    "   pg_catalog.convert_to($8::pg_catalog.text, 'UTF8')), 'hex'),"
    "  'tables', (SELECT coalesce(pg_catalog.jsonb_agg("
    "    pg_catalog.jsonb_build_object('oid', t.oid::pg_catalog.text,"
    "     'name', t.name) ORDER BY t.name), '[]')"
    "   FROM read JOIN relation t ON t.oid OPERATOR(pg_catalog.=) read.oid),"
    "  'parts', (SELECT coalesce(pg_catalog.jsonb_agg("
    "    p.oid::pg_catalog.text ORDER BY p.oid), '[]') FROM part p),"
    "  'key', (SELECT coalesce(pg_catalog.jsonb_agg("
    "    pg_catalog.jsonb_build_object('name', k.name,"
    "     'table', k.rel::pg_catalog.text, 'table_name', t.name,"
    "     'number', a.attnum, 'column', k.col, 'typmod', a.atttypmod,"
    "     'type', k.type::pg_catalog.text,"
    "     'type_name', pg_catalog.format_type(k.type, NULL),"
    "     'labels', (SELECT pg_catalog.jsonb_agg(e.enumlabel"
    "       ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e"
    "      WHERE e.enumtypid OPERATOR(pg_catalog.=) k.type),"
    "     'order', k.class::pg_catalog.text,"
    "     'order_name', (SELECT pg_catalog.format('%%I.%%I', n.nspname,"
    "       o.opcname) FROM pg_catalog.pg_opclass o"
    "      JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=)"
    " o.opcnamespace"
    "      WHERE o.oid OPERATOR(pg_catalog.=) k.class),"
    "     'collation', k.coll::pg_catalog.text,"
    "     'collation_name', CASE WHEN l.collprovider OPERATOR(pg_catalog.=)"
    " 'd' THEN db.datcollate"
    "      ELSE pg_catalog.quote_ident(l.nspname) OPERATOR(pg_catalog.||) '.'"
    "       OPERATOR(pg_catalog.||) pg_catalog.quote_ident(l.collname) END,"
    "     'version', CASE WHEN l.collprovider OPERATOR(pg_catalog.=) 'd' THEN"
    " %s"
    "      ELSE pg_catalog.pg_collation_actual_version(l.oid) END)"
    "    ORDER BY k.place), '[]')"
    "   FROM ROWS FROM (pg_catalog.unnest($2::pg_catalog.text[]),"
    "    pg_catalog.unnest($3::pg_catalog.oid[]),"
    "    pg_catalog.unnest($4::pg_catalog.text[]),"
    "    pg_catalog.unnest($5::pg_catalog.oid[]),"
    "    pg_catalog.unnest($6::pg_catalog.oid[]),"
    "    pg_catalog.unnest($7::pg_catalog.oid[])) WITH ORDINALITY"
    "    AS k (name, rel, col, type, class, coll, place)"
    "   LEFT JOIN relation t ON t.oid OPERATOR(pg_catalog.=) k.rel"
    "   LEFT JOIN pg_catalog.pg_attribute a"
    "    ON a.attrelid OPERATOR(pg_catalog.=) k.rel AND a.attname"
    " OPERATOR(pg_catalog.=) k.col"
    "   LEFT JOIN (SELECT c.oid, c.collprovider, c.collname, n.nspname"
    "    FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n"
    "    ON n.oid OPERATOR(pg_catalog.=) c.collnamespace) l ON l.oid"
    " OPERATOR(pg_catalog.=) k.coll))::pg_catalog.text"
    " FROM pg_catalog.pg_database db"
    " WHERE db.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";

enum { VALUES = 10, BEFORE_QUERY = 7 };

/* The key, a list for each of the values $2 to $7. */
static void
add_key(struct lm_buf lists[BEFORE_QUERY], const struct lm_base_query *query)
{
    char separator = '{';

    lm_sql_add_array(&lists[1], (const char *const *)query->key,
                     query->key_count);
    for (int i = 0; i < query->key_count; i++, separator = ',') {
        int at = query->key_source[i];
        struct lm_buf column = LM_BUF_INIT;

        lm_buf_printf(&lists[2], "%c%" PRIu32, separator,
                      at >= 0 ? query->sources[at].table : 0);
        lm_buf_putc(&lists[3], separator);
        lm_sql_add_array(
            &column,
            (const char *const[]){at >= 0 ? query->sources[at].column : NULL},
            1);
        lm_buf_add(&lists[3], column.data + 1, column.len - 2);
        lm_buf_release(&column);
        lm_buf_printf(&lists[4], "%c%" PRIu32, separator, query->order[i].type);
        lm_buf_printf(&lists[5], "%c%" PRIu32, separator,
                      query->order[i].opclass);
        lm_buf_printf(&lists[6], "%c%" PRIu32, separator,
                      query->order[i].collation);
    }
    for (int i = 2; i < BEFORE_QUERY; i++)
        lm_buf_puts(&lists[i], separator == '{' ? "{}" : "}");
}

/* The tables that a query names; none when it cannot be parsed here. */
static void
add_tables(struct lm_buf *list, const char *sql)
{
    struct lm_query_shape shape;
    struct lm_err ignored;

    if (sql != NULL && lm_query_inspect(sql, &shape, &ignored)) {
        lm_preflight_add_tables(list, &shape);
        lm_query_release(&shape);
    } else {
        lm_buf_puts(list, "{}");
    }
}

static bool
ask(struct lm_conn *conn, const struct lm_fingerprint_place *place,
    const struct lm_base_query *query, const char *sql, char **json,
    struct lm_err *err)
{
    struct lm_buf lists[BEFORE_QUERY] = {{NULL, 0, 0}};
    const char *texts[VALUES];
    struct lm_buf text = LM_BUF_INIT;
    struct lm_answer *answer = NULL;
    bool ok;

    add_tables(&lists[0], sql);
    add_key(lists, query);
    for (int i = 0; i < BEFORE_QUERY; i++)
        texts[i] = lm_buf_text(&lists[i]);
    texts[BEFORE_QUERY] = sql != NULL ? sql : "";
    texts[BEFORE_QUERY + 1] = place->system;
    texts[BEFORE_QUERY + 2] = place->journal_schema;
    lm_buf_printf(&text, take_sql,
                  lm_conn_server_version(conn) >= 150000
                      ? own_version
                      : own_version_before_15);
    ok = lm_conn_ask(conn, lm_buf_text(&text), "1: t",
                     (struct lm_values){texts, VALUES}, &answer, err);
    if (ok)
        *json = lm_answer_copy(answer, 0, 0);
    lm_answer_free(answer);
    lm_buf_release(&text);
    for (int i = 0; i < BEFORE_QUERY; i++)
        lm_buf_release(&lists[i]);
    return ok;
}

bool
lm_fingerprint_take(struct lm_conn *conn,
                    const struct lm_fingerprint_place *place,
                    const struct lm_base_query *query, char **json,
                    struct lm_err *err)
{
    return ask(conn, place, query, query->sql, json, err);
}

bool
lm_fingerprint_sketch(struct lm_conn *conn,
                      const struct lm_fingerprint_place *place, const char *sql,
                      char **json, struct lm_err *err)
{
    static const struct lm_base_query nothing = {.sql = NULL};

    return ask(conn, place, &nothing, sql, json, err);
}
