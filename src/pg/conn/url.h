/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_URL_H
#define LM_PG_CONN_URL_H

/*
 * Checks how people name a database: a URL, or a conninfo string such as
 * "host=db dbname=shop".
 *
 * Nothing here connects. No error repeats a part of the text, because any part
 * may be a password.
 */

#include "base/err.h"

/* Would libpq read this text as the user means it? If a part belongs to
 * another tool, the hint says what to write instead. LM_ERR_CONNECT. */
bool lm_url_check(const char *conninfo, struct lm_err *err) LM_MUSTCHECK;

#endif
