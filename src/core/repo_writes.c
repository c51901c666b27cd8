/* SPDX-License-Identifier: MIT */
/*
 * The records of writes: what each call of a script has asked for, and what
 * became of it. They are kept for the script, which may ask, and for the
 * statements in flight, which write into them when they land.
 */

#include "core/repo_private.h"

#include <inttypes.h>
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
    return write;
}

static void
free_writes(struct lm_writes *self)
{
    while (self->blocks != NULL) {
        struct lm_write_block *block = self->blocks;

        self->blocks = block->next;
        for (size_t i = 0; i < block->count; i++)
            free(block->writes[i].key);
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

bool
lm_repo_awaits(const struct lm_repo *self)
{
    return self->writes != NULL && self->writes->in_flight > 0;
}

/* "id = 7, tenant = 3" */
static char *
key_text(const struct lm_names *key, struct lm_values values)
{
    struct lm_buf text = LM_BUF_INIT;

    for (int i = 0; i < key->count; i++) {
        const char *value = values.texts[values.count - key->count + i];

        if (i > 0)
            lm_buf_puts(&text, ", ");
        lm_buf_puts(&text, key->names[i]);
        lm_buf_puts(&text, " = ");
        lm_buf_puts(&text, value != NULL ? value : "NULL");
    }
    return lm_buf_take(&text);
}

void
lm_write_expect_one(struct lm_write *self, const struct lm_form *form,
                    struct lm_values values)
{
    self->keyed = form;
    self->key = key_text(&form->key, values);
}

/* A keyed write that did not match exactly one row. */
static void
latch_not_one(struct lm_write *write)
{
    const struct lm_form *form = write->keyed;
    const char *verb = form->verb == LM_VERB_UPDATE ? "update" : "delete";
    struct lm_err err;

    if (write->affected == 0) {
        lm_err_set(&err, LM_ERR_FAILED, "%s of \"%s\" matched no row with %s",
                   verb, form->table, write->key);
        LM_ERR_COPY(err.sqlstate, LM_REPO_NO_ROW);
        lm_err_hint(&err, "Pass { missing = \"ignore\" } as the last argument "
                          "if the row may be gone.");
    } else {
        lm_err_set(&err, LM_ERR_FAILED,
                   "%s of \"%s\" matched %" PRId64 " rows with %s, not one",
                   verb, form->table, write->affected, write->key);
        LM_ERR_COPY(err.sqlstate, LM_REPO_TOO_MANY_ROWS);
        lm_err_hint(&err, "Name all columns of a unique key, or use the call "
                          "that ends in _all.");
    }
    LM_ERR_COPY(err.where, write->where);
    lm_repo_latch(write->home->repo, &err);
}

static void
note_written(struct lm_write *write, int64_t affected)
{
    write->affected += affected;
    write->pending--;
    if (write->keyed != NULL && write->affected != 1 &&
        !(write->affected == 0 && write->keyed->may_miss))
        latch_not_one(write);
}

static void
on_written(void *arg, const struct lm_result *result, struct lm_err *err)
{
    struct lm_write *write = arg;

    if (err != NULL)
        LM_ERR_COPY(err->where, write->where);
    if (result != NULL && write->home->repo != NULL)
        note_written(write, lm_result_affected(result));
    lm_writes_land(write->home);
}

bool
lm_repo_post_kept(struct lm_repo *self, const struct lm_stmt *stmt,
                  struct lm_values values, struct lm_write *write,
                  struct lm_err *err)
{
    if (write->keyed != NULL)
        self->unsure = true;
    write->home->in_flight++;
    return lm_conn_post(self->conn, stmt, values, on_written, write, err);
}
