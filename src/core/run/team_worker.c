/* SPDX-License-Identifier: MIT */
/*
 * A worker touches nothing of the runner but the account. What the runner wants
 * of it, and what it has to say, lies in the team, under a mutex; the runner
 * wakes all workers when that changes.
 */

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"
#include "core/run/team_private.h"

#include <string.h>

enum {
    IDLE_MS = 100,     /* between two looks for work */
    WAIT_MS = 1000,    /* for a word of the runner, which wakes */
    CONNECT_MS = 5000, /* before the next attempt to connect */
    LEAVE_TRIES = 3
};

/* -- what the runner wants ------------------------------------------------ */

struct orders {
    bool stop;
    bool hold;
    bool park; /* and give the range back */
    int rest;
    double slow_ms;
};

/* begins: the worker is going to begin a batch if it may. */
static struct orders
ask_for_orders(struct lm_worker *self, bool begins)
{
    struct lm_team *team = self->team;
    struct orders orders;

    pthread_mutex_lock(&team->mutex);
    orders.stop = team->stopping || team->failed || self->number > team->size;
    orders.hold = team->held;
    orders.park = team->parked;
    orders.rest = team->rest;
    orders.slow_ms = team->slow_ms;
    self->lane.others = team->size - 1;
    self->busy = begins && !orders.stop && !orders.hold && !orders.park;
    if (self->settings != team->settings_number) {
        self->settings = team->settings_number;
        self->migration.batch_size = team->settings.batch_size;
        self->migration.target_ms = team->settings.target_ms;
        self->migration.throttle_ms = team->settings.throttle_ms;
        lm_size_set_max(&self->lane.size, self->migration.batch_size);
        lm_size_set_target(&self->lane.size, self->migration.target_ms);
    }
    for (; self->halvings < team->halvings; self->halvings++)
        (void)lm_size_halve(&self->lane.size);
    pthread_mutex_unlock(&team->mutex);
    return orders;
}

static bool
should_stop(struct lm_worker *self)
{
    return lm_stop_level() > 0 || ask_for_orders(self, false).stop;
}

/* Sleeps, but not longer than the runner lets it. */
static void
sleep_ms(struct lm_worker *self, int64_t duration_ms)
{
    int64_t end = lm_clock_ms() + duration_ms;
    int64_t left;

    if (duration_ms > 0)
        lm_lane_rest(&self->lane);
    while ((left = end - lm_clock_ms()) > 0 && !should_stop(self))
        lm_stop_wait_ms(left);
}

/* -- the run, as its lane sees it ------------------------------------------ */

static bool
begin_batch(void *run, struct lm_err *err)
{
    return lm_lane_begin_batch(&((struct lm_worker *)run)->lane, err);
}

static bool
end_batch(void *run, const struct lm_page *page, const struct lm_key *cursor,
          struct lm_err *err)
{
    return lm_lane_commit_batch(&((struct lm_worker *)run)->lane, page, cursor,
                                err);
}

static void
counted(void *run, const struct lm_counts *done)
{
    (void)run;
    (void)done;
}

static bool
is_slow(int64_t worked_ms, double slow_ms)
{
    return slow_ms >= 0 && (double)worked_ms > slow_ms;
}

static bool
goes_on(void *run)
{
    const struct lm_worker *self = run;
    struct lm_team *team = self->team;
    int64_t worked_ms = lm_clock_ms() - self->lane.begun_ms;
    bool rests;

    pthread_mutex_lock(&team->mutex);
    rests = team->held || team->parked || team->rest > 0 ||
            is_slow(worked_ms, team->slow_ms);
    pthread_mutex_unlock(&team->mutex);
    return !rests && self->migration.throttle_ms == 0;
}

static void
waits(void *run, const char *what)
{
    (void)run;
    (void)what;
}

static void
rest(void *run, int64_t duration_ms)
{
    sleep_ms(run, duration_ms);
}

static void
prepares(void *run, bool begins)
{
    struct lm_worker *self = run;

    pthread_mutex_lock(&self->team->mutex);
    self->prepares_ms = begins ? lm_clock_ms() : 0;
    pthread_mutex_unlock(&self->team->mutex);
}

/* Without a word to the runner: the batch stays in hand. */
static bool
is_wanted(void *run)
{
    const struct lm_worker *self = run;
    struct lm_team *team = self->team;
    bool wanted;

    pthread_mutex_lock(&team->mutex);
    wanted = team->stopping || team->failed || team->held || team->parked ||
             self->number > team->size;
    pthread_mutex_unlock(&team->mutex);
    return wanted || lm_stop_level() > 0;
}

static void
disconnected(void *run)
{
    struct lm_worker *self = run;

    lm_monitor_set_backend(self->team->monitor, self->number, 0);
}

static void
connected(void *run)
{
    struct lm_worker *self = run;
    struct lm_conn *conn = self->lane.conn;

    lm_monitor_set_backend(self->team->monitor, self->number,
                           lm_conn_is_pooled(conn) ? 0
                                                   : lm_conn_backend_pid(conn));
}

/* The journal was read: it may have more of this worker's range than the worker
 * believed. */
static bool
settle(struct lm_worker *self, const struct lm_belief *before,
       struct lm_err *err)
{
    int64_t batches;

    self->lane.range_done = false;
    return lm_lane_settle(&self->lane, before, &batches, err);
}

static bool
claim(void *run, struct lm_err *err)
{
    struct lm_worker *self = run;
    struct lm_belief before = lm_lane_believe(&self->lane);

    if (!lm_journal_come_back(&self->lane.journal, &self->run,
                              &self->lane.range, err))
        return false;
    return settle(self, &before, err);
}

static bool
reread(void *run, struct lm_err *err)
{
    struct lm_worker *self = run;
    struct lm_belief before = lm_lane_believe(&self->lane);
    bool mine = true;

    if (self->lane.range.id > 0 &&
        !lm_journal_read_range(&self->lane.journal, &self->lane.range, &mine,
                               err))
        return false;
    if ((self->lane.range.id == 0 || !mine) &&
        !lm_journal_come_back(&self->lane.journal, &self->run,
                              &self->lane.range, err))
        return false;
    return settle(self, &before, err);
}

static struct lm_lane_host
host(struct lm_worker *self)
{
    return (struct lm_lane_host){.run = self,
                                 .begin_batch = begin_batch,
                                 .end_batch = end_batch,
                                 .counted = counted,
                                 .goes_on = goes_on,
                                 .waits = waits,
                                 .rest = rest,
                                 .prepares = prepares,
                                 .is_wanted = is_wanted,
                                 .disconnected = disconnected,
                                 .connected = connected,
                                 .claim = claim,
                                 .reread = reread};
}

/* -- a worker's life -------------------------------------------------------- */

static bool
load(struct lm_worker *self, struct lm_err *err)
{
    struct lm_team *team = self->team;
    struct lm_lane *lane = &self->lane;

    if (!team->first->ops->load_again(team->first->self, &self->script, err))
        return false;
    pthread_mutex_lock(&team->mutex);
    self->migration = team->settings;
    self->settings = team->settings_number;
    self->halvings = team->halvings;
    pthread_mutex_unlock(&team->mutex);
    self->migration.ops = self->script.ops;
    self->migration.self = self->script.self;
    self->run.id = team->run_id;
    LM_ERR_COPY(self->run.mark, team->mark);
    lm_lane_init(lane, &team->options, &self->migration, &self->run,
                 team->account);
    lane->host = host(self);
    lane->journal = team->journal;
    lane->journal.conn = NULL;
    lane->journal.number = self->number;
    memcpy(lane->server, team->server, sizeof lane->server);
    lm_lane_adopt_source(lane, &team->source);
    return true;
}

static bool
connect_lane(struct lm_lane *lane, struct lm_err *err)
{
    return (lane->conn != NULL || lm_lane_connect(lane, err)) &&
           lm_lane_open_source(lane, err);
}

/* Without a connection the run goes on with fewer workers, and this one tries
 * again: the server may be full, or starting. */
static void
connect(struct lm_worker *self)
{
    bool told = false;
    struct lm_err err;

    while (!should_stop(self) && !connect_lane(&self->lane, &err)) {
        if (!told) {
            lm_log(LM_LOG_WARNING,
                   "worker %d gets no connection: %s; the run goes on without "
                   "it",
                   self->number,
                   err.detail[0] != '\0' ? err.detail : err.message);
        }
        told = true;
        sleep_ms(self, CONNECT_MS);
    }
}

/* The first step. */
static bool
enter(struct lm_worker *self, struct lm_err *err)
{
    struct lm_habits habits;

    pthread_mutex_lock(&self->team->mutex);
    habits = self->team->habits;
    pthread_mutex_unlock(&self->team->mutex);
    /* A "set" may be newer than they are. */
    if (habits.size.max != self->migration.batch_size)
        lm_size_set_max(&habits.size, self->migration.batch_size);
    if (habits.size.target_ms != self->migration.target_ms)
        lm_size_set_target(&habits.size, self->migration.target_ms);
    self->entered = lm_lane_check_query(&self->lane, err) &&
                    lm_lane_adopt(&self->lane, &habits, err) &&
                    lm_journal_come_back(&self->lane.journal, &self->run,
                                         &self->lane.range, err);
    return self->entered;
}

/* Takes a range, or looks for one to cut; then the next step sees it. */
static bool
find_work(struct lm_worker *self, struct lm_err *err)
{
    struct lm_lane *lane = &self->lane;
    bool over = lane->range_done;
    bool freed = false;

    if (!lm_journal_next_range(&lane->journal, &self->run, &lane->range, over,
                               err))
        return false;
    lane->range_done = false;
    if (lane->range.id > 0)
        return lm_lane_check_range(lane, err);
    if (over)
        lm_stop_wake(); /* it may be the last: the runner ends the run */
    if (self->run.ranges > 0 && strcmp(self->run.state, "running") == 0 &&
        !lm_lane_share(lane, &self->share, 2, &freed, err))
        return false;
    if (!freed)
        sleep_ms(self, IDLE_MS);
    return true;
}

static bool
give_back(struct lm_worker *self, struct lm_err *err)
{
    struct lm_lane *lane = &self->lane;

    return lane->range.id == 0 ||
           lm_journal_give_back(&lane->journal, &self->run, &lane->range,
                                lane->range_done, err);
}

static int64_t
rest_ms(const struct lm_worker *self, const struct orders *orders)
{
    int64_t worked_ms = self->lane.worked_ms;
    if (orders->rest == 0 && is_slow(worked_ms, orders->slow_ms))
        return worked_ms;
    return worked_ms * orders->rest;
}

static bool
step(struct lm_worker *self, struct lm_err *err)
{
    struct lm_lane *lane = &self->lane;
    struct orders orders = ask_for_orders(self, true);

    if (orders.stop)
        return true;
    if (!self->entered)
        return enter(self, err);
    if (orders.hold || orders.park) {
        if (orders.park && !give_back(self, err))
            return false;
        lm_lane_rest(lane);
        lm_stop_wait_ms(WAIT_MS);
        return true;
    }
    if (lm_lane_needs_range(lane))
        return find_work(self, err);
    if (!lm_lane_reserve(lane)) {
        sleep_ms(self, IDLE_MS);
        return true;
    }
    if (!lm_lane_batch(lane, err))
        return false;
    orders = ask_for_orders(self, false);
    if (orders.hold)
        lm_stop_wake(); /* the runner waits for that */
    sleep_ms(self, self->migration.throttle_ms + rest_ms(self, &orders));
    return true;
}

static bool
live(struct lm_worker *self, struct lm_err *err)
{
    struct lm_lane *lane = &self->lane;

    if (!load(self, err))
        return false;
    connect(self);
    while (!should_stop(self)) {
        int64_t range = lane->range.id;
        int64_t seq = lane->range.seq;

        lm_lane_begin_step(lane);
        if (!step(self, err)) {
            if (!lm_lane_recover(lane, err))
                return false;
        } else {
            lm_lane_end_step(lane);
        }
        if (lane->range.id != range || lane->range.seq > seq)
            lm_lane_note_progress(lane);
    }
    return true;
}

/* Others may be cutting the range meanwhile. If it is not given back at last,
 * they take it over. */
static void
leave(struct lm_worker *self)
{
    struct lm_lane *lane = &self->lane;
    struct lm_err err;

    for (int i = 0; i < LEAVE_TRIES; i++) {
        if (!self->entered || !lm_conn_is_up(lane->conn) ||
            (give_back(self, &err) &&
             lm_journal_end_session(&lane->journal, &err)))
            return;
        lm_log(LM_LOG_DEBUG, "worker %d: %s", self->number, err.message);
        if (!lm_lane_refresh(lane, &err))
            return;
    }
}

void *
lm_worker_live(void *arg)
{
    struct lm_worker *self = arg;
    struct lm_counts left = {.rows = 0};
    struct lm_err err;
    bool ok = lm_stop_enter() ||
              lm_err_set(&err, LM_ERR_INTERNAL,
                         "there is no room for worker %d", self->number);

    ok = ok && live(self, &err);
    if (ok)
        leave(self);
    left.uncounted = self->lane.attempt.uncounted_retries;
    lm_account_add(self->team->account, &left);
    if (self->script.ops != NULL) {
        disconnected(self);
        lm_lane_release(&self->lane);
        self->script.ops->release_copy(&self->script);
    }
    lm_run_release(&self->run);
    lm_team_note_end(self, ok, &err);
    lm_stop_leave();
    return NULL;
}
