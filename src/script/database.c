/* SPDX-License-Identifier: MIT */

#include "script/database.h"

#include "pg/conn/txn.h"
#include "script/bind/bind.h"
#include "script/vm/vm.h"

#include <lauxlib.h>
#include <stdlib.h>

static const char database_type[] = "luamig.database";

struct database {
    char *conninfo;
    struct lm_conn *conn; /* NULL: closed */
    struct lm_repo *repo; /* NULL: closed */
    lm_database_closed closed;
    void *arg;
};

static int
database_close(lua_State *L)
{
    struct database *self = luaL_checkudata(L, 1, database_type);

    lm_repo_free(self->repo);
    self->repo = NULL;
    lm_conn_close(self->conn);
    self->conn = NULL;
    if (self->closed != NULL)
        self->closed(self->arg, self->conninfo);
    self->closed = NULL;
    free(self->conninfo);
    self->conninfo = NULL;
    return 0;
}

static struct database *
check_database(lua_State *L, int index)
{
    struct database *self = luaL_checkudata(L, index, database_type);

    if (self->conn == NULL)
        luaL_error(L, "the database is closed");
    return self;
}

void
lmL_push_database(lua_State *L, const char *conninfo, lm_database_closed closed,
                  void *arg)
{
    struct lm_conn_options how = {.application_name = "luamig",
                                  .interruptible = true};
    struct database *self = lua_newuserdatauv(L, sizeof *self, 0);
    struct lm_err err;

    self->conninfo = lm_strdup(conninfo);
    self->conn = NULL;
    self->closed = closed;
    self->arg = arg;
    self->repo = lm_repo_new(&(struct lm_repo_options){.is_own = true});
    luaL_setmetatable(L, database_type);
    if (!lm_conn_open(&self->conn, conninfo, &how, &err))
        lmL_raise(L, &err);
}

struct lm_conn *
lmL_database_conn(lua_State *L, int index)
{
    return check_database(L, index)->conn;
}

const char *
lmL_database_conninfo(lua_State *L, int index)
{
    return check_database(L, index)->conninfo;
}

static int
l_script(lua_State *L)
{
    struct database *self = check_database(L, 1);
    const char *sql = lmL_check_text(L, 2);
    struct lm_err err;

    /* Prepared statements may have another meaning now. */
    if (!lm_conn_script(self->conn, sql, &err) ||
        !lm_conn_forget(self->conn, &err))
        return lmL_raise(L, &err);
    return 0;
}

/* fn(repo), at indices 2 and 3: in the transaction that has begun. */
static bool
call_with_repo(lua_State *L, struct database *self, struct lm_err *err)
{
    bool raised = lua_pcall(L, 1, LUA_MULTRET, 0) != LUA_OK;

    if (lm_repo_failure(self->repo) == NULL && !raised &&
        lm_repo_flush(self->repo, err)) {
        lm_repo_close(self->repo);
        return lm_conn_commit(self->conn, "", "", err);
    }
    lm_repo_close(self->repo);
    lm_conn_rollback(self->conn);
    if (lm_repo_failure(self->repo) != NULL) {
        *err = *lm_repo_failure(self->repo);
    } else if (raised) {
        err->kind = LM_ERR_NONE; /* the error is on the stack */
    }
    return false;
}

static int
l_transact(lua_State *L)
{
    struct database *self = check_database(L, 1);
    struct lm_txn txn = {.isolation = "read committed",
                         .timezone = luaL_optstring(L, 3, NULL),
                         .row_security = true};
    struct lm_repo_use use = {NULL};
    struct lm_err err;

    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 3);
    lmL_push_repo(L, self->repo); /* at 4 */
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 4);
    if (!lm_txn_begin(self->conn, &txn, &err) ||
        !lm_repo_open(self->repo, self->conn, &use, &err)) {
        lm_conn_rollback(self->conn);
        return lmL_raise(L, &err);
    }
    if (!call_with_repo(L, self, &err))
        return err.kind == LM_ERR_NONE ? lua_error(L) : lmL_raise(L, &err);
    return lua_gettop(L) - 4;
}

void
lmL_add_database_method(lua_State *L, const char *name, lua_CFunction method,
                        void *arg)
{
    luaL_getmetatable(L, database_type);
    lua_getfield(L, -1, "__index");
    lua_pushlightuserdata(L, arg);
    lua_pushcclosure(L, method, 1);
    lua_setfield(L, -2, name);
    lua_pop(L, 2);
}

void
lmL_open_databases(lua_State *L, struct lm_sites *sites)
{
    static const luaL_Reg methods[] = {{"script", l_script},
                                       {"transact", l_transact},
                                       {"close", database_close},
                                       {NULL, NULL}};

    lmL_open_repo(L, sites);
    luaL_newmetatable(L, database_type);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, database_close);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}
