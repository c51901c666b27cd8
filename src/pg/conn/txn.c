/* SPDX-License-Identifier: MIT */

#include "pg/conn/txn.h"

#include "base/fault.h"
#include "base/text.h"
#include "pg/conn/own.h"
#include "pg/conn/private.h"
#include "pg/sql/sql.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * What every transaction pins, so that neither a role, a database, a server nor
 * a function that has set something for the session changes how values are
 * read, written or parsed. X(name, value) for each. The second kind is not set
 * before somebody has changed it: that is slow, or is not everybody's right.
 */
#define PINS(X)                               \
    X("DateStyle", "ISO, MDY")                \
    X("IntervalStyle", "postgres")            \
    X("bytea_output", "hex")                  \
    X("extra_float_digits", "1")              \
    X("array_nulls", "on")                    \
    X("xmlbinary", "base64")                  \
    X("xmloption", "content")                 \
    X("standard_conforming_strings", "on")    \
    X("backslash_quote", "safe_encoding")     \
    X("transform_null_equals", "off")         \
    X("quote_all_identifiers", "off")         \
    /* else an index may leave rows out */    \
    X("gin_fuzzy_search_limit", "0")          \
    /* compiling takes longer than a batch */ \
    X("jit", "off")
#define SLOW_PINS(X)      \
    X("lc_monetary", "C") \
    X("lc_numeric", "C")  \
    X("lc_time", "C")     \
    X("timezone_abbreviations", "Default")
#define DEAR_PINS(X)             \
    SLOW_PINS(X)                 \
    X("client_encoding", "UTF8") \
    X("session_replication_role", "origin")
#define PINS_17(X) X("transaction_timeout", "0")

#define PIN(name, value) ", ('" name "', '" value "')"

/* What differs is set; a session of our own keeps it. Calls in a list would
 * take longer to prepare for than to make, so there is one over a table. */
#define PINNED(more)                                                        \
    ", (SELECT pg_catalog.count(pg_catalog.set_config(v.name, v.wanted,"    \
    "  $8::pg_catalog.bool)) FROM (VALUES ('TimeZone', $5),"                \
    "  ('row_security', $6), ('application_name', $7)" PINS(PIN)            \
        DEAR_PINS(PIN) more                                                 \
        ") AS v (name, wanted)"                                             \
        " WHERE pg_catalog.current_setting(v.name) OPERATOR(pg_catalog.<>)" \
        "  v.wanted)"

#define LIMITS                                               \
    ", pg_catalog.set_config('statement_timeout', $1, true)" \
    ", pg_catalog.set_config('lock_timeout', $2, true)"      \
    ", pg_catalog.set_config('idle_in_transaction_session_timeout', $3, true)"

/* A server that answers "on" for a commit that the role has made weaker than
 * that would break promises to people, so off becomes on where it matters;
 * anything stronger than on stays. */
#define DURABILITY                                                  \
    ", CASE WHEN (pg_catalog.current_setting('synchronous_commit')" \
    "  OPERATOR(pg_catalog.=) 'off') OPERATOR(pg_catalog.<>)"       \
    "  ($4 OPERATOR(pg_catalog.=) 'off')"                           \
    " THEN pg_catalog.set_config('synchronous_commit', $4, true) END"

/* A server may be made read-only for a failover. BEGIN does not ask, since
 * behind a pooler the default may be somebody else's; it is set back by now. */
#define READ_ONLY                                                             \
    ", CASE WHEN pg_catalog.current_setting('default_transaction_read_only')" \
    "  OPERATOR(pg_catalog.=) 'on'"                                           \
    " THEN pg_catalog.set_config('transaction_read_only', 'on', true) END"

/* It runs under the path of others, so it names where everything is. */
#define SETTINGS(pinned) \
    "SELECT pg_catalog.pg_backend_pid()" LIMITS DURABILITY pinned READ_ONLY

static const char settings_shape[] = "1: n 3t t? n t?";
static const char settings_sql[] = SETTINGS(PINNED(""));
static const char settings_17_sql[] = SETTINGS(PINNED(PINS_17(PIN)));

#define FOR_SESSION(name, value) \
    ", pg_catalog.set_config('" name "', '" value "', false)"
/* Settings that are slow to set in each transaction, or to set back. */
#define SESSION                                         \
    "SELECT pg_catalog.concat("                         \
    "pg_catalog.set_config('lc_monetary', 'C', false)," \
    " pg_catalog.set_config('lc_numeric', 'C', false)," \
    " pg_catalog.set_config('lc_time', 'C', false)" PINS(FOR_SESSION)

static const char session_sql[] = SESSION ")";
/* Between two batches a session may idle for long. */
static const char session_14_sql[] =
    SESSION ", pg_catalog.set_config('idle_session_timeout', '0', false))";

enum { WITH_IDLE_SESSION_TIMEOUT = 140000, WITH_TRANSACTION_TIMEOUT = 170000 };

enum {
    MIN_IDLE_LIMIT_MS = 60000,
    /* of a transaction that only writes the journal, and has its rows locked */
    OWN_IDLE_LIMIT_MS = 5000
};

/* Behind a pooler each transaction may have another server process. */
static void
on_settings(void *arg, const struct lm_answer *answer, struct lm_err *err)
{
    struct lm_conn *conn = arg;

    if (answer != NULL) {
        conn->backend_pid = lm_answer_int(answer, 0, 0);
    } else if (err != NULL && lm_err_is_state(err, "42501")) {
        err->sql[0] = '\0';
        lm_err_hint(err,
                    "Sessions of this role skip triggers and foreign keys, and "
                    "luamig must not skip them. Set that back: ALTER "
                    "ROLE ... RESET session_replication_role.");
    }
}

static int64_t
idle_limit_ms(const struct lm_txn *txn)
{
    int64_t least_ms = MIN_IDLE_LIMIT_MS;
    int64_t limit_ms = 2 * txn->statement_timeout_ms;

    if (txn->own)
        return LM_FAULT_GRACE(OWN_IDLE_LIMIT_MS);

#ifdef LUAMIG_FAULTS
    /* A minute is long for a test. */
    const char *text = getenv("LUAMIG_FAULT_IDLE_MS");

    if (text != NULL)
        return strtoll(text, NULL, 10);
#endif
    return limit_ms < least_ms ? least_ms : limit_ms;
}

static bool
apply_settings(struct lm_conn *conn, const struct lm_txn *txn,
               struct lm_err *err)
{
    int64_t idle_ms = idle_limit_ms(txn);
    bool is_17 = lm_conn_server_version(conn) >= WITH_TRANSACTION_TIMEOUT;
    struct lm_stmt *stmt;

    lm_conn_set_idle_limit(conn, idle_ms);
    return lm_conn_prepare_rare(conn, is_17 ? settings_17_sql : settings_sql,
                                &stmt, err) &&
           lm_conn_post_question(
               conn, stmt, settings_shape,
               LM_VALUES(LM_DIGITS(txn->statement_timeout_ms),
                         LM_DIGITS(txn->lock_timeout_ms), LM_DIGITS(idle_ms),
                         txn->durable || conn->citus ? "on" : "off",
                         txn->timezone != NULL ? txn->timezone : "UTC",
                         txn->row_security ? "on" : "off",
                         txn->application_name,
                         lm_conn_is_pooled(conn) ? "true" : "false"),
               on_settings, conn, err);
}

bool
lm_txn_prepare_session(struct lm_conn *conn, struct lm_err *err)
{
    bool is_14 = lm_conn_server_version(conn) >= WITH_IDLE_SESSION_TIMEOUT;
    struct lm_answer *answer = NULL;

    if (lm_conn_is_pooled(conn))
        return true;
    if (!lm_conn_ask(conn, is_14 ? session_14_sql : session_sql, "1: t",
                     LM_NO_VALUES, &answer, err))
        return false;
    lm_answer_free(answer);
    return true;
}

/*
 * A distributed transaction of Citus has a transaction on each node, which has
 * the settings of that node, but for what SET LOCAL says. sequential: one
 * connection to a node, so one snapshot; and as many connections as workers.
 */
#define SET_LOCAL(name, value) "SET LOCAL " name " = '" value "'",
static const char *const citus_settings[] = {
    "SET LOCAL citus.multi_shard_modify_mode = 'sequential'",
    "SET LOCAL citus.explain_all_tasks = 'on'", /* else it shows one */
    /* else statements lock all shards that they may write to */
    "SET LOCAL citus.enable_deadlock_prevention = 'off'",
    "SET LOCAL citus.propagate_set_commands = 'local'",
    PINS(SET_LOCAL) SLOW_PINS(SET_LOCAL)};

static bool
set_local(struct lm_conn *conn, const char *name, const char *value,
          struct lm_err *err)
{
    struct lm_buf sql = LM_BUF_INIT;
    bool ok;

    lm_buf_printf(&sql, "SET LOCAL %s = ", name);
    lm_sql_add_identifier(&sql, value); /* which may stand for a text here */
    ok = lm_conn_post_command(conn, lm_buf_text(&sql), err);
    lm_buf_release(&sql);
    return ok;
}

static bool
apply_to_nodes(struct lm_conn *conn, const struct lm_txn *txn,
               struct lm_err *err)
{
    bool is_17 = lm_conn_server_version(conn) >= WITH_TRANSACTION_TIMEOUT;
    bool ok = true;

    if (!conn->citus)
        return true;
    for (size_t i = 0; ok && i < LM_COUNT(citus_settings); i++)
        ok = lm_conn_post_command(conn, citus_settings[i], err);
    return ok &&
           set_local(conn, "TimeZone",
                     txn->timezone != NULL ? txn->timezone : "UTC", err) &&
           set_local(conn, "row_security", txn->row_security ? "on" : "off",
                     err) &&
           set_local(conn, "statement_timeout",
                     LM_DIGITS(txn->statement_timeout_ms), err) &&
           set_local(conn, "lock_timeout", LM_DIGITS(txn->lock_timeout_ms),
                     err) &&
           set_local(conn, "idle_in_transaction_session_timeout",
                     LM_DIGITS(idle_limit_ms(txn)), err) &&
           (!is_17 || set_local(conn, "transaction_timeout", "0", err));
}

static bool
apply_path(struct lm_conn *conn, const struct lm_txn *txn, struct lm_err *err)
{
    const char *path = txn->own ? LM_OWN_PATH : conn->path;

    conn->own_txn = txn->own;
    return path == NULL || lm_conn_post_path(conn, path, err);
}

bool
lm_txn_begin(struct lm_conn *conn, const struct lm_txn *txn, struct lm_err *err)
{
    char sql[96];

    lm_conn_leave_ahead(conn);
    snprintf(sql, sizeof sql, "BEGIN ISOLATION LEVEL %s %s, NOT DEFERRABLE",
             txn->isolation != NULL ? txn->isolation : "read committed",
             txn->read_only ? "READ ONLY" : "READ WRITE");
    lm_conn_set_statement_limit(conn, txn->statement_timeout_ms);
    conn->transaction = lm_conn_next_number();
    return lm_conn_post_command(conn, sql, err) &&
           lm_conn_post_defaults(conn, err) && apply_to_nodes(conn, txn, err) &&
           apply_settings(conn, txn, err) && apply_path(conn, txn, err);
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

bool
lm_txn_end_soon(struct lm_conn *conn, struct lm_err *err)
{
    char sql[80];

    if (conn->own_txn)
        return true;
    snprintf(sql, sizeof sql,
             "SET LOCAL idle_in_transaction_session_timeout = %" PRId64,
             LM_FAULT_GRACE((int64_t)OWN_IDLE_LIMIT_MS));
    return lm_conn_post_command(conn, sql, err);
}
