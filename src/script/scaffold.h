/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_SCAFFOLD_H
#define LM_SCRIPT_SCAFFOLD_H

/* The texts of files to start from; made by the Lua modules luamig.scaffold.*,
 * written by the caller. */

#include "base/err.h"

struct lm_scaffold_file {
    char *path;
    char *text;
    char *advice; /* lines to add to an existing file; or NULL */
};

/* Owns everything in it. */
struct lm_scaffold {
    struct lm_scaffold_file *files;
    int count;
};

/* What "luamig new" asks for. */
struct lm_scaffold_request {
    const char *name;
    const char *script_path; /* below the project root */
    const char *spec_path;
    const char *table;      /* as the repo takes it, or NULL */
    const char *sql_table;  /* as SQL takes it, or NULL */
    const char *facts_json; /* of core/check/relation.h, or NULL: not known */
    bool one_shot;
};

/* A script and its spec, in this order. */
bool lm_scaffold_migration(const struct lm_scaffold_request *request,
                           struct lm_scaffold *out,
                           struct lm_err *err) LM_MUSTCHECK;
/* The files of a project, with advice for those that are below root. */
bool lm_scaffold_project(const char *root, struct lm_scaffold *out,
                         struct lm_err *err) LM_MUSTCHECK;
void lm_scaffold_release(struct lm_scaffold *self);

#endif
