/* SPDX-License-Identifier: MIT */
/*
 * Groups of writes: rows of one shape are collected as array literals and
 * posted as one statement.
 *
 * Groups on tables that are independent of each other are open together. A
 * write that depends on their rows, or must come after them, sends them first,
 * so the order of the calls makes no visible difference. A group is sent when
 * it reaches a limit. The limit is small at first, so that the server works
 * while the script continues, and larger each time. A group of one row is
 * posted as a plain statement.
 *
 * If a combined statement fails, it is unknown which row failed. If groups
 * were sent in another order than their rows were written, it is unknown
 * whether an earlier row would have failed first. The repo notes this, and the
 * runner runs the batch again without combining.
 */

#include "base/text.h"
#include "core/repo/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_GROUP_BYTES = 1 << 20, FIRST_GOAL = 32, GROWTH = 4 };

/* What a value takes in an array beside its text. */
enum { QUOTES = 3 };

static int
column_count(const struct lm_group *group)
{
    return lm_shape_column_count(group->shape);
}

/* The writes are still the repo's. */
static void
empty(struct lm_group *group)
{
    for (int i = 0; i < column_count(group); i++)
        lm_buf_clear(&group->arrays[i]);
    if (group->key_room > 16 * (group->rows + 1)) {
        free(group->keys); /* clearing would take longer than the rows did */
        group->keys = NULL;
        group->key_room = 0;
    } else if (group->key_room > 0) {
        memset(group->keys, 0, group->key_room * sizeof *group->keys);
    }
    group->rows = group->bytes = 0;
}

static void
release(struct lm_group *group)
{
    for (int i = 0; i < column_count(group); i++) {
        lm_buf_release(&group->arrays[i]);
        lm_buf_release(&group->first[i]);
    }
    free(group->arrays);
    free(group->first);
    free(group->first_nulls);
    free((void *)group->texts);
    free(group->writes);
    free(group->keys);
}

void
lm_repo_drop_groups(struct lm_repo *self)
{
    for (int i = 0; i < self->group_count; i++)
        empty(&self->groups[i]);
}

void
lm_repo_forget_groups(struct lm_repo *self)
{
    for (int i = 0; i < self->group_count; i++)
        release(&self->groups[i]);
    self->group_count = 0;
}

/* -- shapes ----------------------------------------------------------- */

/* As the server would say it, and with a hint. */
static bool
fail_stray(struct lm_repo *self, const struct lm_shape *shape,
           struct lm_err *err)
{
    int nearest =
        lm_text_nearest(shape->stray, (const char *const *)shape->columns,
                        (size_t)shape->column_count);

    lm_err_set(err, LM_ERR_DATABASE,
               "column \"%s\" of relation \"%s\" does not exist", shape->stray,
               shape->form.table);
    LM_ERR_COPY(err->sqlstate, "42703");
    if (nearest >= 0)
        lm_err_hint(err, "Did you mean \"%s\"?", shape->columns[nearest]);
    return lm_repo_fail_with(self, err);
}

bool
lm_repo_find_shape(struct lm_repo *self, const struct lm_form *form,
                   struct lm_shape **out, struct lm_err *err)
{
    if (!lm_repo_check_usable(self, err) || !lm_repo_begin_write(self, err))
        return false;
    if (!lm_shapes_find(&self->shapes, self->conn, &self->types,
                        &self->options.combine, form, out, err))
        return lm_repo_fail_with(self, err);
    (*out)->used = true;
    if (form->verb == LM_VERB_INSERT && !(*out)->judged) {
        if (!lm_repo_judge_insert(self, form, err))
            return false;
        (*out)->judged = true;
    }
    /* An earlier write may have failed first. */
    if ((*out)->stray != NULL)
        return lm_repo_flush(self, err) && fail_stray(self, *out, err);
    return lm_repo_has_no_failure(self, err);
}

bool
lm_repo_may_combine(struct lm_repo *self, struct lm_shape *shape, bool *may,
                    struct lm_err *err)
{
    if (!lm_repo_check_usable(self, err) || !lm_repo_begin_write(self, err))
        return false;
    shape->used = true;
    if (!shape->known && !lm_shapes_ask(self->conn, &self->types,
                                        &self->options.combine, shape, err))
        return lm_repo_fail_with(self, err);
    *may = self->combine && shape->may_combine && !shape->single;
    return lm_repo_has_no_failure(self, err);
}

/* -- posting ---------------------------------------------------------- */

/* Notes whether all rows were written, none, or an unknown part. */
static void
note_combined(const struct lm_flight *flight, size_t written)
{
    for (size_t i = 0; i < flight->rows; i++) {
        struct lm_write *write = flight->writes[i];

        write->pending--;
        if (written == flight->rows) {
            write->affected++;
        } else if (written > 0) {
            write->vague = flight->shape;
        }
    }
}

static void
on_combined(void *arg, const struct lm_answer *answer, struct lm_err *err)
{
    const struct lm_flight *flight = arg;
    struct lm_repo *repo = flight->home->repo;

    if (err != NULL) {
        LM_ERR_COPY(err->where, flight->writes[0]->where);
        if (repo != NULL && !repo->failed)
            repo->combined_failed = true;
    }
    if (answer != NULL && repo != NULL)
        note_combined(flight, (size_t)lm_answer_int(answer, 0, 0));
    lm_writes_land(flight->home);
}

static struct lm_flight *
take_off(struct lm_repo *self, struct lm_group *group)
{
    struct lm_flight *flight = lm_calloc(1, sizeof *flight);

    flight->home = lm_repo_writes(self);
    flight->home->in_flight++;
    flight->shape = group->shape;
    flight->writes = group->writes;
    flight->rows = group->rows;
    flight->next = flight->home->flights;
    flight->home->flights = flight;
    group->writes = NULL;
    group->room = 0;
    return flight;
}

static bool
post_combined(struct lm_repo *self, struct lm_group *group, struct lm_err *err)
{
    struct lm_shape *shape = group->shape;
    int count = column_count(group);
    struct lm_values values = {group->texts, count + 1};
    struct lm_stmt *stmt;
    char rows[24];

    for (int i = 0; i < count; i++) {
        lm_buf_putc(&group->arrays[i], '}');
        group->texts[i] = lm_buf_text(&group->arrays[i]);
    }
    snprintf(rows, sizeof rows, "%zu", group->rows);
    group->texts[count] = rows;
    return lm_conn_prepare(self->conn, shape->sql, shape->array_types.oids,
                           count + 1, &stmt, err) &&
           lm_conn_post_question(self->conn, stmt, LM_WRITE_COMBINED_SHAPE,
                                 values, on_combined, take_off(self, group),
                                 err) &&
           lm_conn_push(self->conn, err);
}

static bool
post_alone(struct lm_repo *self, struct lm_group *group, struct lm_err *err)
{
    const struct lm_shape *shape = group->shape;
    int count = column_count(group);
    struct lm_values values = {group->texts, count};
    struct lm_write *write = group->writes[0];
    struct lm_stmt *stmt;

    for (int i = 0; i < count; i++) {
        group->texts[i] =
            group->first_nulls[i] ? NULL : lm_buf_text(&group->first[i]);
    }
    lm_write_expect_one(write, shape, values);
    return lm_conn_prepare(self->conn, shape->single_sql, NULL, 0, &stmt,
                           err) &&
           lm_repo_post_kept(self, stmt, values, write, err);
}

/* Do other groups wait, perhaps with rows that were written before? */
static bool
others_wait(const struct lm_repo *self, const struct lm_group *group)
{
    for (int i = 0; i < self->group_count; i++) {
        if (&self->groups[i] != group && self->groups[i].rows > 0)
            return true;
    }
    return false;
}

/* A group of one row is posted as the plain statement that it is. But where the
 * answer to a plain insert is all that would have to be waited for, the server
 * counts the row, in the combined one. */
static bool
is_alone(const struct lm_repo *self, const struct lm_group *group, bool is_last)
{
    const struct lm_form *form = &group->shape->form;
    bool counted = form->verb == LM_VERB_INSERT && !form->may_miss &&
                   form->conflict != LM_CONFLICT_NOTHING;

    return group->rows == 1 && !(is_last && counted && !self->unsure);
}

static bool
send(struct lm_repo *self, struct lm_group *group, bool is_last,
     struct lm_err *err)
{
    bool alone = is_alone(self, group, is_last);
    const char *where;
    bool ok;

    if (group->rows == 0)
        return true;
    if (others_wait(self, group))
        self->reordered = self->overtaken = true;
    where = group->writes[0]->where;
    ok = alone ? post_alone(self, group, err) : post_combined(self, group, err);
    if (!ok && !self->failed && err->where[0] == '\0') {
        LM_ERR_COPY(err->where, where);
        self->combined_failed = !alone;
    }
    empty(group);
    if (!ok)
        return lm_repo_fail_with(self, err);
    return lm_repo_has_no_failure(self, err);
}

static bool
send_all(struct lm_repo *self, bool is_last, struct lm_err *err)
{
    for (int i = 0; i < self->group_count; i++) {
        if (!send(self, &self->groups[i], is_last, err))
            return false;
    }
    return true;
}

bool
lm_repo_send_groups(struct lm_repo *self, struct lm_err *err)
{
    return send_all(self, false, err);
}

bool
lm_repo_finish(struct lm_repo *self, struct lm_err *err)
{
    return send_all(self, true, err) &&
           (!self->unsure || lm_repo_flush(self, err));
}

/* -- collecting ------------------------------------------------------- */

/* The texts of integers need no quotes in an array. */
static bool
is_integer(const struct lm_type *type)
{
    return type->element == 0 &&
           (type->base == LM_TYPE_INT8 || type->base == LM_TYPE_INT4 ||
            type->base == LM_TYPE_INT2 || type->base == LM_TYPE_OID);
}

/* Others are quoted, so that the text NULL is a text. */
static void
add_element(struct lm_buf *array, const char *text, char delimiter, bool bare)
{
    lm_buf_putc(array, (char)(array->len == 0 ? '{' : delimiter));
    if (text == NULL || bare) {
        lm_buf_puts(array, text != NULL ? text : "NULL");
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

/* FNV-1a of the texts in which rows must differ; never 0. */
static uint64_t
hash_key(const struct lm_group *group, struct lm_values values)
{
    uint64_t hash = 0xCBF29CE484222325u;

    for (int i = 0; i < group->shape->distinct_count; i++) {
        const char *text = values.texts[group->shape->distinct[i]];

        do {
            hash = (hash ^ (unsigned char)(text != NULL ? *text : 1)) *
                   0x100000001B3u;
        } while (text != NULL && *text++ != '\0');
    }
    return hash != 0 ? hash : 1;
}

/* The place of a hash, or the free place for it. Two keys with one hash count
 * as the same key; that only ends a group early. */
static uint64_t *
find_key(const struct lm_group *group, uint64_t hash)
{
    size_t at = hash & (group->key_room - 1);

    while (group->keys[at] != 0 && group->keys[at] != hash)
        at = (at + 1) & (group->key_room - 1);
    return &group->keys[at];
}

/* At most half of the places are taken. */
static void
make_room_for_keys(struct lm_group *group)
{
    uint64_t *old = group->keys;
    size_t old_room = group->key_room;

    if (2 * (group->rows + 1) <= old_room)
        return;
    group->key_room = old_room > 0 ? 2 * old_room : 16;
    group->keys = lm_calloc(group->key_room, sizeof *group->keys);
    for (size_t i = 0; i < old_room; i++) {
        if (old[i] != 0)
            *find_key(group, old[i]) = old[i];
    }
    free(old);
}

/* What the row takes in the arrays, about. */
static size_t
row_bytes(struct lm_values values)
{
    size_t bytes = QUOTES * (size_t)values.count;

    for (int i = 0; i < values.count; i++)
        bytes += values.texts[i] != NULL ? strlen(values.texts[i]) : 0;
    return bytes;
}

static void
open_group(struct lm_group *group, struct lm_shape *shape)
{
    size_t count = (size_t)lm_shape_column_count(shape);

    memset(group, 0, sizeof *group);
    group->shape = shape;
    group->goal = FIRST_GOAL;
    group->arrays = lm_calloc(count, sizeof *group->arrays);
    group->first = lm_calloc(count, sizeof *group->first);
    group->first_nulls = lm_calloc(count, sizeof *group->first_nulls);
    group->texts = lm_calloc(count + 1, sizeof *group->texts);
}

/* Sends the groups that depend on the order, and finds the group of the shape.
 */
static bool
find_group(struct lm_repo *self, struct lm_shape *shape,
           struct lm_group **found, struct lm_err *err)
{
    *found = NULL;
    for (int i = 0; i < self->group_count; i++) {
        struct lm_group *group = &self->groups[i];

        if (group->shape == shape) {
            *found = group;
        } else if (group->rows > 0 && lm_shape_is_linked(group->shape, shape) &&
                   !send(self, group, false, err)) {
            return false;
        }
    }
    if (*found != NULL)
        return true;
    if (self->group_count == LM_MAX_GROUPS) {
        if (!lm_repo_send_groups(self, err))
            return false;
        for (int i = 0; i < self->group_count; i++)
            release(&self->groups[i]);
        self->group_count = 0;
    }
    *found = &self->groups[self->group_count++];
    open_group(*found, shape);
    return true;
}

static void
add_row(struct lm_group *group, struct lm_values values, struct lm_write *write)
{
    for (int i = 0; i < values.count; i++) {
        const char *text = values.texts[i];

        add_element(&group->arrays[i], text, group->shape->delimiters[i],
                    is_integer(group->shape->types[i]));
        if (group->rows > 0)
            continue;
        group->first_nulls[i] = text == NULL;
        lm_buf_clear(&group->first[i]);
        lm_buf_puts(&group->first[i], text != NULL ? text : "NULL");
    }
    if (group->rows == group->room) {
        group->room = group->room > 0 ? 2 * group->room : FIRST_GOAL;
        group->writes =
            lm_realloc(group->writes, group->room, sizeof(struct lm_write *));
    }
    group->writes[group->rows++] = write;
    write->pending++;
}

/* A key that comes again begins another statement. */
static bool
add_key(struct lm_repo *self, struct lm_group *group, struct lm_values values,
        struct lm_err *err)
{
    uint64_t hash = hash_key(group, values);

    make_room_for_keys(group);
    if (*find_key(group, hash) == hash) {
        if (!send(self, group, false, err))
            return false;
        make_room_for_keys(group);
    }
    *find_key(group, hash) = hash;
    return true;
}

bool
lm_repo_combine(struct lm_repo *self, struct lm_shape *shape,
                struct lm_values values, struct lm_write *write,
                struct lm_err *err)
{
    size_t bytes = row_bytes(values);
    struct lm_group *group;

    if (!lm_repo_check_usable(self, err) ||
        !find_group(self, shape, &group, err))
        return false;
    if (group->rows > 0 && group->bytes + bytes > MAX_GROUP_BYTES &&
        !send(self, group, false, err))
        return false;
    if (shape->distinct_count > 0 && !add_key(self, group, values, err))
        return false;
    add_row(group, values, write);
    group->bytes += bytes;
    if (group->rows < group->goal && group->bytes <= MAX_GROUP_BYTES)
        return true;
    group->goal *= GROWTH;
    return send(self, group, false, err);
}
