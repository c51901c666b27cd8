/* SPDX-License-Identifier: MIT */
/*
 * The C half of loading luamig.lua: a Lua state of its own, which ends with the
 * loading. What is kept is plain data.
 */

#include "script/project.h"

#include "script/value/fields.h"
#include "script/vm/vm.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "luamig.lua"

/* One file being loaded. What is filled belongs to the file at once, so what
 * raises leaks nothing. */
struct loading {
    struct lm_project_file *file;
    const char *root;
    const char *path; /* as messages show it */
};

/* The table at the top: name, url, replicas. */
static void
read_repo(lua_State *L, struct lm_project_repo *repo)
{
    int count;

    repo->name = lmL_copy_field(L, -1, "name");
    repo->url = lmL_copy_field(L, -1, "url");
    lua_getfield(L, -1, "replicas");
    count = (int)lua_rawlen(L, -1);
    repo->replicas = lm_calloc((size_t)count, sizeof *repo->replicas);
    for (; repo->replica_count < count; repo->replica_count++) {
        lua_rawgeti(L, -1, repo->replica_count + 1);
        repo->replicas[repo->replica_count] = lm_strdup(lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* The table at the top: what luamig.script.project returns. */
static void
read_file(lua_State *L, struct lm_project_file *file)
{
    int count;

    file->scripts = lmL_copy_field(L, -1, "scripts");
    file->defaults_json = lmL_copy_field(L, -1, "defaults_json");
    lua_getfield(L, -1, "repos");
    file->names_repos = !lua_isnil(L, -1);
    count = file->names_repos ? (int)lua_rawlen(L, -1) : 0;
    file->repos = lm_calloc((size_t)count, sizeof *file->repos);
    while (file->repo_count < count) {
        lua_rawgeti(L, -1, file->repo_count + 1);
        read_repo(L, &file->repos[file->repo_count++]);
        lua_pop(L, 1);
    }
}

static int
load_protected(lua_State *L)
{
    const struct loading *loading = lua_touserdata(L, 1);
    char cwd[PATH_MAX];

    lmL_leave_cwd(L);
    lmL_require(L, "luamig.script.project");
    lua_getfield(L, -1, "load");
    lua_pushstring(L, loading->path);
    lua_newtable(L);
    lmL_set_text(L, "root", loading->root);
    lmL_set_text(L, "cwd", getcwd(cwd, sizeof cwd));
    lua_call(L, 2, 1);
    read_file(L, loading->file);
    return 0;
}

static bool
load(struct loading *loading, struct lm_err *err)
{
    struct lm_vm vm;
    bool ok = lm_vm_init(&vm, err);

    if (ok) {
        lua_pushcfunction(vm.L, load_protected);
        lua_pushlightuserdata(vm.L, loading);
        ok = lm_vm_call(vm.L, 1, 0, err);
        if (!ok && err->kind == LM_ERR_FAILED)
            err->kind = LM_ERR_SCRIPT;
        if (!ok && strstr(err->traceback, FILE_NAME ":") == NULL)
            err->traceback[0] = '\0';
    }
    lm_vm_release(&vm);
    return ok;
}

/* The file as messages show it: by its name alone in the working directory. */
static char *
shown_path(const char *root)
{
    struct lm_buf path = LM_BUF_INIT;
    char cwd[PATH_MAX];

    if (getcwd(cwd, sizeof cwd) == NULL || strcmp(cwd, root) != 0)
        lm_buf_printf(&path, "%s/", strcmp(root, "/") == 0 ? "" : root);
    lm_buf_puts(&path, FILE_NAME);
    return lm_buf_take(&path);
}

bool
lm_project_file_load(struct lm_project_file **out, const char *root,
                     struct lm_err *err)
{
    char *path = shown_path(root);
    struct loading loading = {.root = root, .path = path};
    bool ok = true;

    *out = NULL;
    if (access(path, F_OK) == 0) {
        loading.file = lm_calloc(1, sizeof *loading.file);
        ok = load(&loading, err);
        if (ok) {
            *out = loading.file;
        } else {
            lm_project_file_free(loading.file);
        }
    }
    free(path);
    return ok;
}

void
lm_project_file_free(struct lm_project_file *self)
{
    if (self == NULL)
        return;
    for (int i = 0; i < self->repo_count; i++) {
        struct lm_project_repo *repo = &self->repos[i];

        lm_free_texts(repo->replicas, repo->replica_count);
        free(repo->name);
        free(repo->url);
    }
    free(self->repos);
    free(self->scripts);
    free(self->defaults_json);
    free(self);
}

const struct lm_project_repo *
lm_project_file_find(const struct lm_project_file *self, const char *name)
{
    for (int i = 0; self != NULL && i < self->repo_count; i++) {
        if (strcmp(self->repos[i].name, name) == 0)
            return &self->repos[i];
    }
    return NULL;
}
