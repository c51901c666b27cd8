/* SPDX-License-Identifier: MIT */
/* Blocking calls aside: their end, giving them up, and who frees what. */

#include "unit.h"

#include "base/aside.h"
#include "base/stop.h"

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

/* Work that lasts until somebody writes into the pipe. */
struct work {
    int gate[2];
    atomic_bool worked;
    bool signals_blocked;
    atomic_bool discarded;
};

static void
do_work(void *arg)
{
    struct work *work = arg;
    sigset_t blocked;
    char byte;

    pthread_sigmask(SIG_BLOCK, NULL, &blocked);
    work->signals_blocked = sigismember(&blocked, SIGINT) == 1;
    assert_int_equal(read(work->gate[0], &byte, 1), 1);
    work->worked = true;
}

static void
discard(void *arg)
{
    struct work *work = arg;

    work->discarded = true;
}

static void
open_gate(struct work *work)
{
    assert_int_equal(write(work->gate[1], "x", 1), 1);
}

static void
wait_discarded(struct work *work)
{
    for (int i = 0; i < 6000 && !work->discarded; i++)
        usleep(10000);
    assert_true(work->discarded);
}

static void
test_work_that_ends_is_the_callers_again(void **state)
{
    struct work work = {.worked = false};

    (void)state;
    assert_int_equal(pipe(work.gate), 0);
    open_gate(&work);
    assert_int_equal(lm_aside_run(do_work, discard, &work, 0, 1),
                     LM_ASIDE_DONE);
    assert_true(work.worked);
    assert_true(work.signals_blocked);
    assert_false(work.discarded);
}

static void
test_work_that_takes_too_long_is_discarded_when_it_ends(void **state)
{
    struct work work = {.worked = false};

    (void)state;
    assert_int_equal(pipe(work.gate), 0);
    assert_int_equal(lm_aside_run(do_work, discard, &work, 20, 0),
                     LM_ASIDE_LATE);
    assert_false(work.worked);
    assert_false(work.discarded);
    open_gate(&work);
    wait_discarded(&work);
    assert_true(work.worked);
}

static void
on_alarm(int number)
{
    (void)number;
    raise(SIGINT);
}

static void
test_a_signal_ends_the_wait(void **state)
{
    struct work work = {.worked = false};

    (void)state;
    lm_stop_install();
    signal(SIGALRM, on_alarm);
    assert_int_equal(pipe(work.gate), 0);
    ualarm(20000, 0);
    assert_int_equal(lm_aside_run(do_work, discard, &work, 0, 1),
                     LM_ASIDE_STOPPED);
    open_gate(&work);
    wait_discarded(&work);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_work_that_ends_is_the_callers_again),
        cmocka_unit_test(
            test_work_that_takes_too_long_is_discarded_when_it_ends),
        cmocka_unit_test(test_a_signal_ends_the_wait),
    };

    return UNIT_RUN(tests);
}
