/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_MONITOR_H
#define LM_CORE_RUN_MONITOR_H

#include "core/health/health.h"
#include "pg/conn/conn.h"

/*
 * A thread with a second connection that reads the health signals and asks the hook, in each turn and when there is a notification on
 * channel "luamig", whether somebody wants something of the run.
 *
 * The hook runs in that thread; false with an error that has broken the
 * connection makes it connect again. release frees arg when nobody needs it any
 * more, which may be after lm_monitor_stop: the runner lets go of arg there.
 */
struct lm_monitor_hooks {
    bool (*poll)(void *arg, struct lm_conn *conn, struct lm_err *err);
    void (*release)(void *arg);
    void *arg;
    int64_t turn_ms; /* it is asked at least so often; once a second anyway */
};

struct lm_monitor_options {
    const char *conninfo;
    const char *application_name;
    const struct lm_health_limits *limits;
    const char *tables; /* OIDs, "{16384}" */
    const char *const *replicas;
    int replica_count;
    int64_t backend_pid; /* of the run's connection; 0: a pooler hides it */
    struct lm_monitor_hooks hooks; /* empty: nothing is asked for */
};
/* NULL when there is no thread to be had. The options are copied, the hook's
 * arg is taken over; the functions below take NULL for a monitor that does
 * nothing. */
struct lm_monitor *lm_monitor_start(const struct lm_monitor_options *options);
void lm_monitor_stop(struct lm_monitor *self);
/* The run finds no room for its connection: ends the monitor's, until the run
 * has one. */
void lm_monitor_disconnect(struct lm_monitor *self);
/* The run has another connection. */
void lm_monitor_set_backend(struct lm_monitor *self, int64_t backend_pid);
/* From the next sample on, the signal is read where it has a limit. */
void lm_monitor_set_limit(struct lm_monitor *self, enum lm_signal signal,
                          double above);
/* Copies the latest sample. False when it is the one with the given number. */
bool lm_monitor_look(struct lm_monitor *self, uint64_t *number,
                     struct lm_health_sample *out);

#endif
