/* SPDX-License-Identifier: MIT */
/*
 * Reads the histogram of the key's column from pg_stats. Its bounds have the
 * column's type, and width_bucket finds the bucket of a key, for any type that
 * has an order; text uses the column's collation, as the bounds do. The server
 * shows statistics only of columns that the role may read.
 */

#include "core/page/position.h"

#include "base/text.h"
#include "pg/conn/conn.h"
#include "pg/conn/own.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
lm_position_release(struct lm_position *self)
{
    free(self->sql);
    free(self->column);
    memset(self, 0, sizeof *self);
}

/* The question; its parameters are three keys, a table and a column. */
static char *
make_sql(const char *type, const char *collation)
{
    struct lm_buf sql = LM_BUF_INIT;

    lm_buf_puts(&sql, LM_OWN "SELECT ");
    for (int param = 1; param <= 3; param++) {
        lm_buf_printf(&sql, "pg_catalog.width_bucket($%d%s, h.bounds), ", param,
                      collation);
    }
    lm_buf_printf(&sql,
                  "pg_catalog.array_length(h.bounds, 1) FROM (SELECT"
                  " s.histogram_bounds::pg_catalog.text::%s[] AS bounds"
                  " FROM pg_catalog.pg_class c"
                  " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
                  " JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname"
                  " AND s.tablename = c.relname"
                  " WHERE c.oid = $4 AND s.attname = $5"
                  " AND s.histogram_bounds IS NOT NULL"
                  " ORDER BY s.inherited DESC LIMIT 1) AS h",
                  type);
    return lm_buf_take(&sql);
}

/* A value in the middle of those that ANALYZE has kept; the same parameters
 * without the keys. */
static char *
make_middle_sql(const char *type, const char *collation)
{
    struct lm_buf sql = LM_BUF_INIT;

    lm_buf_printf(
        &sql,
        LM_OWN
        "SELECT pg_catalog.percentile_disc(0.5) WITHIN GROUP"
        " (ORDER BY v%s)::pg_catalog.text"
        " FROM (SELECT coalesce(s.histogram_bounds::pg_catalog.text,"
        " s.most_common_vals::pg_catalog.text) AS texts"
        " FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname"
        " AND s.tablename = c.relname WHERE c.oid = $1 AND s.attname = $2"
        " ORDER BY s.inherited DESC LIMIT 1) AS s,"
        " LATERAL pg_catalog.unnest(s.texts::%s[]) AS v",
        collation, type);
    return lm_buf_take(&sql);
}

typedef char *(*sql_maker)(const char *type, const char *collation);

/* The question made for the type of a key and the collation of its column; NULL
 * when the column is gone. */
static char *
make_for_column(struct lm_conn *conn, const char *table, const char *column,
                uint32_t key_type, sql_maker make)
{
    static const char sql[] = LM_OWN
        "SELECT pg_catalog.quote_ident(tn.nspname) || '.'"
        "  || pg_catalog.quote_ident(t.typname),"
        " coalesce(' COLLATE ' || (SELECT pg_catalog.quote_ident(n.nspname)"
        "  || '.' || pg_catalog.quote_ident(o.collname)"
        "  FROM pg_catalog.pg_collation o JOIN pg_catalog.pg_namespace n"
        "  ON n.oid = o.collnamespace WHERE o.oid = a.attcollation), '')"
        " FROM pg_catalog.pg_attribute a, pg_catalog.pg_type t"
        " JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace"
        " WHERE a.attrelid = $1 AND a.attname = $2 AND t.oid = $3";
    struct lm_answer *row = NULL;
    struct lm_err ignored;
    char *made = NULL;

    if (!lm_conn_ask(conn, sql, "?: t t",
                     LM_VALUES(table, column, LM_DIGITS(key_type)), &row,
                     &ignored))
        return NULL;
    if (lm_answer_rows(row) == 1)
        made = make(lm_answer_text(row, 0, 0), lm_answer_text(row, 0, 1));
    lm_answer_free(row);
    return made;
}

/* The last source is the table below all views. */
static bool
prepare(struct lm_position *self, struct lm_conn *conn,
        const struct lm_base_query *query)
{
    if (query->key_count != 1 || query->source_count == 0)
        return false;
    self->column = lm_strdup(query->sources[query->source_count - 1].column);
    snprintf(self->table, sizeof self->table, "%" PRIu32,
             query->sources[query->source_count - 1].table);
    self->sql = make_for_column(conn, self->table, self->column,
                                query->key_types[0], make_sql);
    return self->sql != NULL;
}

/* A bucket of the row, or other where there was no key. */
static double
bucket(const struct lm_answer *row, int column, double other)
{
    return !lm_answer_is_null(row, 0, column)
               ? (double)lm_answer_int(row, 0, column)
               : other;
}

static double
read_part(const struct lm_answer *row)
{
    double first;
    double last;
    double part;

    if (lm_answer_is_null(row, 0, 3))
        return -1;
    first = bucket(row, 0, 0);
    last = bucket(row, 2, (double)lm_answer_int(row, 0, 3));
    if (last <= first)
        return -1;
    part = (bucket(row, 1, first) - first) / (last - first);
    if (part < 0)
        return 0;
    return part > 1 ? 1 : part;
}

double
lm_position_find(struct lm_position *self, struct lm_conn *conn,
                 const struct lm_base_query *query, const char *first,
                 const char *key, const char *last)
{
    const uint32_t key_type = query->key_types[0];
    const uint32_t types[] = {key_type, key_type, key_type, 0, 0};
    struct lm_answer *row = NULL;
    struct lm_err ignored;
    double part = -1;

    if (self->useless)
        return -1;
    if ((self->sql != NULL || prepare(self, conn, query)) &&
        lm_conn_ask_typed(
            conn, self->sql, "?: 4d?", types,
            LM_VALUES(first, key, last, self->table, self->column), &row,
            &ignored)) {
        part = read_part(row);
        lm_answer_free(row);
    } else {
        self->useless = true;
    }
    return part;
}

char *
lm_position_middle(struct lm_conn *conn, const struct lm_base_query *query,
                   int key)
{
    static const uint32_t types[] = {0, 0};
    const struct lm_key_source *source;
    struct lm_answer *row = NULL;
    struct lm_err ignored;
    char *middle = NULL;
    const char *table;
    char *sql;

    if (query->key_source[key] < 0)
        return NULL;
    source = &query->sources[query->key_source[key]];
    table = LM_DIGITS(source->table);
    sql = make_for_column(conn, table, source->column, query->key_types[key],
                          make_middle_sql);
    if (sql != NULL &&
        lm_conn_ask_typed(conn, sql, "1: t?", types,
                          LM_VALUES(table, source->column), &row, &ignored)) {
        middle = lm_answer_copy(row, 0, 0);
        lm_answer_free(row);
    }
    free(sql);
    return middle;
}
