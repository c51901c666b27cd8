/* SPDX-License-Identifier: MIT */
/*
 * Between batches: the run waits outside of any transaction, and renews its
 * lease. It waits for throttle_ms, the script's throttle, and the server's
 * health.
 *
 * A hold is shown, kept in the journal and added up by cause. A short hold is
 * only added up: two writes to the journal for a few milliseconds would cost
 * more than they help.
 */

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/run/runner.h"
#include "core/run/team.h"

#include <string.h>

enum {
    SLICE_MS = 100, /* how fast a waiting run notices a request */
    SHORT_MS = 500, /* not worth telling others */
    TELL_MS = 1000, /* at most so often */
    TELL_SIZE_MS = 5000
};

/* -- telling others ------------------------------------------------------ */

static void
count_hold(struct lm_runner *self)
{
    int64_t now = lm_clock_ms();

    if (self->holding.hold.by == LM_HELD_BY_NOTHING ||
        now == self->holding.hold.counted_ms)
        return;
    self->holding.held.ms[self->holding.hold.by] +=
        now - self->holding.hold.counted_ms;
    self->holding.hold.counted_ms = now;
    self->holding.held_unnoted = true;
}

void
lm_holding_note_batch(struct lm_holding *self, int64_t worked_ms)
{
    self->batch_ms = worked_ms + 1;
}

void
lm_holding_waits_for(struct lm_holding *self, const char *what)
{
    self->waits_for = what;
}

bool
lm_holding_take_overtaken(struct lm_holding *self)
{
    bool overtaken = self->overtaken;

    self->overtaken = false;
    return overtaken;
}

void
lm_holding_set_limit(struct lm_holding *self, enum lm_signal signal,
                     double above)
{
    lm_health_set_limit(&self->health, signal, above);
    lm_monitor_set_limit(self->monitor, signal, above);
}

void
lm_runner_renew_lease_and_status(struct lm_runner *self)
{
    struct lm_journal_note note = {.leads = self->leads,
                                   .waits_for = self->holding.waits_for,
                                   .workers = self->staff.wanted,
                                   .total = self->gauge.progress.total,
                                   .batch_size =
                                       lm_size_rows(&self->lane.size)};
    struct lm_buf held = LM_BUF_INIT;
    struct lm_err why;

    self->holding.leased_ms = self->holding.hold.noted_ms = lm_clock_ms();
    if (self->dry != NULL || self->lane.conn == NULL ||
        !lm_conn_is_up(self->lane.conn))
        return;
    count_hold(self);
    lm_held_write(&self->holding.held, &held);
    note.held_json = lm_buf_text(&held);
    LM_ERR_COPY(note.workers_note, self->staff.reason.note);
    self->holding.noted_size = note.batch_size;
    if (lm_journal_renew(&self->lane.journal, &self->run, &note, &why)) {
        self->holding.held_unnoted = false;
        lm_mailbox_note_lease(self->requests.mailbox, self->holding.leased_ms);
    } else {
        self->holding.overtaken = lm_err_is_state(&why, LM_JOURNAL_FENCED);
        lm_log(LM_LOG_DEBUG, "could not renew the lease: %s", why.message);
    }
    lm_buf_release(&held);
}

void
lm_runner_note_held(struct lm_runner *self)
{
    if (self->holding.held_unnoted)
        lm_runner_renew_lease_and_status(self);
}

/* -- waiting ------------------------------------------------------------- */

static void
renew_in_time(struct lm_runner *self)
{
    if (lm_clock_ms() - self->holding.leased_ms >=
        self->lane.journal.lease_ms / 3)
        lm_runner_renew_lease_and_status(self);
}

void
lm_runner_rest(struct lm_runner *self, int64_t duration_ms)
{
    int64_t end = lm_clock_ms() + duration_ms;
    int64_t left;

    if (duration_ms > 0)
        lm_lane_rest(&self->lane);
    while ((left = end - lm_clock_ms()) > 0 &&
           !lm_runner_should_end_wait(self)) {
        renew_in_time(self);
        lm_stop_sleep_ms(left < SLICE_MS ? left : SLICE_MS);
    }
}

void
lm_runner_await_workers(struct lm_runner *self)
{
    lm_lane_rest(&self->lane);
    if (lm_runner_should_end_wait(self))
        return;
    renew_in_time(self);
    lm_stop_wait_ms(SLICE_MS);
}

bool
lm_runner_is_wanted(struct lm_runner *self)
{
    renew_in_time(self);
    return lm_runner_should_end_wait(self);
}

/* The monitor may have written that the run is in prepare. */
void
lm_runner_note_prepare(struct lm_runner *self, bool begins)
{
    int64_t timeout_ms = self->migration->prepare_timeout_ms;

    if (lm_mailbox_note_prepare(self->requests.mailbox,
                                begins ? timeout_ms : 0))
        lm_runner_renew_lease_and_status(self);
}

/* -- holds --------------------------------------------------------------- */

/* The run is held, for at least this time: writes that to the journal and to
 * progress. loud: also to the log, if there is no progress line. */
static void
hold(struct lm_runner *self, enum lm_signal by, const char *text,
     int64_t expected_ms, bool loud)
{
    int64_t now = lm_clock_ms();
    bool other = by != self->holding.hold.by;
    bool changed = other || strcmp(text, self->holding.hold.text) != 0;

    count_hold(self);
    if (self->holding.hold.by == LM_HELD_BY_NOTHING) {
        self->holding.hold.since_ms = self->holding.hold.counted_ms = now;
        self->holding.hold.noted = self->holding.hold.logged = false;
    }
    self->holding.hold.by = by;
    if (changed)
        LM_ERR_COPY(self->holding.hold.text, text);
    self->holding.waits_for = self->holding.hold.text;
    if (now - self->holding.hold.since_ms + expected_ms < SHORT_MS)
        return;
    if (changed)
        lm_progress_hold_begin(&self->gauge.progress, text);
    if ((!self->holding.hold.noted || changed) &&
        now - self->holding.hold.noted_ms >= TELL_MS) {
        self->holding.hold.noted = true;
        lm_runner_renew_lease_and_status(self);
    }
    if (loud && other && !lm_log_has_status()) {
        self->holding.hold.logged = true;
        lm_log(LM_LOG_INFO, "holding: %s", text);
    }
}

/* The text for a hold that was given up: what is still wrong. */
static const char *
what_remains(const struct lm_runner *self)
{
    enum lm_signal by = self->holding.hold.by;
    enum lm_health_mode mode =
        by < LM_SIGNALS ? self->holding.health.of[by].mode : LM_HEALTH_CALM;

    if (mode == LM_HEALTH_SLOWS)
        return " at 25 % speed; still over the limit";
    return mode == LM_HEALTH_GIVEN_UP ? "; the health signal is still unknown"
                                      : "";
}

static void
end_hold(struct lm_runner *self)
{
    lm_team_hold(self->team, false);
    if (self->holding.hold.by == LM_HELD_BY_NOTHING)
        return;
    count_hold(self);
    if (self->holding.hold.logged && !lm_runner_should_end_wait(self)) {
        lm_log(LM_LOG_INFO, "resumed after %s%s",
               lm_clock_span(lm_clock_ms() - self->holding.hold.since_ms).text,
               what_remains(self));
    }
    self->holding.hold.by = LM_HELD_BY_NOTHING;
    self->holding.waits_for = NULL;
    lm_progress_hold_end(&self->gauge.progress);
    if (self->holding.hold.noted)
        lm_runner_renew_lease_and_status(self);
}

/* -- the script's throttle ----------------------------------------------- */

static bool
ask_throttle(struct lm_runner *self, int64_t *wait_ms, bool *ask_again,
             struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_run_info info = lm_lane_info(&self->lane, self->run.batches);
    struct lm_txn txn = lm_lane_txn(&self->lane);
    struct lm_repo_use use = {.combine = m->combine};
    bool ok;

    *wait_ms = 0;
    *ask_again = false;
    txn.read_only = true;
    if (!lm_txn_begin(self->lane.conn, &txn, err))
        return false;
    if (!lm_lane_open_repo(&self->lane, &use, err))
        return false;
    ok = m->ops->throttle(m->self, self->lane.repo, &info, wait_ms, ask_again,
                          err);
    ok = lm_lane_close_repo(&self->lane, ok, err);
    lm_lane_rollback(&self->lane);
    return ok;
}

static bool
hold_for_script(struct lm_runner *self, struct lm_err *err)
{
    bool ask_again = self->migration->ops->has_throttle;
    int64_t wait_ms = 0;

    while (ask_again && !lm_runner_should_end_wait(self)) {
        if (!ask_throttle(self, &wait_ms, &ask_again, err))
            return false;
        if (wait_ms > 0) {
            hold(self, LM_HELD_BY_SCRIPT, "the script's throttle", wait_ms,
                 ask_again);
            lm_team_hold(self->team, true);
            lm_runner_rest(self, wait_ms);
        }
    }
    return true;
}

/* -- the server's health ------------------------------------------------- */

static void
start_monitor(struct lm_runner *self, const struct lm_health_limits *limits)
{
    char name[sizeof self->lane.application_name];
    struct lm_monitor_options options = {.conninfo = self->options->conninfo,
                                         .application_name = name,
                                         .limits = limits,
                                         .replicas = self->options->replicas,
                                         .replica_count =
                                             self->options->replica_count};
    struct lm_buf tables = LM_BUF_INIT;

    if (self->options->alone)
        return;
    lm_lane_name_session(&self->lane, "luamig monitor", name, sizeof name);
    for (int i = 0; i < self->lane.query.source_count &&
                    !lm_lane_reads_elsewhere(&self->lane);
         i++) {
        lm_buf_printf(&tables, "%c%u", i == 0 ? '{' : ',',
                      self->lane.query.sources[i].table);
    }
    lm_buf_puts(&tables, tables.len == 0 ? "{}" : "}");
    options.tables = lm_buf_text(&tables);
    if (self->dry == NULL) {
        options.hooks = lm_mailbox_hooks(self->requests.mailbox,
                                         &self->lane.journal, self->run.id);
    }
    self->holding.monitor = lm_monitor_start(&options);
    self->lane.host.connected(self);
    lm_buf_release(&tables);
}

void
lm_runner_watch(struct lm_runner *self)
{
    struct lm_health_limits limits = *self->migration->health;

    for (int i = 0; i < LM_SIGNALS && self->migration->one_shot; i++)
        limits.above[i] = -1; /* there is nothing between batches */
    lm_health_begin(&self->holding.health, &limits);
    lm_held_read(&self->holding.held, self->run.held_json);
    start_monitor(self, &limits);
}

void
lm_runner_watch_tables(struct lm_runner *self)
{
    lm_runner_stop_watching(self);
    start_monitor(self, self->migration->health);
}

void
lm_runner_stop_watching(struct lm_runner *self)
{
    lm_monitor_stop(self->holding.monitor);
    self->holding.monitor = NULL;
}

/* Once, after the first sample: logs which signals are watched, or, without
 * -v, which are not. */
static void
log_health(const struct lm_health_sample *sample)
{
    bool all = lm_log_enabled(LM_LOG_DEBUG);
    struct lm_buf text = LM_BUF_INIT;

    if (sample->unconnected[0] != '\0') {
        lm_buf_printf(&text, "health signals are unavailable: %s",
                      sample->unconnected);
    } else {
        lm_buf_puts(&text, "health: ");
        lm_health_describe(sample, all, &text);
    }
    if (strcmp(lm_buf_text(&text), "health: ") != 0)
        lm_log(all ? LM_LOG_DEBUG : LM_LOG_INFO, "%s", lm_buf_text(&text));
    lm_buf_release(&text);
}

static void
look(struct lm_runner *self)
{
    struct lm_health_sample sample;

    if (!lm_monitor_look(self->holding.monitor, &self->holding.sample_number,
                         &sample))
        return;
    if (!self->holding.health_told) {
        self->holding.health_told = true;
        log_health(&sample);
    }
    lm_health_take(&self->holding.health, &sample, lm_clock_ms());
    lm_runner_note_pressure(self);
    lm_runner_look_at_staff(self);
}

static void
rest_after_batch(struct lm_runner *self)
{
    enum lm_signal by;
    int64_t rest_ms =
        lm_health_rest_ms(&self->holding.health, self->holding.batch_ms, &by);

    self->holding.batch_ms = 0;
    if (rest_ms == 0)
        return;
    if (by == LM_SIGNAL_BLOCKED) {
        (void)lm_size_halve(&self->lane.size);
        lm_team_halve(self->team);
        lm_team_hold(self->team, true);
    }
    hold(self, by, lm_health_why(&self->holding.health, by), rest_ms, false);
    lm_runner_rest(self, rest_ms);
}

static void
hold_for_health(struct lm_runner *self)
{
    const struct lm_health *health = &self->holding.health;
    enum lm_signal by;

    look(self);
    lm_team_set_rest(self->team, lm_health_slowness(health),
                     health->limits.above[LM_SIGNAL_BATCH_TIME]);
    if (self->holding.batch_ms > 0)
        rest_after_batch(self);
    while (!lm_runner_should_end_wait(self) &&
           (by = lm_health_holds(&self->holding.health, lm_clock_ms())) !=
               LM_HELD_BY_NOTHING) {
        lm_team_hold(self->team, true);
        hold(self, by, lm_health_why(&self->holding.health, by), SHORT_MS,
             true);
        lm_runner_rest(self, SLICE_MS);
        look(self);
    }
}

bool
lm_runner_goes_on(const struct lm_runner *self)
{
    return self->dry == NULL && self->migration->throttle_ms == 0 &&
           !self->migration->ops->has_throttle &&
           self->holding.hold.by == LM_HELD_BY_NOTHING &&
           lm_health_slowness(&self->holding.health) == 0;
}

bool
lm_runner_hold_back(struct lm_runner *self, struct lm_err *err)
{
    bool ok;

    if (lm_account_own(&self->account).batches > 0)
        lm_runner_rest(self, self->migration->throttle_ms);
    ok = hold_for_script(self, err);
    if (ok)
        hold_for_health(self);
    end_hold(self);
    renew_in_time(self);
    if (lm_size_rows(&self->lane.size) != self->holding.noted_size &&
        lm_clock_ms() - self->holding.hold.noted_ms >= TELL_SIZE_MS)
        lm_runner_renew_lease_and_status(self);
    return ok;
}
