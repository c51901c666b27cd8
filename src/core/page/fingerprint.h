/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PAGE_FINGERPRINT_H
#define LM_CORE_PAGE_FINGERPRINT_H

/*
 * The fingerprint: what must stay the same for a cursor to fit, as JSON for
 * the journal. It has the tables that the base query reads, the column behind
 * each key column, its type, collation and operator class, the search_path,
 * and the database.
 *
 *     { "system", "database", "journal",   where OIDs mean something
 *       "search_path": [..], "query": hash of the base query,
 *       "tables": [{ "oid", "name" }],
 *       "parts": [..], tables of the key, with all that inherit from them
 *       "key": [{ "name", "table", "table_name", "number", "column", "type",
 *         "type_name", "typmod", "labels", "collation", "collation_name",
 *         "version", "order", "order_name" }] }
 *
 * OIDs are texts. "table" is "0" for a key column that the query computes.
 */

#include "core/page/base_query.h"
#include "pg/conn/conn.h"

struct lm_fingerprint_place {
    const char *system;         /* system identifier; "": it is hidden */
    const char *journal_schema; /* unquoted; the journal is there */
};

/* query is empty for a one-shot. *json is freed by the caller. */
bool lm_fingerprint_take(struct lm_conn *conn,
                         const struct lm_fingerprint_place *place,
                         const struct lm_base_query *query, char **json,
                         struct lm_err *err) LM_MUSTCHECK;

/* The same without the key. The server has not described the base query, and
 * its tables may be gone. sql is NULL for a one-shot. */
bool lm_fingerprint_sketch(struct lm_conn *conn,
                           const struct lm_fingerprint_place *place,
                           const char *sql, char **json,
                           struct lm_err *err) LM_MUSTCHECK;

#endif
