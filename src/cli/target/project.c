/* SPDX-License-Identifier: MIT */
/* The project of the working directory. It looks and changes nothing but the
 * environment of the process. */

#include "cli/target/project.h"

#include "base/project.h"
#include "base/text.h"
#include "base/trust.h"
#include "script/project.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool
lm_project_open(struct lm_project *self, struct lm_err *err)
{
    char *path;
    bool ok;

    memset(self, 0, sizeof *self);
    self->root = lm_project_root(NULL);
    path = lm_project_path(self, ".env");
    ok =
        lm_trust_root(self->root, err) && lm_dotenv_load(&self->env, path, err);
    free(path);
    return ok;
}

void
lm_project_release(struct lm_project *self)
{
    lm_project_file_free(self->file);
    lm_dotenv_release(&self->env);
    free(self->root);
    memset(self, 0, sizeof *self);
}

bool
lm_project_read_file(struct lm_project *self,
                     const struct lm_project_file **out, struct lm_err *err)
{
    if (!self->has_looked &&
        !lm_project_file_load(&self->file, self->root, err))
        return false;
    self->has_looked = true;
    *out = self->file;
    return true;
}

char *
lm_project_path(const struct lm_project *self, const char *name)
{
    const char *root = strcmp(self->root, "/") == 0 ? "" : self->root;
    struct lm_buf path = LM_BUF_INIT;
    char cwd[PATH_MAX];
    bool is_near =
        getcwd(cwd, sizeof cwd) != NULL && strcmp(cwd, self->root) == 0;

    if (*name != '/' && !is_near)
        lm_buf_printf(&path, "%s/", root);
    lm_buf_puts(&path, name);
    return lm_buf_take(&path);
}

static bool
is_file(const char *path)
{
    struct stat about;

    return stat(path, &about) == 0 && !S_ISDIR(about.st_mode);
}

/* SCRIPTS/NAME and SCRIPTS/NAME.lua; NULL when neither is there. */
static char *
find_in(const struct lm_project *self, const char *folder, const char *name)
{
    static const char *const endings[] = {"", ".lua"};

    for (size_t i = 0; i < LM_COUNT(endings); i++) {
        char *below = lm_format("%s/%s%s", folder, name, endings[i]);
        char *path;

        path = lm_project_path(self, below);
        free(below);
        if (is_file(path))
            return path;
        free(path);
    }
    return NULL;
}

/* NAME.lua, from the working directory; NULL when it is not there. */
static char *
find_here(const char *name)
{
    char *path = lm_format("%s.lua", name);

    if (is_file(path))
        return path;
    free(path);
    return NULL;
}

bool
lm_project_find_script(struct lm_project *self, const char *name, char **path,
                       struct lm_err *err)
{
    const struct lm_project_file *file;

    *path = NULL;
    if (!lm_project_read_file(self, &file, err))
        return false;
    if (!is_file(name)) {
        const char *scripts = file != NULL ? file->scripts : "scripts";

        if (*name != '/' && *name != '.')
            *path = find_in(self, scripts, name);
        if (*path == NULL)
            *path = find_here(name);
    }
    if (*path == NULL)
        *path = lm_strdup(name);
    return true;
}

bool
lm_project_replace_name(struct lm_project *self, char **path,
                        struct lm_err *err)
{
    char *found;

    if (!lm_project_find_script(self, *path, &found, err))
        return false;
    free(*path);
    *path = found;
    return true;
}

/* -- scripts that are not there ------------------------------------------- */

enum { MOST_LISTED = 12 };

static int
is_lua_file(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);

    return entry->d_name[0] != '.' && len > 4 &&
           strcmp(entry->d_name + len - 4, ".lua") == 0;
}

/* Names the scripts of a folder, the nearest first. */
static void
hint_at_scripts(const char *folder, const char *name, char **scripts, int count,
                struct lm_err *err)
{
    const char *slash = strrchr(name, '/');
    const char *base = slash != NULL ? slash + 1 : name;
    const char **plain = lm_calloc((size_t)count, sizeof *plain);
    struct lm_buf list = LM_BUF_INIT;
    char *ending = lm_format("%s%s", base, strstr(base, ".lua") ? "" : ".lua");
    int nearest;

    for (int i = 0; i < count; i++) {
        plain[i] = scripts[i];
        if (i < MOST_LISTED)
            lm_buf_printf(&list, "%s%s", i > 0 ? ", " : "", scripts[i]);
    }
    nearest = lm_text_nearest(ending, plain, (size_t)count);
    if (count > MOST_LISTED)
        lm_buf_printf(&list, " and %d more", count - MOST_LISTED);
    if (nearest >= 0) {
        lm_err_hint(err, "Did you mean \"%s/%s\"? %s has: %s.", folder,
                    plain[nearest], folder, lm_buf_text(&list));
    } else {
        lm_err_hint(err, "%s has: %s.", folder, lm_buf_text(&list));
    }
    free(ending);
    lm_buf_release(&list);
    free(plain);
}

void
lm_project_explain_missing(struct lm_project *self, const char *name,
                           struct lm_err *err)
{
    const struct lm_project_file *file = NULL;
    struct lm_err ignored;
    struct dirent **entries = NULL;
    const char *folder = "scripts";
    char **scripts;
    char *path;
    int count;

    if (is_file(name) || err->hint[0] != '\0')
        return;
    if (lm_project_read_file(self, &file, &ignored) && file != NULL)
        folder = file->scripts;
    path = lm_project_path(self, folder);
    count = scandir(path, &entries, is_lua_file, alphasort);
    free(path);
    if (count <= 0) {
        lm_err_hint(err,
                    "There is no script in %s. Name a file, or make a script "
                    "with \"luamig new NAME\".",
                    folder);
        free(entries);
        return;
    }
    scripts = lm_calloc((size_t)count, sizeof *scripts);
    for (int i = 0; i < count; i++) {
        scripts[i] = lm_strdup(entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    hint_at_scripts(folder, name, scripts, count, err);
    lm_free_texts(scripts, count);
}
