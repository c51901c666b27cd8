/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_HEALTH_HEALTH_H
#define LM_CORE_HEALTH_HEALTH_H

/*
 * The server's health: which signals hold a run, how they are read, and how
 * they are judged. docs/operating.md says what each is for.
 *
 * Reading (health/signals.c) needs a connection and gives plain data. Judging
 * (health.c) has neither a database nor a clock: it takes samples and the
 * time, and says what holds the run. A hold begins above the limit and ends at
 * half of the limit. Unknown is not zero: if a signal holds the run and
 * becomes unknown, it holds the run for ten more minutes at most.
 */

#include "base/err.h"

#include <stdatomic.h>
#include <stdint.h>

struct lm_conn;

enum lm_signal {
    LM_SIGNAL_BATCH_TIME, /* from the runner's clock, not from a sample */
    LM_SIGNAL_BLOCKED,
    LM_SIGNAL_REPLICA_LAG,
    LM_SIGNAL_REPLAY_LAG,
    LM_SIGNAL_SLOTS,
    LM_SIGNAL_ARCHIVER,
    LM_SIGNAL_VACUUM,
    LM_SIGNAL_DEBT,
    LM_SIGNAL_SNAPSHOT,
    LM_SIGNAL_SESSIONS,
    LM_SIGNALS,

    /* Causes of a hold that are not signals. */
    LM_HELD_BY_SCRIPT = LM_SIGNALS,
    LM_CAUSES,
    LM_HELD_BY_NOTHING = LM_CAUSES
};

/* The name in config.health. */
const char *lm_health_setting(enum lm_signal signal);

/* A hold begins above this; negative: the signal is off. */
struct lm_health_limits {
    double above[LM_SIGNALS];
};
/* Is there anything to read? Without it there are no samples. */
bool lm_health_has_signals(const struct lm_health_limits *limits);

/* -- reading ----------------------------------------------------------- */

enum lm_health_state {
    LM_HEALTH_OFF, /* by config.health */
    LM_HEALTH_AVAILABLE,
    LM_HEALTH_UNUSED,     /* there is nothing to watch; counts as zero */
    LM_HEALTH_DEGRADED,   /* read in part, or from a related figure */
    LM_HEALTH_UNAVAILABLE /* the value means nothing */
};

struct lm_health_reading {
    enum lm_health_state state;
    double value;     /* in the unit of the setting; sessions: how many */
    double cap;       /* a limit of the server's own, if lower; 0: none */
    bool missing;     /* a standby or slot that was there is gone */
    bool lacks_right; /* the role would see more with pg_read_all_stats */
    char text[256];   /* the cause: "vacuum of public.t (pid 7)" */
    char note[256];   /* on its state: "1 standby", "archive_mode is off" */
};

struct lm_health_sample {
    struct lm_health_reading of[LM_SIGNALS];
    char unconnected[512]; /* why nothing could be read; "": no problem */
};

/* Makes a sample in which all signals are unknown, with the reason. */
void lm_health_mark_all_unknown(struct lm_health_sample *sample,
                                const struct lm_health_limits *limits,
                                const char *why);

struct lm_health_options {
    const atomic_bool *stop;     /* true: stop reading */
    const char *tables;          /* OIDs as an array literal: "{16384}" */
    const char *const *replicas; /* conninfos */
    int replica_count;
    const char *application_name; /* for the replicas */
};

/* Remembers earlier samples, and has the connections to the replicas. Copies
 * the options. */
struct lm_health_sampler *
lm_health_sampler_new(const struct lm_health_options *options);
void lm_health_sampler_free(struct lm_health_sampler *self);

/* Reads all signals that have a limit. backends: the server processes of the
 * run's own connections, "{4711,4712}"; "{}": unknown. Fails only if the connection is lost, or if it
 * is told to stop; otherwise leaves no transaction open. */
bool lm_health_sample(struct lm_health_sampler *self,
                      const struct lm_health_limits *limits,
                      struct lm_conn *conn, const char *backends,
                      struct lm_health_sample *out,
                      struct lm_err *err) LM_MUSTCHECK;
/* The connection is a new one: tries again what the role could not read
 * before. */
void lm_health_sampler_reset(struct lm_health_sampler *self);

/* health/standbys.c: notes the standbys of a sample one by one. A standby is
 * missing if it occurs less often than before; gives the first, NULL: none.
 * Initialised with zeros. */
struct lm_standbys {
    int count;
    struct lm_standby {
        char name[128];        /* and address */
        int known;             /* how many there are */
        int seen;              /* in the current sample */
        int64_t more_since_ms; /* since when there are more; 0: there are not */
    } of[32];
};
void lm_standbys_begin(struct lm_standbys *self);
void lm_standbys_note(struct lm_standbys *self, const char *name);
const char *lm_standbys_missing(struct lm_standbys *self, int64_t now_ms);

/* -- judging ----------------------------------------------------------- */

enum lm_health_mode {
    LM_HEALTH_CALM,
    LM_HEALTH_HOLDS,
    LM_HEALTH_BLIND,   /* holds because it is unknown */
    LM_HEALTH_SLOWS,   /* has held for long: 25 % speed */
    LM_HEALTH_GIVEN_UP /* unknown for too long: does not hold */
};

struct lm_health {
    struct lm_health_limits limits;
    struct {
        enum lm_health_mode mode;
        int64_t since_ms; /* when it got into this mode */
        bool pressed;     /* above half of the limit, or unknown and holding */
        char text[320];
    } of[LM_SIGNALS];
    double usual_sessions; /* a moving average; 0: not known */
    int64_t usual_ms;      /* when it was last updated */
    bool blocked;          /* sessions were blocked since the last rest */
};

void lm_health_begin(struct lm_health *self,
                     const struct lm_health_limits *limits);
void lm_health_take(struct lm_health *self,
                    const struct lm_health_sample *sample, int64_t now_ms);
/* Changes a limit from the next sample on. A hold by the old limit ends; the
 * new limit may begin another one. */
void lm_health_set_limit(struct lm_health *self, enum lm_signal signal,
                         double above);
/* What holds the run at this moment, or LM_HELD_BY_NOTHING. */
enum lm_signal lm_health_holds(struct lm_health *self, int64_t now_ms);
/* What is above half of its limit, by the last sample, so that the run should
 * have fewer workers; or LM_HELD_BY_NOTHING. Not the time of batches: with fewer
 * workers a script takes as long. Not after a hold was given up either: then all
 * work at a quarter of the speed. */
enum lm_signal lm_health_presses(const struct lm_health *self);

/* How long to rest after a batch that took batch_ms, and why. */
int64_t lm_health_rest_ms(struct lm_health *self, int64_t batch_ms,
                          enum lm_signal *cause);
/* How many times as long as its batch a worker rests while a hold has been
 * given up and its signal is still over the limit; else 0. */
int lm_health_slowness(const struct lm_health *self);

/* -- telling ----------------------------------------------------------- */

/* The text of a hold by the signal: "replica lag 300 MB on s1 (resumes at 64
 * MB)". Valid until the next call that judges. */
const char *lm_health_why(const struct lm_health *self, enum lm_signal signal);
/* Adds "replica lag available (1 standby), ...": all signals, or only those
 * that cannot be read or are read in part. */
void lm_health_describe(const struct lm_health_sample *sample, bool all,
                        struct lm_buf *buf);
/* Adds "300 MB". */
void lm_health_add_bytes(struct lm_buf *buf, double bytes);

/* How long the run was held, by cause. The journal keeps it as JSON; people
 * read "held 3m12s: replica lag 2m50s, autovacuum 22s", or nothing if it was
 * not held. Reading JSON takes the causes that it knows, and 0 for the others.
 */
struct lm_held {
    int64_t ms[LM_CAUSES];
};
void lm_held_write(const struct lm_held *held, struct lm_buf *buf);
void lm_held_read(struct lm_held *held, const char *json);
void lm_held_describe(const struct lm_held *held, struct lm_buf *buf);

#endif
