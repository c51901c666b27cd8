/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_CHECK_RELATION_H
#define LM_CORE_CHECK_RELATION_H

/* What the catalog says of one table, for those who write scripts. */

#include "pg/conn/conn.h"

/*
 * Reads the table of that name, written as scripts write it: its facts as a
 * JSON object with
 *   sql_name     as SQL has to name it
 *   columns      list of { name, sql_name, type, not_null, generated, labels,
 *                record } in their order; the type is what a domain is based
 *                on, labels are those of an enum or null; generated: nobody
 *                may write it; record: of a composite type
 *   key          list of columns that are unique together and never NULL, or
 *                null: those of the primary key, if there is one
 *   primary_key  true when they are
 *   unique       list of lists of columns: the other unique indexes
 * LM_ERR_FAILED when there is no such table; the hint names the nearest.
 */
bool lm_relation_read(struct lm_conn *conn, const char *name, char **facts_json,
                      struct lm_err *err) LM_MUSTCHECK;

#endif
