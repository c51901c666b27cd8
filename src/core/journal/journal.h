/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_JOURNAL_JOURNAL_H
#define LM_CORE_JOURNAL_JOURNAL_H

/*
 * luamig's own tables in the target database: which runs there are, how far
 * each is, and which runner works on it.
 *
 * The keys of a run that are still to do lie in ranges, a row of `range` each.
 * A worker holds a range by an owner token, which each hand-out makes anew, and
 * a sequence number. Every checkpoint gives both. If they are not those of the
 * row, the server raises SQLSTATE LM001. So a worker that lost its range cannot
 * commit. progress.owner and its number are the same for the run as a whole:
 * its start, its state, its end.
 *
 * A worker's session has a row of `worker`, with its lease. After each
 * reconnect the session is another one, and takes the ranges of the one before
 * with a fresh token. That UPDATE waits for a batch that is still in flight, so
 * afterwards the outcome of its COMMIT is known.
 *
 * Locks are taken in one order: progress, worker, range, run. A batch locks its
 * range only.
 */

#include "core/migration.h"
#include "core/page/key.h"
#include "core/page/place.h"
#include "pg/conn/conn.h"

/* Where requests are announced; the payload is the run's number. */
#define LM_JOURNAL_CHANNEL "luamig"

/* SQLSTATE of the journal functions for a lost owner token. */
#define LM_JOURNAL_FENCED "LM001"
/* ... of an error that says that the run's rows are gone, ... */
#define LM_JOURNAL_VANISHED "LM008"
/* ... and for a failure that is resolved already. */
#define LM_JOURNAL_RESOLVED "LM004"

/*
 * Does the server process a (of pg_stat_activity) work, rather than wait for
 * its client? If "track_activities" is off, its state is unknown; then a
 * transaction counts, which has the lock on its own virtual number. A role
 * that may not see the state sees NULL; then the lease alone decides. SQL for
 * luamig's own search_path.
 */
#define LM_JOURNAL_AT_WORK                                               \
    "(a.wait_event IS DISTINCT FROM 'ClientRead' AND CASE"               \
    " WHEN a.state IS DISTINCT FROM 'disabled' THEN"                     \
    "  coalesce(a.state IN ('active', 'fastpath function call'), false)" \
    " ELSE EXISTS (SELECT FROM pg_catalog.pg_locks l"                    \
    "  WHERE l.pid = a.pid AND l.locktype = 'virtualxid' AND l.granted"  \
    "  AND l.mode = 'ExclusiveLock') END)"

/* What an install does if a publication includes its tables. */
enum lm_journal_published {
    LM_JOURNAL_PUBLISHED_REFUSE,
    LM_JOURNAL_PUBLISHED_WARN,
    LM_JOURNAL_PUBLISHED_ALLOW
};

/* How long a runner may be silent, by default. */
#define LM_JOURNAL_LEASE_MS 60000
#define LM_JOURNAL_TEXT_(x) #x
#define LM_JOURNAL_TEXT(x)  LM_JOURNAL_TEXT_(x)

/* The states of a run that can be resumed. */
#define LM_JOURNAL_MAY_GO_ON "('running', 'paused', 'stopped', 'failed')"

/* The journal, for one worker. */
struct lm_journal {
    enum lm_journal_published published;
    struct lm_conn *conn; /* not owned; replaced at every reconnect */
    const char *schema;   /* unquoted */
    int64_t lease_ms;     /* how long a worker may be silent */
    char process[40];     /* token of this process */
    char worker[40];      /* token of this session; "": none yet */
    int number;           /* of the worker in its process, from 1 */
};

/* A range of keys that a worker holds. */
struct lm_range {
    int64_t id;           /* 0: none */
    char owner[40];       /* token of the hand-out */
    int64_t seq;          /* changes with each checkpoint */
    struct lm_key cursor; /* its last key that is done; empty: none is */
    struct lm_key upper;  /* its last key; empty: it has no end */
    int64_t rows;         /* done in it, by the journal's row; ... */
    int64_t batches;      /* likewise */
};
void lm_range_release(struct lm_range *self);

/* One run as its runner sees it. */
struct lm_run {
    int64_t id;
    char mark[40]; /* random, and stays: no other run has it */
    char owner[40];
    char next_owner[40]; /* token of a claim in progress; "": none */
    int64_t seq;
    int64_t rows;
    int64_t batches;
    int64_t retries;
    int64_t failures;    /* failed rows that are not resolved */
    bool started;        /* on_start is done, the bound is known */
    bool script_changed; /* the script has another text than before */
    bool adopted;        /* found under another name or other arguments */
    bool reported;       /* what is to be said about other runs is logged */
    char state[24];      /* as last read */
    char held_json[640]; /* as last read: held time by cause */
    int ranges;          /* how many there are, as last read */
    /* All rows up to this key are done. Higher ones may be, too, if there are
     * several ranges. */
    struct lm_key cursor;
    struct lm_key bound; /* the highest key when the run began */
    bool bound_is_empty; /* there were no rows at the begin */
};
void lm_run_release(struct lm_run *run);

/* What identifies and describes a run. */
struct lm_run_request {
    const char *script;
    struct lm_origin origin;
    const char *source; /* the script's text, hashed by the server */
    const char *args_json;
    struct lm_arguments arguments;
    const char *config_json;
    const char *fingerprint;        /* NULL: not known yet */
    bool settled;                   /* on_start cannot change it, or has run */
    const char *const *key_columns; /* count 0 for a one-shot */
    int key_count;
    bool again;    /* begin another run although the last one is done */
    bool restart;  /* abandon an unfinished or cancelled run */
    int64_t adopt; /* run to continue, whatever its name; 0: none */
    struct lm_run_file {
        const char *name; /* of the file that it reads; NULL: none is given */
        const char *sha256;
        int64_t bytes;
    } file;

    /* May this run be resumed, by what the journal has of it? */
    bool (*accepts)(void *arg, const struct lm_run *run, struct lm_err *err);
    void *arg;
};

enum lm_journal_found {
    LM_JOURNAL_NONE,       /* begin a run */
    LM_JOURNAL_UNFINISHED, /* take it over */
    LM_JOURNAL_FINISHED,   /* done: nothing to do */
    LM_JOURNAL_CANCELLED   /* needs restart */
};

int lm_journal_version(void);
/* Adds the DDL of all steps after the installed version (0: everything). */
void lm_journal_add_ddl(struct lm_buf *buf, const char *schema, int installed);
/* Adds the grants that let a role run migrations. */
void lm_journal_add_grants(struct lm_buf *buf, const char *schema,
                           const char *role);
/* Adds sql with each {schema} replaced by the quoted name, and each {quote} by
 * a dollar quote that does not occur in the name. */
void lm_journal_fill_placeholders(struct lm_buf *buf, const char *sql,
                                  const char *schema);

/*
 * Removes the journal's schema from the search_path of scripts' SQL, so that a
 * name without a schema never means a table of the journal. Not if the schema
 * also has tables of others, which such a name may mean. Once for a
 * connection.
 */
bool lm_journal_remove_schema_from_path(struct lm_journal *self,
                                        struct lm_err *err) LM_MUSTCHECK;

/* Does anything other than missing rights prevent making the tables, or
 * upgrading those of a version? LM_ERR_CONNECT: tables of others have their
 * names, or a publication would send them to subscribers. */
bool lm_journal_check_install(struct lm_journal *self, int version,
                              struct lm_err *err) LM_MUSTCHECK;
/* Creates or upgrades the tables. LM_ERR_CONNECT if the role may not, and as
 * in lm_journal_check_install. */
bool lm_journal_install(struct lm_journal *self,
                        struct lm_err *err) LM_MUSTCHECK;
/* Makes what lm_journal_post_two_phase needs, as lm_journal_install does. Does
 * nothing without Citus. */
bool lm_journal_prepare_citus(struct lm_journal *self,
                              struct lm_err *err) LM_MUSTCHECK;
/* In a transaction in which a script may have written: on Citus, COMMIT has two
 * phases, so what the nodes and the journal say agrees. Posted. */
bool lm_journal_post_two_phase(struct lm_journal *self,
                               struct lm_err *err) LM_MUSTCHECK;
/* The version that is installed in this database; 0: none. */
bool lm_journal_installed(struct lm_journal *self, int *version,
                          struct lm_err *err) LM_MUSTCHECK;

/* Is the journal of that version complete? If not: LM_ERR_FAILED with
 * LM_JOURNAL_VANISHED says what is missing. */
bool lm_journal_check_whole(struct lm_journal *self, int version,
                            struct lm_err *err) LM_MUSTCHECK;
/* After a run failed, or its end could not be written: is the cause that a
 * part of the journal is gone? Outside of a transaction. True: sets err, which
 * gives the cursor to continue from. */
bool lm_journal_blames_loss(struct lm_journal *self, const struct lm_run *run,
                            const struct lm_err *why,
                            struct lm_err *err) LM_MUSTCHECK;

/* Do the journal's rows of this script's runs fit together? LM_ERR_FAILED if a
 * run has no progress row or an unknown state; the hint says how to continue.
 * With request->restart such a run is marked as cancelled instead. */
bool lm_journal_examine(struct lm_journal *self,
                        const struct lm_run_request *request,
                        struct lm_err *err) LM_MUSTCHECK;

/*
 * journal/find.c: finds the run of the script's name and arguments. Fills id,
 * state, counters and script_changed of run. If there is none, logs which
 * unfinished runs there are with other arguments.
 *
 * With run->adopted the run has another name, or other arguments. Taking it
 * over gives it those of the request; lm_journal_adopt does the same for a run
 * that is done.
 *
 * LM_ERR_SCRIPT if a run may belong to this script but differs: in the file
 * that began it, in an argument, or in its name. The error says which.
 */
bool lm_journal_find(struct lm_journal *self,
                     const struct lm_run_request *request,
                     enum lm_journal_found *found, struct lm_run *run,
                     struct lm_err *err) LM_MUSTCHECK;
/* May this script migrate the failed rows of run->id again? Its text may have
 * changed. LM_ERR_SCRIPT if it is another script. */
bool lm_journal_check_retry(struct lm_journal *self,
                            const struct lm_run_request *request,
                            struct lm_run *run,
                            struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_adopt(struct lm_journal *self,
                      const struct lm_run_request *request, struct lm_run *run,
                      struct lm_err *err) LM_MUSTCHECK;

/*
 * journal/fit.c: do the cursor of a run, and the keys of its failed rows,
 * still fit the request's key and the database, by the fingerprint
 * (core/page/fingerprint.h)? LM_ERR_SCRIPT names the first difference. If the
 * journal has no fingerprint, or fingerprint is NULL, they fit.
 */
bool lm_journal_fits(struct lm_journal *self,
                     const struct lm_run_request *request,
                     const struct lm_run *run, struct lm_err *err) LM_MUSTCHECK;
/* Did a run that is done read the same tables as this sketch? */
bool lm_journal_fits_done(struct lm_journal *self, const char *sketch,
                          int64_t run_id, struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_note_fingerprint(struct lm_journal *self, int64_t run_id,
                                 const char *fingerprint,
                                 struct lm_err *err) LM_MUSTCHECK;

/* journal/source.c: the other database in which a run reads (config.source). */
struct lm_journal_source {
    bool there; /* the run has one */
    char repo[128];
    struct lm_place place; /* its newest position that the run has seen */
};
bool lm_journal_read_source(struct lm_journal *self, int64_t run_id,
                            struct lm_journal_source *out,
                            struct lm_err *err) LM_MUSTCHECK;
/* In a transaction. The position never goes back. */
bool lm_journal_note_source(struct lm_journal *self, int64_t run_id,
                            const char *repo, const struct lm_place *place,
                            struct lm_err *err) LM_MUSTCHECK;

/* Files whose code a run has used, as lists for parameters: names, files, and
 * contents (NULL if a file is gone). */
struct lm_journal_modules {
    struct lm_buf names;
    struct lm_buf files;
    struct lm_buf contents;
};
/* journal/modules.c: the modules that the journal has of a run, other than
 * these names: names[i] and files[i], freed with lm_free_texts. */
bool lm_journal_other_modules(struct lm_journal *self, int64_t run_id,
                              const struct lm_journal_modules *modules,
                              char ***names, char ***files, int *count,
                              struct lm_err *err) LM_MUSTCHECK;
/* The files among these modules that the journal has with another content;
 * freed with lm_free_texts. */
bool lm_journal_changed_modules(struct lm_journal *self, int64_t run_id,
                                const struct lm_journal_modules *modules,
                                char ***files, int *count,
                                struct lm_err *err) LM_MUSTCHECK;
/* Posts to the current transaction: the run has used these modules. */
bool lm_journal_note_modules(struct lm_journal *self, int64_t run_id,
                             const struct lm_journal_modules *modules,
                             struct lm_err *err) LM_MUSTCHECK;

/* Looks for the run once more, and begins one if there is none. *begun is false
 * if there is one by now. */
bool lm_journal_begin(struct lm_journal *self,
                      const struct lm_run_request *request,
                      const struct lm_key *cursor, struct lm_run *run,
                      bool *begun, struct lm_err *err) LM_MUSTCHECK;

/*
 * Takes an unfinished run over, with all its ranges. LM_ERR_BUSY if a runner is
 * alive; other errors as of lm_journal_fits and request->accepts. After an
 * error the journal is unchanged. *ended is true if the run has ended
 * meanwhile; then look for a run again.
 */
bool lm_journal_take(struct lm_journal *self,
                     const struct lm_run_request *request, struct lm_run *run,
                     bool *ended, struct lm_err *err) LM_MUSTCHECK;

/* After a reconnect: writes a fresh owner token, and reads what the server has
 * of the run, with its state: the COMMIT in flight may have ended the run. The
 * worker has another session then, with the range of the one before, if it
 * still had one. LM_ERR_FENCED if another runner has taken the run over. */
bool lm_journal_reclaim(struct lm_journal *self, struct lm_run *run,
                        struct lm_range *range,
                        struct lm_err *err) LM_MUSTCHECK;

/* Before a retry on the same connection: reads the progress again. */
bool lm_journal_refresh(struct lm_journal *self, struct lm_run *run,
                        struct lm_err *err) LM_MUSTCHECK;

/* The worker's range is gone: takes what the journal has for this worker, if
 * anything, as after a reconnect; a transaction of its own. */
bool lm_journal_come_back(struct lm_journal *self, const struct lm_run *run,
                          struct lm_range *range,
                          struct lm_err *err) LM_MUSTCHECK;
/* Removes the sessions of runs that are over. Their leases may be renewed while
 * a run's last transaction is open, so that one leaves them. */
bool lm_journal_forget_workers(struct lm_journal *self,
                               struct lm_err *err) LM_MUSTCHECK;
/* The worker has given its range back, and ends; a transaction of
 * its own. */
bool lm_journal_end_session(struct lm_journal *self,
                            struct lm_err *err) LM_MUSTCHECK;
/* How many connections may the workers of this process have? Those that they
 * have count, and a fair part of what the server, the database and the role
 * leave free, with a margin. It may be less than nothing. */
bool lm_journal_count_room(struct lm_journal *self, int64_t run_id, int *room,
                           struct lm_err *err) LM_MUSTCHECK;
/* Gives the process a token, if it has none. */
bool lm_journal_init(struct lm_journal *self, struct lm_err *err) LM_MUSTCHECK;

/* Rows of the run are locked (55P03), since this time at least: ends the server
 * processes of this worker, or of all workers (process is NULL), that may keep
 * them so. At first only those that wait for their client in an open
 * transaction. False: it was long enough, or a second signal has come. Outside
 * of a transaction. */
bool lm_journal_insist(struct lm_journal *self, int64_t run_id,
                       const char *process, int64_t begun_ms);

/* -- journal/range.c ---------------------------------------------------- */

/* Inside a batch's transaction: posts the checkpoint. If token or number do
 * not fit, COMMIT fails with that error. The caller advances range->seq once
 * the transaction is committed. */
bool lm_journal_checkpoint(struct lm_journal *self,
                           const struct lm_range *range,
                           const struct lm_key *cursor, int64_t rows,
                           int64_t retries, struct lm_err *err) LM_MUSTCHECK;
/*
 * Gives back the range that the worker holds, if it holds one, and takes the
 * next; a transaction of its own. over: nothing is left of the old range;
 * otherwise its rest is the next one. range->id is 0 afterwards if there is
 * none to have: run->ranges are then with other workers, or run->state is not
 * "running". LM_JOURNAL_FENCED if this session or its range has been taken
 * over.
 */
bool lm_journal_next_range(struct lm_journal *self, struct lm_run *run,
                           struct lm_range *range, bool over,
                           struct lm_err *err) LM_MUSTCHECK;
/* The same, and takes none. */
bool lm_journal_give_back(struct lm_journal *self, struct lm_run *run,
                          struct lm_range *range, bool over,
                          struct lm_err *err) LM_MUSTCHECK;
/* Reads the run's state, counters, ranges and cursor. */
bool lm_journal_count_run(struct lm_journal *self, struct lm_run *run,
                          struct lm_err *err) LM_MUSTCHECK;
/* Reads the range that the worker holds again. *mine is false if it holds it no
 * longer. */
bool lm_journal_read_range(struct lm_journal *self, struct lm_range *range,
                           bool *mine, struct lm_err *err) LM_MUSTCHECK;
/* If another worker has the rest of this range: its rows and batches, which are
 * the old worker's. Otherwise *range stays what it is. */
bool lm_journal_read_closed(struct lm_journal *self, int64_t id,
                            struct lm_range *range,
                            struct lm_err *err) LM_MUSTCHECK;

/* -- journal/split.c ---------------------------------------------------- */

/* Ranges of a run that are not done: those that workers hold, this one's too,
 * or all (held is false). */
struct lm_neighbour {
    struct lm_range range;
    bool alive;       /* as LM_JOURNAL_ALIVE says */
    char process[40]; /* its worker's; "": there is none */
    int number;
};
struct lm_neighbours {
    struct lm_neighbour *of;
    int count;
};
void lm_neighbours_release(struct lm_neighbours *self);
bool lm_journal_list_neighbours(struct lm_journal *self, int64_t run_id,
                                bool held, struct lm_neighbours *out,
                                struct lm_err *err) LM_MUSTCHECK;
/* Begins a transaction that locks the range, and reads it again: cursor and
 * upper key stay what they are until the transaction ends. *there is false if
 * another hand-out has it meanwhile. 55P03 if the lock is not to be had. */
bool lm_journal_lock_range(struct lm_journal *self, int64_t run_id,
                           struct lm_range *range, bool *there,
                           struct lm_err *err) LM_MUSTCHECK;
/* Then, with keys that are after its cursor, in ascending order: the range ends
 * at the first one, and the rest becomes ranges that nobody holds. Commits. */
bool lm_journal_cut(struct lm_journal *self, int64_t run_id,
                    const struct lm_range *range, const struct lm_key *cuts,
                    int count, struct lm_err *err) LM_MUSTCHECK;
/* Ends the neighbour's server process if it waits for its client in an open
 * transaction, if the role may. Outside of a transaction. */
void lm_journal_end_idle(struct lm_journal *self, int64_t run_id,
                         const struct lm_neighbour *neighbour);
/* Or: its worker is gone; the rest of the range becomes one that nobody holds.
 * The row stays to the end of the run with what the worker has done, so that a
 * worker which lives after all can see what its last COMMIT did. Commits. */
bool lm_journal_abandon(struct lm_journal *self, const struct lm_range *range,
                        struct lm_err *err) LM_MUSTCHECK;

/* -- journal/join.c ----------------------------------------------------- */

/* Who leads a run, and what others need to know of it. */
struct lm_lead {
    bool alive;       /* some worker of the run is */
    bool leads;       /* the leader is */
    bool resigned;    /* there is none: it has stopped */
    bool wants_pause; /* a pause is asked for and not answered */
    int workers;      /* in its process; 0: not known */
    char host[256];
    int64_t pid;
    char error[1024]; /* of a run that has failed; "": none */
};
/* Reads this, and the run as lm_journal_refresh does, with its state. */
bool lm_journal_look_at_lead(struct lm_journal *self, struct lm_run *run,
                             struct lm_lead *out,
                             struct lm_err *err) LM_MUSTCHECK;
/* Joins a run that others have at work; *joined is false if nobody has it.
 * LM_ERR_SCRIPT if the script, the key or the database differ. */
bool lm_journal_join(struct lm_journal *self,
                     const struct lm_run_request *request, struct lm_run *run,
                     bool *joined, struct lm_err *err) LM_MUSTCHECK;
/* Leads the run in place of the leader whose token run->owner is; *leads is
 * false if another worker was faster. */
bool lm_journal_lead(struct lm_journal *self, struct lm_run *run, bool *leads,
                     struct lm_err *err) LM_MUSTCHECK;
/* Do the sessions of this process still belong to the run? */
bool lm_journal_is_member(struct lm_journal *self, int64_t run_id, bool *member,
                          struct lm_err *err) LM_MUSTCHECK;
/* A process that does not lead has failed: the run has, for all of them. */
bool lm_journal_fail_run(struct lm_journal *self, const struct lm_run *run,
                         const struct lm_err *error, int exit_code,
                         struct lm_err *err) LM_MUSTCHECK;
/* Says so in another process; always false. */
bool lm_journal_fail_elsewhere(const struct lm_run *run, struct lm_err *err);
/* How many ranges do workers of other processes hold, dead or alive? */
bool lm_journal_count_held(struct lm_journal *self, int64_t run_id,
                           int64_t *held, struct lm_err *err) LM_MUSTCHECK;
/* Are there workers of other processes, and alive? */
bool lm_journal_has_others(struct lm_journal *self, int64_t run_id,
                           bool *others, struct lm_err *err) LM_MUSTCHECK;
/* This process gives back what it holds, and stops leading. The run goes on
 * with others. */
bool lm_journal_leave_run(struct lm_journal *self, int64_t run_id,
                          struct lm_err *err) LM_MUSTCHECK;

/* -- journal/journal.c -------------------------------------------------- */

/* Inside a transaction: marks the run as started and sets its bound: NULL (no
 * bound) for a run that follows new rows and for a one-shot, empty for a table
 * without rows. If there is something to page, its keys become one range, which
 * this worker holds; range->id is 0 if not. Advances seq as above. */
bool lm_journal_mark_started(struct lm_journal *self, const struct lm_run *run,
                             const struct lm_key *bound, bool pages,
                             struct lm_range *range,
                             struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: sets the run's last state and its exit code, counts
 * the retries since the last checkpoint, ends the lease, and answers open
 * requests. error may be NULL. Advances seq as above. A run that is done must
 * have no range but this worker's, of which nothing is left:
 * LM_JOURNAL_FENCED. */
struct lm_journal_end {
    const char *state;
    int exit_code;
    int64_t retries;
    const struct lm_err *error;
};
bool lm_journal_finish(struct lm_journal *self, const struct lm_run *run,
                       const struct lm_range *range,
                       const struct lm_journal_end *end,
                       struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction, as its first statement: how many ranges other than this
 * one are not done? */
bool lm_journal_count_others(struct lm_journal *self, const struct lm_run *run,
                             const struct lm_range *range, int64_t *others,
                             struct lm_err *err) LM_MUSTCHECK;

/* Inside a transaction: sets the state "running" or "paused" of a run that the
 * runner keeps. Advances seq as above. */
bool lm_journal_set_state(struct lm_journal *self, const struct lm_run *run,
                          const char *state, struct lm_err *err) LM_MUSTCHECK;

/* What a run writes for status between checkpoints. */
struct lm_journal_note {
    bool leads; /* this process leads; the next four are for the leader */
    const char *waits_for; /* NULL: for nothing */
    const char *held_json; /* {"cause": milliseconds, ...} */
    int64_t total;         /* rows, as estimated; -1: unknown */
    int64_t batch_size;
    int workers;            /* of this process */
    char workers_note[256]; /* why so many; "": nothing is to be said */
};

/* Writes the note, and renews the leases of this process, in a transaction of
 * its own. SQLSTATE LM_JOURNAL_FENCED if another runner has taken the run over.
 */
bool lm_journal_renew(struct lm_journal *self, const struct lm_run *run,
                      const struct lm_journal_note *note,
                      struct lm_err *err) LM_MUSTCHECK;

/*
 * Renews the leases of a process over another connection: a worker's own
 * connection cannot while its transaction is open. Such a lease counts as long
 * as the server process of self->conn is there; behind a pooler, for its time.
 * Does nothing if others have taken the sessions over. The fence never reads
 * leases, so a wrong one cannot make two workers write.
 */
bool lm_journal_keep(struct lm_journal *self, int64_t run_id,
                     struct lm_err *err) LM_MUSTCHECK;

/* The same connection writes for status that the process, which leads the run,
 * has been in the script's prepare for so long. */
bool lm_journal_note_prepare(struct lm_journal *self, int64_t run_id,
                             int64_t for_ms, struct lm_err *err) LM_MUSTCHECK;

/* The server process a of worker w, as SQL for FROM. Behind a pooler, where
 * backend_pid is 0, there is none. */
#define LM_JOURNAL_BACKEND                           \
    "pg_catalog.pg_stat_activity a"                  \
    " WHERE a.pid = w.backend_pid"                   \
    " AND a.datname = pg_catalog.current_database()" \
    " AND coalesce(a.backend_start = w.backend_start, true)"
/*
 * Is worker w alive? Its process has kept the lease over a connection that is
 * there. Or its own connection is there, and the lease is valid, or the
 * connection works, or it has been idle in its transaction for less than a
 * lease (milliseconds, as SQL). SQL for LM_OWN texts.
 */
#define LM_JOURNAL_ALIVE(lease_ms)                                          \
    "(w.kept_until > clock_timestamp()"                                     \
    "  AND (w.keeper_pid = 0 OR EXISTS ("                                   \
    "   SELECT FROM pg_catalog.pg_stat_activity b"                          \
    "   WHERE b.pid = w.keeper_pid"                                         \
    "   AND b.datname = pg_catalog.current_database()"                      \
    "   AND coalesce(b.backend_start = w.keeper_start, true)))"             \
    " OR w.backend_pid = 0 AND w.lease_until > clock_timestamp()"           \
    " OR EXISTS (SELECT FROM " LM_JOURNAL_BACKEND                           \
    "  AND (w.lease_until > clock_timestamp() OR " LM_JOURNAL_AT_WORK       \
    "   OR coalesce(a.state LIKE 'idle in transaction%' AND a.state_change" \
    "    > clock_timestamp() - " lease_ms " * interval '1 ms', false))))"
/* Has run p a worker that is alive? */
#define LM_JOURNAL_HELD(lease_ms)                                     \
    "EXISTS (SELECT FROM {schema}.worker w WHERE w.run_id = p.run_id" \
    " AND " LM_JOURNAL_ALIVE(lease_ms) ")"
/* Is there a lease for run p? */
#define LM_JOURNAL_LEASED                                             \
    "EXISTS (SELECT FROM {schema}.worker w WHERE w.run_id = p.run_id" \
    " AND w.lease_until > clock_timestamp())"

/* The counters of run p, with those of its ranges, as SQL for LATERAL. */
#define LM_JOURNAL_TOTALS                                             \
    "(SELECT p.rows + coalesce(sum(g.rows), 0)::bigint AS rows,"      \
    " p.batches + coalesce(sum(g.batches), 0)::bigint AS batches,"    \
    " p.retries + coalesce(sum(g.retries), 0)::bigint AS retries,"    \
    " p.failures + coalesce(sum(g.failures), 0)::bigint AS failures," \
    " count(*) FILTER (WHERE NOT g.closed) AS ranges"                 \
    " FROM {schema}.range g WHERE g.run_id = p.run_id) t"
/* The key up to which all rows of run p are done. */
#define LM_JOURNAL_CURSOR                                          \
    "coalesce((SELECT f.cursor FROM {schema}.range f"              \
    " WHERE f.run_id = p.run_id AND NOT f.closed ORDER BY f.place" \
    " LIMIT 1), p.cursor)"

/* The argument under which the arguments of a run that reads a file have the
 * file's hash. No script can declare one of that name. And the arguments of run
 * r as people see them: with the file's name instead. */
#define LM_JOURNAL_INPUT_ARG "--input"
#define LM_JOURNAL_SHOWN_ARGS                              \
    "(r.args || coalesce((SELECT "                         \
    "pg_catalog.jsonb_build_object('" LM_JOURNAL_INPUT_ARG \
    "', i.name) FROM {schema}.input i"                     \
    " WHERE i.run_id = r.id), '{}'))"

/* A failed row. Texts; NULL if there is none. */
struct lm_failure {
    const struct lm_key *key;
    const struct lm_err *error;
    const char *columns; /* the row's columns, if it may be kept */
    const char *values;  /* and values, both as array literals */
};

/* Inside a transaction: posts the failed row, and moves the cursor past it.
 * Errors and seq as in lm_journal_checkpoint. */
bool lm_journal_record_failed_row(struct lm_journal *self, int64_t run_id,
                                  const struct lm_range *range,
                                  const struct lm_failure *failure,
                                  int64_t retries,
                                  struct lm_err *err) LM_MUSTCHECK;

/* Inside a transaction: reads run->failures. It does not change before the
 * transaction ends. */
bool lm_journal_count_failures(struct lm_journal *self, struct lm_run *run,
                               struct lm_err *err) LM_MUSTCHECK;

/* The next unresolved failure of a run after this one (0: the first), and the
 * row's key. *failure_id is 0 if there is none. */
bool lm_journal_next_failure(struct lm_journal *self, int64_t run_id,
                             int64_t after, int64_t *failure_id,
                             struct lm_key *key,
                             struct lm_err *err) LM_MUSTCHECK;
/* Inside the transaction that migrates the row: posts "migrated", or "gone" if
 * the base query does not return the row. SQLSTATE LM_JOURNAL_RESOLVED if the
 * failure is resolved already. A run without further failures becomes "done".
 */
bool lm_journal_resolve(struct lm_journal *self, int64_t failure_id,
                        const char *resolution,
                        struct lm_err *err) LM_MUSTCHECK;
/* Records that the row has failed again, in a transaction of its own. */
bool lm_journal_fail_again(struct lm_journal *self, int64_t failure_id,
                           const struct lm_err *error,
                           struct lm_err *err) LM_MUSTCHECK;

/* -- requests ---------------------------------------------------------- */

/* A request to a run; one for each setting of a "set". Everybody with rights
 * to the table may write one: a request with a fault gets an answer and has no
 * effect. */
struct lm_request {
    int64_t id;
    char verb[8]; /* "pause", "resume", "cancel", "set" */
    bool at_once; /* interrupt the current statement; only "cancel" */
    char name[64];
    char value[64]; /* as text; "null" for JSON's null */
    char by[128];   /* role */
    char host[128];
    char fault[160]; /* what is wrong with its shape; "": nothing */
};

struct lm_reply {
    int64_t id; /* of the request */
    char text[256];
    bool waits; /* the request was a "pause" */
};

/* Writes a request and notifies the runner. settings_json and answer may be
 * NULL. A request with an answer is kept, but not open. */
bool lm_journal_request(struct lm_journal *self, int64_t run_id,
                        const char *verb, bool at_once,
                        const char *settings_json, const char *answer,
                        int64_t *request_id, struct lm_err *err) LM_MUSTCHECK;
/* The answer to a request; "": none yet. */
bool lm_journal_read_answer(struct lm_journal *self, int64_t request_id,
                            char *answer, size_t size,
                            struct lm_err *err) LM_MUSTCHECK;
/* The requests without an answer, by number; *out is freed by the caller, NULL
 * if there are none. A request may become visible later than one with a higher
 * number, because its transaction took longer. */
bool lm_journal_open_requests(struct lm_journal *self, int64_t run_id,
                              struct lm_request **out, int *count,
                              struct lm_err *err) LM_MUSTCHECK;
/* The settings that the run has been given so far, the last of each name. */
bool lm_journal_settings(struct lm_journal *self, int64_t run_id,
                         struct lm_request **out, int *count,
                         struct lm_err *err) LM_MUSTCHECK;
/* Answers the requests that are still open. */
bool lm_journal_answer(struct lm_journal *self, const struct lm_reply *answers,
                       int count, struct lm_err *err) LM_MUSTCHECK;

/* Ends a run that has no runner. If it has one after all, that runner cannot
 * commit any more. *cancelled is false if the run had ended before. */
bool lm_journal_cancel(struct lm_journal *self, int64_t run_id, bool *cancelled,
                       struct lm_err *err) LM_MUSTCHECK;

#endif
