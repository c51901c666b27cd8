/* SPDX-License-Identifier: MIT */
/*
 * The repo as a userdata: its turns, its handles, the methods that take SQL,
 * and savepoints. The structured writes are in bind/write.c.
 *
 * Owns what the methods of one state share, the boxes in which results wait to
 * be read, and the metatables. A repo or a handle of a turn that has ended
 * raises when it is used.
 *
 * A savepoint undoes what its function did and hands its error to the script;
 * an interrupt and a lack of memory go on to the runner instead.
 */

#include "base/stop.h"
#include "script/bind/private.h"
#include "script/value/fields.h"
#include "script/vm/vm.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

static const char repo_type[] = LM_REPO_TYPE;
static const char source_type[] = LM_SOURCE_TYPE;
static const char result_type[] = "luamig.result";
static const char handle_type[] = "luamig.handle";

const char lm_bind_anchors_key;
static const char binding_key; /* the struct lm_binding, in the registry */

struct handle {
    struct lm_write *write;
    uint64_t turn;
};

struct lm_binding *
lmL_binding_of(lua_State *L)
{
    struct lm_binding *binding;

    lua_rawgetp(L, LUA_REGISTRYINDEX, &binding_key);
    binding = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return binding;
}

/* The userdata keeps the turn around this one. [-0, +1, memory] */
static void
push_turn(lua_State *L, struct lm_turn *open, struct lm_repo *repo,
          const char *type)
{
    struct lm_turn *box = lua_newuserdatauv(L, sizeof *box, 0);

    *box = *open;
    *open = (struct lm_turn){
        .repo = repo, .box = box, .number = ++lmL_binding_of(L)->turns};
    luaL_setmetatable(L, type);
    lua_toclose(L, lua_gettop(L));
}

void
lmL_push_repo(lua_State *L, struct lm_repo *repo)
{
    push_turn(L, &lmL_binding_of(L)->open, repo, repo_type);
}

void
lmL_push_source(lua_State *L, struct lm_repo *repo)
{
    push_turn(L, &lmL_binding_of(L)->source, repo, source_type);
}

struct lm_repo *
lmL_open_repo_of(lua_State *L)
{
    return lmL_binding_of(L)->open.repo;
}

static int
repo_close(lua_State *L)
{
    const struct lm_turn *outer = lua_touserdata(L, 1);

    lmL_binding_of(L)->open = *outer;
    return 0;
}

static int
source_close(lua_State *L)
{
    const struct lm_turn *outer = lua_touserdata(L, 1);

    lmL_binding_of(L)->source = *outer;
    return 0;
}

static bool
is_source(lua_State *L, int index, const struct lm_binding *binding)
{
    return binding->source.repo != NULL &&
           lua_touserdata(L, index) == binding->source.box;
}

struct lm_repo *
lmL_source_at(lua_State *L, int index)
{
    const struct lm_binding *binding = lmL_binding_of(L);

    return is_source(L, index, binding) ? binding->source.repo : NULL;
}

/* The line of the script that called. */
static struct lm_site *
find_site(lua_State *L, struct lm_sites *sites)
{
    lua_Debug info;

    for (int level = 1; lua_getstack(L, level, &info) != 0; level++) {
        lua_getinfo(L, "Sl", &info);
        if (info.currentline > 0)
            return lm_sites_at(sites, info.short_src, info.currentline);
    }
    return lm_sites_at(sites, "?", 0);
}

/* A method was called with a dot, so its first argument is not the repo. */
static void
raise_no_repo(lua_State *L)
{
    lua_Debug info;

    lua_getstack(L, 0, &info);
    lua_getinfo(L, "n", &info);
    luaL_error(L, "call repo:%s(...) with a colon",
               info.name != NULL ? info.name : "?");
}

/* The first argument is not the open repo. The second upvalue of each method
 * is the metatable of repos. */
static void
raise_other_repo(lua_State *L)
{
    struct lm_err err;

    if (lua_touserdata(L, 1) == NULL || !lua_getmetatable(L, 1) ||
        !lua_rawequal(L, -1, lua_upvalueindex(2)))
        raise_no_repo(L);
    lm_err_set(&err, LM_ERR_FAILED,
               "the repo is used after its function has returned");
    lm_err_hint(&err, "Do not keep repo in a variable outside of the "
                      "function: luamig passes a new repo to each call.");
    lmL_raise(L, &err);
}

/* Beside a run.source, an error of either database ends the batch for both. */
static void
check_both(lua_State *L, const struct lm_binding *binding)
{
    const struct lm_repo *of[] = {binding->source.repo, binding->open.repo};
    struct lm_err err;

    for (size_t i = 0; i < LM_COUNT(of); i++) {
        if (!lm_repo_check_usable(of[i], &err))
            lmL_raise(L, &err);
    }
}

void
lmL_begin_call(lua_State *L, struct lm_call *call)
{
    struct lm_binding *binding = lua_touserdata(L, lua_upvalueindex(1));

    const struct lm_turn *turn =
        is_source(L, 1, binding) ? &binding->source : &binding->open;

    if (turn->repo == NULL || lua_touserdata(L, 1) != turn->box)
        raise_other_repo(L);
    if (binding->source.repo != NULL)
        check_both(L, binding);
    call->binding = binding;
    call->repo = turn->repo;
    call->site = find_site(L, binding->sites);
    call->where = lm_site_where(call->site);
    call->every_row = false;
}

const char *
lmL_check_text(lua_State *L, int index)
{
    size_t len;
    const char *text = luaL_checklstring(L, index, &len);

    if (strlen(text) != len)
        luaL_error(L, "SQL text and names must not hold a NUL byte");
    return text;
}

/* -- results and handles ---------------------------------------------- */

static int
result_gc(lua_State *L)
{
    struct lm_result **box = lua_touserdata(L, 1);

    lm_result_free(*box);
    *box = NULL;
    return 0;
}

struct lm_result **
lmL_push_result_box(lua_State *L)
{
    struct lm_result **box = lua_newuserdatauv(L, sizeof(void *), 0);

    *box = NULL;
    luaL_setmetatable(L, result_type);
    return box;
}

void
lmL_push_handle(lua_State *L, const struct lm_call *call,
                struct lm_write *write)
{
    struct handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);

    handle->write = write;
    handle->turn = call->binding->open.number;
    lua_pushvalue(L, lua_upvalueindex(3)); /* the metatable of handles */
    lua_setmetatable(L, -2);
}

int64_t
lmL_affected_of(lua_State *L, int index)
{
    const struct handle *handle = luaL_testudata(L, index, handle_type);

    return handle != NULL ? lm_write_affected(handle->write) : -1;
}

static void
check_handle(lua_State *L, const struct lm_binding *binding,
             const struct handle *handle)
{
    if (binding->open.repo == NULL || handle->turn != binding->open.number)
        luaL_error(L, "the handle is used after its batch has ended");
    if (lm_write_is_undone(handle->write))
        luaL_error(L, "the handle is used after its savepoint was rolled back");
}

/* handle.row: waits until the write is done. */
static int
push_returned(lua_State *L, const struct lm_binding *binding,
              const struct handle *handle)
{
    struct lm_repo *repo = binding->open.repo;
    const struct lm_result *row = NULL;
    struct lm_err err;

    if (!lm_write_returns(handle->write)) {
        luaL_error(L, "the handle has no row; pass { returning = {...} } to "
                      "repo:insert");
    }
    if (!lm_repo_returned(repo, handle->write, &row, &err))
        return lmL_raise(L, &err);
    if (row == NULL || lm_result_rows(row) == 0)
        return 0;
    lmL_push_result(L, repo, row);
    lua_rawgeti(L, -1, 1);
    return 1;
}

/* handle.affected, which waits until the write is done, or handle.row. */
static int
handle_index(lua_State *L)
{
    struct lm_binding *binding = lua_touserdata(L, lua_upvalueindex(1));
    const struct handle *handle = luaL_checkudata(L, 1, handle_type);
    const char *name = luaL_tolstring(L, 2, NULL);
    bool is_row = strcmp(name, "row") == 0;
    struct lm_err err;
    int64_t affected;

    if (!is_row && strcmp(name, "affected") != 0) {
        luaL_error(L,
                   "a handle has no field \"%s\", only \"affected\" and "
                   "\"row\"",
                   name);
    }
    check_handle(L, binding, handle);
    if (is_row)
        return push_returned(L, binding, handle);
    if (!lm_repo_affected(binding->open.repo, handle->write, &affected, &err))
        return lmL_raise(L, &err);
    lua_pushinteger(L, affected);
    return 1;
}

static int
handle_newindex(lua_State *L)
{
    return luaL_error(L, "a handle cannot be changed");
}

/* -- statements ------------------------------------------------------- */

static void
name_by_number(char *text, size_t size, int i, const void *arg)
{
    (void)arg;
    snprintf(text, size, "parameter $%d", i + 1);
}

static const struct lm_call_names by_number = {name_by_number, NULL};

/* Checks the statement, which is then at index 2, followed by its parameters.
 * luamig.ALL may come before it. [-1 or 0, +0, raises] */
static const char *
take_sql(lua_State *L, struct lm_call *call)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &lm_vm_all_key);
    call->every_row = lua_rawequal(L, -1, 2);
    lua_pop(L, 1);
    if (call->every_row)
        lua_remove(L, 2);
    return lmL_check_text(L, 2);
}

/* Begins the call, runs its statement with the arguments after it and leaves
 * the boxed result on the stack, to be closed. */
static struct lm_result **
run_query(lua_State *L, struct lm_call *call)
{
    struct lm_result **box;
    struct lm_err err;
    const char *sql;
    int count;

    lmL_begin_call(L, call);
    sql = take_sql(L, call);
    count = lua_gettop(L) - 2;
    box = lmL_push_result_box(L);
    if (!lm_call_run(L, call, sql, 3, count, by_number, box, &err))
        lmL_raise(L, &err);
    lua_toclose(L, lua_gettop(L));
    return box;
}

static int
l_query(lua_State *L)
{
    struct lm_call call;
    struct lm_result **box = run_query(L, &call);

    lmL_push_result(L, call.repo, *box);
    return 1;
}

static void
check_one_row(lua_State *L, const struct lm_result *result, const char *what)
{
    if (lm_result_rows(result) > 1) {
        luaL_error(L, "repo:%s got %d rows, but at most one is allowed", what,
                   lm_result_rows(result));
    }
}

static int
l_one(lua_State *L)
{
    struct lm_call call;
    struct lm_result **box = run_query(L, &call);

    check_one_row(L, *box, "one");
    lmL_push_result(L, call.repo, *box);
    lua_rawgeti(L, -1, 1);
    return 1;
}

static int
l_scalar(lua_State *L)
{
    struct lm_call call;
    struct lm_result **box = run_query(L, &call);

    check_one_row(L, *box, "scalar");
    if (lm_result_columns(*box) == 0)
        luaL_error(L, "repo:scalar needs a statement that returns a column");
    lmL_push_scalar(L, call.repo, *box);
    return 1;
}

static int
l_execute(lua_State *L)
{
    struct lm_call call;
    struct lm_err err;
    struct lm_write *write = NULL;
    const char *sql;
    int count;

    lmL_begin_call(L, &call);
    sql = take_sql(L, &call);
    count = lua_gettop(L) - 2;
    if (!lm_call_write(L, &call, sql, 3, count, by_number, NULL, &write, &err))
        return lmL_raise(L, &err);
    lmL_push_handle(L, &call, write);
    return 1;
}

/* -- savepoints ------------------------------------------------------- */

/* The function failed, or what it posted did: error object at the top. */
static int
catch_error(lua_State *L, struct lm_call *call, int status)
{
    struct lm_repo *repo = call->repo;
    bool raised_it = status != LUA_OK && lm_repo_failure(repo) != NULL;
    struct lm_err failure;
    struct lm_err err;

    if (lm_stop_level() >= 2 || status == LUA_ERRMEM) {
        lm_repo_abort(repo,
                      status == LUA_ERRMEM ? LM_ERR_FAILED : LM_ERR_INTERRUPT,
                      status == LUA_ERRMEM ? "out of Lua memory in a savepoint"
                                           : "interrupted");
        return lua_error(L);
    }
    /* An error of a statement that was posted earlier comes first. */
    if (lm_repo_failure(repo) == NULL && !lm_repo_flush(repo, &err))
        lm_call_note(call, &err);
    if (lm_repo_failure(repo) != NULL && !raised_it) {
        failure = *lm_repo_failure(repo);
        lmL_push_error(L, &failure);
    }
    if (!lm_repo_savepoint_rollback(repo, &err))
        return lmL_raise_noted(L, call, &err);
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

/* A savepoint is none of the source's transaction. */
static void
raise_source_failure(lua_State *L, const struct lm_binding *binding)
{
    const struct lm_repo *source = binding->source.repo;

    if (source != NULL && lm_repo_failure(source) != NULL) {
        struct lm_err failure = *lm_repo_failure(source);

        lmL_raise(L, &failure);
    }
}

static int
l_savepoint(lua_State *L)
{
    struct lm_call call;
    struct lm_err err;
    int status;

    lmL_begin_call(L, &call);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (!lm_repo_savepoint(call.repo, &err))
        return lmL_raise_noted(L, &call, &err);
    /* No message handler: the script's own error values stay as they are. */
    status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
    raise_source_failure(L, call.binding);
    if (status != LUA_OK || lm_repo_failure(call.repo) != NULL ||
        !lm_repo_flush(call.repo, &err))
        return catch_error(L, &call, status);
    if (!lm_repo_savepoint_release(call.repo, &err))
        return lmL_raise_noted(L, &call, &err);
    lua_pushboolean(L, 1);
    lua_replace(L, 1); /* true results */
    return lua_gettop(L);
}

/* -- registration ----------------------------------------------------- */

static const luaL_Reg reading_methods[] = {
    {"query", l_query}, {"one", l_one}, {"scalar", l_scalar}, {NULL, NULL}};
static const luaL_Reg methods[] = {
    {"execute", l_execute}, {"savepoint", l_savepoint}, {NULL, NULL}};

/* Of a repo, and of run.source. */
static const luaL_Reg *const repo_methods[] = {reading_methods, methods,
                                               lm_bind_write_methods,
                                               lm_bind_read_methods, NULL};
static const luaL_Reg *const source_methods[] = {reading_methods, NULL};

static int
binding_gc(lua_State *L)
{
    struct lm_binding *binding = lua_touserdata(L, 1);

    lm_params_release(&binding->params);
    lm_buf_release(&binding->text);
    return 0;
}

/* Leaves the binding on the stack. [-0, +1, memory] */
static void
push_binding(lua_State *L, struct lm_sites *sites)
{
    struct lm_binding *binding = lua_newuserdatauv(L, sizeof *binding, 0);

    memset(binding, 0, sizeof *binding);
    binding->sites = sites;
    luaL_newmetatable(L, "luamig.binding");
    lua_pushcfunction(L, binding_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &binding_key);
}

/* Methods, in a table that raises for others, with what is at the top of the
 * stack as upvalues: the binding, and the metatables of their object and of
 * handles. name is the object's in messages. [-0, +1, raises] */
static void
push_methods(lua_State *L, const luaL_Reg *const *lists, const char *name)
{
    lua_newtable(L);
    for (; *lists != NULL; lists++) {
        for (int i = 0; i < 3; i++)
            lua_pushvalue(L, -4); /* one after the other */
        luaL_setfuncs(L, *lists, 3);
    }
    lua_getfield(L, LUA_REGISTRYINDEX, "luamig.strict.record");
    lua_insert(L, -2);
    lua_pushstring(L, name);
    lua_insert(L, -2);
    lua_call(L, 2, 1);
}

/* Fills the metatable of an object with methods, which is below the metatable
 * of handles. [-0, +0, raises] */
static void
set_methods(lua_State *L, const luaL_Reg *const *lists, const char *name,
            const char *type, lua_CFunction close)
{
    push_methods(L, lists, name); /* binding object handle methods */
    lua_setfield(L, -3, "__index");
    lua_pushcfunction(L, close);
    lua_setfield(L, -3, "__close");
    lua_pushstring(L, type);
    lua_setfield(L, -3, "__metatable");
}

/* Keeps the functions of luamig.strict that are called from here. [-0, +0,
 * raises] */
static void
register_strict(lua_State *L)
{
    lmL_require(L, "luamig.strict");
    lua_getfield(L, -1, "row");
    lua_setfield(L, LUA_REGISTRYINDEX, "luamig.strict.row");
    lua_getfield(L, -1, "record");
    lua_setfield(L, LUA_REGISTRYINDEX, "luamig.strict.record");
    lua_pop(L, 1);
}

void
lmL_open_repo(lua_State *L, struct lm_sites *sites)
{
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &lm_bind_anchors_key);
    register_strict(L);
    push_binding(L, sites); /* binding */

    luaL_newmetatable(L, repo_type);
    luaL_newmetatable(L, handle_type);
    set_methods(L, repo_methods, "repo", repo_type, repo_close);
    lua_pushvalue(L, -3);
    lua_pushcclosure(L, handle_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, handle_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pop(L, 2); /* binding */
    luaL_newmetatable(L, source_type);
    luaL_getmetatable(L, handle_type);
    set_methods(L, source_methods, "run.source", source_type, source_close);
    lua_pop(L, 3);

    luaL_newmetatable(L, result_type);
    lua_pushcfunction(L, result_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, result_gc);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
}
