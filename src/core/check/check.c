/* SPDX-License-Identifier: MIT */
/*
 * Makes the findings in their order, and has those about the base query and
 * its key. The server proves what it can (preflight). If the key is not proved
 * to be unique, the check compares the rows of a few pages.
 *
 * Nothing is written, and no lock is kept longer than one query.
 */

#include "core/check/check.h"

#include "base/text.h"
#include "core/check/private.h"
#include "core/journal/journal.h"
#include "core/page/page.h"
#include "core/page/preflight.h"
#include "pg/conn/own.h"
#include "pg/conn/txn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOCK_MS = 500, PAGE_MS = 400 };

/* -- findings ------------------------------------------------------------- */

void
lm_check_init(struct lm_check *self)
{
    memset(self, 0, sizeof *self);
    self->rows = self->batches = self->batch_size = -1;
    self->page_rows_read = self->page_ms = self->duration_ms = -1;
}

void
lm_check_release(struct lm_check *self)
{
    for (int i = 0; i < self->count; i++) {
        free(self->findings[i].message);
        free(self->findings[i].detail);
        free(self->findings[i].hint);
        free(self->findings[i].plan);
    }
    free(self->findings);
    self->findings = NULL;
    self->count = 0;
}

int
lm_check_count(const struct lm_check *self, enum lm_check_verdict verdict)
{
    int count = 0;

    for (int i = 0; i < self->count; i++)
        count += self->findings[i].verdict == verdict;
    return count;
}

static char *
format_text(const char *format, va_list args)
{
    char text[4096];

    vsnprintf(text, sizeof text, format, args);
    return lm_strdup(text);
}

struct lm_finding *
lm_check_add(struct lm_check *self, enum lm_check_verdict verdict,
             const char *subject, const char *format, ...)
{
    struct lm_finding finding = {.verdict = verdict, .subject = subject};
    va_list args;

    va_start(args, format);
    finding.message = format_text(format, args);
    va_end(args);
    LM_ADD(self->findings, self->count) = finding;
    return &self->findings[self->count - 1];
}

void
lm_finding_detail(struct lm_finding *self, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    free(self->detail);
    self->detail = format_text(format, args);
    va_end(args);
}

void
lm_finding_hint(struct lm_finding *self, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    free(self->hint);
    self->hint = format_text(format, args);
    va_end(args);
}

struct lm_finding *
lm_check_add_err(struct lm_check *self, const char *subject,
                 const struct lm_err *err)
{
    struct lm_finding *finding =
        lm_check_add(self, LM_VERDICT_ERROR, subject, "%s", err->message);

    if (err->detail[0] != '\0')
        lm_finding_detail(finding, "%s", err->detail);
    if (lm_err_is_state(err, LM_ANSWER_WRONG))
        lm_finding_detail(finding, "The statement is %s", err->sql);
    if (err->hint[0] != '\0')
        lm_finding_hint(finding, "%s", err->hint);
    return finding;
}

/* -- asking ----------------------------------------------------------------- */

bool
lm_check_begin(const struct lm_checking *self, int64_t timeout_ms,
               struct lm_err *err)
{
    struct lm_txn txn = {.read_only = true,
                         .statement_timeout_ms = timeout_ms,
                         .lock_timeout_ms = LOCK_MS};

    if (self->migration != NULL) {
        txn.timezone = self->migration->timezone;
        txn.row_security = self->migration->row_security;
    }
    return lm_conn_has_transaction(self->conn) ||
           lm_txn_begin(self->conn, &txn, err);
}

void
lm_check_end(const struct lm_checking *self, bool ok)
{
    if (!ok || !self->in_one)
        lm_conn_rollback(self->conn);
}

bool
lm_check_is_over(const struct lm_conn *conn, const struct lm_err *err)
{
    return err->kind == LM_ERR_INTERRUPT || !lm_conn_is_up(conn);
}

bool
lm_check_ask(struct lm_checking *self, const char *subject, const char *sql,
             const char *shape, struct lm_values values, struct lm_answer **out,
             struct lm_err *err)
{
    bool ok = lm_check_begin(self, LM_CHECK_MS, err) &&
              lm_conn_ask(self->conn, sql, shape, values, out, err);

    if (!ok)
        *out = NULL;
    lm_check_end(self, ok);
    if (ok)
        return true;
    if (lm_check_is_over(self->conn, err))
        return false;
    lm_check_add_err(self->check, subject, err)->verdict = LM_VERDICT_WARNING;
    return true;
}

/* -- the query and its key -------------------------------------------------- */

static bool
describe_columns(struct lm_checking *self, struct lm_buf *out,
                 struct lm_err *err)
{
    static const char sql[] =
        LM_OWN "SELECT pg_catalog.format_type(t.oid, NULL),"
               " (SELECT o.collname FROM pg_catalog.pg_attribute a"
               "  JOIN pg_catalog.pg_collation o ON o.oid = a.attcollation"
               "  WHERE a.attrelid = $2 AND a.attname = $3"
               "  AND o.collname <> 'default')"
               " FROM pg_catalog.pg_type t WHERE t.oid = $1";
    const struct lm_base_query *query = &self->query;

    for (int i = 0; i < query->key_count; i++) {
        const struct lm_key_source none = {0, NULL, false};
        const struct lm_key_source *source =
            query->key_source[i] >= 0 ? &query->sources[query->key_source[i]]
                                      : &none;
        struct lm_answer *row = NULL;

        if (!lm_check_ask(self, "key", sql, "?: t t?",
                          LM_VALUES(LM_DIGITS(query->key_types[i]),
                                    LM_DIGITS(source->table), source->column),
                          &row, err))
            return false;
        lm_buf_printf(out, "%s%s", i > 0 ? ", " : "", query->key[i]);
        if (row != NULL && lm_answer_rows(row) == 1) {
            lm_buf_printf(out, " %s", lm_answer_text(row, 0, 0));
            if (!lm_answer_is_null(row, 0, 1))
                lm_buf_printf(out, " COLLATE %s", lm_answer_text(row, 0, 1));
        }
        lm_answer_free(row);
    }
    return true;
}

/* The most common value of a key of one column, which may have two rows; NULL:
 * none, or unknown. */
static bool
find_common_key(struct lm_checking *self, char **key, struct lm_err *err)
{
    static const char sql[] = LM_OWN
        "SELECT (s.most_common_vals::pg_catalog.text::pg_catalog.text[])[1]"
        " FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname"
        " AND s.tablename = c.relname WHERE c.oid = $1 AND s.attname = $2"
        " ORDER BY s.inherited DESC LIMIT 1";
    const struct lm_base_query *query = &self->query;
    struct lm_answer *row = NULL;
    const struct lm_key_source *source;

    *key = NULL;
    if (query->key_count != 1 || query->key_source[0] < 0)
        return true;
    source = &query->sources[query->key_source[0]];
    if (!lm_check_ask(self, "key", sql, "?: t?",
                      LM_VALUES(LM_DIGITS(source->table), source->column), &row,
                      err))
        return false;
    if (row != NULL)
        *key = lm_answer_copy(row, 0, 0);
    lm_answer_free(row);
    return true;
}

/* Are there two rows with that key? A page of a single key is not compared
 * with the rows before. */
static bool
has_twice(struct lm_checking *self, const char *text, bool *twice,
          struct lm_err *err)
{
    struct lm_key key = {NULL, 0};
    struct lm_page page;
    bool ok;

    lm_key_set(&key, &text, 1);
    ok = lm_check_begin(self, PAGE_MS, err) &&
         lm_page_fetch_row(self->conn, &self->query, &key, &page, err);
    lm_key_release(&key);
    *twice = ok && page.rows > 1;
    if (ok)
        lm_page_release(&page);
    lm_conn_rollback(self->conn);
    return ok;
}

/* Reads the first page, or adds what is wrong with its keys. */
static bool
look_at_page(struct lm_checking *self, struct lm_err *err)
{
    struct lm_page page;
    bool ok = lm_check_begin(self, PAGE_MS, err) &&
              lm_page_fetch(self->conn, &self->query, NULL, NULL,
                            self->migration->batch_size, &page, err);

    if (ok)
        lm_page_release(&page);
    lm_conn_rollback(self->conn);
    return ok;
}

/* Two rows of one key, or a NULL, are looked for where they are likely to be
 * met: *found when there is an error to show. */
static bool
look_for_duplicates(struct lm_checking *self, bool *found, struct lm_err *err)
{
    char *key = NULL;
    bool twice = false;

    *found = false;
    if (!look_at_page(self, err)) {
        *found = err->kind == LM_ERR_FAILED;
        if (*found || lm_check_is_over(self->conn, err))
            return *found;
    }
    if (!find_common_key(self, &key, err))
        return false;
    if (key != NULL && !has_twice(self, key, &twice, err)) {
        free(key);
        return !lm_check_is_over(self->conn, err);
    }
    if (twice) {
        *found = true;
        lm_err_set(err, LM_ERR_FAILED,
                   "two rows of the base query have the same key: (%s) = (%s)",
                   self->query.key[0], key);
        lm_err_hint(
            err,
            "Name a unique key with config.key. It may have several columns.");
    }
    free(key);
    return true;
}

/* A volatile function may do more than return a value. */
static bool
may_be_run(const struct lm_checking *self)
{
    return self->query.volatile_calls == NULL;
}

static bool
judge_unproved_key(struct lm_checking *self, const char *key,
                   struct lm_err *err)
{
    struct lm_finding *finding;
    bool found = false;

    if (may_be_run(self) && !look_for_duplicates(self, &found, err))
        return false;
    if (found) {
        lm_check_add_err(self->check, "key", err);
        return true;
    }
    finding =
        lm_check_add(self->check, LM_VERDICT_WARNING, "key",
                     "(%s) is NOT NULL, but not proved to be unique", key);
    lm_finding_detail(finding, "The run compares each row with the row before, "
                               "and fails at the first duplicate.");
    lm_finding_hint(finding, "A unique index on the key proves it; "
                             "config.assume_unique turns the comparison off.");
    return true;
}

static bool
check_key(struct lm_checking *self, struct lm_err *err)
{
    struct lm_buf key = LM_BUF_INIT;
    bool ok = describe_columns(self, &key, err);

    if (ok && !self->query.key_is_unique) {
        ok = judge_unproved_key(self, lm_buf_text(&key), err);
    } else if (ok && self->migration->assume_unique) {
        lm_check_add(self->check, LM_VERDICT_WARNING, "key",
                     "(%s) is NOT NULL, and assumed to be unique",
                     lm_buf_text(&key));
    } else if (ok) {
        lm_check_add(self->check, LM_VERDICT_OK, "key",
                     "(%s) is NOT NULL and unique", lm_buf_text(&key));
    }
    lm_buf_release(&key);
    return ok;
}

/* Is it a key that was found wanting, or the query itself? */
static const char *
subject_of(const struct lm_base_query *query)
{
    return query->key != NULL ? "key" : "query";
}

/* In one read-only transaction: the statement is prepared only to be
 * described. */
static bool
inspect_query(struct lm_checking *self, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    bool ok = lm_check_begin(self, LM_CHECK_MS, err) &&
              lm_preflight_query(self->conn, m->base_query, m->params,
                                 m->param_count, m->key, m->key_count,
                                 m->assume_unique, &self->query, err);

    lm_conn_rollback(self->conn);
    self->query.keys_only = m->by_range;
    if (!ok)
        lm_preflight_explain(m, err);
    return ok;
}

static void
judge_volatile_calls(struct lm_checking *self)
{
    struct lm_finding *finding;

    if (self->query.volatile_calls == NULL)
        return;
    finding =
        lm_check_add(self->check, LM_VERDICT_WARNING, "volatile_functions",
                     "the base query calls %s", self->query.volatile_calls);
    lm_finding_detail(finding,
                      "luamig may read a page again: its rows and their keys "
                      "must not depend on these functions.");
}

/* A lock of another session says nothing about the query; a run waits for it.
 */
static void
add_not_checked(struct lm_checking *self, const struct lm_err *err)
{
    struct lm_finding *finding =
        lm_check_add(self->check, LM_VERDICT_WARNING, "query",
                     "not checked: the server did not answer in time; its key "
                     "and its plan are not checked either");

    lm_finding_detail(finding, "%s", err->message);
    lm_finding_hint(finding, "Most likely another session has locked one of "
                             "its tables. Try again when that lock is gone.");
}

/* Only a run calls on_start. */
static void
add_made_later(struct lm_checking *self, const struct lm_err *err)
{
    struct lm_finding *finding = lm_check_add(
        self->check, LM_VERDICT_WARNING, "query",
        "not checked: what it reads is not there, and on_start may make it; "
        "its key and its plan are not checked either");

    lm_finding_detail(finding, "%s", err->message);
    lm_finding_hint(finding, "\"luamig run\" checks them after on_start, and "
                             "takes back what on_start did if it refuses. "
                             "--dry-run does so too.");
}

static bool
check_query(struct lm_checking *self, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;

    self->proved = inspect_query(self, err);
    if (self->proved) {
        lm_check_add(self->check, LM_VERDICT_OK, "query",
                     "%d column%s, one SELECT that can be paged",
                     self->query.column_count,
                     self->query.column_count == 1 ? "" : "s");
        judge_volatile_calls(self);
        return check_key(self, err);
    }
    if (lm_check_is_over(self->conn, err))
        return false;
    if (lm_err_is_state(err, "55P03") || lm_err_is_state(err, "57014")) {
        add_not_checked(self, err);
    } else if (lm_err_is_state(err, "42P01") &&
               m->ops->has(m->self, LM_CALL_ON_START)) {
        add_made_later(self, err);
    } else {
        lm_check_add_err(self->check, subject_of(&self->query), err);
    }
    return true;
}

/* -- the whole ---------------------------------------------------------------- */

/* A key that is not proved may still be paged, so its plan is worth a look. */
static bool
may_be_paged(const struct lm_checking *self)
{
    return self->query.order != NULL;
}

static bool
check_pages(struct lm_checking *self, const struct lm_input_file *file,
            struct lm_err *err)
{
    bool readable = false;

    if (!lm_check_input(self, file, &readable, err))
        return false;
    return !readable ||
           (check_query(self, err) &&
            (!may_be_paged(self) ||
             (lm_check_plan(self, true, err) && lm_check_tables(self, err) &&
              lm_check_citus(self, err))));
}

/* If the server refuses the connection, that is a finding as well. */
static bool
enter(struct lm_checking *self, const struct lm_check_options *options,
      struct lm_err *err)
{
    struct lm_conn_options how = {.application_name = options->application_name,
                                  .interruptible = true};

    struct lm_journal journal = {.schema = self->journal_schema};

    if (lm_conn_open(&self->conn, options->conninfo, &how, err)) {
        lm_conn_set_deadline(self->conn, 30000);
        journal.conn = self->conn;
        if (lm_preflight_server(self->conn, err) &&
            lm_journal_remove_schema_from_path(&journal, err))
            return true;
    }
    if (err->kind == LM_ERR_INTERRUPT)
        return false;
    self->check->unreachable = true;
    lm_check_add_err(self->check, "server", err);
    return false;
}

/* What the base query and run.source read in another database. Nothing is
 * written there. */
static bool
check_source(struct lm_checking *self, const struct lm_check_options *options,
             struct lm_err *err)
{
    struct lm_checking reading = {.check = self->check,
                                  .migration = self->migration,
                                  .journal_schema = self->journal_schema};
    bool ok = lm_check_source(&reading, self->conn, options, err);

    if (reading.conn != NULL && ok && !self->migration->one_shot) {
        ok = check_query(&reading, err) &&
             (!may_be_paged(&reading) || lm_check_plan(&reading, true, err));
    }
    lm_plan_release(&reading.plan);
    lm_base_query_release(&reading.query);
    lm_conn_close(reading.conn);
    return ok;
}

bool
lm_check_all(struct lm_check *self, const struct lm_migration *migration,
             const struct lm_check_options *options, struct lm_err *err)
{
    struct lm_checking checking = {.check = self,
                                   .migration = migration,
                                   .journal_schema = options->journal_schema};
    bool ok = enter(&checking, options, err);

    if (ok) {
        ok = lm_check_server(&checking, err) &&
             lm_check_journal(&checking, err) &&
             (migration->reads_from != NULL
                  ? check_source(&checking, options, err)
                  : migration->one_shot ||
                        check_pages(&checking, options->input, err)) &&
             lm_check_health(&checking, options, err);
    } else if (self->unreachable) {
        ok = true;
    }
    lm_plan_release(&checking.plan);
    lm_base_query_release(&checking.query);
    lm_conn_close(checking.conn);
    return ok;
}

bool
lm_check_quickly(struct lm_check *self, struct lm_conn *conn,
                 struct lm_conn *reader, const struct lm_migration *migration,
                 const struct lm_base_query *query, const char *journal_schema,
                 struct lm_err *err)
{
    struct lm_checking checking = {.check = self,
                                   .conn = conn,
                                   .migration = migration,
                                   .query = *query,
                                   .proved = true,
                                   .in_one = true,
                                   .journal_schema = journal_schema};
    struct lm_checking reading = checking;
    bool nested = lm_conn_has_transaction(conn);
    bool ok;

    reading.conn = reader;
    ok = (migration->one_shot || lm_check_plan(&reading, false, err)) &&
         (journal_schema == NULL || lm_check_journal_rights(&checking, err));
    if (!nested)
        lm_conn_rollback(conn);
    if (reader != conn)
        lm_conn_rollback(reader);
    lm_plan_release(&reading.plan);
    return ok;
}
