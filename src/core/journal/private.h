/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_JOURNAL_PRIVATE_H
#define LM_CORE_JOURNAL_PRIVATE_H

/* What the journal*.c files share, and nobody else. */

#include "core/journal/journal.h"

/*
 * Run one statement, with {schema} and {quote} replaced; parameters are texts.
 * ask returns the answer, which has that shape (pg/conn/answer.h) and is freed
 * by the caller. command returns none. post sends the statement with the next
 * ones, under the transaction's search_path (pg/conn/own.h); post_heard has a
 * listener, without an argument.
 */
bool lm_journal_ask(struct lm_journal *self, const char *sql, const char *shape,
                    struct lm_values values, struct lm_answer **out,
                    struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_command(struct lm_journal *self, const char *sql,
                        struct lm_values values,
                        struct lm_err *err) LM_MUSTCHECK;
/* command in a transaction of its own, with its own settings: behind a pooler,
 * the session's settings may come from another client. */
bool lm_journal_write(struct lm_journal *self, const char *sql,
                      struct lm_values values, struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_post(struct lm_journal *self, const char *sql,
                     struct lm_values values, struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_post_heard(struct lm_journal *self, const char *sql,
                           struct lm_values values, lm_conn_listener listener,
                           struct lm_err *err) LM_MUSTCHECK;

/* A step of the DDL. */
extern const char lm_journal_step_6[];

/* Of these types, those that no column of a file may have (root), and why: the
 * type that it is made of (id). The owner's ANALYZE would call functions of a
 * range type. */
#define LM_JOURNAL_UNFIT_TYPES(oids)                                       \
    "WITH RECURSIVE used (root, id, kind, base, element, place) AS ("      \
    " SELECT oid, oid, typtype, typbasetype, typelem, typnamespace"        \
    " FROM pg_type WHERE oid = ANY (" oids ")"                             \
    " UNION SELECT u.root, t.oid, t.typtype, t.typbasetype, t.typelem,"    \
    " t.typnamespace FROM used u JOIN pg_type t"                           \
    " ON t.oid IN (u.base, u.element))"                                    \
    " SELECT n.root, n.id FROM used n WHERE n.kind NOT IN ('b', 'd', 'e')" \
    " AND (n.kind = 'p' OR n.place <> 'pg_catalog'::regnamespace)"

/* Do all objects of the journal, if there are any, belong to trusted owners?
 * Are the functions those of the last step? LM_ERR_CONNECT if not. */
bool lm_journal_check_owner(struct lm_journal *self,
                            struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_check_functions(struct lm_journal *self,
                                struct lm_err *err) LM_MUSTCHECK;

/* Waits until no other runner installs, in a transaction: the second one then
 * finds everything there. */
bool lm_journal_lock_install(struct lm_journal *self,
                             struct lm_err *err) LM_MUSTCHECK;

/* Begins a durable transaction of the journal's own: READ COMMITTED, so that a
 * statement that waited for a row sees the row's new version. */
bool lm_journal_open(struct lm_journal *self, struct lm_err *err) LM_MUSTCHECK;
/* The same, for writes that a crash of the server may lose: COMMIT waits for
 * no disk and for no standby. */
bool lm_journal_open_lightly(struct lm_journal *self,
                             struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_commit(struct lm_journal *self,
                       struct lm_err *err) LM_MUSTCHECK;

/* Parameters, freed by the caller; NULL for a key that is not there. */
char *lm_journal_bytea(const char *bytes, size_t len);
char *lm_journal_array(const char *const *texts, int count);
char *lm_journal_key_array(const struct lm_key *key);
/* Adds { "2000", "x" }, as config.start_after takes it. */
void lm_journal_add_lua_key(struct lm_buf *buf, const struct lm_key *key);

/* The server process that shows that this runner lives. 0 behind a pooler:
 * there the process may serve another client at any time, so the lease alone
 * decides. */
int64_t lm_journal_backend_pid(const struct lm_journal *self);

/* Does a session of luamig in this database wait for a synchronous standby, so
 * that other sessions of luamig wait for that session? Outside of a
 * transaction; true sets err. */
bool lm_journal_blames_standby(struct lm_journal *self,
                               struct lm_err *err) LM_MUSTCHECK;

/* The run's rows are gone: sets the error, with the way to continue from its
 * cursor, if it has one. */
bool lm_journal_fail_vanished(const struct lm_journal *self,
                              const struct lm_run *run, struct lm_err *err);

/* The run has other ranges than the journal counts: some are gone. */
bool lm_journal_fail_ranges(const struct lm_journal *self,
                            const struct lm_run *run, struct lm_err *err);

/* A run could not get the name and arguments of the request: another run has
 * them now. */
bool lm_journal_fail_adopting(const struct lm_run_request *request,
                              struct lm_err *err);

/* Does path end with name, as a whole part of it? */
bool lm_path_ends_with(const char *path, const char *name);
/* Do both paths lead to the same file? On some file systems they may differ in
 * case. NULL is no file. */
bool lm_path_is_file_of(const char *path, const char *mine);

/* Is the file that began a run still there, at its path, which may be NULL, or
 * at its place in this checkout? */
bool lm_origin_is_there(const struct lm_origin *mine, const char *file,
                        const char *path);
/* A file is gone: may somebody have moved it here? It had the same last name,
 * and was in the same project, or neither is in a project. */
bool lm_origin_may_have_moved(const struct lm_origin *mine, const char *file,
                              const char *path);

/* The name of this machine. */
#define LM_JOURNAL_HOST lm_journal_host((char[256]){""}, 256)
const char *lm_journal_host(char *host, size_t size);

/* Answers the open requests of a run whose state changes. */
bool lm_journal_close_requests(struct lm_journal *self, int64_t run_id,
                               const char *state,
                               struct lm_err *err) LM_MUSTCHECK;

/* A version 4 UUID. */
bool lm_journal_make_token(char *token, size_t size,
                           struct lm_err *err) LM_MUSTCHECK;

/* A copy of an error with the characters that the database's encoding has, and
 * without secrets; freed by the caller. */
struct lm_err *lm_journal_copy_fitting(const struct lm_journal *self,
                                       const struct lm_err *error);

/* Reads the progress of a run, whoever leads it. */
bool lm_journal_ask_for_any_progress(struct lm_journal *self,
                                     struct lm_run *run,
                                     struct lm_err *err) LM_MUSTCHECK;

/* What is read of a range g, and its shape. */
#define LM_JOURNAL_RANGE "g.id, g.seq, g.cursor, g.upper, g.rows, g.batches"
/* A key with NULL in it does not fit: its reader says so, and what to do. */
#define LM_JOURNAL_RANGE_SHAPE "?: n n t?[]? t?[]? n n"
/* Sets the range to the answer's row, with that owner, which may be the range's
 * own; id is 0 if there is none. */
void lm_journal_read_range_row(const struct lm_answer *answer,
                               const char *token, struct lm_range *range);

/*
 * worker.c, each inside a transaction that has locked the run's progress.
 * add_session: this connection is the worker's session now. enter: the same,
 * and it takes the range of the worker's session before. displace: the same for
 * a run that has no runner; all of its ranges are free. leave: the workers of
 * this process give back what they hold.
 */
bool lm_journal_add_session(struct lm_journal *self, int64_t run_id,
                            struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_enter(struct lm_journal *self, int64_t run_id,
                      struct lm_range *range, struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_free_ranges(struct lm_journal *self, int64_t run_id,
                            struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_displace(struct lm_journal *self, int64_t run_id,
                         struct lm_err *err) LM_MUSTCHECK;
/* Also inside a transaction: the sessions of runs that are over. */
bool lm_journal_delete_idle_sessions(struct lm_journal *self,
                                     struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_leave(struct lm_journal *self, int64_t run_id,
                      struct lm_err *err) LM_MUSTCHECK;
/* Ends the server processes that may still hold a batch open: of this worker,
 * or of all workers of the run (process is NULL). Outside of a transaction. */
void lm_journal_terminate(struct lm_journal *self, int64_t run_id,
                          const char *process, int number, bool had_its_time);
/* After the worker has connected again, outside of a transaction: the server may
 * still keep a session that the network has lost, and so the locks of its
 * batch. Ends what waits for its client, and waits for what is at work. */
bool lm_journal_end_sessions_before(struct lm_journal *self, int64_t run_id,
                                    struct lm_err *err) LM_MUSTCHECK;
bool lm_journal_renew_leases(struct lm_journal *self, int64_t run_id,
                             const struct lm_journal_note *note,
                             struct lm_err *err) LM_MUSTCHECK;

/* To the end of the transaction nobody else begins a run of the script, or
 * gives one to it. */
bool lm_journal_hold_script(struct lm_journal *self, const char *script,
                            struct lm_err *err) LM_MUSTCHECK;
/* After that failed, and the transaction is rolled back: says that another
 * runner has the script, or what that one waits for. False. */
bool lm_journal_fail_to_hold(struct lm_journal *self, struct lm_err *err);

#endif
