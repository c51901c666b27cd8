/* SPDX-License-Identifier: MIT */
/*
 * "luamig test": busted in the interpreter that scripts run in.
 *
 * Busted ends the process when a spec fails, after closing the Lua state: so
 * the throw-away server belongs to a userdata, and is gone by then.
 */

#include "testing/tester.h"

#include "base/log.h"
#include "core/journal/journal.h"
#include "script/value/fields.h"
#include "script/vm/vm.h"
#include "testing/world.h"

#include <lauxlib.h>
#include <signal.h>
#include <string.h>

struct tester {
    const struct lm_tester_options *options;
    int count;
    char **args;
    struct lm_sites sites;
    bool failed; /* before busted was there */
    struct lm_err err;
};

static const char scratch_type[] = "luamig.scratch";

static int
scratch_gc(lua_State *L)
{
    struct lm_scratch **box = lua_touserdata(L, 1);

    lm_scratch_free(*box);
    *box = NULL;
    return 0;
}

/* The journal is in the template, so that no run needs to make it. That of a
 * schema file has no rows, and could not be used. */
static bool
install_journal(const char *conninfo, struct lm_err *err)
{
    struct lm_conn_options how = {.application_name = "luamig test",
                                  .interruptible = true};
    struct lm_journal journal = {.schema = "luamig",
                                 .lease_ms = 60000,
                                 .published = LM_JOURNAL_PUBLISHED_ALLOW};
    bool ok;

    if (!lm_conn_open(&journal.conn, conninfo, &how, err))
        return false;
    ok = lm_conn_script(journal.conn, "DROP SCHEMA IF EXISTS luamig CASCADE",
                        err) &&
         lm_journal_install(&journal, err);
    lm_conn_close(journal.conn);
    return ok;
}

/* Raises our own error, whose kind Lua does not know. */
static void
fail(lua_State *L, struct tester *self, const struct lm_err *err)
{
    self->failed = true;
    self->err = *err;
    lmL_raise(L, err);
}

/* Starts the server and keeps it in the registry. */
static void
open_worlds(lua_State *L, struct tester *self)
{
    struct lm_scratch **box = lua_newuserdatauv(L, sizeof(void *), 0);
    struct lm_err err;

    *box = NULL;
    luaL_newmetatable(L, scratch_type);
    lua_pushcfunction(L, scratch_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    luaL_ref(L, LUA_REGISTRYINDEX);
    if (!lm_scratch_start(box, self->options->schema_file, &err) ||
        !install_journal(lm_scratch_template(*box), &err))
        fail(L, self, &err);
    lmL_open_worlds(L, *box, &self->sites);
    lua_getglobal(L, "require");
    lua_pushstring(L, "luamig.pg_world");
    lua_call(L, 1, 0);
}

/* Sets the table from which busted reads its arguments. luamig ignores the
 * interpreter that a file .busted may name. */
static void
set_arg(lua_State *L, const struct tester *self)
{
    lua_createtable(L, self->count + 1, 1);
    lua_pushstring(L, "luamig test");
    lua_rawseti(L, -2, 0);
    lua_pushstring(L, "--ignore-lua");
    lua_rawseti(L, -2, 1);
    for (int i = 0; i < self->count; i++) {
        lua_pushstring(L, self->args[i]);
        lua_rawseti(L, -2, i + 2);
    }
    lua_setglobal(L, "arg");
}

static int
find_busted(lua_State *L)
{
    lmL_require(L, "busted.runner");
    return 1;
}

static void
push_busted(lua_State *L, struct tester *self)
{
    struct lm_err err;

    lua_pushcfunction(L, find_busted);
    if (lua_pcall(L, 0, 1, 0) == LUA_OK)
        return;
    lm_err_set(&err, LM_ERR_USAGE, "could not load busted");
    lm_err_detail(&err, "%.*s", (int)strcspn(lua_tostring(L, -1), "\n"),
                  lua_tostring(L, -1));
    lm_err_hint(&err, "Install it (Debian, Ubuntu: apt-get install "
                      "lua-busted), or set LUA_PATH to where it is.");
    fail(L, self, &err);
}

static int
test(lua_State *L)
{
    static const char chunk[] =
        "local run = ...; return run { standalone = false }";
    struct tester *self = lua_touserdata(L, 1);

    push_busted(L, self);
    if (self->options->pg)
        open_worlds(L, self);
    set_arg(L, self);
    if (luaL_loadbufferx(L, chunk, sizeof chunk - 1, "=luamig test", "t") !=
        LUA_OK)
        return lua_error(L);
    lua_insert(L, -2);
    lua_call(L, 1, 0);
    return 0;
}

bool
lm_tester_run(const struct lm_tester_options *options, int count, char **args,
              bool *passed, struct lm_err *err)
{
    struct tester self = {.options = options, .count = count, .args = args};
    struct lm_vm vm;
    bool ok;

    /* Nothing here is worth more than the time of who presses Ctrl-C. */
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    lm_log_set_level(LM_LOG_ERROR);
    ok = lm_vm_init(&vm, err);
    if (ok) {
        lua_pushcfunction(vm.L, test);
        lua_pushlightuserdata(vm.L, &self);
        ok = lm_vm_call(vm.L, 1, 0, err);
    }
    if (self.failed)
        *err = self.err;
    *passed = ok;
    lm_vm_release(&vm);
    lm_sites_release(&self.sites);
    return ok;
}
