/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_PROJECT_H
#define LM_SCRIPT_PROJECT_H

/* The project file, luamig.lua: databases, the folder of scripts, and defaults
 * for their config. The Lua module luamig.script.project loads and checks it,
 * in the same environment as scripts. */

#include "base/err.h"

/* One database of a project. */
struct lm_project_repo {
    char *name;
    char *url; /* NULL: the file gives none */
    char **replicas;
    int replica_count;
};

struct lm_project_file {
    bool names_repos;              /* there is a field "repos", empty perhaps */
    struct lm_project_repo *repos; /* "default" first, the others by name */
    int repo_count;
    char *scripts;       /* a folder, relative to the root */
    char *defaults_json; /* for struct lm_script_options */
};

/* Loads luamig.lua of the project in root; *out is NULL when there is none.
 * LM_ERR_SCRIPT when it is wrong. No error shows a URL. */
bool lm_project_file_load(struct lm_project_file **out, const char *root,
                          struct lm_err *err) LM_MUSTCHECK;
void lm_project_file_free(struct lm_project_file *self); /* NULL is allowed */

/* The repo of that name, or NULL. */
const struct lm_project_repo *
lm_project_file_find(const struct lm_project_file *self, const char *name);

#endif
