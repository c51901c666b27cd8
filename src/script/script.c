/* SPDX-License-Identifier: MIT */
/*
 * Loading a script and calling its functions.
 *
 * The definition that luamig.script returns stays in the registry as long as
 * the script lives, so texts of struct lm_migration are Lua's own. Every call
 * into the script goes through invoke(), a C function run by lm_vm_call, so
 * that building the arguments is protected as well.
 */

#include "script/script.h"

#include "base/log.h"
#include "base/project.h"
#include "base/trust.h"
#include "core/health.h"
#include "core/pager.h"
#include "script/bind.h"
#include "script/observe.h"
#include "script/params.h"
#include "script/script_args.h"
#include "script/sites.h"
#include "script/vm.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ASK_AGAIN_MS = 1000 };

struct lm_script {
    struct lm_vm vm;
    struct lm_place place;
    char *typed;    /* the path as it was given, made absolute */
    int definition; /* registry reference */
    int loaded;     /* likewise: the list of modules */
    struct lm_migration migration;
    const char *repo;
    struct lm_migration_ops ops;
    bool has[LM_CALL_ON_COMPLETE + 1];
    bool has_on_stop;
    const char **key;
    struct lm_health_limits health;
    struct lm_params base_params;
    struct lm_params start_after;
    struct lm_sites sites;
    const struct lm_observer *observer; /* or NULL */
};

/* -- calling ---------------------------------------------------------- */

/* One call of one of the script's functions. */
struct invocation {
    struct lm_script *script;
    const char *function;
    const struct lm_page *page; /* NULL: no rows */
    struct lm_repo *repo;       /* NULL: no repo */
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

static void
push_module_field(lua_State *L, const char *module, const char *field)
{
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, field);
    lua_remove(L, -2);
}

/* The run object: strict.record("run", fields, names). */
static void
push_run(lua_State *L, int definition, const struct lm_run_info *info,
         const struct lm_observer *observer)
{
    static const char *const names[] = {"args",    "script",  "id", "batch",
                                        "attempt", "dry_run", "log"};

    push_module_field(L, "luamig.strict", "record");
    lua_pushstring(L, "run");
    lua_createtable(L, 0, (int)LM_COUNT(names));
    lua_getfield(L, definition, "args");
    lua_setfield(L, -2, "args");
    lua_pushstring(L, info->script);
    lua_setfield(L, -2, "script");
    lua_pushinteger(L, info->id);
    lua_setfield(L, -2, "id");
    lua_pushinteger(L, info->batch);
    lua_setfield(L, -2, "batch");
    lua_pushinteger(L, info->attempt);
    lua_setfield(L, -2, "attempt");
    lua_pushboolean(L, info->dry_run);
    lua_setfield(L, -2, "dry_run");
    push_module_field(L, "luamig.script.canonical", "encode");
    lua_pushcclosure(L, l_log, 1);
    if (observer != NULL)
        lmL_observe_log(L, observer);
    lua_setfield(L, -2, "log");
    lua_createtable(L, (int)LM_COUNT(names), 0);
    for (size_t i = 0; i < LM_COUNT(names); i++) {
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

static int
invoke(lua_State *L)
{
    struct invocation *call = lua_touserdata(L, 1);
    int args = 0;
    int repo = 0;

    lua_rawgeti(L, LUA_REGISTRYINDEX, call->script->definition);
    if (call->repo != NULL) {
        lmL_push_repo(L, call->repo);
        repo = lua_gettop(L);
    }
    lua_getfield(L, 2, call->function);
    if (call->page != NULL) {
        lmL_push_page(L, call->repo, call->page);
        args++;
    }
    if (repo > 0) {
        lua_pushvalue(L, repo);
        args++;
    }
    push_run(L, 2, call->info, call->script->observer);
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
op_migrate(void *self, const struct lm_page *page, struct lm_repo *repo,
           const struct lm_run_info *info, struct lm_err *err)
{
    struct invocation call = {.script = self,
                              .function = "migrate",
                              .page = page,
                              .repo = repo,
                              .info = info};

    return run_invocation(&call, err);
}

static const char *
callback_name(enum lm_callback callback)
{
    switch (callback) {
    case LM_CALL_RUN:
        return "run";
    case LM_CALL_ON_START:
        return "on_start";
    case LM_CALL_ON_COMPLETE:
        break;
    }
    return "on_complete";
}

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
                              .function = callback_name(callback),
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

    if (!call.script->has_on_stop)
        return;
    /* The last words of a script that may just have been interrupted: a third
     * signal ends the process. */
    lua_sethook(call.script->vm.L, NULL, 0, 0);
    if (run_invocation(&call, &err))
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

/* -- loading ---------------------------------------------------------- */

struct loading {
    struct lm_script *script;
    const char *path;
    const struct lm_script_options *options; /* NULL: describe only */
    struct lm_buf *description;
};

static void
set_integer(lua_State *L, const char *name, int64_t value)
{
    if (value < 0)
        return;
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void
set_text(lua_State *L, const char *name, const char *text)
{
    if (text == NULL)
        return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static void
push_defaults(lua_State *L, const char *defaults_json)
{
    push_module_field(L, "cjson", "decode");
    lua_pushstring(L, defaults_json);
    lua_call(L, 1, 1);
}

static void
push_options(lua_State *L, const struct loading *loading)
{
    char cwd[PATH_MAX];

    lua_newtable(L);
    if (getcwd(cwd, sizeof cwd) != NULL) {
        lua_pushstring(L, cwd);
        lua_setfield(L, -2, "cwd");
    }
    set_text(L, "abspath", loading->script->place.path);
    set_text(L, "root", loading->script->place.root);
    if (loading->options == NULL) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "describe_only");
        return;
    }
    lmL_set_args(L, loading->options);
    lua_newtable(L);
    set_integer(L, "batch_size", loading->options->batch_size);
    set_integer(L, "target_ms", loading->options->target_ms);
    set_integer(L, "throttle_ms", loading->options->throttle_ms);
    lua_setfield(L, -2, "overrides");
    if (loading->options->defaults_json != NULL) {
        push_defaults(L, loading->options->defaults_json);
        lua_setfield(L, -2, "defaults");
    }
}

/* A text field of the table at index; NULL when it is nil. */
static const char *
text_field(lua_State *L, int index, const char *name)
{
    const char *text;

    lua_getfield(L, index, name);
    text = lua_tostring(L, -1);
    lua_pop(L, 1); /* the table keeps it alive */
    return text;
}

/* An integer field of the table at index; 0 when it is nil. */
static int64_t
integer_field(lua_State *L, int index, const char *name)
{
    int64_t value;

    lua_getfield(L, index, name);
    value = (int64_t)luaL_optnumber(L, -1, 0);
    lua_pop(L, 1);
    return value;
}

static bool
bool_field(lua_State *L, int index, const char *name)
{
    bool value;

    lua_getfield(L, index, name);
    value = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
    return value;
}

/* The table at the top: a number each, or false. */
static void
read_health(lua_State *L, struct lm_health_limits *limits)
{
    for (int i = 0; i < LM_SIGNALS; i++) {
        lua_getfield(L, -1, lm_health_setting((enum lm_signal)i));
        limits->above[i] = lua_isboolean(L, -1) ? -1 : luaL_checknumber(L, -1);
        lua_pop(L, 1);
    }
}

static void
read_config(lua_State *L, struct lm_script *self)
{
    struct lm_migration *m = &self->migration;
    int config;

    lua_getfield(L, 2, "config");
    config = lua_gettop(L);
    m->batch_size = integer_field(L, config, "batch_size");
    m->target_ms = integer_field(L, config, "target_ms");
    m->throttle_ms = integer_field(L, config, "throttle_ms");
    m->retries = (int)integer_field(L, config, "retries");
    m->statement_timeout_ms = integer_field(L, config, "statement_timeout_ms");
    m->lock_timeout_ms = integer_field(L, config, "lock_timeout_ms");
    m->follow_new = bool_field(L, config, "follow_new");
    m->assume_unique = bool_field(L, config, "assume_unique");
    m->allow_ddl = bool_field(L, config, "allow_ddl");
    m->row_security = bool_field(L, config, "row_security");
    m->allow_unjudged = bool_field(L, config, "allow_unjudged");
    m->durable_batches = bool_field(L, config, "durable_batches");
    m->repeatable = bool_field(L, config, "repeatable");
    m->quarantine =
        strcmp(text_field(L, config, "on_error"), "quarantine") == 0;
    m->max_failures = integer_field(L, config, "max_failures");
    m->quarantine_rows = bool_field(L, config, "quarantine_rows");
    lua_getfield(L, config, "combine");
    m->combine = lua_toboolean(L, -1) != 0;
    m->combine_always = lua_type(L, -1) == LUA_TSTRING;
    lua_pop(L, 1);
    m->isolation = text_field(L, config, "isolation");
    self->repo = text_field(L, config, "repo");
    m->timezone = text_field(L, config, "timezone");
    lua_getfield(L, config, "key");
    m->key_count = (int)lua_rawlen(L, -1);
    self->key = lm_calloc((size_t)m->key_count, sizeof *self->key);
    for (int i = 0; i < m->key_count; i++) {
        lua_rawgeti(L, -1, i + 1);
        self->key[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    m->key = self->key;
    lua_pop(L, 1);
    lua_getfield(L, config, "health");
    read_health(L, &self->health);
    m->health = &self->health;
    lua_pop(L, 2);
}

/* Encodes a list of count values; self->... owns the memory at once, so what
 * raises later leaks nothing. */
static void
read_values(lua_State *L, const char *what, int count, struct lm_params *params)
{
    static const struct lm_type unknown = {.oid = 0};
    struct lm_err err;

    lm_params_begin(params, count);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, i);
        if (!lm_params_set(params, i - 1, L, -1, &unknown, &err)) {
            lm_err_prefix(&err, "%s, value %d", what, i);
            lmL_raise(L, &err);
        }
        lua_pop(L, 1);
    }
}

/* Pages add their keys to the parameters of the base query. */
static void
check_base_params(lua_State *L, int64_t count)
{
    enum { MOST = LM_MAX_PARAMS - 535 };
    struct lm_err err;

    if (count <= MOST)
        return;
    lm_err_set(&err, LM_ERR_SCRIPT,
               "base_query returns %" PRId64
               " parameters, but it cannot have more than %d",
               count, MOST);
    lm_err_hint(&err, "Pass one array, as in \"id = ANY ($1::bigint[])\".");
    lmL_raise(L, &err);
}

static void
read_paging(lua_State *L, struct lm_script *self)
{
    struct lm_migration *m = &self->migration;
    int64_t count;

    m->base_query = text_field(L, 2, "base_query");
    lua_getfield(L, 2, "base_params");
    count = integer_field(L, lua_gettop(L), "n");
    check_base_params(L, count);
    m->param_count = (int)count;
    read_values(L, "base_query", m->param_count, &self->base_params);
    m->params = lm_params_values(&self->base_params).texts;
    lua_pop(L, 1);
    lua_getfield(L, 2, "start_after");
    if (!lua_isnil(L, -1)) {
        read_values(L, "config.start_after", m->key_count, &self->start_after);
        m->start_after = lm_params_values(&self->start_after).texts;
    }
    lua_pop(L, 1);
}

static bool
has_function(lua_State *L, const char *name)
{
    bool has;

    lua_getfield(L, 2, name);
    has = lua_isfunction(L, -1);
    lua_pop(L, 1);
    return has;
}

static void
read_ops(lua_State *L, struct lm_script *self)
{
    for (size_t i = 0; i < LM_COUNT(self->has); i++)
        self->has[i] = has_function(L, callback_name((enum lm_callback)i));
    self->has_on_stop = has_function(L, "on_stop");
    self->ops.migrate = op_migrate;
    self->ops.has = op_has;
    self->ops.call = op_call;
    self->ops.on_stop = op_on_stop;
    self->ops.module_count = op_module_count;
    self->ops.module = op_module;
    self->ops.throttle = op_throttle;
    self->ops.has_throttle = has_function(L, "throttle");
    self->migration.ops = &self->ops;
    self->migration.self = self;
}

static void
read_identity(lua_State *L, struct lm_script *self)
{
    struct lm_migration *m = &self->migration;
    int known;

    m->name = text_field(L, 2, "name");
    m->origin.file = self->place.name;
    m->origin.path = self->place.path;
    m->origin.root = self->place.root;
    m->origin.marked = self->place.marked;
    m->origin.typed = self->typed;
    m->args_json = text_field(L, 2, "args_json");
    lua_getfield(L, 2, "identity_json");
    known = lua_gettop(L);
    m->arguments.given = text_field(L, known, "given");
    m->arguments.defaults = text_field(L, known, "defaults");
    m->arguments.declared = text_field(L, known, "declared");
    lua_pop(L, 1);
}

static void
read_definition(lua_State *L, struct lm_script *self)
{
    struct lm_migration *m = &self->migration;

    read_identity(L, self);
    m->source = text_field(L, 2, "source");
    lua_getfield(L, 2, "loaded");
    self->loaded = luaL_ref(L, LUA_REGISTRYINDEX);
    m->config_json = text_field(L, 2, "config_json");
    m->one_shot = strcmp(text_field(L, 2, "kind"), "one_shot") == 0;
    read_config(L, self);
    if (!m->one_shot)
        read_paging(L, self);
    read_ops(L, self);
}

static int
load_protected(lua_State *L)
{
    struct loading *loading = lua_touserdata(L, 1);
    struct lm_script *self = loading->script;

    lmL_open_repo(L, &self->sites);
    if (self->observer != NULL)
        lmL_observe_repo(L, self->observer);
    push_module_field(L, "luamig.script", "load");
    lua_pushstring(L, loading->path);
    push_options(L, loading);
    lua_call(L, 2, 1); /* definition, at index 2 */
    lua_pushvalue(L, 2);
    self->definition = luaL_ref(L, LUA_REGISTRYINDEX);
    if (loading->options != NULL) {
        read_definition(L, self);
    } else {
        lua_getfield(L, 2, "args_spec");
        lmL_describe_args(L, loading->description);
    }
    return 0;
}

/* Where the script lies. Of a file that is not there, reading it will say so.
 */
static void
find_place(struct lm_script *self, const char *path)
{
    char cwd[PATH_MAX] = "";
    struct lm_buf typed = LM_BUF_INIT;

    if (!lm_place_find(&self->place, path))
        return;
    if (*path != '/' && getcwd(cwd, sizeof cwd) != NULL)
        lm_buf_printf(&typed, "%s/", cwd);
    while (strncmp(path, "./", 2) == 0)
        path += 2;
    lm_buf_puts(&typed, path);
    self->typed = lm_buf_take(&typed);
}

static bool
load(struct loading *loading, struct lm_err *err)
{
    struct lm_script *self = loading->script;

    if (!lm_vm_init(&self->vm, err))
        return false;
    find_place(self, loading->path);
    if (self->place.marked && !lm_trust_root(self->place.root, err))
        return false;
    lua_pushcfunction(self->vm.L, load_protected);
    lua_pushlightuserdata(self->vm.L, loading);
    if (lm_vm_call(self->vm.L, 1, 0, err))
        return true;
    if (err->kind == LM_ERR_FAILED)
        err->kind = LM_ERR_SCRIPT;
    /* Where luamig's own modules noticed it helps nobody. */
    if (strstr(err->traceback, loading->path) == NULL)
        err->traceback[0] = '\0';
    return false;
}

bool
lm_script_load(struct lm_script **out, const char *path,
               const struct lm_script_options *options, struct lm_err *err)
{
    struct loading loading = {.path = path, .options = options};

    if (!lm_script_check_args(options, err))
        return false;
    loading.script = lm_calloc(1, sizeof *loading.script);
    loading.script->observer = options->observer;
    if (!load(&loading, err)) {
        lm_script_free(loading.script);
        return false;
    }
    *out = loading.script;
    return true;
}

bool
lm_script_describe(const char *path, struct lm_buf *out, struct lm_err *err)
{
    struct loading loading = {.path = path, .description = out};
    bool ok;

    loading.script = lm_calloc(1, sizeof *loading.script);
    ok = load(&loading, err);
    lm_script_free(loading.script);
    return ok;
}

void
lm_script_free(struct lm_script *self)
{
    if (self == NULL)
        return;
    lm_vm_release(&self->vm);
    lm_place_release(&self->place);
    free(self->typed);
    lm_params_release(&self->base_params);
    lm_params_release(&self->start_after);
    lm_sites_release(&self->sites);
    free(self->key);
    free(self);
}

const char *
lm_script_repo(const struct lm_script *self)
{
    return self->repo;
}

const struct lm_migration *
lm_script_migration(const struct lm_script *self)
{
    return &self->migration;
}
