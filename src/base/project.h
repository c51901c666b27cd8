/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_PROJECT_H
#define LM_BASE_PROJECT_H

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

#endif
