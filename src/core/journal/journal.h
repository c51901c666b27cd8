/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_JOURNAL_JOURNAL_H
#define LM_CORE_JOURNAL_JOURNAL_H

/*
 * luamig's own tables in the target database: which runs there are, how far
 * each is, and who holds it.
 *
 * A runner holds a run by an owner token in progress.owner and a sequence
 * number. Acquiring and every reconnect write a fresh token by a durable
 * UPDATE ... RETURNING, which waits for a batch of the run that is still in
 * flight, and so settles a commit whose outcome is unknown. Every checkpoint
 * names token and number; the server raises SQLSTATE LM001 when they are not
 * the row's, so that a runner that has been overtaken cannot commit.
 */

#include "core/migration.h"
#include "core/page/key.h"
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
 * Is the server process a, of pg_stat_activity, at work, and does not wait for
 * its client? Where "track_activities" is off, its state is not known; then a
 * transaction counts, which holds the lock on its own virtual number. A role that
 * may not see the state sees NULL, and the lease alone decides. SQL for a path of
 * luamig's own.
 */
#define LM_JOURNAL_AT_WORK                                               \
    "(a.wait_event IS DISTINCT FROM 'ClientRead' AND CASE"               \
    " WHEN a.state IS DISTINCT FROM 'disabled' THEN"                     \
    "  coalesce(a.state IN ('active', 'fastpath function call'), false)" \
    " ELSE EXISTS (SELECT FROM pg_catalog.pg_locks l"                    \
    "  WHERE l.pid = a.pid AND l.locktype = 'virtualxid' AND l.granted"  \
    "  AND l.mode = 'ExclusiveLock') END)"

/* What becomes of an install whose tables a publication takes along. */
enum lm_journal_published {
    LM_JOURNAL_PUBLISHED_REFUSE,
    LM_JOURNAL_PUBLISHED_WARN,
    LM_JOURNAL_PUBLISHED_ALLOW
};

/* For how long a runner may be silent, unless it was told otherwise. */
#define LM_JOURNAL_LEASE_MS 60000
#define LM_JOURNAL_TEXT_(x) #x
#define LM_JOURNAL_TEXT(x)  LM_JOURNAL_TEXT_(x)

/* The states of a run that may go on. */
#define LM_JOURNAL_MAY_GO_ON "('running', 'paused', 'stopped', 'failed')"

struct lm_journal {
    enum lm_journal_published published;
    struct lm_conn *conn; /* not owned; replaced at every reconnect */
    const char *schema;   /* unquoted */
    int64_t lease_ms;     /* how long a runner may be silent */
};

/* One run as its owner sees it. */
struct lm_run {
    int64_t id;
    char owner[40];
    char next_owner[40]; /* being claimed; "" when the claim is settled */
    int64_t seq;
    int64_t rows;
    int64_t batches;
    int64_t retries;
    int64_t failures;     /* rows set aside and not resolved */
    bool started;         /* on_start is done, the bound is known */
    bool script_changed;  /* found or resumed with another text than before */
    bool adopted;         /* found, and not yet of the script's name */
    bool reported;        /* what is to be said of other runs was said */
    char state[24];       /* as last read */
    char held_json[640];  /* likewise: for how long, by cause */
    struct lm_key cursor; /* of the last row that was migrated */
    struct lm_key bound;  /* the highest key when the run began */
    bool bound_is_empty;  /* there were no rows then */
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
    const char *fingerprint; /* NULL: it is not known yet */
    bool settled;            /* on_start, if there is one, cannot change it */
    const char *const *key_columns; /* count 0 for a one-shot */
    int key_count;
    bool again;    /* begin anew although the last run is finished */
    bool restart;  /* abandon an unfinished or cancelled run */
    int64_t adopt; /* the run that is meant, whatever it is called; 0: none */

    /* May the run be gone on with, by what the journal has of it? */
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
void lm_journal_expand_sql(struct lm_buf *buf, const char *sql,
                           const char *schema);

/* Takes the journal's schema out of the search_path of scripts' SQL, so that a
 * name without a schema never means the journal; unless the schema holds
 * relations of others, which are meant then. Once for a connection. */
bool lm_journal_hide_schema(struct lm_journal *self,
                            struct lm_err *err) LM_MUSTCHECK;

/* "luamig journal --sql", with what it needs to make the tables of the schema,
 * or to upgrade those of a version (0: there are none). */
void lm_journal_describe_sql(const char *schema, int version, char *out,
                             size_t size);
/* Does anything but the role's rights stand in the way of making the tables, or
 * of upgrading those of a version? LM_ERR_CONNECT: tables of others that have
 * their names, or a publication that takes them along to subscribers. */
bool lm_journal_check_install(struct lm_journal *self, int version,
                              struct lm_err *err) LM_MUSTCHECK;
/* Creates or upgrades the tables. LM_ERR_CONNECT when the role may not, and as
 * lm_journal_check_install. */
bool lm_journal_install(struct lm_journal *self,
                        struct lm_err *err) LM_MUSTCHECK;
/* The version that is installed in this database; 0: none. */
bool lm_journal_installed(struct lm_journal *self, int *version,
                          struct lm_err *err) LM_MUSTCHECK;

/* Is all there that a journal of that version is made of? Else LM_ERR_FAILED
 * with LM_JOURNAL_VANISHED says what it lacks. */
bool lm_journal_check_whole(struct lm_journal *self, int version,
                            struct lm_err *err) LM_MUSTCHECK;
/* Does it lack something, which is then why a run has failed, or why its end
 * could not be written? Outside of a transaction; true sets err, which names
 * the cursor to go on from. */
bool lm_journal_blames_loss(struct lm_journal *self, const struct lm_run *run,
                            const struct lm_err *why,
                            struct lm_err *err) LM_MUSTCHECK;

/* Do the journal's rows of this script's runs agree with each other? A run that
 * has lost its progress, or has a state that there is not, is LM_ERR_FAILED,
 * with the ways on. With request->restart it is marked as cancelled instead. */
bool lm_journal_examine(struct lm_journal *self,
                        const struct lm_run_request *request,
                        struct lm_err *err) LM_MUSTCHECK;

/*
 * journal/find.c: looks for the run that is meant, by the script's name and its
 * arguments; fills id, state, counters and script_changed of run. When there is
 * none, says which unfinished runs there are with other arguments.
 *
 * With run->adopted the run has another name, or other arguments. Taking it
 * over gives it those of the request; lm_journal_adopt does so for a run that is
 * done.
 *
 * LM_ERR_SCRIPT when a run may be meant and differs in what the error names: in
 * the file that began it, in an argument, in its name.
 */
bool lm_journal_find(struct lm_journal *self,
                     const struct lm_run_request *request,
                     enum lm_journal_found *found, struct lm_run *run,
                     struct lm_err *err) LM_MUSTCHECK;
/* May this script try the failed rows of run->id again? It may have changed.
 * LM_ERR_SCRIPT when it is another script. */
bool lm_journal_check_retry(struct lm_journal *self,
                            const struct lm_run_request *request,
                            struct lm_run *run,
                            struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_adopt(struct lm_journal *self,
                      const struct lm_run_request *request, struct lm_run *run,
                      struct lm_err *err) LM_MUSTCHECK;

/*
 * journal/fit.c: do the cursor of a run, and the keys of its failed rows, fit
 * the request's key and what there is now, by a fingerprint
 * (core/page/fingerprint.h)? LM_ERR_SCRIPT names the first difference. A run whose
 * journal has no fingerprint fits any, as any run does NULL.
 */
bool lm_journal_fits(struct lm_journal *self,
                     const struct lm_run_request *request, int64_t run_id,
                     struct lm_err *err) LM_MUSTCHECK;
/* Has a run that is done read the tables that a sketch has? */
bool lm_journal_fits_done(struct lm_journal *self, const char *sketch,
                          int64_t run_id, struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_note_fingerprint(struct lm_journal *self, int64_t run_id,
                                 const char *fingerprint,
                                 struct lm_err *err) LM_MUSTCHECK;

/* Files whose code a run has used, as lists for parameters: names, files, and
 * contents, NULL for one that is gone. */
struct lm_journal_modules {
    struct lm_buf names;
    struct lm_buf files;
    struct lm_buf contents;
};
/* journal/modules.c: those that the journal has of a run, but not of these
 * names: names[i] and files[i], freed with lm_sql_free_array. */
bool lm_journal_other_modules(struct lm_journal *self, int64_t run_id,
                              const struct lm_journal_modules *modules,
                              char ***names, char ***files, int *count,
                              struct lm_err *err) LM_MUSTCHECK;
/* The files among them that the journal has with another content; freed with
 * lm_sql_free_array. */
bool lm_journal_changed_modules(struct lm_journal *self, int64_t run_id,
                                const struct lm_journal_modules *modules,
                                char ***files, int *count,
                                struct lm_err *err) LM_MUSTCHECK;
/* Posted, in whatever transaction there is: the run has used these. */
bool lm_journal_note_modules(struct lm_journal *self, int64_t run_id,
                             const struct lm_journal_modules *modules,
                             struct lm_err *err) LM_MUSTCHECK;

/* Begins a run. *begun is false when somebody else has just begun one. */
bool lm_journal_begin(struct lm_journal *self,
                      const struct lm_run_request *request,
                      const struct lm_key *cursor, struct lm_run *run,
                      bool *begun, struct lm_err *err) LM_MUSTCHECK;

/* Takes an unfinished run over: LM_ERR_BUSY when another runner is alive, and
 * as lm_journal_fits and request->accepts; then the journal is as it was. *ended is true when the run turns out to have ended meanwhile: find again. */
bool lm_journal_take(struct lm_journal *self,
                     const struct lm_run_request *request, struct lm_run *run,
                     bool *ended, struct lm_err *err) LM_MUSTCHECK;

/* After a reconnect: a fresh owner token for a run that is still ours, and
 * what the server holds of it, its state included: the COMMIT in flight may
 * have ended it. LM_ERR_FENCED when it is not ours. */
bool lm_journal_reclaim(struct lm_journal *self, struct lm_run *run,
                        struct lm_err *err) LM_MUSTCHECK;

/* Before a retry on the same connection: reads the progress again. */
bool lm_journal_refresh(struct lm_journal *self, struct lm_run *run,
                        struct lm_err *err) LM_MUSTCHECK;

/* Inside a batch's transaction: moves the cursor. Posted: a mismatch is the
 * error of the COMMIT behind it, which the server then skips. The caller
 * advances run->seq once the transaction has committed. */
bool lm_journal_checkpoint(struct lm_journal *self, const struct lm_run *run,
                           const struct lm_key *cursor, int64_t rows,
                           int64_t retries, struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: marks the run as started and sets its bound: none
 * (NULL) for a run that follows new rows and for a one-shot, empty for a table
 * without rows. Advances seq as above. */
bool lm_journal_mark_started(struct lm_journal *self, const struct lm_run *run,
                             const struct lm_key *bound,
                             struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: sets the run's last state and the exit code that goes
 * with it, counts the retries since the last checkpoint, gives the lease back,
 * and answers what is still asked. error may be NULL. Advances seq as above. */
struct lm_journal_end {
    const char *state;
    int exit_code;
    int64_t retries;
    const struct lm_err *error;
};
bool lm_journal_finish(struct lm_journal *self, const struct lm_run *run,
                       const struct lm_journal_end *end,
                       struct lm_err *err) LM_MUSTCHECK;

/* Inside a transaction: "running" or "paused", for a run that goes on being
 * held. Advances seq as above. */
bool lm_journal_set_state(struct lm_journal *self, const struct lm_run *run,
                          const char *state, struct lm_err *err) LM_MUSTCHECK;

/* What a run tells others between checkpoints. */
struct lm_journal_note {
    const char *waits_for; /* NULL: for nothing */
    const char *held_json; /* {"cause": milliseconds, ...} */
    int64_t total;         /* rows, as estimated; -1: unknown */
    int64_t batch_size;
};

/* Renews the lease while the runner waits, in a transaction of its own. SQLSTATE
 * LM_JOURNAL_FENCED when the run is not this runner's any more. */
bool lm_journal_renew(struct lm_journal *self, const struct lm_run *run,
                      const struct lm_journal_note *note,
                      struct lm_err *err) LM_MUSTCHECK;

/*
 * The lease of a batch, for whoever does not work in it: the runner's own
 * connection cannot renew while its transaction is open. It lasts for this
 * owner at this seq alone, so a checkpoint, a takeover and the run's end all end
 * it. Its holder shows itself by the backend of self->conn; behind a pooler by
 * its time. Nothing happens when another runner holds the run, or the batch is
 * over.
 */
bool lm_journal_keep_batch_lease(struct lm_journal *self, int64_t run_id,
                                 const char *owner, int64_t seq,
                                 struct lm_err *err) LM_MUSTCHECK;
/* Is it kept? SQL for LM_OWN texts; p is the run's progress. */
#define LM_JOURNAL_KEPT                                  \
    "EXISTS (SELECT FROM {schema}.batch_lease l"         \
    " WHERE l.run_id = p.run_id AND l.owner = p.owner"   \
    " AND l.seq = p.seq AND l.until > clock_timestamp()" \
    " AND (l.backend_pid = 0 OR EXISTS ("                \
    "  SELECT FROM pg_catalog.pg_stat_activity b"        \
    "  WHERE b.pid = l.backend_pid"                      \
    "  AND b.datname = pg_catalog.current_database()"    \
    "  AND coalesce(b.backend_start = l.backend_start, true))))"

/* The session of the runner that holds run p, a, as SQL behind FROM. Behind a
 * pooler, where backend_pid is 0, there is none. */
#define LM_JOURNAL_BACKEND                           \
    "pg_catalog.pg_stat_activity a"                  \
    " WHERE a.pid = p.backend_pid"                   \
    " AND a.datname = pg_catalog.current_database()" \
    " AND coalesce(a.backend_start = p.backend_start, true)"
/* Does whoever holds run p live? SQL for LM_OWN texts: its session is there, and
 * the lease runs, or it is at work, or it has idled in its transaction for less
 * than a lease (milliseconds, as SQL); or its batch is kept. */
#define LM_JOURNAL_HELD(lease_ms)                                           \
    "(" LM_JOURNAL_KEPT                                                     \
    " OR p.backend_pid = 0 AND p.lease_until > clock_timestamp()"           \
    " OR EXISTS (SELECT FROM " LM_JOURNAL_BACKEND                           \
    "  AND (p.lease_until > clock_timestamp() OR " LM_JOURNAL_AT_WORK       \
    "   OR coalesce(a.state LIKE 'idle in transaction%' AND a.state_change" \
    "    > clock_timestamp() - " lease_ms " * interval '1 ms', false))))"

/* A row that could not be migrated. Texts; NULL where there is none. */
struct lm_failure {
    const struct lm_key *key;
    const struct lm_err *error;
    const char *columns; /* the row itself, if it may be kept: its names */
    const char *values;  /* and values as array literals */
};

/* Inside a transaction: records the failure and moves the cursor past it.
 * Posted, as lm_journal_checkpoint; advances seq as above. */
bool lm_journal_record_failure(struct lm_journal *self,
                               const struct lm_run *run,
                               const struct lm_failure *failure,
                               int64_t retries,
                               struct lm_err *err) LM_MUSTCHECK;

/* Inside a transaction: reads run->failures, which stays so up to its end. */
bool lm_journal_count_failures(struct lm_journal *self, struct lm_run *run,
                               struct lm_err *err) LM_MUSTCHECK;

/* The first failure of a run after one (0: from the first) that is not
 * resolved, and the row's key; *failure_id is 0 when there is none. */
bool lm_journal_next_failure(struct lm_journal *self, int64_t run_id,
                             int64_t after, int64_t *failure_id,
                             struct lm_key *key,
                             struct lm_err *err) LM_MUSTCHECK;
/* Inside the transaction that migrates the row, posted: "migrated", or "gone"
 * when the base query does not return it. SQLSTATE LM_JOURNAL_RESOLVED when
 * somebody else has done so. A run without further failures becomes "done". */
bool lm_journal_resolve(struct lm_journal *self, int64_t failure_id,
                        const char *resolution,
                        struct lm_err *err) LM_MUSTCHECK;
/* In a transaction of its own: the row has failed once more. */
bool lm_journal_fail_again(struct lm_journal *self, int64_t failure_id,
                           const struct lm_err *error,
                           struct lm_err *err) LM_MUSTCHECK;

/* -- requests ---------------------------------------------------------- */

/* What somebody asks of a run; one for each setting of a "set". Anybody with
 * rights to the table may have written it: a request with a fault is answered
 * and does nothing else. */
struct lm_request {
    int64_t id;
    char verb[8]; /* "pause", "resume", "cancel", "set" */
    bool at_once; /* interrupt what is in flight; a "cancel" only */
    char name[64];
    char value[64]; /* as text; "null" for JSON's null */
    char by[128];   /* role */
    char host[128];
    char fault[160]; /* what is wrong with its shape; "": nothing */
};

struct lm_reply {
    int64_t id; /* of the request */
    char text[256];
    bool waits; /* it was a "pause" */
};

/* Asks, and announces it. settings_json and answer may be NULL; with an answer
 * the request is kept, and not open. */
bool lm_journal_request(struct lm_journal *self, int64_t run_id,
                        const char *verb, bool at_once,
                        const char *settings_json, const char *answer,
                        int64_t *request_id, struct lm_err *err) LM_MUSTCHECK;
/* The answer to a request, "" as long as there is none. */
bool lm_journal_read_answer(struct lm_journal *self, int64_t request_id,
                            char *answer, size_t size,
                            struct lm_err *err) LM_MUSTCHECK;
/* The requests that have no answer, by number; *out is to be freed, NULL when
 * there are none. A request may be seen later than one with a higher number:
 * its transaction may take longer. */
bool lm_journal_open_requests(struct lm_journal *self, int64_t run_id,
                              struct lm_request **out, int *count,
                              struct lm_err *err) LM_MUSTCHECK;
/* The settings that the run has been given so far, the last of each name. */
bool lm_journal_settings(struct lm_journal *self, int64_t run_id,
                         struct lm_request **out, int *count,
                         struct lm_err *err) LM_MUSTCHECK;
/* Answers requests, as far as they are open. */
bool lm_journal_answer(struct lm_journal *self, const struct lm_reply *answers,
                       int count, struct lm_err *err) LM_MUSTCHECK;

/* Ends a run that no runner holds; one that does all the same is fenced off.
 * *cancelled is false when the run has ended before. */
bool lm_journal_cancel(struct lm_journal *self, int64_t run_id, bool *cancelled,
                       struct lm_err *err) LM_MUSTCHECK;

#endif
