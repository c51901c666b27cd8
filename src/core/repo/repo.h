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

struct lm_repo;
/* What becomes of one call of the script: of its statement, of its row in a
 * combined one, or of the many of an insert_all. Belongs to the repo, until it
 * is opened again. */
struct lm_write;

struct lm_repo_options {
    bool allow_ddl;
    bool allow_unjudged;
    bool is_own; /* for luamig's own modules, not a script */
    struct lm_combine_options combine;
};
struct lm_repo *lm_repo_new(const struct lm_repo_options *options);
void lm_repo_free(struct lm_repo *self);

/* What a callback may count on. */
struct lm_repo_use {
    const struct lm_base_query *paged; /* NULL: nothing is paged */
    bool combine;                      /* writes of one shape */
    bool follows_new;                  /* pages have no last key */
};

/* To be called at the beginning of a transaction, before its first question:
 * posts what saves asking for the shapes of writes again. */
bool lm_repo_post_check(struct lm_repo *self, struct lm_conn *conn,
                        struct lm_err *err) LM_MUSTCHECK;
/* Around each callback, in a transaction. Opening waits for the writes of the
 * callback before, and fails with what became of them; then it forgets them and
 * an earlier failure. */
bool lm_repo_open(struct lm_repo *self, struct lm_conn *conn,
                  const struct lm_repo_use *use,
                  struct lm_err *err) LM_MUSTCHECK;
void lm_repo_close(struct lm_repo *self);
/* The connection and the paged query that it was opened with last. */
struct lm_conn *lm_repo_conn(const struct lm_repo *self);
const struct lm_base_query *lm_repo_paged(const struct lm_repo *self);
/* Grows whenever shapes that were known are not known any more. */
uint64_t lm_repo_epoch(const struct lm_repo *self);

/* The first failure since it was opened; NULL: none. Owned by the repo. */
const struct lm_err *lm_repo_failure(const struct lm_repo *self);
/* Says where it was, unless that is known; and hides whose SQL it was. */
void lm_repo_note_place(struct lm_repo *self, const char *where);
void lm_repo_hide_sql(struct lm_repo *self);
/* May the rows do better one by one, or fail in another way, by what was
 * combined? err is that of the batch. */
bool lm_repo_blames_combining(const struct lm_repo *self,
                              const struct lm_err *err);

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
/* How many rows a write has touched, as far as answers have come. */
int64_t lm_write_affected(const struct lm_write *self);
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
