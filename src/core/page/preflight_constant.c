/* SPDX-License-Identifier: MIT */
/* Asks the catalog what the names in a base query mean, while pg/query traces
 * the key through the query. Functions are not resolved by the types of their
 * arguments: every function that the name may mean counts. */

#include "core/page/preflight_private.h"

#include "pg/conn/answer.h"
#include "pg/conn/own.h"
#include "pg/sql/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A relation that was asked for. */
struct known {
    char *name; /* as SQL */
    bool exists;
    struct lm_query_relation relation;
};

struct catalog {
    struct lm_conn *conn;
    struct known **known;
    size_t count;
};

static void
release(struct catalog *self)
{
    for (size_t i = 0; i < self->count; i++) {
        struct known *known = self->known[i];

        free(known->name);
        free(known->relation.definition);
        lm_free_texts(known->relation.columns, known->relation.column_count);
        free(known);
    }
    free((void *)self->known);
}

#define ABOUT_RELATION                                               \
    "SELECT CASE WHEN c.relkind OPERATOR(pg_catalog.=) 'v'"          \
    "  THEN pg_catalog.pg_get_viewdef(c.oid) END,"                   \
    " ARRAY(SELECT a.attname::pg_catalog.text"                       \
    "  FROM pg_catalog.pg_attribute a"                               \
    "  WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid"                \
    "  AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped" \
    "  ORDER BY a.attnum)"

/* A schema that the role may not use is there all the same: a view reads it by
 * its owner's rights. */
static bool
ask_relation(struct catalog *self, const char *schema, const char *name,
             struct known *known, struct lm_err *err)
{
    static const char by_path[] = LM_OWN_ABOUT_TABLE ABOUT_RELATION
        " FROM pg_catalog.pg_class c WHERE c.oid = " LM_OWN_TABLE;
    static const char by_schema[] = LM_OWN ABOUT_RELATION
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
        " ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2";
    bool names_schema = schema != NULL && strcmp(schema, "pg_temp") != 0;
    const char *texts[] = {names_schema ? schema : known->name, name};
    struct lm_answer *row = NULL;

    if (!lm_conn_ask(
            self->conn, names_schema ? by_schema : by_path, "?: t? t[]",
            (struct lm_values){texts, names_schema ? 2 : 1}, &row, err))
        return false;
    known->exists = lm_answer_rows(row) == 1;
    if (known->exists) {
        known->relation.definition = lm_answer_copy(row, 0, 0);
        known->relation.column_count =
            lm_answer_texts(row, 0, 1, &known->relation.columns);
    }
    lm_answer_free(row);
    return true;
}

static bool
find_relation(void *arg, const char *schema, const char *name,
              const struct lm_query_relation **relation, struct lm_err *err)
{
    struct catalog *self = arg;
    struct lm_buf text = LM_BUF_INIT;
    struct known *known = NULL;

    if (schema != NULL && *schema == '\0')
        schema = NULL;
    if (schema != NULL) {
        lm_sql_add_identifier(&text, schema);
        lm_buf_putc(&text, '.');
    }
    lm_sql_add_identifier(&text, name);
    for (size_t i = 0; known == NULL && i < self->count; i++) {
        if (strcmp(self->known[i]->name, lm_buf_text(&text)) == 0)
            known = self->known[i];
    }
    if (known == NULL) {
        known = lm_calloc(1, sizeof *known);
        known->name = lm_buf_take(&text);
        self->known =
            lm_realloc(self->known, self->count + 1, sizeof(struct known *));
        self->known[self->count++] = known;
        if (!ask_relation(self, schema, name, known, err))
            return false;
    }
    lm_buf_release(&text);
    *relation = known->exists ? &known->relation : NULL;
    return true;
}

/*
 * Functions of the server that are stable because of settings take the same
 * values always, since luamig keeps the settings. Others read the clock, the
 * session, the catalog or tables. Those of users may read tables.
 *
 * Asked under the user's path, by which functions are found.
 */
static const char function_sql[] =
    "SELECT coalesce(pg_catalog.bool_or(p.prokind OPERATOR(pg_catalog.=) 'a'), "
    "false),"
    " coalesce(pg_catalog.bool_or(p.proretset), false),"
    " coalesce(pg_catalog.bool_or(p.provolatile OPERATOR(pg_catalog.=) 'v'), "
    "false),"
    " coalesce(pg_catalog.bool_or(p.provolatile OPERATOR(pg_catalog.=) 's'), "
    "false),"
    " coalesce(pg_catalog.bool_and(p.provolatile OPERATOR(pg_catalog.<>) 'i' "
    "AND"
    "  (p.pronamespace OPERATOR(pg_catalog.<>) "
    "'pg_catalog'::pg_catalog.regnamespace"
    "   OR (p.proname OPERATOR(pg_catalog.=) 'age' AND p.pronargs "
    "OPERATOR(pg_catalog.=) 1)"
    "   OR p.proname OPERATOR(pg_catalog.~) "
    "'^(pg_|has_|to_reg|current_)|_(description|to_xml)$')), false)"
    " FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n"
    " ON n.oid OPERATOR(pg_catalog.=) p.pronamespace WHERE p.proname "
    "OPERATOR(pg_catalog.=) $2"
    " AND CASE WHEN $1::pg_catalog.text IS NULL"
    "  THEN pg_catalog.pg_function_is_visible(p.oid) ELSE n.nspname "
    "OPERATOR(pg_catalog.=) $1 END"
    " AND pg_catalog.abs($3::pg_catalog.int4) OPERATOR(pg_catalog.>=)"
    "  (p.pronargs OPERATOR(pg_catalog.-) p.pronargdefaults)"
    " AND (pg_catalog.abs($3::pg_catalog.int4) OPERATOR(pg_catalog.<=) "
    "p.pronargs OR p.provariadic OPERATOR(pg_catalog.<>) 0)"
    " AND ($3::pg_catalog.int4 OPERATOR(pg_catalog.>=) 0 OR NOT EXISTS ("
    "  SELECT FROM pg_catalog.pg_attribute a WHERE a.attnum "
    "OPERATOR(pg_catalog.>) 0"
    "   AND a.attname OPERATOR(pg_catalog.=) p.proname))";

static bool
find_function(void *arg, const char *schema, const char *name, int args,
              struct lm_query_function *function, struct lm_err *err)
{
    const struct catalog *self = arg;
    struct lm_answer *row = NULL;
    char count[16];

    snprintf(count, sizeof count, "%d", args);
    if (!lm_conn_ask(self->conn, function_sql, "1: b b b b b",
                     LM_VALUES(schema, name, count), &row, err))
        return false;
    function->aggregate = lm_answer_bool(row, 0, 0);
    function->returns_set = lm_answer_bool(row, 0, 1);
    function->is_volatile = lm_answer_bool(row, 0, 2);
    function->is_stable = lm_answer_bool(row, 0, 3);
    function->reads_state = lm_answer_bool(row, 0, 4);
    lm_answer_free(row);
    return true;
}

bool
lm_preflight_check_constant(struct lm_conn *conn,
                            const struct lm_query_shape *shape, const char *sql,
                            const struct lm_base_query *query,
                            struct lm_err *err)
{
    struct catalog catalog = {.conn = conn};
    struct lm_query_catalog asked = {find_relation, find_function, &catalog};
    struct lm_query_key *key = lm_calloc((size_t)query->key_count, sizeof *key);
    bool ok;

    for (int i = 0; i < query->key_count; i++) {
        int source = query->key_source[i];

        key[i] = (struct lm_query_key){
            query->key[i], source >= 0 && !query->sources[source].is_view};
    }
    ok =
        lm_query_check_constant(shape, sql, key, query->key_count, &asked, err);
    release(&catalog);
    free(key);
    return ok;
}
