/* SPDX-License-Identifier: MIT */

#include "cli/target/look.h"

#include "core/journal/journal.h"
#include "pg/conn/conn.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    lm_status_script_release(&self->script);
}

bool
lm_look_parse(const struct lm_command *command, int argc, char **argv,
              void *into)
{
    if (!lm_cli_parse(command, argc, argv, into))
        return false;
    if (optind + 1 == argc)
        return true;
    lm_cli_usage(command, "%s takes one run", command->name);
    return false;
}

static bool
fail_version(const struct lm_look *self, int version, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_FAILED,
               "the tables in schema \"%s\" have version %d, this luamig needs "
               "version %d",
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
lm_look_runs(struct lm_look *self, const char *word, struct lm_err *err)
{
    int64_t id;

    lm_which_release(&self->which);
    lm_status_script_release(&self->script);
    if (lm_cli_number(word, 1, &id)) {
        self->script.runs = lm_format("{%" PRId64 "}", id);
        return true;
    }
    lm_which_find(&self->which, &self->project, word);
    return lm_which_ask(&self->which, self->conn, self->schema, &self->script,
                        err);
}

/* The word is a file, which has no run; a run of another one has its name. */
static bool
fail_other(const struct lm_look *self, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_FAILED, "%s has no run", self->which.path);
    lm_err_detail(err,
                  "Run %" PRId64
                  " has the same name, but another script began it: %s.",
                  self->script.other, self->script.other_path);
    return lm_err_hint(err, "If you mean that run, give its number.");
}

static bool
find_run(struct lm_look *self, const char *word, struct lm_status_run *run,
         struct lm_err *err)
{
    if (!lm_look_runs(self, word, err))
        return false;
    if (self->script.other > 0)
        return fail_other(self, err);
    return lm_status_find(self->conn, self->schema, self->script.runs,
                          self->script.name != NULL ? self->script.name : word,
                          run, err);
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

char *
lm_look_script(const struct lm_look *self, const struct lm_status_run *run)
{
    char *here;
    bool is_here;

    if (run->path[0] == '\0' || access(run->path, F_OK) != 0)
        return lm_project_path(&self->project, run->script);
    here = realpath(run->script, NULL);
    is_here = here != NULL && strcmp(here, run->path) == 0;
    free(here);
    return lm_strdup(is_here ? run->script : run->path);
}
