/* SPDX-License-Identifier: MIT */
/* Connects, at the start and after the connection broke. */

#include "core/lane/private.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/page/preflight.h"
#include "pg/conn/sqlstate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    START_PATIENCE_MS = 30000,     /* for a server that is starting */
    RECONNECT_PATIENCE_MS = 120000 /* for one that has gone */
};

/* After some time, another server may have the same address. If it has this
 * run, perhaps as a copy, it is not this run. */
static bool
check_identity(struct lm_lane *self, struct lm_err *err)
{
    char found[sizeof self->server];

    if (!lm_preflight_identity(self->conn, found, sizeof found, err))
        return false;
    if (self->server[0] == '\0')
        memcpy(self->server, found, sizeof found);
    if (found[0] == '\0' || strcmp(self->server, found) == 0)
        return true;
    lm_err_set(err, LM_ERR_CONNECT,
               "the server at %s is not the server of this run",
               lm_conn_target(self->conn));
    LM_ERR_COPY(err->sqlstate, LM_LANE_ANOTHER_SERVER);
    lm_err_detail(
        err,
        "Its system identifier is %s. The run's server has the identifier %s.",
        found, self->server);
    lm_err_hint(err, "Correct the address so that it leads to the server of "
                     "the run, and run the same command again.");
    return false;
}

static void
log_pooler(const struct lm_lane *self)
{
    bool first = self->server[0] == '\0';

    if (first && lm_conn_is_pooled(self->conn)) {
        lm_log(LM_LOG_INFO,
               "the server at %s is behind a connection pooler; luamig keeps "
               "nothing in its sessions",
               lm_conn_target(self->conn));
    }
}

/* luamig uses UTC unless the script names a time zone; psql would use the
 * session's. */
static void
log_time_zone(const struct lm_lane *self)
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
           "luamig reads and writes timestamps in UTC, not in the session's "
           "time zone; config.timezone = \"%s\" sets that zone",
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
lm_lane_name_session(const struct lm_lane *self, const char *prefix, char *name,
                     size_t size)
{
    struct lm_buf script = LM_BUF_INIT;
    char run[40] = "";
    const char *shown;
    const char *cut = "";
    size_t room;

    if (self->run->id > 0)
        snprintf(run, sizeof run, "run %" PRId64 " of ", self->run->id);
    if (self->options.dry)
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

/* Gives the lane's session this name from the next transaction on. */
static void
rename_session(struct lm_lane *self)
{
    lm_lane_name_session(self, "luamig", self->application_name,
                         sizeof self->application_name);
}

static bool
open_connection(struct lm_lane *self, struct lm_err *err)
{
    struct lm_conn_options how = {.application_name = self->application_name,
                                  .interruptible = true,
                                  .watched = true,
                                  .silence_ms = self->options.silence_ms};

    rename_session(self);
    if (!lm_conn_open(&self->conn, self->options.conninfo, &how, err))
        return false;
    self->journal.conn = self->conn;
    self->host.connected(self->host.run);
    log_pooler(self);
    log_time_zone(self);
    lm_conn_warn_unencrypted(self->conn);
    return lm_preflight_server(self->conn, err) && check_identity(self, err) &&
           lm_journal_remove_schema_from_path(&self->journal, err);
}

static void
close_connection(struct lm_lane *self)
{
    lm_conn_close(self->conn);
    self->conn = self->journal.conn = NULL;
}

/* The lock of another session, or a cancel that was sent for an earlier
 * statement. */
bool
lm_lane_is_blocked_by_other_session(const struct lm_err *err)
{
    enum lm_sqlstate meaning = lm_sqlstate_meaning(err->sqlstate);

    return err->kind != LM_ERR_INTERRUPT &&
           (meaning == LM_SQLSTATE_CONFLICT || meaning == LM_SQLSTATE_TIMEOUT);
}

bool
lm_lane_connect(struct lm_lane *self, struct lm_err *err)
{
    int64_t patience = lm_clock_ms() + START_PATIENCE_MS;

    while (!open_connection(self, err)) {
        bool starting = err->kind == LM_ERR_CONNECT && self->conn == NULL &&
                        lm_conn_is_starting(self->options.conninfo);

        close_connection(self);
        if (!(starting || lm_lane_is_blocked_by_other_session(err)) ||
            lm_clock_ms() > patience || !lm_stop_sleep_ms(250))
            return false;
    }
    return true;
}

/* -- reconnecting ----------------------------------------------------- */

/* Is it worth trying again to reconnect? */
static bool
may_pass(const struct lm_err *err)
{
    if (lm_err_is_state(err, LM_LANE_ANOTHER_SERVER))
        return false;
    return err->kind == LM_ERR_CONNECT || err->kind == LM_ERR_LOST ||
           (err->kind == LM_ERR_DATABASE &&
            (lm_err_is_state(err, "53") || lm_err_is_state(err, "57") ||
             lm_err_is_state(err, "55P03")));
}

/* What is connected again. The lane's own connection is claimed by the run. */
enum again { SOURCE_ALONE, ALL, ALL_CLAIMED };

static void
close_lost(struct lm_lane *self, enum again what)
{
    if (what != SOURCE_ALONE)
        close_connection(self);
    if (self->source.conn != NULL && !lm_conn_is_up(self->source.conn))
        lm_lane_close_source(self);
}

static bool
open_again(struct lm_lane *self, enum again what, struct lm_err *err)
{
    if (what != SOURCE_ALONE && !open_connection(self, err))
        return false;
    return (!self->source.known || lm_lane_open_source(self, err)) &&
           (what != ALL_CLAIMED || self->host.claim(self->host.run, err));
}

static bool
connect_until(struct lm_lane *self, const struct lm_err *why, enum again what,
              struct lm_err *err)
{
    int64_t patience = lm_clock_ms() + LM_FAULT_PATIENCE(RECONNECT_PATIENCE_MS);

    lm_log(LM_LOG_WARNING, "%s%s%.*s; reconnecting", why->message,
           why->detail[0] != '\0' ? ": " : "", (int)strcspn(why->detail, "\n"),
           why->detail);
    self->host.waits(self->host.run, "reconnecting");
    if (what != SOURCE_ALONE)
        self->host.disconnected(self->host.run);
    for (int attempt = 1;; attempt++) {
        int64_t wait = lm_clock_backoff_ms(attempt, 50, 5000);

        close_lost(self, what);
        if (lm_stop_level() > 0 || !lm_stop_sleep_ms(wait)) {
            return lm_err_set(err, LM_ERR_INTERRUPT,
                              "stopped while reconnecting");
        }
        if (open_again(self, what, err)) {
            self->host.waits(self->host.run, NULL);
            lm_log(LM_LOG_INFO, "reconnected to %s",
                   lm_conn_target(what == SOURCE_ALONE ? self->source.conn
                                                       : self->conn));
            return true;
        }
        if (!may_pass(err)) {
            close_lost(self, what);
            return false;
        }
        lm_log(LM_LOG_DEBUG, "%s: %s", err->message, err->detail);
        if (lm_clock_ms() > patience) {
            close_lost(self, what);
            lm_err_prefix(err, "gave up reconnecting");
            lm_err_hint(err, "Run the same command again once the server is "
                             "back; nothing is lost or done twice.");
            return false;
        }
    }
}

bool
lm_lane_connect_again(struct lm_lane *self, const struct lm_err *why,
                      struct lm_err *err)
{
    return connect_until(self, why, ALL, err);
}

bool
lm_lane_reconnect_source(struct lm_lane *self, const struct lm_err *why,
                         struct lm_err *err)
{
    return connect_until(self, why, SOURCE_ALONE, err);
}

bool
lm_lane_reconnect(struct lm_lane *self, const struct lm_err *why,
                  struct lm_err *err)
{
    return connect_until(self, why, ALL_CLAIMED, err) &&
           lm_lane_check_range(self, err);
}
