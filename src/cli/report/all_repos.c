/* SPDX-License-Identifier: MIT */

#include "cli/report/all_repos.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/record.h"
#include "base/show.h"
#include "base/stop.h"
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From the best to the worst: first ends that need no work or only the same
 * command again, then those that need a person. */
static const int codes[] = {
    LM_EXIT_DONE,      LM_EXIT_FAILURES, LM_EXIT_STOPPED, LM_EXIT_BUSY,
    LM_EXIT_CANCELLED, LM_EXIT_DATABASE, LM_EXIT_FAILED,  LM_EXIT_SCRIPT,
    LM_EXIT_USAGE,     LM_EXIT_INTERNAL};

static size_t
badness(int code)
{
    size_t place = 0;

    while (place < LM_COUNT(codes) && codes[place] != code)
        place++;
    return place;
}

static void
print_heading(const char *repo)
{
    struct lm_buf fields = LM_BUF_INIT;

    lm_out("repo \"%s\"\n", repo);
    lm_cli_finish_output(LM_EXIT_DONE);
    lm_record_text(&fields, "event", "repo");
    lm_record_text(&fields, "repo", repo);
    lm_log_event(LM_LOG_INFO, NULL, &fields);
    lm_buf_release(&fields);
}

static int
name_width(const struct lm_project_file *file)
{
    size_t width = strlen("repo");

    for (int i = 0; i < file->repo_count; i++) {
        size_t len = strlen(file->repos[i].name);

        width = len > width ? len : width;
    }
    return (int)width;
}

static void
print_end(const char *repo, int width, const struct lm_repo_end *end)
{
    char run[32] = "-";

    if (end->run_id > 0)
        snprintf(run, sizeof run, "%" PRId64, end->run_id);
    lm_out("%-*s  %6s  %-18s %14s  %9d\n", width, repo, run,
           end->state != NULL ? end->state : "refused",
           end->run_id > 0 ? lm_clock_count(end->rows).text : "-", end->code);
}

static void
print_table(const struct lm_project_file *file, const struct lm_repo_end *ends,
            int count)
{
    int width = name_width(file);

    lm_out("\n%-*s  %6s  %-18s %14s  %9s\n", width, "repo", "run", "state",
           "rows", "exit code");
    for (int i = 0; i < file->repo_count; i++) {
        if (i < count) {
            print_end(file->repos[i].name, width, &ends[i]);
        } else {
            lm_out("%-*s  %6s  %-18s %14s  %9s\n", width, file->repos[i].name,
                   "-", "not run", "-", "-");
        }
    }
}

int
lm_all_repos(const struct lm_project_file *file, lm_run_in_repo run, void *arg)
{
    struct lm_repo_end *ends =
        lm_calloc((size_t)file->repo_count, sizeof *ends);
    int worst = LM_EXIT_DONE;
    int count = 0;

    for (; count < file->repo_count && lm_stop_level() == 0; count++) {
        print_heading(file->repos[count].name);
        run(arg, file->repos[count].name, &ends[count]);
        if (badness(ends[count].code) > badness(worst))
            worst = ends[count].code;
    }
    if (count < file->repo_count && badness(worst) < badness(LM_EXIT_STOPPED))
        worst = LM_EXIT_STOPPED;
    print_table(file, ends, count);
    free(ends);
    return lm_cli_finish_output(worst);
}
