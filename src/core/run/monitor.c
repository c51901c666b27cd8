/* SPDX-License-Identifier: MIT */
/*
 * The monitor: a thread with a connection of its own. It reads the health
 * signals once a second, and calls the hook, which looks for requests; at once
 * after a notification.
 *
 * It never uses Lua, the log or the run's own connection, and blocks all
 * signals. It writes its results into a struct from which the runner copies. A
 * run never waits for it. If it cannot connect, it tries again in the
 * background. If the thread is stuck when the run ends, it is left behind; the
 * last user frees the monitor.
 */

#include "core/run/monitor.h"

#include "base/aside.h"
#include "base/clock.h"
#include "core/journal/journal.h"
#include "core/run/run.h"

#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum {
    BEGIN_MS = 100,
    SAMPLE_MS = 1000,
    STALE_MS = 15000,   /* a sample that is older says nothing */
    STOP_WAIT_MS = 300, /* for the thread to end */
    SILENCE_MS = 10000,
    RECONNECT_BASE_MS = 500,
    RECONNECT_CAP_MS = 15000
};

struct lm_monitor {
    char *conninfo;
    char *application_name;
    struct lm_health_sampler *sampler;
    struct lm_monitor_hooks hooks;
    int wake_fd;
    atomic_int holders; /* of this memory: the runner, the thread */
    atomic_bool stopping;
    atomic_bool gives_way; /* the run is without a connection */
    atomic_bool moves;     /* it was, since this one was made */
    pthread_t thread;
    struct lm_conn *conn; /* the thread's */
    int attempts;         /* at connecting, in a row */

    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t ended_cond;
    bool ended;
    int64_t backends[LM_RUNNER_MOST_WORKERS]; /* by worker; 0: unknown */
    struct lm_health_limits limits;
    uint64_t number; /* of the sample, from 1; 0: there is none */
    int64_t taken_ms;
    bool looked; /* the runner has seen it */
    struct lm_health_sample sample;
};

static void
let_go(struct lm_monitor *self)
{
    if (atomic_fetch_sub(&self->holders, 1) > 1)
        return;
    if (self->hooks.release != NULL)
        self->hooks.release(self->hooks.arg);
    lm_health_sampler_free(self->sampler);
    pthread_cond_destroy(&self->ended_cond);
    pthread_mutex_destroy(&self->mutex);
    close(self->wake_fd);
    free(self->conninfo);
    free(self->application_name);
    free(self);
}

/* -- the thread -------------------------------------------------------- */

static struct lm_health_limits
read_limits(struct lm_monitor *self)
{
    struct lm_health_limits limits;

    pthread_mutex_lock(&self->mutex);
    limits = self->limits;
    pthread_mutex_unlock(&self->mutex);
    return limits;
}

/* Sessions that were blocked are not forgotten before the runner has looked. */
static void
post(struct lm_monitor *self, const struct lm_health_sample *sample)
{
    struct lm_health_reading blocked;

    pthread_mutex_lock(&self->mutex);
    blocked = self->sample.of[LM_SIGNAL_BLOCKED];
    self->sample = *sample;
    if (!self->looked && blocked.value > sample->of[LM_SIGNAL_BLOCKED].value)
        self->sample.of[LM_SIGNAL_BLOCKED] = blocked;
    self->number++;
    self->taken_ms = lm_clock_ms();
    self->looked = false;
    pthread_mutex_unlock(&self->mutex);
}

static void
disconnect(struct lm_monitor *self, const struct lm_err *why)
{
    struct lm_health_limits limits;
    struct lm_health_sample nothing;
    char text[512];

    lm_conn_close(self->conn);
    self->conn = NULL;
    self->attempts++;
    snprintf(text, sizeof text, "%.200s%s%.200s", why->message,
             why->detail[0] != '\0' ? ": " : "", why->detail);
    limits = read_limits(self);
    lm_health_mark_all_unknown(&nothing, &limits, text);
    post(self, &nothing);
}

static bool
connect_monitor(struct lm_monitor *self, struct lm_err *err)
{
    struct lm_conn_options how = {.application_name = self->application_name,
                                  .silence_ms = SILENCE_MS};

    if (!lm_conn_open(&self->conn, self->conninfo, &how, err))
        return false;
    lm_conn_set_deadline(self->conn, SILENCE_MS);
    lm_health_sampler_reset(self->sampler);
    if (!lm_conn_is_pooled(self->conn) &&
        !lm_conn_command(self->conn, "LISTEN " LM_JOURNAL_CHANNEL, err))
        return false;
    self->attempts = 0;
    return true;
}

static void
list_backends(struct lm_monitor *self, struct lm_buf *out)
{
    lm_buf_putc(out, '{');
    pthread_mutex_lock(&self->mutex);
    for (size_t i = 0; i < LM_COUNT(self->backends); i++) {
        if (self->backends[i] > 0) {
            lm_buf_printf(out, "%s%" PRId64, out->len > 1 ? "," : "",
                          self->backends[i]);
        }
    }
    pthread_mutex_unlock(&self->mutex);
    lm_buf_putc(out, '}');
}

static bool
take_sample(struct lm_monitor *self, const struct lm_health_limits *limits,
            struct lm_err *err)
{
    struct lm_health_sample sample;
    struct lm_buf backends = LM_BUF_INIT;
    bool ok;

    list_backends(self, &backends);
    ok = lm_health_sample(self->sampler, limits, self->conn,
                          lm_buf_text(&backends), &sample, err);
    lm_buf_release(&backends);
    if (ok)
        post(self, &sample);
    return ok;
}

/* Requests come first. */
static bool
ask_hook(struct lm_monitor *self, struct lm_err *err)
{
    if (self->hooks.poll == NULL ||
        self->hooks.poll(self->hooks.arg, self->conn, err))
        return true;
    lm_conn_rollback(self->conn);
    return lm_conn_is_up(self->conn);
}

static bool
turn(struct lm_monitor *self, int64_t *next_ms, struct lm_err *err)
{
    struct lm_health_limits limits = read_limits(self);
    bool samples = lm_health_has_signals(&limits);
    bool notified = false;
    int64_t rest_ms;

    if (self->conn == NULL && !connect_monitor(self, err))
        return false;
    if (atomic_load(&self->stopping))
        return true;
    if (!ask_hook(self, err))
        return false;
    if (samples && lm_clock_ms() >= *next_ms) {
        *next_ms = lm_clock_ms() + SAMPLE_MS;
        if (!take_sample(self, &limits, err))
            return false;
    }
    rest_ms = samples ? *next_ms - lm_clock_ms() : SAMPLE_MS;
    if (self->hooks.poll != NULL && rest_ms > self->hooks.turn_ms)
        rest_ms = self->hooks.turn_ms;
    return lm_conn_listen(self->conn, self->wake_fd, rest_ms > 0 ? rest_ms : 0,
                          &notified, err);
}

static void
sleep_awake(struct lm_monitor *self, int64_t duration_ms)
{
    struct pollfd wake = {self->wake_fd, POLLIN, 0};

    poll(&wake, 1, (int)duration_ms);
}

/* The waking thread has set a flag before. */
static void
drain(struct lm_monitor *self)
{
    uint64_t count;
    ssize_t ignored = read(self->wake_fd, &count, sizeof count);

    (void)ignored;
}

/* The run looks for its server: there may be another one behind the address
 * soon, and room for one connection only. */
static void
let_run_go_first(struct lm_monitor *self)
{
    struct lm_err why;

    if (self->conn == NULL)
        return;
    lm_err_set(&why, LM_ERR_CONNECT, "the run is reconnecting");
    disconnect(self, &why);
}

/* A lease may be so short that the hook must be called before. */
static int64_t
begin_ms(const struct lm_monitor *self)
{
    bool soon = self->hooks.poll != NULL && self->hooks.turn_ms < BEGIN_MS;

    return soon ? self->hooks.turn_ms : BEGIN_MS;
}

static void *
work(void *arg)
{
    struct lm_monitor *self = arg;
    int64_t next_ms = 0;
    struct lm_err err;

    sleep_awake(self, begin_ms(self));
    for (;;) {
        drain(self);
        if (atomic_load(&self->stopping))
            break;
        if (atomic_exchange(&self->moves, false))
            let_run_go_first(self);
        if (atomic_load(&self->gives_way)) {
            sleep_awake(self, SAMPLE_MS);
            continue;
        }
        if (turn(self, &next_ms, &err))
            continue;
        disconnect(self, &err);
        sleep_awake(self, lm_clock_backoff_ms(self->attempts, RECONNECT_BASE_MS,
                                              RECONNECT_CAP_MS));
    }
    lm_conn_close(self->conn);
    pthread_mutex_lock(&self->mutex);
    self->ended = true;
    pthread_cond_signal(&self->ended_cond);
    pthread_mutex_unlock(&self->mutex);
    let_go(self);
    return NULL;
}

/* -- the runner's side --------------------------------------------------- */

static void
init_sync(struct lm_monitor *self)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&self->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&self->ended_cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct lm_monitor *
lm_monitor_start(const struct lm_monitor_options *options)
{
    struct lm_monitor *self;
    struct lm_health_options health = {.tables = options->tables,
                                       .replicas = options->replicas,
                                       .replica_count = options->replica_count};

    self = lm_calloc(1, sizeof *self);
    atomic_init(&self->stopping, false);
    atomic_init(&self->gives_way, false);
    atomic_init(&self->moves, false);
    self->application_name = lm_strdup(options->application_name);
    health.application_name = self->application_name;
    health.stop = &self->stopping;
    self->sampler = lm_health_sampler_new(&health);
    self->conninfo = lm_strdup(options->conninfo);
    self->limits = *options->limits;
    self->hooks = options->hooks;
    self->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    atomic_init(&self->holders, 2);
    init_sync(self);
    if (self->wake_fd >= 0 && lm_aside_start(&self->thread, work, self))
        return self;
    atomic_store(&self->holders, 1);
    let_go(self);
    return NULL;
}

static void
wake(struct lm_monitor *self)
{
    uint64_t one = 1;
    ssize_t ignored = write(self->wake_fd, &one, sizeof one);

    (void)ignored;
}

void
lm_monitor_disconnect(struct lm_monitor *self)
{
    if (self == NULL)
        return;
    atomic_store(&self->gives_way, true);
    atomic_store(&self->moves, true);
    wake(self);
}

void
lm_monitor_stop(struct lm_monitor *self)
{
    struct timespec limit;
    int waited = 0;
    bool ended;

    if (self == NULL)
        return;
    atomic_store(&self->stopping, true);
    wake(self);
    clock_gettime(CLOCK_MONOTONIC, &limit);
    limit.tv_nsec += (long)STOP_WAIT_MS * 1000000;
    limit.tv_sec += limit.tv_nsec / 1000000000;
    limit.tv_nsec %= 1000000000;
    pthread_mutex_lock(&self->mutex);
    while (!self->ended && waited == 0) {
        waited =
            pthread_cond_timedwait(&self->ended_cond, &self->mutex, &limit);
    }
    ended = self->ended;
    pthread_mutex_unlock(&self->mutex);
    if (ended) {
        pthread_join(self->thread, NULL); /* nothing of it is left at exit */
    } else {
        pthread_detach(self->thread);
    }
    let_go(self);
}

void
lm_monitor_set_backend(struct lm_monitor *self, int worker, int64_t backend_pid)
{
    if (self == NULL)
        return;
    pthread_mutex_lock(&self->mutex);
    self->backends[worker - 1] = backend_pid;
    pthread_mutex_unlock(&self->mutex);
    if (worker == 1)
        atomic_store(&self->gives_way, false);
}

void
lm_monitor_set_limit(struct lm_monitor *self, enum lm_signal signal,
                     double above)
{
    if (self == NULL)
        return;
    pthread_mutex_lock(&self->mutex);
    self->limits.above[signal] = above;
    pthread_mutex_unlock(&self->mutex);
}

bool
lm_monitor_look(struct lm_monitor *self, uint64_t *number,
                struct lm_health_sample *out)
{
    bool is_new = false;

    if (self == NULL)
        return false;
    pthread_mutex_lock(&self->mutex);
    if (self->number > *number) {
        *out = self->sample;
        *number = self->number;
        self->looked = is_new = true;
    } else if (self->number > 0 && lm_clock_ms() - self->taken_ms > STALE_MS) {
        lm_health_mark_all_unknown(out, &self->limits,
                                   "the server does not answer");
        self->taken_ms = lm_clock_ms();
        is_new = true;
    }
    pthread_mutex_unlock(&self->mutex);
    return is_new;
}
