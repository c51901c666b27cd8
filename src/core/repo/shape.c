/* SPDX-License-Identifier: MIT */
/*
 * The known shapes, and whether their facts are still true.
 *
 * The version of a table comes from the transactions that wrote its rows in
 * the catalog: the number of these rows, and the sum of their xmin. If a row
 * is added, changed or removed, one of the two changes.
 *
 * To read these rows costs the server more than all else that it does for a
 * batch beside the rows. So there is a cheaper question, the stamp: a prepared
 * statement that depends on the tables. The server analyses it anew when a
 * table has changed, or may have, and that is when 'now' in it becomes a time.
 * While the time is the same, nothing has changed. One that was there in the
 * batch before holds as soon as the versions are read and found to be the same.
 */

#include "core/repo/shape_private.h"

#include "pg/sql/sql.h"

#include <stdlib.h>
#include <string.h>

/* More are forgotten, with those that were in use. */
enum { MAX_SHAPES = 1000 };

/* $1 names of tables, $2 the parts of all of them. The subselects hide how many
 * there are from the planner, which would else plan this each time. */
static const char version_sql[] =
    "SELECT v.count, v.sum, ARRAY("
    " SELECT coalesce(pg_catalog.to_regclass(u.name)::pg_catalog.oid, 0)"
    "  ::pg_catalog.text"
    " FROM pg_catalog.unnest((SELECT $1::pg_catalog.text[]))"
    " WITH ORDINALITY"
    " AS u (name, n) ORDER BY u.n) FROM " LM_SHAPE_VERSION(
        "(SELECT $2::pg_catalog.oid[])") " AS v";
static const char version_shape[] = "1: n i o[]";
static const char stamp_shape[] = "1: t b";

static const struct lm_oids no_oids = {NULL, 0};

/* -- the list --------------------------------------------------------- */

static struct lm_names
copy_names(struct lm_names names)
{
    char **copy = lm_calloc((size_t)names.count, sizeof *copy);

    for (int i = 0; i < names.count; i++)
        copy[i] = lm_strdup(names.names[i]);
    return (struct lm_names){(const char *const *)copy, names.count};
}

static void
free_names(struct lm_names names)
{
    for (int i = 0; i < names.count; i++)
        free((void *)names.names[i]);
    free((void *)names.names);
}

/* NULL stays NULL. */
static bool *
copy_flags(const bool *flags, int count)
{
    bool *copy = NULL;

    if (flags != NULL) {
        copy = lm_calloc((size_t)count, sizeof *copy);
        memcpy(copy, flags, (size_t)count * sizeof *copy);
    }
    return copy;
}

static struct lm_shape *
shape_new(const struct lm_form *form)
{
    struct lm_shape *self = lm_calloc(1, sizeof *self);

    self->unsuited = -1;
    self->form = *form;
    self->form.table = lm_strdup(form->table);
    self->form.changes = copy_names(form->changes);
    self->form.sums = copy_flags(form->sums, form->changes.count);
    self->form.copied = copy_names(form->copied);
    self->form.sources = copy_names(form->sources);
    self->form.key = copy_names(form->key);
    self->form.target = copy_names(form->target);
    self->form.target_where =
        form->target_where != NULL ? lm_strdup(form->target_where) : NULL;
    self->form.overwritten = copy_names(form->overwritten);
    self->form.summed = copy_names(form->summed);
    self->form.returned = copy_names(form->returned);
    return self;
}

void
lm_shape_forget_facts(struct lm_shape *self)
{
    self->known = self->may_combine = false;
    lm_free_texts(self->columns, self->column_count);
    for (int i = 0; self->equal != NULL && i < self->form.key.count; i++) {
        free(self->equal[i].op);
        free(self->equal[i].collate);
    }
    free(self->equal);
    free(self->stray);
    free(self->unsuited_type);
    free(self->linked.oids);
    free(self->sequences.oids);
    free((void *)self->types);
    free(self->array_types.oids);
    free(self->distinct);
    free(self->delimiters);
    free(self->sql);
    free(self->single_sql);
    free(self->name);
    free(self->parts.oids);
    self->equal = NULL;
    self->columns = NULL;
    self->column_count = 0;
    self->types = NULL;
    self->distinct = NULL;
    self->distinct_count = 0;
    self->linked = self->sequences = self->array_types = no_oids;
    self->parts = no_oids;
    self->stray = self->delimiters = self->name = NULL;
    self->unsuited_type = NULL;
    self->unsuited = -1;
    self->sql = self->single_sql = NULL;
    self->oid = 0;
}

static void
shape_free(struct lm_shape *self)
{
    lm_shape_forget_facts(self);
    free_names(self->form.changes);
    free((void *)self->form.sums);
    free_names(self->form.copied);
    free_names(self->form.sources);
    free_names(self->form.key);
    free_names(self->form.target);
    free((void *)self->form.target_where);
    free_names(self->form.overwritten);
    free_names(self->form.summed);
    free_names(self->form.returned);
    free((void *)self->form.table);
    free(self);
}

static void
stamp_reset(struct lm_stamp *self)
{
    free(self->time);
    self->time = NULL;
    self->stays = self->holds = false;
}

void
lm_shapes_forget(struct lm_shapes *self)
{
    stamp_reset(&self->stamp);
    for (size_t i = 0; i < self->count; i++)
        lm_shape_forget_facts(self->all[i]);
}

/* The questions in flight. The shapes may be gone when they are answered. */
struct lm_shapes_question {
    struct lm_shapes *shapes; /* NULL: they are */
    int open;                 /* not answered; and while they are posted */
};

static struct lm_shapes_question *
question_new(struct lm_shapes *shapes)
{
    struct lm_shapes_question *self = lm_alloc(sizeof *self);

    self->shapes = shapes;
    self->open = 1;
    shapes->asked = self;
    return self;
}

static struct lm_shapes_question *
question_open(struct lm_shapes_question *self)
{
    self->open++;
    return self;
}

/* Returns the shapes, or NULL. */
static struct lm_shapes *
question_close(struct lm_shapes_question *self)
{
    struct lm_shapes *shapes = self->shapes;

    if (--self->open > 0)
        return shapes;
    if (shapes != NULL)
        shapes->asked = NULL;
    free(self);
    return shapes;
}

static void
let_go(struct lm_shapes *self)
{
    if (self->asked != NULL)
        self->asked->shapes = NULL;
    self->asked = NULL;
}

void
lm_shapes_release(struct lm_shapes *self)
{
    let_go(self);
    stamp_reset(&self->stamp);
    free(self->stamp.sql);
    self->stamp.sql = NULL;
    for (size_t i = 0; i < self->count; i++)
        shape_free(self->all[i]);
    free(self->all);
    self->all = NULL;
    self->count = 0;
    self->epoch++;
}

static bool
same_names(struct lm_names a, struct lm_names b)
{
    if (a.count != b.count)
        return false;
    for (int i = 0; i < a.count; i++) {
        if (strcmp(a.names[i], b.names[i]) != 0)
            return false;
    }
    return true;
}

static bool
same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static bool
same_flags(const bool *a, const bool *b, int count)
{
    return a == b || (a != NULL && b != NULL &&
                      memcmp(a, b, (size_t)count * sizeof *a) == 0);
}

static bool
same_form(const struct lm_form *a, const struct lm_form *b)
{
    return a->verb == b->verb && a->may_miss == b->may_miss &&
           a->conflict == b->conflict && strcmp(a->table, b->table) == 0 &&
           same_names(a->changes, b->changes) && same_names(a->key, b->key) &&
           same_flags(a->sums, b->sums, a->changes.count) &&
           same_names(a->copied, b->copied) &&
           same_names(a->sources, b->sources) &&
           same_names(a->target, b->target) &&
           same_text(a->target_where, b->target_where) &&
           same_names(a->overwritten, b->overwritten) &&
           same_names(a->summed, b->summed) &&
           same_names(a->returned, b->returned);
}

int
lm_shape_column_count(const struct lm_shape *self)
{
    return self->form.changes.count + self->form.key.count;
}

const char *
lm_shape_column(const struct lm_shape *self, int i)
{
    int changes = self->form.changes.count;

    return i < changes ? self->form.changes.names[i]
                       : self->form.key.names[i - changes];
}

static bool
holds(struct lm_oids oids, uint32_t oid)
{
    for (int i = 0; i < oids.count; i++) {
        if (oids.oids[i] == oid)
            return true;
    }
    return false;
}

static bool
share_sequence(const struct lm_shape *a, const struct lm_shape *b)
{
    for (int i = 0; i < a->sequences.count; i++) {
        if (holds(b->sequences, a->sequences.oids[i]))
            return true;
    }
    return false;
}

bool
lm_shape_is_linked(const struct lm_shape *a, const struct lm_shape *b)
{
    return a->fires || b->fires || a->root == b->root ||
           holds(a->linked, b->root) || holds(b->linked, a->root) ||
           share_sequence(a, b);
}

bool
lm_shapes_find(struct lm_shapes *self, struct lm_conn *conn,
               struct lm_types *types, const struct lm_combine_options *options,
               const struct lm_form *form, struct lm_shape **out,
               struct lm_err *err)
{
    struct lm_shape *shape = NULL;

    for (size_t i = 0; shape == NULL && i < self->count; i++) {
        if (same_form(&self->all[i]->form, form))
            shape = self->all[i];
    }
    if (shape == NULL) {
        shape = shape_new(form);
        self->all =
            lm_realloc(self->all, self->count + 1, sizeof(struct lm_shape *));
        self->all[self->count++] = shape;
    }
    *out = shape;
    return shape->known || lm_shapes_ask(conn, types, options, shape, err);
}

/* -- asking again ----------------------------------------------------- */

/* Is everything unchanged, for all known shapes? The parts of all tables were
 * asked for together. */
static bool
is_same(const struct lm_shapes *self, const struct lm_answer *result)
{
    int64_t count = lm_answer_int(result, 0, 0);
    int64_t sum = lm_answer_int(result, 0, 1);
    struct lm_oids oids = lm_shape_read_oids(result, 2);
    int at = 0;

    for (size_t i = 0; i < self->count; i++) {
        const struct lm_shape *shape = self->all[i];

        if (!shape->known)
            continue;
        count -= shape->version.count;
        sum -= shape->version.sum;
        if (at == oids.count || shape->oid != oids.oids[at++])
            count = -1;
    }
    free(oids.oids);
    return count == 0 && sum == 0;
}

static void
note_change(struct lm_shapes *self)
{
    lm_shapes_forget(self);
    self->outdated = true;
}

static void
on_version(void *arg, const struct lm_answer *answer, struct lm_err *err)
{
    struct lm_shapes *self = question_close(arg);

    (void)err;
    if (self == NULL || answer == NULL)
        return;
    if (is_same(self, answer)) {
        self->stamp.holds = self->stamp.stays;
    } else {
        note_change(self);
    }
}

static void
on_stamp(void *arg, const struct lm_answer *answer, struct lm_err *err)
{
    struct lm_shapes *self = question_close(arg);
    struct lm_stamp *stamp;
    bool same;

    (void)err;
    if (self == NULL || answer == NULL)
        return;
    stamp = &self->stamp;
    same = stamp->time != NULL &&
           strcmp(stamp->time, lm_answer_text(answer, 0, 0)) == 0;
    if (stamp->holds && !(same && lm_answer_bool(answer, 0, 1)))
        note_change(self);
    free(stamp->time);
    stamp->time = lm_answer_copy(answer, 0, 0);
    stamp->stays = same;
}

bool
lm_shapes_have_room(const struct lm_shapes *self)
{
    return self->count <= MAX_SHAPES;
}

void
lm_shapes_begin_use(struct lm_shapes *self)
{
    for (size_t i = 0; i < self->count; i++)
        self->all[i]->used = false;
}

/* Shapes that were not used, and those of missing tables, are asked for when
 * they are needed. */
static void
forget_unused(struct lm_shapes *self)
{
    if (!lm_shapes_have_room(self))
        lm_shapes_release(self);
    for (size_t i = 0; i < self->count; i++) {
        struct lm_shape *shape = self->all[i];

        if (!shape->used || shape->oid == 0)
            lm_shape_forget_facts(shape);
    }
}

/* The tables' names; freed by the caller, but not the texts. */
static struct lm_values
known_names(const struct lm_shapes *self)
{
    const char **names = lm_calloc(self->count, sizeof *names);
    struct lm_values known = {names, 0};

    for (size_t i = 0; i < self->count; i++) {
        if (self->all[i]->known)
            names[known.count++] = self->all[i]->name;
    }
    return known;
}

/* The parts of all tables, each one between two texts. */
static void
add_parts(const struct lm_shapes *self, struct lm_buf *buf, const char *before,
          const char *after)
{
    bool first = true;

    for (size_t i = 0; i < self->count; i++) {
        const struct lm_shape *shape = self->all[i];

        for (int part = 0; shape->known && part < shape->parts.count; part++) {
            lm_buf_puts(buf, first ? "" : ",");
            lm_buf_puts(buf, before);
            lm_buf_add_int(buf, shape->parts.oids[part]);
            lm_buf_puts(buf, after);
            first = false;
        }
    }
}

static bool
post_version(struct lm_shapes *self, struct lm_conn *conn,
             struct lm_values names, struct lm_err *err)
{
    struct lm_buf array = LM_BUF_INIT;
    struct lm_buf parts = LM_BUF_INIT;
    struct lm_stmt *stmt;
    bool ok;

    lm_sql_add_array(&array, names.texts, names.count);
    lm_buf_putc(&parts, '{');
    add_parts(self, &parts, "", "");
    lm_buf_putc(&parts, '}');
    ok = lm_conn_prepare_rare(conn, version_sql, &stmt, err) &&
         lm_conn_post_question(
             conn, stmt, version_shape,
             LM_VALUES(lm_buf_text(&array), lm_buf_text(&parts)), on_version,
             question_open(self->asked), err);
    lm_buf_release(&array);
    lm_buf_release(&parts);
    return ok;
}

/* Its constants of type oid are what the statement depends on. The server does
 * not look for them in an array, nor in a parameter. */
static char *
stamp_sql(const struct lm_shapes *self)
{
    struct lm_buf sql = LM_BUF_INIT;
    int n = 0;

    lm_buf_puts(&sql, "SELECT 'now'::pg_catalog.timestamptz, coalesce(");
    for (size_t i = 0; i < self->count; i++) {
        if (!self->all[i]->known)
            continue;
        lm_buf_puts(&sql, n > 0 ? " AND " : "");
        lm_buf_printf(&sql, "pg_catalog.to_regclass($%d)", ++n);
        lm_buf_puts(&sql, " OPERATOR(pg_catalog.=) '");
        lm_buf_add_int(&sql, self->all[i]->oid);
        lm_buf_puts(&sql, "'::pg_catalog.oid");
    }
    lm_buf_puts(&sql, ", false) AND ARRAY[");
    add_parts(self, &sql, "'", "'::pg_catalog.oid");
    lm_buf_puts(&sql, "] IS NOT NULL");
    return lm_buf_take(&sql);
}

/* Not for tables that were not those of the batch before, nor where the server
 * keeps no statement. */
static bool
turn_stamp(struct lm_shapes *self, const struct lm_conn *conn)
{
    char *sql = lm_conn_is_pooled(conn) ? NULL : stamp_sql(self);
    bool same = sql != NULL && self->stamp.sql != NULL &&
                strcmp(sql, self->stamp.sql) == 0;

    if (!same)
        stamp_reset(&self->stamp);
    free(self->stamp.sql);
    self->stamp.sql = sql;
    return same;
}

static bool
post_stamp(struct lm_shapes *self, struct lm_conn *conn, struct lm_values names,
           struct lm_err *err)
{
    struct lm_stmt *stmt;

    if (!turn_stamp(self, conn))
        return true;
    return lm_conn_prepare_rare(conn, self->stamp.sql, &stmt, err) &&
           lm_conn_post_question(conn, stmt, stamp_shape, names, on_stamp,
                                 question_open(self->asked), err);
}

bool
lm_shapes_post_check(struct lm_shapes *self, struct lm_conn *conn,
                     struct lm_err *err)
{
    struct lm_values names;
    bool ok = true;

    let_go(self);
    forget_unused(self);
    names = known_names(self);
    if (names.count > 0) {
        struct lm_shapes_question *question = question_new(self);

        ok = post_stamp(self, conn, names, err) &&
             (self->stamp.holds || post_version(self, conn, names, err));
        question_close(question);
    }
    free((void *)names.texts);
    return ok;
}
