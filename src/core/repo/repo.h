/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_REPO_REPO_H
#define LM_CORE_REPO_REPO_H

/*
 * What a migration may do to the database, inside the transaction that the
 * runner has begun.
 *
 * A repo is closed, or open while a callback runs. What was posted may still be
 * in flight when it is closed: it travels on with what the runner posts. Opening
 * it waits for that first, so that a callback begins with nothing in flight. The
 * records of writes are kept until their answers have come, or cannot come any
 * more, whatever becomes of the repo. The first
 * database error latches it: every later call fails with "transaction has
 * failed", and the runner rolls back whatever the script makes of it. Errors
 * that a statement's author can provoke are LM_ERR_FAILED or LM_ERR_DATABASE.
 */

#include "core/page/base_query.h"
#include "core/repo/shape.h"
#include "pg/conn/conn.h"
#include "pg/conn/types.h"

/* SQLSTATEs of a keyed write that did not match exactly one row: PostgreSQL's
 * no_data_found and too_many_rows. */
#define LM_REPO_NO_ROW        "P0002"
#define LM_REPO_TOO_MANY_ROWS "P0003"

/*
 * What becomes of one call of the script: of its statement, of its row in a
 * combined one, or of the many of an insert_all. Belongs to the repo, until it
 * is opened again.
 */
struct lm_write {
    struct lm_writes *home;
    const char *where;      /* file:line of the call; not owned */
    int64_t pending;        /* statements, or rows, that are not done */
    int64_t affected;       /* by those that are done */
    struct lm_shape *vague; /* some row of that shape was not written, but it
                               is not known which */
    const struct lm_shape *shape; /* each statement must write exactly one row,
                                     or none if it may miss; NULL: any number;
                                     not owned */
    char *key;                    /* its values, each ended by a NUL */
};

/* The first write that did not write exactly one row. */
struct lm_blame {
    const struct lm_write *write; /* NULL: there is none; not owned */
    int64_t rows;                 /* that it wrote */
    bool is_there;                /* the row that it should have written */
    char *takers;                 /* what could have taken it over, or NULL */
    char *hiders; /* likewise those after which it cannot be seen */
};

enum { LM_MAX_GROUPS = 8 };

/* Writes of one shape, waiting to become one statement. What is empty may be
 * used again. */
struct lm_group {
    struct lm_shape *shape;
    struct lm_buf *arrays; /* an array literal a column, still open */
    struct lm_buf *first;  /* the first row, in case it stays alone */
    bool *first_nulls;
    struct lm_write **writes;
    size_t rows;
    size_t room;
    size_t goal;    /* as many rows are sent on */
    uint64_t *keys; /* hashes of those in the group; 0 is free */
    size_t key_room;
};

struct lm_repo {
    struct lm_conn *conn; /* not owned */
    uint64_t conn_serial; /* whose types and shapes are known */
    uint64_t checked;     /* the transaction in which the shapes were checked */
    const struct lm_base_query *paged; /* not owned; NULL: nothing is paged */
    struct lm_types types;
    struct lm_guard guard;
    bool allow_ddl; /* set by the runner once, as the next */
    bool allow_unjudged;
    bool is_own;      /* set by who calls luamig's own modules, not a script */
    bool follows_new; /* set by the runner: pages have no last key */
    bool warned;      /* of inserts into the table that is being paged */
    bool open;
    bool failed;
    struct lm_err failure; /* the first database error */
    struct lm_blame blame; /* if the failure is one to be explained */
    int savepoints;
    struct lm_writes *writes; /* made since the repo was opened */
    bool unsure;              /* writes of one row are in flight */

    bool combine; /* set by the runner before the repo is opened */
    struct lm_combine_options combine_options;
    struct lm_shapes shapes;
    bool shapes_trusted; /* what is known of them was so in this transaction */
    bool shapes_changed; /* perhaps, by the transaction itself */
    bool stale;          /* so may be what the prepared statements are of */
    struct lm_group groups[LM_MAX_GROUPS];
    int group_count;
    bool reordered;       /* writes are in flight before earlier ones */
    bool overtaken;       /* they were, since the repo was opened */
    bool combined_failed; /* one by one, the failure might be another */
};

void lm_repo_init(struct lm_repo *self);
void lm_repo_release(struct lm_repo *self);

/* To be called at the beginning of a transaction, before its first question:
 * posts what saves asking for the shapes of writes again. */
bool lm_repo_post_check(struct lm_repo *self, struct lm_conn *conn,
                        struct lm_err *err) LM_MUSTCHECK;
/* Around each callback, in a transaction. Opening waits for the writes of the
 * callback before, and fails with what became of them; then it forgets them and
 * an earlier failure. */
bool lm_repo_open(struct lm_repo *self, struct lm_conn *conn,
                  const struct lm_base_query *paged,
                  struct lm_err *err) LM_MUSTCHECK;
void lm_repo_close(struct lm_repo *self);

/*
 * Prepares a statement of the script's, if the guard (pg/sql/guard.h) lets it pass.
 * every_row: the script says that every row is meant. where is the line that
 * says it. The statement is valid until the next call of this function.
 */
bool lm_repo_prepare(struct lm_repo *self, const char *sql, bool every_row,
                     const char *where, struct lm_stmt **out,
                     struct lm_err *err) LM_MUSTCHECK;
bool lm_repo_execute(struct lm_repo *self, const struct lm_stmt *stmt,
                     struct lm_values values, struct lm_result **out,
                     struct lm_err *err) LM_MUSTCHECK;
/* May this statement be posted? Not where luamig cannot tell whether it would
 * end the transaction. */
bool lm_repo_may_post(const struct lm_stmt *stmt);

/* A write; where must outlive it. */
struct lm_write *lm_repo_write(struct lm_repo *self, const char *where);
/* Makes a write one that must write exactly one row, or none if it may miss, by
 * each of its statements; an insert that does nothing on a conflict may write
 * any number. The last of the values are the key. */
void lm_write_expect_one(struct lm_write *self, const struct lm_shape *shape,
                         struct lm_values values);
/* Posts a statement of a write. */
bool lm_repo_post(struct lm_repo *self, const struct lm_stmt *stmt,
                  struct lm_values values, struct lm_write *write,
                  struct lm_err *err) LM_MUSTCHECK;
/* How many rows a write has touched; waits for it. */
bool lm_repo_affected(struct lm_repo *self, struct lm_write *write,
                      int64_t *affected, struct lm_err *err) LM_MUSTCHECK;
/* Waits for everything posted; fails when any of it has failed. */
bool lm_repo_flush(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;

/* The end of a callback: posts what waits, and flushes what must be known
 * before COMMIT is sent. */
bool lm_repo_finish(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;

/* Finds the shape of a structured write. */
bool lm_repo_find_shape(struct lm_repo *self, const struct lm_form *form,
                        struct lm_shape **out, struct lm_err *err) LM_MUSTCHECK;
/* May writes of a shape that was found before be combined? */
bool lm_repo_may_combine(struct lm_repo *self, struct lm_shape *shape,
                         bool *may, struct lm_err *err) LM_MUSTCHECK;
/* Adds a row to the group of a shape that may be combined: its values in the
 * order of the shape's columns. Sends the group on when it grows large. */
bool lm_repo_combine(struct lm_repo *self, struct lm_shape *shape,
                     struct lm_values values, struct lm_write *write,
                     struct lm_err *err) LM_MUSTCHECK;

/* The type of a parameter, for encoding values. */
bool lm_repo_type(struct lm_repo *self, uint32_t oid,
                  const struct lm_type **out, struct lm_err *err) LM_MUSTCHECK;

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
