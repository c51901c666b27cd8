/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_LANE_LANE_H
#define LM_CORE_LANE_LANE_H

/*
 * One worker of a run: a connection and the batches that it works on. A batch
 * is one transaction. If a batch fails, the lane decides what to do: try
 * again, with fewer rows, later, over another connection, or give up.
 *
 * A lane knows its run as struct lm_lane_host, a few functions that it calls.
 * The two share four things: the migration, whose settings may change between
 * batches; the options; what the journal has of the run; and the account, in
 * which all lanes of the run count.
 */

#include "core/health/health.h"
#include "core/journal/journal.h"
#include "core/lane/account.h"
#include "core/lane/size.h"
#include "core/migration.h"
#include "core/page/page.h"
#include "core/page/place.h"
#include "core/repo/repo.h"
#include "pg/conn/txn.h"

/* Moments of a step that a witness sees. All but the last are inside the
 * step's transaction. */
enum lm_moment { LM_BEFORE_PAGE, LM_BEFORE_COMMIT, LM_AFTER_COMMIT };

/*
 * Watches a run step by step, for tests of scripts: the batches, and the
 * transactions of the script's callbacks. False: the step fails with *err.
 * LM_ERR_KILLED ends the run at once, and luamig writes nothing more to
 * journal, script or server.
 */
struct lm_witness {
    bool (*see)(void *arg, enum lm_moment moment, struct lm_conn *conn,
                const struct lm_run_info *info, struct lm_err *err);
    void *arg;
};

struct lm_lane_options {
    const char *conninfo;
    const char *source_conninfo; /* NULL: the migration has no source */
    const char *journal_schema;
    int64_t silence_ms;               /* see pg/conn/conn.h */
    const struct lm_witness *witness; /* NULL: there is none */
    bool dry;                         /* nothing is committed; no journal */
    bool skips_prepare; /* rows are migrated without ops->prepare */
};

/* The run, as a lane sees it. */
struct lm_lane_host {
    void *run;
    /* Begin and end a batch's transaction. The page has no rows if no row
     * matched in a window. */
    bool (*begin_batch)(void *run, struct lm_err *err);
    bool (*end_batch)(void *run, const struct lm_page *page,
                      const struct lm_key *cursor, struct lm_err *err);
    /* The lane has added this to the account, and its range may have moved. */
    void (*counted)(void *run, const struct lm_counts *done);
    /* Will the next batch follow at once, unless something happens? Then the
     * lane asks for its page already. */
    bool (*goes_on)(void *run);
    /* What the lane waits for, other than its own work; NULL: nothing any
     * more. */
    void (*waits)(void *run, const char *what);
    /* Waits for so long, outside of any transaction, unless something is asked
     * of the run. */
    void (*rest)(void *run, int64_t duration_ms);
    /* The lane is about to call ops->prepare, or has done so. */
    void (*prepares)(void *run, bool begins);
    /* Is something asked of the run, so that the lane should prepare no further
     * rows? Outside of any transaction. */
    bool (*is_wanted)(void *run);
    /* The lane has lost its connection, or has one again. */
    void (*disconnected)(void *run);
    void (*connected)(void *run);
    /* Over a new connection: claims the run, or the lane's range, anew. */
    bool (*claim)(void *run, struct lm_err *err);
    /* Over the same one: reads what the journal has of the run and of the
     * lane's range. */
    bool (*reread)(void *run, struct lm_err *err);
};

/* The transaction in hand, and what has failed so far (recover.c). */
struct lm_attempt {
    int number;      /* from 1 */
    bool in_batch;   /* the current step is a batch */
    bool paging;     /* ... and looks for its page */
    bool uncombined; /* writes are not combined */
    bool reprepared; /* ... and statements are prepared again */
    int lost_in_row; /* connections lost since the last progress */
    /* sessions that the server ended for time, since the last progress */
    int ended_in_row;
    int64_t page_rows; /* of the current batch; 0: not read yet */
    /* since when others change a row of the batch; 0: no conflict */
    int64_t conflict_since_ms;
    /* since when the server lacks memory, disk or connections; 0: it does not
     */
    int64_t short_since_ms;
    int64_t uncounted_retries; /* not in the journal yet */
};

/* The search for a failed row, by halves (failed_rows.c). */
struct lm_bisection {
    int64_t rows_to_search; /* next rows; one of them fails; 0: no search */
    int64_t rows;           /* most rows of a page; 0: no limit */
};

/* The batch that has failed: its page (failed_rows.c). */
struct lm_failed_batch {
    int64_t rows;      /* 0: no batch has failed */
    struct lm_key key; /* of the page's only row */
    /* that row for the journal, as array literals; NULL: not kept */
    char *columns;
    char *values;
};

/* Reading the key in windows (window.c). */
struct lm_window {
    int64_t rows;   /* of the key's table; 0: no windows */
    char *table;    /* its name as SQL; NULL: not known yet */
    int slow_pages; /* pages in a row that timed out */
    /* pages in a row that were full before their window ended */
    int full_pages;
    int64_t began_ms;
};

/* Rows that the script prepares before their transaction (prepare.c). */
struct lm_preparing {
    int64_t most;            /* rows of the next call; 0: there was none */
    int64_t page;            /* most rows of the next page; 0: any */
    int rounds;              /* how often the page has changed meanwhile */
    struct lm_looked looked; /* at the page */
};

/* Pages that end at a chosen key, after a page could not be read (narrow.c). */
struct lm_narrow {
    bool on;
    bool by_table;   /* keys come from the key's table, not the base query */
    bool by_keys;    /* the keys are being read, not the page */
    int64_t asked;   /* most rows of the current page */
    int64_t rows;    /* rows up to its end; 0: no end of its own */
    int64_t most;    /* rows of a page, by the memory they take; 0: any */
    int64_t ceiling; /* ... and never more again; 0: no limit */
    struct lm_key end;
};

/* How long pages take (pace.c). */
struct lm_pace {
    int64_t first_ms[5];
    int count;         /* how many of them are set */
    int64_t last_ms;   /* of the latest page */
    int64_t slow_ms;   /* time of a slow page; 0: none was slow */
    int64_t looked_ms; /* when the plan was last checked; 0: never */
};

/* What a lane believes of a range. */
struct lm_belief {
    int64_t id; /* 0: it has none */
    int64_t seq;
    int64_t rows;
    int64_t batches;
};

/* The other database in which the base query reads (source.c). */
struct lm_source {
    struct lm_conn *conn;  /* NULL: none, or lost */
    struct lm_repo *repo;  /* owned; what scripts read there */
    struct lm_place place; /* as it was seen first */
    bool known;            /* ... by this lane, or by the first of its run */
    bool fits;   /* the connection shows all that the run has seen so far */
    bool begun;  /* a transaction, which may not be on its way yet */
    bool is_own; /* it is the run's own database */
};

struct lm_lane {
    struct lm_lane_host host;
    struct lm_lane_options options;
    const struct lm_migration *migration; /* the run's */
    const struct lm_run *run;   /* the run's; a lane reads id and mark */
    struct lm_range range;      /* the keys that it works on */
    struct lm_account *account; /* the run's */
    int64_t reserved; /* rows of the account's limit, for the next batch */
    int64_t number;   /* of a batch, that it has and has not used; 0: none */
    int64_t batch;    /* number of the current batch */

    struct lm_conn *conn;
    char application_name[64]; /* at most as long as a name of the server */
    char server[24]; /* its system identifier; empty: it does not say */
    struct lm_journal journal;
    struct lm_base_query query; /* empty for a one-shot */
    struct lm_repo *repo;       /* owned */
    struct lm_source source;    /* if the migration has one */
    int modules_noted;          /* how many of them the journal has */

    struct lm_page_question question; /* for the page, also for the next one */
    struct lm_attempt attempt;
    struct lm_size size; /* of batches */
    struct lm_window window;
    struct lm_preparing preparing;
    struct lm_pace pace;
    struct lm_bisection bisection;
    struct lm_narrow narrow;
    struct lm_failed_batch failed_batch;
    int64_t begun_ms;  /* when the current batch's work began */
    int64_t worked_ms; /* how long the work took */
    char *first_key;   /* of the run, its first column; NULL: not seen */
    bool range_done;   /* no row is left in the range */
    int others;        /* how many other workers this process has */
    /* of a range that it has no more; id 0: settled */
    struct lm_belief unsettled;
};

/* What a lane has learned of its batches. */
struct lm_habits {
    struct lm_size size;
    int64_t window_rows;
};

/* The pointers belong to the caller and must live as long as the lane. */
void lm_lane_init(struct lm_lane *self, const struct lm_lane_options *options,
                  const struct lm_migration *migration,
                  const struct lm_run *run, struct lm_account *account);
void lm_lane_release(struct lm_lane *self);

/* -- connect.c: having a connection ----------------------------------------- */

/* Connects and checks the server. Waits while the server is starting. */
bool lm_lane_connect(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
/* Is the error the lock of another session, or a cancel that was sent for an
 * earlier statement? Only before the run has begun its work. */
bool lm_lane_is_blocked_by_other_session(const struct lm_err *err);
/* Connects again; gives up after some time. Does not claim the run. why is the
 * error that ended the old connection. */
bool lm_lane_connect_again(struct lm_lane *self, const struct lm_err *why,
                           struct lm_err *err) LM_MUSTCHECK;
/* The same, and claims the run again. What the server has of the run replaces
 * what the runner has in memory. LM_ERR_INTERRUPT if a signal came meanwhile.
 */
bool lm_lane_reconnect(struct lm_lane *self, const struct lm_err *why,
                       struct lm_err *err) LM_MUSTCHECK;
/* Writes "luamig: run 7 of scripts/x.lua" in ASCII. If the script's name is
 * too long, its beginning is cut off. size is the size of a name of the
 * server, 64. */
void lm_lane_name_session(const struct lm_lane *self, const char *prefix,
                          char *name, size_t size);

/* After the source alone was lost: connects to it again, as above; the run's
 * connection and its claim stay. */
bool lm_lane_reconnect_source(struct lm_lane *self, const struct lm_err *why,
                              struct lm_err *err) LM_MUSTCHECK;

/* -- source.c: the other database in which the base query reads ------------- */

/* These do nothing, and succeed, if the migration has no source. */
bool lm_lane_has_source(const struct lm_lane *self);
/* ... and is the source another database than the run's own? */
bool lm_lane_reads_elsewhere(const struct lm_lane *self);
/* The connection on which the base query is read, and keys are compared: the
 * source's, or the lane's own. */
struct lm_conn *lm_lane_reader(const struct lm_lane *self);
/* The settings of a transaction that only reads there. */
struct lm_txn lm_lane_read_txn(const struct lm_lane *self);
/* Connects to the source, if the lane has no connection to it, and checks that
 * it is the one that it was. The second function also waits while the server is
 * starting. */
bool lm_lane_open_source(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
bool lm_lane_connect_source(struct lm_lane *self,
                            struct lm_err *err) LM_MUSTCHECK;
/* Another lane of the run has found it there. */
void lm_lane_adopt_source(struct lm_lane *self, const struct lm_source *other);
/* Outside of transactions, before rows of a started run are read: connects if
 * needed, and waits until the source shows what the run has seen of it. */
bool lm_lane_enter_source(struct lm_lane *self,
                          struct lm_err *err) LM_MUSTCHECK;
bool lm_lane_has_entered_source(const struct lm_lane *self);
/* Begins a read-only transaction in the source, if there is none. The second
 * function ends it; errors do not matter. */
bool lm_lane_begin_source(struct lm_lane *self,
                          struct lm_err *err) LM_MUSTCHECK;
void lm_lane_end_source(struct lm_lane *self);
/* Rolls back what there is, here and there. */
void lm_lane_rollback(struct lm_lane *self);
/* Has the connection to the source broken, and the lane's own has not? */
bool lm_lane_has_lost_source(const struct lm_lane *self);
void lm_lane_close_source(struct lm_lane *self);
/* Has a started run of the journal read where the migration reads? */
bool lm_lane_check_source(struct lm_lane *self, int64_t run_id,
                          struct lm_err *err) LM_MUSTCHECK;
/* Inside the run's transaction: writes to the journal what the run has seen of
 * the source. Ends the source's transaction. */
bool lm_lane_note_source(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;

/* -- query.c: the base query and the run's keys ----------------------------- */

/* Describes the base query and proves its key. The second function prepares
 * all statements again; if it fails, the lane keeps what it knew. */
bool lm_lane_check_query(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
bool lm_lane_check_query_again(struct lm_lane *self,
                               struct lm_err *err) LM_MUSTCHECK;
/* Is it described? */
bool lm_lane_knows_query(const struct lm_lane *self);
/* Do a cursor and an upper key, as the journal has them, fit the key? begun: it
 * says that rows are done. They do if the key is not known yet. */
bool lm_lane_check_keys(const struct lm_lane *self, const struct lm_key *cursor,
                        const struct lm_key *upper, bool begun,
                        struct lm_err *err) LM_MUSTCHECK;
/* The same for the range that the lane holds. */
bool lm_lane_check_range(const struct lm_lane *self,
                         struct lm_err *err) LM_MUSTCHECK;
/* What the lane believes of its range, before the journal is read again. */
struct lm_belief lm_lane_believe(const struct lm_lane *self);
/* And afterwards: counts how many rows and batches more, or fewer, the journal
 * has of that range, also if another worker has its rest by now. *batches: how
 * many. If this fails, the lane believes the same when the journal is read once
 * more. */
bool lm_lane_settle(struct lm_lane *self, const struct lm_belief *before,
                    int64_t *batches, struct lm_err *err) LM_MUSTCHECK;
/* Reads what the journal has of the run and of the lane's range again, on the
 * same connection. */
bool lm_lane_refresh(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: the highest key of the base query. If the base query
 * fails at a row: the highest key of the key's table (narrow.c); no page looks
 * above it. */
bool lm_lane_highest(struct lm_lane *self, struct lm_key *out,
                     struct lm_err *err) LM_MUSTCHECK;

/* -- call.c: calling the script ---------------------------------------------- */

/* The transaction settings of batches and callbacks. */
struct lm_txn lm_lane_txn(const struct lm_lane *self);
/* The `run` that scripts see; batch is 0 before the first. */
struct lm_run_info lm_lane_info(const struct lm_lane *self, int64_t batch);
/* Shows a moment of a batch, or of a callback of the script, to the witness,
 * if there is one. */
bool lm_lane_witness(struct lm_lane *self, enum lm_moment moment, int64_t batch,
                     struct lm_err *err) LM_MUSTCHECK;
bool lm_lane_witness_callback(struct lm_lane *self, enum lm_callback callback,
                              enum lm_moment moment,
                              struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: calls the callback, if the script has it, and closes
 * the repo. */
bool lm_lane_call_back(struct lm_lane *self, enum lm_callback callback,
                       struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: lets the script handle a page. */
bool lm_lane_migrate_page(struct lm_lane *self, const struct lm_page *page,
                          const struct lm_stretch *stretch,
                          struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: opens the repo for a callback, and that of the source.
 */
bool lm_lane_open_repo(struct lm_lane *self, const struct lm_repo_use *use,
                       struct lm_err *err) LM_MUSTCHECK;
/* After a callback, which returned ok or failed with *err: waits for the
 * writes in flight, and closes the repo. */
bool lm_lane_close_repo(struct lm_lane *self, bool ok,
                        struct lm_err *err) LM_MUSTCHECK;

/* -- batch.c ------------------------------------------------------------------ */

/* One batch, from BEGIN to COMMIT. Over a new connection to the source: finds
 * out what there is and what the lane's range is now, and no batch yet. */
bool lm_lane_batch(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
/* Reserves rows of the limit for the next batch; false: they are spent, or
 * other lanes have reserved all that are left. */
bool lm_lane_reserve(struct lm_lane *self);
/* The lane is going to wait before the next batch: gives up the transaction in
 * which it has asked for the next page. Other statements do so by themselves. */
void lm_lane_rest(struct lm_lane *self);
/* For the host: begin and end the transaction of a batch in a run. */
bool lm_lane_begin_batch(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
bool lm_lane_commit_batch(struct lm_lane *self, const struct lm_page *page,
                          const struct lm_key *cursor,
                          struct lm_err *err) LM_MUSTCHECK;
/* The lane works on this range from now on; takes over its texts. */
void lm_lane_set_range(struct lm_lane *self, struct lm_range *range);

/* -- recover.c: what becomes of a step that failed ------------------------- */

/* Call these before a step, after a step that succeeded, and when rows have
 * been migrated. */
void lm_lane_begin_step(struct lm_lane *self);
void lm_lane_end_step(struct lm_lane *self);
void lm_lane_note_progress(struct lm_lane *self);
/* Retries of another lane; the journal hears of them with the next checkpoint. */
void lm_lane_add_retries(struct lm_lane *self, int64_t retries);
/* Call this while the run is paused and the connection works. */
void lm_lane_note_alive(struct lm_lane *self);
/* After an error: true if the runner should look at the run again and go on.
 * The transaction is rolled back; *err may have become another error. */
bool lm_lane_recover(struct lm_lane *self, struct lm_err *err) LM_MUSTCHECK;
/* Is the cause outside of luamig and temporary, so that the same step may
 * succeed later? */
bool lm_lane_is_temporary(const struct lm_err *err);

/* -- failed_rows.c -------------------------------------------------------------- */

/* Is a row the cause, and may the run record it as a failed row? */
bool lm_lane_may_record_row(const struct lm_lane *self,
                            const struct lm_err *err);
/* Migrates a recorded failed row again, alone, in a transaction that the
 * caller ends. *rows: 0 if the base query does not return the row, 2 if
 * several rows have its key; then no row is migrated. */
bool lm_lane_retry_row(struct lm_lane *self, const struct lm_key *key,
                       int attempt, int *rows, struct lm_err *err) LM_MUSTCHECK;
/* After lm_lane_retry_row: is the row the cause of the error? */
bool lm_lane_has_failed_at_row(const struct lm_lane *self,
                               const struct lm_err *err);

/* -- window.c ------------------------------------------------------------------ */

struct lm_habits lm_lane_habits(const struct lm_lane *self);
/* Begins with the habits of another lane. Needs the described query. */
bool lm_lane_adopt(struct lm_lane *self, const struct lm_habits *habits,
                   struct lm_err *err) LM_MUSTCHECK;

/* -- pace.c --------------------------------------------------------------------- */

void lm_pace_note(struct lm_pace *self, int64_t page_ms);
/* Has a page been slow, so that its plan should be checked? True at most once
 * in a while. */
bool lm_pace_is_worth_a_look(struct lm_pace *self);
int64_t lm_pace_median_ms(const struct lm_pace *self);
void lm_pace_looked(struct lm_pace *self);

/* -- modules.c: the files whose code a script uses ------------------------- */

/* Inside the transaction: posts the modules that the journal does not have
 * yet. The second function: that transaction has committed. */
bool lm_lane_post_modules(struct lm_lane *self,
                          struct lm_err *err) LM_MUSTCHECK;
void lm_lane_modules_noted(struct lm_lane *self);
/* Warns of modules that have changed since the run began, or since it was
 * done. */
bool lm_lane_warn_of_modules(struct lm_lane *self, bool over,
                             struct lm_err *err) LM_MUSTCHECK;

#endif
