/* SPDX-License-Identifier: MIT */
/*
 * A script's prepare: what ops->look, ops->prepare and ops->passed promise.
 *
 * lua/luamig/prepared.lua keeps what is known of rows. Two rows are the same
 * here if all of their texts are, as the server sent them.
 */

#include "script/script_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "script/bind/bind.h"
#include "script/value/fields.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>

struct preparation {
    struct lm_script *script;
    const struct lm_page *page;
    struct lm_repo *repo;
    const struct lm_run_info *info;
    int64_t most;
    int64_t count; /* what the module's function returned */
    struct lm_looked *looked;
};

/* The module's object and one of its functions, with the object as the first
 * argument. [-0, +2, raises] */
static void
push_method(lua_State *L, const struct lm_script *script, const char *name)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, script->prepared);
    lua_getfield(L, -1, name);
    lua_insert(L, -2);
}

static int
look(lua_State *L)
{
    struct preparation *self = lua_touserdata(L, 1);

    push_method(L, self->script, "look");
    lmL_push_page(L, self->repo, self->page);
    lmL_push_contents(L, self->page);
    lua_call(L, 3, 2);
    self->looked->missing = lua_tointeger(L, -2);
    if (lua_isstring(L, -1))
        LM_ERR_COPY(self->looked->column, lua_tostring(L, -1));
    return 0;
}

static int
prepare(lua_State *L)
{
    struct preparation *self = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, self->script->definition);
    push_method(L, self->script, "call");
    lua_getfield(L, 2, "prepare");
    lmL_push_run(L, self->script, 2, self->info, false, 0);
    lua_pushinteger(L, self->most);
    lua_call(L, 4, 1);
    self->count = lua_tointeger(L, -1);
    return 0;
}

static int
passed(lua_State *L)
{
    struct preparation *self = lua_touserdata(L, 1);

    push_method(L, self->script, "passed");
    lua_call(L, 1, 0);
    return 0;
}

static bool
call(struct preparation *self, lua_CFunction function, struct lm_err *err)
{
    lua_State *L = self->script->vm.L;

    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, self);
    return lm_vm_call(L, 1, 0, err);
}

static bool
op_look(void *script, const struct lm_page *page, struct lm_repo *repo,
        struct lm_looked *out, struct lm_err *err)
{
    struct preparation self = {
        .script = script, .page = page, .repo = repo, .looked = out};

    *out = (struct lm_looked){.missing = 0};
    return call(&self, look, err);
}

static void
name_overtime(const struct lm_script *script, struct lm_err *err)
{
    char message[sizeof err->message];

    snprintf(message, sizeof message,
             "prepare has taken longer than config.prepare_timeout_ms = "
             "%" PRId64,
             script->migration.prepare_timeout_ms);
    LM_ERR_COPY(err->message, message);
    lm_err_hint(err, "Give each call of a service a time limit, or raise "
                     "config.prepare_timeout_ms.");
}

/* The results are there, so the run goes on. */
static void
warn_of_overtime(const struct lm_script *script)
{
    lm_log(LM_LOG_WARNING,
           "a call of prepare has returned after config.prepare_timeout_ms = "
           "%" PRId64 "; another runner may have taken the run over meanwhile. "
           "Give each request a time limit, or raise it",
           script->migration.prepare_timeout_ms);
}

static bool
op_prepare(void *script, int64_t most, const struct lm_run_info *info,
           int64_t *ready, struct lm_err *err)
{
    struct preparation self = {.script = script, .info = info, .most = most};
    struct lm_vm *vm = &self.script->vm;
    bool ok;
    bool late;

    lm_vm_set_deadline(vm, lm_clock_ms() +
                               self.script->migration.prepare_timeout_ms);
    ok = call(&self, prepare, err);
    late = lm_clock_ms() > vm->deadline_ms;
    if (late && !ok && err->kind == LM_ERR_FAILED)
        name_overtime(script, err);
    if (late && ok)
        warn_of_overtime(script);
    lm_vm_set_deadline(vm, 0);
    *ready = self.count;
    return ok;
}

/* It is forgotten later, if there is no memory now. */
static void
op_passed(void *script)
{
    struct preparation self = {.script = script};
    struct lm_err ignored;

    (void)!call(&self, passed, &ignored);
}

void
lmL_read_prepare(lua_State *L, struct lm_script *self)
{
    self->prepared = LUA_NOREF;
    if (lua_getfield(L, 2, "prepare") == LUA_TFUNCTION) {
        lmL_require_field(L, "luamig.prepared", "new");
        lua_getfield(L, 2, "config");
        lua_getfield(L, -1, "key");
        lua_remove(L, -2);
        lua_call(L, 1, 1);
        self->prepared = luaL_ref(L, LUA_REGISTRYINDEX);
        self->ops.look = op_look;
        self->ops.prepare = op_prepare;
        self->ops.passed = op_passed;
    }
    lua_pop(L, 1);
}
