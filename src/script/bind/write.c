/* SPDX-License-Identifier: MIT */
/*
 * The structured writes: repo:update, insert, delete and their _all forms.
 *
 * If a line passes the same fields as before, the call follows a pattern
 * (script/bind/pattern.h); nearly all calls do. For the first call of a line,
 * bind/write_args.c reads the arguments and asks for the shape.
 *
 * Each call returns a handle. A row is combined with others of its shape if
 * that makes no difference to writing it alone; otherwise it is a statement of
 * its own. An error names row and column as the script does. core/repo/repo.c
 * refuses writes that are never allowed.
 */

#include "core/repo/write.h"
#include "script/bind/pattern.h"
#include "script/bind/private.h"
#include "script/value/marks.h"
#include "script/value/value.h"
#include "script/vm/vm.h"

#include <lauxlib.h>
#include <stdio.h>

/* -- running ---------------------------------------------------------- */

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
        lm_buf_puts(text, lm_value_kind(L, index));
        break;
    }
}

/* "row id = 7, " as far as it can be said. */
static void
add_row(const struct lm_columns *columns, struct lm_buf *text)
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

/* Parameter i of a condition; condition may be NULL. */
static void
name_of_condition(char *text, size_t size, int i,
                  const struct lm_condition *condition)
{
    int at = i;

    if (condition == NULL || condition->names.count == 0) {
        snprintf(text, size, "parameter $%d of the condition", i + 1);
        return;
    }
    for (int k = 0; k <= at; k++)
        at += condition->nulls[k]; /* which is no parameter */
    snprintf(text, size, "column \"%s\" of the condition",
             condition->names.names[at]);
}

void
lm_name_by_column(char *text, size_t size, int i, const void *arg)
{
    const struct lm_columns *columns = arg;
    struct lm_buf buf = LM_BUF_INIT;
    const char *name = "?";

    i -= columns->offset;
    if (i < 0) {
        name_of_condition(text, size, i + columns->offset, columns->condition);
        return;
    }
    if (i < columns->names.count) {
        name = columns->names.names[i];
    } else if (columns->key.count > 0 &&
               i - columns->names.count < columns->key.count) {
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
               const struct lm_columns *columns, const struct lm_shape *shape,
               struct lm_write **out)
{
    struct lm_call_names names = {lm_name_by_column, columns};
    struct lm_err err;
    bool ok;

    ok = well_formed ? lm_call_write(L, call, lm_buf_text(sql), first, count,
                                     names, shape, out, &err)
                     : lm_call_fail_table(call, columns->table, &err);
    lm_buf_release(sql);
    if (!ok)
        lmL_raise(L, &err);
}

static struct lm_columns
columns_of(lua_State *L, const struct lm_form *form, struct lm_tables tables,
           lua_Integer row)
{
    struct lm_columns columns = {.L = L,
                                 .table = form->table,
                                 .names = form->changes,
                                 .key = form->key,
                                 .key_table = tables.key,
                                 .row = row};

    return columns;
}

/* luamig.add is for numbers. */
static void
check_sums(lua_State *L, struct lm_call *call, const struct lm_shape *shape,
           const struct lm_columns *columns)
{
    struct lm_err err;
    char name[256];

    if (shape->unsuited < 0)
        return;
    lm_err_set(&err, LM_ERR_FAILED,
               "luamig.add needs a numeric type, not type %s",
               shape->unsuited_type);
    lm_name_by_column(name, sizeof name, shape->unsuited + columns->offset,
                      columns);
    lm_err_prefix(&err, "%s", name);
    lmL_raise_noted(L, call, &err);
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
    struct lm_columns columns = columns_of(L, form, tables, row);
    struct lm_call_names names = {lm_name_by_column, &columns};
    int first = lua_gettop(L) - form->changes.count - form->key.count + 1;
    struct lm_shape *shape = NULL;
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_err err;
    bool may = false;

    if (!lm_repo_find_shape(call->repo, form, &shape, &err) ||
        !lm_repo_may_combine(call->repo, shape, &may, &err))
        lmL_raise_noted(L, call, &err);
    check_sums(L, call, shape, &columns);
    if (!may) {
        write_or_raise(L, call, &sql, lm_write_one(&sql, form, shape->equal),
                       first, form->changes.count + form->key.count, &columns,
                       shape, &write);
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

/* Follows a pattern of the line, if there is one that fits; else NULL. Then the
 * arguments, which go up to last, are still to be checked. */
static struct lm_write *
follow_pattern(lua_State *L, struct lm_call *call, enum lm_verb verb,
               struct lm_tables tables, int last)
{
    const void *table = lua_topointer(L, 2);
    struct lm_write *write = NULL;
    struct lm_err err;
    bool may = false;
    int column;

    if (lua_gettop(L) != last || !lua_istable(L, 3) || !lua_istable(L, last))
        return NULL;
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
            struct lm_columns columns =
                columns_of(L, &at->shape->form, tables, 0);
            char name[256];

            lm_name_by_column(name, sizeof name, column, &columns);
            lm_err_prefix(&err, "%s", name);
            break;
        }
        if (!fits)
            continue;
        if (!lm_call_combine_params(call, at->shape, &write, &err))
            break;
        return write;
    }
    if (err.kind != LM_ERR_NONE)
        lmL_raise_noted(L, call, &err);
    return NULL;
}

static void
check_columns(lua_State *L, struct lm_call *call, const char *table,
              struct lm_names names)
{
    struct lm_err err;

    if (!lm_repo_check_columns(call->repo, table, names.names, names.count,
                               &err))
        lmL_raise_noted(L, call, &err);
}

static int
l_update(lua_State *L)
{
    static const struct lm_tables tables = {.changes = 4, .key = 3};
    struct lm_call call;
    struct lm_form form = {.verb = LM_VERB_UPDATE};
    struct lm_names changes;
    struct lm_write *write;

    lmL_begin_call(L, &call);
    write = follow_pattern(L, &call, form.verb, tables, 4);
    if (write == NULL) {
        form.table = lmL_check_text(L, 2);
        lmL_check_table(L, 3, "update", "the key");
        lmL_check_table(L, 4, "update", "the changes");
        form.may_miss = lmL_read_missing(L, 5, "update");
        changes = lmL_push_names(L, 4, lm_the_changes);
        form.key = lmL_push_names(L, 3, lm_the_key);
        lmL_check_changes(L, changes, "update");
        lmL_check_key(L, 3, form.key, "update");
        lmL_check_site(L, &call, "update", lm_the_changes, changes);
        lmL_check_site(L, &call, "update", lm_the_key, form.key);
        check_columns(L, &call, form.table, changes);
        lmL_split_changes(L, 4, changes, &form);
        lmL_push_changes(L, 4, &form);
        lmL_push_fields(L, 3, form.key);
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
    struct lm_write *write;

    lmL_begin_call(L, &call);
    write = follow_pattern(L, &call, form.verb, tables, 3);
    if (write == NULL) {
        form.table = lmL_check_text(L, 2);
        lmL_check_table(L, 3, "delete", "the key");
        form.may_miss = lmL_read_missing(L, 4, "delete");
        form.key = lmL_push_names(L, 3, lm_the_key);
        lmL_check_key(L, 3, form.key, "delete");
        lmL_check_site(L, &call, "delete", lm_the_key, form.key);
        lmL_push_fields(L, 3, form.key);
        write = write_row(L, &call, &form, tables, 0, !form.may_miss, NULL);
    }
    lmL_push_handle(L, &call, write);
    return 1;
}

/* -- inserts ---------------------------------------------------------- */

/* Inserts the row at index; leaves the stack as it was. number is that of the
 * row in a list, or 0. */
static struct lm_write *
insert_row(lua_State *L, struct lm_call *call, struct lm_form *form, int index,
           lua_Integer number, struct lm_write *write)
{
    struct lm_tables tables = {.changes = index};
    bool is_plain =
        number == 0 && form->conflict == LM_CONFLICT_ERROR && !form->may_miss;
    int top = lua_gettop(L);

    form->changes = lmL_push_names(L, index, "a row");
    lmL_push_fields(L, index, form->changes);
    write = write_row(L, call, form, tables, number, is_plain, write);
    lua_settop(L, top);
    return write;
}

static void
check_conflict(lua_State *L, struct lm_call *call, const struct lm_form *form)
{
    check_columns(L, call, form->table, form->overwritten);
    check_columns(L, call, form->table, form->summed);
}

static int
l_insert(lua_State *L)
{
    static const struct lm_tables tables = {.changes = 3};
    struct lm_call call;
    struct lm_form form = {.verb = LM_VERB_INSERT};
    struct lm_write *write;

    lmL_begin_call(L, &call);
    write = follow_pattern(L, &call, form.verb, tables, 3);
    if (write == NULL) {
        form.table = lmL_check_text(L, 2);
        lmL_check_table(L, 3, "insert", "the row");
        lmL_push_insert_options(L, 4, "insert", true, &form);
        check_conflict(L, &call, &form);
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
    lmL_check_table(L, 3, "insert_all", "the list of rows");
    lmL_push_insert_options(L, 4, "insert_all", false, &form);
    check_conflict(L, &call, &form);
    if (!lm_mark_is_list(L, 3, &count)) {
        luaL_error(L, "repo:insert_all: the list of rows must have the keys "
                      "1, 2, 3, ...");
    }
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, 3, i);
        lmL_check_table(L, lua_gettop(L), "insert_all", "each row");
        write = insert_row(L, &call, &form, lua_gettop(L), i, write);
        lua_pop(L, 1);
    }
    if (write == NULL)
        write = lm_repo_write(call.repo, call.where);
    lmL_push_handle(L, &call, write);
    return 1;
}

/* -- by condition ----------------------------------------------------- */

/* The changes of an update_all, in the table at index. Leaves on the stack what
 * the form refers to. */
static void
read_changes(lua_State *L, struct lm_call *call, int index,
             struct lm_form *form)
{
    struct lm_names changes;

    lmL_check_table(L, index, "update_all", "the changes");
    changes = lmL_push_names(L, index, lm_the_changes);
    lmL_check_changes(L, changes, "update_all");
    check_columns(L, call, form->table, changes);
    lmL_check_site(L, call, "update_all", lm_the_changes, changes);
    lmL_split_changes(L, index, changes, form);
}

/* The facts about the table are asked for only where they are needed. */
static void
check_computed(lua_State *L, struct lm_call *call, const struct lm_form *form,
               const struct lm_columns *columns)
{
    struct lm_shape *shape = NULL;
    struct lm_err err;

    if (!lm_form_is_computed(form))
        return;
    if (!lm_repo_find_shape(call->repo, form, &shape, &err))
        lmL_raise_noted(L, call, &err);
    check_sums(L, call, shape, columns);
}

/* Writes what has the condition in the arguments from index on: changes is the
 * index of a table of them, 0 for a delete. */
static int
write_all(lua_State *L, const char *method, int changes, int index)
{
    struct lm_call call;
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_buf where = LM_BUF_INIT;
    struct lm_condition condition;
    struct lm_form form = {.verb =
                               changes > 0 ? LM_VERB_UPDATE : LM_VERB_DELETE};
    struct lm_columns columns = {.L = L};
    struct lm_write *write = NULL;
    int last = lua_gettop(L);
    const char *text;
    int first;
    bool ok;

    lmL_begin_call(L, &call);
    form.table = columns.table = lmL_check_text(L, 2);
    if (changes > 0)
        read_changes(L, &call, changes, &form);
    lmL_push_condition(L, &call, index, last, method, &condition);
    columns.names = form.changes;
    columns.offset = condition.count;
    columns.condition = &condition;
    first = lua_gettop(L) - condition.count + 1;
    if (changes > 0)
        lmL_push_changes(L, changes, &form);
    check_computed(L, &call, &form, &columns);
    text = lmL_condition_text(L, &call, columns.table, &condition, &where);
    ok = changes > 0 ? lm_write_update_all(&sql, &form, text, condition.count)
                     : lm_write_delete_all(&sql, columns.table, text);
    lm_buf_release(&where);
    write_or_raise(L, &call, &sql, ok, first,
                   condition.count + columns.names.count, &columns, NULL,
                   &write);
    lmL_push_handle(L, &call, write);
    return 1;
}

static int
l_update_all(lua_State *L)
{
    return write_all(L, "update_all", 3, 4);
}

static int
l_delete_all(lua_State *L)
{
    return write_all(L, "delete_all", 0, 3);
}

const luaL_Reg lm_bind_write_methods[] = {{"update", l_update},
                                          {"delete", l_delete},
                                          {"insert", l_insert},
                                          {"insert_all", l_insert_all},
                                          {"update_all", l_update_all},
                                          {"delete_all", l_delete_all},
                                          {NULL, NULL}};
