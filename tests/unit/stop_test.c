/* SPDX-License-Identifier: MIT */
/* Signals and wakes: every thread that sleeps is told, and none is missed. */

#include "unit.h"

#include "base/aside.h"
#include "base/clock.h"
#include "base/stop.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

enum { SLEEPERS = 8, LONG_MS = 20000 };

static bool (*sleep_ms)(int64_t duration_ms);
static atomic_int ready;
static atomic_int woken;

static void *
sleep_once(void *arg)
{
    bool entered = lm_stop_enter();

    (void)arg;
    (void)lm_stop_level();
    atomic_fetch_add(&ready, 1);
    if (entered && sleep_ms(LONG_MS))
        atomic_fetch_add(&woken, 1);
    lm_stop_leave();
    return NULL;
}

static void
wait_for(atomic_int *count, int wanted)
{
    for (int i = 0; i < 10000 && atomic_load(count) < wanted; i++)
        usleep(1000);
    assert_int_equal(atomic_load(count), wanted);
}

/* Starts threads that sleep, and calls wake() once all have entered. */
static void
wake_sleepers(void (*wake)(void), bool (*how)(int64_t duration_ms))
{
    pthread_t threads[SLEEPERS];
    int64_t begun = lm_clock_ms();

    sleep_ms = how;
    ready = woken = 0;
    for (int i = 0; i < SLEEPERS; i++)
        assert_true(lm_aside_start(&threads[i], sleep_once, NULL));
    wait_for(&ready, SLEEPERS);
    wake();
    for (int i = 0; i < SLEEPERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(lm_clock_ms() - begun < LONG_MS);
}

static void
test_a_wake_ends_the_wait_of_every_thread(void **state)
{
    (void)state;
    wake_sleepers(lm_stop_wake, lm_stop_wait_ms);
    assert_int_equal(woken, SLEEPERS);
    assert_int_equal(lm_stop_level(), 0);
}

/* It counts attempts by its sleeps. */
static void
test_a_wake_does_not_end_a_sleep(void **state)
{
    int64_t begun = lm_clock_ms();

    (void)state;
    lm_stop_wake();
    assert_true(lm_stop_sleep_ms(20));
    assert_true(lm_clock_ms() - begun >= 20);
}

static void
test_a_wake_before_the_wait_is_not_missed(void **state)
{
    int64_t begun = lm_clock_ms();

    (void)state;
    (void)lm_stop_wait_ms(1);
    lm_stop_wake();
    lm_stop_drain(); /* as a wait for the server does */
    assert_true(lm_stop_wait_ms(LONG_MS));
    assert_true(lm_clock_ms() - begun < LONG_MS);
    begun = lm_clock_ms();
    assert_true(lm_stop_wait_ms(20)); /* one wake, one return */
    assert_true(lm_clock_ms() - begun >= 20);
}

static void
test_places_are_used_again(void **state)
{
    int before = dup(STDERR_FILENO);
    int after;

    (void)state;
    close(before);
    for (int i = 0; i < LM_STOP_MOST_THREADS / SLEEPERS + 1; i++)
        wake_sleepers(lm_stop_wake, lm_stop_wait_ms);
    after = dup(STDERR_FILENO);
    close(after);
    assert_int_equal(after, before); /* no descriptor more than the first */
    assert_int_equal(woken, SLEEPERS);
}

static void
test_a_thread_that_has_not_entered_has_no_descriptor(void **state)
{
    struct pollfd wake = {lm_stop_fd(), POLLIN, 0};

    (void)state;
    assert_true(wake.fd > STDERR_FILENO);
    lm_stop_drain();
    assert_int_equal(poll(&wake, 1, 0), 0);
    lm_stop_wake();
    assert_int_equal(poll(&wake, 1, 0), 1);
    lm_stop_leave();
    assert_int_equal(lm_stop_fd(), -1);
    lm_stop_drain();
    assert_true(lm_stop_sleep_ms(1));
    assert_true(lm_stop_enter());
    assert_true(lm_stop_enter());
    assert_int_equal(lm_stop_fd(), wake.fd);
}

static void
send_interrupt(void)
{
    kill(getpid(), SIGINT);
}

/* The level stays: these are the last. */
static void
test_a_signal_ends_the_sleep_of_every_thread(void **state)
{
    int64_t begun = lm_clock_ms();

    (void)state;
    assert_int_equal(lm_stop_level(), 0);
    wake_sleepers(send_interrupt, lm_stop_sleep_ms);
    assert_int_equal(woken, 0);
    assert_false(lm_stop_sleep_ms(LONG_MS)); /* it came before the sleep */
    assert_true(lm_clock_ms() - begun < LONG_MS);
    assert_true(lm_stop_sleep_ms(1)); /* it is known now */
    assert_int_equal(lm_stop_level(), 1);
    assert_string_equal(lm_stop_signal(), "SIGINT");
}

static void
test_one_thread_interrupts_every_other(void **state)
{
    (void)state;
    wake_sleepers(lm_stop_interrupt, lm_stop_wait_ms);
    assert_int_equal(woken, 0);
    assert_int_equal(lm_stop_level(), 2);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_wake_ends_the_wait_of_every_thread),
        cmocka_unit_test(test_a_wake_does_not_end_a_sleep),
        cmocka_unit_test(test_a_wake_before_the_wait_is_not_missed),
        cmocka_unit_test(test_places_are_used_again),
        cmocka_unit_test(test_a_thread_that_has_not_entered_has_no_descriptor),
        cmocka_unit_test(test_a_signal_ends_the_sleep_of_every_thread),
        cmocka_unit_test(test_one_thread_interrupts_every_other),
    };

    lm_stop_install();
    return UNIT_RUN(tests);
}
