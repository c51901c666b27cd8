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

/* Puts the variables of .env into the environment: before anything reads it,
 * while there is one thread. luamig.lua is read when somebody asks for it: who
 * names a database by --db needs none. LM_ERR_SCRIPT when .env is not
 * well-formed, or the project is not trusted (base/trust.h). */
bool lm_project_open(struct lm_project *self, struct lm_err *err) LM_MUSTCHECK;
void lm_project_release(struct lm_project *self);

/* *out is NULL when there is no luamig.lua. LM_ERR_SCRIPT when it is wrong. */
bool lm_project_read_file(struct lm_project *self,
                          const struct lm_project_file **out,
                          struct lm_err *err) LM_MUSTCHECK;

/* A path below the root, for opening it from the working directory. */
char *lm_project_path(const struct lm_project *self, const char *name);

/* The script that is called name on the command line: the path of a file, a
 * file in the project's folder of scripts, with or without ".lua", or a path
 * that lacks it. Where there is none, name itself. */
bool lm_project_find_script(struct lm_project *self, const char *name,
                            char **path, struct lm_err *err) LM_MUSTCHECK;
/* The same in place: *path is freed and replaced. */
bool lm_project_replace_name(struct lm_project *self, char **path,
                             struct lm_err *err) LM_MUSTCHECK;

/* The script of that name could not be loaded: where there is no such file, err
 * gets a hint that names those which are there, and the nearest. */
void lm_project_explain_missing(struct lm_project *self, const char *name,
                                struct lm_err *err);

#endif
