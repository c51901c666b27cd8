/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_JOURNAL_JOURNAL_H
#define LM_CORE_JOURNAL_JOURNAL_H

/*
 * luamig's own tables in the target database: which runs there are, how far
 * each is, and which runner works on it.
 *
 * A runner owns a run by an owner token in progress.owner and a sequence
 * number. Beginning a run, taking it over, and every reconnect write a fresh
 * token by a durable UPDATE ... RETURNING. This UPDATE waits for a batch of
 * the run that is still in flight, so afterwards the outcome of its COMMIT is
 * known. Every checkpoint gives token and number. If they are not those of the
 * row, the server raises SQLSTATE LM001. So a runner that lost its run to
 * another runner cannot commit.
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

struct lm_journal {
    enum lm_journal_published published;
    struct lm_conn *conn; /* not owned; replaced at every reconnect */
    const char *schema;   /* unquoted */
    int64_t lease_ms;     /* how long a runner may be silent */
};

/* One run as its runner sees it. */
struct lm_run {
    int64_t id;
    char owner[40];
    char next_owner[40]; /* token of a claim in progress; "": none */
    int64_t seq;
    int64_t rows;
    int64_t batches;
    int64_t retries;
    int64_t failures;     /* failed rows that are not resolved */
    bool started;         /* on_start is done, the bound is known */
    bool script_changed;  /* the script has another text than before */
    bool adopted;         /* found under another name or other arguments */
    bool reported;        /* what is to be said about other runs is logged */
    char state[24];       /* as last read */
    char held_json[640];  /* as last read: held time by cause */
    struct lm_key cursor; /* of the last row that was migrated */
    struct lm_key bound;  /* the highest key when the run began */
    bool bound_is_empty;  /* there were no rows at the begin */
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
                     const struct lm_run_request *request, int64_t run_id,
                     struct lm_err *err) LM_MUSTCHECK;
/* Did a run that is done read the same tables as this sketch? */
bool lm_journal_fits_done(struct lm_journal *self, const char *sketch,
                          int64_t run_id, struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_note_fingerprint(struct lm_journal *self, int64_t run_id,
                                 const char *fingerprint,
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
 * Takes an unfinished run over. LM_ERR_BUSY if another runner is alive; other
 * errors as of lm_journal_fits and request->accepts. After an error the
 * journal is unchanged. *ended is true if the run has ended meanwhile; then
 * look for a run again.
 */
bool lm_journal_take(struct lm_journal *self,
                     const struct lm_run_request *request, struct lm_run *run,
                     bool *ended, struct lm_err *err) LM_MUSTCHECK;

/* After a reconnect: writes a fresh owner token, and reads what the server has
 * of the run, with its state: the COMMIT in flight may have ended the run.
 * LM_ERR_FENCED if another runner has taken it over. */
bool lm_journal_reclaim(struct lm_journal *self, struct lm_run *run,
                        struct lm_err *err) LM_MUSTCHECK;

/* Before a retry on the same connection: reads the progress again. */
bool lm_journal_refresh(struct lm_journal *self, struct lm_run *run,
                        struct lm_err *err) LM_MUSTCHECK;

/* Inside a batch's transaction: posts the checkpoint. If token or number do
 * not fit, COMMIT fails with that error. The caller advances run->seq once the
 * transaction is committed. */
bool lm_journal_checkpoint(struct lm_journal *self, const struct lm_run *run,
                           const struct lm_key *cursor, int64_t rows,
                           int64_t retries, struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: marks the run as started and sets its bound: NULL (no
 * bound) for a run that follows new rows and for a one-shot, empty for a table
 * without rows. Advances seq as above. */
bool lm_journal_mark_started(struct lm_journal *self, const struct lm_run *run,
                             const struct lm_key *bound,
                             struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: sets the run's last state and its exit code, counts
 * the retries since the last checkpoint, ends the lease, and answers open
 * requests. error may be NULL. Advances seq as above. */
struct lm_journal_end {
    const char *state;
    int exit_code;
    int64_t retries;
    const struct lm_err *error;
};
bool lm_journal_finish(struct lm_journal *self, const struct lm_run *run,
                       const struct lm_journal_end *end,
                       struct lm_err *err) LM_MUSTCHECK;

/* Inside a transaction: sets the state "running" or "paused" of a run that the
 * runner keeps. Advances seq as above. */
bool lm_journal_set_state(struct lm_journal *self, const struct lm_run *run,
                          const char *state, struct lm_err *err) LM_MUSTCHECK;

/* What a run writes for status between checkpoints. */
struct lm_journal_note {
    const char *waits_for; /* NULL: for nothing */
    const char *held_json; /* {"cause": milliseconds, ...} */
    int64_t total;         /* rows, as estimated; -1: unknown */
    int64_t batch_size;
};

/* Renews the lease while the runner waits, in a transaction of its own.
 * SQLSTATE LM_JOURNAL_FENCED if another runner has taken the run over. */
bool lm_journal_renew(struct lm_journal *self, const struct lm_run *run,
                      const struct lm_journal_note *note,
                      struct lm_err *err) LM_MUSTCHECK;

/*
 * Renews the lease of a batch over another connection: the runner's own
 * connection cannot, because its transaction is open. This lease counts only
 * for this owner at this seq, so a checkpoint, a takeover and the end of the
 * run end it. The server process of self->conn shows that the runner lives;
 * behind a pooler, the time of the lease shows it. Does nothing if another
 * runner has the run, or if the batch is over.
 */
bool lm_journal_renew_lease_during_batch(struct lm_journal *self,
                                         int64_t run_id, const char *owner,
                                         int64_t seq,
                                         struct lm_err *err) LM_MUSTCHECK;
/* Has the current batch such a lease? SQL for LM_OWN texts; p is the run's
 * progress. */
#define LM_JOURNAL_KEPT                                  \
    "EXISTS (SELECT FROM {schema}.batch_lease l"         \
    " WHERE l.run_id = p.run_id AND l.owner = p.owner"   \
    " AND l.seq = p.seq AND l.until > clock_timestamp()" \
    " AND (l.backend_pid = 0 OR EXISTS ("                \
    "  SELECT FROM pg_catalog.pg_stat_activity b"        \
    "  WHERE b.pid = l.backend_pid"                      \
    "  AND b.datname = pg_catalog.current_database()"    \
    "  AND coalesce(b.backend_start = l.backend_start, true))))"

/* The session a of run p's runner, as SQL for FROM. Behind a pooler, where
 * backend_pid is 0, there is none. */
#define LM_JOURNAL_BACKEND                           \
    "pg_catalog.pg_stat_activity a"                  \
    " WHERE a.pid = p.backend_pid"                   \
    " AND a.datname = pg_catalog.current_database()" \
    " AND coalesce(a.backend_start = p.backend_start, true)"
/*
 * Is the runner of run p alive? Its session is there, and the lease is valid,
 * or the session works, or it has been idle in its transaction for less than a
 * lease (milliseconds, as SQL); or its batch has a lease. SQL for LM_OWN
 * texts.
 */
#define LM_JOURNAL_HELD(lease_ms)                                           \
    "(" LM_JOURNAL_KEPT                                                     \
    " OR p.backend_pid = 0 AND p.lease_until > clock_timestamp()"           \
    " OR EXISTS (SELECT FROM " LM_JOURNAL_BACKEND                           \
    "  AND (p.lease_until > clock_timestamp() OR " LM_JOURNAL_AT_WORK       \
    "   OR coalesce(a.state LIKE 'idle in transaction%' AND a.state_change" \
    "    > clock_timestamp() - " lease_ms " * interval '1 ms', false))))"

/* A failed row. Texts; NULL if there is none. */
struct lm_failure {
    const struct lm_key *key;
    const struct lm_err *error;
    const char *columns; /* the row's columns, if it may be kept */
    const char *values;  /* and values, both as array literals */
};

/* Inside a transaction: posts the failed row, and moves the cursor past it.
 * Errors and seq as in lm_journal_checkpoint. */
bool lm_journal_record_failed_row(struct lm_journal *self,
                                  const struct lm_run *run,
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
