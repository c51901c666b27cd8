/* SPDX-License-Identifier: MIT */
/* Commands that look into the journal, of any run, from anywhere. */

#include "cli/look.h"

#include "core/journal.h"
#include "pg/conn.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEADLINE_MS = 30000 };

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
    lm_database_choice_release(&self->choice);
    lm_project_release(&self->project);
    lm_which_release(&self->which);
}

bool
lm_look_option(struct lm_look *self, int code)
{
    if (lm_database_option(&self->choice, code))
        return true;
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

static bool
connect(struct lm_look *self, const struct lm_command *command,
        struct lm_err *err)
{
    char name[64];
    struct lm_conn_options how = {
        .application_name = name, .interruptible = true, .watched = true};

    snprintf(name, sizeof name, "luamig: %s", command->name);
    if (!lm_conn_open(&self->conn, self->database.conninfo, &how, err))
        return false;
    lm_conn_warn_unencrypted(self->conn);
    lm_conn_set_deadline(self->conn, DEADLINE_MS);
    return true;
}

bool
lm_look_open(struct lm_look *self, const struct lm_command *command,
             bool *exists, struct lm_err *err)
{
    struct lm_journal journal = {.schema = self->schema};
    int version = 0;

    if (!lm_project_open(&self->project, err) ||
        !lm_database_resolve(&self->database, &self->project, &self->choice,
                             NULL, err) ||
        !connect(self, command, err))
        return false;
    journal.conn = self->conn;
    if (!lm_journal_installed(&journal, &version, err))
        return false;
    *exists = version != 0;
    if (*exists && version != lm_journal_version())
        return fail_version(self, version, err);
    return !*exists || lm_journal_check_whole(&journal, version, err);
}

bool
lm_look_again(struct lm_look *self, const struct lm_command *command,
              struct lm_err *err)
{
    lm_conn_close(self->conn);
    self->conn = NULL;
    return connect(self, command, err);
}

bool
lm_look_name(struct lm_look *self, const char *word, char **name,
             struct lm_err *err)
{
    lm_which_release(&self->which);
    lm_which_find(&self->which, &self->project, word);
    return lm_which_ask(&self->which, self->conn, self->schema, name, err);
}

/* A number is a run's, anything else a script. */
static bool
find_run(struct lm_look *self, const char *word, struct lm_status_run *run,
         struct lm_err *err)
{
    char *name = NULL;
    int64_t id;
    bool ok;

    if (!lm_cli_number(word, 1, &id) && !lm_look_name(self, word, &name, err))
        return false;
    ok = lm_status_find(self->conn, self->schema, name != NULL ? name : word,
                        run, err);
    free(name);
    return ok;
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
    return find_run(self, which, run, err);
}
