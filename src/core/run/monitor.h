/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_MONITOR_H
#define LM_CORE_RUN_MONITOR_H

#include "core/health/health.h"
#include "pg/conn/conn.h"

/*
 * A thread with a second connection, which it makes a tenth of a second after
 * the start: a run that is over by then needs none. In each turn it reads the health signals
 * and calls the hook, which looks for requests to the run. A notification on
 * channel "luamig" begins a turn at once.
 *
 * The hook runs in that thread. If it returns false because the connection is
 * broken, the thread connects again. release frees arg when neither side needs
 * it any more. That may be after lm_monitor_stop, because the runner also uses
 * arg.
 */
struct lm_monitor_hooks {
    bool (*poll)(void *arg, struct lm_conn *conn, struct lm_err *err);
    void (*release)(void *arg);
    void *arg;
    /* the hook is called at least so often, and never less than once a second
     */
    int64_t turn_ms;
};

struct lm_monitor_options {
    const char *conninfo;
    const char *application_name;
    const struct lm_health_limits *limits;
    const char *tables; /* OIDs, "{16384}" */
    const char *const *replicas;
    int replica_count;
    struct lm_monitor_hooks hooks; /* empty: nothing is asked for */
};
/* NULL if no thread can be started. Copies the options, and takes over the
 * hook's arg. The functions below do nothing if the monitor is NULL. */
struct lm_monitor *lm_monitor_start(const struct lm_monitor_options *options);
void lm_monitor_stop(struct lm_monitor *self);
/* The server has no free connection for the run: closes the monitor's
 * connection until the run has one. */
void lm_monitor_disconnect(struct lm_monitor *self);
/* Sets the server process of a worker's new connection; 0: a pooler hides it,
 * or it has none. The first worker's connection is the run's. */
void lm_monitor_set_backend(struct lm_monitor *self, int worker,
                            int64_t backend_pid);
/* Changes a limit. From the next sample on, the signal is read if it has a
 * limit. */
void lm_monitor_set_limit(struct lm_monitor *self, enum lm_signal signal,
                          double above);
/* Copies the latest sample. False if that is still the sample with the given
 * number. */
bool lm_monitor_look(struct lm_monitor *self, uint64_t *number,
                     struct lm_health_sample *out);

#endif
