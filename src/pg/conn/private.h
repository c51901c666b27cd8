/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_PRIVATE_H
#define LM_PG_CONN_PRIVATE_H

/* What conn.c, commit.c, connect.c, pipeline.c and txn.c share, and nobody
 * else. */

#include "base/log.h"
#include "pg/conn/conn.h"
#include "pg/conn/stmt.h"

#include <libpq-fe.h>

struct lm_result {
    PGresult *pg;
};

struct lm_answer {
    PGresult *pg;
    char *sql;
    char *letters; /* the kinds of the columns */
};

/* A request whose answer has not been read. */
struct lm_pending {
    /* for errors; lives longer than the request; may be NULL */
    const char *sql;
    bool is_sync;
    const char *shape; /* of an answer that outlives the request; NULL: any */
    lm_conn_answer_listener answer_listener; /* with a shape; may be NULL */
    lm_conn_listener listener;               /* without; may be NULL */
    void *arg;
    bool answered;   /* its listener, if any, was called */
    PGresult **keep; /* where the last result goes; NULL: it is cleared */
};

struct lm_conn {
    PGconn *pg; /* NULL: given up; libpq treats NULL as down */
    char *target;
    char *path; /* the search_path of all other SQL; NULL: the session's */
    struct lm_stmt_cache statements;
    int64_t silence_ms;
    int64_t deadline_ms; /* 0: unknown, see lm_conn_set_deadline */
    char *conninfo; /* to look with a second connection; NULL: not watched */
    bool interruptible;
    bool quiet;       /* of another thread: logs nothing */
    bool cancel_sent; /* for the requests in flight */
    bool pooled;
    bool citus;     /* the database has the extension */
    bool own_txn;   /* the transaction's search_path is luamig's own */
    bool own_alone; /* ... also of statements outside of transactions */
    int64_t backend_pid;
    uint64_t serial;      /* of the connection */
    uint64_t transaction; /* the number of the last one that was begun */

    struct lm_pending *queue; /* a ring, oldest first */
    size_t first;
    size_t count;
    size_t room;
    bool committing;     /* COMMIT is in flight */
    bool behind;         /* what is posted now goes behind that COMMIT */
    size_t later;        /* so many requests went there; not to be read yet */
    bool ahead;          /* their transaction is begun; nobody is in it yet */
    bool alone;          /* the open requests began outside of a transaction */
    int64_t look_ms;     /* when to look what the server process does */
    bool looked;         /* it was looked at, for the open requests */
    bool awaits_standby; /* it waits for a standby */
    int64_t quiet_since_ms; /* when something was last sent or read */
    int64_t idle_limit_ms;  /* of the transaction; 0: unknown */
    int64_t idled_ms;       /* the longest pause in it, if above the limit */
    char fatal_state[6];    /* what the server said when it ended the session */
    char fatal[256];

    size_t answer_limit; /* 0: none */
    size_t resident;     /* of the process, when the answer had just begun */
    int reads;           /* of it so far */
    bool too_large;      /* the answer is too large and was cancelled */

    int unsynced;      /* requests since the last sync */
    int64_t synced_ms; /* when it was sent */
    bool failed;       /* a request since the last sync has failed */
    struct lm_err error;
};

/* A number for a connection or a transaction. */
uint64_t lm_conn_next_number(void);

/* Logs what the server or the connection says, unless it is quiet. */
void lm_conn_log_server_message(const struct lm_conn *self,
                                enum lm_log_level level, const char *text);

/* Copies a message of libpq, which may have several lines, without the last
 * newline. */
void lm_pipeline_copy_message(char *field, size_t size, const char *text);

/* Set the error of a lost connection (with libpq's message), and of an answer
 * that is too large. Both return false. */
bool lm_pipeline_fail_lost(const struct lm_conn *self, const char *message,
                           struct lm_err *err);
bool lm_pipeline_fail_too_large(const struct lm_conn *self, const char *sql,
                                struct lm_err *err);

/* wait.c: one turn of a wait, until the deadline at most. Any sign of life of
 * the server moves the deadline by lm_wait_patience_ms. False if the
 * connection is given up. */
bool lm_wait_turn(struct lm_conn *self, bool want_write, int64_t *deadline,
                  struct lm_err *err) LM_MUSTCHECK;
int64_t lm_wait_patience_ms(const struct lm_conn *self);
/* Reads what has arrived, without waiting. */
bool lm_wait_read(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;
/* Closes the connection for libpq, which then treats it as down. */
void lm_wait_shut(struct lm_conn *self);

/* Keeps the FATAL error with which the server ended the session. */
void lm_pipeline_note_fatal(struct lm_conn *self, const PGresult *result);

/*
 * Called after a PQsend... function, with its result: puts the request into
 * the queue. post fails if an earlier request has failed, and may send a sync.
 * queue does neither, so that the next request is in the same implicit
 * transaction.
 */
bool lm_pipeline_queue(struct lm_conn *self, int sent,
                       struct lm_pending request,
                       struct lm_err *err) LM_MUSTCHECK;
bool lm_pipeline_post(struct lm_conn *self, int sent, struct lm_pending request,
                      struct lm_err *err) LM_MUSTCHECK;

/* watch.c: what the server process does, seen over a second connection. */
enum lm_activity {
    LM_ACTIVITY_UNKNOWN, /* unknown, or the process is gone */
    LM_ACTIVITY_IDLE,    /* it waits for us */
    LM_ACTIVITY_WORKS,
    LM_ACTIVITY_AWAITS_STANDBY
};
enum lm_activity lm_conn_look(const struct lm_conn *self);

/* The open requests will get no answer: calls their listeners. */
void lm_pipeline_drop(struct lm_conn *self);

/* Reads the open requests after an error. The server skips all of them, up to
 * the next sync. */
void lm_conn_drain(struct lm_conn *self);

/* Sends a sync; sends one, if there is none after the last request, and reads
 * all answers up to it. The error is the
 * first one of the requests; the server has skipped the requests after it. */
bool lm_pipeline_send_sync(struct lm_conn *self,
                           struct lm_err *err) LM_MUSTCHECK;
bool lm_pipeline_sync(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;
/* Reads the answers up to a sync that was sent after COMMIT. */
bool lm_pipeline_read_commit(struct lm_conn *self,
                             struct lm_err *err) LM_MUSTCHECK;

/* Does the result exist, with as many rows as the server counted, and of that
 * shape? */
bool lm_answer_is_there(const PGresult *pg, const char *sql,
                        struct lm_err *err) LM_MUSTCHECK;
bool lm_answer_check_count(PGresult *pg, const char *sql, bool is_own,
                           struct lm_err *err) LM_MUSTCHECK;
bool lm_answer_check(PGresult *pg, const char *sql, const char *shape,
                     struct lm_err *err) LM_MUSTCHECK;
/* Makes an answer of a checked result. new takes pg over, init does not. */
struct lm_answer *lm_answer_new(PGresult *pg, const char *sql,
                                const char *shape);
void lm_answer_init(struct lm_answer *self, PGresult *pg, const char *sql,
                    const char *shape);
void lm_answer_release(struct lm_answer *self);

/* For what runs outside of pipeline mode: begins to talk to the server; waits
 * for a result; sets the error of one; gives the connection up after an error,
 * and returns false. */
void lm_pipeline_begin(struct lm_conn *self);
bool lm_pipeline_await(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;
bool lm_pipeline_fail_result(const struct lm_conn *self, const PGresult *result,
                             const char *sql, struct lm_err *err);
bool lm_pipeline_abandon(struct lm_conn *self);

/* copy.c: runs several statements in one text, outside of pipeline mode. */
bool lm_pipeline_script(struct lm_conn *self, const char *sql,
                        struct lm_err *err) LM_MUSTCHECK;

/* Posts a search_path for the rest of the transaction. */
bool lm_conn_post_path(struct lm_conn *self, const char *path,
                       struct lm_err *err) LM_MUSTCHECK;
/* The same for a statement outside of transactions: for the implicit one, up to
 * the next sync. The role's statement_timeout is not for it: luamig's own
 * transactions have config.statement_timeout_ms. */
bool lm_conn_post_alone(struct lm_conn *self, const char *path,
                        struct lm_err *err) LM_MUSTCHECK;

/*
 * Call these around a request that may be luamig's own (pg/conn/own.h): before
 * it is sent, and when it has been answered or posted. end returns ok, unless
 * it fails itself. After an error there is nothing to restore, because the
 * rollback does it. sql is the text to send.
 */
bool lm_own_begin(struct lm_conn *self, const char *sql,
                  struct lm_values values, struct lm_err *err) LM_MUSTCHECK;
bool lm_own_end(struct lm_conn *self, const char *sql, bool ok,
                struct lm_err *err) LM_MUSTCHECK;

/* Behind a pooler: posts SQL that undoes the settings of other clients for
 * this transaction. Otherwise does nothing. */
bool lm_conn_post_defaults(struct lm_conn *self,
                           struct lm_err *err) LM_MUSTCHECK;

#endif
