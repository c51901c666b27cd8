/* SPDX-License-Identifier: MIT */

#include "script/declare.h"

#include "script/bind/sites.h"
#include "script/database.h"
#include "script/value/fields.h"
#include "script/vm/vm.h"

#include <lauxlib.h>

struct question {
    const char *conninfo;
    const char *const *tables;
    int count;
    struct lm_buf *out;
    struct lm_sites sites;
};

static int
declare(lua_State *L)
{
    struct question *self = lua_touserdata(L, 1);
    size_t len;
    const char *text;

    lmL_open_databases(L, &self->sites);
    lmL_require(L, "luamig.pg_world.catalog");
    lua_getfield(L, -1, "declarations");
    lmL_push_database(L, self->conninfo, NULL, NULL);
    lua_createtable(L, self->count, 0);
    for (int i = 0; i < self->count; i++) {
        lua_pushstring(L, self->tables[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_call(L, 2, 1);
    text = luaL_checklstring(L, -1, &len);
    lm_buf_add(self->out, text, len);
    return 0;
}

bool
lm_declare_tables(const char *conninfo, const char *const *tables, int count,
                  struct lm_buf *out, struct lm_err *err)
{
    struct question self = {
        .conninfo = conninfo, .tables = tables, .count = count, .out = out};
    struct lm_vm vm;
    bool ok = lm_vm_init(&vm, err);

    if (ok) {
        lua_pushcfunction(vm.L, declare);
        lua_pushlightuserdata(vm.L, &self);
        ok = lm_vm_call(vm.L, 1, 0, err);
    }
    lm_vm_release(&vm);
    lm_sites_release(&self.sites);
    return ok;
}
