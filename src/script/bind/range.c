/* SPDX-License-Identifier: MIT */
/*
 * The range that migrate_range gets: the keys between which its rows lie, as
 * tables, and where(), which makes a condition of them for the script's SQL.
 *
 * A range belongs to one call, as the repo does. Its keys are tables of the
 * script's own; where() takes its parameters from them.
 */

#include "core/page/page.h"
#include "script/bind/private.h"
#include "script/vm/vm.h"

#include <lauxlib.h>
#include <string.h>

/* The field of a range that has where, a table or nil. */
static const char *const ends[] = {"after", "upto"};

/* -- what the script gets --------------------------------------------------- */

/* [-0, +1, raises] */
static void
push_value(lua_State *L, struct lm_repo *repo, const struct lm_key *key, int i)
{
    const struct lm_base_query *query = lm_repo_paged(repo);
    const struct lm_type *type;
    struct lm_err err;

    if (lm_repo_type(repo, query->key_types[i], &type, &err) &&
        lmL_push_value(L, type, key->texts[i], strlen(key->texts[i]), &err))
        return;
    lm_err_prefix(&err, "key column \"%s\"", query->key[i]);
    lmL_raise(L, &err);
}

/* The strict table of a key, by column name. [-0, +1, raises] */
static void
push_key(lua_State *L, struct lm_repo *repo, const struct lm_key *key,
         const char *what)
{
    const struct lm_base_query *query = lm_repo_paged(repo);

    lua_getfield(L, LUA_REGISTRYINDEX, "luamig.strict.record");
    lua_pushstring(L, what);
    lua_createtable(L, 0, query->key_count);
    lua_createtable(L, query->key_count, 0); /* record what fields names */
    for (int i = 0; i < query->key_count; i++) {
        push_value(L, repo, key, i);
        lua_setfield(L, -3, query->key[i]);
        lua_pushstring(L, query->key[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_call(L, 3, 1);
}

/* -- where -------------------------------------------------------------------- */

/* The repo of the call that the range was made for; raises if that is over. */
static struct lm_repo *
check_range(lua_State *L, struct lm_binding *binding)
{
    if (lua_type(L, 1) != LUA_TTABLE ||
        lua_getfield(L, 1, ends[1]) != LUA_TTABLE) {
        luaL_error(L, "call range:where(...) with a colon");
    }
    lua_pop(L, 1);
    if (binding->open.repo == NULL || (lua_Integer)binding->open.number !=
                                          lua_tointeger(L, lua_upvalueindex(1)))
        luaL_error(L, "the range is used after its function has returned");
    return binding->open.repo;
}

/* The SQL for each key column that the table at index has; the array is a
 * userdata that stays on the stack. [-0, +1, raises] */
static const char *const *
push_columns(lua_State *L, int index, const struct lm_base_query *query)
{
    const char **columns =
        lua_newuserdatauv(L, (size_t)query->key_count * sizeof *columns, 0);
    int count = 0;

    for (int i = 0; i < query->key_count; i++) {
        lua_pushstring(L, query->key[i]);
        if (lua_rawget(L, index) != LUA_TSTRING) {
            luaL_error(L, "range:where has no SQL for the key column \"%s\"",
                       query->key[i]);
        }
        columns[i] = lmL_check_text(L, lua_gettop(L)); /* the table keeps it */
        lua_pop(L, 1);
    }
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1))
        count++;
    if (count > query->key_count)
        luaL_error(L, "range:where takes SQL for the key columns only");
    return columns;
}

/* The parameters, as a list: the fields of after, if it is there, and of upto.
 * [-0, +1, raises] */
static void
push_params(lua_State *L, const struct lm_base_query *query)
{
    lua_Integer count = 0;

    lua_createtable(L, 2 * query->key_count, 0);
    for (size_t end = 0; end < LM_COUNT(ends); end++) {
        lua_getfield(L, 1, ends[end]);
        for (int i = 0; !lua_isnil(L, -1) && i < query->key_count; i++) {
            lua_getfield(L, -1, query->key[i]);
            lua_rawseti(L, -3, ++count);
        }
        lua_pop(L, 1);
    }
}

/* range:where(table or columns, first parameter): SQL, and its parameters */
static int
l_where(lua_State *L)
{
    struct lm_binding *binding = lmL_binding_of(L);
    const struct lm_base_query *query = lm_repo_paged(check_range(L, binding));
    lua_Integer first = luaL_optinteger(L, 3, 1);
    struct lm_page_where where = {.first = (int)first};

    luaL_argcheck(L, first >= 1 && first <= LM_MAX_PARAMS, 3,
                  "the number of a parameter, from 1");
    if (lua_type(L, 2) == LUA_TTABLE) {
        where.columns = push_columns(L, 2, query);
    } else if (!lua_isnoneornil(L, 2)) {
        where.table = lmL_check_text(L, 2);
    }
    where.has_after = lua_getfield(L, 1, ends[0]) != LUA_TNIL;
    lm_buf_clear(&binding->text);
    lm_page_add_where(&binding->text, query, &where);
    lua_pushstring(L, lm_buf_text(&binding->text));
    push_params(L, query);
    return 2;
}

void
lmL_push_range(lua_State *L, struct lm_repo *repo,
               const struct lm_stretch *stretch)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "luamig.strict.record");
    lua_pushstring(L, "range");
    lua_createtable(L, 0, 3); /* record what range */
    if (!lm_key_is_empty(stretch->after)) {
        push_key(L, repo, stretch->after, "range.after");
        lua_setfield(L, -2, ends[0]);
    }
    push_key(L, repo, stretch->upto, "range.upto");
    lua_setfield(L, -2, ends[1]);
    lua_pushinteger(L, (lua_Integer)lmL_binding_of(L)->open.number);
    lua_pushcclosure(L, l_where, 1);
    lua_setfield(L, -2, "where");
    lua_createtable(L, 3, 0); /* record what range names */
    for (size_t i = 0; i < LM_COUNT(ends); i++) {
        lua_pushstring(L, ends[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_pushliteral(L, "where");
    lua_rawseti(L, -2, (lua_Integer)LM_COUNT(ends) + 1);
    lua_call(L, 3, 1);
}
