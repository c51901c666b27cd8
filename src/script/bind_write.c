/* SPDX-License-Identifier: MIT */
/*
 * The structured writes: repo:update, insert, delete and their _all forms.
 *
 * A table of columns becomes two things on the Lua stack: a userdata with the
 * sorted names, and the values in that order. Sorting makes the SQL depend on
 * the shape alone, so that each shape is prepared once.
 */

#include "core/write.h"
#include "script/bind.h"
#include "script/vm.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
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

/* The sorted string keys of the table at index. The array is a userdata that
 * stays on the stack, its texts belong to the table. [-0, +1, raises] */
static struct lm_names
push_names(lua_State *L, int index, const char *what)
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
        names[result.count++] = lmL_check_text(L, -1);
    }
    qsort(names, (size_t)count, sizeof *names, compare_names);
    return result;
}

/* The strings of the list at index, in its order. [-0, +1, raises] */
static struct lm_names
push_list(lua_State *L, int index, const char *what)
{
    int count = (int)lua_rawlen(L, index);
    const char **names =
        lua_newuserdatauv(L, (size_t)(count + 1) * sizeof *names, 0);
    struct lm_names result = {names, count};

    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, index, i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "%s must be a list of column names", what);
        names[i] = lmL_check_text(L, -1);
        lua_pop(L, 1);
    }
    return result;
}

/* Pushes the values of the names, in order. [-0, +count, raises] */
static void
push_fields(lua_State *L, int index, struct lm_names names)
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

static void
check_table(lua_State *L, int index, const char *method, const char *what)
{
    if (lua_type(L, index) != LUA_TTABLE ||
        is_sentinel(L, index, &lm_vm_null_key) ||
        is_sentinel(L, index, &lm_vm_all_key)) {
        luaL_error(L, "repo:%s: %s must be a table, not %s", method, what,
                   is_sentinel(L, index, &lm_vm_null_key) ||
                           is_sentinel(L, index, &lm_vm_all_key)
                       ? luaL_tolstring(L, index, NULL)
                       : luaL_typename(L, index));
    }
}

static void
check_not_empty(lua_State *L, struct lm_names names, const char *method,
                const char *what)
{
    if (names.count == 0)
        luaL_error(L, "repo:%s: %s is empty", method, what);
}

/* The key of a keyed write: no part of it may be NULL. */
static void
check_key(lua_State *L, int index, struct lm_names key, const char *method)
{
    check_not_empty(L, key, method, "the key");
    for (int i = 0; i < key.count; i++) {
        lua_pushstring(L, key.names[i]);
        lua_rawget(L, index);
        if (is_sentinel(L, -1, &lm_vm_null_key)) {
            luaL_error(L,
                       "repo:%s: key column \"%s\" is NULL, which no row "
                       "equals",
                       method, key.names[i]);
        }
        lua_pop(L, 1);
    }
}

/* -- running ---------------------------------------------------------- */

/* The columns that parameters belong to, for messages. */
struct columns {
    const char *table;
    struct lm_names first;
    struct lm_names second;
    int offset; /* parameters before the first column */
};

static void
name_by_column(char *text, size_t size, int i, const void *arg)
{
    const struct columns *columns = arg;
    const char *name = "?";

    i -= columns->offset;
    if (i < 0) {
        snprintf(text, size, "parameter $%d of the condition",
                 i + columns->offset + 1);
        return;
    }
    if (i < columns->first.count) {
        name = columns->first.names[i];
    } else if (i - columns->first.count < columns->second.count) {
        name = columns->second.names[i - columns->first.count];
    }
    snprintf(text, size, "column \"%s\" of \"%s\"", name, columns->table);
}

/* Runs sql, which this releases, with the values from first on. */
static bool
run_write(lua_State *L, struct lm_call *call, struct lm_buf *sql,
          bool well_formed, int first, int count, const struct columns *columns,
          int64_t *affected, struct lm_err *err)
{
    bool ok = well_formed;

    if (!ok) {
        lm_err_set(err, LM_ERR_FAILED, "\"%s\" is not a table name",
                   columns->table);
        lm_err_hint(err, "Write table or schema.table; a part with a dot in "
                         "it goes into double quotes.");
        lm_call_note(call, err);
    } else {
        ok = lm_call_run(L, call, lm_buf_text(sql), first, count,
                         name_by_column, columns, NULL, affected, err);
    }
    lm_buf_release(sql);
    return ok;
}

static void
check_columns(lua_State *L, struct lm_call *call, const char *table,
              struct lm_names names)
{
    struct lm_err err;

    if (lm_repo_check_columns(call->repo, table, names.names, names.count,
                              &err))
        return;
    lm_call_note(call, &err);
    lmL_raise(L, &err);
}

/* "id = 7, tenant = 3": the key as the script wrote it. [-0, +1, memory] */
static const char *
push_key_text(lua_State *L, int index, struct lm_names key)
{
    luaL_Buffer buffer;

    luaL_buffinit(L, &buffer);
    for (int i = 0; i < key.count; i++) {
        lua_pushfstring(L, "%s%s = ", i > 0 ? ", " : "", key.names[i]);
        luaL_addvalue(&buffer);
        lua_pushstring(L, key.names[i]);
        lua_rawget(L, index);
        luaL_tolstring(L, -1, NULL);
        lua_remove(L, -2);
        luaL_addvalue(&buffer);
    }
    luaL_pushresult(&buffer);
    return lua_tostring(L, -1);
}

/* A keyed write must have matched one row, or none where that is allowed. */
static int
finish_keyed(lua_State *L, struct lm_call *call, const char *verb,
             const char *table, int key_index, struct lm_names key,
             bool may_miss, int64_t affected)
{
    struct lm_err err;
    const char *text;

    if (affected == 1 || (affected == 0 && may_miss)) {
        lmL_push_handle(L, affected);
        return 1;
    }
    text = push_key_text(L, key_index, key);
    if (affected == 0) {
        lm_err_set(&err, LM_ERR_FAILED, "%s of \"%s\" matched no row with %s",
                   verb, table, text);
    } else {
        lm_err_set(&err, LM_ERR_FAILED,
                   "%s of \"%s\" matched %" PRId64 " rows with %s, not one",
                   verb, table, affected, text);
    }
    LM_ERR_COPY(err.sqlstate,
                affected == 0 ? LM_REPO_NO_ROW : LM_REPO_TOO_MANY_ROWS);
    if (affected == 0) {
        lm_err_hint(&err, "Pass { missing = \"ignore\" } as the last argument "
                          "if the row may be gone.");
    } else {
        lm_err_hint(&err,
                    "Name all columns of a unique key, or use "
                    "repo:%s_all.",
                    verb);
    }
    lm_call_note(call, &err);
    lm_repo_fail(call->repo, &err);
    return lmL_raise(L, &err);
}

/* { missing = "ignore" } */
static bool
read_missing(lua_State *L, int index, const char *method)
{
    bool may_miss = false;

    if (lua_isnoneornil(L, index))
        return false;
    check_table(L, index, method, "the options");
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING ||
            strcmp(lua_tostring(L, -2), "missing") != 0) {
            luaL_error(L,
                       "repo:%s: unknown option \"%s\"; did you mean "
                       "\"missing\"?",
                       method, luaL_tolstring(L, -2, NULL));
        }
        if (lua_type(L, -1) != LUA_TSTRING ||
            strcmp(lua_tostring(L, -1), "ignore") != 0) {
            luaL_error(L, "repo:%s: option \"missing\" must be \"ignore\"",
                       method);
        }
        may_miss = true;
        lua_pop(L, 1);
    }
    return may_miss;
}

static int
l_update(lua_State *L)
{
    struct lm_call call;
    struct lm_err err;
    struct lm_buf sql = LM_BUF_INIT;
    struct columns columns = {.offset = 0};
    int64_t affected = 0;
    bool may_miss;
    int first;

    lmL_begin_call(L, &call);
    columns.table = lmL_check_text(L, 2);
    check_table(L, 3, "update", "the key");
    check_table(L, 4, "update", "the changes");
    may_miss = read_missing(L, 5, "update");
    columns.first = push_names(L, 4, "the changes");
    columns.second = push_names(L, 3, "the key");
    check_not_empty(L, columns.first, "update", "the table of changes");
    check_key(L, 3, columns.second, "update");
    check_columns(L, &call, columns.table, columns.first);
    first = lua_gettop(L) + 1;
    push_fields(L, 4, columns.first);
    push_fields(L, 3, columns.second);
    if (!run_write(
            L, &call, &sql,
            lm_write_update(&sql, columns.table, columns.first, columns.second),
            first, columns.first.count + columns.second.count, &columns,
            &affected, &err))
        return lmL_raise(L, &err);
    return finish_keyed(L, &call, "update", columns.table, 3, columns.second,
                        may_miss, affected);
}

static int
l_delete(lua_State *L)
{
    struct lm_call call;
    struct lm_err err;
    struct lm_buf sql = LM_BUF_INIT;
    struct columns columns = {.offset = 0};
    int64_t affected = 0;
    bool may_miss;
    int first;

    lmL_begin_call(L, &call);
    columns.table = lmL_check_text(L, 2);
    check_table(L, 3, "delete", "the key");
    may_miss = read_missing(L, 4, "delete");
    columns.first = push_names(L, 3, "the key");
    check_key(L, 3, columns.first, "delete");
    first = lua_gettop(L) + 1;
    push_fields(L, 3, columns.first);
    if (!run_write(L, &call, &sql,
                   lm_write_delete(&sql, columns.table, columns.first), first,
                   columns.first.count, &columns, &affected, &err))
        return lmL_raise(L, &err);
    return finish_keyed(L, &call, "delete", columns.table, 3, columns.first,
                        may_miss, affected);
}

/* -- inserts ---------------------------------------------------------- */

struct conflict {
    enum lm_conflict action;
    struct lm_names target;
    struct lm_names update;
};

/* on_conflict = { columns = {...}, update = {...} }: the table at index. */
static void
read_conflict_table(lua_State *L, int index, const char *method,
                    struct conflict *conflict)
{
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        const char *name =
            lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";

        if (strcmp(name, "columns") != 0 && strcmp(name, "update") != 0) {
            luaL_error(L, "repo:%s: on_conflict has an unknown field \"%s\"",
                       method, name);
        }
        if (lua_type(L, -1) != LUA_TTABLE) {
            luaL_error(L,
                       "repo:%s: on_conflict.%s must be a list of column "
                       "names",
                       method, name);
        }
        lua_pop(L, 1);
    }
    lua_getfield(L, index, "columns");
    lua_getfield(L, index, "update");
    if (lua_isnil(L, -2) || lua_isnil(L, -1)) {
        luaL_error(L,
                   "repo:%s: on_conflict needs columns and update, or is "
                   "\"nothing\"",
                   method);
    }
    conflict->target = push_list(L, lua_gettop(L) - 1, "on_conflict.columns");
    conflict->update = push_list(L, lua_gettop(L) - 1, "on_conflict.update");
    check_not_empty(L, conflict->target, method, "on_conflict.columns");
    check_not_empty(L, conflict->update, method, "on_conflict.update");
    conflict->action = LM_CONFLICT_UPDATE;
}

/* What it finds stays on the stack, since the names live there. */
static void
push_conflict(lua_State *L, int index, const char *method,
              struct conflict *conflict)
{
    memset(conflict, 0, sizeof *conflict);
    if (lua_isnoneornil(L, index))
        return;
    check_table(L, index, method, "the options");
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        if (lua_type(L, -2) != LUA_TSTRING ||
            strcmp(lua_tostring(L, -2), "on_conflict") != 0) {
            luaL_error(L,
                       "repo:%s: unknown option \"%s\"; did you mean "
                       "\"on_conflict\"?",
                       method, luaL_tolstring(L, -2, NULL));
        }
        lua_pop(L, 1);
    }
    lua_getfield(L, index, "on_conflict");
    if (lua_type(L, -1) == LUA_TTABLE) {
        read_conflict_table(L, lua_gettop(L), method, conflict);
    } else if (lua_type(L, -1) == LUA_TSTRING &&
               strcmp(lua_tostring(L, -1), "nothing") == 0) {
        conflict->action = LM_CONFLICT_NOTHING;
    } else if (!lua_isnil(L, -1)) {
        luaL_error(L,
                   "repo:%s: on_conflict must be \"nothing\" or a table "
                   "with columns and update",
                   method);
    }
}

/* Inserts the row at index; leaves the stack as it was. */
static int64_t
insert_row(lua_State *L, struct lm_call *call, const char *table, int index,
           const struct conflict *conflict)
{
    struct lm_err err;
    struct lm_buf sql = LM_BUF_INIT;
    struct columns columns = {.table = table};
    int64_t affected = 0;
    int top = lua_gettop(L);
    int first;

    columns.first = push_names(L, index, "a row");
    first = lua_gettop(L) + 1;
    push_fields(L, index, columns.first);
    if (!run_write(L, call, &sql,
                   lm_write_insert(&sql, table, columns.first, conflict->action,
                                   conflict->target, conflict->update),
                   first, columns.first.count, &columns, &affected, &err))
        lmL_raise(L, &err);
    lua_settop(L, top);
    return affected;
}

static int
l_insert(lua_State *L)
{
    struct lm_call call;
    struct conflict conflict;
    const char *table;

    lmL_begin_call(L, &call);
    table = lmL_check_text(L, 2);
    check_table(L, 3, "insert", "the row");
    push_conflict(L, 4, "insert", &conflict);
    check_columns(L, &call, table, conflict.update);
    lmL_push_handle(L, insert_row(L, &call, table, 3, &conflict));
    return 1;
}

static int
l_insert_all(lua_State *L)
{
    struct lm_call call;
    struct conflict conflict;
    const char *table;
    int64_t affected = 0;
    lua_Integer count;

    lmL_begin_call(L, &call);
    table = lmL_check_text(L, 2);
    check_table(L, 3, "insert_all", "the list of rows");
    push_conflict(L, 4, "insert_all", &conflict);
    check_columns(L, &call, table, conflict.update);
    count = (lua_Integer)lua_rawlen(L, 3);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, 3, i);
        check_table(L, lua_gettop(L), "insert_all", "each row");
        affected += insert_row(L, &call, table, lua_gettop(L), &conflict);
        lua_pop(L, 1);
    }
    lmL_push_handle(L, affected);
    return 1;
}

/* -- by condition ----------------------------------------------------- */

/* A condition, ready to be put into a statement: SQL, or columns that are
 * equal to the parameters or NULL, or neither for every row. All texts are on
 * the Lua stack. */
struct condition {
    const char *sql;
    struct lm_names names;
    const bool *nulls; /* one for each of names */
    int count;         /* of parameters */
};

/* SQL with $1 ... and the values after it, which are pushed. */
static void
push_sql_condition(lua_State *L, int index, int last, const char *method,
                   struct condition *condition)
{
    condition->sql = lmL_check_text(L, index);
    if (condition->sql[strspn(condition->sql, " \t\r\n")] == '\0') {
        luaL_error(L,
                   "repo:%s: the condition is empty; luamig.ALL says "
                   "\"every row\"",
                   method);
    }
    condition->count = last - index;
    luaL_checkstack(L, condition->count + 4, "too many parameters");
    for (int i = index + 1; i <= last; i++)
        lua_pushvalue(L, i);
}

/* { status = "new", owner = luamig.NULL }: equal, or IS NULL. */
static void
push_equality(lua_State *L, int index, const char *method,
              struct condition *condition)
{
    bool *nulls;
    int base;

    condition->names = push_names(L, index, "the condition");
    check_not_empty(L, condition->names, method,
                    "the condition (luamig.ALL says \"every row\")");
    nulls =
        lua_newuserdatauv(L, (size_t)condition->names.count * sizeof *nulls, 0);
    base = lua_gettop(L);
    push_fields(L, index, condition->names);
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
}

/* Pushes what it needs; the parameters' values come last. */
static void
push_condition(lua_State *L, int index, int last, const char *method,
               struct condition *condition)
{
    memset(condition, 0, sizeof *condition);
    if (last >= index && is_sentinel(L, index, &lm_vm_all_key))
        return;
    if (last >= index && lua_type(L, index) == LUA_TSTRING) {
        push_sql_condition(L, index, last, method, condition);
    } else if (last >= index && lua_type(L, index) == LUA_TTABLE &&
               !is_sentinel(L, index, &lm_vm_null_key)) {
        push_equality(L, index, method, condition);
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

/* The condition as SQL; NULL for every row. where holds the text. */
static const char *
condition_text(const struct condition *condition, struct lm_buf *where)
{
    if (condition->nulls == NULL)
        return condition->sql;
    lm_write_equality(where, condition->names, condition->nulls);
    return lm_buf_text(where);
}

static bool
write_update_all(struct lm_buf *sql, const char *table, struct lm_names changes,
                 const struct condition *condition)
{
    struct lm_buf where = LM_BUF_INIT;
    bool ok = lm_write_update_all(sql, table, changes,
                                  condition_text(condition, &where),
                                  condition->count);

    lm_buf_release(&where);
    return ok;
}

static bool
write_delete_all(struct lm_buf *sql, const char *table,
                 const struct condition *condition)
{
    struct lm_buf where = LM_BUF_INIT;
    bool ok =
        lm_write_delete_all(sql, table, condition_text(condition, &where));

    lm_buf_release(&where);
    return ok;
}

static int
l_update_all(lua_State *L)
{
    struct lm_call call;
    struct lm_err err;
    struct lm_buf sql = LM_BUF_INIT;
    struct condition condition;
    struct columns columns = {.offset = 0};
    struct lm_names changes;
    int64_t affected = 0;
    int last = lua_gettop(L);
    int first;

    lmL_begin_call(L, &call);
    columns.table = lmL_check_text(L, 2);
    check_table(L, 3, "update_all", "the changes");
    changes = columns.first = push_names(L, 3, "the changes");
    check_not_empty(L, changes, "update_all", "the table of changes");
    check_columns(L, &call, columns.table, changes);
    push_condition(L, 4, last, "update_all", &condition);
    columns.offset = condition.count;
    first = lua_gettop(L) - condition.count + 1;
    push_fields(L, 3, changes);
    if (!run_write(L, &call, &sql,
                   write_update_all(&sql, columns.table, changes, &condition),
                   first, condition.count + changes.count, &columns, &affected,
                   &err))
        return lmL_raise(L, &err);
    lmL_push_handle(L, affected);
    return 1;
}

static int
l_delete_all(lua_State *L)
{
    struct lm_call call;
    struct lm_err err;
    struct lm_buf sql = LM_BUF_INIT;
    struct condition condition;
    struct columns columns = {.offset = 0};
    int64_t affected = 0;
    int last = lua_gettop(L);

    lmL_begin_call(L, &call);
    columns.table = lmL_check_text(L, 2);
    push_condition(L, 3, last, "delete_all", &condition);
    columns.offset = condition.count;
    if (!run_write(L, &call, &sql,
                   write_delete_all(&sql, columns.table, &condition),
                   lua_gettop(L) - condition.count + 1, condition.count,
                   &columns, &affected, &err))
        return lmL_raise(L, &err);
    lmL_push_handle(L, affected);
    return 1;
}

static const luaL_Reg write_methods[] = {{"update", l_update},
                                         {"delete", l_delete},
                                         {"insert", l_insert},
                                         {"insert_all", l_insert_all},
                                         {"update_all", l_update_all},
                                         {"delete_all", l_delete_all},
                                         {NULL, NULL}};

void
lmL_add_write_methods(lua_State *L)
{
    luaL_setfuncs(L, write_methods, 0);
}
