/* SPDX-License-Identifier: MIT */
/*
 * Reads the counters of pg_stat_xact_* and subtracts them; see the header.
 * Calls the functions behind the view pg_stat_xact_user_tables: the view joins
 * the indexes, which costs more than all the rest.
 *
 * The counters include rows that a savepoint has rolled back, because the
 * server counts attempts. A partitioned table appears under the names of its
 * partitions.
 */

#include "core/dry/tally.h"

#include "pg/conn/conn.h"
#include "pg/conn/own.h"

#include <stdlib.h>
#include <string.h>

void
lm_tally_release(struct lm_tally *self)
{
    for (int i = 0; i < self->count; i++)
        free(self->tables[i].name);
    free(self->tables);
    memset(self, 0, sizeof *self);
}

static struct lm_tally_table *
add_table(struct lm_tally *self, const char *name)
{
    struct lm_tally_table *table;

    table = &LM_ADD(self->tables, self->count);
    *table = (struct lm_tally_table){.name = lm_strdup(name)};
    return table;
}

bool
lm_tally_read(struct lm_tally *out, struct lm_conn *conn, struct lm_err *err)
{
    static const char sql[] =
        LM_OWN "SELECT pg_catalog.pg_wal_lsn_diff("
               "  pg_catalog.pg_current_wal_insert_lsn(), '0/0')::bigint,"
               " pg_catalog.current_setting('track_counts') = 'on', t.*"
               " FROM (VALUES (1)) AS one LEFT JOIN"
               " (SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), x.*"
               "  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
               "   ON n.oid = c.relnamespace CROSS JOIN LATERAL (SELECT"
               "   pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) AS i,"
               "   pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) AS u,"
               "   pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) AS d) AS x"
               "  WHERE c.relkind IN ('r', 'm') AND x.i + x.u + x.d > 0"
               "   AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
               "   AND n.nspname !~ '^pg_toast' ORDER BY 1) AS t ON true";
    struct lm_answer *result = NULL;
    struct lm_stmt *stmt;

    memset(out, 0, sizeof *out);
    if (!lm_conn_prepare_rare(conn, sql, &stmt, err) ||
        !lm_conn_ask_prepared(conn, stmt, "+: n b t? n? n? n?", LM_NO_VALUES,
                              &result, err))
        return false;
    out->wal_bytes = lm_answer_int(result, 0, 0);
    out->uncounted = !lm_answer_bool(result, 0, 1);
    for (int row = 0; row < lm_answer_rows(result); row++) {
        const char *name = lm_answer_text_or(result, row, 2, NULL);
        struct lm_tally_table *table;

        if (name == NULL)
            break;
        table = add_table(out, name);
        table->inserted = lm_answer_int(result, row, 3);
        table->updated = lm_answer_int(result, row, 4);
        table->deleted = lm_answer_int(result, row, 5);
    }
    lm_answer_free(result);
    return true;
}

static struct lm_tally_table *
find_table(const struct lm_tally *self, const char *name)
{
    for (int i = 0; i < self->count; i++) {
        if (strcmp(self->tables[i].name, name) == 0)
            return &self->tables[i];
    }
    return NULL;
}

/* TRUNCATE sets counters back. */
static int64_t
difference(int64_t now, int64_t before)
{
    return now > before ? now - before : 0;
}

void
lm_tally_subtract(struct lm_tally *self, const struct lm_tally *earlier)
{
    int kept = 0;

    self->wal_bytes -= earlier->wal_bytes;
    for (int i = 0; i < self->count; i++) {
        struct lm_tally_table table = self->tables[i];
        const struct lm_tally_table *before = find_table(earlier, table.name);

        if (before != NULL) {
            table.inserted = difference(table.inserted, before->inserted);
            table.updated = difference(table.updated, before->updated);
            table.deleted = difference(table.deleted, before->deleted);
        }
        if (table.inserted + table.updated + table.deleted > 0) {
            self->tables[kept++] = table;
        } else {
            free(table.name);
        }
    }
    self->count = kept;
}

static int
by_name(const void *a, const void *b)
{
    const struct lm_tally_table *one = a;
    const struct lm_tally_table *other = b;

    return strcmp(one->name, other->name);
}

void
lm_tally_add(struct lm_tally *self, const struct lm_tally *more)
{
    self->wal_bytes += more->wal_bytes;
    self->uncounted = self->uncounted || more->uncounted;
    for (int i = 0; i < more->count; i++) {
        const struct lm_tally_table *table = &more->tables[i];
        struct lm_tally_table *sum = find_table(self, table->name);

        if (sum == NULL)
            sum = add_table(self, table->name);
        sum->inserted += table->inserted;
        sum->updated += table->updated;
        sum->deleted += table->deleted;
    }
    if (self->count > 0)
        qsort(self->tables, (size_t)self->count, sizeof *self->tables, by_name);
}
