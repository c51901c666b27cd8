/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_RUNNER_H
#define LM_CORE_RUN_RUNNER_H

/*
 * The inside of a run, for the files of this room and for the dry run, which
 * replaces some of its steps.
 *
 * Each part of struct lm_runner has one file that changes it; the others call
 * that file.
 */

#include "core/lane/lane.h"
#include "core/lane/share.h"
#include "core/page/fingerprint.h"
#include "core/page/position.h"
#include "core/run/mailbox.h"
#include "core/run/progress.h"
#include "core/run/run.h"
#include "core/run/shed.h"
#include "core/run/tuner.h"

/* How long the query for the highest key may take; it may be a scan. */
enum { LM_RUNNER_BOUND_MS = 300000 };

/* Names of the script, in letters that the database's encoding has. */
struct lm_runner_names {
    char *script;
    char *file;
    char *path;
    char *typed;
};

/* The file that the run reads (input.c). */
struct lm_runner_input {
    bool ready; /* there is none, or the base query reads its table */
    struct lm_run_file file; /* that is given; name is NULL: none is */
    char sha256[80];         /* of the file of the run; "": not known */
    char *args_json; /* the migration's, with the hash; NULL: likewise */
    char *given;     /* likewise */
    char *declared;  /* NULL: the script reads no file */
    char name[256];  /* as the journal has it */
    int64_t rows;    /* that are loaded */
    int64_t told_ms; /* when the log had its progress */
    bool refused;    /* the file is wrong: the run has done nothing */
};

/* Requests to the run (requests.c). */
struct lm_requests {
    struct lm_mailbox *mailbox;
    /* the last one that was obeyed, other than "set" */
    struct lm_request asked;
    struct lm_reply *answers; /* answers that are not written yet */
    int answer_count;
    int answer_room;
    bool heard;       /* requests of the time before this runner */
    bool wants_pause; /* a request asks for a pause */
    bool paused;      /* what the journal says */
    bool cancelled;   /* a request ends the run */
};

/* The current hold. */
struct lm_hold {
    enum lm_signal by; /* or LM_HELD_BY_NOTHING */
    int64_t since_ms;
    int64_t counted_ms; /* up to when its time is in `held` */
    int64_t noted_ms;   /* when it was written to the journal */
    bool noted;         /* the journal has this hold */
    bool logged;        /* the log has this hold */
    char text[320];
};

/* What the run waits for between batches, and its lease (hold.c). */
struct lm_holding {
    int64_t leased_ms;     /* when the lease was last renewed */
    int64_t noted_size;    /* the batch size that the journal has */
    const char *waits_for; /* what status shows; NULL: nothing */
    /* the lease could not be renewed: look for another runner */
    bool overtaken;
    struct lm_monitor *monitor; /* NULL: there is none */
    uint64_t sample_number;     /* the last sample that was judged */
    struct lm_health health;
    struct lm_held held;
    bool held_unnoted; /* the journal has not all of `held` */
    bool health_told;  /* the log has the list of signals */
    int64_t batch_ms;  /* time of the last batch, to rest for; 0: done */
    struct lm_hold hold;
};

/* How many workers this process should have, and why (staff.c). */
struct lm_staff {
    int wanted; /* the team follows it */
    int led;    /* how many the leader has, in a process that does not lead */
    int room;   /* for how many the server has connections */
    int64_t counted_ms; /* when they were counted */
    bool tunes;         /* "auto", and this process leads */
    struct lm_tuner tuner;
    char verdict[80]; /* its last one that changed the number */
    struct lm_tuner_slices slices;
    struct lm_counts since; /* when the slice began */
    int64_t since_ms;
    bool sparse; /* what is counted are rows that windows pass */
    struct lm_shed_health health;
    struct lm_shed_conflicts conflicts;
    enum lm_signal pressed_by; /* what took the last worker away, ... */
    char pressure[320];        /* ... in words */
    bool health_told;
    bool conflicts_told;
    struct lm_staff_reason {
        int of;         /* how many were given, or "auto" found */
        int cause;      /* a signal that made them fewer; LM_SIGNALS: none */
        char note[256]; /* why there are so many; "": nothing is to be said */
    } reason;
};

/* What the run's progress is measured against (measure.c). */
struct lm_gauge {
    struct lm_progress progress;
    struct lm_position position;
    int64_t position_due_ms; /* when to ask for the position again */
    bool has_total;          /* the total was asked for */
};

struct lm_runner;
struct lm_dry;
struct lm_team;

/* Steps that differ between a run and a dry run, besides the ends of a batch.
 * Each is retried. */
struct lm_runner_steps {
    /* on_start and the bound, in one transaction. */
    bool (*start)(struct lm_runner *self, struct lm_err *err);
    /* A one-shot's `run`, and on_complete. */
    bool (*finish)(struct lm_runner *self, struct lm_err *err);
};

struct lm_runner {
    const struct lm_runner_steps *steps;
    struct lm_dry *dry;        /* NULL: no dry run. A dry run has no journal */
    struct lm_migration tuned; /* its settings may change */
    const struct lm_migration *migration; /* the same */
    const struct lm_runner_options *options;
    struct lm_outcome *outcome;
    struct lm_runner_names names;
    char *fingerprint; /* the fingerprint as JSON; or NULL */

    struct lm_run run;
    struct lm_lane lane;
    struct lm_runner_input input;
    struct lm_requests requests;
    struct lm_holding holding;
    struct lm_gauge gauge;
    struct lm_account account;
    struct lm_share share;
    struct lm_staff staff;
    struct lm_team *team; /* the other workers; NULL: there are none */

    bool has_journal;        /* of this version, before the run began */
    bool checked;            /* the findings of check.c are logged */
    int64_t retries_before;  /* retries in the journal before this call */
    int64_t failures_before; /* likewise */
    bool acquired;           /* the run is ours */
    bool leads;              /* ... and this process leads it */
    bool others;             /* it goes on without this process */
    int64_t looked_ms;       /* when it looked at the leader; 0: never */
    int64_t leaderless_ms;   /* since when there is none; 0: there is one */
    bool ended;              /* the state "done" is committed */
    bool look_again; /* on_start may have changed what the query returns */
    bool unseen;     /* on_start is to make what the base query reads: the query
                        is neither described nor judged yet */
};

/* -- runner.c: around everything else ---------------------------------------- */

void lm_runner_init(struct lm_runner *self,
                    const struct lm_migration *migration,
                    const struct lm_runner_options *options,
                    struct lm_outcome *outcome, struct lm_dry *dry);
void lm_runner_release(struct lm_runner *self);
/* Runs steps until the run has ended or should stop; then outcome->reason says
 * why. */
bool lm_runner_work(struct lm_runner *self, bool *stopped,
                    struct lm_err *err) LM_MUSTCHECK;
/* Should the run stop, because of a signal, a request or its limit? */
bool lm_runner_should_stop(struct lm_runner *self);
/* Inside a transaction: the key where the run ends. Empty if there is no row,
 * or if the run follows new rows. */
bool lm_runner_find_bound(struct lm_runner *self, struct lm_key *bound,
                          struct lm_err *err) LM_MUSTCHECK;
/* Is there a row to page up to this bound? */
bool lm_runner_has_rows_up_to(const struct lm_runner *self,
                              const struct lm_key *bound);
/* The transaction with on_start is committed, and the lane has its range. The
 * run goes up to bound; this
 * takes over its texts. */
void lm_runner_note_started(struct lm_runner *self, struct lm_key bound);

/* -- host.c: the run as its lane sees it ------------------------------------- */

struct lm_lane_host lm_runner_host(struct lm_runner *self);

/* -- end.c ------------------------------------------------------------------- */

/* Writes how the run ended into the journal and the outcome. ok and stopped
 * come from lm_runner_work; err may become another error. */
void lm_runner_conclude(struct lm_runner *self, bool ok, bool stopped,
                        struct lm_err *err);
/* Calls the script's on_stop. */
void lm_runner_call_on_stop(struct lm_runner *self, const char *reason);

/* -- ranges.c: which keys the lane works on ---------------------------------- */

/* Has the lane no range, or done enough of it? */
bool lm_runner_needs_range(const struct lm_runner *self);
/* A step: gives the lane's range back and takes the next. If others have all
 * that there are, cuts one of theirs, or waits for a moment. */
bool lm_runner_next_range(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;
/* Reserves rows of --limit for a batch; false if the other workers have
 * reserved all that are left: then waits for a moment. */
bool lm_runner_reserve(struct lm_runner *self);
/* Starts the other workers, once there is something to page. */
bool lm_runner_wants_team(const struct lm_runner *self);
bool lm_runner_start_team(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;
/* The counters that the journal has just said, and those of the account. */
void lm_runner_note_run(struct lm_runner *self);
void lm_runner_follow_account(struct lm_runner *self);

/* -- staff.c: how many workers ------------------------------------------------ */

/* Between steps: looks whether there should be more or fewer workers. */
void lm_runner_look_at_staff(struct lm_runner *self);
/* There is a new sample of the server's health. */
void lm_runner_note_pressure(struct lm_runner *self);
/* A signal's limit has changed. */
void lm_runner_note_limits(struct lm_runner *self);
/* So many workers has the process that leads; 0: it is not known. */
void lm_runner_note_leader(struct lm_runner *self, int workers);

/* -- helper.c: a process that does not lead ---------------------------------- */

/* Before each step: looks what the leader does. *may_work is false if the run
 * is not started, is paused, or has ended, or if this process leads now. */
bool lm_runner_follow(struct lm_runner *self, bool *may_work,
                      struct lm_err *err) LM_MUSTCHECK;

/* -- session.c: having a connection ------------------------------------------ */

/* Connects and checks the server. Waits while the server is starting. */
bool lm_runner_connect(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* Claims the run again. What the server has of the run replaces what the
 * runner has in memory. */
bool lm_runner_claim_again(void *runner, struct lm_err *err) LM_MUSTCHECK;
/* Reads what the server has of a held run again. Behind a pooler, a server may
 * crash and lose batches while the connection stays open. */
bool lm_runner_reread(void *runner, struct lm_err *err) LM_MUSTCHECK;
void lm_runner_names_release(struct lm_runner_names *self);

/* -- acquire.c --------------------------------------------------------------- */

/* Connects, checks the server and the query, and begins the run or takes it
 * over. If there is nothing to do, leaves acquired false and sets the ending.
 */
bool lm_runner_acquire(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* What the journal needs to know of the script. Needs a connection. */
struct lm_run_request lm_runner_request(struct lm_runner *self);
/* The key after which the run begins (config.start_after); empty: at the first
 * row. */
bool lm_runner_find_start(struct lm_runner *self, struct lm_key *cursor,
                          struct lm_err *err) LM_MUSTCHECK;
/* Is that a key? For one that the server does not take, the error is the
 * script's. */
bool lm_runner_check_start(struct lm_runner *self, const struct lm_key *key,
                           struct lm_err *err) LM_MUSTCHECK;
void lm_runner_warn_of_volatile_calls(const struct lm_runner *self);

/* -- input.c ------------------------------------------------------------------ */

void lm_runner_init_input(struct lm_runner *self);
void lm_runner_release_input(struct lm_runner *self);
/* Puts the file into the request. */
void lm_runner_describe_input(const struct lm_runner *self,
                              struct lm_run_request *request);
/* If no file is given: which file does the run read that is meant? */
bool lm_runner_identify_input(struct lm_runner *self,
                              struct lm_run_request *request,
                              struct lm_err *err) LM_MUSTCHECK;
/* If an unfinished run was found, and it has loaded its file: the base query
 * reads that. */
bool lm_runner_look_at_input(struct lm_runner *self, bool found,
                             struct lm_err *err) LM_MUSTCHECK;
/* Before a run begins: are the types there, and has the file the header? */
bool lm_runner_check_input(struct lm_runner *self,
                           struct lm_err *err) LM_MUSTCHECK;
/* A run begins, which loads the file anew. */
void lm_runner_forget_input(struct lm_runner *self);
/* May this process go on with the run? LM_ERR_USAGE if it has to load the file,
 * which is not given. */
bool lm_runner_may_load(const struct lm_runner *self, const struct lm_run *run,
                        struct lm_err *err) LM_MUSTCHECK;
/* A step: loads the file, or looks at the base query once it is loaded. */
bool lm_runner_take_input(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;
/* Where others load it: the base query reads what is loaded. */
bool lm_runner_read_loaded(struct lm_runner *self,
                           struct lm_err *err) LM_MUSTCHECK;
/* A dry run loads it into a table of its session. */
bool lm_runner_load_for_dry_run(struct lm_runner *self,
                                struct lm_err *err) LM_MUSTCHECK;
/* Drops the tables of runs that have ended. */
void lm_runner_leave_input(struct lm_runner *self);

/* -- fit.c: what the cursor stands on ---------------------------------------- */

/* Takes the fingerprint of the database as it is now, into self->fingerprint.
 */
bool lm_runner_take_fingerprint(struct lm_runner *self,
                                struct lm_err *err) LM_MUSTCHECK;
/* Describes the base query again and proves its key again. */
bool lm_runner_look_again(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;
/* The look at the query has failed with err. If on_start has not run (started),
 * may it make what is not there? Then the query is unseen. */
bool lm_runner_may_look_later(struct lm_runner *self, bool started,
                              const struct lm_err *err);
/* In the transaction of on_start, which may have changed what the query reads:
 * refuses what batches could not read. If the query is unseen, does all that is
 * done before other runs. The run's cursor is its start. */
bool lm_runner_look_late(struct lm_runner *self,
                         struct lm_err *err) LM_MUSTCHECK;
/* At the end of the run: is the fingerprint still the same? */
bool lm_runner_has_fitted(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;
/* The journal has this run as done. Did it read what it would read now? Its
 * tables may be gone. */
bool lm_runner_check_done(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;

/* -- check.c ----------------------------------------------------------------- */

/* Checks before a run begins or is resumed. LM_ERR_SCRIPT if a check finds an
 * error that --force does not override. */
bool lm_runner_check(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* Between batches: warns if pages have become slow. */
void lm_runner_look_at_pace(struct lm_runner *self);

/* -- requests.c -------------------------------------------------------------- */

/* The first step: reads the open requests, and the settings that the run was
 * given. */
bool lm_runner_begin_control(struct lm_runner *self,
                             struct lm_err *err) LM_MUSTCHECK;
/* Takes the requests out of the mailbox. */
void lm_runner_empty_mailbox(struct lm_runner *self);
/* Should a wait end: because of a request or a signal, or because the
 * connection or the run is lost? Call it outside of transactions: it may ask
 * the journal. */
bool lm_runner_should_end_wait(struct lm_runner *self);
/* Is there a request that lm_runner_obey has to answer? */
bool lm_runner_has_request(const struct lm_runner *self);
/* A step: pauses or resumes, and answers. */
bool lm_runner_obey(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction of the runner: writes the answers to requests. */
bool lm_runner_answer(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* Waits some time for a request, and renews the lease. */
void lm_runner_stay_paused(struct lm_runner *self);
/* The journal now has this state of the run. */
void lm_requests_note_state(struct lm_requests *self, const char *state);

/* -- settings.c -------------------------------------------------------------- */

/* Applies all settings of one "set", or none. LM_ERR_USAGE if one is wrong. */
bool lm_runner_apply_set(struct lm_runner *self,
                         const struct lm_request *requests, int count,
                         struct lm_err *err) LM_MUSTCHECK;
/* Applies the settings that earlier runners of this run got, unless the
 * command line gives the same setting. Warns of a wrong one. */
void lm_runner_apply_settings(struct lm_runner *self,
                              const struct lm_request *requests, int count);

/* -- hold.c ------------------------------------------------------------------ */

/* Waits before a batch as long as the run is held. True: it ended the wait
 * early, because of a request or a signal. */
bool lm_runner_hold_back(struct lm_runner *self,
                         struct lm_err *err) LM_MUSTCHECK;
/* Will it not wait, as far as is known now? */
bool lm_runner_goes_on(const struct lm_runner *self);
/* A batch took so long; the run rests for it before the next batch. */
void lm_holding_note_batch(struct lm_holding *self, int64_t worked_ms);
/* Sets what status shows that the run waits for; NULL: nothing. */
void lm_holding_waits_for(struct lm_holding *self, const char *what);
/* May another runner have taken the run over? True once. */
bool lm_holding_take_overtaken(struct lm_holding *self);
/* Writes to the journal what the run waits for and how far it is, and renews
 * the lease. Ignores errors: the next step will find the cause. The run stops
 * waiting if another runner has taken it over. */
void lm_runner_renew_lease_and_status(struct lm_runner *self);
/* Sleeps, and renews the lease. Every wait of a run uses this function or the
 * next: they see to it that no transaction stays open meanwhile. */
void lm_runner_rest(struct lm_runner *self, int64_t duration_ms);
/* The same for a moment, or until a worker has nothing to do any more. */
void lm_runner_await_workers(struct lm_runner *self);
/* Between two calls of the script's prepare: renews the lease. Is something
 * asked of the run? */
bool lm_runner_is_wanted(struct lm_runner *self);
/* A call of prepare begins, or has ended. */
void lm_runner_note_prepare(struct lm_runner *self, bool begins);
/* Begins and ends watching the server's health. */
void lm_runner_watch(struct lm_runner *self);
/* The tables of the base query are there now: the monitor watches them. */
void lm_runner_watch_tables(struct lm_runner *self);
void lm_runner_stop_watching(struct lm_runner *self);
/* Writes the rest of `held` to the journal. */
void lm_runner_note_held(struct lm_runner *self);
/* A signal's limit has changed. */
void lm_holding_set_limit(struct lm_holding *self, enum lm_signal signal,
                          double above);

/* -- measure.c --------------------------------------------------------------- */

/* Before each batch: reads the total and the position that progress needs. */
void lm_runner_feed_progress(struct lm_runner *self);

#endif
