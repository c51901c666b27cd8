/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_CHECK_PRIVATE_H
#define LM_CORE_CHECK_PRIVATE_H

/* What the check*.c files share, and nobody else. */

#include "core/check/check.h"
#include "core/page/base_query.h"
#include "pg/conn/conn.h"
#include "pg/sql/plan.h"

/* How long a question about the catalog may take. */
enum { LM_CHECK_MS = 1000 };

struct lm_checking {
    struct lm_check *check;
    struct lm_conn *conn;
    const struct lm_migration *migration;
    struct lm_migration reading; /* with an input: the same, with a query */
    struct lm_base_query query;
    bool proved; /* preflight accepts the query and its key */
    bool in_one; /* all questions go into one transaction */
    const char *journal_schema;
    struct lm_plan plan; /* of the first page; empty: there is none */
};

enum {
    LM_PAGE_PROBE_MS = 400, /* that a page may take to be measured */
    LM_PAGE_NEAR_PAGES =
        20, /* to one that is looked at instead of a slow one */
    LM_PAGE_FEW_FOR_EACH = 10 /* row returned that a page may read */
};

/* The work of a page, and of the whole run. */
struct lm_page_cost {
    double rows_read; /* for one page, by all scans */
    double rows_returned;
    double pages;
    double table_rows; /* of all scanned tables; 0: unknown */
    double tasks;      /* each reads a whole page; 0: as 1 */
};
/* How often the run would read the tables. */
double lm_page_cost_passes(const struct lm_page_cost *self);
enum lm_check_verdict lm_page_cost_judge(const struct lm_page_cost *self);

/* A page whose plan was read. */
struct lm_page_probe {
    bool known;
    bool timed_out; /* running it took too long */
    struct lm_plan plan;
    double rows_read;
    double rows_returned;
};
/* Reads the page's plan; run: executes it. If that takes too long, uses the
 * planner's estimates. */
bool lm_page_probe(struct lm_checking *self, const struct lm_key *cursor,
                   const struct lm_key *bound, bool run,
                   struct lm_page_probe *out, struct lm_err *err) LM_MUSTCHECK;

/* input.c: *readable is false if the script's file or types are wrong, so that
 * nothing can be said of its query. */
bool lm_check_input(struct lm_checking *self, const struct lm_input_file *file,
                    bool *readable, struct lm_err *err) LM_MUSTCHECK;

/* What is known of the pages of a run. */
struct lm_pages {
    struct lm_page_probe first;
    struct lm_page_probe middle;
    double near_rows;  /* read by the page after NEAR_PAGES; 0: unknown */
    double total_rows; /* that the query returns */
    struct lm_page_cost cost;
};
/* Probes the first page, and if run is true, a page in the middle. */
bool lm_pages_look(struct lm_checking *self, bool run, struct lm_pages *pages,
                   struct lm_err *err) LM_MUSTCHECK;
void lm_pages_release(struct lm_pages *self);

/* Adds the condition of a scan as the WHERE of an index, without the table's
 * alias. False, and adds nothing, if the condition is not simple enough. */
bool lm_plan_add_predicate(const struct lm_plan *plan, struct lm_buf *out);

/* Begins a read-only transaction if there is none. The second function ends
 * it. */
bool lm_check_begin(const struct lm_checking *self, int64_t timeout_ms,
                    struct lm_err *err) LM_MUSTCHECK;
void lm_check_end(const struct lm_checking *self, bool ok);
/* Runs one query. If the server refuses it, adds a warning about the subject
 * and sets *out to NULL. False: the connection is lost, or the user has
 * interrupted. */
bool lm_check_ask(struct lm_checking *self, const char *subject,
                  const char *sql, const char *shape, struct lm_values values,
                  struct lm_answer **out, struct lm_err *err) LM_MUSTCHECK;
/* Is it useless to ask the server anything else? */
bool lm_check_is_over(const struct lm_conn *conn, const struct lm_err *err);

/* Array literals for parameters: the tables that a plan scans, as schemas and
 * names, and the OIDs of those that the key comes from. */
void lm_check_add_scanned(const struct lm_plan *plan, struct lm_buf *schemas,
                          struct lm_buf *names);
void lm_check_add_sources(const struct lm_base_query *query,
                          struct lm_buf *oids);

/* Probes the pages (run: executes them), and adds the finding about the plan.
 */
bool lm_check_plan(struct lm_checking *self, bool run,
                   struct lm_err *err) LM_MUSTCHECK;
/* The tables that the plan scans and the key comes from. */
bool lm_check_tables(struct lm_checking *self, struct lm_err *err) LM_MUSTCHECK;
/* On Citus: how they are distributed. */
bool lm_check_citus(struct lm_checking *self, struct lm_err *err) LM_MUSTCHECK;
/* On Citus, in a transaction: gives scans of shards the name of their table,
 * and its rows. */
bool lm_check_name_shards(struct lm_checking *self, struct lm_plan *plan,
                          struct lm_err *err) LM_MUSTCHECK;
/* The connection, and limits that the server or the role sets. */
bool lm_check_server(struct lm_checking *self, struct lm_err *err) LM_MUSTCHECK;
/* Connects to the source and says where it is. The connection is NULL if it
 * cannot be reached; that is a finding. */
bool lm_check_source(struct lm_checking *self, struct lm_conn *run,
                     const struct lm_check_options *options,
                     struct lm_err *err) LM_MUSTCHECK;
/* Whether the journal may be created, upgraded or used. */
bool lm_check_journal(struct lm_checking *self,
                      struct lm_err *err) LM_MUSTCHECK;
/* Only the rights on one that is there. */
bool lm_check_journal_rights(struct lm_checking *self,
                             struct lm_err *err) LM_MUSTCHECK;
bool lm_check_health(struct lm_checking *self,
                     const struct lm_check_options *options,
                     struct lm_err *err) LM_MUSTCHECK;

#endif
