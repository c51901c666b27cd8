/* SPDX-License-Identifier: MIT */
/*
 * luamig check without a script: prints what names the database, then what
 * luamig finds in it. The first part is also printed without a connection,
 * because it is what the user has to correct. Only reads; does not create a
 * journal.
 */

#include "cli/report/check_db.h"

#include "base/record.h"
#include "base/show.h"
#include "cli/cli.h"
#include "pg/conn/conn.h"
#include "pg/conn/own.h"
#include "pg/conn/settings.h"

#include <string.h>

enum { DEADLINE_MS = 30000 };

static const char question[] = LM_OWN
    "SELECT pg_catalog.current_setting('server_version'), "
    "pg_catalog.pg_is_in_recovery(), current_user, "
    "pg_catalog.current_setting('default_transaction_read_only')::boolean";

enum column { COL_VERSION, COL_STANDBY, COL_ROLE, COL_READ_ONLY };

/* What is printed, in both forms. */
struct report {
    bool json;
    struct lm_buf fields;
};

static void
add_text(struct report *self, const char *name, const char *text,
         const char *if_null)
{
    if (self->json) {
        lm_record_text(&self->fields, name, text);
    } else {
        lm_out("%-15s %s\n", name, text != NULL ? text : if_null);
    }
}

static void
add_bool(struct report *self, const char *name, bool value)
{
    if (self->json) {
        lm_record_bool(&self->fields, name, value);
    } else {
        add_text(self, name, value ? "yes" : "no", NULL);
    }
}

/* Where the password comes from. libpq looks into its file by itself. */
static void
add_password(struct report *self, const struct lm_settings *settings,
             const struct lm_project *project, const struct lm_conn *conn)
{
    const char *from = settings->password_from;
    bool is_in_env = from != NULL && strcmp(from, "PGPASSWORD") == 0 &&
                     lm_dotenv_has_set(&project->env, "PGPASSWORD");

    if (is_in_env)
        from = "PGPASSWORD from .env";
    if (from == NULL && conn != NULL && lm_conn_used_password(conn))
        from = "the password file";
    add_text(self, "password", from,
             conn != NULL ? "none" : "none, unless the password file has one");
}

static void
add_settings(struct report *self, const struct lm_database *database,
             const struct lm_settings *settings)
{
    add_text(self, "source", database->source, "");
    if (settings->service != NULL || self->json)
        add_text(self, "service", settings->service, "");
    add_text(self, "host", settings->host, "a local socket");
    add_text(self, "port", settings->port, "");
    add_text(self, "database", settings->database, "");
    add_text(self, "user", settings->user, "");
    add_text(self, "sslmode", settings->sslmode, "");
}

static bool
add_server(struct report *self, struct lm_conn *conn, struct lm_err *err)
{
    struct lm_values none = {NULL, 0};
    struct lm_answer *result = NULL;

    if (!lm_conn_ask(conn, question, "1: t b t b", none, &result, err))
        return false;
    add_text(self, "connected", lm_conn_target(conn), "");
    add_text(self, "server_version", lm_answer_text(result, 0, COL_VERSION),
             "");
    add_bool(self, "standby", lm_answer_bool(result, 0, COL_STANDBY));
    add_bool(self, "read_only", lm_answer_bool(result, 0, COL_READ_ONLY));
    add_text(self, "role", lm_answer_text(result, 0, COL_ROLE), "");
    add_text(self, "encryption", lm_conn_encryption(conn), "none");
    add_bool(self, "pooler", lm_conn_is_pooled(conn));
    lm_answer_free(result);
    return true;
}

static bool
look(struct report *self, const struct lm_project *project,
     const struct lm_database *database, struct lm_err *err)
{
    struct lm_conn_options how = {.application_name = "luamig: check",
                                  .interruptible = true};
    struct lm_settings settings;
    struct lm_conn *conn = NULL;
    bool ok;

    lm_settings_read(&settings, database->conninfo);
    add_settings(self, database, &settings);
    ok = lm_conn_open(&conn, database->conninfo, &how, err);
    add_password(self, &settings, project, conn);
    if (ok) {
        lm_conn_warn_unencrypted(conn);
        lm_conn_set_deadline(conn, DEADLINE_MS);
        ok = add_server(self, conn, err);
    }
    lm_conn_close(conn);
    lm_settings_release(&settings);
    return ok;
}

int
lm_check_database(const struct lm_database_choice *choice, bool json)
{
    struct report report = {json, LM_BUF_INIT};
    struct lm_database database;
    struct lm_project project;
    struct lm_err err;
    bool ok;

    memset(&database, 0, sizeof database);
    ok = lm_project_open(&project, &err) &&
         lm_database_resolve(&database, &project, choice, NULL, &err) &&
         look(&report, &project, &database, &err);
    if (report.fields.len > 0)
        lm_record_out(&report.fields);
    lm_cli_finish_output(LM_EXIT_DONE);
    lm_buf_release(&report.fields);
    lm_database_release(&database);
    lm_project_release(&project);
    return ok ? LM_EXIT_DONE : lm_cli_fail(&err);
}
