/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_TARGET_PROJECT_H
#define LM_CLI_TARGET_PROJECT_H

/*
 * The project of the working directory: its root, .env, luamig.lua, and where
 * its scripts lie.
 */

#include "base/dotenv.h"

struct lm_project_file;

struct lm_project {
    char *root;
    struct lm_dotenv env;
    struct lm_project_file *file;
    bool has_looked;
};

/*
 * Puts the variables of .env into the environment. Call it before anything
 * reads them, while there is one thread. luamig.lua is read later, only if it
 * is needed: --db does not need it. LM_ERR_SCRIPT if .env is malformed, or the
 * project is not trusted (base/trust.h).
 */
bool lm_project_open(struct lm_project *self, struct lm_err *err) LM_MUSTCHECK;
void lm_project_release(struct lm_project *self);

/* *out is NULL when there is no luamig.lua. LM_ERR_SCRIPT when it is wrong. */
bool lm_project_read_file(struct lm_project *self,
                          const struct lm_project_file **out,
                          struct lm_err *err) LM_MUSTCHECK;

/* A path below the root, for opening it from the working directory. */
char *lm_project_path(const struct lm_project *self, const char *name);

/* The path of the script with that name on the command line: the path of a
 * file, or a file in the project's folder of scripts, with or without ".lua".
 * If there is none, the name itself. */
bool lm_project_find_script(struct lm_project *self, const char *name,
                            char **path, struct lm_err *err) LM_MUSTCHECK;
/* The same in place: *path is freed and replaced. */
bool lm_project_replace_name(struct lm_project *self, char **path,
                             struct lm_err *err) LM_MUSTCHECK;

/* After a script could not be loaded: if there is no such file, adds a hint
 * with the scripts that exist, and the nearest. */
void lm_project_explain_missing(struct lm_project *self, const char *name,
                                struct lm_err *err);

#endif
