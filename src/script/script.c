/* SPDX-License-Identifier: MIT */
/*
 * Loading a script: what it is, as struct lm_migration.
 *
 * The definition that luamig.script returns stays in the registry as long as
 * the script lives, so texts of struct lm_migration are Lua's own.
 */

#include "script/script_private.h"

#include "base/log.h"
#include "base/trust.h"
#include "script/bind/bind.h"
#include "script/bind/observe.h"
#include "script/value/fields.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct loading {
    struct lm_script *script;
    struct lm_buf *description; /* NULL: the whole script is loaded */
};

static void
set_integer(lua_State *L, const char *name, int64_t value)
{
    if (value >= 0)
        lmL_set_integer(L, name, value);
}

static void
push_defaults(lua_State *L, const char *defaults_json)
{
    lmL_require_field(L, "cjson", "decode");
    lua_pushstring(L, defaults_json);
    lua_call(L, 1, 1);
}

static void
push_options(lua_State *L, const struct loading *loading)
{
    struct lm_recipe *recipe = loading->script->recipe;
    const struct lm_script_options *options = &recipe->options;

    lua_newtable(L);
    lmL_set_text(L, "cwd", recipe->cwd);
    lmL_set_text(L, "abspath", recipe->place.path);
    lmL_set_text(L, "root", recipe->place.root);
    if (loading->description != NULL) {
        lmL_set_bool(L, "describe_only", true);
        return;
    }
    lmL_push_texts(L, recipe);
    lua_setfield(L, -2, "texts");
    lmL_set_args(L, options);
    lua_newtable(L);
    set_integer(L, "batch_size", options->batch_size);
    set_integer(L, "target_ms", options->target_ms);
    set_integer(L, "throttle_ms", options->throttle_ms);
    if (options->workers > 0)
        lmL_set_integer(L, "workers", options->workers);
    if (options->workers == LM_SCRIPT_WORKERS_AUTO)
        lmL_set_text(L, "workers", "auto");
    lua_setfield(L, -2, "overrides");
    if (options->defaults_json != NULL) {
        push_defaults(L, options->defaults_json);
        lua_setfield(L, -2, "defaults");
    }
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
    m->batch_size = lmL_integer_field(L, config, "batch_size", 0);
    m->target_ms = lmL_integer_field(L, config, "target_ms", 0);
    m->throttle_ms = lmL_integer_field(L, config, "throttle_ms", 0);
    m->retries = (int)lmL_integer_field(L, config, "retries", 0);
    m->statement_timeout_ms =
        lmL_integer_field(L, config, "statement_timeout_ms", 0);
    m->prepare_timeout_ms =
        lmL_integer_field(L, config, "prepare_timeout_ms", 0);
    m->lock_timeout_ms = lmL_integer_field(L, config, "lock_timeout_ms", 0);
    m->follow_new = lmL_bool_field(L, config, "follow_new");
    m->assume_unique = lmL_bool_field(L, config, "assume_unique");
    m->allow_ddl = lmL_bool_field(L, config, "allow_ddl");
    m->row_security = lmL_bool_field(L, config, "row_security");
    m->allow_unjudged = lmL_bool_field(L, config, "allow_unjudged");
    m->durable_batches = lmL_bool_field(L, config, "durable_batches");
    m->repeatable = lmL_bool_field(L, config, "repeatable");
    m->record_failures =
        strcmp(lmL_text_field(L, config, "on_error"), "quarantine") == 0;
    m->max_failures = lmL_integer_field(L, config, "max_failures", 0);
    m->workers = lmL_integer_field(L, config, "workers", 0);
    m->keep_failed_rows = lmL_bool_field(L, config, "quarantine_rows");
    lua_getfield(L, config, "combine");
    m->combine = lua_toboolean(L, -1) != 0;
    m->combine_always = lua_type(L, -1) == LUA_TSTRING;
    lua_pop(L, 1);
    m->isolation = lmL_text_field(L, config, "isolation");
    self->repo = lmL_text_field(L, config, "repo");
    m->timezone = lmL_text_field(L, config, "timezone");
    m->reads_from = lmL_text_field(L, config, "source");
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

void
lmL_read_base_query(lua_State *L, struct lm_script *self)
{
    struct lm_migration *m = &self->migration;
    int64_t count;

    m->base_query = lmL_text_field(L, 2, "base_query");
    lua_getfield(L, 2, "base_params");
    count = lmL_integer_field(L, lua_gettop(L), "n", 0);
    check_base_params(L, count);
    m->param_count = (int)count;
    read_values(L, "base_query", m->param_count, &self->base_params);
    m->params = lm_params_values(&self->base_params).texts;
    lua_pop(L, 1);
}

static void
read_paging(lua_State *L, struct lm_script *self)
{
    struct lm_migration *m = &self->migration;

    lmL_read_input(L, self);
    if (m->input == NULL)
        lmL_read_base_query(L, self);
    lua_getfield(L, 2, "start_after");
    if (!lua_isnil(L, -1)) {
        read_values(L, "config.start_after", m->key_count, &self->start_after);
        m->start_after = lm_params_values(&self->start_after).texts;
    }
    lua_pop(L, 1);
}

static void
read_identity(lua_State *L, struct lm_script *self)
{
    struct lm_migration *m = &self->migration;
    int known;

    m->name = lmL_text_field(L, 2, "name");
    m->origin.file = self->recipe->place.name;
    m->origin.path = self->recipe->place.path;
    m->origin.root = self->recipe->place.root;
    m->origin.marked = self->recipe->place.marked;
    m->origin.typed = self->recipe->typed;
    m->args_json = lmL_text_field(L, 2, "args_json");
    lua_getfield(L, 2, "identity_json");
    known = lua_gettop(L);
    m->arguments.given = lmL_text_field(L, known, "given");
    m->arguments.defaults = lmL_text_field(L, known, "defaults");
    m->arguments.declared = lmL_text_field(L, known, "declared");
    lua_pop(L, 1);
}

static void
read_definition(lua_State *L, struct lm_script *self)
{
    struct lm_migration *m = &self->migration;

    read_identity(L, self);
    m->source = lmL_text_field(L, 2, "source");
    lua_getfield(L, 2, "loaded");
    self->loaded = luaL_ref(L, LUA_REGISTRYINDEX);
    m->config_json = lmL_text_field(L, 2, "config_json");
    m->one_shot = strcmp(lmL_text_field(L, 2, "kind"), "one_shot") == 0;
    read_config(L, self);
    if (!m->one_shot)
        read_paging(L, self);
    lmL_read_ops(L, self);
}

/* Arguments: message, hint, "file:line". */
static int
l_warn(lua_State *L)
{
    struct lm_err err;

    lm_err_set(&err, LM_ERR_FAILED, "%s", luaL_checkstring(L, 1));
    lm_err_hint(&err, "%s", luaL_checkstring(L, 2));
    LM_ERR_COPY(err.where, luaL_checkstring(L, 3));
    lm_log_err(LM_LOG_WARNING, &err);
    return 0;
}

static void
watch_letters(lua_State *L, const struct lm_observer *observer)
{
    lmL_require_field(L, "luamig.script.letters", "watch");
    lua_pushcfunction(L, l_warn);
    if (observer != NULL)
        lmL_observe_words(L, observer, "warning");
    lua_call(L, 1, 0);
}

static int
load_protected(lua_State *L)
{
    struct loading *loading = lua_touserdata(L, 1);
    struct lm_script *self = loading->script;
    const struct lm_observer *observer = self->recipe->options.observer;

    lmL_leave_cwd(L);
    lmL_leave_locale(L);
    lmL_open_repo(L, &self->sites);
    if (observer != NULL)
        lmL_observe_repo(L, observer);
    lmL_require_field(L, "luamig.script", "load");
    lua_pushstring(L, self->recipe->path);
    push_options(L, loading);
    lua_call(L, 2, 1); /* definition, at index 2 */
    lua_pushvalue(L, 2);
    self->definition = luaL_ref(L, LUA_REGISTRYINDEX);
    if (loading->description == NULL) {
        read_definition(L, self);
        watch_letters(L, observer);
    } else {
        lua_getfield(L, 2, "args_spec");
        lmL_describe_args(L, loading->description);
    }
    return 0;
}

static bool
is_trusted(const struct lm_script *self, struct lm_err *err)
{
    const struct lm_place *place = &self->recipe->place;

    return self->original != NULL || !place->marked ||
           lm_trust_root(place->root, err);
}

static bool
load_into(struct lm_script *self, struct lm_buf *description,
          struct lm_err *err)
{
    struct loading loading = {self, description};

    if (!lm_vm_init(&self->vm, err) || !is_trusted(self, err))
        return false;
    lua_pushcfunction(self->vm.L, load_protected);
    lua_pushlightuserdata(self->vm.L, &loading);
    if (lm_vm_call(self->vm.L, 1, 0, err))
        return true;
    if (err->kind == LM_ERR_FAILED)
        err->kind = LM_ERR_SCRIPT;
    /* A line in luamig's own modules does not help the user. */
    if (strstr(err->traceback, self->recipe->path) == NULL)
        err->traceback[0] = '\0';
    return false;
}

bool
lm_script_load(struct lm_script **out, const char *path,
               const struct lm_script_options *options, struct lm_err *err)
{
    struct lm_script *self;

    if (!lm_script_check_args(options, err))
        return false;
    self = lm_calloc(1, sizeof *self);
    self->recipe = lm_recipe_new(path, options);
    if (!load_into(self, NULL, err)) {
        lm_script_free(self);
        return false;
    }
    *out = self;
    return true;
}

bool
lm_script_describe(const char *path, struct lm_buf *out, struct lm_err *err)
{
    struct lm_script *self = lm_calloc(1, sizeof *self);
    bool ok;

    self->recipe = lm_recipe_new(path, NULL);
    ok = load_into(self, out, err);
    lm_script_free(self);
    return ok;
}

/* The settings are those of the original, not what the script says now: a base
 * query may contain the time. */
bool
lm_script_load_again(void *self, struct lm_migration *out, struct lm_err *err)
{
    const struct lm_script *script = self;
    const struct lm_script *original =
        script->original != NULL ? script->original : script;
    struct lm_script *copy = lm_calloc(1, sizeof *copy);

    copy->original = original;
    copy->recipe = original->recipe;
    if (!load_into(copy, NULL, err)) {
        lm_script_free(copy);
        return lm_err_prefix(err, "could not load the script once more");
    }
    *out = original->migration;
    out->ops = copy->migration.ops;
    out->self = copy;
    return true;
}

void
lm_script_release_copy(struct lm_migration *copy)
{
    lm_script_free(copy->self);
    memset(copy, 0, sizeof *copy);
}

void
lm_script_free(struct lm_script *self)
{
    if (self == NULL)
        return;
    lm_vm_release(&self->vm);
    if (self->original == NULL)
        lm_recipe_free(self->recipe);
    lm_params_release(&self->base_params);
    lm_params_release(&self->start_after);
    lm_sites_release(&self->sites);
    free(self->key);
    free(self->columns);
    free(self->header);
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
