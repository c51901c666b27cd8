/* SPDX-License-Identifier: MIT */
/* The tables that a base query names, and why it may not read temporary ones:
 * they are there for one connection. The file of a dry run, which has one
 * connection, is in such a table. */

#include "core/page/preflight_private.h"

#include "pg/conn/answer.h"
#include "pg/sql/sql.h"

#include <stdlib.h>

struct names {
    char **names;
    int count;
};

/* A table's name as SQL. */
static void
add_name(const char *schema, const char *name, void *arg)
{
    struct names *self = arg;
    struct lm_buf text = LM_BUF_INIT;

    if (schema != NULL) {
        lm_sql_add_identifier(&text, schema);
        lm_buf_putc(&text, '.');
    }
    lm_sql_add_identifier(&text, name);
    LM_ADD(self->names, self->count) = lm_buf_take(&text);
}

void
lm_preflight_add_tables(struct lm_buf *list, const struct lm_query_shape *shape)
{
    struct names names = {NULL, 0};

    lm_query_each_table(shape, add_name, &names);
    lm_sql_add_array(list, (const char *const *)names.names, names.count);
    lm_free_texts(names.names, names.count);
}

bool
lm_preflight_refuse_temporary(struct lm_conn *conn,
                              const struct lm_query_shape *shape,
                              struct lm_err *err)
{
    /* Tables are found under the user's path, so all is qualified. */
    static const char sql[] =
        "SELECT pg_catalog.min(n.name)"
        " FROM pg_catalog.unnest($1::pg_catalog.text[]) n (name)"
        " JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=)"
        "  pg_catalog.to_regclass(n.name)"
        " WHERE c.relpersistence OPERATOR(pg_catalog.=) 't'"
        " AND c.relname OPERATOR(pg_catalog.<>) 'luamig_input'";
    struct lm_buf tables = LM_BUF_INIT;
    struct lm_answer *answer = NULL;
    char *name = NULL;
    bool ok;

    lm_preflight_add_tables(&tables, shape);
    ok = lm_conn_ask(conn, sql, "1: t?", LM_VALUES(lm_buf_text(&tables)),
                     &answer, err);
    if (ok)
        name = lm_answer_copy(answer, 0, 0);
    if (name != NULL) {
        ok = lm_err_set(err, LM_ERR_SCRIPT,
                        "the base query reads %s, which is temporary", name);
        lm_err_detail(err, "A temporary table is there for one connection. "
                           "Workers, and a run that goes on after it was "
                           "stopped, have others.");
        lm_err_hint(err, "Make an ordinary table: CREATE TABLE in on_start, "
                         "and DROP TABLE in on_complete.");
    }
    free(name);
    lm_answer_free(answer);
    lm_buf_release(&tables);
    return ok;
}

bool
lm_preflight_tables(struct lm_conn *conn, const char *sql, struct lm_err *err)
{
    struct lm_query_shape shape;
    bool ok;

    if (!lm_query_inspect(sql, &shape, err))
        return false;
    ok = lm_preflight_refuse_temporary(conn, &shape, err);
    lm_query_release(&shape);
    return ok;
}

void
lm_preflight_explain(const struct lm_migration *migration, struct lm_err *err)
{
    bool starts = migration->reads_from == NULL &&
                  migration->ops->has(migration->self, LM_CALL_ON_START);

    if (err->hint[0] != '\0')
        return;
    if (starts && lm_err_is_state(err, "42703")) {
        lm_err_hint(err, "on_start may make a table or a view that the base "
                         "query reads, but no column of one that is there.");
    }
    if (!lm_err_is_state(err, "42P01"))
        return;
    if (migration->reads_from != NULL) {
        lm_err_hint(err,
                    "The base query reads in the database of repo \"%s\". Is "
                    "the table's schema on the search_path of the role there?",
                    migration->reads_from);
    } else if (starts) {
        lm_err_hint(err, "on_start has run, and the table is not there. Does "
                         "on_start make it in the schema that the base query "
                         "reads?");
    } else {
        lm_err_hint(err, "Is this the right database, and is the table's "
                         "schema on the search_path of the role?");
    }
}
