/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_DECLARE_H
#define LM_SCRIPT_DECLARE_H

/* "luamig schema --lua": tables of a database as specs declare them. */

#include "base/err.h"

/* Adds the declarations, as luamig.mock takes them. LM_ERR_FAILED when a table
 * does not exist. */
bool lm_declare_tables(const char *conninfo, const char *const *tables,
                       int count, struct lm_buf *out,
                       struct lm_err *err) LM_MUSTCHECK;

#endif
