/* SPDX-License-Identifier: MIT */
/*
 * Getting hold of a connection, at the start and after it broke; what was known
 * is looked at again then.
 */

#include "core/run/private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"
#include "pg/conn/own.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    START_PATIENCE_MS = 30000,     /* for a server that is starting */
    RECONNECT_PATIENCE_MS = 120000 /* for one that has gone */
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

static bool
open_connection(struct lm_runner *self, struct lm_err *err)
{
    struct lm_conn_options how = {.application_name = self->application_name,
                                  .interruptible = true,
                                  .watched = true,
                                  .silence_ms = self->options->silence_ms};

    lm_runner_name_session(self, "luamig", self->application_name,
                           sizeof self->application_name);
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
bool
lm_runner_passes(const struct lm_err *err)
{
    static const char *const states[] = {"55P03", "57014", "40P01", "40001"};

    for (size_t i = 0; err->kind != LM_ERR_INTERRUPT && i < LM_COUNT(states);
         i++) {
        if (lm_err_is_state(err, states[i]))
            return true;
    }
    return false;
}

/* What the journal calls the script: the database's encoding may lack some of
 * its characters. */
static void
fit_names(struct lm_runner *self)
{
    const struct lm_migration *m = self->migration;

    lm_runner_names_release(&self->names);
    self->names.script = lm_conn_fit_name(self->conn, m->name);
    self->names.file = lm_conn_fit_name(self->conn, m->origin.file);
    self->names.path = lm_conn_fit_name(self->conn, m->origin.path);
    self->names.typed = lm_conn_fit_name(self->conn, m->origin.typed);
}

void
lm_runner_names_release(struct lm_runner_names *self)
{
    free(self->script);
    free(self->file);
    free(self->path);
    free(self->typed);
}

bool
lm_runner_connect(struct lm_runner *self, struct lm_err *err)
{
    int64_t patience = lm_clock_ms() + START_PATIENCE_MS;

    while (!open_connection(self, err)) {
        bool starting = err->kind == LM_ERR_CONNECT && self->conn == NULL &&
                        lm_conn_is_starting(self->options->conninfo);

        close_connection(self);
        if (!(starting || lm_runner_passes(err)) || lm_clock_ms() > patience ||
            !lm_stop_sleep_ms(250))
            return false;
    }
    fit_names(self);
    return true;
}

/* In a transaction like those of the batches: its settings decide what the
 * base query means, and whether row security would hide rows of it. */
bool
lm_runner_check_query(struct lm_runner *self, struct lm_err *err)
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

static bool
look_afresh(struct lm_runner *self, struct lm_err *err)
{
    struct lm_base_query before;

    if (!lm_conn_forget(self->conn, err))
        return false;
    before = self->query;
    memset(&self->query, 0, sizeof self->query);
    if (!lm_runner_check_query(self, err)) {
        /* What was known is good enough for whoever tries again. */
        lm_base_query_release(&self->query);
        self->query = before;
        return false;
    }
    lm_base_query_release(&before);
    return true;
}

bool
lm_runner_look_again(struct lm_runner *self, struct lm_err *err)
{
    if (!look_afresh(self, err) ||
        (self->acquired && self->dry == NULL &&
         (!lm_runner_take_fingerprint(self, err) ||
          !lm_journal_note_fingerprint(&self->journal, self->run.id,
                                       self->fingerprint, err))))
        return false;
    self->look_again = false;
    return true;
}

bool
lm_runner_has_fitted(struct lm_runner *self, struct lm_err *err)
{
    struct lm_run_request request;

    if (self->migration->one_shot)
        return true;
    if (!look_afresh(self, err) || !lm_runner_take_fingerprint(self, err))
        return false;
    request = lm_runner_request(self);
    if (lm_journal_fits(&self->journal, &request, self->run.id, err))
        return true;
    if (err->kind == LM_ERR_SCRIPT) {
        err->kind = LM_ERR_FAILED;
        lm_err_detail(err, "That has changed while the run was at work: rows "
                           "may have been passed over, or met twice.");
        lm_err_hint(err, "See which rows were not migrated. --restart abandons "
                         "the run and begins at the first row.");
    }
    return false;
}

/* What the journal holds of a run may have been edited by hand. Without a
 * cursor the run would begin anew, so that is for runs without rows only. */
bool
lm_runner_check_keys(const struct lm_runner *self, const struct lm_run *run,
                     struct lm_err *err)
{
    const char *wrong = NULL;

    if (self->migration->one_shot)
        return true;
    if (lm_key_is_empty(&run->cursor)
            ? run->batches > 0
            : !lm_key_fits(&run->cursor, self->query.key_count)) {
        wrong = "cursor";
    } else if (lm_key_is_empty(&run->bound)
                   ? run->bound_is_empty && run->batches > 0
                   : !lm_key_fits(&run->bound, self->query.key_count)) {
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
           lm_runner_check_keys(self, &self->run, err);
}

bool
lm_runner_refresh(struct lm_runner *self, struct lm_err *err)
{
    return lm_journal_refresh(&self->journal, &self->run, err) &&
           lm_runner_check_keys(self, &self->run, err);
}
