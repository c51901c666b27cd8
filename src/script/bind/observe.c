/* SPDX-License-Identifier: MIT */
/*
 * Observed calls: each method of the repo is put into a C function, which the
 * stack of Lua does not show, so that positions and patterns stay those of the
 * script.
 */

#include "script/bind/observe.h"

#include "script/bind/bind.h"
#include "script/vm/vm.h"

#include <lauxlib.h>

static const struct lm_observer *
observer_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(2));
}

static int
raise(lua_State *L, const struct lm_seen *seen, struct lm_err *err)
{
    if (err->where[0] == '\0')
        LM_ERR_COPY(err->where, seen->where);
    lm_repo_note_place(seen->repo, seen->where);
    return lmL_raise(L, err);
}

/* Calls the method with everything on the stack; the results replace it. */
static int
pass_on(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* Calls the method and waits for what it has posted. False leaves the error
 * object alone on the stack. */
static bool
call_and_wait(lua_State *L, const struct lm_seen *seen)
{
    struct lm_err err;

    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    if (lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0) != LUA_OK)
        return false;
    if (lm_repo_failure(seen->repo) != NULL || lm_repo_flush(seen->repo, &err))
        return true;
    if (err.where[0] == '\0')
        LM_ERR_COPY(err.where, seen->where);
    lua_settop(L, 0);
    lmL_push_error(L, &err);
    return false;
}

/* The line of the script that calls. */
static void
find_line(lua_State *L, struct lm_seen *seen)
{
    lua_Debug info;

    seen->file = "";
    lmL_where(L, 1, seen->where, sizeof seen->where);
    for (int level = 1; lua_getstack(L, level, &info) != 0; level++) {
        lua_getinfo(L, "Sl", &info);
        if (info.currentline <= 0)
            continue;
        seen->file = info.source + (*info.source == '@');
        seen->line = info.currentline;
        return;
    }
}

static int
observed(lua_State *L)
{
    const struct lm_observer *observer = observer_of(L);
    struct lm_repo *source = lmL_source_at(L, 1);
    struct lm_repo *repo = source != NULL ? source : lmL_open_repo_of(L);
    struct lm_seen seen = {.L = L,
                           .repo = repo,
                           .source = source != NULL,
                           .verb = lua_tostring(L, lua_upvalueindex(3)),
                           .first = 2,
                           .count = lua_gettop(L) - 1};
    struct lm_err err;

    if (repo == NULL || lm_repo_failure(repo) != NULL)
        return pass_on(L);
    find_line(L, &seen);
    if (!observer->before(observer->arg, &seen, &err))
        return raise(L, &seen, &err);
    seen.ok = call_and_wait(L, &seen);
    seen.first = 1;
    seen.count = lua_gettop(L);
    if (!observer->after(observer->arg, &seen, &err))
        return raise(L, &seen, &err);
    return seen.ok ? lua_gettop(L) : lua_error(L);
}

static int
observed_words(lua_State *L)
{
    const struct lm_observer *observer = observer_of(L);
    int count = lua_gettop(L);

    luaL_checkstack(L, count + 1, "too many arguments");
    lua_pushvalue(L, lua_upvalueindex(1));
    for (int i = 1; i <= count; i++)
        lua_pushvalue(L, i);
    lua_call(L, count, 0);
    observer->said(observer->arg, lua_tostring(L, lua_upvalueindex(3)), L);
    return 0;
}

/* Replaces the function at the top. */
static void
wrap(lua_State *L, lua_CFunction function, const struct lm_observer *observer,
     const char *verb)
{
    lua_pushlightuserdata(L, (void *)observer);
    lua_pushstring(L, verb);
    lua_pushcclosure(L, function, 3);
}

static void
observe_type(lua_State *L, const struct lm_observer *observer, const char *type)
{
    luaL_getmetatable(L, type);
    lua_getfield(L, -1, "__index");
    lua_pushnil(L);
    while (lua_next(L, -2) != 0) {
        const char *verb = lua_tostring(L, -2);

        wrap(L, observed, observer, verb);
        lua_setfield(L, -3, verb); /* a field that exists */
    }
    lua_pop(L, 2);
}

void
lmL_observe_repo(lua_State *L, const struct lm_observer *observer)
{
    observe_type(L, observer, LM_REPO_TYPE);
    observe_type(L, observer, LM_SOURCE_TYPE);
}

void
lmL_observe_words(lua_State *L, const struct lm_observer *observer,
                  const char *verb)
{
    wrap(L, observed_words, observer, verb);
}
