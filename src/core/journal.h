/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_JOURNAL_H
#define LM_CORE_JOURNAL_H

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

#include "pg/conn.h"

/* SQLSTATE of the journal functions for a lost owner token. */
#define LM_JOURNAL_FENCED "LM001"

struct lm_journal {
    struct lm_conn *conn; /* not owned; replaced at every reconnect */
    const char *schema;   /* unquoted */
    int64_t lease_ms;     /* how long a runner may be silent */
};

/* Key values as text, one a key column; NULL texts: there is none. */
struct lm_key {
    char **texts;
    int count;
};
void lm_key_release(struct lm_key *key);
void lm_key_copy(struct lm_key *to, const char *const *texts, int count);

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
    bool script_changed;  /* resumed with another text than before */
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
    const char *source; /* the script's text, hashed by the server */
    const char *args_json;
    const char *config_json;
    const char *const *key_columns; /* count 0 for a one-shot */
    int key_count;
    bool again;   /* begin anew although the last run is finished */
    bool restart; /* abandon an unfinished or cancelled run */
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
void lm_journal_splice(struct lm_buf *buf, const char *sql, const char *schema);

/* Creates or upgrades the tables. LM_ERR_CONNECT when the role may not. */
bool lm_journal_install(struct lm_journal *self,
                        struct lm_err *err) LM_MUSTCHECK;
/* Is there a journal of this version in this database? */
bool lm_journal_exists(struct lm_journal *self, bool *exists,
                       struct lm_err *err) LM_MUSTCHECK;

/* Looks for the script's latest run; fills id, state and counters of run. */
bool lm_journal_find(struct lm_journal *self,
                     const struct lm_run_request *request,
                     enum lm_journal_found *found, struct lm_run *run,
                     struct lm_err *err) LM_MUSTCHECK;

/* Begins a run. *begun is false when somebody else has just begun one. */
bool lm_journal_begin(struct lm_journal *self,
                      const struct lm_run_request *request,
                      const struct lm_key *cursor, struct lm_run *run,
                      bool *begun, struct lm_err *err) LM_MUSTCHECK;

/* Takes an unfinished run over: LM_ERR_BUSY when another runner is alive.
 * *ended is true when the run turns out to have ended meanwhile: find again. */
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
 * with it, and gives the lease back. error may be NULL. Advances seq as above. */
bool lm_journal_finish(struct lm_journal *self, const struct lm_run *run,
                       const char *state, int exit_code,
                       const struct lm_err *error,
                       struct lm_err *err) LM_MUSTCHECK;

/* What a run tells others between checkpoints. */
struct lm_journal_note {
    const char *waits_for; /* NULL: for nothing */
    const char *held_json; /* {"cause": milliseconds, ...} */
    int64_t total;         /* rows, as estimated; -1: unknown */
    int64_t batch_size;
};

/* Renews the lease while the runner waits, in a transaction of its own. */
bool lm_journal_renew(struct lm_journal *self, const struct lm_run *run,
                      const struct lm_journal_note *note,
                      struct lm_err *err) LM_MUSTCHECK;

/* A row that could not be migrated. Texts; NULL where there is none. */
struct lm_failure {
    const struct lm_key *key;
    const struct lm_err *error;
    const char *row_json; /* the row itself, if it may be kept */
};

/* Inside a transaction: records the failure and moves the cursor past it.
 * Posted, as lm_journal_checkpoint; advances seq as above. */
bool lm_journal_quarantine(struct lm_journal *self, const struct lm_run *run,
                           const struct lm_failure *failure, int64_t retries,
                           struct lm_err *err) LM_MUSTCHECK;

#endif
