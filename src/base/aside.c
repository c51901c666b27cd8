/* SPDX-License-Identifier: MIT */
/*
 * A thread for one call, and a pipe that wakes the waiting caller.
 *
 * Thread and caller share the job; the last one to leave frees it. If no
 * thread or pipe can be made, the call blocks the caller.
 */

#include "base/aside.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/stop.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { LONGEST_POLL_MS = 60000, STACK_BYTES = 8 * 1024 * 1024 };

struct job {
    void (*work)(void *arg);
    void (*discard)(void *arg);
    void *arg;
    bool abandoned;       /* the caller has given up; set before it leaves */
    atomic_bool finished; /* what work has written may be read */
    int done[2];
    atomic_int holders;
};

static void
leave(struct job *job)
{
    if (atomic_fetch_sub(&job->holders, 1) > 1)
        return;
    if (job->abandoned)
        job->discard(job->arg);
    close(job->done[0]);
    close(job->done[1]);
    free(job);
}

static void *
run_job(void *arg)
{
    struct job *job = arg;
    char byte = 1;
    ssize_t ignored;

    job->work(job->arg);
    atomic_store(&job->finished, true);
    ignored = write(job->done[1], &byte, 1);
    (void)ignored;
    leave(job);
    return NULL;
}

bool
lm_aside_start(pthread_t *thread, void *(*work)(void *arg), void *arg)
{
    pthread_attr_t attributes;
    sigset_t all;
    sigset_t before;
    bool started;

    if (pthread_attr_init(&attributes) != 0)
        return false;
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    started = pthread_create(thread, &attributes, work, arg) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

static enum lm_aside_end
wait_for(const struct job *job, int64_t limit_ms, int stop_level)
{
    int64_t end = lm_clock_ms() + limit_ms;

    for (;;) {
        struct pollfd fds[2] = {
            {job->done[0], POLLIN, 0},
            {stop_level > 0 ? lm_stop_fd() : -1, POLLIN, 0}};
        int64_t left = limit_ms > 0 ? end - lm_clock_ms() : LONGEST_POLL_MS;

        if (atomic_load(&job->finished))
            return LM_ASIDE_DONE;
        if (stop_level > 0 && lm_stop_level() >= stop_level)
            return LM_ASIDE_STOPPED;
        if (left <= 0)
            return LM_ASIDE_LATE;
        poll(fds, 2, left > LONGEST_POLL_MS ? LONGEST_POLL_MS : (int)left);
        if (fds[1].revents != 0)
            lm_stop_drain();
    }
}

enum lm_aside_end
lm_aside_run(void (*work)(void *arg), void (*discard)(void *arg), void *arg,
             int64_t limit_ms, int stop_level)
{
    struct job *job = lm_calloc(1, sizeof *job);
    enum lm_aside_end end;
    pthread_t thread;

    job->work = work;
    job->discard = discard;
    job->arg = arg;
    atomic_init(&job->finished, false);
    atomic_init(&job->holders, 2);
    if (pipe2(job->done, O_CLOEXEC) != 0) {
        free(job);
        work(arg);
        return LM_ASIDE_DONE;
    }
    if (!lm_aside_start(&thread, run_job, job)) {
        atomic_store(&job->holders, 1);
        leave(job);
        work(arg);
        return LM_ASIDE_DONE;
    }
    end = wait_for(job, limit_ms, stop_level);
    if (end == LM_ASIDE_DONE) {
        pthread_join(thread, NULL); /* so that nothing of it is left at exit */
    } else {
        job->abandoned = true;
        pthread_detach(thread);
    }
    leave(job);
    return end;
}
