/* SPDX-License-Identifier: MIT */
/*
 * Calling a script's functions: what struct lm_migration_ops promises.
 *
 * Every call goes through invoke(), a C function run by lm_vm_call, so that
 * building the arguments is protected as well.
 */

#include "script/script_private.h"

#include "base/log.h"
#include "core/page/page.h"
#include "script/bind/bind.h"
#include "script/bind/observe.h"
#include "script/value/fields.h"

#include <lauxlib.h>
#include <limits.h>
#include <string.h>

enum { ASK_AGAIN_MS = 1000 };

/* run.retry and run.key_of, in the registry. */
static const char retry_key;
static const char key_of_key;

/* One call of one of the script's functions. */
struct invocation {
    struct lm_script *script;
    const char *function;
    const struct lm_page *page;       /* NULL: no rows */
    const struct lm_stretch *stretch; /* instead of its rows; or NULL */
    struct lm_repo *repo;             /* NULL: no repo */
    const struct lm_run_info *info;
    const char *reason; /* NULL: no reason */
    int64_t wait_ms;    /* what throttle returned */
    bool ask_again;
};

/* run.log(message, fields) */
static int
l_log(lua_State *L)
{
    const char *message = luaL_checkstring(L, 1);
    const char *fields = "";

    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        lua_pushvalue(L, lua_upvalueindex(1)); /* canonical.encode */
        lua_pushvalue(L, 2);
        lua_call(L, 1, 1);
        fields = lua_tostring(L, -1);
    }
    lm_log(LM_LOG_INFO, "script: %s%s%s", message, *fields != '\0' ? " " : "",
           fields);
    return 0;
}

/* Keeps what set_functions sets, for this run. [-0, +0, raises] */
static void
make_functions(lua_State *L, struct lm_script *script, int definition,
               const struct lm_run_info *info)
{
    lmL_require_field(L, "luamig.prepared", "retry");
    lua_rawsetp(L, LUA_REGISTRYINDEX, &retry_key);
    lmL_require_field(L, "luamig.prepared", "key_of");
    lua_getfield(L, definition, "config");
    lua_getfield(L, -1, "key");
    lua_remove(L, -2);
    lua_pushstring(L, info->key_prefix);
    lua_call(L, 2, 1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &key_of_key);
    memcpy(script->key_prefix, info->key_prefix, sizeof script->key_prefix);
}

/* key_of and retry of a run object, which is at the top. [-0, +0, raises] */
static void
set_functions(lua_State *L, struct lm_script *script, int definition,
              const struct lm_run_info *info)
{
    if (strcmp(script->key_prefix, info->key_prefix) != 0)
        make_functions(L, script, definition, info);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &retry_key);
    lua_setfield(L, -2, "retry");
    lua_rawgetp(L, LUA_REGISTRYINDEX, &key_of_key);
    lua_setfield(L, -2, "key_of");
}

/* [-0, +1, raises] */
static void
push_prepared(lua_State *L, const struct lm_script *script,
              const struct lm_run_info *info)
{
    if (info->prepared) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, script->prepared);
        lua_getfield(L, -1, "results");
        lua_remove(L, -2);
    } else {
        lmL_require_field(L, "luamig.prepared", "nothing");
        lua_call(L, 0, 1);
    }
}

/* strict.record("run", fields, names) */
void
lmL_push_run(lua_State *L, struct lm_script *script, int definition,
             const struct lm_run_info *info, bool migrates, int source)
{
    static const char *const names[] = {
        "args",    "script",   "id",  "batch",  "worker", "attempt",
        "dry_run", "prepared", "log", "key_of", "retry",  "source"};
    size_t count = LM_COUNT(names) - (source == 0);
    const struct lm_observer *observer = script->recipe->options.observer;

    lmL_require_field(L, "luamig.strict", "record");
    lua_pushstring(L, "run");
    lua_createtable(L, 0, (int)LM_COUNT(names));
    lua_getfield(L, definition, "args");
    lua_setfield(L, -2, "args");
    lmL_set_text(L, "script", info->script);
    lmL_set_integer(L, "id", info->id);
    lmL_set_integer(L, "batch", info->batch);
    lmL_set_integer(L, "worker", info->worker);
    lmL_set_integer(L, "attempt", info->attempt);
    lmL_set_bool(L, "dry_run", info->dry_run);
    if (migrates && script->prepared != LUA_NOREF) {
        push_prepared(L, script, info);
        lua_setfield(L, -2, "prepared");
    }
    set_functions(L, script, definition, info);
    lmL_require_field(L, "luamig.script.canonical", "encode");
    lua_pushcclosure(L, l_log, 1);
    if (observer != NULL)
        lmL_observe_words(L, observer, "log");
    lua_setfield(L, -2, "log");
    if (source > 0) {
        lua_pushvalue(L, source);
        lua_setfield(L, -2, "source");
    }
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushstring(L, names[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_call(L, 3, 1);
}

static void
read_throttle(lua_State *L, struct invocation *call)
{
    int type = lua_type(L, -1);
    lua_Number wait = lua_tonumber(L, -1);

    call->wait_ms = 0;
    call->ask_again = false;
    if (type == LUA_TBOOLEAN && lua_toboolean(L, -1)) {
        call->wait_ms = ASK_AGAIN_MS;
        call->ask_again = true;
    } else if (type == LUA_TNUMBER && wait >= 0 && wait <= INT_MAX) {
        call->wait_ms = (int64_t)wait;
    } else if (type != LUA_TNIL && type != LUA_TBOOLEAN) {
        luaL_error(L,
                   "throttle must return true, false, nil or milliseconds, "
                   "not %s",
                   luaL_tolstring(L, -1, NULL));
    }
}

/* Types are those of the database that the rows come from. */
static struct lm_repo *
repo_of_rows(const struct invocation *call)
{
    return call->info->source != NULL ? call->info->source : call->repo;
}

/* The rows of the page: those that prepare's look has made, or new ones.
 * [-0, +1, raises] */
static void
push_page(lua_State *L, const struct invocation *call)
{
    if (call->info->prepared) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, call->script->prepared);
        lua_getfield(L, -1, "rows");
        lua_remove(L, -2);
    } else {
        lmL_push_page(L, repo_of_rows(call), call->page);
    }
}

static int
invoke(lua_State *L)
{
    struct invocation *call = lua_touserdata(L, 1);
    bool migrates = strcmp(call->function, "migrate") == 0;
    int args = 0;
    int repo = 0;
    int source = 0;

    lua_rawgeti(L, LUA_REGISTRYINDEX, call->script->definition);
    if (call->repo != NULL) {
        lmL_push_repo(L, call->repo);
        repo = lua_gettop(L);
        if (call->info->source != NULL) {
            lmL_push_source(L, call->info->source);
            source = lua_gettop(L);
        }
    }
    lua_getfield(L, 2, call->function);
    if (call->stretch != NULL) {
        lmL_push_range(L, call->repo, call->stretch);
        args++;
    } else if (call->page != NULL) {
        push_page(L, call);
        args++;
    }
    if (repo > 0) {
        lua_pushvalue(L, repo);
        args++;
    }
    lmL_push_run(L, call->script, 2, call->info, migrates, source);
    args++;
    if (call->reason != NULL) {
        lua_pushstring(L, call->reason);
        args++;
    }
    lua_call(L, args, 1);
    if (strcmp(call->function, "throttle") == 0)
        read_throttle(L, call);
    return 0;
}

static bool
run_invocation(struct invocation *call, struct lm_err *err)
{
    lua_State *L = call->script->vm.L;

    lua_pushcfunction(L, invoke);
    lua_pushlightuserdata(L, call);
    return lm_vm_call(L, 1, 0, err);
}

static bool
op_migrate(void *self, const struct lm_page *page,
           const struct lm_stretch *stretch, struct lm_repo *repo,
           const struct lm_run_info *info, struct lm_err *err)
{
    struct invocation call = {.script = self,
                              .function = "migrate",
                              .page = page,
                              .repo = repo,
                              .info = info};

    if (call.script->migration.by_range) {
        call.function = "migrate_range";
        call.stretch = stretch;
    }
    return run_invocation(&call, err);
}

static const char *const callback_names[] = {[LM_CALL_RUN] = "run",
                                             [LM_CALL_ON_START] = "on_start",
                                             [LM_CALL_ON_COMPLETE] =
                                                 "on_complete"};

static bool
op_has(void *self, enum lm_callback callback)
{
    return ((struct lm_script *)self)->has[callback];
}

static bool
op_call(void *self, enum lm_callback callback, struct lm_repo *repo,
        const struct lm_run_info *info, struct lm_err *err)
{
    struct invocation call = {.script = self,
                              .function = callback_names[callback],
                              .repo = repo,
                              .info = info};

    return run_invocation(&call, err);
}

static void
op_on_stop(void *self, const struct lm_run_info *info, const char *reason)
{
    struct invocation call = {
        .script = self, .function = "on_stop", .info = info, .reason = reason};
    struct lm_err err;
    bool ok;

    if (!call.script->has_on_stop)
        return;
    /* The last words of a script that may just have been interrupted: a third
     * signal ends the process. */
    lm_vm_ignore_signals(&call.script->vm, true);
    ok = run_invocation(&call, &err);
    lm_vm_ignore_signals(&call.script->vm, false);
    if (ok)
        return;
    lm_err_prefix(&err, "on_stop failed");
    lm_log_err(LM_LOG_WARNING, &err);
}

static bool
op_throttle(void *self, struct lm_repo *repo, const struct lm_run_info *info,
            int64_t *wait_ms, bool *ask_again, struct lm_err *err)
{
    struct invocation call = {
        .script = self, .function = "throttle", .repo = repo, .info = info};

    if (!run_invocation(&call, err))
        return false;
    *wait_ms = call.wait_ms;
    *ask_again = call.ask_again;
    return true;
}

static int
op_module_count(void *self)
{
    struct lm_script *script = self;
    lua_State *L = script->vm.L;
    int count;

    lua_rawgeti(L, LUA_REGISTRYINDEX, script->loaded);
    count = (int)lua_rawlen(L, -1);
    lua_pop(L, 1);
    return count;
}

/* A text of the table at the top, by raw access: it raises nothing. */
static const char *
raw_text(lua_State *L, const char *name, size_t *len)
{
    const char *text;

    lua_pushstring(L, name);
    lua_rawget(L, -2);
    text = lua_tolstring(L, -1, len);
    lua_pop(L, 1); /* the table keeps it alive */
    return text;
}

static void
op_module(void *self, int index, struct lm_module *out)
{
    struct lm_script *script = self;
    lua_State *L = script->vm.L;

    lua_rawgeti(L, LUA_REGISTRYINDEX, script->loaded);
    lua_rawgeti(L, -1, index + 1);
    out->name = raw_text(L, "name", NULL);
    out->file = raw_text(L, "file", NULL);
    out->text = raw_text(L, "text", &out->len);
    lua_pop(L, 2);
}

/* -- which there are --------------------------------------------------- */

static bool
has_function(lua_State *L, const char *name)
{
    bool has;

    lua_getfield(L, 2, name);
    has = lua_isfunction(L, -1);
    lua_pop(L, 1);
    return has;
}

void
lmL_read_ops(lua_State *L, struct lm_script *self)
{
    self->migration.by_range = has_function(L, "migrate_range");
    for (size_t i = 0; i < LM_COUNT(self->has); i++)
        self->has[i] = has_function(L, callback_names[i]);
    self->has_on_stop = has_function(L, "on_stop");
    self->ops.migrate = op_migrate;
    self->ops.has = op_has;
    self->ops.call = op_call;
    self->ops.on_stop = op_on_stop;
    self->ops.module_count = op_module_count;
    self->ops.module = op_module;
    self->ops.load_again = lm_script_load_again;
    self->ops.release_copy = lm_script_release_copy;
    self->ops.throttle = op_throttle;
    self->ops.read_input = lm_script_read_input;
    self->ops.has_throttle = has_function(L, "throttle");
    lmL_read_prepare(L, self);
    self->migration.ops = &self->ops;
    self->migration.self = self;
}
