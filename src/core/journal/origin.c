/* SPDX-License-Identifier: MIT */
/* Is this file the one that began a run? Compares paths, and looks which file
 * is there now. */

#include "core/journal/private.h"

#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

bool
lm_path_ends_with(const char *path, const char *name)
{
    size_t long_one = path != NULL ? strlen(path) : 0;
    size_t short_one = strlen(name);

    return long_one > short_one && path[long_one - short_one - 1] == '/' &&
           strcmp(path + long_one - short_one, name) == 0;
}

bool
lm_path_is_file_of(const char *path, const char *mine)
{
    struct stat a;
    struct stat b;

    if (path == NULL || mine == NULL)
        return false;
    return strcmp(path, mine) == 0 ||
           (strcasecmp(path, mine) == 0 && stat(path, &a) == 0 &&
            stat(mine, &b) == 0 && a.st_dev == b.st_dev &&
            a.st_ino == b.st_ino);
}

bool
lm_origin_is_there(const struct lm_origin *mine, const char *file,
                   const char *path)
{
    struct lm_buf here = LM_BUF_INIT;
    bool there = path != NULL && access(path, F_OK) == 0;

    if (!there && mine->root != NULL && file[0] != '/') {
        lm_buf_printf(&here, "%s/%s", mine->root, file);
        there = access(lm_buf_text(&here), F_OK) == 0;
    }
    lm_buf_release(&here);
    return there;
}

/* The last part of a path. */
static const char *
last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

bool
lm_origin_may_have_moved(const struct lm_origin *mine, const char *file,
                         const char *path)
{
    size_t root = mine->root != NULL ? strlen(mine->root) : 0;

    if (strcmp(last_part(path), last_part(mine->path)) != 0)
        return false;
    if (file[0] == '/' || mine->root == NULL)
        return file[0] == '/' && mine->root == NULL;
    return strncmp(path, mine->root, root) == 0 && path[root] == '/' &&
           strcmp(path + root + 1, file) == 0;
}
