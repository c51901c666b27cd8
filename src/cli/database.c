/* SPDX-License-Identifier: MIT */
/*
 * Which database is meant. A script that runs against the wrong one does harm,
 * so where nothing names a database luamig asks instead of trying a default.
 */

#include "base/project.h"
#include "cli/cli.h"
#include "pg/server.h"

#include <stdlib.h>
#include <string.h>

/* The variables that name a server or a database; libpq reads them, and the
 * rest, by itself. */
static const char *const libpq_variables[] = {"PGHOST", "PGHOSTADDR", "PGPORT",
                                              "PGDATABASE", "PGSERVICE"};

static const char *
find_url(const char *url)
{
    static const char *const variables[] = {"LUAMIG_DATABASE_URL",
                                            "DATABASE_URL"};

    for (size_t i = 0; url == NULL && i < LM_COUNT(variables); i++) {
        url = getenv(variables[i]);
        if (url != NULL && *url == '\0')
            url = NULL;
    }
    for (size_t i = 0; url == NULL && i < LM_COUNT(libpq_variables); i++) {
        if (getenv(libpq_variables[i]) != NULL)
            url = "";
    }
    return url;
}

static bool
start_embedded(struct lm_database *out, struct lm_err *err)
{
    char *project = lm_project_root(NULL);
    bool ok =
        lm_server_start(&out->server, project, LM_SERVER_WITH_PARENT, err);

    free(project);
    if (ok)
        out->conninfo = lm_strdup(lm_server_conninfo(out->server));
    return ok;
}

bool
lm_database_resolve(struct lm_database *out, const char *url,
                    struct lm_err *err)
{
    memset(out, 0, sizeof *out);
    url = find_url(url);
    if (url == NULL) {
        lm_err_set(err, LM_ERR_USAGE, "no database is named");
        lm_err_hint(err,
                    "Pass --db postgresql://user@host/database, or set "
                    "LUAMIG_DATABASE_URL, DATABASE_URL or libpq's PG* "
                    "variables. To try things out, \"--db embedded\" starts "
                    "a private PostgreSQL below .luamig/.");
        return false;
    }
    if (strcmp(url, "embedded") == 0)
        return start_embedded(out, err);
    out->conninfo = lm_strdup(url);
    return true;
}

void
lm_database_release(struct lm_database *self)
{
    lm_server_free(self->server);
    free(self->conninfo);
    memset(self, 0, sizeof *self);
}

char *
lm_database_take_url(char *arg)
{
    char *url = lm_strdup(arg);

    if (strcmp(arg, "embedded") != 0)
        memset(arg, 'x', strlen(arg));
    return url;
}
