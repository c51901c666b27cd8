/* SPDX-License-Identifier: MIT */
/*
 * Groups of writes: rows of one shape are collected as array literals and
 * posted as one statement.
 *
 * There is one open group. Whatever depends on its rows, or comes after them
 * on another shape, closes it first, so that the order of writes is kept. A
 * group may not grow past a bound: it is sent on while the script goes on. A
 * group of one row is posted as the plain statement that it is.
 *
 * When a combined statement fails, nobody knows which row it was: the latch
 * says so, and the runner runs the batch again without combining.
 */

#include "core/repo_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_GROUP_BYTES = 1 << 20 };

/* A combined statement in flight. */
struct lm_flight {
    struct lm_flight *next;
    struct lm_repo *repo;
    struct lm_write **writes;
    size_t rows;
};

static int
column_count(const struct lm_shape *shape)
{
    return shape->change_count + shape->key_count;
}

/* Empties the group; the writes are still the repo's. */
static void
reset(struct lm_group *group)
{
    int count = group->shape != NULL ? column_count(group->shape) : 0;

    for (int i = 0; i < count; i++) {
        lm_buf_release(&group->arrays[i]);
        free(group->first[i]);
    }
    free(group->arrays);
    free(group->first);
    free(group->writes);
    memset(group, 0, sizeof *group);
}

void
lm_repo_drop_group(struct lm_repo *self)
{
    reset(&self->group);
}

void
lm_repo_forget_groups(struct lm_repo *self)
{
    reset(&self->group);
    while (self->flights != NULL) {
        struct lm_flight *flight = self->flights;

        self->flights = flight->next;
        free(flight->writes);
        free(flight);
    }
    self->combined_failed = false;
}

/* -- collecting ------------------------------------------------------- */

static void
open_group(struct lm_group *group, struct lm_shape *shape,
           struct lm_values values)
{
    size_t count = (size_t)column_count(shape);

    group->shape = shape;
    group->arrays = lm_calloc(count, sizeof *group->arrays);
    group->first = lm_calloc(count, sizeof *group->first);
    for (size_t i = 0; i < count; i++) {
        if (values.texts[i] != NULL)
            group->first[i] = lm_strdup(values.texts[i]);
    }
}

/* Every element is quoted but NULL, so that the text NULL is a text. */
static void
add_element(struct lm_buf *array, const char *text, char delimiter)
{
    lm_buf_putc(array, (char)(array->len == 0 ? '{' : delimiter));
    if (text == NULL) {
        lm_buf_puts(array, "NULL");
        return;
    }
    lm_buf_putc(array, '"');
    while (*text != '\0') {
        size_t plain = strcspn(text, "\"\\");

        lm_buf_add(array, text, plain);
        text += plain;
        if (*text != '\0') {
            lm_buf_putc(array, '\\');
            lm_buf_putc(array, *text++);
        }
    }
    lm_buf_putc(array, '"');
}

static void
add_row(struct lm_group *group, struct lm_values values, struct lm_write *write)
{
    for (int i = 0; i < values.count; i++) {
        add_element(&group->arrays[i], values.texts[i],
                    group->shape->delimiters[i]);
    }
    if (group->rows == group->room) {
        group->room = group->room > 0 ? 2 * group->room : 64;
        group->writes =
            lm_realloc(group->writes, group->room, sizeof(struct lm_write *));
    }
    group->writes[group->rows++] = write;
}

static size_t
group_bytes(const struct lm_group *group)
{
    size_t bytes = 0;

    for (int i = 0; i < column_count(group->shape); i++)
        bytes += group->arrays[i].len;
    return bytes;
}

bool
lm_repo_shape(struct lm_repo *self, enum lm_verb verb, const char *table,
              struct lm_names changes, struct lm_names key,
              struct lm_shape **out, struct lm_err *err)
{
    if (!lm_repo_check_usable(self, err))
        return false;
    if (!lm_shapes_find(&self->shapes, self->conn, &self->types,
                        &self->combine_options, verb, table, changes, key, out,
                        err))
        return lm_repo_fail_with(self, err);
    if (self->failed)
        *err = self->failure;
    return !self->failed;
}

bool
lm_repo_combine(struct lm_repo *self, struct lm_shape *shape,
                struct lm_values values, struct lm_write *write,
                struct lm_err *err)
{
    struct lm_group *group = &self->group;

    if (!lm_repo_check_usable(self, err))
        return false;
    if (group->shape != NULL &&
        (group->shape != shape || group_bytes(group) > MAX_GROUP_BYTES) &&
        !lm_repo_close_group(self, err))
        return false;
    if (group->shape == NULL)
        open_group(group, shape, values);
    lm_repo_keep(self, write);
    add_row(group, values, write);
    return true;
}

/* -- posting ---------------------------------------------------------- */

static void
on_combined(void *arg, const struct lm_result *result, struct lm_err *err)
{
    struct lm_flight *flight = arg;

    (void)result;
    if (err != NULL) {
        LM_ERR_COPY(err->where, flight->writes[0]->where);
        if (!flight->repo->failed)
            flight->repo->combined_failed = true;
        return;
    }
    for (size_t i = 0; i < flight->rows; i++) {
        flight->writes[i]->affected++;
        flight->writes[i]->pending--;
    }
}

static bool
post_combined(struct lm_repo *self, struct lm_err *err)
{
    struct lm_group *group = &self->group;
    struct lm_shape *shape = group->shape;
    int count = column_count(shape);
    const char **texts = lm_calloc((size_t)count + 1, sizeof *texts);
    uint32_t *types = lm_calloc((size_t)count + 1, sizeof *types);
    struct lm_flight *flight = lm_calloc(1, sizeof *flight);
    struct lm_values values = {texts, count + 1};
    struct lm_stmt *stmt;
    char rows[24];
    bool ok;

    for (int i = 0; i < count; i++) {
        lm_buf_putc(&group->arrays[i], '}');
        texts[i] = lm_buf_text(&group->arrays[i]);
        types[i] = shape->array_types[i];
    }
    snprintf(rows, sizeof rows, "%zu", group->rows);
    texts[count] = rows;
    types[count] = LM_TYPE_INT8;
    flight->repo = self;
    flight->writes = group->writes;
    flight->rows = group->rows;
    flight->next = self->flights;
    self->flights = flight;
    group->writes = NULL;
    ok =
        lm_conn_prepare(self->conn, shape->sql, types, count + 1, &stmt, err) &&
        lm_conn_post(self->conn, stmt, values, on_combined, flight, err);
    free(texts);
    free(types);
    return ok;
}

static bool
plain_sql(struct lm_buf *sql, const struct lm_shape *shape)
{
    struct lm_names changes = {(const char *const *)shape->columns,
                               shape->change_count};
    struct lm_names key = {(const char *const *)shape->columns +
                               shape->change_count,
                           shape->key_count};
    struct lm_names none = {NULL, 0};

    switch (shape->verb) {
    case LM_VERB_INSERT:
        return lm_write_insert(sql, shape->table, changes, LM_CONFLICT_ERROR,
                               none, none);
    case LM_VERB_UPDATE:
        return lm_write_update(sql, shape->table, changes, key);
    case LM_VERB_DELETE:
        break;
    }
    return lm_write_delete(sql, shape->table, key);
}

static void
make_keyed(struct lm_write *write, const struct lm_group *group)
{
    const struct lm_shape *shape = group->shape;
    struct lm_buf text = LM_BUF_INIT;

    if (shape->verb == LM_VERB_INSERT)
        return;
    write->keyed = true;
    lm_buf_printf(&text, "%s of \"%s\"",
                  shape->verb == LM_VERB_UPDATE ? "update" : "delete",
                  shape->table);
    write->what = lm_buf_take(&text);
    for (int i = shape->change_count; i < column_count(shape); i++) {
        lm_buf_printf(&text, "%s%s = %s", i > shape->change_count ? ", " : "",
                      shape->columns[i],
                      group->first[i] != NULL ? group->first[i] : "NULL");
    }
    write->key = lm_buf_take(&text);
}

static bool
post_alone(struct lm_repo *self, struct lm_err *err)
{
    struct lm_group *group = &self->group;
    struct lm_values values = {(const char *const *)group->first,
                               column_count(group->shape)};
    struct lm_buf sql = LM_BUF_INIT;
    struct lm_stmt *stmt;
    bool ok =
        plain_sql(&sql, group->shape) &&
        lm_conn_prepare(self->conn, lm_buf_text(&sql), NULL, 0, &stmt, err);

    lm_buf_release(&sql);
    if (!ok)
        return false;
    make_keyed(group->writes[0], group);
    return lm_repo_post_kept(self, stmt, values, group->writes[0], err);
}

bool
lm_repo_close_group(struct lm_repo *self, struct lm_err *err)
{
    const char *where;
    bool alone;
    bool ok;

    if (self->group.shape == NULL)
        return true;
    alone = self->group.rows == 1;
    where = self->group.writes[0]->where;
    ok = alone ? post_alone(self, err) : post_combined(self, err);
    if (!ok && !self->failed && err->where[0] == '\0') {
        LM_ERR_COPY(err->where, where);
        self->combined_failed = !alone;
    }
    reset(&self->group);
    if (!ok)
        return lm_repo_fail_with(self, err);
    if (self->failed)
        *err = self->failure;
    return !self->failed;
}

bool
lm_repo_finish(struct lm_repo *self, struct lm_err *err)
{
    return lm_repo_close_group(self, err) &&
           (!self->unsure || lm_repo_flush(self, err));
}
