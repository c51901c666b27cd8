/* SPDX-License-Identifier: MIT */

#include "script/scaffold.h"

#include "script/value/fields.h"
#include "script/vm/vm.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

/* One question, on its way through the protected call. */
struct asking {
    const char *module;
    const char *root; /* or */
    const struct lm_scaffold_request *request;
    struct lm_scaffold *out;
};

static void
push_request(lua_State *L, const struct lm_scaffold_request *request)
{
    lua_createtable(L, 0, 7);
    lmL_set_text(L, "name", request->name);
    lmL_set_text(L, "script_path", request->script_path);
    lmL_set_text(L, "spec_path", request->spec_path);
    lmL_set_text(L, "table", request->table);
    lmL_set_text(L, "sql_table", request->sql_table);
    lmL_set_text(L, "facts_json", request->facts_json);
    lmL_set_bool(L, "one_shot", request->one_shot);
}

static void
take_files(lua_State *L, struct lm_scaffold *out)
{
    int count = (int)lua_rawlen(L, -1);

    out->files = lm_calloc((size_t)count, sizeof *out->files);
    for (; out->count < count; out->count++) {
        struct lm_scaffold_file *file = &out->files[out->count];

        lua_rawgeti(L, -1, out->count + 1);
        file->path = lmL_copy_field(L, -1, "path");
        file->text = lmL_copy_field(L, -1, "text");
        file->advice = lmL_copy_field(L, -1, "advice");
        lua_pop(L, 1);
    }
}

static int
ask_protected(lua_State *L)
{
    const struct asking *asking = lua_touserdata(L, 1);

    lmL_require(L, asking->module);
    lua_getfield(L, -1, "files");
    if (asking->request != NULL) {
        push_request(L, asking->request);
    } else {
        lua_pushstring(L, asking->root);
    }
    lua_call(L, 1, 1);
    take_files(L, asking->out);
    return 0;
}

static bool
ask(struct asking *asking, struct lm_err *err)
{
    struct lm_vm vm;
    bool ok;

    memset(asking->out, 0, sizeof *asking->out);
    ok = lm_vm_init(&vm, err);
    if (ok) {
        lua_pushcfunction(vm.L, ask_protected);
        lua_pushlightuserdata(vm.L, asking);
        ok = lm_vm_call(vm.L, 1, 0, err);
        if (!ok) /* a line of luamig's modules does not help the user */
            err->traceback[0] = '\0';
    }
    lm_vm_release(&vm);
    return ok;
}

bool
lm_scaffold_migration(const struct lm_scaffold_request *request,
                      struct lm_scaffold *out, struct lm_err *err)
{
    struct asking asking = {
        .module = "luamig.scaffold.migration", .request = request, .out = out};

    return ask(&asking, err);
}

bool
lm_scaffold_project(const char *root, struct lm_scaffold *out,
                    struct lm_err *err)
{
    struct asking asking = {
        .module = "luamig.scaffold.project", .root = root, .out = out};

    return ask(&asking, err);
}

void
lm_scaffold_release(struct lm_scaffold *self)
{
    for (int i = 0; i < self->count; i++) {
        free(self->files[i].path);
        free(self->files[i].text);
        free(self->files[i].advice);
    }
    free(self->files);
    memset(self, 0, sizeof *self);
}
