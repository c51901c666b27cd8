/* SPDX-License-Identifier: MIT */
/* Commands that look into the journal, of any run, from anywhere. */

#include "cli/look.h"

#include "core/journal.h"
#include "pg/conn.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
lm_look_init(struct lm_look *self)
{
    memset(self, 0, sizeof *self);
    self->schema = "luamig";
}

void
lm_look_release(struct lm_look *self)
{
    lm_conn_close(self->conn);
    lm_database_release(&self->database);
    free(self->url);
}

bool
lm_look_option(struct lm_look *self, int code)
{
    if (code == LM_LOOK_DB) {
        free(self->url);
        self->url = lm_database_take_url(optarg);
        return true;
    }
    if (code == LM_LOOK_SCHEMA)
        self->schema = optarg;
    return code == LM_LOOK_SCHEMA;
}

static bool
fail_version(const struct lm_look *self, int version, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_FAILED,
               "the tables in schema \"%s\" are of version %d, this luamig's "
               "of version %d",
               self->schema, version, lm_journal_version());
    lm_err_hint(err, version > lm_journal_version()
                         ? "Use the luamig that upgraded them, or a newer one."
                         : "The next \"luamig run\" upgrades them.");
    return false;
}

bool
lm_look_open(struct lm_look *self, const struct lm_command *command,
             bool *exists, struct lm_err *err)
{
    struct lm_journal journal = {.schema = self->schema};
    char name[64];
    struct lm_conn_options how = {.application_name = name,
                                  .interruptible = true};
    int version = 0;

    snprintf(name, sizeof name, "luamig: %s", command->name);
    if (!lm_database_resolve(&self->database, self->url, err) ||
        !lm_conn_open(&self->conn, self->database.conninfo, &how, err))
        return false;
    journal.conn = self->conn;
    if (!lm_journal_installed(&journal, &version, err))
        return false;
    *exists = version != 0;
    return !*exists || version == lm_journal_version() ||
           fail_version(self, version, err);
}

bool
lm_look_find(struct lm_look *self, const struct lm_command *command,
             const char *which, struct lm_status_run *run, struct lm_err *err)
{
    bool exists = false;

    if (!lm_look_open(self, command, &exists, err))
        return false;
    if (!exists) {
        return lm_err_set(err, LM_ERR_FAILED,
                          "luamig has not run in this database");
    }
    return lm_status_find(self->conn, self->schema, which, run, err);
}
