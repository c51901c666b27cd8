/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PAGE_PREFLIGHT_H
#define LM_CORE_PAGE_PREFLIGHT_H

/* Checks the base query and the server before luamig writes anything, and
 * refuses a migration that could not be exactly once. */

#include "core/migration.h"
#include "core/page/base_query.h"
#include "pg/conn/conn.h"

struct lm_query_shape;

/* Writes the system identifier of the server's cluster. Copies of a cluster
 * have the same one, other clusters do not. Empty if the role may not read it.
 */
bool lm_preflight_identity(struct lm_conn *conn, char *text, size_t size,
                           struct lm_err *err) LM_MUSTCHECK;

/* LM_ERR_CONNECT if the server's version is not supported. */
bool lm_preflight_version(struct lm_conn *conn,
                          struct lm_err *err) LM_MUSTCHECK;

/* LM_ERR_CONNECT if the server's version is not supported or the server is
 * read-only. */
bool lm_preflight_server(struct lm_conn *conn, struct lm_err *err) LM_MUSTCHECK;

/*
 * Describes the base query and proves its key: it must be there, NOT NULL, and
 * unique if the catalog shows that. LM_ERR_SCRIPT says what is wrong with the
 * script. The caller calls lm_base_query_release, also after a failure. params
 * are texts; NULL for NULL.
 */
bool lm_preflight_query(struct lm_conn *conn, const char *sql,
                        const char *const *params, int param_count,
                        const char *const *key, int key_count,
                        bool assume_unique, struct lm_base_query *out,
                        struct lm_err *err) LM_MUSTCHECK;
/* That part of it which looks at the tables that the names mean. */
bool lm_preflight_tables(struct lm_conn *conn, const char *sql,
                         struct lm_err *err) LM_MUSTCHECK;
void lm_base_query_release(struct lm_base_query *self);

/* Adds an array of the names of the tables that a query names, as SQL. */
void lm_preflight_add_tables(struct lm_buf *list,
                             const struct lm_query_shape *shape);

/* After the server refused the base query: if its table does not exist, and
 * on_start may create it, sets a hint. */
void lm_preflight_explain(const struct lm_migration *migration,
                          struct lm_err *err);

#endif
