/* SPDX-License-Identifier: MIT */

#include "script/bind/pattern.h"

#include "script/value/marks.h"

#include <stdlib.h>
#include <string.h>

/* A line that passes more than that is a line for everything. */
enum { MAX_PATTERNS = 8, MAX_SHORT = 40 };

/* -- making ----------------------------------------------------------- */

/* The place of a field of the changes, or of the key; -1: it has none. */
static int
position_of(const struct lm_shape *shape, const char *name, bool is_key)
{
    int changes = shape->form.changes.count;
    int columns = lm_shape_column_count(shape);
    int end = is_key ? columns : changes;

    for (int i = is_key ? changes : 0; i < end; i++) {
        if (strcmp(lm_shape_column(shape, i), name) == 0)
            return i;
    }
    for (int i = 0; !is_key && i < shape->form.copied.count; i++) {
        if (strcmp(shape->form.copied.names[i], name) == 0)
            return columns + i;
    }
    return -1;
}

/* Notes the fields of one table; false when one of them is too long, or when
 * they are not those of the shape: a finalizer may have changed the table. */
static bool
note_fields(lua_State *L, struct lm_pattern *self, int index, int end)
{
    bool is_key = self->count >= self->changes;
    bool ok = true;

    if (index == 0)
        return true;
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        size_t len;
        const char *name = lua_tolstring(L, -2, &len);
        int at;

        lua_pop(L, 1);
        at = position_of(self->shape, name, is_key);
        if (len > MAX_SHORT || at < 0 || self->count == end) {
            ok = false;
            continue;
        }
        self->positions[self->count] = at;
        self->fields[self->count++] = lua_topointer(L, -1);
    }
    return ok && self->count == end;
}

/* Keeps the strings alive that are the keys of a table. */
static void
anchor_fields(lua_State *L, int anchors, int index)
{
    if (index == 0)
        return;
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_pushboolean(L, 1);
        lua_rawset(L, anchors);
    }
}

static void
pattern_free(struct lm_pattern *self)
{
    free((void *)self->fields);
    free(self->positions);
    free(self);
}

static void
limit(struct lm_pattern **list)
{
    int count = 0;

    for (struct lm_pattern *at = *list; at != NULL; at = at->next)
        count++;
    if (count >= MAX_PATTERNS)
        lm_pattern_free_all(list);
}

void
lmL_pattern_add(lua_State *L, struct lm_pattern **list, int anchors,
                const struct lm_repo *repo, const char *table,
                struct lm_tables tables, struct lm_shape *shape)
{
    int changes = shape->form.changes.count + shape->form.copied.count;
    int fields = changes + shape->form.key.count;
    const void *identity;
    struct lm_pattern *self;

    if (fields == 0 || strlen(table) > MAX_SHORT)
        return;
    lua_pushstring(L, table);
    identity = lua_topointer(L, -1);
    lua_pushboolean(L, 1);
    lua_rawset(L, anchors);
    anchor_fields(L, anchors, tables.changes);
    anchor_fields(L, anchors, tables.key);

    limit(list);
    self = lm_calloc(1, sizeof *self);
    self->verb = shape->form.verb;
    self->table = identity;
    self->paged = lm_repo_paged(repo);
    self->shape = shape;
    self->epoch = lm_repo_epoch(repo);
    self->fields = lm_calloc((size_t)fields, sizeof *self->fields);
    self->positions = lm_calloc((size_t)fields, sizeof *self->positions);
    self->changes = changes;
    if (!note_fields(L, self, tables.changes, changes) ||
        !note_fields(L, self, tables.key, fields)) {
        pattern_free(self);
        return;
    }
    self->next = *list;
    *list = self;
}

void
lm_pattern_free_all(struct lm_pattern **list)
{
    while (*list != NULL) {
        struct lm_pattern *self = *list;

        *list = self->next;
        pattern_free(self);
    }
}

/* -- following -------------------------------------------------------- */

bool
lm_pattern_may_fit(const struct lm_pattern *self, const struct lm_repo *repo,
                   enum lm_verb verb, const void *table)
{
    return self->table == table && self->verb == verb &&
           self->paged == lm_repo_paged(repo) &&
           self->epoch == lm_repo_epoch(repo);
}

/* Is the value at the top computed as the form says? Takes what an ADD adds out
 * of it. */
static bool
is_computed_so(const struct lm_form *form, lua_State *L, int position)
{
    int columns = form->changes.count + form->key.count;
    bool is_sum = form->sums != NULL && position < form->changes.count &&
                  form->sums[position];
    enum lm_mark mark =
        lua_type(L, -1) == LUA_TTABLE ? lm_mark_of(L, -1) : LM_MARK_NONE;
    size_t len;

    if (position >= columns) {
        return mark == LM_MARK_COLUMN &&
               strcmp(lm_mark_text(L, -1, &len),
                      form->sources.names[position - columns]) == 0;
    }
    if (is_sum != (mark == LM_MARK_ADD) || mark == LM_MARK_COLUMN)
        return false;
    if (is_sum) {
        lm_mark_push(L, -1);
        lua_replace(L, -2);
    }
    return true;
}

static bool
encode_table(const struct lm_pattern *self, lua_State *L, int index, int at,
             int end, struct lm_params *params, bool *fits, int *column,
             struct lm_err *err)
{
    const struct lm_form *form = &self->shape->form;

    *fits = false;
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        if (at == end || lua_topointer(L, -2) != self->fields[at] ||
            !is_computed_so(form, L, self->positions[at])) {
            lua_pop(L, 2);
            return true;
        }
        *column = self->positions[at++];
        if (*column < params->count &&
            !lm_params_set(params, *column, L, -1, self->shape->types[*column],
                           err)) {
            lua_pop(L, 2);
            *fits = true;
            return false;
        }
        lua_pop(L, 1);
    }
    *fits = at == end;
    return true;
}

/* A NULL in the key is an error; the call without a pattern reports it. */
static bool
has_null_key(const struct lm_pattern *self, const struct lm_params *params)
{
    for (int i = self->shape->form.changes.count; i < params->count; i++) {
        if (lm_params_is_null(params, i))
            return true;
    }
    return false;
}

bool
lm_pattern_encode(const struct lm_pattern *self, lua_State *L,
                  struct lm_tables tables, struct lm_params *params, bool *fits,
                  int *column, struct lm_err *err)
{
    bool ok = true;

    lm_params_begin(params, lm_shape_column_count(self->shape));
    *fits = true;
    if (tables.changes != 0) {
        ok = encode_table(self, L, tables.changes, 0, self->changes, params,
                          fits, column, err);
    }
    if (ok && *fits && tables.key != 0) {
        ok = encode_table(self, L, tables.key, self->changes, self->count,
                          params, fits, column, err);
    }
    if (ok && *fits)
        *fits = !has_null_key(self, params);
    return ok;
}
