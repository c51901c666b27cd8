/* SPDX-License-Identifier: MIT */
/*
 * Writing files for people: created or left alone, never overwritten. Only
 * lm_files_put replaces, what luamig keeps below .luamig or in a cache.
 */

#include "cli/files/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool
is_folder(const char *path)
{
    struct stat found;

    return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

bool
lm_files_make_folder(const char *path, bool *created, struct lm_err *err)
{
    char *part = lm_strdup(path);
    bool made = false;
    bool ok = true;
    int reason;

    for (char *end = part; ok && end[strspn(end, "/")] != '\0';) {
        char next;

        end += strspn(end, "/");
        end += strcspn(end, "/");
        next = *end;
        *end = '\0';
        made = mkdir(part, 0777) == 0;
        reason = errno;
        if (!made && !is_folder(part)) {
            ok = lm_err_set(err, LM_ERR_FAILED,
                            "could not create folder \"%s\": %s", part,
                            strerror(reason));
        }
        *end = next;
    }
    free(part);
    if (ok && created != NULL)
        *created = made;
    return ok;
}

/* Makes the folders above a file. */
static bool
make_room(const char *path, struct lm_err *err)
{
    const char *slash = strrchr(path, '/');
    char *folder;
    bool ok;

    if (slash == NULL || slash == path)
        return true;
    folder = lm_strndup(path, (size_t)(slash - path));
    ok = lm_files_make_folder(folder, NULL, err);
    free(folder);
    return ok;
}

static bool
fail_write(const char *path, struct lm_err *err)
{
    return lm_err_set(err, LM_ERR_FAILED, "could not write \"%s\": %s", path,
                      strerror(errno));
}

/* Writes and closes; removes the file when that fails. */
static bool
fill(FILE *file, const char *path, const char *bytes, size_t len,
     struct lm_err *err)
{
    bool ok = fwrite(bytes, 1, len, file) == len;

    ok = fclose(file) == 0 && ok;
    if (ok)
        return true;
    fail_write(path, err);
    unlink(path);
    return false;
}

bool
lm_files_create(const char *path, const char *bytes, size_t len, bool *created,
                struct lm_err *err)
{
    FILE *file;

    if (!make_room(path, err))
        return false;
    file = fopen(path, "wxe");
    *created = file != NULL;
    if (file != NULL)
        return fill(file, path, bytes, len, err);
    return errno == EEXIST || fail_write(path, err);
}

bool
lm_files_equal(const char *path, const char *bytes, size_t len)
{
    FILE *file = fopen(path, "re");
    char *found;
    bool equal;

    if (file == NULL)
        return false;
    found = lm_alloc(len + 1);
    equal =
        fread(found, 1, len + 1, file) == len && memcmp(found, bytes, len) == 0;
    free(found);
    fclose(file);
    return equal;
}

bool
lm_files_put(const char *path, const char *bytes, size_t len,
             struct lm_err *err)
{
    struct lm_buf twin = LM_BUF_INIT;
    FILE *file;
    bool ok;

    if (lm_files_equal(path, bytes, len))
        return true;
    if (!make_room(path, err))
        return false;
    lm_buf_printf(&twin, "%s.%ld", path, (long)getpid());
    file = fopen(lm_buf_text(&twin), "we");
    ok = file != NULL ? fill(file, lm_buf_text(&twin), bytes, len, err)
                      : fail_write(lm_buf_text(&twin), err);
    if (ok && rename(lm_buf_text(&twin), path) != 0) {
        ok = fail_write(path, err);
        unlink(lm_buf_text(&twin));
    }
    lm_buf_release(&twin);
    return ok;
}
