/* SPDX-License-Identifier: MIT */
/* luamig db: start, stop and use the embedded PostgreSQL of the project that
 * contains the working directory. The URL goes to stdout, everything else to
 * stderr. */

#include "base/log.h"
#include "base/show.h"
#include "cli/cli.h"
#include "cli/target/project.h"
#include "pg/server/server.h"

#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: luamig db start            start it, print its URL; it keeps "
    "running\n"
    "       luamig db stop             shut it down, even if it is in use\n"
    "       luamig db url              print the URL of the running database\n"
    "       luamig db psql [ARGUMENTS] run psql; start the database first if "
    "needed\n";

static bool
print_url(const struct lm_server *server, struct lm_err *err)
{
    lm_out("%s\n", lm_server_conninfo(server));
    if (fflush(stdout) == 0)
        return true;
    return lm_err_set(err, LM_ERR_CONNECT, "could not write the URL");
}

static bool
start(struct lm_server *server, char *const *args, struct lm_err *err)
{
    (void)args;
    lm_log(LM_LOG_INFO,
           "the embedded database is running; \"luamig db stop\" stops it");
    return print_url(server, err);
}

static bool
stop(struct lm_server *server, char *const *args, struct lm_err *err)
{
    (void)args;
    if (server == NULL) {
        lm_log(LM_LOG_INFO, "the embedded database is not running");
        return true;
    }
    if (!lm_server_stop(server, err))
        return false;
    lm_log(LM_LOG_INFO, "the embedded database has shut down");
    return true;
}

static bool
url(struct lm_server *server, char *const *args, struct lm_err *err)
{
    (void)args;
    if (server != NULL)
        return print_url(server, err);
    lm_err_set(err, LM_ERR_CONNECT, "the embedded database is not running");
    return lm_err_hint(err, "Start it with \"luamig db start\".");
}

static bool
psql(struct lm_server *server, char *const *args, struct lm_err *err)
{
    return lm_server_exec_psql(server, args, err);
}

static const struct verb {
    const char *name;
    /* server: NULL when none runs and it is not to be started. */
    bool (*run)(struct lm_server *server, char *const *args,
                struct lm_err *err);
    enum lm_server_life life;
    bool starts;
    bool takes_arguments;
} verbs[] = {
    {"start", start, LM_SERVER_STAYS, true, false},
    {"stop", stop, LM_SERVER_WITH_PARENT, false, false},
    {"url", url, LM_SERVER_WITH_PARENT, false, false},
    {"psql", psql, LM_SERVER_WITH_PARENT, true, true},
};

static const struct verb *
find_verb(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < LM_COUNT(verbs); i++) {
        if (strcmp(argv[1], verbs[i].name) == 0 &&
            (argc == 2 || verbs[i].takes_arguments))
            return &verbs[i];
    }
    return NULL;
}

static int
run(int argc, char **argv)
{
    const struct verb *verb = find_verb(argc, argv);
    struct lm_server *server = NULL;
    struct lm_project project;
    struct lm_err err;
    bool ok;

    if (verb == NULL) {
        return lm_cli_usage(&lm_cmd_db,
                            "db takes start, stop, url or psql%s%s%s",
                            argc > 1 ? ", not \"" : "", argc > 1 ? argv[1] : "",
                            argc > 1 ? "\"" : "");
    }
    ok =
        lm_project_open(&project, &err) &&
        (verb->starts ? lm_server_start(&server, project.root, verb->life, &err)
                      : lm_server_find(&server, project.root, &err)) &&
        verb->run(server, argv + 2, &err);
    lm_server_free(server);
    lm_project_release(&project);
    return ok ? LM_EXIT_DONE : lm_cli_fail(&err);
}

const struct lm_command lm_cmd_db = {
    "db", "the embedded PostgreSQL: start, stop, url, psql", usage, run,
    .words = "start stop url psql"};
