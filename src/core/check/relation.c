/* SPDX-License-Identifier: MIT */
/* One query on the catalog; the server makes the JSON. Refuses names that are
 * not a table, view or foreign table. */

#include "core/check/relation.h"

#include "base/text.h"
#include "pg/conn/conn.h"
#include "pg/conn/own.h"
#include "pg/sql/sql.h"

#include <stdlib.h>
#include <string.h>

/* A column that is NOT NULL; since version 18 that may be NOT VALID, and then
 * old rows are exempt. */
#define IS_NOT_NULL                                                        \
    "(a.attnotnull AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint v" \
    "  WHERE v.conrelid = a.attrelid AND v.contype = 'n'"                  \
    "  AND v.conkey = ARRAY[a.attnum] AND NOT v.convalidated))"

/* Columns that are unique together, by an index that holds for all rows; the
 * primary key first, then the one with the fewest columns. */
#define UNIQUE_INDEXES                                                    \
    " indexes AS (SELECT i.indexrelid, i.indisprimary, i.indnkeyatts,"    \
    "   (SELECT json_agg(a.attname ORDER BY k.place)"                     \
    "    FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)"      \
    "    JOIN pg_attribute a"                                             \
    "      ON a.attrelid = i.indrelid AND a.attnum = k.attnum"            \
    "    WHERE k.place <= i.indnkeyatts) AS columns,"                     \
    "   (SELECT bool_and(" IS_NOT_NULL ")"                                \
    "    FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)"      \
    "    JOIN pg_attribute a"                                             \
    "      ON a.attrelid = i.indrelid AND a.attnum = k.attnum"            \
    "    WHERE k.place <= i.indnkeyatts) AS is_not_null"                  \
    "  FROM pg_index i WHERE i.indrelid = $1::oid AND i.indisunique"      \
    "    AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL)," \
    " key AS (SELECT * FROM indexes WHERE is_not_null"                    \
    "  ORDER BY indisprimary DESC, indnkeyatts, indexrelid LIMIT 1)"

/* The columns; of a domain the type at its bottom. */
#define COLUMNS                                                               \
    " columns AS (SELECT a.attnum, a.attname, " IS_NOT_NULL " AS attnotnull," \
    "   a.attgenerated <> '' OR a.attidentity = 'a' AS is_generated,"         \
    "   format_type(t.oid, base.typmod) AS type, t.typtype = 'c' AS "         \
    "is_record,"                                                              \
    "   (SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder)"               \
    "    FROM pg_enum e WHERE e.enumtypid IN (t.oid, t.typelem)) AS labels"   \
    "  FROM pg_attribute a CROSS JOIN LATERAL ("                              \
    "   WITH RECURSIVE base (oid, typmod, depth) AS ("                        \
    "    SELECT a.atttypid, a.atttypmod, 0 UNION ALL"                         \
    "    SELECT t.typbasetype, t.typtypmod, depth + 1"                        \
    "    FROM base JOIN pg_type t ON t.oid = base.oid WHERE t.typtype = 'd')" \
    "   SELECT oid, typmod FROM base ORDER BY depth DESC LIMIT 1) AS base"    \
    "  JOIN pg_type t ON t.oid = base.oid"                                    \
    "  WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped)"

static const char facts_sql[] = LM_OWN
    "WITH" UNIQUE_INDEXES "," COLUMNS
    " SELECT json_build_object('sql_name', $2::text,"
    " 'columns', (SELECT COALESCE(json_agg(json_build_object("
    "   'name', attname, 'sql_name', quote_ident(attname), 'type', type,"
    "   'not_null', attnotnull, 'generated', is_generated, 'labels', labels,"
    " 'record', is_record)"
    "   ORDER BY attnum), '[]') FROM columns),"
    " 'key', (SELECT columns FROM key),"
    " 'primary_key', COALESCE((SELECT indisprimary FROM key), false),"
    " 'unique', (SELECT COALESCE(json_agg(columns ORDER BY indexrelid), '[]')"
    "   FROM indexes WHERE indexrelid NOT IN (SELECT indexrelid FROM key)))"
    "::text";

/* Names are found, and written, as the user's search_path has them; so these
 * two run under that path. */
static const char find_sql[] =
    "SELECT c.oid, c.oid::pg_catalog.regclass::pg_catalog.text,"
    " pg_catalog.strpos('rpvmf', c.relkind::pg_catalog.text)"
    " FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=)"
    "  pg_catalog.to_regclass($1)::pg_catalog.oid";

static const char names_sql[] =
    "SELECT CASE WHEN pg_catalog.pg_table_is_visible(c.oid)"
    "  THEN c.relname::pg_catalog.text"
    "  ELSE pg_catalog.concat(n.nspname, '.', c.relname) END"
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
    "  ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
    " WHERE c.relkind OPERATOR(pg_catalog.=)"
    "  ANY (ARRAY['r', 'p', 'v', 'm', 'f']::pg_catalog.\"char\"[])"
    " AND n.nspname OPERATOR(pg_catalog.!~) '^(pg_|information_schema$)'"
    " ORDER BY 1 LIMIT 10000";

static bool
fail_missing(struct lm_conn *conn, const char *name, struct lm_err *err)
{
    struct lm_answer *result = NULL;
    const char **names;
    int nearest;

    if (!lm_conn_ask(conn, names_sql, "*: t", LM_NO_VALUES, &result, err))
        return false;
    names = lm_calloc((size_t)lm_answer_rows(result) + 1, sizeof *names);
    for (int i = 0; i < lm_answer_rows(result); i++)
        names[i] = lm_answer_text(result, i, 0);
    nearest = lm_text_nearest(name, names, (size_t)lm_answer_rows(result));
    lm_err_set(err, LM_ERR_FAILED, "table \"%s\" does not exist in %s", name,
               lm_conn_target(conn));
    if (nearest >= 0)
        lm_err_hint(err, "Did you mean \"%s\"?", names[nearest]);
    free(names);
    lm_answer_free(result);
    return false;
}

/* Of the table in the row of found. */
static bool
read_facts(struct lm_conn *conn, const struct lm_answer *found,
           char **facts_json, struct lm_err *err)
{
    struct lm_answer *facts = NULL;

    if (!lm_conn_ask(
            conn, facts_sql, "1: t",
            LM_VALUES(lm_answer_text(found, 0, 0), lm_answer_text(found, 0, 1)),
            &facts, err))
        return false;
    *facts_json = lm_answer_copy(facts, 0, 0);
    lm_answer_free(facts);
    return true;
}

bool
lm_relation_read(struct lm_conn *conn, const char *name, char **facts_json,
                 struct lm_err *err)
{
    struct lm_buf quoted = LM_BUF_INIT;
    struct lm_answer *found = NULL;
    const char *text;
    size_t wrong_at;
    bool ok = false;

    if (!lm_text_is_utf8(name, strlen(name), &wrong_at) ||
        !lm_sql_add_table(&quoted, name)) {
        lm_buf_release(&quoted);
        return lm_err_set(err, LM_ERR_FAILED,
                          "\"%s\" is not the name of a table", name);
    }
    text = lm_buf_text(&quoted);
    if (lm_conn_ask(conn, find_sql, "?: o t d", LM_VALUES(text), &found, err)) {
        ok = lm_answer_rows(found) > 0 && lm_answer_int(found, 0, 2) > 0
                 ? read_facts(conn, found, facts_json, err)
                 : fail_missing(conn, name, err);
    }
    lm_answer_free(found);
    lm_buf_release(&quoted);
    return ok;
}
