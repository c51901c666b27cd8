/* SPDX-License-Identifier: MIT */
/*
 * Signals as a counter, and an eventfd for each thread that waits. They are
 * module state, because signals belong to the process.
 *
 * At level 2, the main thread sends a signal to the others that have entered.
 * It is the one that joins them, so each that says that it hears is there.
 *
 * The handler writes to the descriptors of all places, at any time. So a
 * descriptor is never closed: the next thread that enters takes it over, and
 * may be woken once without a reason.
 */

#include "base/stop.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* How long a sleep may be at once; without a descriptor nothing ends it. */
enum { LONGEST_SLEEP_MS = 60000, BLIND_SLEEP_MS = 100 };

/* From thread to thread. */
enum { INTERRUPT_SIGNAL = SIGUSR2 };

struct place {
    pthread_t thread;
    atomic_int fd; /* 0: none yet, as that is standard input */
    atomic_bool taken;
    atomic_bool hears; /* the thread can be interrupted */
};

static atomic_int level;
static atomic_int last_signal;
static atomic_uint wakes; /* how often lm_stop_wake was called */
static atomic_bool installed;
static pthread_t main_thread;
static _Atomic(void (*)(void)) interrupted;
static struct place places[LM_STOP_MOST_THREADS];

/* Of the calling thread. */
static _Thread_local struct place *own;
static _Thread_local unsigned seen_wakes;
static _Thread_local int seen_level;

/* -- waking; safe in a signal handler ------------------------------------- */

static void
wake_all(void)
{
    uint64_t one = 1;

    for (int i = 0; i < LM_STOP_MOST_THREADS; i++) {
        int fd = atomic_load(&places[i].fd);
        ssize_t ignored = fd > 0 ? write(fd, &one, sizeof one) : 0;

        (void)ignored;
    }
}

static void
interrupt_others(void)
{
    for (int i = 0; i < LM_STOP_MOST_THREADS; i++) {
        if (&places[i] != own && atomic_load(&places[i].hears))
            pthread_kill(places[i].thread, INTERRUPT_SIGNAL);
    }
}

static void
on_interrupt(int number)
{
    void (*function)(void) = atomic_load(&interrupted);

    (void)number;
    if (function != NULL)
        function();
    if (pthread_equal(pthread_self(), main_thread))
        interrupt_others();
}

static void
on_signal(int number)
{
    int saved_errno = errno;

    if (number == SIGHUP && level > 0)
        return;
    last_signal = number;
    if (level >= 2) {
        signal(number, SIG_DFL);
        raise(number);
    } else {
        level++;
    }
    if (level >= 2)
        on_interrupt(number);
    wake_all();
    errno = saved_errno;
}

void
lm_stop_interrupt(void)
{
    if (level < 2)
        level = 2;
    if (atomic_load(&installed))
        pthread_kill(main_thread, INTERRUPT_SIGNAL);
    wake_all();
}

void
lm_stop_wake(void)
{
    atomic_fetch_add(&wakes, 1);
    wake_all();
}

/* -- entering --------------------------------------------------------------- */

static bool
has_descriptor(struct place *place)
{
    int fd = atomic_load(&place->fd);

    if (fd > 0)
        return true;
    fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd > 0)
        atomic_store(&place->fd, fd);
    return fd > 0;
}

static struct place *
take_place(void)
{
    for (int i = 0; i < LM_STOP_MOST_THREADS; i++) {
        if (!atomic_exchange(&places[i].taken, true))
            return &places[i];
    }
    return NULL;
}

static void
begin_hearing(void)
{
    sigset_t signals;

    own->thread = pthread_self();
    sigemptyset(&signals);
    sigaddset(&signals, INTERRUPT_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
    atomic_store(&own->hears, true);
}

bool
lm_stop_enter(void)
{
    struct place *place;

    if (own != NULL)
        return true;
    place = take_place();
    if (place == NULL)
        return false;
    if (!has_descriptor(place)) {
        atomic_store(&place->taken, false);
        return false;
    }
    own = place;
    seen_wakes = atomic_load(&wakes);
    begin_hearing();
    return true;
}

void
lm_stop_leave(void)
{
    if (own != NULL) {
        atomic_store(&own->hears, false);
        atomic_store(&own->taken, false);
    }
    own = NULL;
}

void
lm_stop_install(void)
{
    struct sigaction action;
    struct sigaction before;

    if (atomic_load(&installed))
        return;
    main_thread = pthread_self();
    (void)lm_stop_enter(); /* without a place it looks often */
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
    action.sa_handler = on_interrupt;
    action.sa_flags = SA_RESTART;
    sigaction(INTERRUPT_SIGNAL, &action, NULL);
    atomic_store(&installed, true);
}

/* -- looking and sleeping ---------------------------------------------------- */

int
lm_stop_level(void)
{
    seen_level = atomic_load(&level);
    return seen_level;
}

bool
lm_stop_interrupts(void)
{
    return atomic_load(&level) >= 2;
}

void
lm_stop_on_interrupt(void (*function)(void))
{
    atomic_store(&interrupted, function);
}

const char *
lm_stop_signal(void)
{
    switch (atomic_load(&last_signal)) {
    case SIGINT:
        return "SIGINT";
    case SIGTERM:
        return "SIGTERM";
    case SIGHUP:
        return "SIGHUP";
    default:
        return "";
    }
}

int
lm_stop_fd(void)
{
    return own != NULL ? atomic_load(&own->fd) : -1;
}

void
lm_stop_drain(void)
{
    uint64_t count;
    ssize_t ignored =
        own != NULL ? read(lm_stop_fd(), &count, sizeof count) : 0;

    (void)ignored;
}

static bool
is_woken(void)
{
    unsigned now = atomic_load(&wakes);
    bool woken = now != seen_wakes;

    seen_wakes = now;
    return woken;
}

static bool
sleep_ms(int64_t duration_ms, bool until_woken)
{
    int64_t longest = own != NULL ? LONGEST_SLEEP_MS : BLIND_SLEEP_MS;
    int64_t end = lm_clock_ms() + duration_ms;
    int before = seen_level;
    int64_t left;

    while ((left = end - lm_clock_ms()) > 0 && lm_stop_level() == before &&
           !(until_woken && is_woken())) {
        struct pollfd wake = {lm_stop_fd(), POLLIN, 0};

        poll(&wake, 1, (int)(left > longest ? longest : left));
        lm_stop_drain();
    }
    return lm_stop_level() == before;
}

bool
lm_stop_sleep_ms(int64_t duration_ms)
{
    return sleep_ms(duration_ms, false);
}

bool
lm_stop_wait_ms(int64_t duration_ms)
{
    return sleep_ms(duration_ms, true);
}
