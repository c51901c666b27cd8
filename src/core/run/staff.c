/* SPDX-License-Identifier: MIT */
/*
 * How many workers this process should have: as many as it was given, or as
 * "auto" finds worth having, but fewer while the server's health gets worse or
 * the workers get in each other's way.
 *
 * The process that leads the run finds the number for "auto", by its own
 * workers. The others have as many as it has. All measuring is in active time:
 * time in which the run is held does not count.
 */

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "core/run/runner.h"
#include "core/run/team.h"

#include <stdio.h>
#include <string.h>

enum {
    MOST_AUTO = 16,
    SLICE_MS = 1000,
    SLICE_BATCHES = 2, /* of each worker */
    COUNT_MS = 10000   /* between two counts of connections */
};

static const char *
plural(int count)
{
    return count == 1 ? "" : "s";
}

static int
least_of(int count, int most)
{
    return most > 0 && most < count ? most : count;
}

static bool
is_auto(const struct lm_runner *self)
{
    return self->migration->workers == 0;
}

/* One-shots, dry runs, and runs that a test watches have one worker. */
static bool
may_have_team(const struct lm_runner *self)
{
    return self->dry == NULL && !self->migration->one_shot &&
           self->options->witness == NULL;
}

/* -- auto --------------------------------------------------------------------- */

static int
most_for_auto(const struct lm_staff *staff)
{
    int room = staff->room > 1 ? staff->room : 1;

    return room < MOST_AUTO ? room : MOST_AUTO;
}

static void
find_room(struct lm_runner *self)
{
    struct lm_err err;
    int before = most_for_auto(&self->staff);

    self->staff.counted_ms = lm_clock_ms();
    if (!lm_journal_count_room(&self->lane.journal, self->run.id,
                               &self->staff.room, &err)) {
        lm_log(LM_LOG_DEBUG, "the server's connections were not counted: %s",
               err.message);
    } else if (most_for_auto(&self->staff) != before) {
        lm_log(LM_LOG_DEBUG, "auto: at most %d worker%s",
               most_for_auto(&self->staff),
               plural(most_for_auto(&self->staff)));
    }
}

static int64_t
active_ms(const struct lm_runner *self)
{
    return lm_clock_ms() - lm_progress_held_ms(&self->gauge.progress);
}

static void
begin_slice(struct lm_runner *self)
{
    self->staff.since = lm_account_own(&self->account);
    self->staff.since_ms = active_ms(self);
}

static void
begin_window(struct lm_runner *self)
{
    memset(&self->staff.slices, 0, sizeof self->staff.slices);
    begin_slice(self);
}

static void
begin_tuning(struct lm_runner *self)
{
    struct lm_staff *staff = &self->staff;

    staff->tunes = true;
    find_room(self);
    lm_tuner_begin(&staff->tuner, staff->wanted, most_for_auto(staff));
    begin_window(self);
}

/* True at the end of a slice, with its rate. Where few rows match, they say
 * little of the work; then it is counted how far the windows of the key went.
 * Between the two nothing can be compared. */
static bool
measure(struct lm_runner *self, double *rate)
{
    struct lm_staff *staff = &self->staff;
    struct lm_counts now = lm_account_own(&self->account);
    int64_t elapsed_ms = active_ms(self) - staff->since_ms;
    int64_t passed = now.passed - staff->since.passed;
    bool sparse = passed > 0;

    if (elapsed_ms < LM_FAULT_SLICE(SLICE_MS) ||
        (!sparse && now.batches - staff->since.batches <
                        (int64_t)SLICE_BATCHES * staff->wanted))
        return false;
    *rate = (double)(sparse ? passed : now.rows - staff->since.rows) /
            (double)elapsed_ms;
    begin_slice(self);
    if (sparse == staff->sparse)
        return true;
    staff->sparse = sparse;
    lm_tuner_repeat(&staff->tuner);
    begin_window(self);
    return false;
}

static void
note_verdict(struct lm_staff *staff, const struct lm_tuner_verdict *verdict)
{
    if (verdict->changed) {
        snprintf(staff->verdict, sizeof staff->verdict,
                 "%.1f times the rows of %d", verdict->times, verdict->from);
        lm_log(LM_LOG_INFO, "auto: %d worker%s, %s", verdict->to,
               plural(verdict->to), staff->verdict);
    } else {
        if (staff->verdict[0] == '\0') {
            snprintf(staff->verdict, sizeof staff->verdict,
                     "%d had %.1f times the rows", verdict->to, verdict->times);
        }
        lm_log(LM_LOG_DEBUG,
               "auto: stays at %d worker%s; %d had %.1f times the rows",
               verdict->from, plural(verdict->from), verdict->to,
               verdict->times);
    }
}

static void
tune(struct lm_runner *self)
{
    struct lm_staff *staff = &self->staff;
    struct lm_tuner_window window;
    struct lm_tuner_verdict verdict;
    double rate;

    if (!staff->tunes)
        begin_tuning(self);
    if (staff->wanted != lm_tuner_workers(&staff->tuner)) {
        lm_tuner_refuse(&staff->tuner);
        begin_window(self);
        return;
    }
    if (!measure(self, &rate) ||
        !lm_tuner_add_slice(&staff->slices, rate, &window))
        return;
    find_room(self);
    lm_tuner_set_most(&staff->tuner, most_for_auto(staff));
    if (lm_tuner_take(&staff->tuner, &window, &verdict))
        note_verdict(staff, &verdict);
}

void
lm_runner_note_leader(struct lm_runner *self, int workers)
{
    struct lm_staff *staff = &self->staff;

    if (workers > 0)
        staff->led = workers;
    if (is_auto(self) && lm_clock_ms() - staff->counted_ms >= COUNT_MS)
        find_room(self);
}

/* -- fewer --------------------------------------------------------------------- */

static int
given(const struct lm_runner *self)
{
    const struct lm_staff *staff = &self->staff;

    if (!is_auto(self))
        return (int)self->migration->workers;
    if (staff->tunes)
        return lm_tuner_workers(&staff->tuner);
    return least_of(staff->led > 0 ? staff->led : 1, most_for_auto(staff));
}

void
lm_runner_note_pressure(struct lm_runner *self)
{
    struct lm_staff *staff = &self->staff;
    enum lm_signal by = lm_health_presses(&self->holding.health);
    int of = given(self);

    if (by != LM_HELD_BY_NOTHING) {
        staff->pressed_by = by;
        LM_ERR_COPY(staff->pressure, lm_health_why(&self->holding.health, by));
    }
    lm_shed_note_health(&staff->health, by != LM_HELD_BY_NOTHING, of);
}

/* Without signals there are no samples, which would bring workers back. */
void
lm_runner_note_limits(struct lm_runner *self)
{
    if (!lm_health_has_signals(&self->holding.health.limits))
        self->staff.health = (struct lm_shed_health){0};
}

/* The only worker has as many conflicts. If no other process works on the run,
 * sessions of others are to blame. */
static void
look_for_culprit(struct lm_runner *self)
{
    struct lm_err ignored;
    bool others = true;

    if (!lm_journal_has_others(&self->lane.journal, self->run.id, &others,
                               &ignored) ||
        others)
        return;
    lm_log(LM_LOG_INFO, "one worker alone has as many conflicts: other "
                        "sessions change the same rows");
    lm_shed_blame_others(&self->staff.conflicts, lm_clock_ms());
}

static void
look_at_conflicts(struct lm_runner *self)
{
    struct lm_staff *staff = &self->staff;
    struct lm_counts own = lm_account_own(&self->account);
    int of = given(self);

    switch (lm_shed_note_conflicts(&staff->conflicts, own.batches,
                                   own.conflicts, of, lm_clock_ms())) {
    case LM_SHED_FEWER:
        lm_log(staff->conflicts_told ? LM_LOG_DEBUG : LM_LOG_WARNING,
               "batches of different workers change the same rows, and more "
               "than a tenth of them fail and are tried again; %d worker%s "
               "instead of %d",
               staff->conflicts.most, plural(staff->conflicts.most), of);
        staff->conflicts_told = true;
        return;
    case LM_SHED_LAST:
        look_for_culprit(self);
        return;
    case LM_SHED_MORE:
    case LM_SHED_SAME:
        return;
    }
}

/* -- the number ------------------------------------------------------------------ */

/* Begin with a reason without a cause. */
static int
decide(const struct lm_runner *self, struct lm_staff_reason *reason)
{
    const struct lm_staff *staff = &self->staff;
    int of = given(self);
    int by_health = least_of(of, staff->health.most);
    int wanted = least_of(by_health, staff->conflicts.most);
    char *note = reason->note;
    size_t size = sizeof reason->note;

    reason->of = of;
    if (wanted < by_health) {
        snprintf(note, size, "fewer than %d: their batches conflict", of);
    } else if (wanted < of) {
        reason->cause = staff->pressed_by;
        snprintf(note, size, "fewer than %d: %.200s", of, staff->pressure);
    } else if (staff->tunes && wanted != staff->tuner.kept) {
        snprintf(note, size, "auto tries it");
    } else if (is_auto(self)) {
        snprintf(note, size, "auto%s%s", staff->verdict[0] != '\0' ? ": " : "",
                 staff->verdict);
    }
    return wanted;
}

/* The figures of a signal change all the time. */
static bool
differ_in_figures(const struct lm_staff_reason *a,
                  const struct lm_staff_reason *b)
{
    return a->cause < LM_SIGNALS && a->cause == b->cause && a->of == b->of;
}

static void
tell_health(struct lm_staff *staff, int wanted, int of)
{
    if (staff->health_told || wanted >= of || wanted != staff->health.most)
        return;
    staff->health_told = true;
    lm_log(LM_LOG_INFO,
           "fewer workers than %d from now on: %s, above half of the limit", of,
           staff->pressure);
}

void
lm_runner_look_at_staff(struct lm_runner *self)
{
    struct lm_staff *staff = &self->staff;
    struct lm_staff_reason reason = {.cause = LM_SIGNALS};
    struct lm_habits habits;
    bool is_news;
    int wanted;

    if (!may_have_team(self))
        return;
    lm_lane_add_retries(&self->lane, lm_account_take_uncounted(&self->account));
    if (is_auto(self) && self->leads) {
        tune(self);
    } else {
        staff->tunes = false;
        staff->verdict[0] = '\0';
    }
    look_at_conflicts(self);
    wanted = decide(self, &reason);
    habits = lm_lane_habits(&self->lane);
    lm_team_set_habits(self->team, &habits);
    lm_team_set_size(self->team, wanted);
    self->lane.others = self->team != NULL ? wanted - 1 : 0;
    tell_health(staff, wanted, reason.of);
    if (wanted == staff->wanted && strcmp(reason.note, staff->reason.note) == 0)
        return;
    is_news =
        wanted != staff->wanted || !differ_in_figures(&reason, &staff->reason);
    staff->wanted = wanted;
    staff->reason = reason;
    lm_progress_set_workers(&self->gauge.progress, wanted, reason.note);
    if (is_news)
        lm_runner_renew_lease_and_status(self);
}
