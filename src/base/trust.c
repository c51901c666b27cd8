/* SPDX-License-Identifier: MIT */
/* Looks at owners and rights of files; see the header. It opens nothing. */

#include "base/trust.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char variable[] = "LUAMIG_TRUST";

/* Is root in the list of LUAMIG_TRUST? */
static bool
is_allowed(const char *root)
{
    const char *list = getenv(variable);

    while (list != NULL && *list != '\0') {
        size_t len = strcspn(list, ":");
        char *path = lm_strndup(list, len);
        char *real = realpath(path, NULL);
        bool same =
            strcmp(path, "*") == 0 || (real != NULL && strcmp(real, root) == 0);

        free(path);
        free(real);
        if (same)
            return true;
        list += len + (list[len] == ':');
    }
    return false;
}

/* The user that called sudo; -1: no sudo, or this is not root. */
static long long
sudo_caller(void)
{
    const char *text = getenv("SUDO_UID");
    char *end;
    long long uid;

    if (geteuid() != 0 || text == NULL || *text < '0' || *text > '9')
        return -1;
    uid = strtoll(text, &end, 10);
    return *end == '\0' ? uid : -1;
}

static bool
is_ours(uid_t owner)
{
    return owner == geteuid() || owner == 0 ||
           (long long)owner == sudo_caller();
}

static bool
fail(const char *root, const char *path, const char *why, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_SCRIPT, "%s %s, so luamig does not trust it", path,
               why);
    lm_err_detail(
        err, "Another user could make luamig do anything that you may do.");
    lm_err_hint(err,
                "If you trust the project, set %s=%s in the environment. If "
                "not, work in another folder, or remove the file.",
                variable, root);
    return false;
}

static bool
check_path(const char *root, const char *path, struct lm_err *err)
{
    struct stat link;
    struct stat file;

    if (lstat(path, &link) != 0 || stat(path, &file) != 0)
        return true; /* not there, or a link that leads nowhere */
    if (!is_ours(link.st_uid) || !is_ours(file.st_uid))
        return fail(root, path, "belongs to another user", err);
    if ((file.st_mode & S_IWOTH) != 0)
        return fail(root, path, "can be written by everybody", err);
    return true;
}

static bool
check(const char *root, const char *name, struct lm_err *err)
{
    char *path = lm_format("%s/%s", strcmp(root, "/") == 0 ? "" : root, name);
    bool ok;

    ok = check_path(root, path, err);
    free(path);
    return ok;
}

bool
lm_trust_root(const char *root, struct lm_err *err)
{
    static const char *const names[] = {"luamig.lua", ".env", ".luamig",
                                        ".git"};
    bool ok = true;

    if (is_allowed(root))
        return true;
    for (size_t i = 0; ok && i < LM_COUNT(names); i++)
        ok = check(root, names[i], err);
    return ok;
}

bool
lm_trust_here(const char *name, struct lm_err *err)
{
    char *here = realpath(".", NULL);
    bool ok = here == NULL || is_allowed(here) || check(here, name, err);

    free(here);
    return ok;
}
