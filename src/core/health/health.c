/* SPDX-License-Identifier: MIT */
/*
 * Judges the health of the server, and describes it; see the header.
 *
 * Each signal is a small state machine: calm, holding, holding because it is
 * unknown, and the state after ten minutes of holding. Nothing here reads a
 * clock or waits.
 */

#include "core/health/health.h"

#include "base/clock.h"
#include "base/err.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PATIENCE_MS = 600000, /* of a hold that the run causes itself, or blind */
    USUAL_MS = 600000,    /* over which active sessions are averaged */
    USUAL_LEAST = 10,     /* sessions that are usual anywhere */
    SHORTEST_REST_MS = 1000,
    SLOW_FACTOR = 3 /* rest for so many times the batch: a quarter */
};

enum unit { UNIT_NONE, UNIT_BYTES };

static const struct {
    const char *setting; /* in config.health */
    const char *key;     /* in the journal */
    const char *label;
    enum unit unit;
    bool bounded;
} signals[LM_CAUSES] = {
    [LM_SIGNAL_BATCH_TIME] = {"batch_ms", "batch_time", "slow batches",
                              UNIT_NONE, false},
    [LM_SIGNAL_BLOCKED] = {"blocked_sessions", "blocked_sessions",
                           "blocked sessions", UNIT_NONE, false},
    [LM_SIGNAL_REPLICA_LAG] = {"replica_lag_bytes", "replica_lag",
                               "replica lag", UNIT_BYTES, false},
    [LM_SIGNAL_REPLAY_LAG] = {"replay_lag_bytes", "replay_lag", "replay lag",
                              UNIT_BYTES, false},
    [LM_SIGNAL_SLOTS] = {"slot_wal_bytes", "slots", "slots", UNIT_BYTES, false},
    [LM_SIGNAL_ARCHIVER] = {"archive_backlog_bytes", "archiver", "archiver",
                            UNIT_BYTES, false},
    [LM_SIGNAL_VACUUM] = {"vacuums", "autovacuum", "autovacuum", UNIT_NONE,
                          true},
    [LM_SIGNAL_DEBT] = {"dead_tuple_debt", "dead_tuples", "dead tuples",
                        UNIT_NONE, true},
    [LM_SIGNAL_SNAPSHOT] = {"snapshot_age_s", "old_snapshots", "old snapshots",
                            UNIT_NONE, false},
    [LM_SIGNAL_SESSIONS] = {"active_sessions_ratio", "active_sessions",
                            "active sessions", UNIT_NONE, false},
    [LM_HELD_BY_SCRIPT] = {NULL, "script", "script", UNIT_NONE, false},
};

const char *
lm_health_setting(enum lm_signal signal)
{
    return signals[signal].setting;
}

bool
lm_health_has_signals(const struct lm_health_limits *limits)
{
    for (int i = LM_SIGNAL_BLOCKED; i < LM_SIGNALS; i++) {
        if (limits->above[i] >= 0)
            return true;
    }
    return false;
}

void
lm_health_mark_all_unknown(struct lm_health_sample *sample,
                           const struct lm_health_limits *limits,
                           const char *why)
{
    memset(sample, 0, sizeof *sample);
    LM_ERR_COPY(sample->unconnected, why);
    for (int i = 0; i < LM_SIGNALS; i++) {
        if (limits->above[i] < 0)
            continue;
        sample->of[i].state = LM_HEALTH_UNAVAILABLE;
        LM_ERR_COPY(sample->of[i].note, why);
    }
}

/* -- judging ----------------------------------------------------------- */

void
lm_health_begin(struct lm_health *self, const struct lm_health_limits *limits)
{
    memset(self, 0, sizeof *self);
    self->limits = *limits;
}

static void
enter(struct lm_health *self, int signal, enum lm_health_mode mode, int64_t now)
{
    if (self->of[signal].mode == mode)
        return;
    self->of[signal].mode = mode;
    self->of[signal].since_ms = now;
}

void
lm_health_set_limit(struct lm_health *self, enum lm_signal signal, double above)
{
    enum lm_health_mode mode = self->of[signal].mode;

    self->limits.above[signal] = above;
    self->of[signal].pressed = false;
    if (above < 0 || mode == LM_HEALTH_HOLDS || mode == LM_HEALTH_SLOWS)
        self->of[signal].mode = LM_HEALTH_CALM;
}

/* How many times the usual number of sessions there are now. The usual number
 * follows slowly, also during a hold: if many sessions stay, they become
 * usual. */
static double
compare_sessions(struct lm_health *self, double sessions, int64_t now)
{
    double usual = self->usual_sessions;
    double elapsed = (double)(now - self->usual_ms);

    if (self->usual_ms == 0) {
        usual = sessions;
    } else {
        usual += (sessions - usual) * elapsed / (elapsed + USUAL_MS);
    }
    self->usual_sessions = usual;
    self->usual_ms = now;
    return sessions / (usual > USUAL_LEAST ? usual : USUAL_LEAST);
}

static double
limit_of(const struct lm_health *self, int signal,
         const struct lm_health_reading *reading)
{
    double limit = self->limits.above[signal];

    return reading->cap > 0 && reading->cap < limit ? reading->cap : limit;
}

static bool
is_readable(const struct lm_health_reading *reading)
{
    return reading->state != LM_HEALTH_UNAVAILABLE &&
           reading->state != LM_HEALTH_OFF;
}

static void
settle(struct lm_health *self, int signal,
       const struct lm_health_reading *reading, double limit, int64_t now)
{
    enum lm_health_mode mode = self->of[signal].mode;
    bool is_easy = mode == LM_HEALTH_CALM || mode == LM_HEALTH_GIVEN_UP;
    double value = reading->value;

    self->of[signal].pressed = false;
    if (!is_readable(reading)) {
        if (mode == LM_HEALTH_HOLDS)
            enter(self, signal, LM_HEALTH_BLIND, now);
        return;
    }
    if (signal == LM_SIGNAL_SESSIONS)
        value = compare_sessions(self, value, now);
    self->of[signal].pressed = value > limit / 2;
    if (value > (is_easy ? limit : limit / 2)) {
        if (mode != LM_HEALTH_SLOWS)
            enter(self, signal, LM_HEALTH_HOLDS, now);
    } else if (reading->missing) {
        if (mode != LM_HEALTH_GIVEN_UP)
            enter(self, signal, LM_HEALTH_BLIND, now);
    } else {
        enter(self, signal, LM_HEALTH_CALM, now);
    }
}

static void
describe(const struct lm_health *self, int signal,
         const struct lm_health_reading *reading, double limit,
         struct lm_buf *buf)
{
    enum lm_health_mode mode = self->of[signal].mode;

    if (mode == LM_HEALTH_BLIND || mode == LM_HEALTH_GIVEN_UP) {
        lm_buf_printf(buf, "%s unknown: %s", signals[signal].label,
                      reading->note);
        return;
    }
    if (signal == LM_SIGNAL_SESSIONS) {
        lm_buf_printf(buf, "%.0f active session%s, usually %.0f",
                      reading->value, reading->value < 1.5 ? "" : "s",
                      self->usual_sessions);
    } else {
        lm_buf_puts(buf, reading->text);
    }
    if (signals[signal].unit == UNIT_BYTES && mode != LM_HEALTH_CALM) {
        lm_buf_puts(buf, " (resumes at ");
        lm_health_add_bytes(buf, limit / 2);
        lm_buf_putc(buf, ')');
    }
}

static void
take_one(struct lm_health *self, int signal,
         const struct lm_health_reading *reading, int64_t now)
{
    double limit = limit_of(self, signal, reading);
    struct lm_buf buf = LM_BUF_INIT;

    settle(self, signal, reading, limit, now);
    if (self->of[signal].mode == LM_HEALTH_BLIND)
        self->of[signal].pressed = true;
    if (self->of[signal].mode == LM_HEALTH_CALM && !self->of[signal].pressed)
        return;
    describe(self, signal, reading, limit, &buf);
    LM_ERR_COPY(self->of[signal].text, lm_buf_text(&buf));
    lm_buf_release(&buf);
}

void
lm_health_take(struct lm_health *self, const struct lm_health_sample *sample,
               int64_t now_ms)
{
    const struct lm_health_reading *blocked = &sample->of[LM_SIGNAL_BLOCKED];
    double most = self->limits.above[LM_SIGNAL_BLOCKED];
    bool counts = most >= 0 && is_readable(blocked);

    for (int i = LM_SIGNAL_REPLICA_LAG; i < LM_SIGNALS; i++) {
        if (self->limits.above[i] >= 0)
            take_one(self, i, &sample->of[i], now_ms);
    }
    self->of[LM_SIGNAL_BLOCKED].pressed = counts && blocked->value > most / 2;
    if (counts && blocked->value > most)
        self->blocked = true;
    if (self->of[LM_SIGNAL_BLOCKED].pressed)
        LM_ERR_COPY(self->of[LM_SIGNAL_BLOCKED].text, blocked->text);
}

enum lm_signal
lm_health_presses(const struct lm_health *self)
{
    for (int i = LM_SIGNALS - 1; i >= 0; i--) {
        if (self->of[i].pressed && self->of[i].mode != LM_HEALTH_SLOWS)
            return (enum lm_signal)i;
    }
    return LM_HELD_BY_NOTHING;
}

enum lm_signal
lm_health_holds(struct lm_health *self, int64_t now_ms)
{
    enum lm_signal found = LM_HELD_BY_NOTHING;

    for (int i = LM_SIGNALS - 1; i >= 0; i--) {
        enum lm_health_mode mode = self->of[i].mode;
        bool is_long = now_ms - self->of[i].since_ms >= PATIENCE_MS;

        if (mode == LM_HEALTH_HOLDS && signals[i].bounded && is_long) {
            enter(self, i, LM_HEALTH_SLOWS, now_ms);
        } else if (mode == LM_HEALTH_BLIND && is_long) {
            enter(self, i, LM_HEALTH_GIVEN_UP, now_ms);
        } else if (mode == LM_HEALTH_HOLDS || mode == LM_HEALTH_BLIND) {
            found = (enum lm_signal)i;
        }
    }
    return found;
}

int
lm_health_slowness(const struct lm_health *self)
{
    for (int i = 0; i < LM_SIGNALS; i++) {
        if (self->of[i].mode == LM_HEALTH_SLOWS)
            return SLOW_FACTOR;
    }
    return 0;
}

int64_t
lm_health_rest_ms(struct lm_health *self, int64_t batch_ms,
                  enum lm_signal *cause)
{
    double slow = self->limits.above[LM_SIGNAL_BATCH_TIME];

    *cause = LM_HELD_BY_NOTHING;
    for (int i = 0; i < LM_SIGNALS; i++) {
        if (self->of[i].mode == LM_HEALTH_SLOWS) {
            *cause = (enum lm_signal)i;
            return batch_ms * SLOW_FACTOR;
        }
    }
    if (self->blocked) {
        *cause = LM_SIGNAL_BLOCKED;
        self->blocked = false;
        return batch_ms > SHORTEST_REST_MS ? batch_ms : SHORTEST_REST_MS;
    }
    if (slow >= 0 && (double)batch_ms > slow) {
        *cause = LM_SIGNAL_BATCH_TIME;
        snprintf(self->of[*cause].text, sizeof self->of[*cause].text,
                 "the last batch took %s", lm_clock_span(batch_ms).text);
        return batch_ms;
    }
    return 0;
}

/* -- telling ----------------------------------------------------------- */

const char *
lm_health_why(const struct lm_health *self, enum lm_signal signal)
{
    return self->of[signal].text;
}

void
lm_health_describe(const struct lm_health_sample *sample, bool all,
                   struct lm_buf *buf)
{
    static const char *const states[] = {[LM_HEALTH_OFF] = "off",
                                         [LM_HEALTH_AVAILABLE] = "available",
                                         [LM_HEALTH_UNUSED] = "not in use",
                                         [LM_HEALTH_DEGRADED] = "degraded",
                                         [LM_HEALTH_UNAVAILABLE] =
                                             "unavailable"};
    const char *separator = "";
    bool lacks_right = false;

    for (int i = LM_SIGNAL_BLOCKED; i < LM_SIGNALS; i++) {
        const struct lm_health_reading *reading = &sample->of[i];

        if (!all && reading->state != LM_HEALTH_DEGRADED &&
            reading->state != LM_HEALTH_UNAVAILABLE)
            continue;
        lm_buf_printf(buf, "%s%s %s", separator, signals[i].label,
                      states[reading->state]);
        if (reading->note[0] != '\0')
            lm_buf_printf(buf, " (%s)", reading->note);
        separator = ", ";
        lacks_right = lacks_right || reading->lacks_right;
    }
    if (lacks_right)
        lm_buf_puts(buf, "; grant pg_read_all_stats to the role to see all");
}

void
lm_health_add_bytes(struct lm_buf *buf, double bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    size_t unit = 0;

    while (bytes >= 1024 && unit + 1 < LM_COUNT(units)) {
        bytes /= 1024;
        unit++;
    }
    lm_buf_printf(buf, bytes < 10 && unit > 1 ? "%.1f %s" : "%.0f %s", bytes,
                  units[unit]);
}

void
lm_held_write(const struct lm_held *held, struct lm_buf *buf)
{
    const char *separator = "{";

    for (int i = 0; i < LM_CAUSES; i++) {
        if (held->ms[i] == 0)
            continue;
        lm_buf_printf(buf, "%s\"%s\": %" PRId64, separator, signals[i].key,
                      held->ms[i]);
        separator = ", ";
    }
    lm_buf_puts(buf, *separator == '{' ? "{}" : "}");
}

void
lm_held_read(struct lm_held *held, const char *json)
{
    for (int i = 0; i < LM_CAUSES; i++) {
        char key[64];
        const char *found;

        snprintf(key, sizeof key, "\"%s\": ", signals[i].key);
        found = strstr(json, key);
        held->ms[i] =
            found != NULL ? strtoll(found + strlen(key), NULL, 10) : 0;
        if (held->ms[i] < 0)
            held->ms[i] = 0;
    }
}

/* Tenths matter to short times only. */
static void
add_duration(struct lm_buf *buf, int64_t ms)
{
    if (ms >= 10000 && ms < 60000) {
        lm_buf_printf(buf, "%" PRId64 "s", ms / 1000);
        return;
    }
    lm_buf_puts(buf, lm_clock_span(ms).text);
}

void
lm_held_describe(const struct lm_held *held, struct lm_buf *buf)
{
    struct lm_held left = *held;
    int64_t sum = 0;

    for (int i = 0; i < LM_CAUSES; i++)
        sum += held->ms[i];
    if (sum == 0)
        return;
    lm_buf_puts(buf, "held ");
    add_duration(buf, sum);
    for (const char *separator = ": ";; separator = ", ") {
        int most = 0;

        for (int i = 1; i < LM_CAUSES; i++) {
            if (left.ms[i] > left.ms[most])
                most = i;
        }
        if (left.ms[most] == 0)
            return;
        lm_buf_printf(buf, "%s%s ", separator, signals[most].label);
        add_duration(buf, left.ms[most]);
        left.ms[most] = 0;
    }
}
