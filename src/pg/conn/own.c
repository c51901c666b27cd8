/* SPDX-License-Identifier: MIT */
/* Replaces the user's search_path for a statement; see the header. The server
 * keeps the user's one meanwhile, in a setting that ends with the transaction,
 * because a script may have changed it there. */

#include "pg/conn/own.h"

#include "pg/conn/private.h"

#include <string.h>

/* Runs from left to right. */
static const char aside_sql[] =
    "SELECT pg_catalog.set_config('luamig.own_table', coalesce("
    "  pg_catalog.to_regclass($1)::pg_catalog.oid::pg_catalog.text, ''), true),"
    " pg_catalog.set_config('luamig.user_path',"
    "  pg_catalog.current_setting('search_path'), true),"
    " pg_catalog.set_config('search_path', '" LM_OWN_PATH "', true)";

static const char back_sql[] =
    "SELECT pg_catalog.set_config('search_path',"
    " pg_catalog.current_setting('luamig.user_path'), true)";

static bool
is_own(const char *sql)
{
    /* Asked of each statement of a script. */
    return sql[0] == LM_OWN_MARK[0] &&
           strncmp(sql, LM_OWN_MARK, strlen(LM_OWN_MARK)) == 0;
}

static bool
is_about_table(const char *sql)
{
    return strncmp(sql, LM_OWN_ABOUT_TABLE, strlen(LM_OWN_ABOUT_TABLE)) == 0;
}

const char *
lm_own_text(const char *sql)
{
    const char *end = is_own(sql) ? strchr(sql, '\2') : NULL;

    return end != NULL ? end + 1 : sql;
}

static bool
post(struct lm_conn *conn, const char *sql, struct lm_values values,
     struct lm_err *err)
{
    struct lm_pending request = {.sql = sql};
    int sent = PQsendQueryParams(conn->pg, sql, values.count, NULL,
                                 values.texts, NULL, NULL, 0);

    return lm_pipeline_post(conn, sent, request, err);
}

/* For the implicit transaction of the statement, up to the next sync. */
static bool
begin_alone(struct lm_conn *conn, const char *table, struct lm_err *err)
{
    struct lm_pending request = {.sql = aside_sql};

    return lm_conn_post_defaults(conn, err) &&
           (conn->path == NULL || lm_conn_post_alone(conn, conn->path, err)) &&
           lm_pipeline_queue(conn,
                             PQsendQueryParams(conn->pg, aside_sql, 1, NULL,
                                               &table, NULL, NULL, 0),
                             request, err);
}

/* Is there a user's search_path to replace? */
static bool
has_other_path(const struct lm_conn *conn)
{
    return lm_conn_has_transaction(conn) && !conn->own_txn;
}

bool
lm_own_begin(struct lm_conn *conn, const char *sql, struct lm_values values,
             struct lm_err *err)
{
    const char *table = NULL;

    lm_conn_leave_ahead(conn);
    if (!is_own(sql))
        return true;
    if (is_about_table(sql) && values.count > 0)
        table = values.texts[0];
    if (has_other_path(conn))
        return post(conn, aside_sql, LM_VALUES(table), err);
    if (table != NULL && !lm_conn_has_transaction(conn))
        return begin_alone(conn, table, err);
    conn->own_alone = true;
    return true;
}

bool
lm_own_end(struct lm_conn *conn, const char *sql, bool ok, struct lm_err *err)
{
    conn->own_alone = false;
    return ok && (!is_own(sql) || !has_other_path(conn) ||
                  post(conn, back_sql, LM_NO_VALUES, err));
}
