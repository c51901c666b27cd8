/* SPDX-License-Identifier: MIT */
/* The records of writes: what each call of a script asked for, and how it
 * ended. They are kept for the script, which may read .affected, and for the
 * statements in flight, whose answers are written into them. */

#include "core/repo/private.h"

#include <stdlib.h>
#include <string.h>

/* Writes stay where they are, since those in flight refer to them. */
struct lm_write_block {
    struct lm_write_block *next;
    size_t count;
    struct lm_write writes[256];
};

struct lm_writes *
lm_repo_writes(struct lm_repo *self)
{
    if (self->writes == NULL) {
        self->writes = lm_calloc(1, sizeof *self->writes);
        self->writes->repo = self;
    }
    return self->writes;
}

struct lm_write *
lm_repo_write(struct lm_repo *self, const char *where)
{
    struct lm_writes *home = lm_repo_writes(self);
    struct lm_write_block *block = home->blocks;
    struct lm_write *write;

    if (block == NULL || block->count == LM_COUNT(block->writes)) {
        block = lm_alloc(sizeof *block);
        block->next = home->blocks;
        block->count = 0;
        home->blocks = block;
    }
    write = &block->writes[block->count++];
    memset(write, 0, sizeof *write);
    write->home = home;
    write->where = where;
    home->made++;
    return write;
}

static void
free_writes(struct lm_writes *self)
{
    while (self->blocks != NULL) {
        struct lm_write_block *block = self->blocks;

        self->blocks = block->next;
        for (size_t i = 0; i < block->count; i++) {
            free(block->writes[i].key);
            lm_result_free(block->writes[i].row);
        }
        free(block);
    }
    while (self->flights != NULL) {
        struct lm_flight *flight = self->flights;

        self->flights = flight->next;
        free(flight->writes);
        free(flight);
    }
    free(self);
}

void
lm_writes_land(struct lm_writes *self)
{
    if (--self->in_flight == 0 && self->repo == NULL)
        free_writes(self);
}

void
lm_repo_forget_writes(struct lm_repo *self)
{
    struct lm_writes *writes = self->writes;

    self->writes = NULL;
    if (writes == NULL)
        return;
    writes->repo = NULL;
    if (writes->in_flight == 0)
        free_writes(writes);
}

void
lm_repo_undo_writes(struct lm_repo *self, int64_t kept)
{
    struct lm_writes *home = lm_repo_writes(self);
    int64_t number = home->made;

    for (struct lm_write_block *block = home->blocks; number > kept;
         block = block->next) {
        for (size_t i = block->count; i > 0 && number > kept; i--, number--)
            block->writes[i - 1].undone = true;
    }
}

bool
lm_repo_awaits(const struct lm_repo *self)
{
    return self->writes != NULL && self->writes->in_flight > 0;
}

/* The values of the key, which are not NULL. */
static char *
copy_key(const struct lm_names *key, struct lm_values values)
{
    struct lm_buf texts = LM_BUF_INIT;

    for (int i = values.count - key->count; i < values.count; i++)
        lm_buf_add(&texts, values.texts[i], strlen(values.texts[i]) + 1);
    return lm_buf_take(&texts);
}

void
lm_write_expect_one(struct lm_write *self, const struct lm_shape *shape,
                    struct lm_values values)
{
    const struct lm_form *form = &shape->form;

    self->returns = form->returned.count > 0;
    if (form->conflict == LM_CONFLICT_NOTHING)
        return;
    self->shape = shape;
    if (form->key.count > 0)
        self->key = copy_key(&form->key, values);
}

static void
note_written(struct lm_write *write, int64_t rows)
{
    struct lm_repo *repo = write->home->repo;
    struct lm_err failure;

    write->affected += rows;
    write->pending--;
    if (write->shape == NULL || rows == 1 || repo->failed ||
        (rows == 0 && write->shape->form.may_miss))
        return;
    lm_repo_note_wrong_count(repo, write, rows, &failure);
    lm_repo_note_failure(repo, &failure);
}

static void
on_written(void *arg, const struct lm_result *result, struct lm_err *err)
{
    struct lm_write *write = arg;

    if (err != NULL)
        LM_ERR_COPY(err->where, write->where);
    if (result != NULL && write->home->repo != NULL) {
        note_written(write, lm_result_affected(result));
        if (write->returns)
            write->row = lm_result_copy(result);
    }
    lm_writes_land(write->home);
}

bool
lm_repo_post_kept(struct lm_repo *self, const struct lm_stmt *stmt,
                  struct lm_values values, struct lm_write *write,
                  struct lm_err *err)
{
    if (write->shape != NULL)
        self->unsure = true;
    write->home->in_flight++;
    return lm_conn_post(self->conn, stmt, values, on_written, write, err);
}

bool
lm_write_returns(const struct lm_write *self)
{
    return self->returns;
}

bool
lm_write_is_undone(const struct lm_write *self)
{
    return self->undone;
}

int64_t
lm_write_affected(const struct lm_write *self)
{
    return self->affected;
}
