/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_RUN_PRIVATE_H
#define LM_CORE_RUN_PRIVATE_H

/* What runner.c, run/session.c and lane/recover.c share, and nobody else. */

#include "core/health/health.h"
#include "core/journal/journal.h"
#include "core/lane/size.h"
#include "core/page/fingerprint.h"
#include "core/page/page.h"
#include "core/page/position.h"
#include "core/page/preflight.h"
#include "core/repo/repo.h"
#include "core/run/progress.h"
#include "core/run/run.h"
#include "pg/conn/txn.h"

#include <pthread.h>

/* How long the server may look for the highest key, which may be a scan. */
enum { LM_RUNNER_BOUND_MS = 300000 };

/* By how much the process may grow while a page of several rows is read, and
 * any other answer. */
static const size_t LM_RUNNER_PAGE_BYTES = (size_t)64 << 20;
static const size_t LM_RUNNER_ANSWER_BYTES = (size_t)1 << 30;

/* Looking for a row at fault. */
struct lm_bisection {
    int64_t suspects; /* rows ahead, a bad one among them; 0: none is sought */
    int64_t rows;     /* the most that a page may hold; 0: as ever */
};

/* The page whose batch has failed. */
struct lm_suspect {
    int64_t rows;      /* 0: it was not the batch that failed */
    struct lm_key key; /* of its only row, and what the journal may keep of */
    char *columns;     /* it, as array literals; NULL: nothing */
    char *values;
};
void lm_suspect_release(struct lm_suspect *self);

/* Walking the key in windows. */
struct lm_window {
    int64_t rows;   /* of the key's table; 0: no windows */
    char *table;    /* its name as SQL; NULL: not looked up */
    int slow_pages; /* that timed out, in a row */
    int full_pages; /* that ended before their window, in a row */
    int64_t began_ms;
};
void lm_window_release(struct lm_window *self);

/* Pages of a key's choosing, after one that could not be read. */
struct lm_narrow {
    bool on;
    bool by_table;   /* keys come from the key's table, not the base query */
    bool by_keys;    /* it is the look for keys that is at work */
    int64_t asked;   /* rows that the page in hand may have */
    int64_t rows;    /* that lie up to its end; 0: it has none of its own */
    int64_t most;    /* rows of a page, by the memory they take; 0: any */
    int64_t ceiling; /* ... and never more than that again; 0: none */
    struct lm_key end;
};

/* How long pages take. */
struct lm_pace {
    int64_t first_ms[5];
    int count;         /* of those */
    int64_t slow_ms;   /* what one took that was slow; 0: none was */
    int64_t looked_ms; /* when the plan was looked at again; 0: never */
};

/* What is asked of the run, filled by the runner or by its monitor's thread; and
 * what that thread has to know of the runner. Whoever lets go of it last frees
 * it. */
struct lm_mailbox {
    pthread_mutex_t mutex; /* of all that follows */
    int holders;
    struct lm_request *requests;
    int count;
    int room;
    int64_t *seen; /* numbers of all that were ever put in, ascending */
    int seen_count;
    int seen_room;
    int64_t polled_ms;
    bool has_poller; /* beside the runner */

    char owner[40]; /* the run's, as the step in hand began */
    int64_t seq;
    int64_t leased_ms; /* when the runner last renewed the lease */
};
struct lm_mailbox *lm_mailbox_new(void);
void lm_mailbox_let_go(struct lm_mailbox *self);
/* Something may have been missed: whoever polls in turn does so next. */
void lm_mailbox_poll_soon(struct lm_mailbox *self);
/* Asks the journal, on any connection. */
bool lm_mailbox_poll(struct lm_mailbox *self, struct lm_journal *journal,
                     int64_t run_id, struct lm_err *err) LM_MUSTCHECK;

/* The script's, as the database's encoding can hold them. */
struct lm_runner_names {
    char *script;
    char *file;
    char *path;
    char *typed;
};
void lm_runner_names_release(struct lm_runner_names *self);

struct lm_runner;
struct lm_dry;

/* What a run and a dry run do in ways of their own. Each is retried. */
struct lm_runner_steps {
    /* on_start and the bound, in one transaction. */
    bool (*start)(struct lm_runner *self, struct lm_err *err);
    /* Around a batch's work: begins its transaction, and ends it. A page
     * without rows is that of a window in which nothing matched. */
    bool (*begin_batch)(struct lm_runner *self, struct lm_err *err);
    bool (*end_batch)(struct lm_runner *self, const struct lm_page *page,
                      const struct lm_key *cursor, struct lm_err *err);
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

    struct lm_conn *conn;
    char application_name[64]; /* as long as the server allows */
    char server[24]; /* its system identifier; empty: it does not say */
    struct lm_runner_names names;
    struct lm_journal journal;
    struct lm_base_query query; /* empty for a one-shot */
    int modules_noted;          /* so many the journal knows */
    char *fingerprint;          /* of what a cursor stands on; or NULL */
    struct lm_repo repo;
    struct lm_run run;
    struct lm_progress progress;
    struct lm_position position;
    char *first_key;         /* of the run, its first column; NULL: not seen */
    int64_t position_due_ms; /* when the position is to be asked for */
    bool has_total;          /* it was asked for */

    bool has_journal;        /* of this version, before the run began */
    bool checked;            /* what run/check.c says was said */
    int64_t retries_before;  /* this call, as the journal had them */
    int64_t failures_before; /* likewise */
    bool acquired;           /* the run is ours */
    bool pages_done;         /* no row is left before the bound */
    bool ended;              /* the state "done" is committed */
    bool look_again; /* on_start may have changed what the query returns */

    struct lm_mailbox *mailbox;
    struct lm_request asked; /* the last one that was obeyed, but for a "set" */
    struct lm_reply *answers; /* to what was taken, not yet written */
    int answer_count;
    int answer_room;
    bool heard;       /* what was asked before this runner */
    bool wants_pause; /* what was asked */
    bool paused;      /* what the journal says */
    bool cancelled;   /* asked, and the run is to end */

    int attempt;     /* at the transaction in hand, from 1 */
    int lost_in_row; /* connections lost without progress */
    bool in_batch;   /* the step in hand is a batch */
    bool paging;     /* ... that is looking for its page */
    bool uncombined; /* it runs without combining */
    bool reprepared; /* ... and with its statements prepared anew */
    struct lm_window window;
    struct lm_pace pace;
    struct lm_bisection bisection;
    struct lm_narrow narrow;
    int64_t page_rows; /* of the batch in hand; 0: its page is not there */
    struct lm_suspect suspect;
    int ended_in_row; /* sessions ended for what took too long, likewise */
    int64_t conflict_since_ms; /* when a row began to be in dispute; 0 */
    int64_t short_since_ms;    /* when the server began to lack something; 0 */
    struct lm_size size;       /* of batches */
    int64_t pending_retries;   /* not yet counted in the journal */
    int64_t leased_ms;         /* when the lease was last renewed */
    int64_t noted_size;        /* of batches, as the journal has it */
    const char *waits_for;     /* what others are told of; NULL: nothing */
    bool overtaken; /* the lease could not be renewed: whose is it? */

    struct lm_monitor *monitor; /* NULL: there is none */
    uint64_t sample_number;     /* the last one that was looked at */
    struct lm_health health;
    int64_t begun_ms;  /* when the work of the batch in hand began */
    int64_t worked_ms; /* what it took */
    int64_t batch_ms;  /* what the last one took; 0: it was rested for */
    struct lm_held held;
    bool held_unnoted; /* the journal does not have all of it */
    bool health_told;  /* which signals there are */
    struct {
        enum lm_signal by; /* or LM_HELD_BY_NOTHING */
        int64_t since_ms;
        int64_t counted_ms; /* up to when it is in held */
        int64_t noted_ms;   /* when the journal was told */
        bool noted;         /* it has been told of this hold */
        bool told;          /* and so has the log */
        char text[320];
    } hold;
};

/* runner.c: around everything else. */
void lm_runner_init(struct lm_runner *self,
                    const struct lm_migration *migration,
                    const struct lm_runner_options *options,
                    struct lm_outcome *outcome);
void lm_runner_release(struct lm_runner *self);
/* Steps, until the run has ended or somebody asks to stop: then outcome->reason
 * says why. */
bool lm_runner_work(struct lm_runner *self, bool *stopped,
                    struct lm_err *err) LM_MUSTCHECK;
/* Has somebody asked to stop, or is the limit reached? */
bool lm_runner_should_stop(struct lm_runner *self);
/* run/end.c: what has become of the run, in the journal and in the outcome.
 * ok and stopped are those of lm_runner_work; err may become another error. */
void lm_runner_conclude(struct lm_runner *self, bool ok, bool stopped,
                        struct lm_err *err);
/* Tells the script that the run has ended before its time. */
void lm_runner_tell_stop(struct lm_runner *self, const char *reason);
/* Inside a transaction: calls what the script may have, and closes the repo. */
bool lm_runner_call_back(struct lm_runner *self, enum lm_callback callback,
                         struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: the key where the run is to end, empty when there is no
 * row or no such end. */
bool lm_runner_find_bound(struct lm_runner *self, struct lm_key *bound,
                          struct lm_err *err) LM_MUSTCHECK;
/* The transaction with on_start has ended: the run goes up to bound, which it
 * takes over. */
void lm_runner_note_started(struct lm_runner *self, struct lm_key bound);

/* Lets the witness, if any, see a moment of a batch or callback. */
bool lm_runner_witness(struct lm_runner *self, enum lm_moment moment,
                       int64_t batch, struct lm_err *err) LM_MUSTCHECK;

/* lane/batch.c: a step, and parts of it that others take. */
bool lm_runner_batch_step(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;
/* The ends of a batch in a run. */
bool lm_runner_begin_batch(struct lm_runner *self,
                           struct lm_err *err) LM_MUSTCHECK;
bool lm_runner_commit_batch(struct lm_runner *self, const struct lm_page *page,
                            const struct lm_key *cursor,
                            struct lm_err *err) LM_MUSTCHECK;
/* Lets the script handle a page, inside a transaction. */
bool lm_runner_migrate_page(struct lm_runner *self, const struct lm_page *page,
                            struct lm_err *err) LM_MUSTCHECK;

/* run/session.c: having a connection. */

/* Connects, and checks the server; one that is starting is waited for. */
bool lm_runner_connect(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* Connects again, for a bounded time. The run, if any, is not claimed. */
bool lm_runner_connect_again(struct lm_runner *self, const struct lm_err *why,
                             struct lm_err *err) LM_MUSTCHECK;

/* What the journal is told of the script, once there is a connection. */
struct lm_run_request lm_runner_request(struct lm_runner *self);

/* Is it somebody else's lock, or a cancel that was meant for another statement,
 * while the run is not yet at work? */
bool lm_runner_passes(const struct lm_err *err);

/* Describes the base query and proves its key. */
bool lm_runner_check_query(struct lm_runner *self,
                           struct lm_err *err) LM_MUSTCHECK;

/* Do cursor and bound, as the journal has them, fit the key? */
bool lm_runner_check_keys(const struct lm_runner *self,
                          const struct lm_run *run,
                          struct lm_err *err) LM_MUSTCHECK;

/* Connects again for a bounded time and claims the run anew; what the server
 * holds of it replaces what the runner believed. LM_ERR_INTERRUPT when a
 * signal came meanwhile. why is the error that ended the old connection. */
bool lm_runner_reconnect(struct lm_runner *self, const struct lm_err *why,
                         struct lm_err *err) LM_MUSTCHECK;

/* Reads what the journal has of the run again, on the same connection. */
bool lm_runner_refresh(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;

/* "luamig: run 7 of scripts/x.lua", in ASCII; a script's name that is too long
 * is cut at its beginning. size is that of the server's names, 64. */
void lm_runner_name_session(const struct lm_runner *self, const char *prefix,
                            char *name, size_t size);

/* Describes the base query afresh and proves its key again. */
bool lm_runner_look_again(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;
/* At the end: has the cursor stood on the same all the time? */
bool lm_runner_has_fitted(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;
/* run/acquire.c: connects, checks the server and the query, and acquires the
 * run. Leaves acquired false, and the ending set, when there is nothing to do. */
bool lm_runner_acquire(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;

void lm_runner_warn_of_volatile_calls(const struct lm_runner *self);

/* Where the run begins, by config.start_after; empty: at the first row. */
bool lm_runner_find_start(struct lm_runner *self, struct lm_key *cursor,
                          struct lm_err *err) LM_MUSTCHECK;

/* run/fit.c: takes the fingerprint of what there is, into
 * self->fingerprint. */
bool lm_runner_take_fingerprint(struct lm_runner *self,
                                struct lm_err *err) LM_MUSTCHECK;
/* run/modules.c: posts what the journal does not know yet, inside the
 * transaction in hand; and that this has committed. */
bool lm_runner_post_modules(struct lm_runner *self,
                            struct lm_err *err) LM_MUSTCHECK;
void lm_runner_modules_noted(struct lm_runner *self);
/* Warns of those that have changed since the run began, or since it was done.
 */
bool lm_runner_warn_of_modules(struct lm_runner *self, bool over,
                               struct lm_err *err) LM_MUSTCHECK;
/* Has the run, which was found to be done, read what this one would read? Its
 * tables may be gone. */
bool lm_runner_check_done(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;

/* run/check.c: before a run begins or is resumed. LM_ERR_SCRIPT when
 * something is the matter that was not overridden. */
bool lm_runner_check(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* What a page has taken; and between batches, what is to be said of that. */
void lm_runner_note_page(struct lm_runner *self, int64_t page_ms);
void lm_runner_look_at_pace(struct lm_runner *self);

/* lane/recover.c: after a failed step, true when it is worth looking at the
 * run again. The transaction is rolled back, and err may have become another
 * error. */
bool lm_runner_survive(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* The transaction in hand is tried again: counts that, and tells the log how. */
void lm_runner_count_retry(struct lm_runner *self, const struct lm_err *err,
                           const char *how);
/* Does the error lie with others, so that the same may succeed later? */
bool lm_runner_may_pass(const struct lm_err *err);

/* lane/failed_rows.c: the rows of the next page, of those it might have; what
 * a batch that succeeded, or failed, or a row that was found, makes of that.
 * most is what a page might have. */
int64_t lm_bisection_rows(const struct lm_bisection *self, int64_t rows);
void lm_bisection_passed(struct lm_bisection *self, int64_t rows, int64_t most);
void lm_bisection_failed(struct lm_bisection *self, int64_t rows);
void lm_bisection_found(struct lm_bisection *self);
/* Notes the page of a batch that has failed. */
void lm_runner_suspect(struct lm_runner *self, const struct lm_page *page);
/* The only row of the page: it was not read, so its key stands for it. */
void lm_runner_suspect_key(struct lm_runner *self, const struct lm_key *key);
/* Does the error lie in the rows, and may they be set aside? */
bool lm_runner_may_quarantine(const struct lm_runner *self,
                              const struct lm_err *err);
/* Cuts the batch, or sets its only row aside. False when there are too many,
 * or when the row could not be recorded; err says why. */
bool lm_runner_quarantine(struct lm_runner *self,
                          struct lm_err *err) LM_MUSTCHECK;

/*
 * lane/narrow.c: pages that cannot be read as they are. Which rows a page may
 * have at most, and where it ends: *end is set to a key, unless it ends where
 * it would have ended anyway.
 */
int64_t lm_runner_narrow_rows(const struct lm_runner *self, int64_t rows);
bool lm_runner_narrow_page(struct lm_runner *self, struct lm_key *end,
                           struct lm_err *err) LM_MUSTCHECK;
/* A batch with this page is committed. */
void lm_runner_narrow_passed(struct lm_runner *self,
                             const struct lm_page *page);
/* The highest key; where the base query raises at a row, that of the key's
 * table, above which no page will look. */
bool lm_runner_highest(struct lm_runner *self, struct lm_key *out,
                       struct lm_err *err) LM_MUSTCHECK;
/* Does the error, of a page, lie in a row of it? */
bool lm_runner_lies_in_row(const struct lm_err *err);
/* The page could not be read for that reason: true when a narrower one may be,
 * or the row was set aside; else err names the row. */
bool lm_runner_narrow(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* The rows of the batch took too much memory: may fewer do? */
bool lm_runner_take_fewer(struct lm_runner *self);

/* lane/window.c: around a page. Where the window ends in which to look for
 * it; empty: there is none before the bound. */
bool lm_runner_find_window(struct lm_runner *self, struct lm_key *end,
                           struct lm_err *err) LM_MUSTCHECK;
/* The page was found; full: it ended before its window. */
void lm_runner_window_passed(struct lm_runner *self, bool full);
/* After a timeout: may a smaller window help? */
bool lm_runner_narrow_window(struct lm_runner *self);

/*
 * run/monitor.c: a thread with a second connection, that reads the health
 * signals and asks the hook, in each turn and when there is a notification on
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
/* run/requests.c: what looks for requests to the run, and keeps its lease
 * while a batch takes long. */
struct lm_monitor_hooks lm_runner_control_hooks(struct lm_runner *self);

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
void lm_monitor_give_way(struct lm_monitor *self);
/* The run has another connection. */
void lm_monitor_set_backend(struct lm_monitor *self, int64_t backend_pid);
/* From the next sample on, the signal is read where it has a limit. */
void lm_monitor_set_limit(struct lm_monitor *self, enum lm_signal signal,
                          double above);
/* Copies the latest sample. False when it is the one with the given number. */
bool lm_monitor_look(struct lm_monitor *self, uint64_t *number,
                     struct lm_health_sample *out);

/* run/hold.c: before a batch, waits as long as it should. Returns early, and
 * true, when somebody asks for something meanwhile. */
bool lm_runner_hold_back(struct lm_runner *self,
                         struct lm_err *err) LM_MUSTCHECK;
/* Tells the journal what the run waits for and how far it is, and keeps the
 * lease. Errors do not matter: the next step will find out why. A run that is
 * somebody else's now waits no longer. */
void lm_runner_tell_journal(struct lm_runner *self);
/* Sleeps and keeps the lease: every wait of a run goes through it. */
void lm_runner_rest(struct lm_runner *self, int64_t duration_ms);
/* Begins and ends watching the server's health. */
void lm_runner_watch(struct lm_runner *self);
/* Makes sure that the journal has all of self->held. */
void lm_runner_note_held(struct lm_runner *self);

/* run/settings.c: the settings of one "set", all or none. LM_ERR_USAGE when
 * one is wrong. */
bool lm_runner_apply_set(struct lm_runner *self,
                         const struct lm_request *requests, int count,
                         struct lm_err *err) LM_MUSTCHECK;
/* Those that earlier runners of this run were given, unless the command line
 * has its own word on them. One that is wrong is warned of. */
void lm_runner_apply_settings(struct lm_runner *self,
                              const struct lm_request *requests, int count);

/* run/requests.c: the first step, the requests that are open and the
 * settings that the run has been given. */
bool lm_runner_begin_control(struct lm_runner *self,
                             struct lm_err *err) LM_MUSTCHECK;
/* Takes what is in the mailbox. */
void lm_runner_empty_mailbox(struct lm_runner *self);
/* Has somebody asked for something that ends a wait, or is the connection or
 * the run lost, which ends it as well? Outside of transactions: it may ask the journal. */
bool lm_runner_is_called(struct lm_runner *self);
/* Before each step, and when the lease was renewed: tells the monitor whom to
 * keep the lease for. */
void lm_runner_show_holder(struct lm_runner *self);
/* Is there a request that the step below has to answer? */
bool lm_runner_has_request(const struct lm_runner *self);
/* A step: pauses or resumes, and answers. */
bool lm_runner_obey(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction that the holder of the run commits: writes the answers
 * to what was taken. */
bool lm_runner_answer(struct lm_runner *self, struct lm_err *err) LM_MUSTCHECK;
/* Waits a while for a request, and keeps the lease. */
void lm_runner_stay_paused(struct lm_runner *self);

/* runner.c: what scripts are told of the run; batch is 0 before the first. */
struct lm_run_info lm_runner_info(const struct lm_runner *self, int64_t batch);
/* A callback has returned ok or with *err: sees to what is in flight, and
 * closes the repo. */
bool lm_runner_close_repo(struct lm_runner *self, bool ok,
                          struct lm_err *err) LM_MUSTCHECK;

/* run/measure.c: before each batch, what its progress is measured against. */
void lm_runner_feed_progress(struct lm_runner *self);
void lm_runner_note_first_key(struct lm_runner *self,
                              const struct lm_page *page);

/* The transaction settings of batches and callbacks. */
struct lm_txn lm_runner_txn(const struct lm_runner *self);

#endif
