/* SPDX-License-Identifier: MIT */
/*
 * The arguments of the structured writes: tables of columns, their options,
 * and conditions. They are read and checked before anything is written.
 *
 * A table of columns becomes two things on the Lua stack: a userdata with the
 * sorted names, and the values in that order. Sorting makes the SQL depend on
 * the shape alone, so that each shape is prepared once. All memory belongs to
 * Lua; each function may raise, and C owns nothing then.
 *
 * Refused are arguments that would write other rows than the author wanted: an
 * empty key or condition, a NULL in the key, a condition that is nil, and a
 * key or condition without a column that the same line has passed before. For
 * changes without such a column, luamig warns.
 */

#include "base/log.h"
#include "script/bind/private.h"
#include "script/value/marks.h"
#include "script/vm/vm.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

/* -- columns ---------------------------------------------------------- */

static int
compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int
count_fields(lua_State *L, int index)
{
    int count = 0;

    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_pop(L, 1);
        count++;
    }
    return count;
}

struct lm_names
lmL_push_names(lua_State *L, int index, const char *what)
{
    int count = count_fields(L, index);
    const char **names =
        lua_newuserdatauv(L, (size_t)(count + 1) * sizeof *names, 0);
    struct lm_names result = {names, 0};

    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING) {
            luaL_error(L, "%s must have column names as keys, not a %s", what,
                       luaL_typename(L, -1));
        }
        if (result.count == count) /* a finalizer has added to it */
            luaL_error(L, "%s changed while they were read", what);
        names[result.count++] = lmL_check_text(L, -1);
    }
    qsort(names, (size_t)result.count, sizeof *names, compare_names);
    return result;
}

static void
fail_list(lua_State *L, const char *method, const char *what)
{
    luaL_error(L, "repo:%s: %s must be a list of column names", method, what);
}

/* The strings of the list at index, in its order. [-0, +1, raises] */
static struct lm_names
push_list(lua_State *L, int index, const char *method, const char *what)
{
    int count = (int)lua_rawlen(L, index);
    const char **names =
        lua_newuserdatauv(L, (size_t)(count + 1) * sizeof *names, 0);
    struct lm_names result = {names, count};
    lua_Integer length;

    if (!lm_mark_is_list(L, index, &length))
        fail_list(L, method, what);
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, index, i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            fail_list(L, method, what);
        names[i] = lmL_check_text(L, -1);
        lua_pop(L, 1);
    }
    return result;
}

void
lmL_push_fields(lua_State *L, int index, struct lm_names names)
{
    luaL_checkstack(L, names.count + 4, "too many columns");
    for (int i = 0; i < names.count; i++) {
        lua_pushstring(L, names.names[i]);
        lua_rawget(L, index);
    }
}

static bool
is_sentinel(lua_State *L, int index, const void *key)
{
    bool equal;

    index = lua_absindex(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, key);
    equal = lua_rawequal(L, -1, index) != 0;
    lua_pop(L, 1);
    return equal;
}

void
lmL_check_table(lua_State *L, int index, const char *method, const char *what)
{
    bool is_table = lua_istable(L, index);
    enum lm_mark mark = is_table ? lm_mark_of(L, index) : LM_MARK_NONE;

    if (is_table && mark != LM_MARK_NULL && mark != LM_MARK_ALL)
        return;
    luaL_error(L, "repo:%s: %s must be a table, not %s", method, what,
               is_table ? luaL_tolstring(L, index, NULL)
                        : luaL_typename(L, index));
}

static void
check_not_empty(lua_State *L, struct lm_names names, const char *method,
                const char *what, const char *advice)
{
    if (names.count == 0)
        luaL_error(L, "repo:%s: %s is empty%s", method, what, advice);
}

#define NIL_IS_ABSENT ": a Lua table drops a field whose value is nil"

const char lm_the_key[] = "the key";
const char lm_the_changes[] = "the changes";
static const char the_condition[] = "the condition";

void
lmL_check_site(lua_State *L, const struct lm_call *call, const char *method,
               const char *what, struct lm_names names)
{
    struct lm_err err;
    bool first;
    const char *missing = lm_site_note(call->site, what, names, &first);

    if (missing == NULL)
        return;
    lm_err_set(&err, LM_ERR_FAILED,
               "repo:%s: column \"%s\" is missing from %s; this line passed it "
               "before",
               method, missing, what);
    lm_err_hint(&err, "A Lua table drops a field whose value is nil. If you "
                      "want NULL, write luamig.or_null(value). Put calls with "
                      "other columns on lines of their own.");
    if (what != lm_the_changes)
        lmL_raise(L, &err);
    if (first) {
        LM_ERR_COPY(err.where, call->where);
        lm_log_err(LM_LOG_WARNING, &err);
    }
}

void
lmL_check_changes(lua_State *L, struct lm_names changes, const char *method)
{
    check_not_empty(L, changes, method, "the table of changes",
                    NIL_IS_ABSENT "; for NULL, write luamig.NULL");
}

void
lmL_split_changes(lua_State *L, int index, struct lm_names all,
                  struct lm_form *form)
{
    const size_t count = (size_t)all.count;
    const char **names =
        lua_newuserdatauv(L, count * (3 * sizeof *names + sizeof(bool)) + 1, 0);
    const char **copied = names + count;
    const char **sources = copied + count;
    bool *sums = (bool *)(sources + count);

    form->changes = (struct lm_names){names, 0};
    form->copied = (struct lm_names){copied, 0};
    form->sources = (struct lm_names){sources, 0};
    form->sums = NULL;
    for (int i = 0; i < all.count; i++) {
        enum lm_mark mark;
        size_t len;

        lua_pushstring(L, all.names[i]);
        lua_rawget(L, index);
        mark = lm_mark_of(L, -1);
        if (mark == LM_MARK_COLUMN) {
            copied[form->copied.count++] = all.names[i];
            sources[form->sources.count++] = lm_mark_text(L, -1, &len);
        } else {
            sums[form->changes.count] = mark == LM_MARK_ADD;
            names[form->changes.count++] = all.names[i];
            if (mark == LM_MARK_ADD)
                form->sums = sums;
        }
        lua_pop(L, 1);
    }
}

void
lmL_push_changes(lua_State *L, int index, const struct lm_form *form)
{
    int first = lua_gettop(L) + 1;

    lmL_push_fields(L, index, form->changes);
    for (int i = 0; form->sums != NULL && i < form->changes.count; i++) {
        if (!form->sums[i])
            continue;
        lm_mark_push(L, first + i);
        lua_replace(L, first + i);
    }
}

void
lmL_check_key(lua_State *L, int index, struct lm_names key, const char *method)
{
    check_not_empty(L, key, method, "the key", NIL_IS_ABSENT);
    for (int i = 0; i < key.count; i++) {
        lua_pushstring(L, key.names[i]);
        lua_rawget(L, index);
        if (is_sentinel(L, -1, &lm_vm_null_key)) {
            luaL_error(L,
                       "repo:%s: key column \"%s\" is NULL, and no row is "
                       "equal to NULL",
                       method, key.names[i]);
        }
        lua_pop(L, 1);
    }
}

/* -- options ---------------------------------------------------------- */

/* The value of the option missing, at the top. */
static void
check_ignore(lua_State *L, const char *method)
{
    if (lua_type(L, -1) != LUA_TSTRING ||
        strcmp(lua_tostring(L, -1), "ignore") != 0) {
        luaL_error(L, "repo:%s: option \"missing\" must be \"ignore\"", method);
    }
}

bool
lmL_read_missing(lua_State *L, int index, const char *method)
{
    bool may_miss = false;

    if (lua_isnoneornil(L, index))
        return false;
    lmL_check_table(L, index, method, "the options");
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING ||
            strcmp(lua_tostring(L, -2), "missing") != 0) {
            luaL_error(L,
                       "repo:%s: unknown option \"%s\"; did you mean "
                       "\"missing\"?",
                       method, luaL_tolstring(L, -2, NULL));
        }
        check_ignore(L, method);
        may_miss = true;
        lua_pop(L, 1);
    }
    return may_miss;
}

/* Is a text that is not empty at the top? */
static bool
is_sql(lua_State *L)
{
    const char *text =
        lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";

    return text[strspn(text, " \t\r\n\v\f")] != '\0';
}

/* One field of on_conflict: its value is at the top. */
static void
check_conflict_field(lua_State *L, const char *name, const char *method)
{
    static const char *const lists[] = {"columns", "update", "add"};
    bool is_list = false;

    for (size_t i = 0; i < LM_COUNT(lists); i++)
        is_list = is_list || strcmp(name, lists[i]) == 0;
    if (!is_list && strcmp(name, "where") != 0) {
        luaL_error(L, "repo:%s: on_conflict has an unknown field \"%s\"",
                   method, name);
    }
    if (!is_list && !is_sql(L)) {
        luaL_error(L,
                   "repo:%s: on_conflict.where must be SQL, the condition of "
                   "the partial index",
                   method);
    }
    if (is_list && lua_type(L, -1) != LUA_TTABLE) {
        luaL_error(L, "repo:%s: on_conflict.%s must be a list of column names",
                   method, name);
    }
}

static void
fail_conflict(lua_State *L, const char *method)
{
    luaL_error(L,
               "repo:%s: on_conflict must be \"nothing\" or a table with "
               "columns and update or add",
               method);
}

/* A list of on_conflict, the table at index; no names if it is not there. What
 * it finds stays on the stack. */
static struct lm_names
push_conflict_list(lua_State *L, int index, const char *method,
                   const char *field, const char *shown)
{
    struct lm_names names = {NULL, 0};

    lua_getfield(L, index, field);
    if (lua_isnil(L, -1))
        return names;
    names = push_list(L, lua_gettop(L), method, shown);
    check_not_empty(L, names, method, shown, "");
    return names;
}

/* on_conflict = { columns = {...}, where = "...", update = {...}, add = {...} }:
 * the table at index. */
static void
read_conflict_table(lua_State *L, int index, const char *method,
                    struct lm_form *form)
{
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        check_conflict_field(
            L, lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?",
            method);
        lua_pop(L, 1);
    }
    lua_getfield(L, index, "where");
    if (!lua_isnil(L, -1))
        form->target_where = lmL_check_text(L, lua_gettop(L));
    form->target =
        push_conflict_list(L, index, method, "columns", "on_conflict.columns");
    form->overwritten =
        push_conflict_list(L, index, method, "update", "on_conflict.update");
    form->summed =
        push_conflict_list(L, index, method, "add", "on_conflict.add");
    if (form->target.count == 0 ||
        form->overwritten.count + form->summed.count == 0)
        fail_conflict(L, method);
    form->conflict = LM_CONFLICT_UPDATE;
}

static void
push_conflict(lua_State *L, int index, const char *method, struct lm_form *form)
{
    lua_getfield(L, index, "on_conflict");
    if (lua_type(L, -1) == LUA_TTABLE) {
        read_conflict_table(L, lua_gettop(L), method, form);
    } else if (lua_type(L, -1) == LUA_TSTRING &&
               strcmp(lua_tostring(L, -1), "nothing") == 0) {
        form->conflict = LM_CONFLICT_NOTHING;
    } else if (!lua_isnil(L, -1)) {
        fail_conflict(L, method);
    }
}

struct lm_names
lmL_push_columns(lua_State *L, int index, const char *method)
{
    struct lm_names none = {NULL, 0};
    struct lm_names columns;

    if (lua_isnoneornil(L, index))
        return none;
    lmL_check_table(L, index, method, "the options");
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING ||
            strcmp(lua_tostring(L, -2), "columns") != 0) {
            luaL_error(L,
                       "repo:%s: unknown option \"%s\"; did you mean "
                       "\"columns\"?",
                       method, luaL_tolstring(L, -2, NULL));
        }
        if (lua_type(L, -1) != LUA_TTABLE) {
            fail_list(L, method, "columns");
        }
        lua_pop(L, 1);
    }
    lua_getfield(L, index, "columns");
    if (lua_isnil(L, -1))
        return none;
    columns = push_list(L, lua_gettop(L), method, "columns");
    check_not_empty(L, columns, method, "columns", "");
    return columns;
}

static void
push_returning(lua_State *L, int index, const char *method,
               struct lm_form *form)
{
    lua_getfield(L, index, "returning");
    if (lua_isnil(L, -1))
        return;
    if (lua_type(L, -1) != LUA_TTABLE) {
        fail_list(L, method, "returning");
    }
    form->returned = push_list(L, lua_gettop(L), method, "returning");
    check_not_empty(L, form->returned, method, "returning", "");
}

void
lmL_push_insert_options(lua_State *L, int index, const char *method,
                        bool may_return, struct lm_form *form)
{
    if (lua_isnoneornil(L, index))
        return;
    lmL_check_table(L, index, method, "the options");
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        const char *name =
            lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";

        if (strcmp(name, "missing") == 0) {
            check_ignore(L, method);
            form->may_miss = true;
        } else if (strcmp(name, "on_conflict") != 0 &&
                   !(may_return && strcmp(name, "returning") == 0)) {
            luaL_error(L, "repo:%s: unknown option \"%s\"; the options are %s",
                       method, luaL_tolstring(L, -2, NULL),
                       may_return
                           ? "\"on_conflict\", \"missing\" and \"returning\""
                           : "\"on_conflict\" and \"missing\"");
        }
        lua_pop(L, 1);
    }
    push_conflict(L, index, method, form);
    push_returning(L, index, method, form);
}

/* -- conditions ------------------------------------------------------- */

/* SQL with $1 ... and the values after it, which are pushed. */
static void
push_sql_condition(lua_State *L, int index, int last, const char *method,
                   struct lm_condition *condition)
{
    condition->sql = lmL_check_text(L, index);
    if (condition->sql[strspn(condition->sql, " \t\r\n")] == '\0') {
        luaL_error(
            L,
            "repo:%s: the condition is empty; for every row, pass luamig.ALL",
            method);
    }
    condition->count = last - index;
    luaL_checkstack(L, condition->count + 4, "too many parameters");
    for (int i = index + 1; i <= last; i++)
        lua_pushvalue(L, i);
}

/* { status = "new", owner = luamig.NULL }: equal, or IS NULL. */
static void
push_equality(lua_State *L, const struct lm_call *call, int index,
              const char *method, struct lm_condition *condition)
{
    bool *nulls;
    int base;

    condition->names = lmL_push_names(L, index, the_condition);
    check_not_empty(L, condition->names, method, the_condition,
                    NIL_IS_ABSENT "; for every row, pass luamig.ALL");
    nulls =
        lua_newuserdatauv(L, (size_t)condition->names.count * sizeof *nulls, 0);
    base = lua_gettop(L);
    lmL_push_fields(L, index, condition->names);
    condition->count = 0;
    for (int i = 0; i < condition->names.count; i++) {
        int value = base + 1 + condition->count;

        nulls[i] = is_sentinel(L, value, &lm_vm_null_key);
        if (nulls[i]) {
            lua_remove(L, value);
        } else {
            condition->count++;
        }
    }
    condition->nulls = nulls;
    lmL_check_site(L, call, method, the_condition, condition->names);
}

void
lmL_push_condition(lua_State *L, struct lm_call *call, int index, int last,
                   const char *method, struct lm_condition *condition)
{
    memset(condition, 0, sizeof *condition);
    call->every_row = last >= index && is_sentinel(L, index, &lm_vm_all_key);
    if (call->every_row)
        return;
    if (last >= index && lua_type(L, index) == LUA_TSTRING) {
        push_sql_condition(L, index, last, method, condition);
    } else if (last >= index && lua_type(L, index) == LUA_TTABLE &&
               !is_sentinel(L, index, &lm_vm_null_key)) {
        push_equality(L, call, index, method, condition);
    } else {
        luaL_error(L,
                   "repo:%s: the condition is %s; pass a table of columns, "
                   "SQL with $1, or luamig.ALL for every row",
                   method,
                   last < index || lua_isnil(L, index)
                       ? "missing or nil"
                       : luaL_typename(L, index));
    }
}

const char *
lmL_condition_text(lua_State *L, struct lm_call *call, const char *table,
                   const struct lm_condition *condition, struct lm_buf *where)
{
    struct lm_form form = {.verb = LM_VERB_DELETE,
                           .table = table,
                           .key = condition->names,
                           .may_miss = true};
    struct lm_shape *shape = NULL;
    struct lm_err err;

    if (condition->names.count == 0)
        return condition->sql;
    if (!lm_repo_find_shape(call->repo, &form, &shape, &err))
        lmL_raise_noted(L, call, &err);
    lm_write_equality(where, condition->names, condition->nulls, shape->equal);
    return lm_buf_text(where);
}
