/* SPDX-License-Identifier: MIT */
/*
 * Between batches: what a run waits for, outside of any transaction, while its
 * lease is kept: throttle_ms, the script's throttle, the server's health.
 *
 * A hold is shown, kept in the journal and added up by cause. Short ones are
 * added up only: two writes to the journal for a rest of some milliseconds
 * would cost more than it spares.
 */

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/run/private.h"

#include <string.h>

enum {
    SLICE_MS = 100, /* how soon a run that waits hears what is asked of it */
    SHORT_MS = 500, /* not worth telling others */
    TELL_MS = 1000, /* at most so often */
    TELL_SIZE_MS = 5000
};

/* -- telling others ------------------------------------------------------ */

static void
count_hold(struct lm_runner *self)
{
    int64_t now = lm_clock_ms();

    if (self->hold.by == LM_HELD_BY_NOTHING || now == self->hold.counted_ms)
        return;
    self->held.ms[self->hold.by] += now - self->hold.counted_ms;
    self->hold.counted_ms = now;
    self->held_unnoted = true;
}

void
lm_runner_tell_journal(struct lm_runner *self)
{
    struct lm_journal_note note = {.waits_for = self->waits_for,
                                   .total = self->progress.total,
                                   .batch_size = lm_size_rows(&self->size)};
    struct lm_buf held = LM_BUF_INIT;
    struct lm_err why;

    self->leased_ms = self->hold.noted_ms = lm_clock_ms();
    if (self->dry != NULL || self->conn == NULL || !lm_conn_is_up(self->conn))
        return;
    count_hold(self);
    lm_held_write(&self->held, &held);
    note.held_json = lm_buf_text(&held);
    self->noted_size = note.batch_size;
    if (lm_journal_renew(&self->journal, &self->run, &note, &why)) {
        self->held_unnoted = false;
        lm_runner_show_holder(self);
    } else {
        self->overtaken = lm_err_is_state(&why, LM_JOURNAL_FENCED);
        lm_log(LM_LOG_DEBUG, "could not renew the lease: %s", why.message);
    }
    lm_buf_release(&held);
}

void
lm_runner_note_held(struct lm_runner *self)
{
    if (self->held_unnoted)
        lm_runner_tell_journal(self);
}

/* -- waiting ------------------------------------------------------------- */

void
lm_runner_rest(struct lm_runner *self, int64_t duration_ms)
{
    int64_t end = lm_clock_ms() + duration_ms;
    int64_t interval = self->journal.lease_ms / 3;
    int64_t left;

    while ((left = end - lm_clock_ms()) > 0 && !lm_runner_is_called(self)) {
        if (lm_clock_ms() - self->leased_ms >= interval)
            lm_runner_tell_journal(self);
        lm_stop_sleep_ms(left < SLICE_MS ? left : SLICE_MS);
    }
}

/* -- holds --------------------------------------------------------------- */

/* The run is held, for at least as long as given: tells whoever should know.
 * loud: also the log, where there is no progress line. */
static void
hold(struct lm_runner *self, enum lm_signal by, const char *text,
     int64_t expected_ms, bool loud)
{
    int64_t now = lm_clock_ms();
    bool other = by != self->hold.by;
    bool changed = other || strcmp(text, self->hold.text) != 0;

    count_hold(self);
    if (self->hold.by == LM_HELD_BY_NOTHING) {
        self->hold.since_ms = self->hold.counted_ms = now;
        self->hold.noted = self->hold.told = false;
    }
    self->hold.by = by;
    if (changed)
        LM_ERR_COPY(self->hold.text, text);
    self->waits_for = self->hold.text;
    if (now - self->hold.since_ms + expected_ms < SHORT_MS)
        return;
    if (changed)
        lm_progress_hold_begin(&self->progress, text);
    if ((!self->hold.noted || changed) &&
        now - self->hold.noted_ms >= TELL_MS) {
        self->hold.noted = true;
        lm_runner_tell_journal(self);
    }
    if (loud && other && !lm_log_has_status()) {
        self->hold.told = true;
        lm_log(LM_LOG_INFO, "holding: %s", text);
    }
}

/* What is still the matter, after a hold that was given up. */
static const char *
what_remains(const struct lm_runner *self)
{
    enum lm_signal by = self->hold.by;
    enum lm_health_mode mode =
        by < LM_SIGNALS ? self->health.of[by].mode : LM_HEALTH_CALM;

    if (mode == LM_HEALTH_SLOWS)
        return ", at a quarter of the speed: it lasts";
    return mode == LM_HEALTH_GIVEN_UP ? ", although it is still unknown" : "";
}

static void
end_hold(struct lm_runner *self)
{
    char lasted[32];

    if (self->hold.by == LM_HELD_BY_NOTHING)
        return;
    count_hold(self);
    if (self->hold.told && !lm_runner_is_called(self)) {
        lm_clock_format(lasted, sizeof lasted,
                        lm_clock_ms() - self->hold.since_ms);
        lm_log(LM_LOG_INFO, "going on after %s%s", lasted, what_remains(self));
    }
    self->hold.by = LM_HELD_BY_NOTHING;
    self->waits_for = NULL;
    lm_progress_hold_end(&self->progress);
    if (self->hold.noted)
        lm_runner_tell_journal(self);
}

/* -- the script's throttle ----------------------------------------------- */

static bool
ask_throttle(struct lm_runner *self, int64_t *wait_ms, bool *ask_again,
             struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_run_info info = lm_runner_info(self, self->run.batches);
    struct lm_txn txn = lm_runner_txn(self);
    bool ok;

    *wait_ms = 0;
    *ask_again = false;
    txn.read_only = true;
    if (!lm_txn_begin(self->conn, &txn, err))
        return false;
    if (!lm_repo_open(&self->repo, self->conn, NULL, err))
        return false;
    ok = m->ops->throttle(m->self, &self->repo, &info, wait_ms, ask_again, err);
    ok = lm_runner_close_repo(self, ok, err);
    lm_conn_rollback(self->conn);
    return ok;
}

static bool
hold_for_script(struct lm_runner *self, struct lm_err *err)
{
    bool ask_again = self->migration->ops->has_throttle;
    int64_t wait_ms = 0;

    while (ask_again && !lm_runner_is_called(self)) {
        if (!ask_throttle(self, &wait_ms, &ask_again, err))
            return false;
        if (wait_ms > 0) {
            hold(self, LM_HELD_BY_SCRIPT, "the script's throttle", wait_ms,
                 ask_again);
            lm_runner_rest(self, wait_ms);
        }
    }
    return true;
}

/* -- the server's health ------------------------------------------------- */

void
lm_runner_watch(struct lm_runner *self)
{
    struct lm_health_limits limits = *self->migration->health;
    char name[sizeof self->application_name];
    struct lm_monitor_options options = {
        .conninfo = self->options->conninfo,
        .application_name = name,
        .limits = &limits,
        .replicas = self->options->replicas,
        .replica_count = self->options->replica_count,
        .backend_pid = lm_conn_is_pooled(self->conn)
                           ? 0
                           : lm_conn_backend_pid(self->conn)};
    struct lm_buf tables = LM_BUF_INIT;

    lm_runner_name_session(self, "luamig monitor", name, sizeof name);
    for (int i = 0; i < LM_SIGNALS && self->migration->one_shot; i++)
        limits.above[i] = -1; /* there is nothing between batches */
    lm_health_begin(&self->health, &limits);
    lm_held_read(&self->held, self->run.held_json);
    if (self->options->alone)
        return;
    for (int i = 0; i < self->query.source_count; i++) {
        lm_buf_printf(&tables, "%c%u", i == 0 ? '{' : ',',
                      self->query.sources[i].table);
    }
    lm_buf_puts(&tables, tables.len == 0 ? "{}" : "}");
    options.tables = lm_buf_text(&tables);
    if (self->dry == NULL)
        options.hooks = lm_runner_control_hooks(self);
    self->monitor = lm_monitor_start(&options);
    lm_buf_release(&tables);
}

/* Once, when the first sample is there: what is watched, or with fewer words
 * what is not. */
static void
tell_health(const struct lm_health_sample *sample)
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

    if (!lm_monitor_look(self->monitor, &self->sample_number, &sample))
        return;
    if (!self->health_told) {
        self->health_told = true;
        tell_health(&sample);
    }
    lm_health_take(&self->health, &sample, lm_clock_ms());
}

static void
rest_after_batch(struct lm_runner *self)
{
    enum lm_signal by;
    int64_t rest_ms = lm_health_rest_ms(&self->health, self->batch_ms, &by);

    self->batch_ms = 0;
    if (rest_ms == 0)
        return;
    if (by == LM_SIGNAL_BLOCKED)
        (void)lm_size_halve(&self->size);
    hold(self, by, lm_health_why(&self->health, by), rest_ms, false);
    lm_runner_rest(self, rest_ms);
}

static void
hold_for_health(struct lm_runner *self)
{
    enum lm_signal by;

    look(self);
    if (self->batch_ms > 0)
        rest_after_batch(self);
    while (!lm_runner_is_called(self) &&
           (by = lm_health_holds(&self->health, lm_clock_ms())) !=
               LM_HELD_BY_NOTHING) {
        hold(self, by, lm_health_why(&self->health, by), SHORT_MS, true);
        lm_runner_rest(self, SLICE_MS);
        look(self);
    }
}

bool
lm_runner_hold_back(struct lm_runner *self, struct lm_err *err)
{
    bool ok;

    if (self->progress.own_batches > 0)
        lm_runner_rest(self, self->migration->throttle_ms);
    ok = hold_for_script(self, err);
    if (ok)
        hold_for_health(self);
    end_hold(self);
    if (lm_size_rows(&self->size) != self->noted_size &&
        lm_clock_ms() - self->hold.noted_ms >= TELL_SIZE_MS)
        lm_runner_tell_journal(self);
    return ok;
}
