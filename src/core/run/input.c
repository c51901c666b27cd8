/* SPDX-License-Identifier: MIT */
/*
 * A run that reads a file. Its identity has the file's hash. The first step
 * loads the file into a table of the journal, in one transaction: a load that
 * is interrupted leaves nothing. From then on the run reads that table, and
 * nobody needs the file.
 */

#include "core/journal/input.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/input/load.h"
#include "core/run/runner.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LOCK_MS = 2000, TELL_MS = 10000, MB = 1000000 };

/* -- the identity ------------------------------------------------------------ */

/* A JSON object with one more field. */
static char *
add_field(const char *object, const char *name, const char *value)
{
    bool empty = strcmp(object, "{}") == 0;

    return lm_format("{\"%s\":%s%s%s", name, value, empty ? "" : ",",
                     object + 1);
}

static void
set_identity(struct lm_runner_input *self, const struct lm_migration *m,
             const char *sha256)
{
    char value[sizeof self->sha256 + 2];

    LM_ERR_COPY(self->sha256, sha256);
    snprintf(value, sizeof value, "\"%s\"", self->sha256);
    free(self->args_json);
    free(self->given);
    self->args_json = add_field(m->args_json, LM_JOURNAL_INPUT_ARG, value);
    self->given = add_field(m->arguments.given, LM_JOURNAL_INPUT_ARG, value);
}

void
lm_runner_init_input(struct lm_runner *self)
{
    const struct lm_input_file *file = self->options->input;
    struct lm_runner_input *input = &self->input;

    input->ready = self->migration->input == NULL;
    if (input->ready)
        return;
    input->declared = add_field(self->migration->arguments.declared,
                                LM_JOURNAL_INPUT_ARG, "{\"type\":\"string\"}");
    if (file == NULL)
        return;
    input->file = (struct lm_run_file){file->name, file->sha256, file->bytes};
    set_identity(input, self->migration, file->sha256);
}

void
lm_runner_release_input(struct lm_runner *self)
{
    free(self->input.args_json);
    free(self->input.given);
    free(self->input.declared);
}

void
lm_runner_describe_input(const struct lm_runner *self,
                         struct lm_run_request *request)
{
    const struct lm_runner_input *input = &self->input;

    if (input->declared == NULL)
        return;
    request->arguments.declared = input->declared;
    request->file = input->file;
    request->settled = request->settled && self->fingerprint != NULL;
    if (input->args_json != NULL) {
        request->args_json = input->args_json;
        request->arguments.given = input->given;
    }
}

bool
lm_runner_identify_input(struct lm_runner *self, struct lm_run_request *request,
                         struct lm_err *err)
{
    struct lm_runner_input *input = &self->input;
    char found[sizeof input->sha256];

    if (self->migration->input == NULL || input->sha256[0] != '\0')
        return true;
    if (!self->has_journal || self->options->again || self->options->restart)
        return lm_journal_fail_without_input(request->script, err);
    if (!lm_journal_find_input(&self->lane.journal, request, found,
                               sizeof found, err))
        return false;
    if (found[0] != '\0')
        set_identity(input, self->migration, found);
    lm_runner_describe_input(self, request);
    return true;
}

/* -- the table ---------------------------------------------------------------- */

/* The base query reads the table from now on. */
static bool
read_from(struct lm_runner *self, const char *table, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;

    if (!m->ops->read_input(m->self, table, &self->tuned, err))
        return false;
    self->input.ready = true;
    return true;
}

static bool
fail_without_file(int64_t run_id, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_SCRIPT,
               "run %" PRId64 " was begun without a file, and the script reads "
               "one now",
               run_id);
    return lm_err_hint(err, "Change the script back to continue that run, or "
                            "begin another one: --input FILE without "
                            "--adopt.");
}

static bool
check_columns(struct lm_runner *self, struct lm_err *err)
{
    const struct lm_input *input = self->migration->input;
    const char **names = lm_calloc((size_t)input->column_count, sizeof *names);
    bool ok;

    for (int i = 0; i < input->column_count; i++)
        names[i] = input->columns[i].name;
    ok = lm_journal_check_input_columns(&self->lane.journal, self->run.id,
                                        names, input->column_count, err);
    free(names);
    return ok;
}

/* Does the base query read the table of the run already? *loaded: it can. */
static bool
look_at_table(struct lm_runner *self, bool *loaded, struct lm_err *err)
{
    struct lm_journal *journal = &self->lane.journal;
    struct lm_run_input found;
    char *table;
    bool ok;

    if (!lm_journal_read_input(journal, self->run.id, &found, err))
        return false;
    if (!found.there)
        return fail_without_file(self->run.id, err);
    *loaded = found.loaded;
    LM_ERR_COPY(self->input.name, found.name);
    if (!found.loaded)
        return true;
    self->input.rows = found.rows;
    table = lm_journal_input_table(journal, self->run.id);
    ok =
        (found.readable || lm_journal_open_input(journal, self->run.id, err)) &&
        check_columns(self, err) && read_from(self, table, err);
    if (!ok && lm_err_is_state(err, "42P01")) {
        lm_err_set(err, LM_ERR_FAILED, "the table %s, which has %s, is gone",
                   table, found.name);
        lm_err_hint(err,
                    "\"luamig run\" with --restart and --input loads the file "
                    "again for a new run. That also migrates the rows which "
                    "run %" PRId64 " has done.",
                    self->run.id);
    }
    free(table);
    return ok;
}

bool
lm_runner_look_at_input(struct lm_runner *self, bool found, struct lm_err *err)
{
    bool ignored;

    return self->input.ready || !found || look_at_table(self, &ignored, err);
}

static struct lm_input_columns
columns_of(const struct lm_runner *self, const struct lm_input_types *types)
{
    return (struct lm_input_columns){types->names, types->oids,
                                     types->modifiers,
                                     self->migration->input->column_count};
}

bool
lm_runner_check_input(struct lm_runner *self, struct lm_err *err)
{
    const struct lm_input *input = self->migration->input;
    struct lm_txn txn = lm_lane_txn(&self->lane);
    struct lm_journal *journal = &self->lane.journal;
    struct lm_input_types types = {.oids = NULL};
    struct lm_input_columns columns;
    struct lm_reader *reader = NULL;
    bool ok = lm_txn_begin(self->lane.conn, &txn, err) &&
              lm_input_find_types(self->lane.conn, input, &types, err) &&
              (self->options->input == NULL ||
               lm_reader_open(&reader, input, self->options->input, types.kinds,
                              err));

    lm_reader_close(reader);
    columns = columns_of(self, &types);
    ok = ok && lm_journal_check_input_types(journal, &columns, err);
    lm_input_types_release(&types);
    lm_conn_rollback(self->lane.conn);
    return ok && lm_journal_check_input_published(journal, err);
}

void
lm_runner_forget_input(struct lm_runner *self)
{
    if (self->migration->input == NULL)
        return;
    self->input.ready = false;
    free(self->fingerprint);
    self->fingerprint = NULL;
}

bool
lm_runner_may_load(const struct lm_runner *self, const struct lm_run *run,
                   struct lm_err *err)
{
    if (self->input.ready || self->options->input != NULL ||
        self->options->join)
        return true;
    lm_err_set(err, LM_ERR_USAGE, "run %" PRId64 " has not loaded %s yet",
               run->id, self->input.name);
    return lm_err_hint(err, "Give the file once more: --input FILE.");
}

bool
lm_runner_read_loaded(struct lm_runner *self, struct lm_err *err)
{
    bool loaded = true;

    if (self->input.ready)
        return true;
    if (!look_at_table(self, &loaded, err))
        return false;
    return loaded ||
           lm_err_set(err, LM_ERR_FAILED,
                      "run %" PRId64 " has not loaded its file", self->run.id);
}

/* -- loading ------------------------------------------------------------------- */

static bool
should_end(void *arg)
{
    struct lm_runner *self = arg;

    LM_FAULT("input_block");
    return lm_stop_level() > 0 || lm_mailbox_wants_end(self->requests.mailbox);
}

static void
tell(void *arg, int64_t bytes, int64_t rows)
{
    struct lm_runner *self = arg;
    struct lm_runner_input *input = &self->input;
    int64_t now = lm_clock_ms();

    if (now - input->told_ms < TELL_MS)
        return;
    input->told_ms = now;
    lm_log(LM_LOG_INFO, "loading %s: %s records, %.1f of %.1f MB",
           input->file.name, lm_clock_count(rows).text, (double)bytes / MB,
           (double)input->file.bytes / MB);
}

static bool
make_table(struct lm_runner *self, const struct lm_input_types *types,
           struct lm_err *err)
{
    struct lm_input_columns columns = columns_of(self, types);

    return lm_journal_make_input(&self->lane.journal, self->run.id, &columns,
                                 err);
}

static bool
fill_table(struct lm_runner *self, const struct lm_input_types *types,
           struct lm_err *err)
{
    struct lm_journal *journal = &self->lane.journal;
    char *table = lm_journal_input_table(journal, self->run.id);
    char *name = lm_journal_input_name(self->run.id);
    struct lm_input_load load = {.input = self->migration->input,
                                 .file = self->options->input,
                                 .types = types,
                                 .table = table,
                                 .name = name,
                                 .is_new = true,
                                 .should_end = should_end,
                                 .tell = tell,
                                 .arg = self};
    bool ok = lm_input_load(self->lane.conn, &load, &self->input.rows, err);

    if (!ok)
        self->input.refused = err->kind == LM_ERR_FAILED;
    free(table);
    free(name);
    return ok;
}

/* One transaction, of any length. */
static bool
load_in_transaction(struct lm_runner *self, struct lm_err *err)
{
    struct lm_txn txn = lm_lane_txn(&self->lane);
    struct lm_input_types types = {.oids = NULL};
    struct lm_conn *conn = self->lane.conn;
    bool ok;

    txn.isolation = NULL; /* COPY (FREEZE) wants no older snapshot */
    txn.statement_timeout_ms = 0;
    txn.lock_timeout_ms = LOCK_MS;
    ok = lm_txn_begin(conn, &txn, err) &&
         lm_input_find_types(conn, self->migration->input, &types, err) &&
         make_table(self, &types, err) && fill_table(self, &types, err) &&
         lm_journal_finish_input(&self->lane.journal, &self->run,
                                 self->input.rows, err) &&
         lm_conn_commit(conn, "input_before_commit", "input_after_commit_sent",
                        err);
    lm_input_types_release(&types);
    if (ok)
        self->run.seq++;
    return ok;
}

static bool
load(struct lm_runner *self, struct lm_err *err)
{
    int64_t begun_ms = lm_clock_ms();

    if (self->options->input == NULL)
        return lm_journal_fail_without_input(self->migration->name, err);
    lm_journal_drop_inputs(&self->lane.journal);
    lm_holding_waits_for(&self->holding, "its file to be loaded");
    lm_runner_renew_lease_and_status(self);
    lm_log(LM_LOG_INFO, "loading %s", self->input.file.name);
    self->input.told_ms = begun_ms;
    lm_progress_hold_begin(&self->gauge.progress, "loading");
    if (!load_in_transaction(self, err)) {
        lm_progress_hold_end(&self->gauge.progress);
        lm_holding_waits_for(&self->holding, NULL);
        /* A request ends the load, and no signal: it begins anew. */
        lm_conn_rollback(self->lane.conn);
        return err->kind == LM_ERR_INTERRUPT && lm_stop_level() == 0;
    }
    lm_progress_hold_end(&self->gauge.progress);
    lm_holding_waits_for(&self->holding, NULL);
    LM_FAULT("input_after_commit");
    lm_log(LM_LOG_INFO, "%s is loaded: %s records in %s", self->input.file.name,
           lm_clock_count(self->input.rows).text,
           lm_clock_span(lm_clock_ms() - begun_ms).text);
    return true;
}

/* What a run of a table has done before it began. */
static bool
check_query(struct lm_runner *self, struct lm_err *err)
{
    struct lm_key start = {NULL, 0};
    bool ok = lm_runner_look_again(self, err)
                  ? lm_runner_check(self, err) &&
                        lm_runner_find_start(self, &start, err)
                  : lm_runner_may_look_later(self, self->run.started, err);

    lm_key_release(&start);
    if (ok)
        lm_runner_watch_tables(self);
    ok = ok || lm_runner_may_look_later(self, self->run.started, err);
    self->input.ready = ok;
    return ok;
}

bool
lm_runner_take_input(struct lm_runner *self, struct lm_err *err)
{
    bool loaded = false;

    if (!look_at_table(self, &loaded, err))
        return false;
    return loaded ? check_query(self, err) : load(self, err);
}

bool
lm_runner_load_for_dry_run(struct lm_runner *self, struct lm_err *err)
{
    char *table = NULL;
    bool ok;

    if (self->migration->input == NULL)
        return true;
    if (self->options->input == NULL)
        return lm_journal_fail_without_input(self->migration->name, err);
    ok = lm_input_load_temporary(self->lane.conn, self->migration,
                                 self->options->input, &table,
                                 &self->input.rows, err) &&
         read_from(self, table, err);
    free(table);
    return ok;
}

void
lm_runner_leave_input(struct lm_runner *self)
{
    if (self->migration->input == NULL || self->lane.conn == NULL ||
        !lm_conn_is_up(self->lane.conn))
        return;
    lm_conn_rollback(self->lane.conn);
    lm_journal_drop_inputs(&self->lane.journal);
}
