/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_PROJECT_H
#define LM_BASE_PROJECT_H

#include "base/mem.h"

/*
 * The project root: the folder that names of scripts are relative to, where
 * .luamig lies.
 *
 * It is start_dir itself or the nearest folder above it that holds
 * "luamig.lua", ".luamig" or ".git"; when there is none, start_dir. NULL
 * stands for the working directory. The result is absolute, without symbolic
 * links, and freed by the caller; only when start_dir cannot be resolved is
 * it a copy of start_dir.
 */
char *lm_project_root(const char *start_dir);

/* The place of a script. It does not depend on the working directory, nor on
 * links that lead to the script: one file has one place. */
struct lm_place {
    char *path;  /* absolute, without symbolic links */
    char *root;  /* of its project; NULL: it is in none */
    bool marked; /* the root is marked; else it is above a folder "scripts" */
    char *name;  /* relative to the root, else the path */
};

/*
 * The place of the file at path. It need not exist, but the folder that it
 * would be in must: false otherwise, and for a folder.
 *
 * A script is in a project when a folder above it is marked, as above, or is
 * called "scripts"; then the folder above that one is the root.
 */
bool lm_place_find(struct lm_place *self, const char *path) LM_MUSTCHECK;
void lm_place_release(struct lm_place *self);

#endif
