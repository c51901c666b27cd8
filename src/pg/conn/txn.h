/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_TXN_H
#define LM_PG_CONN_TXN_H

/*
 * Begins a transaction with settings that end with it.
 *
 * It always sets every setting that changes how values are read, written or
 * parsed, whatever role, database, server or client have set (txn.c has the
 * list; tests/pg/test_settings.py checks it). So a value that is read as text
 * can be written back unchanged, and a script means the same everywhere. If
 * row security would hide rows, that is an error (42501), unless the
 * transaction allows it.
 *
 * It also sets a limit for idle time in the transaction, so that the locks of
 * a dead or frozen runner end, a short one if only luamig's own SQL runs; no
 * JIT compilation; and no limit for the whole transaction. If the server's
 * default is read-only, the transaction is read-only too.
 *
 * On Citus, what is said of settings holds for the transactions on the nodes
 * too; a transaction has one connection to each node; and COMMIT waits for the
 * disk even if durable is false: if the server forgot that a commit happened,
 * the nodes would not.
 *
 * All this is posted: it travels with the first statement. So that statement's
 * error may be the error of BEGIN.
 */

#include "pg/conn/conn.h"

struct lm_txn {
    const char *isolation; /* "repeatable read", ...; NULL: read committed */
    bool read_only;
    bool durable; /* false: COMMIT does not wait for the WAL to reach disk */
    int64_t statement_timeout_ms; /* 0: no limit, as on the server */
    int64_t lock_timeout_ms;
    bool own;             /* only luamig's own SQL runs in it (pg/conn/own.h) */
    const char *timezone; /* NULL: UTC */
    const char *application_name; /* NULL: the session's */
    bool row_security;            /* policies may hide rows */
};

/* Once for a connection, outside of a transaction: more settings for a session
 * that only luamig uses. Does nothing behind a pooler. */
bool lm_txn_prepare_session(struct lm_conn *conn,
                            struct lm_err *err) LM_MUSTCHECK;

bool lm_txn_begin(struct lm_conn *conn, const struct lm_txn *txn,
                  struct lm_err *err) LM_MUSTCHECK;

/* Sets another statement timeout for the rest of the transaction. */
bool lm_txn_limit_statements(struct lm_conn *conn, int64_t timeout_ms,
                             struct lm_err *err) LM_MUSTCHECK;

/* From here on the transaction writes the journal, whose rows others wait for,
 * and ends: as in a transaction of luamig's own, the server soon ends the
 * session if this process stops. */
bool lm_txn_end_soon(struct lm_conn *conn, struct lm_err *err) LM_MUSTCHECK;

#endif
