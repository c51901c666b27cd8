/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_REPO_REPO_H
#define LM_CORE_REPO_REPO_H

/*
 * What a migration may do to the database, inside the transaction that the
 * runner has begun.
 *
 * A repo is open while a callback runs, and closed otherwise. When it is
 * closed, writes may still be in flight: they travel with what the runner
 * posts next. Opening the repo waits for them, so no write is in flight when a
 * callback begins. The records of writes are kept until their answers have
 * come, or can no longer come. After the first database error, every later
 * call fails with "transaction has failed", and the runner rolls back, even if
 * the script catches the error. Errors that a script's statement can cause are
 * LM_ERR_FAILED or LM_ERR_DATABASE.
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
/* The record of one call of the script: of its statement, of its row in a
 * combined write, or of all rows of an insert_all. Belongs to the repo until
 * the repo is opened again. */
struct lm_write;

struct lm_repo_options {
    bool allow_ddl;
    bool allow_unjudged;
    bool is_own;       /* for luamig's own modules, not a script */
    bool reads_source; /* run.source, in a read-only transaction */
    struct lm_combine_options combine;
};
struct lm_repo *lm_repo_new(const struct lm_repo_options *options);
void lm_repo_free(struct lm_repo *self);

/* What a callback's repo needs to know. */
struct lm_repo_use {
    const struct lm_base_query *paged; /* NULL: nothing is paged */
    bool combine;                      /* writes of one shape */
    bool follows_new;                  /* pages have no last key */
    bool paged_elsewhere;              /* it is no table of this database */
};

/* Call this before the first query of a batch: forgets the work of the one
 * before. */
void lm_repo_begin_batch(struct lm_repo *self, struct lm_conn *conn);
/* Call this at the begin of a transaction, before its first query: posts the
 * question whether the shapes of writes are unchanged, so that they need not
 * be asked for again. */
bool lm_repo_post_check(struct lm_repo *self, struct lm_conn *conn,
                        struct lm_err *err) LM_MUSTCHECK;
/* May the question be posted while the writes of the batch before are not
 * answered yet? */
bool lm_repo_may_check_ahead(const struct lm_repo *self);
/* Call these around each callback, in a transaction. Opening waits for the
 * writes of the callback before, and fails if one has failed; then it forgets
 * them and an earlier failure. */
bool lm_repo_open(struct lm_repo *self, struct lm_conn *conn,
                  const struct lm_repo_use *use,
                  struct lm_err *err) LM_MUSTCHECK;
void lm_repo_close(struct lm_repo *self);
/* The connection and the base query of the last lm_repo_open. */
struct lm_conn *lm_repo_conn(const struct lm_repo *self);
const struct lm_base_query *lm_repo_paged(const struct lm_repo *self);
/* Grows each time that known shapes are forgotten. */
uint64_t lm_repo_epoch(const struct lm_repo *self);

/* The first failure since it was opened; NULL: none. Owned by the repo. */
const struct lm_err *lm_repo_failure(const struct lm_repo *self);
/* Is it open, and has nothing failed? */
bool lm_repo_check_usable(const struct lm_repo *self, struct lm_err *err);
/* Adds the script's line to an error, if it has none, and hides the statement
 * if it is luamig's own. */
void lm_repo_note_place(struct lm_repo *self, const char *where);
void lm_repo_hide_sql(struct lm_repo *self);
/* May combining be the cause of the batch's error err, so that the rows could
 * succeed, or fail differently, one by one? */
bool lm_repo_blames_combining(const struct lm_repo *self,
                              const struct lm_err *err);

/* Prepares a statement of the script, if the guard (pg/sql/guard.h) allows it.
 * every_row: the script passes luamig.ALL. where is the script's line. The
 * statement is valid until the next call of this function. */
bool lm_repo_prepare(struct lm_repo *self, const char *sql, bool every_row,
                     const char *where, struct lm_stmt **out,
                     struct lm_err *err) LM_MUSTCHECK;
bool lm_repo_execute(struct lm_repo *self, const struct lm_stmt *stmt,
                     struct lm_values values, struct lm_result **out,
                     struct lm_err *err) LM_MUSTCHECK;
/* May this statement be posted? Not if luamig cannot know whether it would end
 * the transaction. */
bool lm_repo_may_post(const struct lm_stmt *stmt);

/* A record for a write; where must live as long as it. */
struct lm_write *lm_repo_write(struct lm_repo *self, const char *where);
/* From now on each statement of the write must write exactly one row (or none,
 * if it may miss). An insert that does nothing on a conflict may write any
 * number. The last of the values are the key. */
void lm_write_expect_one(struct lm_write *self, const struct lm_shape *shape,
                         struct lm_values values);
/* Posts a statement of a write. */
bool lm_repo_post(struct lm_repo *self, const struct lm_stmt *stmt,
                  struct lm_values values, struct lm_write *write,
                  struct lm_err *err) LM_MUSTCHECK;
/* How many rows a write has written, by the answers that have come. */
int64_t lm_write_affected(const struct lm_write *self);
/* How many rows a write has written; waits for the answers. */
bool lm_repo_affected(struct lm_repo *self, struct lm_write *write,
                      int64_t *affected, struct lm_err *err) LM_MUSTCHECK;
/* Was it rolled back with its savepoint? Then nothing of it is there. */
bool lm_write_is_undone(const struct lm_write *self);
/* Does the write return its row? Which waits for the answer: NULL or without
 * rows, if nothing was written. Owned by the write. */
bool lm_write_returns(const struct lm_write *self);
bool lm_repo_returned(struct lm_repo *self, const struct lm_write *write,
                      const struct lm_result **row,
                      struct lm_err *err) LM_MUSTCHECK;
/* Waits for all posted statements; fails if one has failed. */
bool lm_repo_flush(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;

/* The end of a callback: posts the waiting groups, and waits for the answers
 * that must be known before COMMIT is sent. */
bool lm_repo_finish(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;

/* Finds the shape of a structured write. */
bool lm_repo_find_shape(struct lm_repo *self, const struct lm_form *form,
                        struct lm_shape **out, struct lm_err *err) LM_MUSTCHECK;
/* May writes of a shape that was found before be combined? */
bool lm_repo_may_combine(struct lm_repo *self, struct lm_shape *shape,
                         bool *may, struct lm_err *err) LM_MUSTCHECK;
/* Adds a row to the group of a shape that may be combined: its values in the
 * order of the shape's columns. Sends the group if it is large. */
bool lm_repo_combine(struct lm_repo *self, struct lm_shape *shape,
                     struct lm_values values, struct lm_write *write,
                     struct lm_err *err) LM_MUSTCHECK;

/* The type of a parameter, for encoding values. */
bool lm_repo_type(struct lm_repo *self, uint32_t oid,
                  const struct lm_type **out, struct lm_err *err) LM_MUSTCHECK;

/* May the script write these columns of the table? LM_ERR_FAILED if a column
 * belongs to the run's key. */
bool lm_repo_check_columns(struct lm_repo *self, const char *table,
                           const char *const *columns, int count,
                           struct lm_err *err) LM_MUSTCHECK;

/* Fails the batch, even if the script catches the error: for errors that no
 * savepoint may catch. */
void lm_repo_abort(struct lm_repo *self, enum lm_err_kind kind,
                   const char *message);

/* Savepoints may be nested, up to a limit. rollback forgets the failure if a
 * savepoint may catch it: a data error, or a row that was not there. */
bool lm_repo_savepoint(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;
bool lm_repo_savepoint_release(struct lm_repo *self,
                               struct lm_err *err) LM_MUSTCHECK;
bool lm_repo_savepoint_rollback(struct lm_repo *self,
                                struct lm_err *err) LM_MUSTCHECK;
bool lm_repo_may_catch(const struct lm_err *err);

#endif
