/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_OWN_H
#define LM_PG_CONN_OWN_H

/*
 * luamig's own SQL runs under a search_path with no schema in which other
 * roles can create objects.
 *
 * Under the user's search_path, `oid = regclass` or `count(*)` may call an
 * operator or function that somebody has put into a schema of that path: one
 * that fits better than pg_catalog's, or stands before it. So there are two
 * kinds of own SQL:
 *
 * - Most texts begin with LM_OWN. They run under pg_catalog, pg_temp, whatever
 *   the search_path is. So their names, operators and types mean pg_catalog's.
 * - Other texts run together with the script's SQL, need the user's
 *   search_path, or run in each batch. They qualify every function, operator
 *   and type: pg_catalog.count, OPERATOR(pg_catalog.=), pg_catalog.int8.
 *
 * tests/lint/own_sql.py accepts these two kinds only.
 *
 * The mark is not sent and costs no round trip. In a transaction of lm_txn.own
 * there is nothing to do. In another transaction, the user's search_path is
 * replaced for this request, and set again with the next one. Outside of
 * transactions, the search_path applies to the one statement.
 */

/* No SQL begins with this byte, so a script's text never has the mark. */
#define LM_OWN_MARK "\1luamig"
#define LM_OWN      LM_OWN_MARK "\2"
/* pg_temp is last: else it would be first, for tables and types. */
#define LM_OWN_PATH "pg_catalog, pg_temp"

/* For a text about a table of the script, not in a transaction of lm_txn.own.
 * $1 is the quoted name of the table. LM_OWN_TABLE is the OID that this name
 * has under the user's search_path; NULL if there is no such table. */
#define LM_OWN_ABOUT_TABLE LM_OWN_MARK ", about $1\2"
#define LM_OWN_TABLE                                                     \
    "(SELECT nullif(pg_catalog.current_setting('luamig.own_table'), '')" \
    "::oid WHERE $1::text IS NOT NULL)"

/* The text without the mark, as it is sent. */
const char *lm_own_text(const char *sql);

#endif
