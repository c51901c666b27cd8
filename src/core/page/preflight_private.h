/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PAGE_PREFLIGHT_PRIVATE_H
#define LM_CORE_PAGE_PREFLIGHT_PRIVATE_H

/* What the files of core/preflight share. */

#include "core/page/preflight.h"
#include "pg/query/query.h"

/* Sets out->volatile_calls: the volatile functions that the query calls. If
 * several functions have a name, one volatile one is enough. */
bool lm_preflight_find_volatile(struct lm_conn *conn,
                                const struct lm_query_shape *shape,
                                struct lm_base_query *out,
                                struct lm_err *err) LM_MUSTCHECK;

/* Sets out->order: how the key columns compare, by their types and by the
 * collations that the query gives them. Refuses keys whose values have no
 * order, or whose texts do not give their values back. */
bool lm_preflight_find_order(struct lm_conn *conn, struct lm_base_query *out,
                             struct lm_err *err) LM_MUSTCHECK;

/* Refuses a key whose values depend on more than their row. sql is the text
 * that was parsed into shape. */
bool lm_preflight_check_constant(struct lm_conn *conn,
                                 const struct lm_query_shape *shape,
                                 const char *sql,
                                 const struct lm_base_query *query,
                                 struct lm_err *err) LM_MUSTCHECK;

/* Refuses a query that reads a temporary table or view. */
bool lm_preflight_refuse_temporary(struct lm_conn *conn,
                                   const struct lm_query_shape *shape,
                                   struct lm_err *err) LM_MUSTCHECK;

#endif
