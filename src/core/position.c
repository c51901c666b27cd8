/* SPDX-License-Identifier: MIT */
/*
 * Asks pg_stats for the histogram of the key's column. Its bounds are of the
 * column's type, and width_bucket finds a key among those of any type that has
 * an order; a text goes by the column's collation, as the bounds do. The server
 * shows statistics only of columns that the role may read.
 */

#include "core/position.h"

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

    lm_buf_puts(&sql, "SELECT ");
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

/* Asks for the names of the key's type and its column's collation. */
static bool
prepare(struct lm_position *self, struct lm_conn *conn,
        const struct lm_base_query *query)
{
    static const char sql[] =
        "SELECT pg_catalog.quote_ident(tn.nspname) || '.'"
        "  || pg_catalog.quote_ident(t.typname),"
        " coalesce(' COLLATE ' || (SELECT pg_catalog.quote_ident(n.nspname)"
        "  || '.' || pg_catalog.quote_ident(o.collname)"
        "  FROM pg_catalog.pg_collation o JOIN pg_catalog.pg_namespace n"
        "  ON n.oid = o.collnamespace WHERE o.oid = a.attcollation), '')"
        " FROM pg_catalog.pg_attribute a, pg_catalog.pg_type t"
        " JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace"
        " WHERE a.attrelid = $1 AND a.attname = $2 AND t.oid = $3";
    struct lm_result *row = NULL;
    struct lm_err ignored;
    char type[16];

    if (query->key_count != 1 || query->source_count == 0)
        return false;
    /* The last one is the table below all views. */
    self->column = lm_strdup(query->sources[query->source_count - 1].column);
    snprintf(self->table, sizeof self->table, "%" PRIu32,
             query->sources[query->source_count - 1].table);
    snprintf(type, sizeof type, "%" PRIu32, query->key_types[0]);
    if (!lm_conn_query(
            conn, sql,
            (struct lm_values){
                (const char *[]){self->table, self->column, type}, 3},
            &row, &ignored))
        return false;
    if (lm_result_rows(row) == 1) {
        self->sql =
            make_sql(lm_result_text(row, 0, 0), lm_result_text(row, 0, 1));
    }
    lm_result_free(row);
    return self->sql != NULL;
}

/* A bucket of the row, or other where there was no key. */
static double
bucket(const struct lm_result *row, int column, double other)
{
    return lm_result_text(row, 0, column) != NULL
               ? (double)lm_result_int(row, 0, column)
               : other;
}

static double
read_part(const struct lm_result *row)
{
    double first;
    double last;
    double part;

    if (lm_result_rows(row) != 1 || lm_result_text(row, 0, 3) == NULL)
        return -1;
    first = bucket(row, 0, 0);
    last = bucket(row, 2, (double)lm_result_int(row, 0, 3));
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
    struct lm_result *row = NULL;
    struct lm_err ignored;
    double part = -1;

    if (self->useless)
        return -1;
    if ((self->sql != NULL || prepare(self, conn, query)) &&
        lm_conn_query_typed(
            conn, self->sql, types,
            (struct lm_values){
                (const char *[]){first, key, last, self->table, self->column},
                5},
            &row, &ignored)) {
        part = read_part(row);
        lm_result_free(row);
    } else {
        self->useless = true;
    }
    return part;
}
