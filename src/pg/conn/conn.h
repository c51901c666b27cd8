/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_CONN_H
#define LM_PG_CONN_CONN_H

/*
 * One connection to the server, the statements prepared on it, and results.
 * Only src/pg uses libpq.
 *
 * All values travel as UTF-8 text. Each transaction sets what it needs for
 * itself (pg/conn/txn.h). Behind a pooler, luamig never changes the session's
 * settings, because the session may be given to another client.
 *
 * Every call waits in a poll loop. A second signal cancels the current
 * statement. If a server stays silent past the deadline, the connection is
 * given up (LM_ERR_LOST). Any thread may use a connection, but only one at a
 * time. Errors: LM_ERR_DATABASE with SQLSTATE, message, detail, hint and
 * constraint; LM_ERR_LOST if the connection is gone (SQLSTATE 08006 if the
 * server did not say why); LM_ERR_INTERRUPT after a cancel.
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
#define LM_NO_VALUES ((struct lm_values){NULL, 0})
/* Those that are listed, for as long as the block lasts. */
#define LM_VALUES(...)                                      \
    ((struct lm_values){(const char *const[]){__VA_ARGS__}, \
                        (int)LM_COUNT(((const char *const[]){__VA_ARGS__}))})

/* SQLSTATEs of an error. The server ended a session that was idle in its
 * transaction (the server's own code; also used if the server's message was
 * lost). */
#define LM_CONN_IDLED "25P03"
/* The server ended a session because its transaction lasted longer than
 * transaction_timeout (PostgreSQL 17 and later). luamig sets it to 0. */
#define LM_CONN_OVERTIME "25P04"
/* COMMIT waits for a synchronous standby (LM_ERR_CONNECT). */
#define LM_CONN_AWAITS_STANDBY "LM005"
/* An answer was larger than its limit. */
#define LM_CONN_TOO_LARGE "LM006"
/* The server converts texts from another encoding than UTF-8. */
#define LM_CONN_ENCODING "LM009"
/* The SQLSTATE when a node of Citus does not answer. The session goes on. */
#define LM_CONN_NODE_AWAY "LM010"

struct lm_conn_options {
    const char *application_name;
    /* A signal ends the wait for a connection, and a second one cancels the
     * current statement. Only for a thread that has entered (base/stop.h).
     * Otherwise the connection ignores signals, and does not log the server's
     * notices. */
    bool interruptible;
    int stop_level; /* the lm_stop_level that ends the wait; 0: the first */
    int64_t open_limit_ms; /* for all hosts together; 0: two minutes */
    /* If the server is silent, a second connection looks what its process
     * does: see lm_conn_set_deadline and lm_conn_commit. */
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
/* Does the server refuse connections because it starts up, shuts down or
 * recovers? Then it is worth trying again. */
bool lm_conn_is_starting(const char *conninfo);

/* Is the connection up, as far as the client knows? */
bool lm_conn_is_up(const struct lm_conn *self);
/* Inside a transaction that has not failed? Inside any transaction? */
bool lm_conn_in_transaction(const struct lm_conn *self);
bool lm_conn_has_transaction(const struct lm_conn *self);

int lm_conn_server_version(const struct lm_conn *self); /* 150018 */
/* A setting that the server reports by itself, such as TimeZone, with its
 * value outside of transactions; NULL: not reported. Owned by the connection.
 */
const char *lm_conn_setting(const struct lm_conn *self, const char *name);
/* Changes a text in place so that the database's encoding has all its
 * characters: others become \u20ac, and a byte that is not UTF-8 becomes \xff.
 * For foreign texts that people read. */
void lm_conn_fit_text(const struct lm_conn *self, char *text, size_t size);
/* A copy of a name or path, changed in the same way; freed by the caller. For
 * names that are stored in the database and compared there. */
char *lm_conn_fit_name(const struct lm_conn *self, const char *name);
/* "TLSv1.3" or "GSSAPI", static or owned by the connection; NULL: not
 * encrypted. */
const char *lm_conn_encryption(const struct lm_conn *self);
/* Did the server ask for a password, and get one? */
bool lm_conn_used_password(const struct lm_conn *self);
/* Warns, once a process, if a password was used on an unencrypted connection
 * to another machine. */
void lm_conn_warn_unencrypted(const struct lm_conn *self);
/* Its name, owned by the connection. */
const char *lm_conn_database(const struct lm_conn *self);
/* "db.example.org:5432/shop" or "/run/pg:5432/shop": no secrets. Owned by the
 * connection. */
const char *lm_conn_target(const struct lm_conn *self);

/*
 * How long the server may stay silent. 0, the default: unknown. Then, after
 * twice silence_ms, a second connection looks whether the server process still
 * works on the statement; if it does, the time begins again. If the connection
 * is not watched, it is given up instead.
 *
 * lm_txn_begin sets the deadline from the statement timeout; COMMIT and
 * rollback set it to 0.
 */
void lm_conn_set_deadline(struct lm_conn *self, int64_t deadline_ms);
/* Sets the deadline for statements that the server ends after limit_ms; 0: it
 * does not end them. */
void lm_conn_set_statement_limit(struct lm_conn *self, int64_t limit_ms);
/* With false, a second signal does not cancel statements: for the last writes
 * to the journal. */
void lm_conn_set_interruptible(struct lm_conn *self, bool interruptible);

/* How long the transaction may be idle before the server ends the session. */
void lm_conn_set_idle_limit(struct lm_conn *self, int64_t limit_ms);
/* Did only luamig's own SQL run in the latest transaction (lm_txn.own)? */
bool lm_conn_ran_own(const struct lm_conn *self);
/* After LM_ERR_LOST with LM_CONN_IDLED: how long the client was silent. */
int64_t lm_conn_idled_ms(const struct lm_conn *self);

/* How much memory one answer may take, in bytes; 0: no limit. Above it, the
 * statement is cancelled: LM_CONN_TOO_LARGE. Valid until it is set again. */
void lm_conn_limit_answer(struct lm_conn *self, size_t bytes);

/*
 * Is there a pooler between luamig and the server? Then each transaction may
 * get another session, with settings of other clients. So luamig keeps nothing
 * named in it, and each transaction, and each statement outside of one, begins
 * with the settings of a fresh session.
 */
bool lm_conn_is_pooled(const struct lm_conn *self);
/* Does the database have the extension Citus? Then tables may lie on other
 * servers, its nodes (pg/conn/txn.h). */
bool lm_conn_is_citus(const struct lm_conn *self);
/* The search_path for scripts' SQL; NULL, the default: the session's. luamig's
 * own SQL has its own (pg/conn/own.h). */
void lm_conn_set_path(struct lm_conn *self, const char *path);
/* The server process's pid. Behind a pooler it may change with each
 * transaction. */
int64_t lm_conn_backend_pid(const struct lm_conn *self);
/* Numbers of the connection and of the transaction, never used twice in this
 * process. They show which connection or transaction a fact was learnt in. 0:
 * none. */
uint64_t lm_conn_serial(const struct lm_conn *self);
uint64_t lm_conn_transaction(const struct lm_conn *self);

/*
 * Requests are pipelined. To post is to hand a request to libpq, which sends
 * it when it can; the call does not wait. Every other function that talks to
 * the server first flushes the posted requests in order, and fails with their
 * first error; the server has then skipped everything after it. After an error
 * a transaction can only be rolled back.
 *
 * A listener is called exactly once for a request, also if posting fails: with
 * a result, valid during the call; or with the request's error, to which it
 * may add where the request came from; or with neither, if an earlier request
 * has failed, or the connection is broken or closed. So everything that arg
 * points to must live until then.
 */
typedef void (*lm_conn_listener)(void *arg, const struct lm_result *result,
                                 struct lm_err *err);

/* Sends the posted requests now. Otherwise small requests wait until there are
 * more of them. */
bool lm_conn_push(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;
/* Waits until all posted requests are done. */
bool lm_conn_flush(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;

/* Run, or post, one statement whose result does not matter, such as BEGIN. */
bool lm_conn_command(struct lm_conn *self, const char *sql,
                     struct lm_err *err) LM_MUSTCHECK;
bool lm_conn_post_command(struct lm_conn *self, const char *sql,
                          struct lm_err *err) LM_MUSTCHECK;
/* Runs several statements in one text: DDL. */
bool lm_conn_script(struct lm_conn *self, const char *sql,
                    struct lm_err *err) LM_MUSTCHECK;

/*
 * Sends COMMIT and waits for the answer. No error: the transaction is
 * committed. LM_ERR_LOST: its fate is unknown. If the server rolled back
 * instead, that is an error. The two names are fault points of test builds:
 * before COMMIT is sent, and after.
 *
 * If COMMIT waits for a synchronous standby, the wait is shorter than for a
 * server that works: LM_CONN_AWAITS_STANDBY, and the connection is closed.
 * luamig never cancels that wait, because the COMMIT would then be valid
 * without the standby.
 */
bool lm_conn_commit(struct lm_conn *self, const char *before, const char *sent,
                    struct lm_err *err) LM_MUSTCHECK;
/*
 * The same, and begins the next transaction ahead: post is called when COMMIT
 * is on its way, and posts the next requests, BEGIN first. They save a round
 * trip. post may fail: then there is no next transaction, and no error. So it
 * may if a statement is not prepared yet, or COMMIT fails. Behind a pooler it
 * is not called.
 *
 * enter: is that transaction there? Then it is the current one, and the answers
 * come with the next flush. leave rolls it back, as any other request does
 * first. Until it is entered, the connection says that it is in no transaction.
 */
struct lm_conn_ahead {
    bool (*post)(void *arg, struct lm_err *err);
    void *arg;
};
bool lm_conn_commit_and_begin(struct lm_conn *self, const char *before,
                              const char *sent,
                              const struct lm_conn_ahead *ahead,
                              struct lm_err *err) LM_MUSTCHECK;
bool lm_conn_enter_ahead(struct lm_conn *self);
void lm_conn_leave_ahead(struct lm_conn *self);
/* Sets the error for a server process (of this connection or of another one)
 * whose COMMIT waits for a standby. */
void lm_conn_fail_awaiting_standby(const struct lm_conn *self,
                                   int64_t backend_pid, struct lm_err *err);
/* Rolls the current transaction back, if there is one. Errors do not matter:
 * then the connection is gone, and so is the transaction. */
void lm_conn_rollback(struct lm_conn *self);

/* Inside a transaction: flushes, and runs deferred constraints and triggers,
 * as COMMIT would. */
bool lm_conn_settle(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;

/* After LISTEN, if no request is open: waits for a notification, until wake_fd
 * is readable, or until the time is over. *notified: a notification came. */
bool lm_conn_listen(struct lm_conn *self, int wake_fd, int64_t timeout_ms,
                    bool *notified, struct lm_err *err) LM_MUSTCHECK;

/*
 * Prepares a statement and asks the server to describe it. Statements are kept
 * by text and types, so a second call for the same one needs no round trip.
 * types has the parameters' type OIDs (0: the server decides); NULL: the
 * server decides all. The statement belongs to the connection and is valid
 * until the next lm_conn_prepare, which may drop one that has not been used
 * for long.
 */
bool lm_conn_prepare(struct lm_conn *self, const char *sql,
                     const uint32_t *types, int type_count,
                     struct lm_stmt **out, struct lm_err *err) LM_MUSTCHECK;
/* The same for a statement whose description is not needed, and which may run
 * once only: until its third use luamig sends it whole, without a round trip
 * for its preparation. */
bool lm_conn_prepare_rare(struct lm_conn *self, const char *sql,
                          struct lm_stmt **out,
                          struct lm_err *err) LM_MUSTCHECK;
/* The statement, if this text was prepared without types and is still kept;
 * else NULL. */
struct lm_stmt *lm_conn_find_prepared(struct lm_conn *self, const char *sql);
/* Drops all prepared statements, here and on the server: their meaning may
 * have changed, or another client has dropped them. */
bool lm_conn_forget(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;
bool lm_conn_execute(struct lm_conn *self, const struct lm_stmt *stmt,
                     struct lm_values values, struct lm_result **out,
                     struct lm_err *err) LM_MUSTCHECK;
/* The same in two steps: posts the statement; waits for its rows. Between them,
 * *out has none. sql is for an error. */
bool lm_conn_post_query(struct lm_conn *self, const struct lm_stmt *stmt,
                        struct lm_values values, struct lm_result **out,
                        struct lm_err *err) LM_MUSTCHECK;
bool lm_conn_await(struct lm_conn *self, const struct lm_result *result,
                   const char *sql, struct lm_err *err) LM_MUSTCHECK;
/* Copies the values. Fails if an earlier request has failed already. listener
 * may be NULL. */
bool lm_conn_post(struct lm_conn *self, const struct lm_stmt *stmt,
                  struct lm_values values, lm_conn_listener listener, void *arg,
                  struct lm_err *err) LM_MUSTCHECK;

/* What the server said about a prepared statement. */
struct lm_column {
    char *name;
    uint32_t type;    /* OID; of a domain: its base type */
    uint32_t table;   /* OID of the table it comes from, or 0 */
    int table_column; /* attnum in that table, or 0 */
    int modifier;     /* of the type, such as a length; -1: none */
};
int lm_stmt_param_count(const struct lm_stmt *self);
uint32_t lm_stmt_param_type(const struct lm_stmt *self, int index);
int lm_stmt_column_count(const struct lm_stmt *self);
const struct lm_column *lm_stmt_column(const struct lm_stmt *self, int index);
const char *lm_stmt_sql(const struct lm_stmt *self);
/* The guard's verdict on a statement of a script; NULL at first. */
void lm_stmt_set_verdict(struct lm_stmt *self,
                         const struct lm_verdict *verdict);
const struct lm_verdict *lm_stmt_verdict(const struct lm_stmt *self);

/* Rows with any columns: of a page, or of a script's own statement. A value
 * that does not exist is NULL, 0 or "". */
void lm_result_free(struct lm_result *self); /* NULL is allowed */
/* A copy, freed by the caller: a listener's result does not outlive the call. */
struct lm_result *lm_result_copy(const struct lm_result *self);
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
/* How much memory it takes, in bytes. */
size_t lm_result_bytes(const struct lm_result *self);
/* How many rows a statement changed or returned; 0 for other statements. */
int64_t lm_result_affected(const struct lm_result *self);

#endif
