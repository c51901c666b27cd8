/* SPDX-License-Identifier: MIT */
/*
 * Rows as scripts see them: the results of queries, and pages.
 *
 * Each row is a table, by column name; luamig.strict gives it and the list the
 * metatables that raise for a column that does not exist. A NULL field is
 * absent. The caller keeps the result.
 *
 * If Lua cannot hold a value, that is an error; the value is never rounded or
 * cut. The error names the column, and the row by its key (of a page) or by
 * its number.
 */

#include "core/page/page.h"
#include "script/bind/private.h"
#include "script/vm/vm.h"

#include <stdio.h>

/* A result on its way into Lua. */
struct reading {
    struct lm_repo *repo;
    const struct lm_result *result;
    const struct lm_page *page; /* NULL: it is no page */
    const struct lm_type **types;
    int columns;
    int names; /* stack index of the list of names */
};

/* Raises err, which says what is wrong with one value. */
static void
raise_value(lua_State *L, const struct reading *self, int row, int column,
            struct lm_err *err)
{
    const struct lm_base_query *paged = lm_repo_paged(self->repo);

    lm_err_prefix(err, "column \"%s\"",
                  lm_result_column_name(self->result, column));
    if (self->page != NULL && paged != NULL) {
        struct lm_key key = {NULL, 0};
        struct lm_buf text = LM_BUF_INIT;

        lm_page_copy_key(self->page, paged, row, &key);
        lm_key_describe(&key, paged, &text);
        lm_err_prefix(err, "row %s", lm_buf_text(&text));
        lm_key_release(&key);
        lm_buf_release(&text);
    } else {
        lm_err_prefix(err, "row %d", row + 1);
    }
    lmL_raise(L, err);
}

/* [-0, +1, raises] */
static void
push_field(lua_State *L, const struct reading *self, int row, int column,
           const char *text)
{
    struct lm_err err;

    if (!lmL_push_value(L, self->types[column], text,
                        lm_result_length(self->result, row, column), &err))
        raise_value(L, self, row, column, &err);
}

static void
push_row(lua_State *L, const struct reading *self, int row)
{
    lua_createtable(L, 0, self->columns);
    for (int i = 0; i < self->columns; i++) {
        const char *text = lm_result_text(self->result, row, i);

        if (text == NULL)
            continue;
        lua_rawgeti(L, self->names, i + 1);
        push_field(L, self, row, i, text);
        lua_rawset(L, -3);
    }
}

/* Looks the columns' types up; they stay on the stack. [-0, +1, raises] */
static void
push_types(lua_State *L, struct reading *self)
{
    const struct lm_type **types =
        lua_newuserdatauv(L, (size_t)self->columns * sizeof(void *), 0);
    struct lm_err err;

    for (int i = 0; i < self->columns; i++) {
        if (!lm_repo_type(self->repo, lm_result_column_type(self->result, i),
                          &types[i], &err))
            lmL_raise(L, &err);
    }
    self->types = types;
}

/* Pushes what luamig.strict makes of the columns' names: the metatables of the
 * list and of its rows, and the list of names. [-0, +3, raises] */
static void
push_names(lua_State *L, struct reading *self)
{
    lua_getfield(L, LUA_REGISTRYINDEX, "luamig.strict.row"); /* strict */
    lua_createtable(L, self->columns, 0);                    /* strict names */
    for (int i = 0; i < self->columns; i++) {
        lua_pushstring(L, lm_result_column_name(self->result, i));
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushvalue(L, -1);
    lua_insert(L, -3); /* names strict names */
    lua_call(L, 1, 2); /* names meta list */
    lua_insert(L, -3); /* list names meta */
    lua_insert(L, -2); /* list meta names */
    self->names = lua_gettop(L);
}

/* The first rows of a result, as luamig.strict wants them. [-0, +1, raises] */
static void
push_rows(lua_State *L, struct reading *self, int rows)
{
    luaL_checkstack(L, 16, "too many results");
    push_types(L, self);         /* types */
    push_names(L, self);         /* types list meta names */
    lua_createtable(L, rows, 0); /* types list meta names rows */
    for (int row = 0; row < rows; row++) {
        push_row(L, self, row);
        lua_pushvalue(L, self->names - 1);
        lua_setmetatable(L, -2);
        lua_rawseti(L, -2, row + 1);
    }
    lua_pushvalue(L, self->names - 2);
    lua_setmetatable(L, -2);
    lua_insert(L, self->names - 3); /* rows types list meta names */
    lua_pop(L, 4);
}

void
lmL_push_result(lua_State *L, struct lm_repo *repo,
                const struct lm_result *result)
{
    struct reading reading = {
        .repo = repo, .result = result, .columns = lm_result_columns(result)};

    push_rows(L, &reading, lm_result_rows(result));
}

void
lmL_push_scalar(lua_State *L, struct lm_repo *repo,
                const struct lm_result *result)
{
    struct reading reading = {.repo = repo, .result = result, .columns = 1};

    if (lm_result_rows(result) == 0 || lm_result_text(result, 0, 0) == NULL) {
        lua_pushnil(L);
        return;
    }
    push_types(L, &reading);
    push_field(L, &reading, 0, 0, lm_result_text(result, 0, 0));
}

void
lmL_push_page(lua_State *L, struct lm_repo *repo, const struct lm_page *page)
{
    struct reading reading = {.repo = repo,
                              .result = page->result,
                              .page = page,
                              .columns = page->columns};

    push_rows(L, &reading, page->rows);
}

/* [-0, +1, memory] */
static void
push_content(lua_State *L, const struct lm_page *page, int row)
{
    luaL_Buffer buffer;

    luaL_buffinit(L, &buffer);
    for (int i = 0; i < page->columns; i++) {
        const char *text = lm_result_text(page->result, row, i);
        size_t len = lm_result_length(page->result, row, i);
        char head[24];

        if (text == NULL) {
            luaL_addchar(&buffer, '-');
            continue;
        }
        snprintf(head, sizeof head, "%zu:", len);
        luaL_addstring(&buffer, head);
        luaL_addlstring(&buffer, text, len);
    }
    luaL_pushresult(&buffer);
}

void
lmL_push_contents(lua_State *L, const struct lm_page *page)
{
    lua_createtable(L, page->rows, 0);
    for (int row = 0; row < page->rows; row++) {
        push_content(L, page, row);
        lua_rawseti(L, -2, row + 1);
    }
}
