/* SPDX-License-Identifier: MIT */
/* The `input` of a script, and the base query that depends on its table. Texts
 * are Lua's own, as those of the rest of the definition. */

#include "script/script_private.h"

#include "script/value/fields.h"

#include <lauxlib.h>
#include <string.h>

/* The list in field `columns` of the table at index. */
static void
read_columns(lua_State *L, int index, struct lm_script *self)
{
    int list;

    lua_getfield(L, index, "columns");
    list = lua_gettop(L);
    self->input.column_count = (int)lua_rawlen(L, list);
    self->columns =
        lm_calloc((size_t)self->input.column_count, sizeof *self->columns);
    for (int i = 0; i < self->input.column_count; i++) {
        lua_rawgeti(L, list, i + 1);
        self->columns[i].name = lmL_text_field(L, list + 1, "name");
        self->columns[i].type = lmL_text_field(L, list + 1, "type");
        lua_pop(L, 1);
    }
    self->input.columns = self->columns;
    lua_pop(L, 1);
}

static void
read_header(lua_State *L, int index, struct lm_script *self)
{
    lua_getfield(L, index, "header");
    self->input.header_count = (int)lua_rawlen(L, -1);
    self->header =
        lm_calloc((size_t)self->input.header_count + 1, sizeof *self->header);
    for (int i = 0; i < self->input.header_count; i++) {
        lua_rawgeti(L, -1, i + 1);
        self->header[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    self->input.header = self->header;
    lua_pop(L, 1);
}

void
lmL_read_input(lua_State *L, struct lm_script *self)
{
    struct lm_input *input = &self->input;
    int index;

    lua_getfield(L, 2, "input");
    index = lua_gettop(L);
    if (lua_isnil(L, index)) {
        lua_pop(L, 1);
        return;
    }
    input->format = strcmp(lmL_text_field(L, index, "format"), "csv") == 0
                        ? LM_INPUT_CSV
                        : LM_INPUT_JSONL;
    input->null_text = lmL_text_field(L, index, "null");
    input->delimiter = *lmL_text_field(L, index, "delimiter");
    input->encoding = lmL_text_field(L, index, "encoding");
    input->ignores_others = lmL_bool_field(L, index, "ignore_others");
    read_columns(L, index, self);
    read_header(L, index, self);
    self->migration.input = input;
    self->migration.whole_input = lmL_bool_field(L, 2, "whole_input");
    lua_pop(L, 1);
}

struct reading {
    struct lm_script *script;
    const char *table;
};

static int
read_protected(lua_State *L)
{
    struct reading *reading = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, reading->script->definition);
    lua_getfield(L, 2, "read_input");
    lua_pushstring(L, reading->table);
    lua_call(L, 1, 0);
    lm_params_release(&reading->script->base_params);
    lmL_read_base_query(L, reading->script);
    return 0;
}

bool
lm_script_read_input(void *self, const char *table, struct lm_migration *out,
                     struct lm_err *err)
{
    struct lm_script *script = self;
    struct reading reading = {script, table};

    lua_pushcfunction(script->vm.L, read_protected);
    lua_pushlightuserdata(script->vm.L, &reading);
    if (!lm_vm_call(script->vm.L, 1, 0, err)) {
        if (err->kind == LM_ERR_FAILED)
            err->kind = LM_ERR_SCRIPT;
        return false;
    }
    out->base_query = script->migration.base_query;
    out->params = script->migration.params;
    out->param_count = script->migration.param_count;
    return true;
}

bool
lm_script_fail_unread(const char *path, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_USAGE, "%s reads no file", path);
    return lm_err_hint(err, "Leave --input out, or give the script a field "
                            "\"input\".");
}
