/* SPDX-License-Identifier: MIT */

#include "script/vm/interpreter.h"

#include "base/log.h"
#include "script/vm/vm.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct program {
    int argc;
    char **argv;
};

/* The global arg, as lua itself sets it. */
static void
set_arg(lua_State *L, const struct program *program)
{
    lua_createtable(L, program->argc, 0);
    for (int i = 0; i < program->argc; i++) {
        lua_pushstring(L, program->argv[i]);
        lua_rawseti(L, -2, i);
    }
    lua_setglobal(L, "arg");
}

static int
run_file(lua_State *L)
{
    const struct program *program = lua_touserdata(L, 1);
    const char *file = program->argv[0];

    set_arg(L, program);
    if (strcmp(file, "-") == 0)
        file = NULL;
    if (luaL_loadfilex(L, file, "t") != LUA_OK)
        return lua_error(L);
    luaL_checkstack(L, program->argc, "too many arguments");
    for (int i = 1; i < program->argc; i++)
        lua_pushstring(L, program->argv[i]);
    lua_call(L, program->argc - 1, 0);
    return 0;
}

/* Runs one line: as an expression if it is one. */
static int
run_line(lua_State *L)
{
    const char *line = lua_touserdata(L, 1);
    int count;

    lua_pushfstring(L, "return %s", line);
    if (luaL_loadbufferx(L, lua_tostring(L, -1), lua_rawlen(L, -1), "=stdin",
                         "t") != LUA_OK) {
        lua_settop(L, 1);
        if (luaL_loadbufferx(L, line, strlen(line), "=stdin", "t") != LUA_OK)
            return lua_error(L);
    } else {
        lua_replace(L, 2);
        lua_settop(L, 2);
    }
    lua_call(L, 0, LUA_MULTRET);
    count = lua_gettop(L) - 1;
    if (count == 0)
        return 0;
    lua_getglobal(L, "print");
    lua_insert(L, 2);
    lua_call(L, count, 0);
    return 0;
}

static bool
call_with(lua_State *L, lua_CFunction function, void *arg, struct lm_err *err)
{
    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, arg);
    return lm_vm_call(L, 1, 0, err);
}

static void
run_lines(lua_State *L)
{
    bool prompt = isatty(STDIN_FILENO) == 1;
    char *line = NULL;
    size_t size = 0;
    struct lm_err err;

    for (;;) {
        if (prompt)
            fputs("> ", stdout);
        fflush(stdout);
        if (getline(&line, &size, stdin) < 0)
            break;
        if (!call_with(L, run_line, line, &err))
            lm_log_err(LM_LOG_ERROR, &err);
    }
    free(line);
}

bool
lm_interpreter_run(int argc, char **argv, struct lm_err *err)
{
    struct program program = {argc, argv};
    struct lm_vm vm;
    bool ok = lm_vm_init(&vm, err);

    if (ok && argc > 0) {
        ok = call_with(vm.L, run_file, &program, err);
    } else if (ok) {
        run_lines(vm.L);
    }
    lm_vm_release(&vm);
    return ok;
}
