/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_OWN_H
#define LM_PG_CONN_OWN_H

/*
 * luamig's own SQL, under a search_path into which nobody else can put
 * anything.
 *
 * Under the path of the user, `oid = regclass` or `count(*)` may call what
 * somebody has put into a schema of that path: what fits better than
 * pg_catalog's, or stands before it. So there are two kinds of own SQL:
 *
 * - Most texts begin with LM_OWN. They run under pg_catalog, pg_temp whatever
 *   the path is, so their names, operators and types mean pg_catalog's.
 * - What stands in one statement with the script's SQL, needs the user's path,
 *   or runs in each batch does not. It qualifies every function, operator and
 *   type: pg_catalog.count, OPERATOR(pg_catalog.=), pg_catalog.int8.
 *
 * tests/lint/own_sql.py knows both kinds and nothing else.
 *
 * The mark is not sent, and costs no round trip. In a transaction of
 * lm_txn.own nothing is to do; in another one the user's path is set aside, and
 * comes back with the next request; outside of transactions, the path holds for
 * the statement alone.
 */

/* No SQL begins so: a script's never means it. */
#define LM_OWN_MARK "\1luamig"
#define LM_OWN      LM_OWN_MARK "\2"
/* pg_temp is last: else it would be first, for tables and types. */
#define LM_OWN_PATH "pg_catalog, pg_temp"

/*
 * For a text about a table of the script, not in a transaction of lm_txn.own: $1
 * is the table's name, quoted, and LM_OWN_TABLE the OID that this name has
 * under that path, NULL if there is no such table.
 */
#define LM_OWN_ABOUT_TABLE LM_OWN_MARK ", about $1\2"
#define LM_OWN_TABLE                                                     \
    "(SELECT nullif(pg_catalog.current_setting('luamig.own_table'), '')" \
    "::oid WHERE $1::text IS NOT NULL)"

/* What is sent of a text: all but the mark. */
const char *lm_own_text(const char *sql);

#endif
