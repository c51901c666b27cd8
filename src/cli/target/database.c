/* SPDX-License-Identifier: MIT */
/* Finds the database. A script that runs against the wrong database does harm.
 * So if nothing names a database, luamig prints an error instead of trying a
 * default; and if a repo is named, luamig uses no other database. */

#include "cli/target/database.h"

#include "base/log.h"
#include "base/text.h"
#include "pg/conn/url.h"
#include "pg/server/server.h"
#include "script/project.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_REPO "default"

/* The variables that name a server or a database; libpq reads them, and the
 * rest, by itself. */
static const char *const libpq_variables[] = {"PGHOST", "PGHOSTADDR", "PGPORT",
                                              "PGDATABASE", "PGSERVICE"};

/* -- the choice -------------------------------------------------------- */

static char *
take_from_argv(char *arg)
{
    char *url = lm_strdup(arg);

    if (strcmp(arg, "embedded") != 0)
        memset(arg, 'x', strlen(arg));
    return url;
}

void
lm_database_take_url(void *choice, char *arg)
{
    struct lm_database_choice *self = choice;

    free(self->url);
    self->url = take_from_argv(arg);
}

void
lm_database_take_replica(void *choice, char *arg)
{
    struct lm_database_choice *self = choice;

    LM_ADD(self->replicas, self->replica_count) = take_from_argv(arg);
}

void
lm_database_choice_release(struct lm_database_choice *self)
{
    lm_free_texts(self->replicas, self->replica_count);
    free(self->url);
    memset(self, 0, sizeof *self);
}

/* -- repos ------------------------------------------------------------- */

/* The repos that there are, and the one that may be meant. */
static void
hint_repos(const struct lm_project_file *file, const char *name,
           struct lm_err *err)
{
    const char **names = lm_calloc((size_t)file->repo_count, sizeof *names);
    struct lm_buf list = LM_BUF_INIT;
    int nearest;

    for (int i = 0; i < file->repo_count; i++) {
        names[i] = file->repos[i].name;
        lm_buf_printf(&list, "%s\"%s\"", i > 0 ? ", " : "", names[i]);
    }
    nearest = lm_text_nearest(name, names, (size_t)file->repo_count);
    if (nearest >= 0) {
        lm_err_hint(err, "Did you mean \"%s\"? luamig.lua has: %s.",
                    names[nearest], lm_buf_text(&list));
    } else {
        lm_err_hint(
            err,
            "luamig.lua has: %s. A repo whose value is nil does not count; "
            "os.getenv returns nil for a variable that is not set.",
            file->repo_count > 0 ? lm_buf_text(&list) : "none");
    }
    lm_buf_release(&list);
    free(names);
}

static bool
find_repo(const struct lm_project *project, const char *name,
          const struct lm_project_repo **out, struct lm_err *err)
{
    *out = lm_project_file_find(project->file, name);
    if (project->file == NULL) {
        lm_err_set(err, LM_ERR_USAGE,
                   "repo \"%s\" is unknown: there is no luamig.lua", name);
        lm_err_hint(err,
                    "Write one into %s: return { repos = { ... } }. Or name "
                    "the database with --db.",
                    project->root);
        return false;
    }
    if (*out == NULL) {
        lm_err_set(err, LM_ERR_USAGE, "luamig.lua has no repo \"%s\"", name);
        hint_repos(project->file, name, err);
        return false;
    }
    if ((*out)->url != NULL)
        return true;
    lm_err_set(err, LM_ERR_USAGE, "repo \"%s\" of luamig.lua has no URL", name);
    lm_err_hint(err, "Set the variable that it comes from: os.getenv returns "
                     "nil for a variable that is not set.");
    return false;
}

static bool
take_repo(struct lm_database *out, const struct lm_project *project,
          const char *name, struct lm_err *err)
{
    const struct lm_project_repo *repo;

    if (!find_repo(project, name, &repo, err))
        return false;
    out->source = lm_format("repo \"%s\" of luamig.lua", name);
    out->conninfo = lm_strdup(repo->url);
    out->replicas = (const char *const *)repo->replicas;
    out->replica_count = repo->replica_count;
    return true;
}

/* -- variables --------------------------------------------------------- */

static bool
is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '\0';
}

/* A variable that is set to nothing is not set. */
static bool
is_set(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && !is_blank(value);
}

static bool
take_variable(struct lm_database *out, const struct lm_project *project,
              const char *name)
{
    if (!is_set(name))
        return false;
    out->source =
        lm_format("%s%s", name,
                  lm_dotenv_has_set(&project->env, name) ? " from .env" : "");
    out->conninfo = lm_strdup(getenv(name));
    return true;
}

/* Leaves all to libpq, if a variable says so. */
static bool
take_libpqs(struct lm_database *out, const struct lm_project *project)
{
    for (size_t i = 0; i < LM_COUNT(libpq_variables); i++) {
        const char *name = libpq_variables[i];

        if (!is_set(name))
            continue;
        out->source = lm_format(
            "libpq's variables (%s%s)", name,
            lm_dotenv_has_set(&project->env, name) ? " from .env" : "");
        out->conninfo = lm_strdup("");
        return true;
    }
    return false;
}

/* -- the decision ------------------------------------------------------ */

static bool
fail_unnamed(struct lm_err *err)
{
    lm_err_set(err, LM_ERR_USAGE, "no database is named");
    return lm_err_hint(
        err, "Pass --db postgresql://user@host/database, or set "
             "LUAMIG_DATABASE_URL, DATABASE_URL or libpq's PG* variables, "
             "or name repos in luamig.lua. To try things out, \"--db "
             "embedded\" starts a private PostgreSQL below .luamig/.");
}

/* A repo that is named overrides the variables. */
static bool
take_named(struct lm_database *out, struct lm_project *project,
           const char *name, bool by_script, struct lm_err *err)
{
    const struct lm_project_file *file;

    if (!lm_project_read_file(project, &file, err) ||
        !take_repo(out, project, name, err))
        return false;
    if (by_script && is_set("LUAMIG_DATABASE_URL")) {
        lm_log(LM_LOG_INFO,
               "LUAMIG_DATABASE_URL is not used: it names repo "
               "\"" DEFAULT_REPO "\", but the script is for repo \"%s\"",
               name);
    }
    return true;
}

static bool
take_first(struct lm_database *out, struct lm_project *project,
           struct lm_err *err)
{
    const struct lm_project_file *file;

    if (take_variable(out, project, "LUAMIG_DATABASE_URL"))
        return true;
    if (!lm_project_read_file(project, &file, err))
        return false;
    if (file != NULL && file->names_repos)
        return take_repo(out, project, DEFAULT_REPO, err);
    return take_variable(out, project, "DATABASE_URL") ||
           take_libpqs(out, project) || fail_unnamed(err);
}

static bool
take(struct lm_database *out, struct lm_project *project,
     const struct lm_database_choice *choice, const char *script_repo,
     struct lm_err *err)
{
    bool by_script =
        script_repo != NULL && strcmp(script_repo, DEFAULT_REPO) != 0;

    if (choice->url != NULL && choice->repo != NULL) {
        return lm_err_set(err, LM_ERR_USAGE,
                          "--db and --repo both name a database; give one");
    }
    /* An empty conninfo would be whatever database libpq takes by default. */
    if (choice->url != NULL && is_blank(choice->url)) {
        lm_err_set(err, LM_ERR_USAGE, "--db is empty");
        lm_err_hint(err, "If it comes from a variable, set that variable.");
        return false;
    }
    if (by_script &&
        (choice->url != NULL ||
         (choice->repo != NULL && strcmp(choice->repo, script_repo) != 0))) {
        lm_log(LM_LOG_INFO,
               "the script is for repo \"%s\", but %s overrides it",
               script_repo, choice->url != NULL ? "--db" : "--repo");
    }
    if (choice->url != NULL) {
        out->source = lm_strdup("--db");
        out->conninfo = lm_strdup(choice->url);
        return true;
    }
    if (choice->repo != NULL)
        return take_named(out, project, choice->repo, false, err);
    if (by_script)
        return take_named(out, project, script_repo, true, err);
    return take_first(out, project, err);
}

static bool
start_embedded(struct lm_database *self, const char *root, struct lm_err *err)
{
    if (!lm_server_start(&self->server, root, LM_SERVER_WITH_PARENT, err))
        return false;
    free(self->conninfo);
    self->conninfo = lm_strdup(lm_server_conninfo(self->server));
    return true;
}

/* Its URL and those of its replicas. */
static bool
check_urls(const struct lm_database *self, struct lm_err *err)
{
    if (!lm_url_check(self->conninfo, err)) {
        return lm_err_detail(err, "The URL comes from %s.", self->source);
    }
    for (int i = 0; i < self->replica_count; i++) {
        if (lm_url_check(self->replicas[i], err))
            continue;
        return lm_err_detail(err, "It is the URL of replica %d of %s.", i + 1,
                             self->source);
    }
    return true;
}

bool
lm_database_resolve(struct lm_database *out, struct lm_project *project,
                    const struct lm_database_choice *choice,
                    const char *script_repo, struct lm_err *err)
{
    memset(out, 0, sizeof *out);
    if (!take(out, project, choice, script_repo, err))
        return false;
    if (strcmp(out->conninfo, "embedded") == 0)
        return start_embedded(out, project->root, err);
    return check_urls(out, err);
}

bool
lm_database_resolve_source(struct lm_database *out, struct lm_project *project,
                           const char *repo, struct lm_err *err)
{
    const struct lm_project_file *file;

    memset(out, 0, sizeof *out);
    if (repo == NULL)
        return true;
    if (!lm_project_read_file(project, &file, err))
        return false;
    if (!take_repo(out, project, repo, err))
        return lm_err_prefix(err, "config.source");
    if (strcmp(out->conninfo, "embedded") == 0) {
        return lm_err_set(err, LM_ERR_USAGE,
                          "config.source: repo \"%s\" is the embedded server, "
                          "which has one database only",
                          repo);
    }
    return check_urls(out, err);
}

void
lm_database_release(struct lm_database *self)
{
    lm_server_free(self->server);
    free(self->conninfo);
    free(self->source);
    memset(self, 0, sizeof *self);
}

const char **
lm_database_replicas(const struct lm_database *self,
                     const struct lm_database_choice *choice, int *count)
{
    int given = choice->replica_count;
    const char **list;

    *count = given + self->replica_count;
    list = lm_calloc((size_t)*count, sizeof *list);
    for (int i = 0; i < *count; i++)
        list[i] = i < given ? choice->replicas[i] : self->replicas[i - given];
    return list;
}
