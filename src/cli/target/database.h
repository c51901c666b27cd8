/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_TARGET_DATABASE_H
#define LM_CLI_TARGET_DATABASE_H

/*
 * Which database a command uses, by the command line, the script, the
 * environment and the files of the project. The first of these decides:
 *
 *     1. --db URL
 *     2. --repo NAME, or a script whose config.repo is not "default": that repo
 *        of luamig.lua
 *     3. LUAMIG_DATABASE_URL
 *     4. repo "default" of luamig.lua, if that file has a field "repos"
 *     5. DATABASE_URL
 *     6. libpq's own variables and service file
 *
 * "embedded" instead of a URL is the private server of the project.
 */

#include "cli/options.h"
#include "cli/target/project.h"

struct lm_server;

/* -- the choice -------------------------------------------------------- */

/* What the command line says. */
struct lm_database_choice {
    char *url;        /* of --db; owned; NULL: not given */
    const char *repo; /* of --repo; NULL: not given */
    char **replicas;  /* of --replica; owned */
    int replica_count;
};

/* Of a struct with a choice at an offset. */
/* clang-format off */
#define LM_DATABASE_OPTIONS(offset)                            \
    LM_CALL("db", offset, lm_database_take_url),               \
    {.name = "repo", .kind = LM_OPTION_TEXT,                   \
     .at = (offset) + offsetof(struct lm_database_choice, repo)}
#define LM_REPLICA_OPTION(offset) \
    LM_CALL("replica", offset, lm_database_take_replica)
/* clang-format on */
#define LM_DATABASE_HELP                                                  \
    "  --db URL              the database; \"embedded\": a private one\n" \
    "  --repo NAME           the database of that name in luamig.lua\n"

/* Takes a database from argv: copies it, and overwrites it in argv (except
 * "embedded"), so that ps never shows a password. */
void lm_database_take_url(void *choice, char *arg);
void lm_database_take_replica(void *choice, char *arg);
void lm_database_choice_release(struct lm_database_choice *self);

/* -- the answer -------------------------------------------------------- */

struct lm_database {
    char *conninfo;           /* for libpq; owned */
    char *source;             /* what names it, for messages; owned */
    struct lm_server *server; /* the embedded one, or NULL */
    /* Standbys that luamig.lua names; owned by the project. */
    const char *const *replicas;
    int replica_count;
};

/*
 * Finds the database, checks its URL, and starts the embedded server if
 * needed. script_repo is config.repo of the script, NULL without a script; if
 * the command line chooses another database than the script's repo, logs that.
 * LM_ERR_USAGE if no database is named or the repo is unknown, LM_ERR_SCRIPT
 * for luamig.lua, LM_ERR_CONNECT for the URL.
 */
bool lm_database_resolve(struct lm_database *out, struct lm_project *project,
                         const struct lm_database_choice *choice,
                         const char *script_repo,
                         struct lm_err *err) LM_MUSTCHECK;
/* The database of a repo of luamig.lua that a script reads (config.source);
 * NULL: none, and conninfo is NULL. */
bool lm_database_resolve_source(struct lm_database *out,
                                struct lm_project *project, const char *repo,
                                struct lm_err *err) LM_MUSTCHECK;
void lm_database_release(struct lm_database *self);

/* The standbys of the command line and those of the project file. The list is
 * freed by the caller, its texts belong to choice and self. */
const char **lm_database_replicas(const struct lm_database *self,
                                  const struct lm_database_choice *choice,
                                  int *count);

#endif
