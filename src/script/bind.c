/* SPDX-License-Identifier: MIT */
/*
 * The repo's userdata, its statements in SQL, savepoints, and results as
 * tables. The structured writes are in bind_write.c.
 */

#include "script/bind.h"

#include "base/stop.h"
#include "core/pager.h"
#include "script/params.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char repo_type[] = "luamig.repo";
static const char result_type[] = "luamig.result";

struct repo_box {
    struct lm_repo *repo; /* NULL once closed */
};

void
lmL_push_repo(lua_State *L, struct lm_repo *repo)
{
    struct repo_box *box = lua_newuserdatauv(L, sizeof *box, 0);

    box->repo = repo;
    luaL_setmetatable(L, repo_type);
    lua_toclose(L, lua_gettop(L));
}

static int
repo_close(lua_State *L)
{
    struct repo_box *box = lua_touserdata(L, 1);

    box->repo = NULL;
    return 0;
}

void
lmL_begin_call(lua_State *L, struct lm_call *call)
{
    struct repo_box *box = luaL_checkudata(L, 1, repo_type);

    lmL_where(L, 1, call->where, sizeof call->where);
    call->repo = box->repo;
    if (box->repo == NULL) {
        struct lm_err err;

        lm_err_set(&err, LM_ERR_FAILED,
                   "the repo is used after its function has returned");
        lm_err_hint(&err, "Do not keep repo in a variable outside of the "
                          "function; each call gets its own.");
        lmL_raise(L, &err);
    }
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
    const struct lm_type *types;
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
push_field(lua_State *L, const struct reading *self, int row, int column)
{
    struct lm_err err;

    if (!lmL_push_value(L, &self->types[column],
                        lm_result_text(self->result, row, column),
                        lm_result_length(self->result, row, column), &err))
        raise_value(L, self, row, column, &err);
}

static void
push_row(lua_State *L, const struct reading *self, int row)
{
    lua_createtable(L, 0, self->columns);
    for (int i = 0; i < self->columns; i++) {
        if (lm_result_text(self->result, row, i) == NULL)
            continue;
        lua_rawgeti(L, self->names, i + 1);
        push_field(L, self, row, i);
        lua_rawset(L, -3);
    }
}

/* Looks the columns' types up; they stay on the stack. [-0, +1, raises] */
static void
push_types(lua_State *L, struct reading *self)
{
    struct lm_type *types =
        lua_newuserdatauv(L, (size_t)self->columns * sizeof *types, 0);
    struct lm_err err;

    for (int i = 0; i < self->columns; i++) {
        if (!lm_repo_type(self->repo, lm_result_column_type(self->result, i),
                          &types[i], &err))
            lmL_raise(L, &err);
    }
    self->types = types;
}

/* The first rows of a result, as luamig.strict makes them. [-0, +1, raises] */
static void
push_rows(lua_State *L, struct reading *self, int rows)
{
    luaL_checkstack(L, 16, "too many results");
    push_types(L, self);
    lua_getfield(L, LUA_REGISTRYINDEX, "luamig.strict.rows"); /* strict */
    lua_createtable(L, self->columns, 0);                     /* strict names */
    self->names = lua_gettop(L);
    for (int i = 0; i < self->columns; i++) {
        lua_pushstring(L, lm_result_column_name(self->result, i));
        lua_rawseti(L, self->names, i + 1);
    }
    lua_createtable(L, rows, 1); /* strict names rows */
    for (int row = 0; row < rows; row++) {
        push_row(L, self, row);
        lua_rawseti(L, -2, row + 1);
    }
    lua_insert(L, self->names); /* strict rows names */
    lua_call(L, 2, 1);          /* rows */
    lua_remove(L, -2);          /* the types */
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
lmL_push_handle(lua_State *L, int64_t affected)
{
    lua_createtable(L, 0, 1);
    lua_pushinteger(L, affected);
    lua_setfield(L, -2, "affected");
}

/* -- statements ------------------------------------------------------- */

static void
name_by_number(char *text, size_t size, int i, const void *arg)
{
    (void)arg;
    snprintf(text, size, "parameter $%d", i + 1);
}

static bool
encode_all(lua_State *L, struct lm_call *call, const struct lm_stmt *stmt,
           int first, lm_param_namer namer, const void *arg,
           struct lm_params *params, struct lm_err *err)
{
    for (int i = 0; i < lm_stmt_param_count(stmt); i++) {
        struct lm_type type;
        char name[256];

        if (!lm_repo_type(call->repo, lm_stmt_param_type(stmt, i), &type, err))
            return false;
        if (lm_params_add(params, L, first + i, &type, err))
            continue;
        namer(name, sizeof name, i, arg);
        lm_err_prefix(err, "%s", name);
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

bool
lm_call_run(lua_State *L, struct lm_call *call, const char *sql, int first,
            int count, lm_param_namer namer, const void *arg,
            struct lm_result **out, int64_t *affected, struct lm_err *err)
{
    struct lm_params params = {.count = 0};
    struct lm_result *result = NULL;
    struct lm_stmt *stmt;
    bool ok = lm_repo_prepare(call->repo, sql, &stmt, err);

    if (ok && lm_stmt_param_count(stmt) != count)
        ok = fail_param_count(stmt, count, err);
    ok = ok && encode_all(L, call, stmt, first, namer, arg, &params, err) &&
         lm_repo_execute(call->repo, stmt, lm_params_values(&params), &result,
                         err);
    lm_params_release(&params);
    if (!ok) {
        lm_call_note(call, err);
        return false;
    }
    if (affected != NULL)
        *affected = lm_result_affected(result);
    if (out != NULL) {
        *out = result;
    } else {
        lm_result_free(result);
    }
    return true;
}

/* Runs the statement at index sql with the arguments after it and leaves the
 * boxed result on the stack. */
static struct lm_result **
run_query(lua_State *L, struct lm_call *call)
{
    struct lm_result **box;
    struct lm_err err;
    const char *sql = lmL_check_text(L, 2);
    int count = lua_gettop(L) - 2;

    box = push_result_box(L);
    if (!lm_call_run(L, call, sql, 3, count, name_by_number, NULL, box, NULL,
                     &err))
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
    push_field(L, &reading, 0, 0);
    return 1;
}

static int
l_execute(lua_State *L)
{
    struct lm_call call;
    struct lm_err err;
    int64_t affected = 0;
    const char *sql;

    lmL_begin_call(L, &call);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &lm_vm_all_key);
    if (lua_rawequal(L, -1, 2))
        lua_remove(L, 2); /* "every row" is meant */
    lua_pop(L, 1);
    sql = lmL_check_text(L, 2);
    if (!lm_call_run(L, &call, sql, 3, lua_gettop(L) - 2, name_by_number, NULL,
                     NULL, &affected, &err))
        return lmL_raise(L, &err);
    lmL_push_handle(L, affected);
    return 1;
}

/* -- savepoints ------------------------------------------------------- */

static void
raise_if(lua_State *L, bool failed, const struct lm_err *err)
{
    if (failed)
        lmL_raise(L, err);
}

/* The function failed, or left the repo failed: error object at the top. */
static int
catch_error(lua_State *L, struct lm_call *call, int status)
{
    struct lm_err failure = call->repo->failure;
    struct lm_err err;
    bool latched = call->repo->failed;
    bool ok;

    if (lm_stop_level() >= 2 || status == LUA_ERRMEM)
        return lua_error(L);
    ok = lm_repo_savepoint_rollback(call->repo, &err);
    lm_call_note(call, &err);
    raise_if(L, !ok, &err);
    if (latched && status == LUA_OK) {
        /* The script swallowed it; hand out what it was. */
        lua_rawgetp(L, LUA_REGISTRYINDEX, &lm_vm_new_error_key);
        lua_newtable(L);
        lua_pushstring(L, failure.message);
        lua_setfield(L, -2, "message");
        lua_pushstring(L, failure.sqlstate);
        lua_setfield(L, -2, "sqlstate");
        lua_call(L, 1, 1);
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
    lua_rawgetp(L, LUA_REGISTRYINDEX, &lm_vm_handler_key);
    lua_replace(L, 1); /* handler fn args */
    status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 1);
    if (status != LUA_OK || call.repo->failed)
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

void
lmL_open_repo(lua_State *L)
{
    luaL_newmetatable(L, repo_type);
    luaL_newlib(L, methods);
    lmL_add_write_methods(L);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, repo_close);
    lua_setfield(L, -2, "__close");
    lua_pushstring(L, "luamig.repo");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);

    luaL_newmetatable(L, result_type);
    lua_pushcfunction(L, result_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, result_gc);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);

    lua_getglobal(L, "require");
    lua_pushstring(L, "luamig.strict");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "rows");
    lua_setfield(L, LUA_REGISTRYINDEX, "luamig.strict.rows");
    lua_pop(L, 1);
}
