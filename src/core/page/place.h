/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_PAGE_PLACE_H
#define LM_CORE_PAGE_PLACE_H

/* Which database a connection leads to, and up to which position of the WAL it
 * shows changes. A standby that has replayed a position shows all changes up
 * to it. */

#include "pg/conn/conn.h"

struct lm_place {
    char system[24];   /* identifier of the cluster; "": it may not be read */
    char database[16]; /* OID; a standby has the same */
    char position[24]; /* "0/15D68A8"; "": unknown */
    char started[40];  /* when the server did */
    bool standby;
};

/* Outside of a transaction. What was visible before is visible at that
 * position. */
bool lm_place_look(struct lm_conn *conn, struct lm_place *out,
                   struct lm_err *err) LM_MUSTCHECK;

/* Are both the same database, as far as is known? A copy of a cluster counts as
 * the same. */
bool lm_place_is_same(const struct lm_place *self,
                      const struct lm_place *other);

/* Does it show what is written at the other one: is it that server, or a standby
 * of it? */
bool lm_place_shows(const struct lm_place *self, const struct lm_place *other);

/* Is the place at this position of the WAL, or after it? True if either is
 * unknown. */
bool lm_place_has_reached(const struct lm_place *self, const char *position);

/* Where the last record ends, by the position at which a primary would write the
 * next one; with the sizes of a segment and a page of the WAL. */
uint64_t lm_place_record_end(uint64_t position, uint64_t segment,
                             uint64_t page);

#endif
