/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PAGE_PREFLIGHT_H
#define LM_CORE_PAGE_PREFLIGHT_H

/*
 * Looks at the base query and the server before anything is written, and
 * refuses what could not be migrated exactly once.
 */

#include "core/migration.h"
#include "core/page/base_query.h"
#include "pg/conn/conn.h"

/* Writes the system identifier of the server's cluster, which copies of it
 * share and others do not; empty where the role may not ask. */
bool lm_preflight_identity(struct lm_conn *conn, char *text, size_t size,
                           struct lm_err *err) LM_MUSTCHECK;

/* LM_ERR_CONNECT unless the server is of a supported version and writable. */
bool lm_preflight_server(struct lm_conn *conn, struct lm_err *err) LM_MUSTCHECK;

/*
 * Describes the base query and proves its key: present, NOT NULL, and unique
 * where the catalog shows it. LM_ERR_SCRIPT says what is wrong with the
 * script. Released with lm_base_query_release, also after a failure.
 * params are texts; NULL for NULL.
 */
bool lm_preflight_query(struct lm_conn *conn, const char *sql,
                        const char *const *params, int param_count,
                        const char *const *key, int key_count,
                        bool assume_unique, struct lm_base_query *out,
                        struct lm_err *err) LM_MUSTCHECK;
void lm_base_query_release(struct lm_base_query *self);

/* The base query was refused: where its table is not there and on_start might
 * have made it, the hint says what works. */
void lm_preflight_explain(const struct lm_migration *migration,
                          struct lm_err *err);

#endif
