/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_CONN_SETTINGS_H
#define LM_PG_CONN_SETTINGS_H

/*
 * What libpq would use to connect: the conninfo, filled up from the service
 * file, the environment and libpq's defaults, in libpq's order. Nothing
 * connects, and the password itself is not kept.
 */

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

/* conninfo is one that lm_url_check has taken. While there is one thread. */
void lm_settings_read(struct lm_settings *out, const char *conninfo);
void lm_settings_release(struct lm_settings *self);

#endif
