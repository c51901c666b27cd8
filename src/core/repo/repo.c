/* SPDX-License-Identifier: MIT */
/*
 * The script's access to the database: the first failure, the guard's verdicts
 * on statements, and savepoints.
 *
 * Every error of the server goes through fail_with, so no error can be
 * swallowed. core/repo/write.c builds the SQL of structured calls; src/script
 * encodes the values.
 */

#include "core/repo/private.h"

#include "base/log.h"
#include "base/text.h"
#include "pg/conn/own.h"
#include "pg/conn/sqlstate.h"
#include "pg/sql/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PostgreSQL gets slow beyond 64 open subtransactions. */

struct lm_repo *
lm_repo_new(const struct lm_repo_options *options)
{
    struct lm_repo *self = lm_calloc(1, sizeof *self);

    self->options = *options;
    return self;
}

void
lm_repo_free(struct lm_repo *self)
{
    if (self == NULL)
        return;
    lm_repo_forget_groups(self);
    lm_repo_forget_writes(self);
    lm_guard_release(&self->guard);
    lm_shapes_release(&self->shapes);
    lm_types_release(&self->types);
    free(self);
}

struct lm_conn *
lm_repo_conn(const struct lm_repo *self)
{
    return self->conn;
}

const struct lm_base_query *
lm_repo_paged(const struct lm_repo *self)
{
    return self->paged;
}

uint64_t
lm_repo_epoch(const struct lm_repo *self)
{
    return self->shapes.epoch;
}

const struct lm_err *
lm_repo_failure(const struct lm_repo *self)
{
    return self->failed ? &self->failure : NULL;
}

void
lm_repo_note_place(struct lm_repo *self, const char *where)
{
    if (self->failed && self->failure.where[0] == '\0')
        LM_ERR_COPY(self->failure.where, where);
}

void
lm_repo_hide_sql(struct lm_repo *self)
{
    self->failure.sql[0] = '\0';
}

bool
lm_repo_blames_combining(const struct lm_repo *self, const struct lm_err *err)
{
    bool at_commit =
        self->overtaken && !self->failed && err->kind == LM_ERR_DATABASE;

    return self->combined_failed || at_commit;
}

static void
forget_shapes(struct lm_repo *self)
{
    lm_shapes_forget(&self->shapes);
    self->shapes_changed = false;
}

void
lm_repo_note_failure(struct lm_repo *self, const struct lm_err *err)
{
    if (self->failed)
        return;
    self->failed = true;
    self->failure = *err;
    if (self->reordered)
        self->combined_failed = true;
}

bool
lm_repo_has_no_failure(struct lm_repo *self, struct lm_err *err)
{
    if (!self->failed)
        return true;
    lm_repo_explain(self, &self->failure);
    *err = self->failure;
    return false;
}

/* A write in flight may have failed first; then that error counts. */
bool
lm_repo_fail_with(struct lm_repo *self, struct lm_err *err)
{
    lm_repo_note_failure(self, err);
    return lm_repo_has_no_failure(self, err);
}

/* After a flush: is everything that was posted as it must be? */
static bool
settle(struct lm_repo *self, bool ok, struct lm_err *err)
{
    if (!ok)
        return lm_repo_fail_with(self, err);
    self->unsure = self->reordered = false;
    return lm_repo_has_no_failure(self, err);
}

/* Facts of the old connection say nothing about this one. */
static void
turn_to(struct lm_repo *self, struct lm_conn *conn)
{
    bool is_new = self->conn_serial != lm_conn_serial(conn);

    if (is_new) {
        lm_types_release(&self->types);
        self->stale = false;
    }
    if (is_new || self->shapes_changed)
        forget_shapes(self);
    self->conn = conn;
    self->conn_serial = lm_conn_serial(conn);
}

/* Of the callback before, on the connection that it had. */
static bool
await_writes(struct lm_repo *self, const struct lm_conn *conn,
             struct lm_err *err)
{
    if (!lm_repo_awaits(self) || self->conn_serial != lm_conn_serial(conn))
        return true;
    return settle(self, lm_conn_flush(self->conn, err), err);
}

/* Nothing is in flight, or its result does not matter. */
static void
forget_work(struct lm_repo *self)
{
    memset(&self->blame, 0, sizeof self->blame);
    lm_repo_forget_groups(self);
    lm_repo_forget_writes(self);
    self->unsure = self->reordered = self->overtaken = false;
    self->combined_failed = false;
}

void
lm_repo_begin_batch(struct lm_repo *self, struct lm_conn *conn)
{
    forget_work(self);
    turn_to(self, conn);
}

bool
lm_repo_may_check_ahead(const struct lm_repo *self)
{
    return !self->shapes_changed && lm_shapes_have_room(&self->shapes);
}

bool
lm_repo_post_check(struct lm_repo *self, struct lm_conn *conn,
                   struct lm_err *err)
{
    self->checked = lm_conn_transaction(conn);
    return lm_shapes_post_check(&self->shapes, conn, err);
}

bool
lm_repo_open(struct lm_repo *self, struct lm_conn *conn,
             const struct lm_repo_use *use, struct lm_err *err)
{
    if (self->open) {
        return lm_err_set(err, LM_ERR_INTERNAL,
                          "a repo is opened while it is open");
    }
    if (!await_writes(self, conn, err))
        return false;
    forget_work(self);
    turn_to(self, conn);
    lm_shapes_begin_use(&self->shapes);
    self->shapes_trusted = self->checked == lm_conn_transaction(conn);
    self->stale = self->stale || self->shapes.outdated;
    self->shapes.outdated = false;
    self->paged = use->paged;
    self->combine = use->combine;
    self->follows_new = use->follows_new;
    self->paged_elsewhere = use->paged_elsewhere;
    self->open = true;
    self->failed = false;
    self->savepoints = 0;
    return true;
}

void
lm_repo_close(struct lm_repo *self)
{
    self->open = false;
}

/* Parameters of a statement that was prepared earlier may have other types
 * now. No posted request refers to the dropped statements. */
static bool
renew_statements(struct lm_repo *self, struct lm_err *err)
{
    if (!self->stale)
        return true;
    if (!lm_repo_flush(self, err))
        return false;
    self->stale = false;
    return settle(self, lm_conn_forget(self->conn, err), err);
}

bool
lm_repo_begin_write(struct lm_repo *self, struct lm_err *err)
{
    if (!self->shapes_trusted)
        lm_shapes_forget(&self->shapes); /* others may have made a trigger */
    self->shapes_trusted = true;
    return renew_statements(self, err);
}

bool
lm_repo_check_usable(const struct lm_repo *self, struct lm_err *err)
{
    if (!self->open) {
        lm_err_set(err, LM_ERR_FAILED,
                   "the repo is used after its function has returned");
        lm_err_hint(err, "Do not keep repo in a variable outside of the "
                         "function: luamig passes a new repo to each call.");
        return false;
    }
    if (self->failed) {
        lm_err_set(err, LM_ERR_FAILED, "transaction has failed");
        lm_err_detail(err, "%s", self->failure.message);
        return lm_err_hint(
            err,
            "An error of the database ends the batch, even if pcall catches "
            "it. Use repo:savepoint to continue after an error in the data.");
    }
    return true;
}

/* A statement that passes unjudged, since the script's config says so. */
static void
warn_unjudged(const char *sql, const char *where)
{
    struct lm_err warning;

    lm_err_set(
        &warning, LM_ERR_FAILED,
        "luamig cannot judge the statement; config.allow_unjudged allows it");
    LM_ERR_COPY(warning.sql, sql);
    LM_ERR_COPY(warning.where, where);
    lm_err_hint(&warning,
                "Make sure that the statement changes only the rows that it "
                "should change, and neither the session nor the schema.");
    lm_log_err(LM_LOG_WARNING, &warning);
}

/* The guard refuses a statement. One that it could not read the server may
 * refuse as well, and knows better why. */
static bool
fail_refused(struct lm_repo *self, const char *sql, bool parsed,
             struct lm_err *err)
{
    struct lm_err earlier; /* of what came before it, or of the server */
    struct lm_stmt *stmt;

    if (!lm_repo_flush(self, &earlier)) {
        *err = earlier;
        return false;
    }
    if (!parsed && !lm_conn_prepare(self->conn, sql, NULL, 0, &stmt, &earlier))
        *err = earlier;
    return lm_repo_fail_with(self, err);
}

/* A statement that is not prepared on this connection yet, or not with what
 * the script allows now. */
static bool
prepare_new(struct lm_repo *self, const char *sql, unsigned allowed,
            const char *where, struct lm_stmt **out, struct lm_err *err)
{
    const char *text = self->options.is_own ? lm_own_text(sql) : sql;
    struct lm_verdict *verdict;

    if (!lm_guard_ask(&self->guard, text, allowed, &verdict, err))
        return fail_refused(self, sql, verdict->parsed, err);
    if (!lm_conn_prepare(self->conn, sql, NULL, 0, out, err)) {
        if (lm_err_is_state(err, "42P18") && err->hint[0] == '\0') {
            lm_err_hint(err, "Say what type the parameter has, for example "
                             "$1::text.");
        }
        return lm_repo_fail_with(self, err);
    }
    if ((verdict->refusals & LM_GUARD_UNJUDGED) != 0 &&
        (allowed & LM_GUARD_EVERY_ROW) == 0 && !verdict->warned) {
        warn_unjudged(sql, where);
        verdict->warned = true;
    }
    lm_stmt_set_verdict(*out, verdict);
    return lm_repo_has_no_failure(self, err);
}

bool
lm_repo_prepare(struct lm_repo *self, const char *sql, bool every_row,
                const char *where, struct lm_stmt **out, struct lm_err *err)
{
    unsigned allowed =
        (every_row ? LM_GUARD_EVERY_ROW | LM_GUARD_UNJUDGED : 0) |
        (self->options.allow_unjudged ? LM_GUARD_UNJUDGED : 0) |
        (self->options.allow_ddl ? LM_GUARD_DDL : 0);
    const struct lm_verdict *verdict;

    if (!lm_repo_check_usable(self, err) || !lm_repo_send_groups(self, err) ||
        !renew_statements(self, err))
        return false;
    *out = lm_conn_find_prepared(self->conn, sql);
    verdict = *out != NULL ? lm_stmt_verdict(*out) : NULL;
    return (verdict != NULL && (verdict->refusals & ~allowed) == 0) ||
           prepare_new(self, sql, allowed, where, out, err);
}

bool
lm_repo_may_post(const struct lm_stmt *stmt)
{
    return lm_stmt_verdict(stmt)->plain;
}

/* A statement that is no plain query or write may have been DDL, or have
 * changed what names mean. */
static void
forget_shapes_after(struct lm_repo *self, const struct lm_stmt *stmt)
{
    const struct lm_verdict *verdict = lm_stmt_verdict(stmt);

    if (verdict->plain)
        return;
    lm_shapes_forget(&self->shapes);
    self->shapes_changed = true;
    self->stale = self->stale || !verdict->keeps_columns;
}

/* Its transaction is read-only, and the server says so. */
static void
explain_source(const struct lm_repo *self, struct lm_err *err)
{
    if (self->options.reads_source && lm_err_is_state(err, "25006")) {
        lm_err_hint(err, "run.source only reads. Write with repo, which writes "
                         "to the run's own database.");
    }
}

bool
lm_repo_execute(struct lm_repo *self, const struct lm_stmt *stmt,
                struct lm_values values, struct lm_result **out,
                struct lm_err *err)
{
    bool ok;

    if (!lm_repo_check_usable(self, err))
        return false;
    ok = lm_conn_execute(self->conn, stmt, values, out, err);
    if (!ok)
        explain_source(self, err);
    ok = settle(self, ok, err);
    forget_shapes_after(self, stmt);
    if (ok && lm_conn_in_transaction(self->conn))
        return true;
    if (ok) {
        lm_err_set(err, LM_ERR_FAILED, "the statement ended the transaction");
        LM_ERR_COPY(err->sql, lm_stmt_sql(stmt));
        lm_repo_note_failure(self, err);
    }
    lm_result_free(*out);
    *out = NULL;
    return false;
}

bool
lm_repo_post(struct lm_repo *self, const struct lm_stmt *stmt,
             struct lm_values values, struct lm_write *write,
             struct lm_err *err)
{
    if (!lm_repo_check_usable(self, err))
        return false;
    write->pending++;
    if (!lm_repo_post_kept(self, stmt, values, write, err))
        return lm_repo_fail_with(self, err);
    forget_shapes_after(self, stmt);
    return lm_repo_has_no_failure(self, err);
}

/* Only single writes can show it, so the batch runs again with single writes.
 */
static bool
fail_vague(struct lm_repo *self, struct lm_shape *shape, struct lm_err *err)
{
    shape->single = true;
    self->combined_failed = true;
    lm_err_set(err, LM_ERR_DATABASE,
               "luamig does not know which rows of \"%s\" a combined statement "
               "has written",
               shape->form.table);
    return lm_repo_fail_with(self, err);
}

bool
lm_repo_affected(struct lm_repo *self, struct lm_write *write,
                 int64_t *affected, struct lm_err *err)
{
    if (write->pending > 0 && !lm_repo_flush(self, err))
        return false;
    if (write->vague != NULL)
        return fail_vague(self, write->vague, err);
    *affected = write->affected;
    return true;
}

bool
lm_repo_returned(struct lm_repo *self, const struct lm_write *write,
                 const struct lm_result **row, struct lm_err *err)
{
    if (write->pending > 0 && !lm_repo_flush(self, err))
        return false;
    *row = write->row;
    return true;
}

bool
lm_repo_flush(struct lm_repo *self, struct lm_err *err)
{
    return lm_repo_check_usable(self, err) && lm_repo_send_groups(self, err) &&
           settle(self, lm_conn_flush(self->conn, err), err);
}

bool
lm_repo_type(struct lm_repo *self, uint32_t oid, const struct lm_type **out,
             struct lm_err *err)
{
    if (lm_types_find(&self->types, self->conn, oid, out, err))
        return true;
    return lm_repo_fail_with(self, err);
}

/* -- the paged table's key -------------------------------------------- */

/* Is table, as a script names it, the table source or above or below it, as a
 * partition or by inheritance? */
static bool
is_paged_table(struct lm_repo *self, const char *table, uint32_t source,
               bool *is_paged, struct lm_err *err)
{
    static const char sql[] = LM_OWN_ABOUT_TABLE
        "WITH RECURSIVE above AS (SELECT $2::pg_catalog.oid AS oid UNION"
        "  SELECT h.inhparent FROM pg_catalog.pg_inherits h"
        "  JOIN above ON above.oid = h.inhrelid),"
        " below AS (SELECT $2::pg_catalog.oid AS oid UNION"
        "  SELECT h.inhrelid FROM pg_catalog.pg_inherits h"
        "  JOIN below ON below.oid = h.inhparent)"
        " SELECT EXISTS (SELECT FROM (TABLE above UNION ALL TABLE below) f"
        "  WHERE f.oid = " LM_OWN_TABLE ")";
    struct lm_buf name = LM_BUF_INIT;
    const char *texts[] = {NULL, LM_DIGITS(source)};
    struct lm_stmt *stmt;
    struct lm_answer *answer = NULL;
    bool ok = true;

    if (!lm_sql_add_table(&name, table)) {
        lm_buf_release(&name);
        return true; /* the statement itself will say so */
    }
    texts[0] = lm_buf_text(&name);
    ok = lm_conn_prepare(self->conn, sql, NULL, 0, &stmt, err) &&
         lm_conn_ask_prepared(self->conn, stmt, "1: b",
                              (struct lm_values){texts, 2}, &answer, err);
    lm_buf_release(&name);
    if (!ok)
        return lm_repo_fail_with(self, err);
    *is_paged = lm_answer_bool(answer, 0, 0);
    lm_answer_free(answer);
    return true;
}

static bool
is_among(const char *name, const char *const *columns, int count)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(columns[i], name) == 0)
            return true;
    }
    return false;
}

/* The key column among those that are to be written to table, or NULL. */
static bool
find_key_column(struct lm_repo *self, const char *table,
                const char *const *columns, int count, const char **found,
                struct lm_err *err)
{
    const struct lm_base_query *query = self->paged;

    for (int i = 0; i < query->source_count; i++) {
        const struct lm_key_source *source = &query->sources[i];
        bool is_paged = false;

        if (!is_among(source->column, columns, count))
            continue;
        if (!is_paged_table(self, table, source->table, &is_paged, err))
            return false;
        if (is_paged) {
            *found = source->column;
            break;
        }
    }
    return true;
}

bool
lm_repo_check_columns(struct lm_repo *self, const char *table,
                      const char *const *columns, int count, struct lm_err *err)
{
    const char *column = NULL;

    if (!lm_repo_check_usable(self, err))
        return false;
    if (self->paged != NULL && !self->paged_elsewhere &&
        !find_key_column(self, table, columns, count, &column, err))
        return false;
    if (column == NULL)
        return true;
    if (!lm_repo_flush(self, err)) /* that came before */
        return false;
    lm_err_set(
        err, LM_ERR_FAILED,
        "column \"%s\" of \"%s\" belongs to the key of the run and must not "
        "be changed",
        column, table);
    lm_err_detail(err, "If the key of a row changes, the run could migrate the "
                       "row twice or never.");
    lm_err_hint(err, "Page by another unique key with config.key, or change "
                     "the key in a one-shot script.");
    return lm_repo_fail_with(self, err);
}

/* -- savepoints ------------------------------------------------------- */

bool
lm_repo_may_catch(const struct lm_err *err)
{
    return lm_sqlstate_meaning(err->sqlstate) == LM_SQLSTATE_ROW ||
           (err->kind == LM_ERR_FAILED &&
            (lm_err_is_state(err, LM_REPO_NO_ROW) ||
             lm_err_is_state(err, LM_REPO_TOO_MANY_ROWS)));
}

static bool
savepoint_command(struct lm_repo *self, const char *verb, int depth,
                  struct lm_err *err)
{
    char sql[64];

    if (!lm_repo_send_groups(self, err))
        return false;
    snprintf(sql, sizeof sql, "%s luamig_%d", verb, depth);
    return settle(self, lm_conn_command(self->conn, sql, err), err);
}

void
lm_repo_abort(struct lm_repo *self, enum lm_err_kind kind, const char *message)
{
    struct lm_err err;

    lm_err_set(&err, kind, "%s", message);
    lm_repo_note_failure(self, &err);
}

bool
lm_repo_savepoint(struct lm_repo *self, struct lm_err *err)
{
    if (self->savepoints >= LM_MAX_SAVEPOINTS) {
        return lm_err_set(err, LM_ERR_FAILED,
                          "savepoints are nested more than %d deep",
                          LM_MAX_SAVEPOINTS);
    }
    if (!lm_repo_check_usable(self, err) ||
        !savepoint_command(self, "SAVEPOINT", self->savepoints + 1, err))
        return false;
    self->writes_before[self->savepoints++] = lm_repo_writes(self)->made;
    return true;
}

bool
lm_repo_savepoint_release(struct lm_repo *self, struct lm_err *err)
{
    return lm_repo_check_usable(self, err) &&
           savepoint_command(self, "RELEASE SAVEPOINT", self->savepoints--,
                             err);
}

bool
lm_repo_savepoint_rollback(struct lm_repo *self, struct lm_err *err)
{
    int depth = self->savepoints--;

    if (!self->failed && !lm_repo_flush(self, err) && err->kind == LM_ERR_LOST)
        return false;
    lm_repo_drop_groups(self);
    /* The writes in flight belong to the part that is rolled back. */
    if (self->failed && !lm_conn_flush(self->conn, err) &&
        err->kind == LM_ERR_LOST)
        return false;
    if (self->shapes_changed)
        lm_shapes_forget(&self->shapes); /* DDL in it is undone */
    if (self->failed &&
        (self->combined_failed || !lm_repo_may_catch(&self->failure))) {
        *err = self->failure;
        return false;
    }
    self->failed = false;
    lm_repo_undo_writes(self, self->writes_before[depth - 1]);
    return savepoint_command(self, "ROLLBACK TO SAVEPOINT", depth, err) &&
           savepoint_command(self, "RELEASE SAVEPOINT", depth, err);
}
