/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_LANE_LANE_H
#define LM_CORE_LANE_LANE_H

/*
 * One worker of a run: a connection, and the batches that it works on. A batch
 * is one transaction; what becomes of one that fails is decided here, too:
 * again, smaller, later, over another connection, or not at all.
 *
 * A lane knows its run as struct lm_lane_host, a few functions that it calls,
 * and shares three things with it: the migration, whose settings may change
 * between batches, the options, and what the journal has of the run.
 */

#include "core/health/health.h"
#include "core/journal/journal.h"
#include "core/lane/size.h"
#include "core/page/page.h"
#include "core/repo/repo.h"
#include "pg/conn/txn.h"

/* Moments of a step that a witness sees, inside its transaction but for the
 * last. */
enum lm_moment { LM_BEFORE_PAGE, LM_BEFORE_COMMIT, LM_AFTER_COMMIT };

/* Who watches a run step by step, for tests of scripts: batches, and the
 * transactions of callbacks that the script has. False fails the step with
 * *err; LM_ERR_KILLED ends the run where it stands, without a last word to
 * journal, script or server. */
struct lm_witness {
    bool (*see)(void *arg, enum lm_moment moment, struct lm_conn *conn,
                const struct lm_run_info *info, struct lm_err *err);
    void *arg;
};

struct lm_lane_options {
    const char *conninfo;
    const char *journal_schema;
    int64_t silence_ms;               /* see pg/conn/conn.h */
    const struct lm_witness *witness; /* NULL: there is none */
    bool dry; /* nothing is committed, and there is no journal */
};

/* The run, as a lane sees it. */
struct lm_lane_host {
    void *run;
    /* Around a batch's work: begins its transaction, and ends it. A page
     * without rows is that of a window in which nothing matched. */
    bool (*begin_batch)(void *run, struct lm_err *err);
    bool (*end_batch)(void *run, const struct lm_page *page,
                      const struct lm_key *cursor, struct lm_err *err);
    /* A batch is committed, with so many rows; 0: a window without any. */
    void (*committed)(void *run, int64_t rows);
    /* Rows that may still be taken; INT64_MAX: all. */
    int64_t (*rows_left)(void *run);
    /* A transaction is tried again. */
    void (*retries)(void *run);
    /* It waits for something outside of its work; NULL: no more. */
    void (*waits)(void *run, const char *what);
    /* It has no connection, or has one again. */
    void (*disconnected)(void *run);
    void (*connected)(void *run);
    /* Over a new connection: claims the run anew. */
    bool (*claim)(void *run, struct lm_err *err);
    /* Over the same one: reads what the journal has of the run. */
    bool (*reread)(void *run, struct lm_err *err);
};

/* The transaction in hand, and what has failed so far (recover.c). */
struct lm_attempt {
    int number;        /* from 1 */
    bool in_batch;     /* the step in hand is a batch */
    bool paging;       /* ... that is looking for its page */
    bool uncombined;   /* it runs without combining */
    bool reprepared;   /* ... and with its statements prepared anew */
    int lost_in_row;   /* connections lost without progress */
    int ended_in_row;  /* sessions ended for what took too long, likewise */
    int64_t page_rows; /* of the batch in hand; 0: its page is not there */
    int64_t conflict_since_ms; /* when a row began to be in dispute; 0 */
    int64_t short_since_ms;    /* when the server began to lack something; 0 */
    int64_t uncounted_retries; /* that the journal does not know yet */
};

/* Looking for a row at fault (failed_rows.c). */
struct lm_bisection {
    int64_t
        rows_to_search; /* rows ahead, a bad one among them; 0: none is sought */
    int64_t rows;       /* the most that a page may hold; 0: as ever */
};

/* The page whose batch has failed (failed_rows.c). */
struct lm_failed_page {
    int64_t rows;      /* 0: it was not the batch that failed */
    struct lm_key key; /* of its only row, and what the journal may keep of */
    char *columns;     /* it, as array literals; NULL: nothing */
    char *values;
};

/* Walking the key in windows (window.c). */
struct lm_window {
    int64_t rows;   /* of the key's table; 0: no windows */
    char *table;    /* its name as SQL; NULL: not looked up */
    int slow_pages; /* that timed out, in a row */
    int full_pages; /* that ended before their window, in a row */
    int64_t began_ms;
};

/* Pages of a key's choosing, after one that could not be read (narrow.c). */
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

/* How long pages take (pace.c). */
struct lm_pace {
    int64_t first_ms[5];
    int count;         /* of those */
    int64_t slow_ms;   /* what one took that was slow; 0: none was */
    int64_t looked_ms; /* when the plan was looked at again; 0: never */
};

struct lm_lane {
    struct lm_lane_host host;
    struct lm_lane_options options;
    const struct lm_migration *migration; /* the run's */
    struct lm_run *run;                   /* likewise */

    struct lm_conn *conn;
    char application_name[64]; /* as long as the server allows */
    char server[24]; /* its system identifier; empty: it does not say */
    struct lm_journal journal;
    struct lm_base_query query; /* empty for a one-shot */
    struct lm_repo *repo;       /* owned */
    int modules_noted;          /* so many the journal knows */

    struct lm_attempt attempt;
    struct lm_size size; /* of batches */
    struct lm_window window;
    struct lm_pace pace;
    struct lm_bisection bisection;
    struct lm_narrow narrow;
    struct lm_failed_page failed_page;
    int64_t begun_ms;  /* when the work of the batch in hand began */
    int64_t worked_ms; /* what it took */
    char *first_key;   /* of the run, its first column; NULL: not seen */
    bool pages_done;   /* no row is left before the bound */
};

/* The pointers are the caller's, and stay. */
void lm_lane_init(struct lm_lane *self, const struct lm_lane_options *options,
                  const struct lm_migration *migration, struct lm_run *run);
void lm_lane_release(struct lm_lane *self);

/* -- connect.c: having a connection ----------------------------------------- */

/* Connects, and checks the server; one that is starting is waited for. */
bool lm_lane_connect(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
/* Is it somebody else's lock, or a cancel that was meant for another statement,
 * while the run is not yet at work? */
bool lm_lane_is_blocked_by_others(const struct lm_err *err);
/* Connects again, for a bounded time. The run, if any, is not claimed. why is
 * the error that ended the old connection. */
bool lm_lane_connect_again(struct lm_lane *self, const struct lm_err *why,
                           struct lm_err *err) LM_MUSTCHECK;
/* The same, and claims the run anew; what the server holds of it replaces what
 * was believed. LM_ERR_INTERRUPT when a signal came meanwhile. */
bool lm_lane_reconnect(struct lm_lane *self, const struct lm_err *why,
                       struct lm_err *err) LM_MUSTCHECK;
/* "luamig: run 7 of scripts/x.lua", in ASCII; a script's name that is too long
 * is cut at its beginning. size is that of the server's names, 64. */
void lm_lane_name_session(const struct lm_lane *self, const char *prefix,
                          char *name, size_t size);
/* The lane's own session is called that from the next transaction on. */
void lm_lane_rename(struct lm_lane *self);

/* -- query.c: the base query and the run's keys ----------------------------- */

/* Describes the base query and proves its key; again, with all statements
 * prepared anew: then what was known stays when it fails. */
bool lm_lane_check_query(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
bool lm_lane_check_query_again(struct lm_lane *self,
                               struct lm_err *err) LM_MUSTCHECK;
/* Do cursor and bound, as the journal has them, fit the key? */
bool lm_lane_check_keys(const struct lm_lane *self, const struct lm_run *run,
                        struct lm_err *err) LM_MUSTCHECK;
/* Reads what the journal has of the run again, on the same connection. */
bool lm_lane_refresh(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: the highest key; where the base query raises at a row,
 * that of the key's table, above which no page will look (narrow.c). */
bool lm_lane_highest(struct lm_lane *self, struct lm_key *out,
                     struct lm_err *err) LM_MUSTCHECK;

/* -- call.c: calling the script ---------------------------------------------- */

/* The transaction settings of batches and callbacks. */
struct lm_txn lm_lane_txn(const struct lm_lane *self);
/* What scripts are told of the run; batch is 0 before the first. */
struct lm_run_info lm_lane_info(const struct lm_lane *self, int64_t batch);
/* Lets the witness, if any, see a moment of a batch, or of a callback that the
 * script has. */
bool lm_lane_witness(struct lm_lane *self, enum lm_moment moment, int64_t batch,
                     struct lm_err *err) LM_MUSTCHECK;
bool lm_lane_witness_callback(struct lm_lane *self, enum lm_callback callback,
                              enum lm_moment moment,
                              struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: calls what the script may have, and closes the repo. */
bool lm_lane_call_back(struct lm_lane *self, enum lm_callback callback,
                       struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: lets the script handle a page. */
bool lm_lane_migrate_page(struct lm_lane *self, const struct lm_page *page,
                          struct lm_err *err) LM_MUSTCHECK;
/* A callback has returned ok or with *err: sees to what is in flight, and
 * closes the repo. */
bool lm_lane_close_repo(struct lm_lane *self, bool ok,
                        struct lm_err *err) LM_MUSTCHECK;

/* -- batch.c ------------------------------------------------------------------ */

/* One batch, from BEGIN to COMMIT. */
bool lm_lane_batch(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
/* The ends of a batch in a run, for the host. */
bool lm_lane_begin_batch(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
bool lm_lane_commit_batch(struct lm_lane *self, const struct lm_page *page,
                          const struct lm_key *cursor,
                          struct lm_err *err) LM_MUSTCHECK;

/* -- recover.c: what becomes of a step that failed ------------------------- */

/* Before a step, and after one that succeeded; when the run has come further. */
void lm_lane_begin_step(struct lm_lane *self);
void lm_lane_end_step(struct lm_lane *self);
void lm_lane_note_progress(struct lm_lane *self);
/* The run is paused, and the connection lives. */
void lm_lane_note_alive(struct lm_lane *self);
/* True when it is worth looking at the run again. The transaction is rolled
 * back, and err may have become another error. */
bool lm_lane_recover(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
/* Does the error lie with others, so that the same may succeed later? */
bool lm_lane_is_temporary(const struct lm_err *err);

/* -- failed_rows.c -------------------------------------------------------------- */

/* Does the error lie in the rows, and may they be recorded? */
bool lm_lane_may_record_row(const struct lm_lane *self,
                            const struct lm_err *err);
/* A row that was recorded is tried again, alone, in a transaction that the
 * caller ends. *rows: 0 when the base query does not return it, 2 when several
 * have its key, which are not migrated then. */
bool lm_lane_retry_row(struct lm_lane *self, const struct lm_key *key,
                       int attempt, int *rows, struct lm_err *err) LM_MUSTCHECK;
/* Does the error of that lie in the row? */
bool lm_lane_has_failed_at_row(const struct lm_lane *self,
                               const struct lm_err *err);

/* -- pace.c --------------------------------------------------------------------- */

void lm_pace_note(struct lm_pace *self, int64_t page_ms);
/* Has a page been slow, so that its plan is worth a look? Not again soon. */
bool lm_pace_is_worth_a_look(struct lm_pace *self);
int64_t lm_pace_median_ms(const struct lm_pace *self);
void lm_pace_looked(struct lm_pace *self);

/* -- modules.c: the files whose code a script uses ------------------------- */

/* Posts what the journal does not know yet, inside the transaction in hand; and
 * that this has committed. */
bool lm_lane_post_modules(struct lm_lane *self,
                          struct lm_err *err) LM_MUSTCHECK;
void lm_lane_modules_noted(struct lm_lane *self);
/* Warns of those that have changed since the run began, or since it was done. */
bool lm_lane_warn_of_modules(struct lm_lane *self, bool over,
                             struct lm_err *err) LM_MUSTCHECK;

#endif
