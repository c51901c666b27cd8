/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PREFLIGHT_PRIVATE_H
#define LM_CORE_PREFLIGHT_PRIVATE_H

/* What the files of core/preflight share. */

#include "core/preflight.h"
#include "pg/query.h"

/* Sets out->volatile_calls: the functions that the query calls and that are
 * volatile, whichever of their name is meant. */
bool lm_preflight_find_volatile(struct lm_conn *conn,
                                const struct lm_query_shape *shape,
                                struct lm_base_query *out,
                                struct lm_err *err) LM_MUSTCHECK;

#endif
