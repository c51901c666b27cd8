/* SPDX-License-Identifier: MIT */
/*
 * The repo's userdata, its statements in SQL, savepoints, and results as
 * tables. The structured writes are in bind_write.c.
 */

#include "script/bind.h"

#include "base/stop.h"
#include "core/pager.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char repo_type[] = LM_REPO_TYPE;
static const char result_type[] = "luamig.result";
static const char handle_type[] = "luamig.handle";

const char lm_bind_anchors_key;
static const char binding_key; /* the struct lm_binding, in the registry */

/* A repo as scripts see it, of one turn. */
struct repo_box {
    uint64_t turn;
};

struct handle {
    struct lm_write *write; /* NULL: there was nothing to write */
    uint64_t turn;
    int64_t affected; /* -1: not known yet */
};

static struct lm_binding *
binding_of(lua_State *L)
{
    struct lm_binding *binding;

    lua_rawgetp(L, LUA_REGISTRYINDEX, &binding_key);
    binding = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return binding;
}

void
lmL_push_repo(lua_State *L, struct lm_repo *repo)
{
    struct lm_binding *binding = binding_of(L);
    struct repo_box *box = lua_newuserdatauv(L, sizeof *box, 0);

    binding->repo = repo;
    box->turn = ++binding->turn;
    luaL_setmetatable(L, repo_type);
    lua_toclose(L, lua_gettop(L));
}

struct lm_repo *
lmL_open_repo_of(lua_State *L)
{
    return binding_of(L)->repo;
}

static int
repo_close(lua_State *L)
{
    struct lm_binding *binding = binding_of(L);

    binding->repo = NULL;
    binding->turn++;
    return 0;
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

/* The second upvalue of each method is the metatable of repos. */
static struct repo_box *
check_repo(lua_State *L)
{
    struct repo_box *box = lua_touserdata(L, 1);

    if (box == NULL || !lua_getmetatable(L, 1) ||
        !lua_rawequal(L, -1, lua_upvalueindex(2)))
        luaL_checkudata(L, 1, repo_type); /* raises */
    lua_pop(L, 1);
    return box;
}

void
lmL_begin_call(lua_State *L, struct lm_call *call)
{
    struct lm_binding *binding = lua_touserdata(L, lua_upvalueindex(1));
    struct repo_box *box = check_repo(L);

    call->binding = binding;
    call->repo = binding->repo;
    if (box->turn != binding->turn || binding->repo == NULL) {
        struct lm_err err;

        lm_err_set(&err, LM_ERR_FAILED,
                   "the repo is used after its function has returned");
        lm_err_hint(&err, "Do not keep repo in a variable outside of the "
                          "function; each call gets its own.");
        lmL_raise(L, &err);
    }
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

void
lm_call_note(struct lm_call *call, struct lm_err *err)
{
    if (err->where[0] == '\0')
        LM_ERR_COPY(err->where, call->where);
    if (call->repo->failed && call->repo->failure.where[0] == '\0')
        LM_ERR_COPY(call->repo->failure.where, call->where);
}

/* -- results ---------------------------------------------------------- */

static int
result_gc(lua_State *L)
{
    struct lm_result **box = lua_touserdata(L, 1);

    lm_result_free(*box);
    *box = NULL;
    return 0;
}

/* An empty box for a result, to be filled by C. [-0, +1, memory] */
static struct lm_result **
push_result_box(lua_State *L)
{
    struct lm_result **box = lua_newuserdatauv(L, sizeof(void *), 0);

    *box = NULL;
    luaL_setmetatable(L, result_type);
    return box;
}

/* A result on its way into Lua. */
struct reading {
    struct lm_repo *repo;
    const struct lm_result *result;
    const struct lm_page *page; /* NULL: it is no page */
    const struct lm_type **types;
    int columns;
    int names; /* stack index of the list of names */
};

/* Raises err, which says what is wrong with one value. */
static void
raise_value(lua_State *L, const struct reading *self, int row, int column,
            struct lm_err *err)
{
    const struct lm_base_query *paged = self->repo->paged;

    lm_err_prefix(err, "column \"%s\"",
                  lm_result_column_name(self->result, column));
    if (self->page != NULL && paged != NULL) {
        struct lm_buf key = LM_BUF_INIT;
        char **texts = lm_calloc((size_t)paged->key_count, sizeof *texts);

        for (int i = 0; i < paged->key_count; i++)
            texts[i] = (char *)lm_page_key(self->page, paged, row, i);
        lm_page_describe_key(&key, paged, texts);
        lm_err_prefix(err, "row %s", lm_buf_text(&key));
        free(texts);
        lm_buf_release(&key);
    } else {
        lm_err_prefix(err, "row %d", row + 1);
    }
    lmL_raise(L, err);
}

/* [-0, +1, raises] */
static void
push_field(lua_State *L, const struct reading *self, int row, int column,
           const char *text)
{
    struct lm_err err;

    if (!lmL_push_value(L, self->types[column], text,
                        lm_result_length(self->result, row, column), &err))
        raise_value(L, self, row, column, &err);
}

static void
push_row(lua_State *L, const struct reading *self, int row)
{
    lua_createtable(L, 0, self->columns);
    for (int i = 0; i < self->columns; i++) {
        const char *text = lm_result_text(self->result, row, i);

        if (text == NULL)
            continue;
        lua_rawgeti(L, self->names, i + 1);
        push_field(L, self, row, i, text);
        lua_rawset(L, -3);
    }
}

/* Looks the columns' types up; they stay on the stack. [-0, +1, raises] */
static void
push_types(lua_State *L, struct reading *self)
{
    const struct lm_type **types =
        lua_newuserdatauv(L, (size_t)self->columns * sizeof(void *), 0);
    struct lm_err err;

    for (int i = 0; i < self->columns; i++) {
        if (!lm_repo_type(self->repo, lm_result_column_type(self->result, i),
                          &types[i], &err))
            lmL_raise(L, &err);
    }
    self->types = types;
}

/* Pushes what luamig.strict makes of the columns' names: the metatables of the
 * list and of its rows, and the list of names. [-0, +3, raises] */
static void
push_names(lua_State *L, struct reading *self)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "luamig.strict.row"); /* strict */
    lua_createtable(L, self->columns, 0);                    /* strict names */
    for (int i = 0; i < self->columns; i++) {
        lua_pushstring(L, lm_result_column_name(self->result, i));
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushvalue(L, -1);
    lua_insert(L, -3); /* names strict names */
    lua_call(L, 1, 2); /* names meta list */
    lua_insert(L, -3); /* list names meta */
    lua_insert(L, -2); /* list meta names */
    self->names = lua_gettop(L);
}

/* The first rows of a result, as luamig.strict wants them. [-0, +1, raises] */
static void
push_rows(lua_State *L, struct reading *self, int rows)
{
    luaL_checkstack(L, 16, "too many results");
    push_types(L, self);         /* types */
    push_names(L, self);         /* types list meta names */
    lua_createtable(L, rows, 0); /* types list meta names rows */
    for (int row = 0; row < rows; row++) {
        push_row(L, self, row);
        lua_pushvalue(L, self->names - 1);
        lua_setmetatable(L, -2);
        lua_rawseti(L, -2, row + 1);
    }
    lua_pushvalue(L, self->names - 2);
    lua_setmetatable(L, -2);
    lua_insert(L, self->names - 3); /* rows types list meta names */
    lua_pop(L, 4);
}

/* All rows of a query's result. [-0, +1, raises] */
static void
push_result(lua_State *L, struct lm_repo *repo, const struct lm_result *result)
{
    struct reading reading = {
        .repo = repo, .result = result, .columns = lm_result_columns(result)};

    push_rows(L, &reading, lm_result_rows(result));
}

void
lmL_push_page(lua_State *L, struct lm_repo *repo, const struct lm_page *page)
{
    struct reading reading = {.repo = repo,
                              .result = page->result,
                              .page = page,
                              .columns = page->columns};

    push_rows(L, &reading, page->rows);
}

void
lmL_push_handle(lua_State *L, const struct lm_call *call,
                struct lm_write *write)
{
    struct handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);

    handle->write = write;
    handle->turn = call->binding->turn;
    handle->affected = write == NULL ? 0 : -1;
    lua_pushvalue(L, lua_upvalueindex(3)); /* the metatable of handles */
    lua_setmetatable(L, -2);
}

int64_t
lmL_affected_of(lua_State *L, int index)
{
    const struct handle *handle = luaL_testudata(L, index, handle_type);

    if (handle == NULL)
        return -1;
    return handle->write != NULL ? handle->write->affected : 0;
}

/* handle.affected: waits until the write is done. */
static int
handle_index(lua_State *L)
{
    struct lm_binding *binding = lua_touserdata(L, lua_upvalueindex(1));
    struct handle *handle = luaL_checkudata(L, 1, handle_type);
    const char *name = luaL_tolstring(L, 2, NULL);
    struct lm_err err;

    if (strcmp(name, "affected") != 0)
        luaL_error(L, "a handle has no field \"%s\", only \"affected\"", name);
    if (handle->affected < 0 &&
        (binding->repo == NULL || handle->turn != binding->turn))
        luaL_error(L, "the handle is used after its batch has ended");
    if (handle->affected < 0 && !lm_repo_affected(binding->repo, handle->write,
                                                  &handle->affected, &err))
        return lmL_raise(L, &err);
    lua_pushinteger(L, handle->affected);
    return 1;
}

/* -- statements ------------------------------------------------------- */

static void
name_by_number(char *text, size_t size, int i, const void *arg)
{
    (void)arg;
    snprintf(text, size, "parameter $%d", i + 1);
}

static const struct lm_call_names by_number = {name_by_number, NULL};

/* Encodes parameter i, which is the value at first + i. */
static bool
encode_one(lua_State *L, struct lm_call *call, int first, int i,
           const struct lm_type *type, struct lm_call_names names,
           struct lm_err *err)
{
    char name[256];

    if (lm_params_set(&call->binding->params, i, L, first + i, type, err))
        return true;
    names.namer(name, sizeof name, i, names.arg);
    lm_err_prefix(err, "%s", name);
    return false;
}

static bool
encode_all(lua_State *L, struct lm_call *call, const struct lm_stmt *stmt,
           int first, struct lm_call_names names, struct lm_err *err)
{
    lm_params_begin(&call->binding->params, lm_stmt_param_count(stmt));
    for (int i = 0; i < lm_stmt_param_count(stmt); i++) {
        const struct lm_type *type;

        if (!lm_repo_type(call->repo, lm_stmt_param_type(stmt, i), &type,
                          err) ||
            !encode_one(L, call, first, i, type, names, err))
            return false;
    }
    return true;
}

static bool
fail_param_count(const struct lm_stmt *stmt, int count, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_FAILED,
               "the statement has %d parameters, but %d values are given",
               lm_stmt_param_count(stmt), count);
    LM_ERR_COPY(err->sql, lm_stmt_sql(stmt));
    lm_err_hint(err, "A value that may be nil at the end of the list still "
                     "has to be passed; a function call there may return "
                     "fewer values than it seems.");
    return false;
}

static bool
check_param_count(const char *sql, int count, struct lm_err *err)
{
    if (count <= LM_MAX_PARAMS)
        return true;
    lm_err_set(err, LM_ERR_FAILED,
               "%d parameters are given, but a statement cannot have more than "
               "%d",
               count, LM_MAX_PARAMS);
    LM_ERR_COPY(err->sql, sql);
    lm_err_hint(err, "Pass one array, as in \"id = ANY ($1::bigint[])\", write "
                     "rows with repo:insert_all, or take smaller batches.");
    return false;
}

/* Prepares sql and encodes its parameters. */
static bool
get_ready(lua_State *L, struct lm_call *call, const char *sql, int first,
          int count, struct lm_call_names names, struct lm_stmt **stmt,
          struct lm_err *err)
{
    bool ok = check_param_count(sql, count, err) &&
              lm_repo_prepare(call->repo, sql, call->every_row, call->where,
                              stmt, err);

    if (ok && lm_stmt_param_count(*stmt) != count)
        ok = fail_param_count(*stmt, count, err);
    return ok && encode_all(L, call, *stmt, first, names, err);
}

bool
lm_call_run(lua_State *L, struct lm_call *call, const char *sql, int first,
            int count, struct lm_call_names names, struct lm_result **out,
            struct lm_err *err)
{
    struct lm_stmt *stmt = NULL;
    bool ok =
        get_ready(L, call, sql, first, count, names, &stmt, err) &&
        lm_repo_execute(call->repo, stmt,
                        lm_params_values(&call->binding->params), out, err);

    if (!ok)
        lm_call_note(call, err);
    return ok;
}

bool
lm_call_write(lua_State *L, struct lm_call *call, const char *sql, int first,
              int count, struct lm_call_names names, const struct lm_form *form,
              struct lm_write **out, struct lm_err *err)
{
    struct lm_stmt *stmt = NULL;
    bool ok = get_ready(L, call, sql, first, count, names, &stmt, err);

    if (ok) {
        struct lm_values values = lm_params_values(&call->binding->params);

        if (*out == NULL)
            *out = lm_repo_write(call->repo, call->where);
        if (form != NULL && form->verb != LM_VERB_INSERT)
            lm_write_expect_one(*out, form, values);
        ok = lm_repo_post(call->repo, stmt, values, *out, err);
        if (ok && !lm_repo_may_post(stmt))
            ok = lm_repo_flush(call->repo, err);
    }
    if (!ok)
        lm_call_note(call, err);
    return ok;
}

bool
lm_call_combine_params(struct lm_call *call, struct lm_shape *shape,
                       struct lm_write **out, struct lm_err *err)
{
    struct lm_values values = lm_params_values(&call->binding->params);

    if (*out == NULL)
        *out = lm_repo_write(call->repo, call->where);
    if (lm_repo_combine(call->repo, shape, values, *out, err))
        return true;
    lm_call_note(call, err);
    return false;
}

bool
lm_call_combine(lua_State *L, struct lm_call *call, struct lm_shape *shape,
                int first, struct lm_call_names names, struct lm_write **out,
                struct lm_err *err)
{
    int count = lm_shape_column_count(shape);

    lm_params_begin(&call->binding->params, count);
    for (int i = 0; i < count; i++) {
        if (!encode_one(L, call, first, i, shape->types[i], names, err)) {
            lm_call_note(call, err);
            return false;
        }
    }
    return lm_call_combine_params(call, shape, out, err);
}

/* The statement, which is then at index 2, with its parameters behind it;
 * luamig.ALL may stand before it. [-1 or 0, +0, raises] */
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

/* Runs the statement at index sql with the arguments after it and leaves the
 * boxed result on the stack. */
static struct lm_result **
run_query(lua_State *L, struct lm_call *call)
{
    struct lm_result **box;
    struct lm_err err;
    const char *sql = take_sql(L, call);
    int count = lua_gettop(L) - 2;

    box = push_result_box(L);
    if (!lm_call_run(L, call, sql, 3, count, by_number, box, &err))
        lmL_raise(L, &err);
    return box;
}

static int
l_query(lua_State *L)
{
    struct lm_call call;
    struct lm_result **box;

    lmL_begin_call(L, &call);
    box = run_query(L, &call);
    lua_toclose(L, lua_gettop(L));
    push_result(L, call.repo, *box);
    return 1;
}

static void
check_one_row(lua_State *L, const struct lm_result *result, const char *what)
{
    if (lm_result_rows(result) > 1) {
        luaL_error(L, "repo:%s got %d rows where there may be one at most",
                   what, lm_result_rows(result));
    }
}

static int
l_one(lua_State *L)
{
    struct lm_call call;
    struct lm_result **box;

    lmL_begin_call(L, &call);
    box = run_query(L, &call);
    lua_toclose(L, lua_gettop(L));
    check_one_row(L, *box, "one");
    push_result(L, call.repo, *box);
    lua_rawgeti(L, -1, 1);
    return 1;
}

static int
l_scalar(lua_State *L)
{
    struct lm_call call;
    struct lm_result **box;
    struct reading reading = {.columns = 1};

    lmL_begin_call(L, &call);
    box = run_query(L, &call);
    lua_toclose(L, lua_gettop(L));
    check_one_row(L, *box, "scalar");
    if (lm_result_columns(*box) == 0)
        luaL_error(L, "repo:scalar needs a statement that returns a column");
    if (lm_result_rows(*box) == 0 || lm_result_text(*box, 0, 0) == NULL) {
        lua_pushnil(L);
        return 1;
    }
    reading.repo = call.repo;
    reading.result = *box;
    push_types(L, &reading);
    push_field(L, &reading, 0, 0, lm_result_text(*box, 0, 0));
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
    bool raised_it = status != LUA_OK && repo->failed;
    struct lm_err failure;
    struct lm_err err;

    if (lm_stop_level() >= 2 || status == LUA_ERRMEM) {
        lm_repo_abort(repo,
                      status == LUA_ERRMEM ? LM_ERR_FAILED : LM_ERR_INTERRUPT,
                      status == LUA_ERRMEM ? "out of Lua memory in a savepoint"
                                           : "interrupted");
        return lua_error(L);
    }
    /* What was posted before the script's own error comes first. */
    if (!repo->failed && !lm_repo_flush(repo, &err))
        lm_call_note(call, &err);
    failure = repo->failure;
    if (repo->failed && !raised_it)
        lmL_push_error(L, &failure);
    if (!lm_repo_savepoint_rollback(repo, &err)) {
        lm_call_note(call, &err);
        return lmL_raise(L, &err);
    }
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

static int
l_savepoint(lua_State *L)
{
    struct lm_call call;
    struct lm_err err;
    int status;

    lmL_begin_call(L, &call);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (!lm_repo_savepoint(call.repo, &err)) {
        lm_call_note(&call, &err);
        return lmL_raise(L, &err);
    }
    /* No message handler: the script's own error values stay as they are. */
    status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
    if (status != LUA_OK || call.repo->failed ||
        !lm_repo_flush(call.repo, &err))
        return catch_error(L, &call, status);
    if (!lm_repo_savepoint_release(call.repo, &err)) {
        lm_call_note(&call, &err);
        return lmL_raise(L, &err);
    }
    lua_pushboolean(L, 1);
    lua_replace(L, 1); /* true results */
    return lua_gettop(L);
}

/* -- registration ----------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"query", l_query},         {"one", l_one},
    {"scalar", l_scalar},       {"execute", l_execute},
    {"savepoint", l_savepoint}, {NULL, NULL}};

static int
binding_gc(lua_State *L)
{
    struct lm_binding *binding = lua_touserdata(L, 1);

    lm_params_release(&binding->params);
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

/* The methods, in a table that raises for others, with what is at the top of
 * the stack as upvalues: the binding, and the metatables of repos and handles.
 * [-0, +1, raises] */
static void
push_methods(lua_State *L)
{
    lua_newtable(L);
    for (int list = 0; list < 2; list++) {
        for (int i = 0; i < 3; i++)
            lua_pushvalue(L, -4); /* one after the other */
        luaL_setfuncs(L, list == 0 ? methods : lm_bind_write_methods, 3);
    }
    lua_getfield(L, LUA_REGISTRYINDEX, "luamig.strict.record");
    lua_insert(L, -2);
    lua_pushstring(L, "repo");
    lua_insert(L, -2);
    lua_call(L, 2, 1);
}

/* What of luamig.strict is called from here. [-0, +0, raises] */
static void
register_strict(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushstring(L, "luamig.strict");
    lua_call(L, 1, 1);
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
    push_methods(L); /* binding repo handle methods */
    lua_setfield(L, -3, "__index");
    lua_pushvalue(L, -3);
    lua_pushcclosure(L, handle_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1); /* binding repo */
    lua_pushcfunction(L, repo_close);
    lua_setfield(L, -2, "__close");
    lua_pushstring(L, "luamig.repo");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);

    luaL_newmetatable(L, result_type);
    lua_pushcfunction(L, result_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, result_gc);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
}
