/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_RUNNER_H
#define LM_CORE_RUN_RUNNER_H

/*
 * The inside of a run, for the files of this room, and for the dry run, which
 * is one with other ends.
 *
 * Each part of struct lm_runner has one file that changes it; the others call
 * that file.
 */

#include "core/lane/lane.h"
#include "core/page/fingerprint.h"
#include "core/page/position.h"
#include "core/run/mailbox.h"
#include "core/run/progress.h"
#include "core/run/run.h"

/* How long the server may look for the highest key, which may be a scan. */
enum { LM_RUNNER_BOUND_MS = 300000 };

/* The script's, as the database's encoding can hold them. */
struct lm_runner_names {
    char *script;
    char *file;
    char *path;
    char *typed;
};

/* What is asked of the run from elsewhere (requests.c). */
struct lm_requests {
    struct lm_mailbox *mailbox;
    struct lm_request asked; /* the last one that was obeyed, but for a "set" */
    struct lm_reply *answers; /* to what was taken, not yet written */
    int answer_count;
    int answer_room;
    bool heard;       /* what was asked before this runner */
    bool wants_pause; /* what was asked */
    bool paused;      /* what the journal says */
    bool cancelled;   /* asked, and the run is to end */
};

/* A hold that lasts. */
struct lm_hold {
    enum lm_signal by; /* or LM_HELD_BY_NOTHING */
    int64_t since_ms;
    int64_t counted_ms; /* up to when it is in held */
    int64_t noted_ms;   /* when the journal was told */
    bool noted;         /* it has been told of this hold */
    bool logged;        /* and so has the log */
    char text[320];
};

/* What the run waits for between batches, and its lease (hold.c). */
struct lm_holding {
    int64_t leased_ms;     /* when the lease was last renewed */
    int64_t noted_size;    /* of batches, as the journal has it */
    const char *waits_for; /* what others are told of; NULL: nothing */
    bool overtaken;        /* the lease could not be renewed: whose is it? */
    struct lm_monitor *monitor; /* NULL: there is none */
    uint64_t sample_number;     /* the last one that was looked at */
    struct lm_health health;
    struct lm_held held;
    bool held_unnoted; /* the journal does not have all of it */
    bool health_told;  /* which signals there are */
    int64_t batch_ms;  /* what the last one took; 0: it was rested for */
    struct lm_hold hold;
};

/* What the run's progress is measured against (measure.c). */
struct lm_gauge {
    struct lm_progress progress;
    struct lm_position position;
    int64_t position_due_ms; /* when the position is to be asked for */
    bool has_total;          /* it was asked for */
};

struct lm_runner;
struct lm_dry;

/* What a run and a dry run do in ways of their own, beside the ends of a batch.
 * Each is retried. */
struct lm_runner_steps {
    /* on_start and the bound, in one transaction. */
    bool (*start)(struct lm_runner *self, struct lm_err *err);
    /* The whole of a one-shot, and on_complete. */
    bool (*finish)(struct lm_runner *self, struct lm_err *err);
};

struct lm_runner {
    const struct lm_runner_steps *steps;
    struct lm_dry *dry; /* NULL: it is for real. Else there is no journal */
    struct lm_migration tuned;            /* its settings may change */
    const struct lm_migration *migration; /* the same */
    const struct lm_runner_options *options;
    struct lm_outcome *outcome;
    struct lm_runner_names names;
    char *fingerprint; /* of what a cursor stands on; or NULL */

    struct lm_run run;
    struct lm_lane lane;
    struct lm_requests requests;
    struct lm_holding holding;
    struct lm_gauge gauge;

    bool has_journal;        /* of this version, before the run began */
    bool checked;            /* what check.c says was said */
    int64_t retries_before;  /* this call, as the journal had them */
    int64_t failures_before; /* likewise */
    bool acquired;           /* the run is ours */
    bool ended;              /* the state "done" is committed */
    bool look_again; /* on_start may have changed what the query returns */
};

/* -- runner.c: around everything else ---------------------------------------- */

void lm_runner_init(struct lm_runner *self,
                    const struct lm_migration *migration,
                    const struct lm_runner_options *options,
                    struct lm_outcome *outcome, struct lm_dry *dry);
void lm_runner_release(struct lm_runner *self);
/* Steps, until the run has ended or somebody asks to stop: then outcome->reason
 * says why. */
bool lm_runner_work(struct lm_runner *self, bool *stopped,
                    struct lm_err *err) LM_MUSTCHECK;
/* Has somebody asked to stop, or is the limit reached? */
bool lm_runner_should_stop(struct lm_runner *self);
/* Inside a transaction: the key where the run is to end, empty when there is no
 * row or no such end. */
bool lm_runner_find_bound(struct lm_runner *self, struct lm_key *bound,
                          struct lm_err *err) LM_MUSTCHECK;
/* The transaction with on_start has ended: the run goes up to bound, which it
 * takes over. */
void lm_runner_note_started(struct lm_runner *self, struct lm_key bound);

/* -- host.c: the run as its lane sees it ------------------------------------- */

struct lm_lane_host lm_runner_host(struct lm_runner *self);

/* -- end.c ------------------------------------------------------------------- */

/* What has become of the run, in the journal and in the outcome. ok and stopped
 * are those of lm_runner_work; err may become another error. */
void lm_runner_conclude(struct lm_runner *self, bool ok, bool stopped,
                        struct lm_err *err);
/* Tells the script that the run has ended before its time. */
void lm_runner_call_on_stop(struct lm_runner *self, const char *reason);

/* -- session.c: having a connection ------------------------------------------ */

/* Connects, and checks the server; one that is starting is waited for. */
bool lm_runner_connect(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* Claims the run anew; what the server holds of it replaces what was believed. */
bool lm_runner_claim_again(struct lm_runner *self,
                           struct lm_err *err) LM_MUSTCHECK;
/* The same for a run that is held: behind a pooler, a server may crash and
 * lose batches while the connection lives on. */
bool lm_runner_reread(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
void lm_runner_names_release(struct lm_runner_names *self);

/* -- acquire.c --------------------------------------------------------------- */

/* Connects, checks the server and the query, and acquires the run. Leaves
 * acquired false, and the ending set, when there is nothing to do. */
bool lm_runner_acquire(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* What the journal is told of the script, once there is a connection. */
struct lm_run_request lm_runner_request(struct lm_runner *self);
/* Where the run begins, by config.start_after; empty: at the first row. */
bool lm_runner_find_start(struct lm_runner *self, struct lm_key *cursor,
                          struct lm_err *err) LM_MUSTCHECK;
void lm_runner_warn_of_volatile_calls(const struct lm_runner *self);

/* -- fit.c: what the cursor stands on ---------------------------------------- */

/* Takes the fingerprint of what there is, into self->fingerprint. */
bool lm_runner_take_fingerprint(struct lm_runner *self,
                                struct lm_err *err) LM_MUSTCHECK;
/* Describes the base query afresh and proves its key again. */
bool lm_runner_look_again(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;
/* At the end: has the cursor stood on the same all the time? */
bool lm_runner_has_fitted(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;
/* Has the run, which was found to be done, read what this one would read? Its
 * tables may be gone. */
bool lm_runner_check_done(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;

/* -- check.c ----------------------------------------------------------------- */

/* Before a run begins or is resumed. LM_ERR_SCRIPT when something is the matter
 * that was not overridden. */
bool lm_runner_check(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* Between batches: says what is to be said of slow pages. */
void lm_runner_look_at_pace(struct lm_runner *self);

/* -- requests.c -------------------------------------------------------------- */

/* The first step: the requests that are open and the settings that the run has
 * been given. */
bool lm_runner_begin_control(struct lm_runner *self,
                             struct lm_err *err) LM_MUSTCHECK;
/* Takes what is in the mailbox. */
void lm_runner_empty_mailbox(struct lm_runner *self);
/* Has somebody asked for something that ends a wait, or is the connection or
 * the run lost, which ends it as well? Outside of transactions: it may ask the
 * journal. */
bool lm_runner_should_end_wait(struct lm_runner *self);
/* Before each step, and when the lease was renewed: tells the monitor whom to
 * keep the lease for. */
void lm_runner_share_lease(struct lm_runner *self);
/* Is there a request that the step below has to answer? */
bool lm_runner_has_request(const struct lm_runner *self);
/* A step: pauses or resumes, and answers. */
bool lm_runner_obey(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction that the holder of the run commits: writes the answers
 * to what was taken. */
bool lm_runner_answer(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* Waits a while for a request, and keeps the lease. */
void lm_runner_stay_paused(struct lm_runner *self);
/* The server holds that state of the run. */
void lm_requests_note_state(struct lm_requests *self, const char *state);

/* -- settings.c -------------------------------------------------------------- */

/* The settings of one "set", all or none. LM_ERR_USAGE when one is wrong. */
bool lm_runner_apply_set(struct lm_runner *self,
                         const struct lm_request *requests, int count,
                         struct lm_err *err) LM_MUSTCHECK;
/* Those that earlier runners of this run were given, unless the command line
 * has its own word on them. One that is wrong is warned of. */
void lm_runner_apply_settings(struct lm_runner *self,
                              const struct lm_request *requests, int count);

/* -- hold.c ------------------------------------------------------------------ */

/* Before a batch, waits as long as it should. Returns early, and true, when
 * somebody asks for something meanwhile. */
bool lm_runner_hold_back(struct lm_runner *self,
                         struct lm_err *err) LM_MUSTCHECK;
/* A batch took so long: the run rests for it before the next one. */
void lm_holding_note_batch(struct lm_holding *self, int64_t worked_ms);
/* A COMMIT has renewed the lease. */
void lm_holding_note_lease(struct lm_holding *self);
/* Others are told that it waits for that; NULL: for nothing. */
void lm_holding_waits_for(struct lm_holding *self, const char *what);
/* The run is overtaken, or may be: true once. */
bool lm_holding_take_overtaken(struct lm_holding *self);
/* Tells the journal what the run waits for and how far it is, and keeps the
 * lease. Errors do not matter: the next step will find out why. A run that is
 * somebody else's now waits no longer. */
void lm_runner_write_status(struct lm_runner *self);
/* Sleeps and keeps the lease: every wait of a run goes through it. */
void lm_runner_rest(struct lm_runner *self, int64_t duration_ms);
/* Begins and ends watching the server's health. */
void lm_runner_watch(struct lm_runner *self);
void lm_runner_stop_watching(struct lm_runner *self);
/* Makes sure that the journal has all of held. */
void lm_runner_note_held(struct lm_runner *self);
/* A signal's limit has changed. */
void lm_holding_set_limit(struct lm_holding *self, enum lm_signal signal,
                          double above);

/* -- measure.c --------------------------------------------------------------- */

/* Before each batch, what its progress is measured against. */
void lm_runner_feed_progress(struct lm_runner *self);

#endif
