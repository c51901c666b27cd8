/* SPDX-License-Identifier: MIT */
/* Sends all statements of the journal: puts the schema's name into the text
 * and prepares it. */

#include "core/journal/private.h"
#include "pg/conn/own.h"
#include "pg/conn/txn.h"
#include "pg/sql/sql.h"

#include <stdio.h>
#include <unistd.h>

enum { LOCK_MS = 2000, STATEMENT_MS = 60000 };

/* mark: LM_OWN or "". */
static bool
prepare(struct lm_journal *self, const char *mark, const char *sql,
        struct lm_stmt **out, struct lm_err *err)
{
    struct lm_buf buf = LM_BUF_INIT;
    bool ok;

    lm_buf_puts(&buf, mark);
    lm_journal_fill_placeholders(&buf, sql, self->schema);
    ok = lm_conn_prepare_rare(self->conn, lm_buf_text(&buf), out, err);
    lm_buf_release(&buf);
    return ok;
}

bool
lm_journal_ask(struct lm_journal *self, const char *sql, const char *shape,
               struct lm_values values, struct lm_answer **out,
               struct lm_err *err)
{
    struct lm_stmt *stmt;

    return prepare(self, LM_OWN, sql, &stmt, err) &&
           lm_conn_ask_prepared(self->conn, stmt, shape, values, out, err);
}

bool
lm_journal_post_heard(struct lm_journal *self, const char *sql,
                      struct lm_values values, lm_conn_listener listener,
                      struct lm_err *err)
{
    struct lm_stmt *stmt;

    return prepare(self, "", sql, &stmt, err) &&
           lm_conn_post(self->conn, stmt, values, listener, NULL, err);
}

bool
lm_journal_post(struct lm_journal *self, const char *sql,
                struct lm_values values, struct lm_err *err)
{
    return lm_journal_post_heard(self, sql, values, NULL, err);
}

bool
lm_journal_command(struct lm_journal *self, const char *sql,
                   struct lm_values values, struct lm_err *err)
{
    struct lm_result *result = NULL;
    struct lm_stmt *stmt;
    bool ok = prepare(self, LM_OWN, sql, &stmt, err) &&
              lm_conn_execute(self->conn, stmt, values, &result, err);

    lm_result_free(result);
    return ok;
}

static bool
open_as(struct lm_journal *self, bool durable, struct lm_err *err)
{
    struct lm_txn txn = {.durable = durable,
                         .own = true,
                         .statement_timeout_ms = STATEMENT_MS,
                         .lock_timeout_ms = LOCK_MS};

    return lm_txn_begin(self->conn, &txn, err);
}

bool
lm_journal_open(struct lm_journal *self, struct lm_err *err)
{
    return open_as(self, true, err);
}

bool
lm_journal_open_lightly(struct lm_journal *self, struct lm_err *err)
{
    return open_as(self, false, err);
}

bool
lm_journal_commit(struct lm_journal *self, struct lm_err *err)
{
    return lm_conn_commit(self->conn, "journal_before_commit",
                          "journal_after_commit_sent", err);
}

bool
lm_journal_write(struct lm_journal *self, const char *sql,
                 struct lm_values values, struct lm_err *err)
{
    if (lm_journal_open(self, err) &&
        lm_journal_command(self, sql, values, err) &&
        lm_journal_commit(self, err))
        return true;
    lm_conn_rollback(self->conn);
    return false;
}

char *
lm_journal_bytea(const char *bytes, size_t len)
{
    struct lm_buf buf = LM_BUF_INIT;

    lm_sql_add_bytea(&buf, bytes, len);
    return lm_buf_take(&buf);
}

int64_t
lm_journal_backend_pid(const struct lm_journal *self)
{
    return lm_conn_is_pooled(self->conn) ? 0 : lm_conn_backend_pid(self->conn);
}

char *
lm_journal_array(const char *const *texts, int count)
{
    struct lm_buf buf = LM_BUF_INIT;

    lm_sql_add_array(&buf, texts, count);
    return lm_buf_take(&buf);
}

char *
lm_journal_key_array(const struct lm_key *key)
{
    if (key->texts == NULL)
        return NULL;
    return lm_journal_array((const char *const *)key->texts, key->count);
}

const char *
lm_journal_host(char *host, size_t size)
{
    if (gethostname(host, size) != 0)
        snprintf(host, size, "unknown");
    host[size - 1] = '\0';
    return host;
}
