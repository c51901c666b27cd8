/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_REPORT_ALL_REPOS_H
#define LM_CLI_REPORT_ALL_REPOS_H

/* "luamig run --all-repos": one script in every repo of the project file, one
 * after the other. */

#include "script/project.h"

/* How it went in one of them. */
struct lm_repo_end {
    int64_t run_id;    /* 0: none was found or begun */
    const char *state; /* static; NULL: it was refused before there was a run */
    int64_t rows;      /* of the whole run */
    int code;
};

/* Runs the script in one repo, and prints the report. */
typedef void (*lm_run_in_repo)(void *arg, const char *repo,
                               struct lm_repo_end *end);

/*
 * Prints a heading before each repo, and a table at the end. If one repo
 * fails, the others still run; a signal ends all. Returns the worst exit code:
 * from the best, 0, 7 (failed rows), 5 (stopped; repos that did not run), 6
 * (another runner), 8 (cancelled), 4 (unreachable), 1 (failed), 3 (script), 2
 * (usage), 70.
 */
int lm_all_repos(const struct lm_project_file *file, lm_run_in_repo run,
                 void *arg);

#endif
