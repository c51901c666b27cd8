/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_URL_H
#define LM_PG_CONN_URL_H

/*
 * What people write to name a database: a URL, or a conninfo string such as
 * "host=db dbname=shop".
 *
 * Nothing here connects, and no error repeats a word of what may be a password,
 * wherever in the text it has ended up.
 */

#include "base/err.h"

/* Would libpq understand it as it is meant? What belongs to another tool is
 * explained: what to write instead. LM_ERR_CONNECT. */
bool lm_url_check(const char *conninfo, struct lm_err *err) LM_MUSTCHECK;

#endif
