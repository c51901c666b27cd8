/* SPDX-License-Identifier: MIT */
/*
 * Finds the project root by walking up from a folder. It looks and changes
 * nothing; what may stand in a project is for others to know.
 */

#include "base/project.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool
holds(const char *dir, const char *name)
{
    struct lm_buf path = LM_BUF_INIT;
    bool found;

    lm_buf_printf(&path, "%s/%s", dir, name);
    found = access(lm_buf_text(&path), F_OK) == 0;
    lm_buf_release(&path);
    return found;
}

static bool
is_root(const char *dir)
{
    return holds(dir, "luamig.lua") || holds(dir, ".luamig") ||
           holds(dir, ".git");
}

/* Cuts the last name off; false when dir is "/". */
static bool
go_up(char *dir)
{
    char *slash = strrchr(dir, '/');

    if (slash == NULL || dir[1] == '\0')
        return false;
    if (slash == dir)
        slash++;
    *slash = '\0';
    return true;
}

char *
lm_project_root(const char *start_dir)
{
    const char *start = start_dir != NULL ? start_dir : ".";
    char *here = realpath(start, NULL);
    char *dir;

    if (here == NULL)
        return lm_strdup(start);
    dir = lm_strdup(here);
    do {
        if (is_root(dir)) {
            free(here);
            return dir;
        }
    } while (go_up(dir));
    free(dir);
    return here;
}
