/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_SQL_PLAN_H
#define LM_PG_SQL_PLAN_H

/*
 * A plan as EXPLAIN (FORMAT JSON) shows it, and how many rows its scans read.
 * No connection: text in, figures out.
 */

#include "base/mem.h"

/* Texts are owned, NULL where EXPLAIN says nothing. Row counts of a node are
 * those of one loop, as EXPLAIN has them. */
struct lm_plan_node {
    int parent; /* index; -1 for the root */
    int depth;
    char *type;         /* "Index Scan" */
    char *relationship; /* to its parent: "Outer", "Inner", "InitPlan", ... */
    char *subplan;      /* "SubPlan 1", "CTE x" */
    bool hashed;        /* a subplan that is run once, into a hash table */
    char *strategy;     /* of an Aggregate */
    char *schema;       /* with VERBOSE */
    char *relation;     /* NULL: it scans no table */
    char *alias;
    char *index;
    char *index_cond;
    char *filter;
    double plan_rows;
    double total_cost;
    double loops; /* -1: it was not run */
    double rows;
    double removed_by_filter;
    double removed_by_recheck;
    double table_rows; /* of its table, given by the caller; 0: not known */
    /* Citus sends tasks to its nodes, and shows the plans of some. */
    double tasks;  /* 0: it sends none */
    double copies; /* how many tasks have such a plan; 1 outside of tasks */
};

struct lm_plan {
    struct lm_plan_node *nodes; /* each after its parent, in order */
    int count;
    double planning_ms;
    double execution_ms; /* -1: it was not run */
};

/* False if the text is not a plan; then, too, the release is allowed. */
bool lm_plan_read(struct lm_plan *out, const char *json) LM_MUSTCHECK;
void lm_plan_release(struct lm_plan *self);

bool lm_plan_is_measured(const struct lm_plan *self);
/* Does the node scan a table, itself or by an index? */
bool lm_plan_scans(const struct lm_plan_node *node);

/*
 * The rows that all scans read, those included that a filter or a recheck threw
 * away. Of a plan that was not run: what the planner expects, where a LIMIT
 * ends a scan early unless something in between (a sort, a hash) reads all its
 * input first.
 */
double lm_plan_rows_read(const struct lm_plan *self);
/* The scan that reads most of them; NULL: there is none. */
const struct lm_plan_node *lm_plan_largest_scan(const struct lm_plan *self);
/* Does the node belong to a subquery that is run by itself, a CTE included? */
bool lm_plan_is_in_subquery(const struct lm_plan *self,
                            const struct lm_plan_node *node);
/* The rows that the plan returns; estimated if it was not run. */
double lm_plan_rows_returned(const struct lm_plan *self);
/* The tasks that Citus makes of it; 1: it does not, or of one. */
double lm_plan_tasks(const struct lm_plan *self);
/* The rows of all tables that are scanned, each counted once. */
double lm_plan_table_rows(const struct lm_plan *self);

/* Adds "Sort", "  Seq Scan on t: ..., 1,000 rows", a line a node, indented by
 * depth; at most so many. */
void lm_plan_describe(const struct lm_plan *self, int most, struct lm_buf *buf);

#endif
