/* SPDX-License-Identifier: MIT */
/*
 * The structured writes: repo:update, insert, delete and their _all forms.
 *
 * A line that passes what it passed before follows a pattern
 * (script/pattern.h); that is the way of nearly all calls. What follows is for
 * the first.
 *
 * A table of columns becomes two things on the Lua stack: a userdata with the
 * sorted names, and the values in that order. Sorting makes the SQL depend on
 * the shape alone, so that each shape is prepared once.
 */

#include "base/log.h"
#include "core/write.h"
#include "script/bind.h"
#include "script/marks.h"
#include "script/pattern.h"
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
        if (result.count == count) /* a finalizer has added to it */
            luaL_error(L, "%s changed while they were read", what);
        names[result.count++] = lmL_check_text(L, -1);
    }
    qsort(names, (size_t)result.count, sizeof *names, compare_names);
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
    enum lm_mark mark = lm_mark_of(L, index);

    if (lua_type(L, index) == LUA_TTABLE && mark != LM_MARK_NULL &&
        mark != LM_MARK_ALL)
        return;
    luaL_error(L, "repo:%s: %s must be a table, not %s", method, what,
               lua_type(L, index) == LUA_TTABLE ? luaL_tolstring(L, index, NULL)
                                                : luaL_typename(L, index));
}

static void
check_not_empty(lua_State *L, struct lm_names names, const char *method,
                const char *what, const char *advice)
{
    if (names.count == 0)
        luaL_error(L, "repo:%s: %s is empty%s", method, what, advice);
}

#define NIL_IS_ABSENT "; a field whose value is nil is not there"

static const char the_key[] = "the key";
static const char the_condition[] = "the condition";
static const char the_changes[] = "the changes";

/* Raises, or for changes warns once, when this line has passed a column before
 * that is missing here. */
static void
check_site(lua_State *L, const struct lm_call *call, const char *method,
           const char *what, struct lm_names names)
{
    struct lm_err err;
    bool first;
    const char *missing = lm_site_note(call->site, what, names, &first);

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
    check_not_empty(L, key, method, "the key", NIL_IS_ABSENT);
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
    lua_State *L;
    const char *table;
    struct lm_names names;
    int offset;          /* parameters before the first column */
    struct lm_names key; /* of the row; also the last parameters */
    int key_table;       /* its stack index; 0: the row has no key */
    lua_Integer row;     /* number of the row in a list; 0: there is no list */
};

static void
add_key_value(lua_State *L, int index, struct lm_buf *text)
{
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        lm_buf_puts(text, lua_tostring(L, index));
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) {
            lm_buf_printf(text, "%lld", (long long)lua_tointeger(L, index));
        } else {
            lm_buf_printf(text, "%.17g", lua_tonumber(L, index));
        }
        break;
    case LUA_TBOOLEAN:
        lm_buf_puts(text, lua_toboolean(L, index) ? "true" : "false");
        break;
    default:
        lm_buf_printf(text, "a %s", luaL_typename(L, index));
        break;
    }
}

/* "row id = 7, " as far as it can be said. */
static void
add_row(const struct columns *columns, struct lm_buf *text)
{
    lua_State *L = columns->L;

    if (columns->row > 0)
        lm_buf_printf(text, "row %lld, ", (long long)columns->row);
    for (int i = 0; columns->key_table != 0 && i < columns->key.count; i++) {
        lm_buf_printf(text, "%s%s = ", i == 0 ? "row " : "",
                      columns->key.names[i]);
        lua_pushstring(L, columns->key.names[i]);
        lua_rawget(L, columns->key_table);
        add_key_value(L, -1, text);
        lua_pop(L, 1);
        lm_buf_puts(text, ", ");
    }
}

static void
name_by_column(char *text, size_t size, int i, const void *arg)
{
    const struct columns *columns = arg;
    struct lm_buf buf = LM_BUF_INIT;
    const char *name = "?";

    i -= columns->offset;
    if (i < 0) {
        snprintf(text, size, "parameter $%d of the condition",
                 i + columns->offset + 1);
        return;
    }
    if (i < columns->names.count) {
        name = columns->names.names[i];
    } else if (i - columns->names.count < columns->key.count) {
        name = columns->key.names[i - columns->names.count];
    }
    add_row(columns, &buf);
    lm_buf_printf(&buf, "column \"%s\" of \"%s\"", name, columns->table);
    lm_err_copy(text, size, lm_buf_text(&buf), buf.len);
    lm_buf_release(&buf);
}

/* Writes with sql, which this releases, and the values from first on. */
static void
write_or_raise(lua_State *L, struct lm_call *call, struct lm_buf *sql,
               bool well_formed, int first, int count,
               const struct columns *columns, const struct lm_form *form,
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
        ok = lm_call_write(L, call, lm_buf_text(sql), first, count, names, form,
                           out, &err);
    }
    lm_buf_release(sql);
    if (!ok)
        lmL_raise(L, &err);
}

static struct columns
columns_of(lua_State *L, const struct lm_form *form, struct lm_tables tables,
           lua_Integer row)
{
    struct columns columns = {.L = L,
                              .table = form->table,
                              .names = form->changes,
                              .key = form->key,
                              .key_table = tables.key,
                              .row = row};

    return columns;
}

/*
 * Writes one row in the form, whose values are pushed. Combines it if it may
 * be; the next call on this line may then follow the pattern.
 */
static struct lm_write *
write_row(lua_State *L, struct lm_call *call, const struct lm_form *form,
          struct lm_tables tables, lua_Integer row, bool is_pattern,
          struct lm_write *write)
{
    struct columns columns = columns_of(L, form, tables, row);
    struct lm_call_names names = {name_by_column, &columns};
    int first = lua_gettop(L) - form->changes.count - form->key.count + 1;
    struct lm_shape *shape = NULL;
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_err err;
    bool may = false;

    if (!lm_repo_find_shape(call->repo, form, &shape, &err) ||
        !lm_repo_may_combine(call->repo, shape, &may, &err)) {
        lm_call_note(call, &err);
        lmL_raise(L, &err);
    }
    if (!may) {
        write_or_raise(L, call, &sql, lm_write_one(&sql, form), first,
                       form->changes.count + form->key.count, &columns,
                       &shape->form, &write);
        return write;
    }
    if (!lm_call_combine(L, call, shape, first, names, &write, &err))
        lmL_raise(L, &err);
    if (is_pattern) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &lm_bind_anchors_key);
        lmL_pattern_add(L, lm_site_patterns(call->site), lua_gettop(L),
                        call->repo, form->table, tables, shape);
    }
    return write;
}

/* Follows a pattern of the line, if there is one that fits; else NULL. */
static struct lm_write *
follow_pattern(lua_State *L, struct lm_call *call, enum lm_verb verb,
               const char *table, struct lm_tables tables)
{
    struct lm_write *write = NULL;
    struct lm_err err;
    bool may = false;
    int column;

    err.kind = LM_ERR_NONE;
    for (const struct lm_pattern *at = *lm_site_patterns(call->site);
         at != NULL; at = at->next) {
        bool fits = false;

        if (!lm_pattern_may_fit(at, call->repo, verb, table))
            continue;
        if (!lm_repo_may_combine(call->repo, at->shape, &may, &err))
            break;
        if (!may)
            continue;
        if (!lm_pattern_encode(at, L, tables, &call->binding->params, &fits,
                               &column, &err)) {
            struct columns columns = columns_of(L, &at->shape->form, tables, 0);
            char name[256];

            name_by_column(name, sizeof name, column, &columns);
            lm_err_prefix(&err, "%s", name);
            break;
        }
        if (!fits)
            continue;
        if (!lm_call_combine_params(call, at->shape, &write, &err))
            break;
        return write;
    }
    if (err.kind == LM_ERR_NONE)
        return NULL;
    lm_call_note(call, &err);
    lmL_raise(L, &err);
    return NULL;
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
    static const struct lm_tables tables = {.changes = 4, .key = 3};
    struct lm_call call;
    struct lm_form form = {.verb = LM_VERB_UPDATE};
    struct lm_write *write = NULL;

    lmL_begin_call(L, &call);
    form.table = lmL_check_text(L, 2);
    check_table(L, 3, "update", "the key");
    check_table(L, 4, "update", "the changes");
    if (lua_gettop(L) == 4)
        write = follow_pattern(L, &call, form.verb, form.table, tables);
    if (write == NULL) {
        form.may_miss = read_missing(L, 5, "update");
        form.changes = push_names(L, 4, the_changes);
        form.key = push_names(L, 3, the_key);
        check_not_empty(L, form.changes, "update", "the table of changes",
                        NIL_IS_ABSENT ", and luamig.NULL says NULL");
        check_key(L, 3, form.key, "update");
        check_site(L, &call, "update", the_changes, form.changes);
        check_site(L, &call, "update", the_key, form.key);
        check_columns(L, &call, form.table, form.changes);
        push_fields(L, 4, form.changes);
        push_fields(L, 3, form.key);
        write = write_row(L, &call, &form, tables, 0, !form.may_miss, NULL);
    }
    lmL_push_handle(L, &call, write);
    return 1;
}

static int
l_delete(lua_State *L)
{
    static const struct lm_tables tables = {.key = 3};
    struct lm_call call;
    struct lm_form form = {.verb = LM_VERB_DELETE};
    struct lm_write *write = NULL;

    lmL_begin_call(L, &call);
    form.table = lmL_check_text(L, 2);
    check_table(L, 3, "delete", "the key");
    if (lua_gettop(L) == 3)
        write = follow_pattern(L, &call, form.verb, form.table, tables);
    if (write == NULL) {
        form.may_miss = read_missing(L, 4, "delete");
        form.key = push_names(L, 3, the_key);
        check_key(L, 3, form.key, "delete");
        check_site(L, &call, "delete", the_key, form.key);
        push_fields(L, 3, form.key);
        write = write_row(L, &call, &form, tables, 0, !form.may_miss, NULL);
    }
    lmL_push_handle(L, &call, write);
    return 1;
}

/* -- inserts ---------------------------------------------------------- */

/* on_conflict = { columns = {...}, update = {...} }: the table at index. */
static void
read_conflict_table(lua_State *L, int index, const char *method,
                    struct lm_form *form)
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
    form->target = push_list(L, lua_gettop(L) - 1, "on_conflict.columns");
    form->overwritten = push_list(L, lua_gettop(L) - 1, "on_conflict.update");
    check_not_empty(L, form->target, method, "on_conflict.columns", "");
    check_not_empty(L, form->overwritten, method, "on_conflict.update", "");
    form->conflict = LM_CONFLICT_UPDATE;
}

/* What it finds stays on the stack, since the names live there. */
static void
push_conflict(lua_State *L, int index, const char *method, struct lm_form *form)
{
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
        read_conflict_table(L, lua_gettop(L), method, form);
    } else if (lua_type(L, -1) == LUA_TSTRING &&
               strcmp(lua_tostring(L, -1), "nothing") == 0) {
        form->conflict = LM_CONFLICT_NOTHING;
    } else if (!lua_isnil(L, -1)) {
        luaL_error(L,
                   "repo:%s: on_conflict must be \"nothing\" or a table "
                   "with columns and update",
                   method);
    }
}

/* Inserts the row at index; leaves the stack as it was. number is that of the
 * row in a list, or 0. */
static struct lm_write *
insert_row(lua_State *L, struct lm_call *call, struct lm_form *form, int index,
           lua_Integer number, struct lm_write *write)
{
    struct lm_tables tables = {.changes = index};
    bool is_plain = number == 0 && form->conflict == LM_CONFLICT_ERROR;
    int top = lua_gettop(L);

    form->changes = push_names(L, index, "a row");
    push_fields(L, index, form->changes);
    write = write_row(L, call, form, tables, number, is_plain, write);
    lua_settop(L, top);
    return write;
}

static int
l_insert(lua_State *L)
{
    static const struct lm_tables tables = {.changes = 3};
    struct lm_call call;
    struct lm_form form = {.verb = LM_VERB_INSERT};
    struct lm_write *write = NULL;

    lmL_begin_call(L, &call);
    form.table = lmL_check_text(L, 2);
    check_table(L, 3, "insert", "the row");
    if (lua_gettop(L) == 3)
        write = follow_pattern(L, &call, form.verb, form.table, tables);
    if (write == NULL) {
        push_conflict(L, 4, "insert", &form);
        check_columns(L, &call, form.table, form.overwritten);
        write = insert_row(L, &call, &form, 3, 0, NULL);
    }
    lmL_push_handle(L, &call, write);
    return 1;
}

static int
l_insert_all(lua_State *L)
{
    struct lm_call call;
    struct lm_form form = {.verb = LM_VERB_INSERT};
    struct lm_write *write = NULL;
    lua_Integer count;

    lmL_begin_call(L, &call);
    form.table = lmL_check_text(L, 2);
    check_table(L, 3, "insert_all", "the list of rows");
    push_conflict(L, 4, "insert_all", &form);
    check_columns(L, &call, form.table, form.overwritten);
    if (!lm_mark_is_list(L, 3, &count)) {
        luaL_error(L, "repo:insert_all: the list of rows must have the keys "
                      "1, 2, 3, ...");
    }
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, 3, i);
        check_table(L, lua_gettop(L), "insert_all", "each row");
        write = insert_row(L, &call, &form, lua_gettop(L), i, write);
        lua_pop(L, 1);
    }
    lmL_push_handle(L, &call, write);
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
    check_not_empty(L, condition->names, method, "the condition",
                    NIL_IS_ABSENT ", and luamig.ALL says \"every row\"");
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
push_condition(lua_State *L, struct lm_call *call, int index, int last,
               const char *method, struct condition *condition)
{
    memset(condition, 0, sizeof *condition);
    call->every_row = last >= index && is_sentinel(L, index, &lm_vm_all_key);
    if (call->every_row)
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
    struct columns columns = {.L = L};
    struct lm_write *write = NULL;
    int last = lua_gettop(L);
    int first;

    lmL_begin_call(L, &call);
    columns.table = lmL_check_text(L, 2);
    check_table(L, 3, "update_all", "the changes");
    columns.names = push_names(L, 3, the_changes);
    check_not_empty(L, columns.names, "update_all", "the table of changes",
                    NIL_IS_ABSENT ", and luamig.NULL says NULL");
    check_columns(L, &call, columns.table, columns.names);
    check_site(L, &call, "update_all", the_changes, columns.names);
    push_condition(L, &call, 4, last, "update_all", &condition);
    if (condition.names.count > 0)
        check_site(L, &call, "update_all", the_condition, condition.names);
    columns.offset = condition.count;
    first = lua_gettop(L) - condition.count + 1;
    push_fields(L, 3, columns.names);
    write_or_raise(
        L, &call, &sql,
        write_update_all(&sql, columns.table, columns.names, &condition), first,
        condition.count + columns.names.count, &columns, NULL, &write);
    lmL_push_handle(L, &call, write);
    return 1;
}

static int
l_delete_all(lua_State *L)
{
    struct lm_call call;
    struct lm_buf sql = LM_BUF_INIT;
    struct condition condition;
    struct columns columns = {.L = L};
    struct lm_write *write = NULL;
    int last = lua_gettop(L);

    lmL_begin_call(L, &call);
    columns.table = lmL_check_text(L, 2);
    push_condition(L, &call, 3, last, "delete_all", &condition);
    if (condition.names.count > 0)
        check_site(L, &call, "delete_all", the_condition, condition.names);
    columns.offset = condition.count;
    write_or_raise(L, &call, &sql,
                   write_delete_all(&sql, columns.table, &condition),
                   lua_gettop(L) - condition.count + 1, condition.count,
                   &columns, NULL, &write);
    lmL_push_handle(L, &call, write);
    return 1;
}

const luaL_Reg lm_bind_write_methods[] = {{"update", l_update},
                                          {"delete", l_delete},
                                          {"insert", l_insert},
                                          {"insert_all", l_insert_all},
                                          {"update_all", l_update_all},
                                          {"delete_all", l_delete_all},
                                          {NULL, NULL}};
