/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_PRIVATE_H
#define LM_PG_CONN_PRIVATE_H

/* What conn.c, connect.c, pipeline.c and txn.c share, and nobody else. */

#include "base/log.h"
#include "pg/conn.h"
#include "pg/stmt.h"

#include <libpq-fe.h>

struct lm_result {
    PGresult *pg;
};

struct lm_answer {
    PGresult *pg;
    char *letters; /* the kinds of the columns */
};

/* A request whose answer has not been read. */
struct lm_pending {
    const char *sql; /* for errors; outlives the request; may be NULL */
    bool is_sync;
    const char *shape; /* of an answer that outlives the request; NULL: any */
    lm_conn_hearer hearer;     /* with a shape; may be NULL */
    lm_conn_listener listener; /* without; may be NULL */
    void *arg;
    PGresult **keep; /* where the last result goes; NULL: it is cleared */
};

struct lm_conn {
    PGconn *pg; /* NULL once it was given up: libpq takes that for down */
    char *target;
    struct lm_stmt_cache statements;
    int64_t silence_ms;
    int64_t deadline_ms; /* 0: by silence_ms and the watch */
    lm_conn_watch watch; /* may be NULL */
    void *watch_arg;
    bool interruptible;
    bool quiet;       /* another thread's: it logs nothing */
    bool cancel_sent; /* for the requests in flight */
    bool pooled;
    int64_t backend_pid;

    struct lm_pending *queue; /* a ring, oldest first */
    size_t first;
    size_t count;
    size_t room;
    int unsynced;      /* requests since the last sync */
    int64_t synced_ms; /* when it was sent */
    bool failed;       /* a request since the last sync has failed */
    struct lm_err error;
};

/* Logs what the server or the connection says, unless it is quiet. */
void lm_conn_tell(const struct lm_conn *self, enum lm_log_level level,
                  const char *text);

/* libpq's texts end with a newline and may have several lines. */
void lm_pipeline_copy_message(char *field, size_t size, const char *text);

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

/* Sends a sync; reads every answer up to it; both. The first error of the
 * requests is the error; the server has skipped those after it. */
bool lm_pipeline_send_sync(struct lm_conn *self,
                           struct lm_err *err) LM_MUSTCHECK;
bool lm_pipeline_read(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;
bool lm_pipeline_sync(struct lm_conn *self, struct lm_err *err) LM_MUSTCHECK;

/* Is there a result, with the rows that the server has counted, and of that
 * shape? */
bool lm_answer_is_there(const PGresult *pg, const char *sql,
                        struct lm_err *err) LM_MUSTCHECK;
bool lm_answer_check_count(PGresult *pg, const char *sql, bool is_own,
                           struct lm_err *err) LM_MUSTCHECK;
bool lm_answer_check(PGresult *pg, const char *sql, const char *shape,
                     struct lm_err *err) LM_MUSTCHECK;
/* An answer that was checked. new takes pg, init does not. */
struct lm_answer *lm_answer_new(PGresult *pg, const char *shape);
void lm_answer_init(struct lm_answer *self, PGresult *pg, const char *shape);
void lm_answer_release(struct lm_answer *self);

/* Runs several statements in one text, outside of pipeline mode. */
bool lm_pipeline_script(struct lm_conn *self, const char *sql,
                        struct lm_err *err) LM_MUSTCHECK;

/* Behind a pooler, posts what sets the settings of others back until the
 * transaction ends; else nothing. */
bool lm_conn_post_defaults(struct lm_conn *self,
                           struct lm_err *err) LM_MUSTCHECK;

#endif
