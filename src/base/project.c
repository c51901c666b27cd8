/* SPDX-License-Identifier: MIT */
/* Finds the project root in the folders above, and the name of a script
 * relative to it. Only reads, and does not know what a project's files mean. */

#include "base/project.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
holds(const char *dir, const char *name)
{
    char *path = lm_format("%s/%s", dir, name);
    bool found;

    found = access(path, F_OK) == 0;
    free(path);
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

/* The nearest marked folder, dir itself or above it; NULL: there is none. */
static char *
find_marked(const char *dir)
{
    char *at = lm_strdup(dir);

    do {
        if (is_root(at))
            return at;
    } while (go_up(at));
    free(at);
    return NULL;
}

char *
lm_project_root(const char *start_dir)
{
    const char *start = start_dir != NULL ? start_dir : ".";
    char *here = realpath(start, NULL);
    char *root;

    if (here == NULL)
        return lm_strdup(start);
    root = find_marked(here);
    if (root == NULL)
        return here;
    free(here);
    return root;
}

/* -- the place of a script ---------------------------------------------- */

static const char *
last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

/* The folder above the nearest one that is called "scripts"; NULL: none is. */
static char *
above_scripts(const char *dir)
{
    char *at = lm_strdup(dir);
    bool found;

    do {
        found = strcmp(last_part(at), "scripts") == 0;
    } while (go_up(at) && !found);
    if (found)
        return at;
    free(at);
    return NULL;
}

static bool
is_folder(const char *path)
{
    struct stat about;

    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* The folder of path, resolved, and the name in it; NULL when there is no such
 * folder. */
static char *
resolve_missing(const char *path)
{
    const char *name = last_part(path);
    char *full = NULL;
    char *dir;
    char *real;

    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return NULL;
    dir =
        name == path ? lm_strdup(".") : lm_strndup(path, (size_t)(name - path));
    real = realpath(dir, NULL);
    free(dir);
    if (real != NULL && is_folder(real))
        full = lm_format("%s/%s", strcmp(real, "/") == 0 ? "" : real, name);
    free(real);
    return full;
}

static char *
resolve(const char *path)
{
    char *real = realpath(path, NULL);

    if (real == NULL)
        return resolve_missing(path);
    if (!is_folder(real))
        return real;
    free(real);
    return NULL;
}

bool
lm_place_find(struct lm_place *self, const char *path)
{
    char *dir;

    memset(self, 0, sizeof *self);
    self->path = resolve(path);
    if (self->path == NULL)
        return false;
    dir = lm_strdup(self->path);
    go_up(dir);
    self->root = find_marked(dir);
    self->marked = self->root != NULL;
    if (!self->marked)
        self->root = above_scripts(dir);
    free(dir);
    self->name = lm_strdup(self->path);
    if (self->root != NULL) {
        size_t len = strcmp(self->root, "/") == 0 ? 1 : strlen(self->root) + 1;

        memmove(self->name, self->name + len, strlen(self->name + len) + 1);
    }
    return true;
}

void
lm_place_release(struct lm_place *self)
{
    free(self->path);
    free(self->root);
    free(self->name);
    memset(self, 0, sizeof *self);
}
