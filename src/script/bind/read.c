/* SPDX-License-Identifier: MIT */
/*
 * repo:get and repo:select: rows of a table by equalities. They are queries, so
 * they wait for all earlier writes.
 */

#include "core/repo/write.h"
#include "script/bind/private.h"
#include "script/vm/vm.h"

#include <lauxlib.h>

/* What is read. */
struct reading {
    struct lm_columns columns; /* for messages */
    struct lm_names wanted;    /* no names: all columns */
    int most;                  /* rows; 0: all */
};

/* Reads what has the condition, whose values are the last on the stack. Leaves
 * the boxed result there, to be closed. */
static const struct lm_result *
read_or_raise(lua_State *L, struct lm_call *call, const struct reading *reading,
              const struct lm_condition *condition)
{
    struct lm_call_names names = {lm_name_by_column, &reading->columns};
    int first = lua_gettop(L) - condition->count + 1;
    struct lm_result **box = lmL_push_result_box(L);
    struct lm_buf where = LM_BUF_INIT;
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_err err;
    const char *text =
        lmL_condition_text(L, call, reading->columns.table, condition, &where);
    bool ok = lm_write_select(&sql, reading->columns.table, reading->wanted,
                              text, reading->most);

    lm_buf_release(&where);
    ok = ok ? lm_call_run(L, call, lm_buf_text(&sql), first, condition->count,
                          names, box, &err)
            : lm_call_fail_table(call, reading->columns.table, &err);
    lm_buf_release(&sql);
    if (!ok)
        lmL_raise(L, &err);
    lua_toclose(L, lua_gettop(L));
    return *box;
}

static int
l_get(lua_State *L)
{
    struct lm_call call;
    struct reading reading = {.columns = {.L = L, .key_table = 3}, .most = 2};
    struct lm_condition condition = {.sql = NULL};
    const struct lm_result *result;

    lmL_begin_call(L, &call);
    lua_settop(L, 4);
    reading.columns.table = lmL_check_text(L, 2);
    lmL_check_table(L, 3, "get", "the key");
    reading.wanted = lmL_push_columns(L, 4, "get");
    condition.names = reading.columns.key = lmL_push_names(L, 3, lm_the_key);
    condition.count = condition.names.count;
    lmL_check_key(L, 3, condition.names, "get");
    lmL_check_site(L, &call, "get", lm_the_key, condition.names);
    lmL_push_fields(L, 3, condition.names);
    result = read_or_raise(L, &call, &reading, &condition);
    if (lm_result_rows(result) > 1) {
        luaL_error(L,
                   "repo:get got more than one row of \"%s\"; name all columns "
                   "of a unique key, or use repo:select",
                   reading.columns.table);
    }
    lmL_push_result(L, call.repo, result);
    lua_rawgeti(L, -1, 1);
    return 1;
}

static int
l_select(lua_State *L)
{
    struct lm_call call;
    struct reading reading = {.columns = {.L = L}};
    struct lm_condition condition;

    lmL_begin_call(L, &call);
    lua_settop(L, 4);
    reading.columns.table = lmL_check_text(L, 2);
    if (lua_type(L, 3) == LUA_TSTRING) {
        luaL_error(L, "repo:select: the condition is a string; pass a table of "
                      "columns or luamig.ALL, or use repo:query for SQL");
    }
    reading.wanted = lmL_push_columns(L, 4, "select");
    lmL_push_condition(L, &call, 3, 3, "select", &condition);
    reading.columns.offset = condition.count;
    reading.columns.condition = &condition;
    lmL_push_result(L, call.repo,
                    read_or_raise(L, &call, &reading, &condition));
    return 1;
}

const luaL_Reg lm_bind_read_methods[] = {
    {"get", l_get}, {"select", l_select}, {NULL, NULL}};
