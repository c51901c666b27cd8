/* SPDX-License-Identifier: MIT */
/* Judging the server's health: when a hold begins and ends, what becomes of
 * what is unknown, and how it is said. Time is made up. */

#include "unit.h"

#include "core/health/health.h"

#include <stdio.h>

static const int64_t SECOND = 1000;
static const int64_t MINUTE = 60000;

static const double MB = 1024.0 * 1024;

static struct lm_health health;
static struct lm_health_sample sample;
static int64_t now;

/* A server that is well, with every signal to be read. */
static int
begin(void **state)
{
    struct lm_health_limits limits = {{0}};

    (void)state;
    for (int i = 0; i < LM_SIGNALS; i++)
        limits.above[i] = 100;
    limits.above[LM_SIGNAL_REPLICA_LAG] = 128 * MB;
    lm_health_begin(&health, &limits);
    memset(&sample, 0, sizeof sample);
    for (int i = LM_SIGNAL_BLOCKED; i < LM_SIGNALS; i++)
        sample.of[i].state = LM_HEALTH_AVAILABLE;
    now = 1;
    return 0;
}

/* A second later, the signal has the value: what holds then? */
static enum lm_signal
read_value(enum lm_signal signal, double value)
{
    sample.of[signal].state = LM_HEALTH_AVAILABLE;
    sample.of[signal].value = value;
    now += SECOND;
    lm_health_take(&health, &sample, now);
    return lm_health_holds(&health, now);
}

static enum lm_signal
read_nothing(enum lm_signal signal, const char *why)
{
    sample.of[signal].state = LM_HEALTH_UNAVAILABLE;
    LM_ERR_COPY(sample.of[signal].note, why);
    now += SECOND;
    lm_health_take(&health, &sample, now);
    return lm_health_holds(&health, now);
}

/* The same sample, again and again. */
static enum lm_signal
pass(int64_t duration)
{
    for (int64_t end = now + duration; now < end; now += SECOND) {
        lm_health_take(&health, &sample, now);
        (void)lm_health_holds(&health, now);
    }
    return lm_health_holds(&health, now);
}

static void
test_a_hold_begins_above_the_limit_and_ends_at_half_of_it(void **state)
{
    enum lm_signal lag = LM_SIGNAL_REPLICA_LAG;

    (void)state;
    assert_int_equal(read_value(lag, 128 * MB), LM_HELD_BY_NOTHING);
    LM_ERR_COPY(sample.of[lag].text, "replica lag 300 MB on s1");
    assert_int_equal(read_value(lag, 300 * MB), lag);
    assert_string_equal(lm_health_why(&health, lag),
                        "replica lag 300 MB on s1 (resumes at 64 MB)");
    assert_int_equal(read_value(lag, 100 * MB), lag);
    assert_int_equal(read_value(lag, 65 * MB), lag);
    assert_int_equal(read_value(lag, 64 * MB), LM_HELD_BY_NOTHING);
    assert_int_equal(read_value(lag, 100 * MB), LM_HELD_BY_NOTHING);
    assert_int_equal(read_value(lag, 129 * MB), lag);
}

static void
test_a_higher_limit_ends_the_hold_by_the_lower_one(void **state)
{
    enum lm_signal age = LM_SIGNAL_SNAPSHOT;

    (void)state;
    assert_int_equal(read_value(age, 150), age);
    lm_health_set_limit(&health, age, 200);
    assert_int_equal(read_value(age, 151), LM_HELD_BY_NOTHING);
    assert_int_equal(read_value(age, 201), age);
    lm_health_set_limit(&health, age, 210);
    assert_int_equal(read_value(age, 211), age);
}

static void
test_a_limit_of_zero_is_one(void **state)
{
    (void)state;
    health.limits.above[LM_SIGNAL_VACUUM] = 0;
    assert_int_equal(read_value(LM_SIGNAL_VACUUM, 0), LM_HELD_BY_NOTHING);
    assert_int_equal(read_value(LM_SIGNAL_VACUUM, 1), LM_SIGNAL_VACUUM);
    assert_int_equal(read_value(LM_SIGNAL_VACUUM, 0), LM_HELD_BY_NOTHING);
}

static void
test_a_signal_that_is_off_never_holds(void **state)
{
    (void)state;
    health.limits.above[LM_SIGNAL_SLOTS] = -1;
    assert_int_equal(read_value(LM_SIGNAL_SLOTS, 1e15), LM_HELD_BY_NOTHING);
}

static void
test_a_limit_of_the_servers_own_counts_if_it_is_lower(void **state)
{
    (void)state;
    sample.of[LM_SIGNAL_SLOTS].cap = 50;
    assert_int_equal(read_value(LM_SIGNAL_SLOTS, 60), LM_SIGNAL_SLOTS);
    assert_int_equal(read_value(LM_SIGNAL_SLOTS, 25), LM_HELD_BY_NOTHING);
    sample.of[LM_SIGNAL_SLOTS].cap = 5000;
    assert_int_equal(read_value(LM_SIGNAL_SLOTS, 101), LM_SIGNAL_SLOTS);
}

static void
test_replica_lag_holds_without_a_time_limit(void **state)
{
    (void)state;
    read_value(LM_SIGNAL_REPLICA_LAG, 300 * MB);
    assert_int_equal(pass(600 * MINUTE), LM_SIGNAL_REPLICA_LAG);
}

static void
test_a_vacuum_holds_for_ten_minutes_and_then_slows(void **state)
{
    enum lm_signal by;

    (void)state;
    LM_ERR_COPY(sample.of[LM_SIGNAL_VACUUM].text, "vacuum of t (pid 7)");
    assert_int_equal(read_value(LM_SIGNAL_VACUUM, 101), LM_SIGNAL_VACUUM);
    assert_int_equal(pass(9 * MINUTE), LM_SIGNAL_VACUUM);
    assert_int_equal(lm_health_rest_ms(&health, 50, &by), 0);
    assert_int_equal(pass(2 * MINUTE), LM_HELD_BY_NOTHING);
    assert_int_equal(lm_health_rest_ms(&health, 50, &by), 150);
    assert_int_equal(by, LM_SIGNAL_VACUUM);
    assert_int_equal(lm_health_presses(&health), LM_HELD_BY_NOTHING);
    assert_string_equal(lm_health_why(&health, by), "vacuum of t (pid 7)");
    /* It ends, and there is another one. */
    assert_int_equal(read_value(LM_SIGNAL_VACUUM, 0), LM_HELD_BY_NOTHING);
    assert_int_equal(lm_health_rest_ms(&health, 50, &by), 0);
    assert_int_equal(read_value(LM_SIGNAL_VACUUM, 101), LM_SIGNAL_VACUUM);
}

static void
test_a_signal_that_was_never_known_is_left_out(void **state)
{
    (void)state;
    assert_int_equal(read_nothing(LM_SIGNAL_ARCHIVER, "who knows"),
                     LM_HELD_BY_NOTHING);
    assert_int_equal(pass(MINUTE), LM_HELD_BY_NOTHING);
}

static void
test_a_signal_that_becomes_unknown_holds_for_ten_more_minutes(void **state)
{
    (void)state;
    assert_int_equal(read_value(LM_SIGNAL_SLOTS, 200), LM_SIGNAL_SLOTS);
    assert_int_equal(read_nothing(LM_SIGNAL_SLOTS, "no connection"),
                     LM_SIGNAL_SLOTS);
    assert_string_equal(lm_health_why(&health, LM_SIGNAL_SLOTS),
                        "slots unknown: no connection");
    assert_int_equal(pass(9 * MINUTE), LM_SIGNAL_SLOTS);
    assert_int_equal(pass(2 * MINUTE), LM_HELD_BY_NOTHING);
    /* Known again: first as it was, then well. */
    assert_int_equal(read_value(LM_SIGNAL_SLOTS, 200), LM_SIGNAL_SLOTS);
    assert_int_equal(read_value(LM_SIGNAL_SLOTS, 50), LM_HELD_BY_NOTHING);
}

static void
test_a_signal_that_becomes_unknown_does_not_begin_a_hold(void **state)
{
    (void)state;
    assert_int_equal(read_value(LM_SIGNAL_SLOTS, 50), LM_HELD_BY_NOTHING);
    assert_int_equal(read_nothing(LM_SIGNAL_SLOTS, "no connection"),
                     LM_HELD_BY_NOTHING);
}

static void
test_a_standby_that_is_gone_is_not_one_without_lag(void **state)
{
    enum lm_signal lag = LM_SIGNAL_REPLICA_LAG;

    (void)state;
    assert_int_equal(read_value(lag, 0), LM_HELD_BY_NOTHING);
    sample.of[lag].missing = true;
    LM_ERR_COPY(sample.of[lag].note, "standby \"s1\" has disconnected");
    assert_int_equal(read_value(lag, 0), lag);
    assert_string_equal(lm_health_why(&health, lag),
                        "replica lag unknown: standby \"s1\" has disconnected");
    assert_int_equal(pass(11 * MINUTE), LM_HELD_BY_NOTHING);
    /* The other one counts all the same. */
    assert_int_equal(read_value(lag, 300 * MB), lag);
    assert_int_equal(read_value(lag, 0), lag);
    sample.of[lag].missing = false;
    assert_int_equal(read_value(lag, 0), LM_HELD_BY_NOTHING);
}

static struct lm_standbys standbys;

/* A second later, there are so many standbys of one name. */
static const char *
see(int count)
{
    lm_standbys_begin(&standbys);
    for (int i = 0; i < count; i++)
        lm_standbys_note(&standbys, "s1");
    now += SECOND;
    return lm_standbys_missing(&standbys, now);
}

static void
test_a_standby_that_connects_again_is_not_missing(void **state)
{
    (void)state;
    memset(&standbys, 0, sizeof standbys);
    assert_null(see(0));
    assert_null(see(1));
    /* Its old connection is not yet given up. */
    for (int i = 0; i < 60; i++)
        assert_null(see(2));
    assert_null(see(1));
    assert_string_equal(see(0), "s1");
    assert_null(see(1));
}

static void
test_one_of_two_standbys_of_a_name_is_missed(void **state)
{
    (void)state;
    memset(&standbys, 0, sizeof standbys);
    assert_null(see(2));
    assert_string_equal(see(1), "s1");
    assert_null(see(2));
    /* Another one has joined them, for good. */
    for (int i = 0; i < 180; i++)
        assert_null(see(3));
    assert_string_equal(see(2), "s1");
}

static void
test_more_sessions_become_usual_after_a_while(void **state)
{
    (void)state;
    health.limits.above[LM_SIGNAL_SESSIONS] = 3;
    read_value(LM_SIGNAL_SESSIONS, 2);
    assert_int_equal(pass(MINUTE), LM_HELD_BY_NOTHING);
    assert_int_equal(read_value(LM_SIGNAL_SESSIONS, 30), LM_HELD_BY_NOTHING);
    assert_int_equal(read_value(LM_SIGNAL_SESSIONS, 60), LM_SIGNAL_SESSIONS);
    assert_string_equal(lm_health_why(&health, LM_SIGNAL_SESSIONS),
                        "60 active sessions, usually 2");
    assert_int_equal(pass(60 * MINUTE), LM_HELD_BY_NOTHING);
}

static void
test_above_half_of_the_limit_a_signal_presses_before_it_holds(void **state)
{
    enum lm_signal lag = LM_SIGNAL_REPLICA_LAG;

    (void)state;
    read_value(lag, 64 * MB);
    assert_int_equal(lm_health_presses(&health), LM_HELD_BY_NOTHING);
    LM_ERR_COPY(sample.of[lag].text, "replica lag 65 MB on s1");
    assert_int_equal(read_value(lag, 65 * MB), LM_HELD_BY_NOTHING);
    assert_int_equal(lm_health_presses(&health), lag);
    assert_string_equal(lm_health_why(&health, lag), "replica lag 65 MB on s1");
    assert_int_equal(read_value(lag, 129 * MB), lag);
    assert_int_equal(lm_health_presses(&health), lag);
    lm_health_set_limit(&health, lag, 512 * MB);
    assert_int_equal(lm_health_presses(&health), LM_HELD_BY_NOTHING);
}

static void
test_each_signal_presses_and_then_holds(void **state)
{
    (void)state;
    for (int i = LM_SIGNAL_REPLICA_LAG; i < LM_SIGNALS; i++) {
        enum lm_signal signal = (enum lm_signal)i;
        /* Sessions are compared with what is usual, ten at least. */
        double unit = signal == LM_SIGNAL_SESSIONS ? 10 * health.limits.above[i]
                                                   : health.limits.above[i];

        begin(state);
        read_value(signal, 0);
        assert_int_equal(read_value(signal, 0.6 * unit), LM_HELD_BY_NOTHING);
        assert_int_equal(lm_health_presses(&health), signal);
        assert_int_equal(read_value(signal, 0.4 * unit), LM_HELD_BY_NOTHING);
        assert_int_equal(lm_health_presses(&health), LM_HELD_BY_NOTHING);
        begin(state);
        read_value(signal, 0);
        assert_int_equal(read_value(signal, 1.1 * unit), signal);
    }
}

static void
test_sessions_that_are_blocked_press(void **state)
{
    (void)state;
    read_value(LM_SIGNAL_BLOCKED, 50);
    assert_int_equal(lm_health_presses(&health), LM_HELD_BY_NOTHING);
    read_value(LM_SIGNAL_BLOCKED, 51);
    assert_int_equal(lm_health_presses(&health), LM_SIGNAL_BLOCKED);
    read_value(LM_SIGNAL_BLOCKED, 0);
    assert_int_equal(lm_health_presses(&health), LM_HELD_BY_NOTHING);
}

static void
test_a_signal_that_becomes_unknown_presses_while_it_holds(void **state)
{
    (void)state;
    read_value(LM_SIGNAL_SLOTS, 200);
    read_nothing(LM_SIGNAL_SLOTS, "no connection");
    assert_int_equal(lm_health_presses(&health), LM_SIGNAL_SLOTS);
    pass(11 * MINUTE);
    assert_int_equal(lm_health_presses(&health), LM_HELD_BY_NOTHING);
}

static void
test_a_slow_batch_is_rested_for_as_long_as_it_took(void **state)
{
    enum lm_signal by;

    (void)state;
    assert_int_equal(lm_health_rest_ms(&health, 100, &by), 0);
    assert_int_equal(by, LM_HELD_BY_NOTHING);
    assert_int_equal(lm_health_rest_ms(&health, 3200, &by), 3200);
    assert_int_equal(by, LM_SIGNAL_BATCH_TIME);
    assert_string_equal(lm_health_why(&health, by), "the last batch took 3.2s");
}

static void
test_those_who_are_blocked_are_let_by_once(void **state)
{
    enum lm_signal by;

    (void)state;
    assert_int_equal(read_value(LM_SIGNAL_BLOCKED, 101), LM_HELD_BY_NOTHING);
    assert_int_equal(lm_health_rest_ms(&health, 20, &by), 1000);
    assert_int_equal(by, LM_SIGNAL_BLOCKED);
    assert_int_equal(lm_health_rest_ms(&health, 20, &by), 0);
}

static void
test_only_what_is_not_seen_is_worth_a_line(void **state)
{
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    for (int i = 0; i < LM_SIGNALS; i++)
        sample.of[i].state = LM_HEALTH_OFF;
    sample.of[LM_SIGNAL_REPLICA_LAG].state = LM_HEALTH_AVAILABLE;
    LM_ERR_COPY(sample.of[LM_SIGNAL_REPLICA_LAG].note, "1 standby");
    sample.of[LM_SIGNAL_ARCHIVER].state = LM_HEALTH_UNUSED;
    lm_health_describe(&sample, false, &buf);
    assert_buf(&buf, "");
    sample.of[LM_SIGNAL_SNAPSHOT].state = LM_HEALTH_DEGRADED;
    sample.of[LM_SIGNAL_SNAPSHOT].lacks_right = true;
    LM_ERR_COPY(sample.of[LM_SIGNAL_SNAPSHOT].note, "in part");
    lm_health_describe(&sample, false, &buf);
    assert_buf(&buf, "old snapshots degraded (in part); grant "
                     "pg_read_all_stats to the role to see all");
    lm_health_describe(&sample, true, &buf);
    assert_contains(lm_buf_text(&buf), "replica lag available (1 standby), ");
    assert_contains(lm_buf_text(&buf), "archiver not in use, autovacuum off");
    lm_buf_release(&buf);
}

static void
test_held_time_is_kept_and_said(void **state)
{
    struct lm_held held = {{0}};
    struct lm_held read;
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    lm_held_describe(&held, &buf);
    assert_buf(&buf, "");
    lm_held_write(&held, &buf);
    assert_buf(&buf, "{}");
    held.ms[LM_SIGNAL_VACUUM] = 22400;
    held.ms[LM_SIGNAL_REPLICA_LAG] = 170000;
    lm_held_describe(&held, &buf);
    assert_buf(&buf, "held 3m12s: replica lag 2m50s, autovacuum 22s");
    held.ms[LM_HELD_BY_SCRIPT] = 5;
    lm_held_write(&held, &buf);
    lm_held_read(&read, lm_buf_text(&buf));
    assert_memory_equal(&read, &held, sizeof held);
    lm_buf_release(&buf);
    /* As jsonb writes it; what is not known is left out. */
    lm_held_read(&read, "{\"script\": 7, \"tides\": 9, \"slots\": -1}");
    assert_int_equal(read.ms[LM_HELD_BY_SCRIPT], 7);
    assert_int_equal(read.ms[LM_SIGNAL_SLOTS], 0);
    lm_held_read(&read, "");
    assert_int_equal(read.ms[LM_HELD_BY_SCRIPT], 0);
}

static void
test_bytes_are_written_in_units(void **state)
{
    static const struct {
        double bytes;
        const char *text;
    } cases[] = {{0, "0 bytes"},        {500, "500 bytes"},
                 {2048, "2 kB"},        {1.5 * 1024 * 1024, "1.5 MB"},
                 {314572800, "300 MB"}, {5e12, "4.5 TB"}};
    struct lm_buf buf = LM_BUF_INIT;

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        lm_health_add_bytes(&buf, cases[i].bytes);
        assert_buf(&buf, cases[i].text);
    }
    lm_buf_release(&buf);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(
            test_a_hold_begins_above_the_limit_and_ends_at_half_of_it, begin),
        cmocka_unit_test_setup(
            test_a_higher_limit_ends_the_hold_by_the_lower_one, begin),
        cmocka_unit_test_setup(test_a_limit_of_zero_is_one, begin),
        cmocka_unit_test_setup(test_a_signal_that_is_off_never_holds, begin),
        cmocka_unit_test_setup(
            test_a_limit_of_the_servers_own_counts_if_it_is_lower, begin),
        cmocka_unit_test_setup(test_replica_lag_holds_without_a_time_limit,
                               begin),
        cmocka_unit_test_setup(
            test_a_vacuum_holds_for_ten_minutes_and_then_slows, begin),
        cmocka_unit_test_setup(test_a_signal_that_was_never_known_is_left_out,
                               begin),
        cmocka_unit_test_setup(
            test_a_signal_that_becomes_unknown_holds_for_ten_more_minutes,
            begin),
        cmocka_unit_test_setup(
            test_a_signal_that_becomes_unknown_does_not_begin_a_hold, begin),
        cmocka_unit_test_setup(
            test_a_standby_that_is_gone_is_not_one_without_lag, begin),
        cmocka_unit_test_setup(
            test_a_standby_that_connects_again_is_not_missing, begin),
        cmocka_unit_test_setup(test_one_of_two_standbys_of_a_name_is_missed,
                               begin),
        cmocka_unit_test_setup(test_more_sessions_become_usual_after_a_while,
                               begin),
        cmocka_unit_test_setup(
            test_above_half_of_the_limit_a_signal_presses_before_it_holds,
            begin),
        cmocka_unit_test_setup(test_each_signal_presses_and_then_holds, begin),
        cmocka_unit_test_setup(test_sessions_that_are_blocked_press, begin),
        cmocka_unit_test_setup(
            test_a_signal_that_becomes_unknown_presses_while_it_holds, begin),
        cmocka_unit_test_setup(
            test_a_slow_batch_is_rested_for_as_long_as_it_took, begin),
        cmocka_unit_test_setup(test_those_who_are_blocked_are_let_by_once,
                               begin),
        cmocka_unit_test_setup(test_only_what_is_not_seen_is_worth_a_line,
                               begin),
        cmocka_unit_test_setup(test_held_time_is_kept_and_said, begin),
        cmocka_unit_test_setup(test_bytes_are_written_in_units, begin),
    };

    return UNIT_RUN(tests);
}
