/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_CONN_H
#define LM_PG_CONN_CONN_H

/*
 * One connection to the server, the statements prepared on it, and results.
 * The only user of libpq.
 *
 * Everything travels as UTF-8 text. Transactions set what they need locally
 * (pg/conn/txn.h). Behind a pooler the session's settings are never changed, since it
 * may be handed to somebody else.
 *
 * Every call waits in a poll loop: a second signal cancels the statement in
 * flight, and a server that stays silent past the deadline is given up
 * (LM_ERR_LOST). A connection may be used by a thread other than the main one
 * if it is not interruptible, and by one thread at a time. Errors: LM_ERR_DATABASE with SQLSTATE, message, detail, hint
 * and constraint, or LM_ERR_LOST when the connection is gone (SQLSTATE 08006
 * unless the server said why), or LM_ERR_INTERRUPT after a cancel.
 */

#include "base/err.h"
#include "pg/conn/answer.h"
#include "pg/sql/guard.h"

#include <stdint.h>

struct lm_conn;
struct lm_result;
struct lm_stmt;

/* The protocol counts the parameters of a statement in 16 bits. A statement
 * with more breaks the connection, so callers refuse it before. */
enum { LM_MAX_PARAMS = 65535 };

/* Parameters of one execution: count texts, NULL for SQL NULL. */
struct lm_values {
    const char *const *texts;
    int count;
};

/* SQLSTATEs of an error: the server ended a session that idled in its
 * transaction (the server's own; also where its word was lost); ... */
#define LM_CONN_IDLED "25P03"
/* ... or whose transaction lasted longer than transaction_timeout, which luamig
 * sets to 0 (17 and later; the server's own); ... */
#define LM_CONN_OVERTIME "25P04"
/* ... it keeps COMMIT waiting for a synchronous standby (LM_ERR_CONNECT); ... */
#define LM_CONN_AWAITS_STANDBY "LM005"
/* ... an answer was larger than it may be; ... */
#define LM_CONN_TOO_LARGE "LM006"
/* ... the server converts texts from another encoding than UTF-8. */
#define LM_CONN_ENCODING "LM009"

struct lm_conn_options {
    const char *application_name;
    /* Signals end the wait for a connection, and a second one cancels what the
     * server is at. For the main thread only: without it, the connection never
     * looks at signals, and logs nothing of what the server says. */
    bool interruptible;
    int stop_level; /* of lm_stop_level, that ends the wait; 0: the first */
    int64_t open_limit_ms; /* for all hosts together; 0: two minutes */
    /* When the server is silent, a second connection looks at what its process
     * is at: see lm_conn_set_deadline and lm_conn_commit. */
    bool watched;
    /* How much longer than expected the server may be silent; 0: 30 s. */
    int64_t silence_ms;
};

/*
 * Opens a connection. conninfo is a URI or a conninfo string ("" for libpq's
 * environment). Errors never contain a password; they are LM_ERR_CONNECT,
 * LM_ERR_DATABASE, or LM_ERR_INTERRUPT when a signal has come.
 */
bool lm_conn_open(struct lm_conn **out, const char *conninfo,
                  const struct lm_conn_options *options,
                  struct lm_err *err) LM_MUSTCHECK;
void lm_conn_close(struct lm_conn *self); /* NULL is allowed */
/* Is there a server that turns connections away because it starts up, shuts
 * down or recovers? Then it is worth trying again. */
bool lm_conn_is_starting(const char *conninfo);

/* Is the connection up, as far as the client knows? */
bool lm_conn_is_up(const struct lm_conn *self);
/* Inside a transaction that has not failed? Inside any transaction? */
bool lm_conn_in_transaction(const struct lm_conn *self);
bool lm_conn_has_transaction(const struct lm_conn *self);

int lm_conn_server_version(const struct lm_conn *self); /* 150018 */
/* A setting that the server reports by itself, such as TimeZone, as it is
 * outside of transactions; NULL: it does not. Owned by the connection. */
const char *lm_conn_setting(const struct lm_conn *self, const char *name);
/* Writes what the database's encoding may lack as \u20ac, and a byte that is no
 * UTF-8 as \xff, in place: for texts that come from elsewhere and that people
 * read. */
void lm_conn_fit_text(const struct lm_conn *self, char *text, size_t size);
/* A copy of a name or path so written, whose owner is the caller: for what is
 * kept in the database and compared there. */
char *lm_conn_fit_name(const struct lm_conn *self, const char *name);
/* "TLSv1.3" or "GSSAPI", static or owned by the connection; NULL: anybody on
 * the way can read along. */
const char *lm_conn_encryption(const struct lm_conn *self);
/* Did the server ask for a password, and get one? */
bool lm_conn_used_password(const struct lm_conn *self);
/* Warns, once a process, of a password that has been used on an unencrypted
 * connection to another machine. From the main thread. */
void lm_conn_warn_unencrypted(const struct lm_conn *self);
/* "db.example.org:5432/shop" or "/run/pg:5432/shop": no secrets. Owned by the
 * connection. */
const char *lm_conn_target(const struct lm_conn *self);

/*
 * The longest that the server may stay silent. 0, as it is at first: nobody
 * knows, so after twice silence_ms somebody looks whether the server process
 * is still at work on our statement, and if so that time begins anew. A
 * connection that is not watched is then given up.
 *
 * lm_txn_begin sets the deadline of its transaction by the statement timeout;
 * COMMIT and rollback set it back to 0.
 */
void lm_conn_set_deadline(struct lm_conn *self, int64_t deadline_ms);
/* The deadline of statements that the server ends after limit_ms; 0: it does
 * not end them. */
void lm_conn_set_statement_limit(struct lm_conn *self, int64_t limit_ms);
/* With false, a second signal does not cancel statements: for the last words
 * to the journal. */
void lm_conn_set_interruptible(struct lm_conn *self, bool interruptible);

/* How long the transaction may idle before the server ends the session. */
void lm_conn_set_idle_limit(struct lm_conn *self, int64_t limit_ms);
/* After LM_ERR_LOST with LM_CONN_IDLED: how long the client was silent. */
int64_t lm_conn_idled_ms(const struct lm_conn *self);

/* How much the process may grow by one answer, in bytes; 0: without limit. The
 * statement is cancelled when it grows by more: LM_CONN_TOO_LARGE. Holds until
 * it is set anew. */
void lm_conn_limit_answer(struct lm_conn *self, size_t bytes);

/*
 * Does a pooler stand between? Then the session may be another one in each
 * transaction, and others leave their settings in it: nothing named is kept
 * there, and each transaction and each statement outside of one begins with
 * the settings that a fresh session would have.
 */
bool lm_conn_is_pooled(const struct lm_conn *self);
/* The search_path under which scripts' SQL runs; NULL, as it is at first: the
 * session's. luamig's own SQL has one of its own (pg/conn/own.h). */
void lm_conn_set_path(struct lm_conn *self, const char *path);
/* The server process, in a transaction as far as it has been told by then. */
int64_t lm_conn_backend_pid(const struct lm_conn *self);
/* Numbers that no other connection of this process has, and no other
 * transaction: by them one knows what was learnt on which. 0 is none. */
uint64_t lm_conn_serial(const struct lm_conn *self);
uint64_t lm_conn_transaction(const struct lm_conn *self);

/*
 * Requests are pipelined. "Post" means: handed to libpq, which sends it when
 * it can; nobody waits. Every other function that talks to the server first
 * flushes what was posted, in order, and fails with its first error: then the
 * server has skipped everything after that. A transaction that contains an
 * error can only be rolled back.
 *
 * A listener is called once for a request, whatever becomes of it, also when
 * posting fails: with a result (valid during the call); or with the request's
 * error, to which it may add where the request came from; or with neither, when
 * an earlier request has failed or the connection has broken or is closed. So
 * what it refers to is needed until then, and no longer.
 */
typedef void (*lm_conn_listener)(void *arg, const struct lm_result *result,
                                 struct lm_err *err);

/* Makes sure that the server has something to do: small requests are else kept
 * until there are more of them. */
bool lm_conn_push(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;
/* Waits until everything posted is done. */
bool lm_conn_flush(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;

/* Runs, or posts, one statement without results that matter, such as BEGIN. */
bool lm_conn_command(struct lm_conn *self, const char *sql,
                     struct lm_err *err) LM_MUSTCHECK;
bool lm_conn_post_command(struct lm_conn *self, const char *sql,
                          struct lm_err *err) LM_MUSTCHECK;
/* Runs several statements in one text: DDL. */
bool lm_conn_script(struct lm_conn *self, const char *sql,
                    struct lm_err *err) LM_MUSTCHECK;

/*
 * Sends COMMIT and waits for the server's word. Without an error the
 * transaction is committed; after LM_ERR_LOST its fate is unknown. A COMMIT
 * that the server turned into a rollback is an error. The two names are fault
 * points of test builds: before COMMIT is sent, and after.
 *
 * A server that waits for a synchronous standby is not waited for as long as
 * for one that works: LM_CONN_AWAITS_STANDBY, and the connection is closed.
 * Such a wait is never cancelled, for that would make the COMMIT valid without
 * the standby.
 */
bool lm_conn_commit(struct lm_conn *self, const char *before, const char *sent,
                    struct lm_err *err) LM_MUSTCHECK;
/* The error of a server process, this connection's or another's, that does. */
void lm_conn_fail_awaiting_standby(const struct lm_conn *self,
                                   int64_t backend_pid, struct lm_err *err);
/* Ends the transaction in hand, if any, without success. Errors do not matter:
 * the connection is then gone, and with it the transaction. */
void lm_conn_rollback(struct lm_conn *self);

/* Inside a transaction: flushes, and lets deferred constraints and triggers
 * have their turn, as COMMIT would. */
bool lm_conn_settle(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;

/* After LISTEN, with nothing in flight: waits for a notification, for wake_fd to
 * become readable, or for the time to pass. *notified: one has come. */
bool lm_conn_listen(struct lm_conn *self, int wake_fd, int64_t timeout_ms,
                    bool *notified, struct lm_err *err) LM_MUSTCHECK;

/*
 * Prepares a statement and asks the server to describe it. Statements are kept
 * by text and types: the second call for the same is free of round trips.
 * types gives the parameters' type OIDs (0: the server infers), NULL means all
 * inferred. The statement belongs to the connection and is valid until the
 * next lm_conn_prepare, which may evict one that has not been used for long.
 */
bool lm_conn_prepare(struct lm_conn *self, const char *sql,
                     const uint32_t *types, int type_count,
                     struct lm_stmt **out, struct lm_err *err) LM_MUSTCHECK;
/* The statement, if this text has been prepared with inferred types and is
 * still kept, or NULL. */
struct lm_stmt *lm_conn_find_prepared(struct lm_conn *self, const char *sql);
/* Forgets all prepared statements, here and on the server: what they mean may
 * have changed, or somebody else has dropped them. */
bool lm_conn_forget(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;
bool lm_conn_execute(struct lm_conn *self, const struct lm_stmt *stmt,
                     struct lm_values values, struct lm_result **out,
                     struct lm_err *err) LM_MUSTCHECK;
/* The values are copied; fails when an earlier request is known to have
 * failed. listener may be NULL. */
bool lm_conn_post(struct lm_conn *self, const struct lm_stmt *stmt,
                  struct lm_values values, lm_conn_listener listener, void *arg,
                  struct lm_err *err) LM_MUSTCHECK;

/* What the server said about a prepared statement. */
struct lm_column {
    char *name;
    uint32_t type;    /* OID; of a domain: its base type */
    uint32_t table;   /* OID of the table it comes from, or 0 */
    int table_column; /* attnum in that table, or 0 */
};
int lm_stmt_param_count(const struct lm_stmt *self);
uint32_t lm_stmt_param_type(const struct lm_stmt *self, int index);
int lm_stmt_column_count(const struct lm_stmt *self);
const struct lm_column *lm_stmt_column(const struct lm_stmt *self, int index);
const char *lm_stmt_sql(const struct lm_stmt *self);
/* A note kept with a statement of a script; NULL at first. */
void lm_stmt_set_verdict(struct lm_stmt *self,
                         const struct lm_verdict *verdict);
const struct lm_verdict *lm_stmt_verdict(const struct lm_stmt *self);

/* Rows of any shape: of a page, or of a script's own statement. What is not
 * there is NULL, 0 or "". */
void lm_result_free(struct lm_result *self); /* NULL is allowed */
int lm_result_rows(const struct lm_result *self);
int lm_result_columns(const struct lm_result *self);
const char *lm_result_column_name(const struct lm_result *self, int column);
uint32_t lm_result_column_type(const struct lm_result *self, int column);
/* As in struct lm_column. */
uint32_t lm_result_column_table(const struct lm_result *self, int column);
int lm_result_table_column(const struct lm_result *self, int column);
/* The text of a value, NULL for SQL NULL; owned by the result. */
const char *lm_result_text(const struct lm_result *self, int row, int column);
size_t lm_result_length(const struct lm_result *self, int row, int column);
/* What it takes of memory. */
size_t lm_result_bytes(const struct lm_result *self);
/* Rows that a statement touched or returned; 0 for statements without. */
int64_t lm_result_affected(const struct lm_result *self);

#endif
