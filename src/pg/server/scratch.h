/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_SERVER_SCRATCH_H
#define LM_PG_SERVER_SCRATCH_H

/*
 * Throw-away databases for tests, on a server of their own: copies of one
 * template. The next copy is made while the last one is in use.
 *
 * The template is the server's database "postgres". Fill it, and disconnect,
 * before you take the first copy.
 */

#include "base/err.h"

struct lm_scratch;

/* Starts the server, and loads a file of SQL into the template (NULL: none;
 * LM_ERR_SCRIPT when it fails). */
bool lm_scratch_start(struct lm_scratch **out, const char *schema_file,
                      struct lm_err *err) LM_MUSTCHECK;
void lm_scratch_free(struct lm_scratch *self); /* NULL is allowed */

/* Where the template is. Owned by self. */
const char *lm_scratch_template(const struct lm_scratch *self);

/* A fresh database: its conninfo, freed by the caller. */
bool lm_scratch_take(struct lm_scratch *self, char **conninfo,
                     struct lm_err *err) LM_MUSTCHECK;
/* Drops a copy, even if somebody is connected. Errors do not matter. */
void lm_scratch_drop(void *scratch, const char *conninfo);

#endif
