/* SPDX-License-Identifier: MIT */
/*
 * Signals as a counter and a self-pipe. The counter is the one piece of
 * module state, because signals belong to the process.
 */

#include "base/stop.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static atomic_int level; /* read by other threads as well */
static volatile sig_atomic_t last_signal;
static int pipe_fds[2] = {-1, -1};

static void
on_signal(int number)
{
    int saved_errno = errno;
    char byte = 1;
    ssize_t ignored;

    if (number == SIGHUP && level > 0)
        return;
    last_signal = number;
    if (level >= 2) {
        signal(number, SIG_DFL);
        raise(number);
    } else {
        level++;
    }
    ignored = write(pipe_fds[1], &byte, 1);
    (void)ignored;
    errno = saved_errno;
}

void
lm_stop_install(void)
{
    struct sigaction action;
    struct sigaction before;

    if (pipe_fds[0] >= 0 || pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC) != 0)
        return;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

void
lm_stop_interrupt(void)
{
    char byte = 1;
    ssize_t ignored;

    if (level < 2)
        level = 2;
    ignored = write(pipe_fds[1], &byte, 1);
    (void)ignored;
}

int
lm_stop_level(void)
{
    return level;
}

const char *
lm_stop_signal(void)
{
    switch (last_signal) {
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
    return pipe_fds[0];
}

void
lm_stop_drain(void)
{
    char bytes[16];

    while (pipe_fds[0] >= 0 && read(pipe_fds[0], bytes, sizeof bytes) > 0)
        continue;
}

bool
lm_stop_sleep_ms(int64_t duration_ms)
{
    int64_t end = lm_clock_ms() + duration_ms;
    int before = lm_stop_level();
    int64_t left;

    while ((left = end - lm_clock_ms()) > 0) {
        struct pollfd wake = {pipe_fds[0], POLLIN, 0};

        poll(&wake, pipe_fds[0] >= 0 ? 1 : 0, left > 60000 ? 60000 : (int)left);
        lm_stop_drain();
        if (lm_stop_level() != before)
            return false;
    }
    return true;
}
