/* SPDX-License-Identifier: MIT */
/*
 * Getting hold of a connection and of the run, at the start and after the
 * connection broke.
 */

#include "core/runner_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"
#include "pg/own.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    START_PATIENCE_MS = 30000,      /* for a server that is starting */
    RECONNECT_PATIENCE_MS = 120000, /* for one that has gone */
    ACQUIRE_ATTEMPTS = 10,
    ACQUIRE_BASE_MS = 50,
    ACQUIRE_CAP_MS = 2000
};

/* luamig's own SQLSTATE, beside those that the journal raises. */
static const char another_server[] = "LM003";

struct lm_txn
lm_runner_txn(const struct lm_runner *self)
{
    const struct lm_migration *m = self->migration;
    struct lm_txn txn = {.isolation = m->isolation,
                         .durable = true,
                         .statement_timeout_ms = m->statement_timeout_ms,
                         .lock_timeout_ms = m->lock_timeout_ms,
                         .timezone = m->timezone,
                         .application_name = self->application_name,
                         .row_security = m->row_security};

    return txn;
}

/* Behind one address there may be another server after a while; what it holds
 * of the run, a copy perhaps, is not this run. */
static bool
check_identity(struct lm_runner *self, struct lm_err *err)
{
    char found[sizeof self->server];

    if (!lm_preflight_identity(self->conn, found, sizeof found, err))
        return false;
    if (self->server[0] == '\0')
        memcpy(self->server, found, sizeof found);
    if (found[0] == '\0' || strcmp(self->server, found) == 0)
        return true;
    lm_err_set(err, LM_ERR_CONNECT, "the server at %s is another one",
               lm_conn_target(self->conn));
    LM_ERR_COPY(err->sqlstate, another_server);
    lm_err_detail(err,
                  "Its system identifier is %s, that of the server where "
                  "the run is at work is %s.",
                  found, self->server);
    lm_err_hint(err, "Make the address lead to the server of the run, and run "
                     "the same command again.");
    return false;
}

static void
tell_pooled(const struct lm_runner *self)
{
    bool first = self->server[0] == '\0';

    if (first && lm_conn_is_pooled(self->conn)) {
        lm_log(LM_LOG_INFO,
               "a connection pooler stands before the server at %s; nothing "
               "is kept in its sessions",
               lm_conn_target(self->conn));
    }
}

/* What a script leaves open is UTC, which is not what psql would do there. */
static void
tell_time_zone(const struct lm_runner *self)
{
    static const char *const same[] = {"UTC",     "Etc/UTC", "GMT",
                                       "Etc/GMT", "UCT",     "Etc/UCT"};
    const char *zone = lm_conn_setting(self->conn, "TimeZone");

    if (self->server[0] != '\0' || self->migration->timezone != NULL ||
        zone == NULL)
        return;
    for (size_t i = 0; i < LM_COUNT(same); i++) {
        if (strcmp(zone, same[i]) == 0)
            return;
    }
    lm_log(LM_LOG_WARNING,
           "timestamps are read and written in UTC, not in the session's time "
           "zone; config.timezone = \"%s\" would be that",
           zone);
}

/* Since version 16 the server writes each byte that is not ASCII as \\xNN: a
 * question mark for each such character. */
static void
add_ascii(struct lm_buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;

        if ((c & 0xC0) != 0x80) /* the rest of a character */
            lm_buf_putc(out, (char)(c >= 0x20 && c < 0x7F ? c : '?'));
    }
}

void
lm_runner_name_session(const struct lm_runner *self, const char *prefix,
                       char *name, size_t size)
{
    struct lm_buf script = LM_BUF_INIT;
    char run[40] = "";
    const char *shown;
    const char *cut = "";
    size_t room;

    if (self->run.id > 0)
        snprintf(run, sizeof run, "run %" PRId64 " of ", self->run.id);
    if (self->dry != NULL)
        snprintf(run, sizeof run, "dry run of ");
    room = size - strlen(prefix) - strlen(": ") - strlen(run) - 1;
    add_ascii(&script, self->migration->name);
    shown = lm_buf_text(&script);
    if (script.len > room) {
        cut = "...";
        shown += script.len - (room - strlen(cut));
    }
    snprintf(name, size, "%s: %s%s%s", prefix, run, cut, shown);
    lm_buf_release(&script);
}

static void
name_session(struct lm_runner *self)
{
    lm_runner_name_session(self, "luamig", self->application_name,
                           sizeof self->application_name);
}

static bool
open_connection(struct lm_runner *self, struct lm_err *err)
{
    struct lm_conn_options how = {.application_name = self->application_name,
                                  .interruptible = true,
                                  .watched = true,
                                  .silence_ms = self->options->silence_ms};

    name_session(self);
    if (!lm_conn_open(&self->conn, self->options->conninfo, &how, err))
        return false;
    self->journal.conn = self->conn;
    lm_monitor_set_backend(
        self->monitor,
        lm_conn_is_pooled(self->conn) ? 0 : lm_conn_backend_pid(self->conn));
    tell_pooled(self);
    tell_time_zone(self);
    lm_conn_warn_unencrypted(self->conn);
    return lm_preflight_server(self->conn, err) && check_identity(self, err) &&
           lm_journal_hide(&self->journal, err);
}

static void
close_connection(struct lm_runner *self)
{
    lm_conn_close(self->conn);
    self->conn = self->journal.conn = NULL;
}

/* Somebody else's lock, or a cancel that was meant for another statement. */
static bool
passes(const struct lm_err *err)
{
    static const char *const states[] = {"55P03", "57014", "40P01", "40001"};

    for (size_t i = 0; err->kind != LM_ERR_INTERRUPT && i < LM_COUNT(states);
         i++) {
        if (lm_err_is_state(err, states[i]))
            return true;
    }
    return false;
}

bool
lm_runner_connect(struct lm_runner *self, struct lm_err *err)
{
    int64_t patience = lm_clock_ms() + START_PATIENCE_MS;

    while (!open_connection(self, err)) {
        bool starting = err->kind == LM_ERR_CONNECT && self->conn == NULL &&
                        lm_conn_is_starting(self->options->conninfo);

        close_connection(self);
        if (!(starting || passes(err)) || lm_clock_ms() > patience ||
            !lm_stop_sleep_ms(250))
            return false;
    }
    return true;
}

/* In a transaction like those of the batches: its settings decide what the
 * base query means, and whether row security would hide rows of it. */
static bool
check_query(struct lm_runner *self, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_txn txn = lm_runner_txn(self);
    bool nested = lm_conn_has_transaction(self->conn); /* a dry run's */
    bool ok;

    if (m->one_shot)
        return true;
    txn.read_only = true;
    ok = (nested || (lm_txn_begin(self->conn, &txn, err) &&
                     lm_conn_flush(self->conn, err))) &&
         lm_preflight_query(self->conn, m->base_query, m->params,
                            m->param_count, m->key, m->key_count,
                            m->assume_unique, &self->query, err);
    if (!nested)
        lm_conn_rollback(self->conn);
    if (!ok)
        lm_preflight_explain(m, err);
    return ok;
}

bool
lm_runner_look_again(struct lm_runner *self, struct lm_err *err)
{
    struct lm_base_query before;

    if (!lm_conn_forget(self->conn, err))
        return false;
    before = self->query;
    memset(&self->query, 0, sizeof self->query);
    if (!check_query(self, err)) {
        /* What was known is good enough for whoever tries again. */
        lm_base_query_release(&self->query);
        self->query = before;
        return false;
    }
    lm_base_query_release(&before);
    if (self->acquired && self->dry == NULL &&
        (!lm_runner_take_fingerprint(self, err) ||
         !lm_journal_note_fingerprint(&self->journal, self->run.id,
                                      self->fingerprint, err)))
        return false;
    self->look_again = false;
    return true;
}

/* A start_after that is no key would stay in the journal for ever. */
static bool
check_start_after(struct lm_runner *self, const struct lm_key *key,
                  struct lm_err *err)
{
    struct lm_txn txn = lm_runner_txn(self);
    bool ok;

    if (key->texts == NULL)
        return true;
    txn.read_only = true;
    ok = lm_txn_begin(self->conn, &txn, err) &&
         lm_page_check_key(self->conn, &self->query, key->texts, err);
    lm_conn_rollback(self->conn);
    if (!ok && lm_err_is_state(err, "22")) {
        struct lm_buf text = LM_BUF_INIT;

        lm_page_describe_key(&text, &self->query, key->texts);
        lm_err_prefix(err, "config.start_after does not fit the key: %s",
                      lm_buf_text(&text));
        err->kind = LM_ERR_SCRIPT;
        lm_buf_release(&text);
    }
    return ok;
}

bool
lm_runner_find_start(struct lm_runner *self, struct lm_key *cursor,
                     struct lm_err *err)
{
    const struct lm_migration *m = self->migration;

    if (m->start_after != NULL)
        lm_key_copy(cursor, m->start_after, m->key_count);
    return check_start_after(self, cursor, err);
}

static bool
fits_key(const struct lm_runner *self, const struct lm_key *key)
{
    if (key->count != self->query.key_count)
        return false;
    for (int i = 0; i < key->count; i++) {
        if (key->texts[i] == NULL)
            return false;
    }
    return true;
}

/* What the journal holds of a run may have been edited by hand. Without a
 * cursor the run would begin anew, so that is for runs without rows only. */
static bool
check_journal_keys(const struct lm_runner *self, struct lm_err *err)
{
    const struct lm_run *run = &self->run;
    const char *wrong = NULL;

    if (self->migration->one_shot)
        return true;
    if (run->cursor.texts != NULL ? !fits_key(self, &run->cursor)
                                  : run->batches > 0) {
        wrong = "cursor";
    } else if (run->bound.texts != NULL
                   ? !fits_key(self, &run->bound)
                   : run->bound_is_empty && run->batches > 0) {
        wrong = "bound";
    }
    if (wrong == NULL)
        return true;
    lm_err_set(err, LM_ERR_FAILED,
               "the journal's %s of run %" PRId64 " does not fit the key",
               wrong, run->id);
    lm_err_hint(err,
                "Set it right in the table \"progress\" of the schema "
                "\"%s\", or abandon that run and begin anew with --restart.",
                self->journal.schema);
    return false;
}

void
lm_runner_warn_of_volatile_calls(const struct lm_runner *self)
{
    if (self->query.volatile_calls == NULL)
        return;
    lm_log(LM_LOG_WARNING,
           "the base query calls volatile functions (%s): a page may be read "
           "again, and what is in it, and its keys, must not depend on them",
           self->query.volatile_calls);
}

static bool
begin_run(struct lm_runner *self, const struct lm_run_request *request,
          bool *begun, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_key cursor = {NULL, 0};
    bool ok;

    ok = lm_runner_find_start(self, &cursor, err) &&
         lm_journal_begin(&self->journal, request, &cursor, &self->run, begun,
                          err);
    lm_key_release(&cursor);
    if (ok && *begun) {
        lm_log(LM_LOG_INFO, "run %" PRId64 " of %s on %s", self->run.id,
               m->name, lm_conn_target(self->conn));
        lm_runner_warn_of_volatile_calls(self);
    }
    return ok;
}

static void
tell_resumed(const struct lm_runner *self)
{
    struct lm_buf where = LM_BUF_INIT;
    char rows[32];

    lm_clock_format_count(rows, sizeof rows, self->run.rows);
    if (self->run.cursor.texts != NULL &&
        self->run.cursor.count == self->query.key_count) {
        lm_buf_puts(&where, " after ");
        lm_page_describe_key(&where, &self->query, self->run.cursor.texts);
    }
    lm_log(LM_LOG_INFO,
           "resuming run %" PRId64 " of %s on %s%s: %s rows are "
           "done",
           self->run.id, self->migration->name, lm_conn_target(self->conn),
           lm_buf_text(&where), rows);
    if (self->run.script_changed) {
        lm_log(LM_LOG_WARNING,
               "the script has changed since run %" PRId64
               " began; the rows that are left are migrated by it as it is",
               self->run.id);
    }
    lm_runner_warn_of_volatile_calls(self);
    lm_buf_release(&where);
}

/* --restart: ends the unfinished run that was just taken over. */
static bool
abandon_run(struct lm_runner *self, struct lm_err *err)
{
    struct lm_txn txn = lm_runner_txn(self);
    struct lm_journal_end end = {"cancelled", LM_EXIT_CANCELLED, 0, NULL};
    char rows[32];

    txn.own = true;
    if (!lm_txn_begin(self->conn, &txn, err) ||
        !lm_journal_finish(&self->journal, &self->run, &end, err) ||
        !lm_conn_commit(self->conn, "abandon_before_commit",
                        "abandon_after_commit_sent", err))
        return false;
    lm_clock_format_count(rows, sizeof rows, self->run.rows);
    lm_log(LM_LOG_WARNING,
           "run %" PRId64 " is abandoned after %s rows in %" PRId64
           " batches; what it wrote stays",
           self->run.id, rows, self->run.batches);
    return true;
}

/* Whether a run ends at a bound is settled when it begins. */
static bool
check_follow_new(const struct lm_runner *self, struct lm_err *err)
{
    const struct lm_run *run = &self->run;
    bool follows = run->bound.texts == NULL && !run->bound_is_empty;

    if (self->migration->one_shot || !run->started ||
        follows == self->migration->follow_new)
        return true;
    lm_err_set(err, LM_ERR_SCRIPT,
               "config.follow_new was %s when run %" PRId64 " began",
               follows ? "true" : "false", run->id);
    lm_err_hint(err, "Set it back, or abandon that run and begin anew with "
                     "--restart.");
    return false;
}

/* The runner of a paused run may be alive, and then goes on by itself. */
static bool
ask_to_resume(struct lm_runner *self, struct lm_err *err)
{
    int64_t ignored;

    lm_log(LM_LOG_INFO, "run %" PRId64 " is paused; asking it to go on",
           self->run.id);
    return lm_journal_request(&self->journal, self->run.id, "resume", false,
                              NULL, NULL, &ignored, err);
}

static bool
take_run(struct lm_runner *self, const struct lm_run_request *request,
         bool *taken, struct lm_err *err)
{
    bool ended = false;

    if (strcmp(self->run.state, "paused") == 0 && !request->restart &&
        !ask_to_resume(self, err))
        return false;
    if (!lm_journal_take(&self->journal, request, &self->run, &ended, err))
        return false;
    *taken = false;
    if (ended)
        return true;
    if (request->restart)
        return abandon_run(self, err);
    *taken = true;
    if (!check_journal_keys(self, err))
        return false;
    tell_resumed(self);
    return lm_runner_warn_of_modules(self, false, err) &&
           check_follow_new(self, err);
}

static void
tell_changed_since(const struct lm_runner *self)
{
    if (self->run.script_changed) {
        lm_log(LM_LOG_WARNING,
               "the script has changed since run %" PRId64
               ", which is done; --again runs it as it is",
               self->run.id);
    }
}

/* Finds the script's run or begins one. Others may do the same at this very
 * moment, so whoever comes too late looks again. */
static bool
find_or_begin(struct lm_runner *self, const struct lm_run_request *request,
              struct lm_err *err)
{
    enum lm_journal_found found;

    if (!lm_journal_examine(&self->journal, request, err))
        return false;
    while (!self->acquired) {
        if (!lm_journal_find(&self->journal, request, &found, &self->run,
                             err) ||
            (self->run.adopted &&
             !lm_journal_adopt(&self->journal, request, &self->run, err)))
            return false;
        switch (found) {
        case LM_JOURNAL_FINISHED:
            if (self->options->adopt == 0 && !lm_runner_check_done(self, err))
                return false;
            tell_changed_since(self);
            if (!lm_runner_warn_of_modules(self, true, err))
                return false;
            self->outcome->ending = LM_END_DONE_ALREADY;
            return true;
        case LM_JOURNAL_CANCELLED:
            self->outcome->ending = LM_END_CANCELLED_ALREADY;
            return true;
        case LM_JOURNAL_NONE:
            if (!begin_run(self, request, &self->acquired, err))
                return false;
            break;
        case LM_JOURNAL_UNFINISHED:
            if (!take_run(self, request, &self->acquired, err))
                return false;
            break;
        }
    }
    return true;
}

/* A finished run is reported without looking at the query: its table may be
 * gone by then. */
static bool
is_finished(struct lm_runner *self, const struct lm_run_request *request,
            bool *finished, struct lm_err *err)
{
    enum lm_journal_found found = LM_JOURNAL_NONE;
    int version = 0;

    *finished = false;
    if (!lm_journal_installed(&self->journal, &version, err))
        return lm_err_is_state(err, "42501"); /* install will explain */
    if (version > 0 && version < lm_journal_version()) {
        if (!lm_journal_install(&self->journal, err))
            return false;
        version = lm_journal_version();
    }
    self->has_journal = version == lm_journal_version();
    if (!self->has_journal)
        return true;
    if (!lm_journal_check_whole(&self->journal, version, err) ||
        (!request->restart &&
         !lm_journal_examine(&self->journal, request, err)) ||
        !lm_journal_find(&self->journal, request, &found, &self->run, err))
        return false;
    *finished = found == LM_JOURNAL_FINISHED || found == LM_JOURNAL_CANCELLED;
    return true;
}

static bool
acquire_once(struct lm_runner *self, struct lm_run_request *request,
             struct lm_err *err)
{
    bool finished = false;

    lm_base_query_release(&self->query);
    if (!is_finished(self, request, &finished, err))
        return false;
    if (!finished && (!check_query(self, err) || !lm_runner_check(self, err) ||
                      !lm_journal_install(&self->journal, err) ||
                      !lm_runner_take_fingerprint(self, err)))
        return false;
    request->fingerprint = self->fingerprint;
    return find_or_begin(self, request, err);
}

/* Nothing has happened yet, so it may be looked at again. */
static bool
may_acquire_again(struct lm_runner *self, int attempt, struct lm_err *err)
{
    if (attempt > ACQUIRE_ATTEMPTS || lm_stop_level() > 0)
        return false;
    if (err->kind == LM_ERR_LOST) {
        struct lm_err why = *err;

        return lm_runner_connect_again(self, &why, err);
    }
    if (!passes(err))
        return false;
    lm_log(LM_LOG_DEBUG, "%s (SQLSTATE %s); once more", err->message,
           err->sqlstate);
    lm_conn_rollback(self->conn);
    return lm_stop_sleep_ms(
        lm_clock_backoff_ms(attempt, ACQUIRE_BASE_MS, ACQUIRE_CAP_MS));
}

struct lm_run_request
lm_runner_request(const struct lm_runner *self)
{
    const struct lm_migration *m = self->migration;

    return (struct lm_run_request){
        .script = m->name,
        .origin = m->origin,
        .source = m->source,
        .args_json = m->args_json,
        .arguments = m->arguments,
        .settled = m->one_shot || !m->ops->has(m->self, LM_CALL_ON_START),
        .config_json = m->config_json,
        .key_columns = m->key,
        .key_count = m->one_shot ? 0 : m->key_count,
        .again = self->options->again || m->repeatable,
        .restart = self->options->restart,
        .adopt = self->options->adopt};
}

bool
lm_runner_acquire(struct lm_runner *self, struct lm_err *err)
{
    struct lm_run_request request = lm_runner_request(self);

    if (!lm_runner_connect(self, err))
        return false;
    for (int attempt = 1; !acquire_once(self, &request, err); attempt++) {
        if (!may_acquire_again(self, attempt, err))
            return false;
    }
    name_session(self);
    return true;
}

/* -- reconnecting ----------------------------------------------------- */

/* Is it worth trying again to reconnect? */
static bool
may_pass(const struct lm_err *err)
{
    if (lm_err_is_state(err, another_server))
        return false;
    return err->kind == LM_ERR_CONNECT || err->kind == LM_ERR_LOST ||
           (err->kind == LM_ERR_DATABASE &&
            (lm_err_is_state(err, "53") || lm_err_is_state(err, "57")));
}

static void
compare_with_server(struct lm_runner *self, int64_t believed_seq)
{
    int64_t lost = believed_seq - self->run.seq;

    if (lost > 0) {
        lm_log(LM_LOG_WARNING,
               "the server lost %" PRId64
               " acknowledged batches in a crash; cursor and rows went back "
               "together, and the rows are migrated again",
               lost);
    } else if (lost < 0) {
        lm_log(LM_LOG_INFO, "the commit in flight had succeeded");
    }
    self->ended = strncmp(self->run.state, "done", 4) == 0;
    self->paused = strcmp(self->run.state, "paused") == 0;
    self->waits_for = self->paused ? "paused" : NULL;
    self->pages_done = false; /* rows may have come back */
    lm_progress_set(&self->progress, self->run.rows, self->run.batches);
}

static bool
claim_again(struct lm_runner *self, struct lm_err *err)
{
    int64_t believed_seq = self->run.seq;

    if (!lm_journal_reclaim(&self->journal, &self->run, err))
        return false;
    lm_mailbox_poll_soon(self->mailbox);
    compare_with_server(self, believed_seq);
    return true;
}

static bool
connect_until(struct lm_runner *self, const struct lm_err *why,
              bool (*then)(struct lm_runner *, struct lm_err *),
              struct lm_err *err)
{
    int64_t patience = lm_clock_ms() + RECONNECT_PATIENCE_MS;

    lm_log(LM_LOG_WARNING, "%s%s%.*s; reconnecting", why->message,
           why->detail[0] != '\0' ? ": " : "", (int)strcspn(why->detail, "\n"),
           why->detail);
    lm_progress_hold_begin(&self->progress, "reconnecting");
    lm_monitor_give_way(self->monitor);
    for (int attempt = 1;; attempt++) {
        int64_t wait = lm_clock_backoff_ms(attempt, 50, 5000);

        close_connection(self);
        if (lm_stop_level() > 0 || !lm_stop_sleep_ms(wait)) {
            return lm_err_set(err, LM_ERR_INTERRUPT,
                              "stopped while reconnecting");
        }
        if (open_connection(self, err) && (then == NULL || then(self, err))) {
            lm_progress_hold_end(&self->progress);
            lm_log(LM_LOG_INFO, "reconnected to %s",
                   lm_conn_target(self->conn));
            return true;
        }
        if (!may_pass(err)) {
            close_connection(self);
            return false;
        }
        lm_log(LM_LOG_DEBUG, "%s: %s", err->message, err->detail);
        if (lm_clock_ms() > patience) {
            close_connection(self);
            lm_err_prefix(err, "gave up reconnecting");
            lm_err_hint(err, "Run the same command again once the server is "
                             "back; nothing is lost or done twice.");
            return false;
        }
    }
}

bool
lm_runner_connect_again(struct lm_runner *self, const struct lm_err *why,
                        struct lm_err *err)
{
    return connect_until(self, why, NULL, err);
}

bool
lm_runner_reconnect(struct lm_runner *self, const struct lm_err *why,
                    struct lm_err *err)
{
    return connect_until(self, why, claim_again, err) &&
           check_journal_keys(self, err);
}
