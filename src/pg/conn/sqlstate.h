/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_SQLSTATE_H
#define LM_PG_CONN_SQLSTATE_H

/* What an SQLSTATE of the server means for a run. The mock uses the same
 * table: lua/luamig/sqlstates.lua, which explains each word. */

enum lm_sqlstate {
    LM_SQLSTATE_OTHER, /* nothing in particular */
    LM_SQLSTATE_LOST,
    LM_SQLSTATE_CONFLICT,
    LM_SQLSTATE_TIMEOUT,
    LM_SQLSTATE_STALE,
    LM_SQLSTATE_SHORTAGE,
    LM_SQLSTATE_ROW,
    LM_SQLSTATE_PAGE
};

/* "" means nothing in particular. */
enum lm_sqlstate lm_sqlstate_meaning(const char *state);

#endif
