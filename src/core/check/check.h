/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_CHECK_CHECK_H
#define LM_CORE_CHECK_CHECK_H

/*
 * What `luamig check` says about a migration before it runs: a list of
 * findings, each with a verdict, and a few figures. Nothing changes: all
 * queries run in read-only transactions that are rolled back.
 *
 * docs/running.md lists the subjects; their names do not change.
 */

#include "core/migration.h"
#include "core/page/key.h"

struct lm_base_query;
struct lm_input_file;
struct lm_conn;

enum lm_check_verdict { LM_VERDICT_OK, LM_VERDICT_WARNING, LM_VERDICT_ERROR };

struct lm_finding {
    enum lm_check_verdict verdict;
    const char *subject; /* static: "plan" */
    char *message;       /* owned; so are the next two, which may be NULL */
    char *detail;        /* lines */
    char *hint;
    char *plan; /* of a plan: its nodes, a line each; owned, or NULL */
};

struct lm_check {
    struct lm_finding *findings;
    int count;
    bool unreachable; /* the database cannot be reached or is refused */
    /* Figures; -1: unknown. All but batch_size are estimates. */
    int64_t rows; /* that the base query returns */
    int64_t batches;
    int64_t batch_size;
    int64_t page_rows_read; /* by the server, to return one page */
    int64_t page_ms;
    int64_t duration_ms; /* reading and pausing; writing comes on top */
};

void lm_check_init(struct lm_check *self);
void lm_check_release(struct lm_check *self);
int lm_check_count(const struct lm_check *self, enum lm_check_verdict verdict);

/* Adds a finding; valid until the next one is added. */
struct lm_finding *lm_check_add(struct lm_check *self,
                                enum lm_check_verdict verdict,
                                const char *subject, const char *format, ...)
    LM_PRINTF(4, 5);
/* Adds an error as a finding. */
struct lm_finding *lm_check_add_err(struct lm_check *self, const char *subject,
                                    const struct lm_err *err);
void lm_finding_detail(struct lm_finding *self, const char *format, ...)
    LM_PRINTF(2, 3);
void lm_finding_hint(struct lm_finding *self, const char *format, ...)
    LM_PRINTF(2, 3);

struct lm_check_options {
    const char *conninfo;
    const char *source_conninfo; /* NULL: the migration has no source */
    const char *application_name;
    const char *journal_schema;
    const char *const *replicas; /* conninfos */
    int replica_count;
    const struct lm_input_file *input; /* NULL: none is given */
};

/* Connects and makes all checks. False if the connection is lost or the user
 * has stopped it; earlier findings stay. */
bool lm_check_all(struct lm_check *self, const struct lm_migration *migration,
                  const struct lm_check_options *options,
                  struct lm_err *err) LM_MUSTCHECK;

/* The checks that are fast enough for the begin of each run: the key, the plan
 * without running it, and the rights on the journal (NULL: there is none yet).
 * query is what preflight found; it is read over reader. */
bool lm_check_quickly(struct lm_check *self, struct lm_conn *conn,
                      struct lm_conn *reader,
                      const struct lm_migration *migration,
                      const struct lm_base_query *query,
                      const char *journal_schema,
                      struct lm_err *err) LM_MUSTCHECK;

/* During a run: adds a finding about what the plan of the next page reads, or
 * none if the server does not answer. cursor and bound are as for a page. */
void lm_check_page(struct lm_check *self, struct lm_conn *conn,
                   const struct lm_migration *migration,
                   const struct lm_base_query *query,
                   const struct lm_key *cursor, const struct lm_key *bound);

#endif
