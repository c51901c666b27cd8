/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_JOURNAL_INPUT_H
#define LM_CORE_JOURNAL_INPUT_H

/* Runs that read a file: which file, and the table that has its records. */

#include "core/journal/journal.h"

/* A file, as the journal has it of a run. */
struct lm_run_input {
    bool there; /* the run reads a file */
    char name[256];
    char sha256[80];
    bool loaded;
    bool readable; /* the table is there, and the role may read it */
    int64_t rows;
};

/* Inside the transaction that begins the run; does nothing without a file. */
bool lm_journal_add_input(struct lm_journal *self, int64_t run_id,
                          const struct lm_run_file *file,
                          struct lm_err *err) LM_MUSTCHECK;
/* What the journal knows of run_id. */
bool lm_journal_read_input(struct lm_journal *self, int64_t run_id,
                           struct lm_run_input *out,
                           struct lm_err *err) LM_MUSTCHECK;

/* Which file an unfinished run of the script with these arguments reads, or run
 * request->adopt: its hash; empty if run request->adopt reads none. LM_ERR_USAGE
 * if there is none, or several: the error lists them. */
bool lm_journal_find_input(struct lm_journal *self,
                           const struct lm_run_request *request, char *sha256,
                           size_t size, struct lm_err *err) LM_MUSTCHECK;

/* install.c: would a publication include the table? Refuses as an install
 * does: LM_ERR_CONNECT. */
bool lm_journal_check_input_published(struct lm_journal *self,
                                      struct lm_err *err) LM_MUSTCHECK;
/* Always false: the script reads a file, and none is given; run_id reads the
 * file name, and the script reads none; or reads name, and is given another. */
bool lm_journal_fail_without_input(const char *script, struct lm_err *err);
bool lm_journal_fail_unread_input(const char *script, int64_t run_id,
                                  const char *name, struct lm_err *err);
bool lm_journal_fail_other_input(int64_t run_id, const char *name,
                                 const char *given, struct lm_err *err);

/* The name of the table, as SQL and without the schema; both are freed by the
 * caller. */
char *lm_journal_input_table(const struct lm_journal *self, int64_t run_id);
char *lm_journal_input_name(int64_t run_id);

/* Columns of the table, besides `line`. */
struct lm_input_columns {
    const char *const *names;
    const uint32_t *types;
    const int32_t *modifiers;
    int count;
};
/* May a table have these types (LM_ERR_SCRIPT)? May the owner of the journal,
 * who makes it, use them (LM_ERR_CONNECT)? Names the column. */
bool lm_journal_check_input_types(struct lm_journal *self,
                                  const struct lm_input_columns *columns,
                                  struct lm_err *err) LM_MUSTCHECK;
/* Does the table of the run have these columns? Only their names count.
 * LM_ERR_SCRIPT: the script had others when the file was loaded. */
bool lm_journal_check_input_columns(struct lm_journal *self, int64_t run_id,
                                    const char *const *names, int count,
                                    struct lm_err *err) LM_MUSTCHECK;
/* Inside a transaction: makes the table, for this role. */
bool lm_journal_make_input(struct lm_journal *self, int64_t run_id,
                           const struct lm_input_columns *columns,
                           struct lm_err *err) LM_MUSTCHECK;
/* Later in it: the table has all records. Fails as lm_journal_checkpoint if
 * another runner has the run. Advances seq. */
bool lm_journal_finish_input(struct lm_journal *self, const struct lm_run *run,
                             int64_t rows, struct lm_err *err) LM_MUSTCHECK;

/* A transaction of its own: lets this role read the table of another role's
 * run. */
bool lm_journal_open_input(struct lm_journal *self, int64_t run_id,
                           struct lm_err *err) LM_MUSTCHECK;

/* Drops the tables of runs that are done without failed rows, cancelled, or
 * gone, in a transaction of its own. If that fails, the next run does it. */
void lm_journal_drop_inputs(struct lm_journal *self);

#endif
