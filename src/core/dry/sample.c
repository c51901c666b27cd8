/* SPDX-License-Identifier: MIT */
/*
 * Finds rows that the current transaction has written, and reads them.
 *
 * It finds rows of a page by their keys: a missing row was deleted; a visible
 * row whose xmin is in progress was written here. In other tables it searches
 * the last blocks of the file, where new versions usually are; it reads a
 * small table as a whole. The tally counts rows that were deleted in other
 * tables, but they cannot be found.
 *
 * Each query runs in a savepoint and under a short statement timeout. A table
 * whose query fails is left out. Nothing here writes.
 */

#include "core/dry/sample.h"

#include "base/log.h"
#include "pg/conn/conn.h"
#include "pg/conn/own.h"
#include "pg/conn/txn.h"
#include "pg/conn/types.h"
#include "pg/sql/sql.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS_PER_TABLE = 3,
    MOST_TABLES = 10,
    LAST_BLOCKS = 1024,
    TIMEOUT_MS = 250,
    LONG_VALUE = 65536, /* bytes; shown by its beginning */
    TYPE_TID = 27
};

/* -- memory ------------------------------------------------------------- */

static void
release_image(struct lm_image *image)
{
    lm_free_texts(image->names, image->count);
    lm_free_texts(image->values, image->count);
    memset(image, 0, sizeof *image);
}

static void
release_row(const struct lm_samples *self, struct lm_sample *row)
{
    free(row->table);
    lm_free_texts(row->key, self->places[row->place].key_count);
    release_image(&row->before);
    release_image(&row->after);
}

void
lm_samples_release(struct lm_samples *self)
{
    for (int i = 0; i < self->count; i++)
        release_row(self, &self->rows[i]);
    for (int i = 0; i < self->place_count; i++) {
        struct lm_sample_place *place = &self->places[i];

        free(place->from);
        lm_free_texts(place->key, place->key_count);
        lm_free_texts(place->equal, place->key_count);
        free(place->types);
    }
    free(self->rows);
    free(self->places);
    free(self->settings);
    memset(self, 0, sizeof *self);
}

static struct lm_sample_place *
add_place(struct lm_samples *self, const char *from)
{
    struct lm_sample_place *place;

    place = &LM_ADD(self->places, self->place_count);
    *place = (struct lm_sample_place){.from = lm_strdup(from)};
    return place;
}

static void
add_key_column(struct lm_sample_place *place, const char *name, uint32_t type,
               const char *equal)
{
    size_t room = (size_t)place->key_count + 1;

    place->equal = lm_realloc(place->equal, room, sizeof *place->equal);
    place->equal[place->key_count] = lm_strdup(equal);

    place->key = lm_realloc(place->key, room, sizeof *place->key);
    place->types = lm_realloc(place->types, room, sizeof *place->types);
    place->key[place->key_count] = lm_strdup(name);
    place->types[place->key_count++] = type;
}

/* A row of the last place. */
static void
add_row(struct lm_samples *self, const char *table, const char *const *key)
{
    int count = self->places[self->place_count - 1].key_count;
    struct lm_sample *row;

    row = &LM_ADD(self->rows, self->count);
    *row =
        (struct lm_sample){.table = lm_strdup(table),
                           .place = self->place_count - 1,
                           .key = lm_calloc((size_t)count, sizeof *row->key)};
    for (int i = 0; i < count; i++)
        row->key[i] = lm_strdup(key[i]);
}

bool
lm_sample_is_key(const struct lm_samples *self, const struct lm_sample *row,
                 const char *column)
{
    const struct lm_sample_place *place = &self->places[row->place];

    for (int i = 0; i < place->key_count; i++) {
        if (strcmp(place->key[i], column) == 0)
            return true;
    }
    return false;
}

/* -- asking ------------------------------------------------------------- */

/* False, and the transaction as it was, when the server does not answer. */
static bool
look(struct lm_conn *conn, const char *sql, const char *shape,
     const uint32_t *types, struct lm_values values, struct lm_answer **out)
{
    struct lm_err ignored;

    *out = NULL;
    if (!lm_conn_command(conn, "SAVEPOINT luamig_look", &ignored))
        return false;
    if (lm_conn_ask_typed(conn, sql, shape, types, values, out, &ignored)) {
        if (lm_conn_command(conn, "RELEASE SAVEPOINT luamig_look", &ignored))
            return true;
        lm_answer_free(*out);
        *out = NULL;
        return false;
    }
    if (!lm_conn_command(conn, "ROLLBACK TO SAVEPOINT luamig_look", &ignored))
        lm_log(LM_LOG_DEBUG, "%s", ignored.message);
    return false;
}

static void
add_key_columns(struct lm_buf *sql, const struct lm_sample_place *place)
{
    for (int i = 0; i < place->key_count; i++) {
        lm_buf_puts(sql, i > 0 ? ", luamig_t." : "luamig_t.");
        lm_sql_add_identifier(sql, place->key[i]);
    }
}

static void
add_params(struct lm_buf *sql, int count)
{
    for (int i = 1; i <= count; i++)
        lm_buf_printf(sql, "%s$%d", i > 1 ? ", " : "", i);
}

/* " FROM t WHERE k = ANY (ARRAY[$1, ...])" or "(k1 = $1 AND k2 = $2) OR ..." */
static void
add_lookup(struct lm_buf *sql, const struct lm_sample_place *place, int rows)
{
    int param = 0;

    lm_buf_printf(sql, " FROM %s AS luamig_t WHERE ", place->from);
    if (place->key_count == 1) {
        add_key_columns(sql, place);
        lm_buf_printf(sql, " %s ANY (ARRAY[", place->equal[0]);
        add_params(sql, rows);
        lm_buf_puts(sql, "])");
        return;
    }
    for (int row = 0; row < rows; row++) {
        lm_buf_puts(sql, row > 0 ? " OR (" : "(");
        for (int i = 0; i < place->key_count; i++) {
            lm_buf_puts(sql, i > 0 ? " AND luamig_t." : "luamig_t.");
            lm_sql_add_identifier(sql, place->key[i]);
            lm_buf_printf(sql, " %s $%d", place->equal[i], ++param);
        }
        lm_buf_putc(sql, ')');
    }
}

/* The types of the keys of so many rows, to be freed. */
static uint32_t *
repeat_types(const struct lm_sample_place *place, int rows)
{
    size_t count = (size_t)place->key_count;
    uint32_t *types = lm_calloc(count * (size_t)rows, sizeof *types);

    for (size_t row = 0; row < (size_t)rows; row++)
        memcpy(types + row * count, place->types, count * sizeof *types);
    return types;
}

static bool
look_up(struct lm_conn *conn, const struct lm_sample_place *place,
        const char *sql, const char *shape, const char *const *texts, int rows,
        struct lm_answer **out)
{
    struct lm_values values = {texts, rows * place->key_count};
    uint32_t *types = repeat_types(place, rows);
    bool ok = look(conn, sql, shape, types, values, out);

    free(types);
    return ok;
}

/*
 * "Was this visible row written by the current transaction?" Its savepoints
 * have transaction IDs of their own, so the test is whether the row's xmin is
 * in progress. xmin has 32 bits; the upper bits come from the transaction's
 * own ID, which is near.
 */
static void
add_is_ours(struct lm_buf *sql)
{
    static const char own[] =
        "(SELECT pg_catalog.pg_current_xact_id_if_assigned()"
        "::pg_catalog.text::pg_catalog.int8)";
    static const char add[] = "OPERATOR(pg_catalog.+)";
    static const char rest[] = "OPERATOR(pg_catalog.%) 4294967296";

    lm_buf_printf(
        sql,
        "CASE WHEN pg_catalog.age(luamig_t.xmin) OPERATOR(pg_catalog.>) 0"
        " THEN false ELSE coalesce(pg_catalog.pg_xact_status((%s %s"
        " (((luamig_t.xmin::pg_catalog.text::pg_catalog.int8"
        " OPERATOR(pg_catalog.-) (%s %s)) %s 6442450944) %s) %s"
        " -2147483648)::pg_catalog.text::pg_catalog.xid8)"
        " OPERATOR(pg_catalog.=) 'in progress', false) END",
        own, add, own, rest, add, rest, add);
}

/* -- images ------------------------------------------------------------- */

static bool
same_key(const struct lm_answer *result, int row, int first,
         const char *const *key, int count)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(lm_answer_text(result, row, first + i), key[i]) != 0)
            return false;
    }
    return true;
}

static void
add_column(struct lm_image *image, const char *name, const char *value)
{
    size_t room = (size_t)image->count + 1;

    image->names = lm_realloc(image->names, room, sizeof *image->names);
    image->values = lm_realloc(image->values, room, sizeof *image->values);
    image->names[image->count] = lm_strdup(name);
    image->values[image->count++] = lm_strdup(value);
}

/* Result: the table's name, column and value, then the key. */
static void
read_image(struct lm_sample *row, int key_count, const struct lm_answer *result,
           bool after)
{
    struct lm_image *image = after ? &row->after : &row->before;

    for (int i = 0; i < lm_answer_rows(result); i++) {
        if (!same_key(result, i, 3, (const char *const *)row->key, key_count))
            continue;
        if (image->count == 0) {
            free(row->table);
            row->table = lm_strdup(lm_answer_text(result, i, 0));
        }
        add_column(image, lm_answer_text(result, i, 1),
                   lm_answer_text(result, i, 2));
    }
}

static void
add_image_sql(struct lm_buf *sql, const struct lm_sample_place *place, int rows)
{
    lm_buf_printf(
        sql,
        "SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname), v.key,"
        " CASE WHEN pg_catalog.octet_length(v.text)"
        "  OPERATOR(pg_catalog.<=) %d"
        "  THEN v.text ELSE pg_catalog.to_json(pg_catalog.format("
        "   '%%s... (%%s characters, hash %%s)', pg_catalog.left("
        "   v.text, 200), pg_catalog.length(v.text),"
        "   pg_catalog.hashtextextended(v.text, 0)))::pg_catalog.text END",
        LONG_VALUE);
    for (int i = 0; i < place->key_count; i++)
        lm_buf_printf(sql, ", r.k%d", i);
    lm_buf_puts(sql, " FROM (SELECT luamig_t.tableoid AS o,"
                     " pg_catalog.row_to_json(luamig_t.*) AS doc");
    for (int i = 0; i < place->key_count; i++) {
        lm_buf_puts(sql, ", luamig_t.");
        lm_sql_add_identifier(sql, place->key[i]);
        lm_buf_printf(sql, " AS k%d", i);
    }
    add_lookup(sql, place, rows);
    lm_buf_puts(sql, ") AS r JOIN pg_catalog.pg_class c"
                     " ON c.oid OPERATOR(pg_catalog.=) r.o"
                     " JOIN pg_catalog.pg_namespace n"
                     " ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
                     " CROSS JOIN LATERAL (SELECT j.key, j.place,"
                     "  j.value::pg_catalog.text AS text FROM"
                     "  pg_catalog.json_each(r.doc) WITH ORDINALITY"
                     "  AS j (key, value, place)) AS v ORDER BY v.place");
}

/* The images of the rows of one place, which stand in a row. False when they
 * could not be read. */
static bool
read_images(struct lm_samples *self, struct lm_conn *conn, int first, int count,
            bool after)
{
    const struct lm_sample_place *place =
        &self->places[self->rows[first].place];
    size_t key_count = (size_t)place->key_count;
    const char **texts = lm_calloc((size_t)count * key_count, sizeof *texts);
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_answer *result = NULL;
    char shape[32];
    bool ok;

    for (size_t i = 0; i < (size_t)count * key_count; i++)
        texts[i] = self->rows[first + (int)(i / key_count)].key[i % key_count];
    add_image_sql(&sql, place, count);
    snprintf(shape, sizeof shape, "*: t t t %dt", place->key_count);
    ok = look_up(conn, place, lm_buf_text(&sql), shape, texts, count, &result);
    for (int i = 0; ok && i < count; i++) {
        read_image(&self->rows[first + i], place->key_count, result, after);
    }
    lm_answer_free(result);
    lm_buf_release(&sql);
    free(texts);
    return ok;
}

/* How many rows follow that are of the same place. */
static int
count_of_place(const struct lm_samples *self, int first)
{
    int count = 1;

    while (first + count < self->count &&
           self->rows[first + count].place == self->rows[first].place)
        count++;
    return count;
}

static void
drop_rows(struct lm_samples *self, int first, int count)
{
    for (int i = first; i < first + count; i++)
        release_row(self, &self->rows[i]);
    memmove(&self->rows[first], &self->rows[first + count],
            (size_t)(self->count - first - count) * sizeof *self->rows);
    self->count -= count;
}

/* -- rows of the page --------------------------------------------------- */

/* Has the page's row been changed (true) or deleted (missing)? */
static bool
is_touched(const struct lm_answer *found, const char *const *key, int key_count)
{
    for (int i = 0; i < lm_answer_rows(found); i++) {
        if (same_key(found, i, 0, key, key_count))
            return lm_answer_bool(found, i, key_count);
    }
    return true;
}

static void
take_page(struct lm_samples *self, struct lm_conn *conn,
          const struct lm_sample_page *page)
{
    const struct lm_base_query *query = page->query;
    struct lm_sample_place *place = add_place(self, page->table);
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_answer *found = NULL;
    char shape[32];
    int taken = 0;

    for (int i = 0; i < query->key_count; i++) {
        add_key_column(place, query->sources[query->key_source[i]].column,
                       query->key_types[i],
                       query->order[i].operators[LM_EQUAL]);
    }
    lm_buf_puts(&sql, "SELECT ");
    add_key_columns(&sql, place);
    lm_buf_puts(&sql, ", ");
    add_is_ours(&sql);
    add_lookup(&sql, place, page->rows);
    snprintf(shape, sizeof shape, "*: %dt b", place->key_count);
    if (look_up(conn, place, lm_buf_text(&sql), shape, page->texts, page->rows,
                &found)) {
        for (int row = 0; row < page->rows && taken < ROWS_PER_TABLE; row++) {
            const char *const *key =
                page->texts + (size_t)row * (size_t)query->key_count;

            if (!is_touched(found, key, query->key_count))
                continue;
            add_row(self, page->table, key);
            taken++;
        }
    }
    lm_answer_free(found);
    lm_buf_release(&sql);
}

/* -- rows of other tables ------------------------------------------------ */

#define EQUALITY LM_ORDER_EQUALITY("coalesce(nullif(t.typbasetype, 0), t.oid)")

/* The table's primary key, or else the row's place in the file: a row that was
 * only inserted needs no more. *blocks: the size of the file. */
static bool
describe(struct lm_sample_place *place, struct lm_conn *conn,
         const struct lm_tally_table *table, int64_t *blocks)
{
    static const char sql[] = LM_OWN
        "SELECT pg_catalog.pg_relation_size($1::pg_catalog.regclass)"
        " / pg_catalog.current_setting('block_size')::int,"
        " a.attname, a.atttypid, coalesce(" EQUALITY ", '=')"
        " FROM (VALUES (1)) AS one LEFT JOIN (pg_catalog.pg_index i"
        "  JOIN pg_catalog.pg_attribute a"
        "  ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)"
        "  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid)"
        " ON i.indrelid = $1::pg_catalog.regclass AND i.indisprimary"
        " ORDER BY pg_catalog.array_position(i.indkey::int2[], a.attnum)";
    uint32_t type = LM_TYPE_TEXT;
    struct lm_answer *result = NULL;

    if (!look(conn, sql, "+: n t? o? t", &type, LM_VALUES(table->name),
              &result))
        return false;
    *blocks = lm_answer_int(result, 0, 0);
    for (int i = 0; i < lm_answer_rows(result); i++) {
        if (!lm_answer_is_null(result, i, 1)) {
            add_key_column(place, lm_answer_text(result, i, 1),
                           lm_answer_oid(result, i, 2),
                           lm_answer_text(result, i, 3));
        }
    }
    lm_answer_free(result);
    if (place->key_count == 0 && table->updated == 0)
        add_key_column(place, "ctid", TYPE_TID, "OPERATOR(pg_catalog.=)");
    return place->key_count > 0;
}

static void
add_found(struct lm_samples *self, const char *table, int key_count,
          const struct lm_answer *found)
{
    const char **key = lm_calloc((size_t)key_count, sizeof *key);

    for (int row = 0; row < lm_answer_rows(found); row++) {
        for (int i = 0; i < key_count; i++)
            key[i] = lm_answer_text(found, row, i);
        add_row(self, table, key);
    }
    free(key);
}

static void
seek_rows(struct lm_samples *self, struct lm_conn *conn, const char *table,
          const struct lm_sample_place *place, int64_t blocks)
{
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_answer *found = NULL;
    char shape[32];

    lm_buf_puts(&sql, "SELECT ");
    add_key_columns(&sql, place);
    lm_buf_printf(&sql, " FROM %s AS luamig_t WHERE ", place->from);
    if (blocks > LAST_BLOCKS) {
        lm_buf_printf(&sql,
                      "luamig_t.ctid OPERATOR(pg_catalog.>=) '(%" PRId64
                      ",0)' AND ",
                      blocks - LAST_BLOCKS);
    }
    add_is_ours(&sql);
    lm_buf_printf(&sql, " LIMIT %d", ROWS_PER_TABLE);
    snprintf(shape, sizeof shape, "*: %dt", place->key_count);
    if (look(conn, lm_buf_text(&sql), shape, NULL, LM_NO_VALUES, &found))
        add_found(self, table, place->key_count, found);
    lm_answer_free(found);
    lm_buf_release(&sql);
}

static void
take_table(struct lm_samples *self, struct lm_conn *conn,
           const struct lm_tally_table *table)
{
    char *from = lm_format("ONLY %s", table->name);
    struct lm_sample_place *place;
    int64_t blocks = 0;

    place = add_place(self, from);
    free(from);
    if (!describe(place, conn, table, &blocks))
        return;
    /* Before PostgreSQL 14, a range of blocks is a scan of the whole. */
    if (blocks <= LAST_BLOCKS || lm_conn_server_version(conn) >= 140000)
        seek_rows(self, conn, table->name, place, blocks);
}

static bool
has_rows(const struct lm_samples *self, const char *table)
{
    for (int i = 0; i < self->count; i++) {
        if (strcmp(self->rows[i].table, table) == 0)
            return true;
    }
    return false;
}

/* The same for rows that were looked up there, of a partition perhaps. */
static bool
has_rows_of(const struct lm_samples *self, const char *from)
{
    for (int i = 0; i < self->count; i++) {
        if (strcmp(self->places[self->rows[i].place].from, from) == 0)
            return true;
    }
    return false;
}

/* -- both halves --------------------------------------------------------- */

void
lm_samples_begin(struct lm_samples *self, struct lm_conn *conn)
{
    static const char sql[] =
        "SELECT pg_catalog.json_object_agg(name,"
        " pg_catalog.current_setting(name)) FROM pg_catalog.unnest(ARRAY["
        "'DateStyle', 'IntervalStyle', 'TimeZone', 'bytea_output',"
        " 'extra_float_digits', 'lc_monetary', 'xmlbinary', 'search_path',"
        " 'role', 'row_security']) AS name";
    struct lm_answer *result = NULL;

    free(self->settings);
    self->settings = NULL;
    if (look(conn, sql, "1: t", NULL, LM_NO_VALUES, &result))
        self->settings = lm_answer_copy(result, 0, 0);
    lm_answer_free(result);
}

static bool
begin_looking(const struct lm_samples *self, struct lm_conn *conn)
{
    static const char sql[] =
        "SELECT pg_catalog.set_config(s.key, s.value, true)"
        " FROM pg_catalog.json_each_text($1) AS s";
    uint32_t type = LM_TYPE_JSON;
    struct lm_answer *result = NULL;
    struct lm_err ignored;
    bool ok =
        self->settings != NULL &&
        look(conn, sql, "*: t", &type, LM_VALUES(self->settings), &result) &&
        lm_txn_limit_statements(conn, TIMEOUT_MS, &ignored);

    lm_answer_free(result);
    return ok;
}

/* Reads the images of the rows from first on; a place that cannot be read
 * loses its rows. */
static void
read_from(struct lm_samples *self, struct lm_conn *conn, int first, bool after)
{
    while (first < self->count) {
        int count = count_of_place(self, first);

        if (read_images(self, conn, first, count, after)) {
            first += count;
        } else {
            drop_rows(self, first, count);
        }
    }
}

void
lm_samples_take(struct lm_samples *self, struct lm_conn *conn,
                const struct lm_sample_page *page,
                const struct lm_tally *written)
{
    int first = self->count;
    int tables = 0;

    if ((written->count == 0 && !written->uncounted) ||
        !begin_looking(self, conn))
        return;
    if (page != NULL && page->table != NULL &&
        !has_rows_of(self, page->table)) {
        take_page(self, conn, page);
        read_from(self, conn, first, true);
    }
    for (int i = 0; i < written->count && tables < MOST_TABLES; i++) {
        const struct lm_tally_table *table = &written->tables[i];
        int before = self->count;

        if (table->inserted + table->updated == 0 ||
            has_rows(self, table->name))
            continue;
        tables++;
        take_table(self, conn, table);
        read_from(self, conn, before, true);
    }
}

void
lm_samples_complete(struct lm_samples *self, struct lm_conn *conn)
{
    if (self->count == self->known)
        return;
    if (begin_looking(self, conn)) {
        read_from(self, conn, self->known, false);
    } else {
        drop_rows(self, self->known, self->count - self->known);
    }
    for (int i = self->count - 1; i >= self->known; i--) {
        if (self->rows[i].before.count == 0 && self->rows[i].after.count == 0)
            drop_rows(self, i, 1);
    }
    self->known = self->count;
}
