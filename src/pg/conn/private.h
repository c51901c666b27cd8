/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_PRIVATE_H
#define LM_PG_CONN_PRIVATE_H

/* What conn.c, connect.c, pipeline.c and txn.c share, and nobody else. */

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
    const char *sql; /* for errors; outlives the request; may be NULL */
    bool is_sync;
    const char *shape; /* of an answer that outlives the request; NULL: any */
    lm_conn_answer_listener answer_listener; /* with a shape; may be NULL */
    lm_conn_listener listener;               /* without; may be NULL */
    void *arg;
    bool answered;   /* whoever hears or listens, if anybody does */
    PGresult **keep; /* where the last result goes; NULL: it is cleared */
};

struct lm_conn {
    PGconn *pg; /* NULL once it was given up: libpq takes that for down */
    char *target;
    char *path; /* of everybody else's SQL; NULL: the session's */
    struct lm_stmt_cache statements;
    int64_t silence_ms;
    int64_t deadline_ms; /* 0: by silence_ms, and by looking */
    char *conninfo;      /* for looking; NULL: it is not watched */
    bool interruptible;
    bool quiet;       /* another thread's: it logs nothing */
    bool cancel_sent; /* for the requests in flight */
    bool pooled;
    bool
        own_txn; /* the transaction's search_path is luamig's (pg/conn/own.h) */
    bool own_alone; /* so is that of statements outside of transactions */
    int64_t backend_pid;
    uint64_t serial;      /* of the connection */
    uint64_t transaction; /* the number of the last one that was begun */

    struct lm_pending *queue; /* a ring, oldest first */
    size_t first;
    size_t count;
    size_t room;
    bool committing;     /* COMMIT is in flight */
    bool alone;          /* what is in flight began outside of a transaction */
    int64_t look_ms;     /* when to look at what the server waits for */
    bool looked;         /* somebody has, for what is in flight */
    bool awaits_standby; /* that is what it waits for */
    int64_t quiet_since_ms; /* when something was last sent or read */
    int64_t idle_limit_ms;  /* of the transaction; 0: none is known */
    int64_t idled_ms;       /* the longest pause in it, if above the limit */
    char fatal_state[6];    /* what the server said when it ended the session */
    char fatal[256];

    size_t answer_limit; /* 0: none */
    size_t resident;     /* of the process, when the answer had just begun */
    int reads;           /* of it so far */
    bool too_large;      /* it is, and was cancelled */

    int unsynced;      /* requests since the last sync */
    int64_t synced_ms; /* when it was sent */
    bool failed;       /* a request since the last sync has failed */
    struct lm_err error;
};

/* A number for a connection or a transaction. */
uint64_t lm_conn_next_number(void);

/* Logs what the server or the connection says, unless it is quiet. */
void lm_conn_log(const struct lm_conn *self, enum lm_log_level level,
                 const char *text);

/* libpq's texts end with a newline and may have several lines. */
void lm_pipeline_copy_message(char *field, size_t size, const char *text);

/* The errors of a connection that is gone, by libpq's message, and of an answer
 * that is too large. Both return false. */
bool lm_pipeline_fail_lost(const struct lm_conn *self, const char *message,
                           struct lm_err *err);
bool lm_pipeline_fail_too_large(const struct lm_conn *self, const char *sql,
                                struct lm_err *err);

/*
 * wait.c: one turn of a wait, which ends at the deadline at the latest. Any
 * sign of the server puts that off by what patience_ms says. False when the
 * connection is given up.
 */
bool lm_wait_turn(struct lm_conn *self, bool want_write, int64_t *deadline,
                  struct lm_err *err) LM_MUSTCHECK;
int64_t lm_wait_patience_ms(const struct lm_conn *self);
/* Reads what has arrived, without waiting. */
bool lm_wait_read(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;
/* libpq takes what is left for a connection that is down. */
void lm_wait_shut(struct lm_conn *self);

/* Keeps the server's last word: a FATAL error. */
void lm_pipeline_note_fatal(struct lm_conn *self, const PGresult *result);

/* Called after a PQsend... function, whose result is sent: queues what belongs
 * to the request. Posting fails when an earlier request is known to have
 * failed, and may send a sync; queueing does not, so that what follows belongs
 * to the same implicit transaction. */
bool lm_pipeline_queue(struct lm_conn *self, int sent,
                       struct lm_pending request,
                       struct lm_err *err) LM_MUSTCHECK;
bool lm_pipeline_post(struct lm_conn *self, int sent, struct lm_pending request,
                      struct lm_err *err) LM_MUSTCHECK;

/* Makes the server see what was posted. */
bool lm_pipeline_push(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;

/* watch.c: what the server process is at, as a second connection sees it. */
enum lm_activity {
    LM_ACTIVITY_UNKNOWN, /* nobody could look, or it is gone */
    LM_ACTIVITY_IDLE,    /* it waits for us */
    LM_ACTIVITY_WORKS,
    LM_ACTIVITY_AWAITS_STANDBY
};
enum lm_activity lm_conn_look(const struct lm_conn *self);

/* Whatever is in flight will not be answered: tells those who wait for it. */
void lm_pipeline_drop(struct lm_conn *self);

/* Sends a sync; reads every answer up to it; both. The first error of the
 * requests is the error; the server has skipped those after it. */
bool lm_pipeline_send_sync(struct lm_conn *self,
                           struct lm_err *err) LM_MUSTCHECK;
bool lm_pipeline_read(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;
bool lm_pipeline_sync(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;
/* The same as read, where COMMIT is the last request. */
bool lm_pipeline_read_commit(struct lm_conn *self,
                             struct lm_err *err) LM_MUSTCHECK;

/* Is there a result, with the rows that the server has counted, and of that
 * shape? */
bool lm_answer_is_there(const PGresult *pg, const char *sql,
                        struct lm_err *err) LM_MUSTCHECK;
bool lm_answer_check_count(PGresult *pg, const char *sql, bool is_own,
                           struct lm_err *err) LM_MUSTCHECK;
bool lm_answer_check(PGresult *pg, const char *sql, const char *shape,
                     struct lm_err *err) LM_MUSTCHECK;
/* An answer that was checked. new takes pg, init does not. */
struct lm_answer *lm_answer_new(PGresult *pg, const char *sql,
                                const char *shape);
void lm_answer_init(struct lm_answer *self, PGresult *pg, const char *sql,
                    const char *shape);
void lm_answer_release(struct lm_answer *self);

/* Runs several statements in one text, outside of pipeline mode. */
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

/* Around a request that may be luamig's own (pg/conn/own.h), before it is sent and
 * when it has been answered, or posted. end returns ok, unless it fails; after
 * an error there is nothing to put back: the rollback does it. The text is what
 * is to be sent. */
bool lm_own_begin(struct lm_conn *self, const char *sql,
                  struct lm_values values, struct lm_err *err) LM_MUSTCHECK;
bool lm_own_end(struct lm_conn *self, const char *sql, bool ok,
                struct lm_err *err) LM_MUSTCHECK;

/* Behind a pooler, posts what sets the settings of others back until the
 * transaction ends; else nothing. */
bool lm_conn_post_defaults(struct lm_conn *self,
                           struct lm_err *err) LM_MUSTCHECK;

#endif
