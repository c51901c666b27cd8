/* SPDX-License-Identifier: MIT */
/*
 * The structured writes: repo:update, insert, delete and their _all forms.
 *
 * A table of columns becomes two things on the Lua stack: a userdata with the
 * sorted names, and the values in that order. Sorting makes the SQL depend on
 * the shape alone, so that each shape is prepared once.
 */

#include "base/log.h"
#include "core/write.h"
#include "script/bind.h"
#include "script/sites.h"
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

static const char the_key[] = "the key";
static const char the_condition[] = "the condition";
static const char the_changes[] = "the changes";

/* Raises, or for changes warns once, when this line has passed a column before
 * that is missing here. */
static void
check_site(lua_State *L, const struct lm_call *call, const char *method,
           const char *what, struct lm_names names)
{
    struct lm_sites *sites;
    struct lm_err err;
    const char *missing;
    bool first;

    lua_rawgetp(L, LUA_REGISTRYINDEX, &lm_bind_sites_key);
    sites = lua_touserdata(L, -1);
    lua_pop(L, 1);
    missing = lm_sites_note(sites, call->where, what, names, &first);
    if (missing == NULL)
        return;
    lm_err_set(&err, LM_ERR_FAILED,
               "repo:%s: column \"%s\", which this line has passed before, is "
               "missing from %s",
               method, missing, what);
    lm_err_hint(&err, "A Lua table drops a field whose value is nil. Write "
                      "luamig.or_null(value) if NULL is meant; calls that "
                      "differ on purpose belong on lines of their own.");
    if (what != the_changes)
        lmL_raise(L, &err);
    if (first) {
        LM_ERR_COPY(err.where, call->where);
        lm_log_err(LM_LOG_WARNING, &err);
    }
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

/* Writes with sql, which this releases, and the values from first on. */
static void
write_or_raise(lua_State *L, struct lm_call *call, struct lm_buf *sql,
               bool well_formed, int first, int count,
               const struct columns *columns, const struct lm_call_key *key,
               struct lm_write **out)
{
    struct lm_call_names names = {name_by_column, columns};
    struct lm_err err;
    bool ok = well_formed;

    if (!ok) {
        lm_err_set(&err, LM_ERR_FAILED, "\"%s\" is not a table name",
                   columns->table);
        lm_err_hint(&err, "Write table or schema.table; a part with a dot in "
                          "it goes into double quotes.");
        lm_call_note(call, &err);
    } else {
        ok = lm_call_write(L, call, lm_buf_text(sql), first, count, names, key,
                           out, &err);
    }
    lm_buf_release(sql);
    if (!ok)
        lmL_raise(L, &err);
}

/* Combines the write if it may be; false leaves it to the caller. The values
 * from first on are those of the columns, changes before key. */
static bool
combine_or_raise(lua_State *L, struct lm_call *call, enum lm_verb verb,
                 int first, const struct columns *columns,
                 struct lm_write **out)
{
    struct lm_call_names names = {name_by_column, columns};
    struct lm_names changes = columns->first;
    struct lm_names key = columns->second;
    struct lm_shape *shape = NULL;
    struct lm_err err;

    if (!call->repo->combine)
        return false;
    if (verb == LM_VERB_DELETE) {
        key = columns->first;
        changes.count = 0;
    }
    if (!lm_repo_shape(call->repo, verb, columns->table, changes, key, &shape,
                       &err)) {
        lm_call_note(call, &err);
        lmL_raise(L, &err);
    }
    if (!shape->may_combine)
        return false;
    if (!lm_call_combine(L, call, shape, first, names, out, &err))
        lmL_raise(L, &err);
    return true;
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
    struct lm_call_key key = {.what = "update"};
    struct lm_buf sql = LM_BUF_INIT;
    struct columns columns = {.offset = 0};
    struct lm_handle *handle;
    int first;

    lmL_begin_call(L, &call);
    columns.table = key.table = lmL_check_text(L, 2);
    check_table(L, 3, "update", "the key");
    check_table(L, 4, "update", "the changes");
    key.may_miss = read_missing(L, 5, "update");
    columns.first = push_names(L, 4, "the changes");
    columns.second = push_names(L, 3, "the key");
    check_not_empty(L, columns.first, "update", "the table of changes");
    check_key(L, 3, columns.second, "update");
    check_site(L, &call, "update", the_changes, columns.first);
    check_site(L, &call, "update", the_key, columns.second);
    check_columns(L, &call, columns.table, columns.first);
    key.columns = columns.second.names;
    key.count = columns.second.count;
    handle = lmL_push_handle(L);
    first = lua_gettop(L) + 1;
    push_fields(L, 4, columns.first);
    push_fields(L, 3, columns.second);
    if (key.may_miss || !combine_or_raise(L, &call, LM_VERB_UPDATE, first,
                                          &columns, &handle->write)) {
        write_or_raise(
            L, &call, &sql,
            lm_write_update(&sql, columns.table, columns.first, columns.second),
            first, columns.first.count + columns.second.count, &columns, &key,
            &handle->write);
    }
    lua_settop(L, first - 1);
    return 1;
}

static int
l_delete(lua_State *L)
{
    struct lm_call call;
    struct lm_call_key key = {.what = "delete"};
    struct lm_buf sql = LM_BUF_INIT;
    struct columns columns = {.offset = 0};
    struct lm_handle *handle;
    int first;

    lmL_begin_call(L, &call);
    columns.table = key.table = lmL_check_text(L, 2);
    check_table(L, 3, "delete", "the key");
    key.may_miss = read_missing(L, 4, "delete");
    columns.first = push_names(L, 3, "the key");
    check_key(L, 3, columns.first, "delete");
    check_site(L, &call, "delete", the_key, columns.first);
    key.columns = columns.first.names;
    key.count = columns.first.count;
    handle = lmL_push_handle(L);
    first = lua_gettop(L) + 1;
    push_fields(L, 3, columns.first);
    if (key.may_miss || !combine_or_raise(L, &call, LM_VERB_DELETE, first,
                                          &columns, &handle->write)) {
        write_or_raise(
            L, &call, &sql, lm_write_delete(&sql, columns.table, columns.first),
            first, columns.first.count, &columns, &key, &handle->write);
    }
    lua_settop(L, first - 1);
    return 1;
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
static void
insert_row(lua_State *L, struct lm_call *call, const char *table, int index,
           const struct conflict *conflict, struct lm_write **write)
{
    struct lm_buf sql = LM_BUF_INIT;
    struct columns columns = {.table = table};
    int top = lua_gettop(L);
    int first;

    columns.first = push_names(L, index, "a row");
    first = lua_gettop(L) + 1;
    push_fields(L, index, columns.first);
    if (conflict->action != LM_CONFLICT_ERROR ||
        !combine_or_raise(L, call, LM_VERB_INSERT, first, &columns, write)) {
        write_or_raise(L, call, &sql,
                       lm_write_insert(&sql, table, columns.first,
                                       conflict->action, conflict->target,
                                       conflict->update),
                       first, columns.first.count, &columns, NULL, write);
    }
    lua_settop(L, top);
}

static int
l_insert(lua_State *L)
{
    struct lm_call call;
    struct conflict conflict;
    struct lm_handle *handle;
    const char *table;

    lmL_begin_call(L, &call);
    table = lmL_check_text(L, 2);
    check_table(L, 3, "insert", "the row");
    push_conflict(L, 4, "insert", &conflict);
    check_columns(L, &call, table, conflict.update);
    handle = lmL_push_handle(L);
    insert_row(L, &call, table, 3, &conflict, &handle->write);
    return 1;
}

static int
l_insert_all(lua_State *L)
{
    struct lm_call call;
    struct conflict conflict;
    struct lm_handle *handle;
    const char *table;
    lua_Integer count;

    lmL_begin_call(L, &call);
    table = lmL_check_text(L, 2);
    check_table(L, 3, "insert_all", "the list of rows");
    push_conflict(L, 4, "insert_all", &conflict);
    check_columns(L, &call, table, conflict.update);
    handle = lmL_push_handle(L);
    count = (lua_Integer)lua_rawlen(L, 3);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, 3, i);
        check_table(L, lua_gettop(L), "insert_all", "each row");
        insert_row(L, &call, table, lua_gettop(L), &conflict, &handle->write);
        lua_pop(L, 1);
    }
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
    struct lm_buf sql = LM_BUF_INIT;
    struct condition condition;
    struct columns columns = {.offset = 0};
    struct lm_handle *handle;
    int last = lua_gettop(L);
    int first;
    int result;

    lmL_begin_call(L, &call);
    columns.table = lmL_check_text(L, 2);
    check_table(L, 3, "update_all", "the changes");
    columns.first = push_names(L, 3, "the changes");
    check_not_empty(L, columns.first, "update_all", "the table of changes");
    check_columns(L, &call, columns.table, columns.first);
    check_site(L, &call, "update_all", the_changes, columns.first);
    handle = lmL_push_handle(L);
    result = lua_gettop(L);
    push_condition(L, 4, last, "update_all", &condition);
    if (condition.names.count > 0)
        check_site(L, &call, "update_all", the_condition, condition.names);
    columns.offset = condition.count;
    first = lua_gettop(L) - condition.count + 1;
    push_fields(L, 3, columns.first);
    write_or_raise(
        L, &call, &sql,
        write_update_all(&sql, columns.table, columns.first, &condition), first,
        condition.count + columns.first.count, &columns, NULL, &handle->write);
    lua_settop(L, result);
    return 1;
}

static int
l_delete_all(lua_State *L)
{
    struct lm_call call;
    struct lm_buf sql = LM_BUF_INIT;
    struct condition condition;
    struct columns columns = {.offset = 0};
    struct lm_handle *handle;
    int last = lua_gettop(L);
    int result;

    lmL_begin_call(L, &call);
    columns.table = lmL_check_text(L, 2);
    handle = lmL_push_handle(L);
    result = lua_gettop(L);
    push_condition(L, 3, last, "delete_all", &condition);
    if (condition.names.count > 0)
        check_site(L, &call, "delete_all", the_condition, condition.names);
    columns.offset = condition.count;
    write_or_raise(L, &call, &sql,
                   write_delete_all(&sql, columns.table, &condition),
                   lua_gettop(L) - condition.count + 1, condition.count,
                   &columns, NULL, &handle->write);
    lua_settop(L, result);
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
