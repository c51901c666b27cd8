/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_REPO_H
#define LM_CORE_REPO_H

/*
 * What a migration may do to the database, inside the transaction that the
 * runner has begun.
 *
 * A repo is open while a callback runs and closed afterwards. The first
 * database error latches it: every later call fails with "transaction has
 * failed", and the runner rolls back whatever the script makes of it. Errors
 * that a statement's author can provoke are LM_ERR_FAILED or LM_ERR_DATABASE.
 */

#include "core/base_query.h"
#include "core/shape.h"
#include "pg/conn.h"
#include "pg/types.h"

/* SQLSTATEs of a keyed write that did not match exactly one row: PostgreSQL's
 * no_data_found and too_many_rows. */
#define LM_REPO_NO_ROW        "P0002"
#define LM_REPO_TOO_MANY_ROWS "P0003"

/*
 * What becomes of posted writes, as one handle sees them: one statement, or
 * the many of an insert_all. Lives until all are done and no handle is left. A
 * keyed one must match exactly one row.
 */
struct lm_write {
    struct lm_repo *repo; /* NULL once the repo is closed */
    struct lm_write *next;
    int refs;
    bool posted;
    int64_t pending;  /* statements in flight */
    int64_t affected; /* by those that are done */
    bool keyed;
    bool may_miss;   /* keyed: no row will do */
    char *what;      /* keyed: update of "users" */
    char *key;       /* keyed: id = 7 */
    char where[128]; /* file:line of the call */
};

/* Successive writes of one shape, waiting to become one statement. */
struct lm_group {
    struct lm_shape *shape; /* NULL: there are none */
    struct lm_buf *arrays;  /* an array literal a column, still open */
    struct lm_write **writes;
    size_t rows;
    size_t room;
    char **first; /* the first row, in case it stays alone */
};

struct lm_repo {
    struct lm_conn *conn;              /* not owned */
    const struct lm_base_query *paged; /* not owned; NULL: nothing is paged */
    struct lm_types types;
    bool open;
    bool failed;
    struct lm_err failure; /* the first database error */
    int savepoints;
    struct lm_write *writes; /* posted since the repo was opened */
    bool unsure;             /* keyed writes are in flight */

    bool combine; /* set by the runner before the repo is opened */
    struct lm_combine_options combine_options;
    struct lm_shapes shapes;
    struct lm_group group;
    struct lm_flight *flights; /* combined statements in flight */
    bool combined_failed;      /* failure came from one of them */
};

void lm_repo_init(struct lm_repo *self);
void lm_repo_release(struct lm_repo *self);

/* Around each callback. Opening forgets the failure before. */
void lm_repo_open(struct lm_repo *self, struct lm_conn *conn,
                  const struct lm_base_query *paged);
void lm_repo_close(struct lm_repo *self);

/* Prepares a statement of the script's; refuses transaction control and
 * COPY. The statement is valid until the next call of this function. */
bool lm_repo_prepare(struct lm_repo *self, const char *sql,
                     struct lm_stmt **out, struct lm_err *err) LM_MUSTCHECK;
bool lm_repo_execute(struct lm_repo *self, const struct lm_stmt *stmt,
                     struct lm_values values, struct lm_result **out,
                     struct lm_err *err) LM_MUSTCHECK;
/* May this statement be posted? Not where luamig cannot tell whether it would
 * end the transaction. */
bool lm_repo_may_post(const struct lm_stmt *stmt);

/* Posts a statement of a write, and keeps a reference to it until the repo is
 * opened again. */
bool lm_repo_post(struct lm_repo *self, const struct lm_stmt *stmt,
                  struct lm_values values, struct lm_write *write,
                  struct lm_err *err) LM_MUSTCHECK;
/* Waits for everything posted; fails when any of it has failed. */
bool lm_repo_flush(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;

/* The end of a callback: posts what waits, and flushes what must be known
 * before COMMIT is sent. */
bool lm_repo_finish(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;

/* Finds the shape of a structured write. */
bool lm_repo_shape(struct lm_repo *self, enum lm_verb verb, const char *table,
                   struct lm_names changes, struct lm_names key,
                   struct lm_shape **out, struct lm_err *err) LM_MUSTCHECK;
/* Adds a row to the group of a shape that may be combined: its values in the
 * order of the shape's columns. Sends the group on when it grows large. */
bool lm_repo_combine(struct lm_repo *self, struct lm_shape *shape,
                     struct lm_values values, struct lm_write *write,
                     struct lm_err *err) LM_MUSTCHECK;

/* A write with one reference; where is copied. */
struct lm_write *lm_write_new(struct lm_repo *repo, const char *where);
void lm_write_unref(struct lm_write *self); /* NULL is allowed */

/* The type of a parameter, for encoding values. */
bool lm_repo_type(struct lm_repo *self, uint32_t oid, struct lm_type *out,
                  struct lm_err *err) LM_MUSTCHECK;

/* May the script write these columns of table? LM_ERR_FAILED when it is the
 * table being paged and a column belongs to the key. */
bool lm_repo_check_columns(struct lm_repo *self, const char *table,
                           const char *const *columns, int count,
                           struct lm_err *err) LM_MUSTCHECK;

/* Fails the batch, whatever the script makes of it: for errors that no
 * savepoint may catch. */
void lm_repo_abort(struct lm_repo *self, enum lm_err_kind kind,
                   const char *message);

/* Savepoints nest, up to a bound. rollback takes the latch away when the failure is one that
 * a savepoint may catch: a data error, or a row that was not there. */
bool lm_repo_savepoint(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;
bool lm_repo_savepoint_release(struct lm_repo *self,
                               struct lm_err *err) LM_MUSTCHECK;
bool lm_repo_savepoint_rollback(struct lm_repo *self,
                                struct lm_err *err) LM_MUSTCHECK;
bool lm_repo_may_catch(const struct lm_err *err);

#endif
