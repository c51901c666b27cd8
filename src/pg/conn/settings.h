/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_SETTINGS_H
#define LM_PG_CONN_SETTINGS_H

/* What libpq would use to connect: the conninfo, completed from the service
 * file, the environment and libpq's defaults, in libpq's order. Does not
 * connect, and does not keep the password. */

#include "base/err.h"

struct lm_settings {
    char *host; /* or the address; several with commas; NULL: a local socket */
    char *port;
    char *database;
    char *user;
    char *sslmode;
    char *service; /* NULL: none */
    /* "the URL", "PGPASSWORD" or "the service file"; NULL when there is none,
     * or libpq looks into the password file. */
    const char *password_from;
};

/* lm_url_check has accepted conninfo. Call it while there is one thread. */
void lm_settings_read(struct lm_settings *out, const char *conninfo);
void lm_settings_release(struct lm_settings *self);

#endif
