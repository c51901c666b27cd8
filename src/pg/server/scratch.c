/* SPDX-License-Identifier: MIT */
/*
 * Throw-away databases: CREATE DATABASE ... TEMPLATE, one in advance.
 *
 * A copy takes the server some tens of milliseconds. So copies are made and
 * dropped by requests that nothing waits for, while the test does other
 * things. Each request has its own sync, because the server cannot create a
 * database in a transaction with other statements.
 */

#include "pg/server/scratch.h"

#include "pg/conn/private.h"
#include "pg/server/server.h"

#include <stdlib.h>
#include <string.h>

static const char scheme[] = "postgresql:///";

struct lm_scratch {
    struct lm_server *server;
    struct lm_conn *conn; /* in database "template1" */
    int last;             /* number of the last copy that was taken */
    bool is_ahead;        /* the one after it is being made */
};

/* The server's conninfo, with another database in place of "postgres". */
static char *
conninfo_of(const struct lm_scratch *self, const char *database)
{
    const char *whole = lm_server_conninfo(self->server);

    return lm_format("%s%s%s", scheme, database, strchr(whole, '?'));
}

static bool
connect_admin(struct lm_scratch *self, struct lm_err *err)
{
    struct lm_conn_options how = {.application_name = "luamig test"};
    char *conninfo = conninfo_of(self, "template1");
    bool ok = lm_conn_open(&self->conn, conninfo, &how, err);

    free(conninfo);
    return ok;
}

bool
lm_scratch_start(struct lm_scratch **out, const char *schema_file,
                 struct lm_err *err)
{
    struct lm_scratch *self = lm_calloc(1, sizeof *self);

    *out = NULL;
    if (lm_server_start_scratch(&self->server, err) &&
        (schema_file == NULL ||
         lm_server_load(self->server, schema_file, err)) &&
        connect_admin(self, err)) {
        *out = self;
        return true;
    }
    lm_scratch_free(self);
    return false;
}

void
lm_scratch_free(struct lm_scratch *self)
{
    if (self == NULL)
        return;
    lm_conn_close(self->conn);
    lm_server_free(self->server);
    free(self);
}

const char *
lm_scratch_template(const struct lm_scratch *self)
{
    return lm_server_conninfo(self->server);
}

static bool
post(struct lm_scratch *self, const char *sql, struct lm_err *err)
{
    return lm_conn_post_command(self->conn, sql, err) &&
           lm_pipeline_send_sync(self->conn, err) &&
           lm_conn_push(self->conn, err);
}

static void
write_create(const struct lm_scratch *self, int number, struct lm_buf *sql)
{
    lm_buf_printf(sql, "CREATE DATABASE w%d TEMPLATE postgres", number);
    if (lm_conn_server_version(self->conn) >= 150000)
        lm_buf_puts(sql, " STRATEGY file_copy"); /* nothing is synced */
}

/* Begins to make the next copy. If that fails, lm_scratch_take will see. */
static void
run_ahead(struct lm_scratch *self)
{
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_err ignored;

    write_create(self, self->last + 1, &sql);
    self->is_ahead = post(self, lm_buf_text(&sql), &ignored);
    lm_buf_release(&sql);
}

bool
lm_scratch_take(struct lm_scratch *self, char **conninfo, struct lm_err *err)
{
    struct lm_buf text = LM_BUF_INIT;
    bool ok = lm_conn_flush(self->conn, err);

    if (ok && !self->is_ahead) {
        write_create(self, self->last + 1, &text);
        ok = lm_conn_command(self->conn, lm_buf_text(&text), err);
        lm_buf_clear(&text);
    }
    self->is_ahead = false;
    if (ok) {
        lm_buf_printf(&text, "w%d", ++self->last);
        *conninfo = conninfo_of(self, lm_buf_text(&text));
        run_ahead(self);
    }
    lm_buf_release(&text);
    return ok;
}

void
lm_scratch_drop(void *scratch, const char *conninfo)
{
    const char *name = conninfo + strlen(scheme);
    char *sql = lm_format("DROP DATABASE IF EXISTS %.*s WITH (FORCE)",
                          (int)strcspn(name, "?"), name);
    struct lm_err ignored;

    (void)!post(scratch, sql, &ignored);
    free(sql);
}
