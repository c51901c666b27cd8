/* SPDX-License-Identifier: MIT */
/* libpq says which settings it uses only when it connects. Before that, it
 * says what a conninfo contains, and what it would use without one; the second
 * includes the service file, if PGSERVICE names it. */

#include "pg/conn/settings.h"

#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

static const char *
value_of(const PQconninfoOption *options, const char *keyword)
{
    const char *value = NULL;

    for (; options != NULL && options->keyword != NULL; options++) {
        if (strcmp(options->keyword, keyword) == 0)
            value = options->val;
    }
    return value != NULL && *value != '\0' ? value : NULL;
}

/* PQconndefaults, as if PGSERVICE named the service. */
static PQconninfoOption *
defaults_with(const char *service)
{
    const char *now = getenv("PGSERVICE");
    char *before = now != NULL ? lm_strdup(now) : NULL;
    PQconninfoOption *defaults;

    if (service != NULL)
        setenv("PGSERVICE", service, 1);
    defaults = PQconndefaults();
    if (before != NULL) {
        setenv("PGSERVICE", before, 1);
    } else {
        unsetenv("PGSERVICE");
    }
    free(before);
    return defaults;
}

static const char *
find_password(const PQconninfoOption *given, const PQconninfoOption *defaults)
{
    const char *password = value_of(defaults, "password");
    const char *variable = getenv("PGPASSWORD");

    if (value_of(given, "password") != NULL)
        return "the URL";
    if (password == NULL)
        return NULL;
    return variable != NULL && strcmp(variable, password) == 0
               ? "PGPASSWORD"
               : "the service file";
}

static char *
settle(const PQconninfoOption *given, const PQconninfoOption *defaults,
       const char *keyword)
{
    const char *value = value_of(given, keyword);

    if (value == NULL)
        value = value_of(defaults, keyword);
    return value != NULL ? lm_strdup(value) : NULL;
}

void
lm_settings_read(struct lm_settings *out, const char *conninfo)
{
    PQconninfoOption *given = PQconninfoParse(conninfo, NULL);
    PQconninfoOption *defaults = defaults_with(value_of(given, "service"));

    out->host = settle(given, defaults, "host");
    if (out->host == NULL)
        out->host = settle(given, defaults, "hostaddr");
    out->port = settle(given, defaults, "port");
    out->user = settle(given, defaults, "user");
    out->database = settle(given, defaults, "dbname");
    if (out->database == NULL && out->user != NULL)
        out->database = lm_strdup(out->user);
    out->sslmode = settle(given, defaults, "sslmode");
    out->service = value_of(given, "service") != NULL
                       ? lm_strdup(value_of(given, "service"))
                       : NULL;
    if (out->service == NULL && getenv("PGSERVICE") != NULL)
        out->service = lm_strdup(getenv("PGSERVICE"));
    out->password_from = find_password(given, defaults);
    PQconninfoFree(given);
    PQconninfoFree(defaults);
}

void
lm_settings_release(struct lm_settings *self)
{
    free(self->host);
    free(self->port);
    free(self->database);
    free(self->user);
    free(self->sslmode);
    free(self->service);
    memset(self, 0, sizeof *self);
}
