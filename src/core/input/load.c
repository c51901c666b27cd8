/* SPDX-License-Identifier: MIT */
/*
 * A load is several COPY in one transaction. Each has a group of records, whose
 * lines are kept: if the server refuses one, it says which row of the COPY that
 * was. The server notices an error when it wants to, but says so at the end of
 * a COPY only: so groups are not large.
 */

#include "core/input/load.h"

#include "base/clock.h"
#include "pg/conn/copy.h"
#include "pg/conn/txn.h"
#include "pg/sql/sql.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    GROUP_ROWS = 1 << 16,
    GROUP_BYTES = 16 << 20,
    BLOCK = 1 << 18,
    TELL_MS = 1000
};

struct loading {
    const struct lm_input_load *load;
    struct lm_reader *reader;
    size_t group_bytes;
    bool over;
    int64_t told_ms;
};

/* -- the rows of a COPY ------------------------------------------------------ */

static void
tell(struct loading *self)
{
    const struct lm_input_load *load = self->load;
    int64_t now = lm_clock_ms();

    if (load->tell == NULL || now - self->told_ms < TELL_MS)
        return;
    self->told_ms = now;
    load->tell(load->arg, lm_reader_bytes(self->reader),
               lm_reader_count(self->reader));
}

/* A record that has begun belongs to its group. */
static bool
is_full(const struct loading *self, const struct lm_buf *out)
{
    return !lm_reader_is_in_record(self->reader) &&
           (self->group_bytes + out->len >= GROUP_BYTES ||
            lm_reader_group_size(self->reader) >= GROUP_ROWS);
}

/* A block of the current group; none when the group is full. */
static bool
next_block(void *arg, struct lm_buf *out, struct lm_err *err)
{
    struct loading *self = arg;
    const struct lm_input_load *load = self->load;

    if (load->should_end != NULL && load->should_end(load->arg)) {
        return lm_err_set(err, LM_ERR_INTERRUPT, "stopped while loading %s",
                          load->file->name);
    }
    tell(self);
    while (!self->over && out->len < BLOCK && !is_full(self, out)) {
        if (!lm_reader_next(self->reader, out, &self->over, err)) {
            /* A file that was cut ends in the middle of a line. */
            (void)lm_input_file_has_changed(load->file, err);
            return false;
        }
    }
    self->group_bytes += out->len;
    return true;
}

/* -- what the server says ---------------------------------------------------- */

/* The first number of the text. */
static const char *
find_number(const char *text, int64_t *number)
{
    char *end;

    while (*text != '\0' && !isdigit((unsigned char)*text))
        text++;
    *number = strtoll(text, &end, 10);
    return end;
}

/* The column whose name the text has first. */
static const char *
find_column(const struct lm_input *input, const char *text)
{
    const char *found = NULL;
    size_t longest = 0;

    for (int i = 0; i < input->column_count; i++) {
        const char *name = input->columns[i].name;
        size_t len = strlen(name);

        if (len > longest && strncmp(text, name, len) == 0) {
            found = name;
            longest = len;
        }
    }
    return found;
}

/* "COPY input_1, line 3, column id: "x"", in any language: the name of the
 * table, a number, a word and the name of the column. */
static void
read_context(const struct loading *self, const char *context, int64_t *line,
             const char **column)
{
    const char *at = strstr(context, self->load->name);
    int64_t number = 0;

    if (at == NULL)
        return;
    at = find_number(at + strlen(self->load->name), &number);
    *line = lm_reader_line_of(self->reader, number);
    if (strncmp(at, ", ", 2) != 0)
        return;
    at = strchr(at + 2, ' ');
    if (at != NULL)
        *column = find_column(self->load->input, at + 1);
}

static bool
is_of_file(const struct lm_err *err)
{
    return err->kind == LM_ERR_DATABASE &&
           (lm_err_is_state(err, "22") || lm_err_is_state(err, "23") ||
            lm_err_is_state(err, "P0001"));
}

static bool
explain(const struct loading *self, const char *context, struct lm_err *err)
{
    const char *column = NULL;
    int64_t line = 0;

    if (!is_of_file(err))
        return false;
    if (context != NULL)
        read_context(self, context, &line, &column);
    err->sql[0] = '\0';
    return lm_input_place(self->load->file, line, column, err);
}

/* -- the COPY ----------------------------------------------------------------- */

static char *
copy_sql(const struct loading *self)
{
    const struct lm_input_load *load = self->load;
    struct lm_buf sql = LM_BUF_INIT;
    int count;
    const int *places = lm_reader_places(self->reader, &count);

    lm_buf_printf(&sql, "COPY %s (" LM_INPUT_LINE, load->table);
    for (int i = 0; i < count; i++) {
        lm_buf_puts(&sql, ", ");
        lm_sql_add_identifier(&sql, load->input->columns[places[i]].name);
    }
    lm_buf_printf(&sql, ") FROM STDIN%s", load->is_new ? " (FREEZE)" : "");
    return lm_buf_take(&sql);
}

static bool
copy_groups(struct lm_conn *conn, struct loading *self, struct lm_err *err)
{
    struct lm_copy_source source = {next_block, self};
    char *sql = copy_sql(self);
    bool ok = true;

    while (ok && !self->over) {
        char *context = NULL;

        lm_reader_begin_group(self->reader);
        self->group_bytes = 0;
        ok = lm_conn_copy(conn, sql, &source, &context, err) ||
             explain(self, context, err);
        free(context);
    }
    free(sql);
    return ok;
}

bool
lm_input_load(struct lm_conn *conn, const struct lm_input_load *load,
              int64_t *rows, struct lm_err *err)
{
    struct loading self = {.load = load, .told_ms = lm_clock_ms()};
    bool ok = lm_reader_open(&self.reader, load->input, load->file,
                             load->types->kinds, err) &&
              copy_groups(conn, &self, err);

    if (ok)
        *rows = lm_reader_count(self.reader);
    lm_reader_close(self.reader);
    return ok;
}

/* -- a table of the session ---------------------------------------------------- */

static bool
make_temporary(struct lm_conn *conn, const struct lm_input *input,
               struct lm_err *err)
{
    struct lm_buf sql = LM_BUF_INIT;
    bool ok;

    lm_buf_puts(&sql, "CREATE TEMPORARY TABLE luamig_input (" LM_INPUT_LINE
                      " pg_catalog.int8 PRIMARY KEY");
    for (int i = 0; i < input->column_count; i++) {
        lm_buf_puts(&sql, ", ");
        lm_sql_add_identifier(&sql, input->columns[i].name);
        lm_buf_printf(&sql, " %s", input->columns[i].type);
    }
    lm_buf_puts(&sql, ")");
    ok = lm_conn_command(conn, lm_buf_text(&sql), err);
    lm_buf_release(&sql);
    return ok;
}

static bool
fill_temporary(struct lm_conn *conn, const struct lm_migration *migration,
               const struct lm_input_file *file, int64_t *rows,
               struct lm_err *err)
{
    struct lm_txn txn = {.durable = false, .timezone = migration->timezone};
    struct lm_input_types types = {.oids = NULL};
    struct lm_input_load load = {.input = migration->input,
                                 .file = file,
                                 .types = &types,
                                 .table = "pg_temp.luamig_input",
                                 .name = "luamig_input"};
    bool ok = lm_txn_begin(conn, &txn, err) &&
              lm_input_find_types(conn, migration->input, &types, err) &&
              make_temporary(conn, migration->input, err) &&
              (file == NULL || lm_input_load(conn, &load, rows, err)) &&
              lm_conn_command(conn, "ANALYZE pg_temp.luamig_input", err) &&
              lm_conn_commit(conn, "input_before_commit",
                             "input_after_commit_sent", err);

    if (!ok)
        lm_conn_rollback(conn);
    lm_input_types_release(&types);
    return ok;
}

bool
lm_input_load_temporary(struct lm_conn *conn,
                        const struct lm_migration *migration,
                        const struct lm_input_file *file, char **table,
                        int64_t *rows, struct lm_err *err)
{
    *rows = 0;
    if (lm_conn_is_pooled(conn)) {
        lm_err_set(err, LM_ERR_CONNECT,
                   "a file can only be tried on a connection of its own, and "
                   "there is a pooler in between");
        return lm_err_hint(err, "Give the server's own address with --db.");
    }
    if (!fill_temporary(conn, migration, file, rows, err))
        return false;
    *table = lm_strdup("pg_temp.luamig_input");
    return true;
}
