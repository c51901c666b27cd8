/* SPDX-License-Identifier: MIT */
/* BEGIN and the settings that go with it; see the header. */

#include "pg/txn.h"

#include "pg/conn_private.h"

#include <inttypes.h>
#include <stdio.h>

/* A server that answers "on" for a commit that the role has made weaker than
 * that would break promises to people, so off becomes on where it matters;
 * anything stronger than on stays. */
static const char settings_sql[] =
    "SELECT pg_catalog.pg_backend_pid(),"
    " pg_catalog.set_config('statement_timeout', $1, true),"
    " pg_catalog.set_config('lock_timeout', $2, true),"
    " pg_catalog.set_config('idle_in_transaction_session_timeout', $3, true),"
    " pg_catalog.set_config('synchronous_commit', CASE WHEN $4 = 'off'"
    "  THEN 'off' WHEN pg_catalog.current_setting('synchronous_commit') ="
    "  'off' THEN 'on' ELSE"
    "  pg_catalog.current_setting('synchronous_commit') END, true),"
    " pg_catalog.set_config('TimeZone', coalesce($5,"
    "  pg_catalog.current_setting('TimeZone')), true),"
    " pg_catalog.set_config('application_name', coalesce($6,"
    "  pg_catalog.current_setting('application_name')), true),"
    " pg_catalog.set_config('DateStyle', 'ISO', true),"
    " pg_catalog.set_config('IntervalStyle', 'postgres', true),"
    " pg_catalog.set_config('bytea_output', 'hex', true),"
    " pg_catalog.set_config('extra_float_digits', '1', true),"
    /* Compiling takes longer than what a batch asks for. */
    " pg_catalog.set_config('jit', 'off', true),"
    /* A server may be made read-only for a failover. BEGIN does not ask, since
     * behind a pooler the default may be somebody else's; it is set back by
     * now. */
    " pg_catalog.set_config('transaction_read_only', CASE WHEN"
    "  pg_catalog.current_setting('transaction_read_only') = 'on' THEN 'on'"
    "  ELSE pg_catalog.current_setting('default_transaction_read_only') END,"
    "  true)";
static const char settings_shape[] = "1: n 12t";

enum { MIN_IDLE_LIMIT_MS = 60000 };

/* Behind a pooler each transaction may have another server process. */
static void
on_settings(void *arg, const struct lm_answer *answer, struct lm_err *err)
{
    struct lm_conn *conn = arg;

    (void)err;
    if (answer != NULL)
        conn->backend_pid = lm_answer_int(answer, 0, 0);
}

static bool
apply_settings(struct lm_conn *conn, const struct lm_txn *txn,
               struct lm_err *err)
{
    char statement[24];
    char lock[24];
    char idle[24];
    const char *texts[] = {statement,     lock,
                           idle,          txn->durable ? "on" : "off",
                           txn->timezone, txn->application_name};
    struct lm_values values = {texts, LM_COUNT(texts)};
    int64_t idle_ms = 2 * txn->statement_timeout_ms;
    struct lm_stmt *stmt;

    if (idle_ms < MIN_IDLE_LIMIT_MS)
        idle_ms = MIN_IDLE_LIMIT_MS;
    snprintf(statement, sizeof statement, "%" PRId64,
             txn->statement_timeout_ms);
    snprintf(lock, sizeof lock, "%" PRId64, txn->lock_timeout_ms);
    snprintf(idle, sizeof idle, "%" PRId64, idle_ms);
    return lm_conn_prepare(conn, settings_sql, NULL, 0, &stmt, err) &&
           lm_conn_post_question(conn, stmt, settings_shape, values,
                                 on_settings, conn, err);
}

bool
lm_txn_begin(struct lm_conn *conn, const struct lm_txn *txn, struct lm_err *err)
{
    char sql[96];

    snprintf(sql, sizeof sql, "BEGIN ISOLATION LEVEL %s %s",
             txn->isolation != NULL ? txn->isolation : "read committed",
             txn->read_only ? "READ ONLY" : "READ WRITE");
    lm_conn_set_statement_limit(conn, txn->statement_timeout_ms);
    return lm_conn_post_command(conn, sql, err) &&
           lm_conn_post_defaults(conn, err) && apply_settings(conn, txn, err);
}

bool
lm_txn_limit_statements(struct lm_conn *conn, int64_t timeout_ms,
                        struct lm_err *err)
{
    char sql[80];

    snprintf(sql, sizeof sql, "SET LOCAL statement_timeout = %" PRId64,
             timeout_ms);
    lm_conn_set_statement_limit(conn, timeout_ms);
    return lm_conn_command(conn, sql, err);
}
