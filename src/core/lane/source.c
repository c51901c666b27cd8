/* SPDX-License-Identifier: MIT */
/*
 * config.source: the base query reads in another database than the run writes
 * to. A lane has a second connection then. Each batch has a transaction there,
 * which only reads, beside its own; it ends after the batch's.
 *
 * Keys are compared in the source alone. The journal has which database that
 * is, and up to which position of its WAL the run has seen it. A standby may
 * show less than the server before it did. So a new connection is used when it
 * has come up to that position: rows up to the run's last key are all there. A
 * primary has nothing to catch up on: what it has is all there is.
 *
 * What the source changes after a row was read, nobody notices.
 */

#include "core/lane/private.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/page/preflight.h"

#include <inttypes.h>
#include <string.h>

enum { REPLAY_PATIENCE_MS = 120000, LOOK_MS = 250, START_PATIENCE_MS = 30000 };

bool
lm_lane_has_source(const struct lm_lane *self)
{
    return self->migration->reads_from != NULL;
}

bool
lm_lane_reads_elsewhere(const struct lm_lane *self)
{
    return lm_lane_has_source(self) && !self->source.is_own;
}

struct lm_conn *
lm_lane_reader(const struct lm_lane *self)
{
    return lm_lane_has_source(self) && !self->migration->one_shot
               ? self->source.conn
               : self->conn;
}

/* A standby has no serializable transactions. */
struct lm_txn
lm_lane_read_txn(const struct lm_lane *self)
{
    struct lm_txn txn = lm_lane_txn(self);

    txn.read_only = true;
    if (lm_lane_has_source(self) && strcmp(txn.isolation, "serializable") == 0)
        txn.isolation = "repeatable read";
    return txn;
}

/* -- the connection --------------------------------------------------------- */

static bool
name_source(const struct lm_lane *self, struct lm_err *err)
{
    return lm_err_prefix(err, "source \"%s\"", self->migration->reads_from);
}

static bool
fail_other_place(const struct lm_lane *self, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_CONNECT,
               "the database at %s is not the source of this run",
               lm_conn_target(self->source.conn));
    LM_ERR_COPY(err->sqlstate, LM_LANE_ANOTHER_SERVER);
    lm_err_detail(err, "The run has read its keys in another database, so its "
                       "last key means nothing there.");
    return lm_err_hint(
        err,
        "Correct the URL of repo \"%s\" in luamig.lua so that it leads to the "
        "source of the run or to a standby of it, and run the same command "
        "again. Or abandon the run with --restart.",
        self->migration->reads_from);
}

static void
log_place(const struct lm_lane *self)
{
    const struct lm_source *source = &self->source;

    lm_log(LM_LOG_INFO, "the base query reads source \"%s\" at %s%s",
           self->migration->reads_from, lm_conn_target(source->conn),
           source->place.standby ? ", a standby" : "");
    if (source->is_own) {
        lm_log(LM_LOG_WARNING,
               "source \"%s\" is the run's own database; without "
               "config.source, luamig notices what others change there",
               self->migration->reads_from);
    }
}

/* Is it where the lane has read before? Also finds out whether it is the run's
 * own database, whose tables migrate may write. */
static bool
check_place(struct lm_lane *self, struct lm_err *err)
{
    struct lm_source *source = &self->source;
    struct lm_place place;
    struct lm_place own;

    if (!lm_place_look(source->conn, &place, err))
        return false;
    if (source->known && !lm_place_is_same(&source->place, &place))
        return fail_other_place(self, err);
    if (source->known)
        return true;
    if (!lm_place_look(self->conn, &own, err))
        return false;
    source->place = place;
    source->known = true;
    source->is_own = lm_place_shows(&place, &own);
    if (self->journal.number == 1)
        log_place(self);
    return true;
}

static bool
open_connection(struct lm_lane *self, struct lm_err *err)
{
    struct lm_conn_options how = {.application_name = self->application_name,
                                  .interruptible = true,
                                  .watched = true,
                                  .silence_ms = self->options.silence_ms};
    struct lm_source *source = &self->source;

    if (!lm_conn_open(&source->conn, self->options.source_conninfo, &how, err))
        return name_source(self, err);
    lm_conn_warn_unencrypted(source->conn);
    if (!lm_preflight_version(source->conn, err))
        return name_source(self, err);
    return check_place(self, err);
}

bool
lm_lane_open_source(struct lm_lane *self, struct lm_err *err)
{
    if (!lm_lane_has_source(self) || self->source.conn != NULL ||
        open_connection(self, err))
        return true;
    lm_lane_close_source(self);
    return false;
}

void
lm_lane_close_source(struct lm_lane *self)
{
    lm_conn_close(self->source.conn);
    self->source.conn = NULL;
    self->source.begun = self->source.fits = false;
}

bool
lm_lane_connect_source(struct lm_lane *self, struct lm_err *err)
{
    int64_t patience = lm_clock_ms() + START_PATIENCE_MS;

    while (!lm_lane_open_source(self, err)) {
        if (err->kind != LM_ERR_CONNECT || lm_clock_ms() > patience ||
            !lm_conn_is_starting(self->options.source_conninfo) ||
            !lm_stop_sleep_ms(LOOK_MS))
            return false;
    }
    return true;
}

void
lm_lane_adopt_source(struct lm_lane *self, const struct lm_source *other)
{
    self->source.place = other->place;
    self->source.known = other->known;
    self->source.is_own = other->is_own;
}

bool
lm_lane_has_lost_source(const struct lm_lane *self)
{
    const struct lm_source *source = &self->source;

    return lm_lane_has_source(self) && source->known &&
           (source->conn == NULL || !lm_conn_is_up(source->conn)) &&
           self->conn != NULL && lm_conn_is_up(self->conn);
}

bool
lm_lane_forget_statements(struct lm_lane *self, struct lm_err *err)
{
    return lm_conn_forget(self->conn, err) &&
           (self->source.conn == NULL ||
            lm_conn_forget(self->source.conn, err));
}

/* -- what the run has seen of it --------------------------------------------- */

static bool
fail_changed(const struct lm_lane *self, const struct lm_journal_source *was,
             int64_t run_id, struct lm_err *err)
{
    const char *now = self->migration->reads_from;

    if (now == NULL) {
        lm_err_set(err, LM_ERR_SCRIPT,
                   "config.source was \"%s\" when run %" PRId64
                   " began, and is not set now",
                   was->repo, run_id);
    } else {
        lm_err_set(err, LM_ERR_SCRIPT,
                   "config.source was not set when run %" PRId64
                   " began, and is \"%s\" now",
                   run_id, now);
    }
    lm_err_detail(err, "In another database, the rows after the last key are "
                       "not the rows that are left to migrate.");
    return lm_err_hint(err, "Change it back, or abandon that run and begin a "
                            "new one with --restart.");
}

static bool
compare(struct lm_lane *self, const struct lm_journal_source *was,
        int64_t run_id, struct lm_err *err)
{
    if (was->there != lm_lane_has_source(self))
        return fail_changed(self, was, run_id, err);
    if (was->there && !lm_place_is_same(&was->place, &self->source.place))
        return fail_other_place(self, err);
    return true;
}

bool
lm_lane_check_source(struct lm_lane *self, int64_t run_id, struct lm_err *err)
{
    struct lm_journal_source was;

    return self->migration->one_shot ||
           (lm_journal_read_source(&self->journal, run_id, &was, err) &&
            compare(self, &was, run_id, err));
}

static bool
fail_behind(const struct lm_lane *self, const struct lm_place *place,
            const char *position, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_CONNECT,
               "the source at %s does not show what the run has seen",
               lm_conn_target(self->source.conn));
    lm_err_detail(err,
                  "It is a standby that has replayed the WAL up to %s. The run "
                  "has seen the source at %s, so rows may be missing there.",
                  place->position, position);
    return lm_err_hint(err,
                       "Run the same command again when the standby has caught "
                       "up, or let the URL of repo \"%s\" lead to another one.",
                       self->migration->reads_from);
}

static void
warn_of_loss(const struct lm_lane *self, const struct lm_place *place,
             const char *position)
{
    if (!lm_place_has_reached(place, position)) {
        lm_log(LM_LOG_WARNING,
               "the source at %s has lost changes: it was at %s of its WAL, "
               "and is at %s now. Rows that the run has read may be gone there",
               lm_conn_target(self->source.conn), position, place->position);
    }
}

static bool
await_replay(struct lm_lane *self, const char *position, struct lm_err *err)
{
    int64_t patience = lm_clock_ms() + LM_FAULT_PATIENCE(REPLAY_PATIENCE_MS);
    struct lm_place place;

    for (bool told = false;; told = true) {
        if (!lm_place_look(self->source.conn, &place, err))
            return false;
        if (!place.standby) {
            warn_of_loss(self, &place, position);
            return true;
        }
        if (lm_place_has_reached(&place, position))
            return true;
        if (!told) {
            lm_log(LM_LOG_INFO,
                   "waiting for the source at %s: it has replayed the WAL up "
                   "to %s, and the run has seen %s",
                   lm_conn_target(self->source.conn), place.position, position);
        }
        if (lm_clock_ms() > patience)
            return fail_behind(self, &place, position, err);
        if (lm_stop_level() > 0 || !lm_stop_sleep_ms(LOOK_MS)) {
            return lm_err_set(err, LM_ERR_INTERRUPT,
                              "stopped while waiting for the source");
        }
    }
}

bool
lm_lane_enter_source(struct lm_lane *self, struct lm_err *err)
{
    struct lm_journal_source was;
    bool ok;

    if (!lm_lane_has_source(self))
        return true;
    if (!lm_lane_open_source(self, err))
        return false;
    if (self->options.dry || self->migration->one_shot)
        self->source.fits = true;
    if (self->source.fits)
        return true;
    if (!lm_journal_read_source(&self->journal, self->run->id, &was, err) ||
        !compare(self, &was, self->run->id, err))
        return false;
    self->host.waits(self->host.run, "the source's replay");
    ok = await_replay(self, was.place.position, err);
    self->host.waits(self->host.run, NULL);
    self->source.fits = ok;
    return ok;
}

bool
lm_lane_has_entered_source(const struct lm_lane *self)
{
    return !lm_lane_has_source(self) || self->source.fits;
}

bool
lm_lane_note_source(struct lm_lane *self, struct lm_err *err)
{
    struct lm_place place;

    if (!lm_lane_has_source(self) || self->migration->one_shot)
        return true;
    lm_lane_end_source(self);
    return lm_place_look(self->source.conn, &place, err) &&
           lm_journal_note_source(&self->journal, self->run->id,
                                  self->migration->reads_from, &place, err);
}

void
lm_lane_explain_encoding(const struct lm_lane *self, struct lm_err *err)
{
    if (lm_lane_has_source(self) && lm_err_is_state(err, "22P05") &&
        err->hint[0] == '\0') {
        lm_err_hint(err,
                    "The run's own database cannot hold a character that the "
                    "source has. The journal keeps keys there as well. Use a "
                    "database of the encoding UTF8, or leave such rows out.");
    }
}

/* -- its transactions -------------------------------------------------------- */

bool
lm_lane_begin_source(struct lm_lane *self, struct lm_err *err)
{
    struct lm_txn txn = lm_lane_read_txn(self);

    if (!lm_lane_has_source(self) || self->source.begun)
        return true;
    self->source.begun = lm_lane_open_source(self, err) &&
                         lm_txn_begin(self->source.conn, &txn, err);
    return self->source.begun;
}

void
lm_lane_end_source(struct lm_lane *self)
{
    if (self->source.conn != NULL)
        lm_conn_rollback(self->source.conn);
    self->source.begun = false;
}

void
lm_lane_rollback(struct lm_lane *self)
{
    lm_conn_rollback(self->conn);
    lm_lane_end_source(self);
}
