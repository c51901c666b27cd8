/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_TXN_H
#define LM_PG_CONN_TXN_H

/*
 * Beginning a transaction with settings that are local to it.
 *
 * Always set, whatever role, database, server or client say: every setting that
 * changes how values are read, written or parsed (the list is in txn.c; it is
 * held by tests/pg/test_settings.py). So a value that is read as text can be
 * written back unchanged, and a script means the same wherever it runs. Rows
 * that row security would hide are an error (42501), unless the transaction
 * says that they may be hidden.
 *
 * Also set: a limit on idling in the transaction, so that a runner that
 * vanishes does not hold locks for ever; no JIT compilation; no limit on the
 * transaction as a whole. Where the server's default is read-only, so is the
 * transaction.
 *
 * All of it is posted: it travels with the first statement, whose error may
 * then be that of BEGIN.
 */

#include "pg/conn/conn.h"

struct lm_txn {
    const char *isolation; /* "repeatable read", ...; NULL: read committed */
    bool read_only;
    bool durable; /* false: COMMIT does not wait for the WAL to reach disk */
    int64_t statement_timeout_ms; /* 0: no limit, as on the server */
    int64_t lock_timeout_ms;
    bool
        own; /* for luamig's own SQL alone (pg/conn/own.h), none of the script's */
    const char *timezone;         /* NULL: UTC */
    const char *application_name; /* NULL: the session's */
    bool row_security;            /* policies may hide rows */
};

/* Once for a connection, outside of a transaction: what else a session that is
 * luamig's own needs. Behind a pooler it is nobody's own, and nothing is
 * done. */
bool lm_txn_prepare_session(struct lm_conn *conn,
                            struct lm_err *err) LM_MUSTCHECK;

bool lm_txn_begin(struct lm_conn *conn, const struct lm_txn *txn,
                  struct lm_err *err) LM_MUSTCHECK;

/* Another statement timeout for the rest of the transaction. */
bool lm_txn_limit_statements(struct lm_conn *conn, int64_t timeout_ms,
                             struct lm_err *err) LM_MUSTCHECK;

#endif
