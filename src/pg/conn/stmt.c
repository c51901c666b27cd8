/* SPDX-License-Identifier: MIT */
/*
 * A small cache: a script has a handful of statements, so a linear search over
 * hashes is enough. Scripts that splice values into SQL make a new text each
 * time; the bound keeps them from filling the server's memory.
 */

#include "pg/conn/stmt.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STATEMENTS = 256 };

static uint64_t
hash_key(const char *sql, const uint32_t *types, int type_count)
{
    uint64_t hash = lm_text_hash(sql);

    for (int i = 0; i < type_count; i++)
        hash = hash * 31 + types[i];
    return hash;
}

static bool
same_key(const struct lm_stmt *stmt, const char *sql, const uint32_t *types,
         int type_count)
{
    return strcmp(stmt->sql, sql) == 0 && stmt->asked_count == type_count &&
           (type_count == 0 || memcmp(stmt->asked_types, types,
                                      (size_t)type_count * sizeof *types) == 0);
}

struct lm_stmt *
lm_stmt_cache_find(struct lm_stmt_cache *self, const char *sql,
                   const uint32_t *types, int type_count)
{
    uint64_t hash = hash_key(sql, types, type_count);

    for (size_t i = 0; i < self->count; i++) {
        struct lm_stmt *stmt = self->entries[i];

        if (stmt->hash == hash && same_key(stmt, sql, types, type_count)) {
            stmt->last_use = ++self->uses;
            /* Statements that are used often come first, also in turn. */
            self->entries[i] = self->entries[i / 2];
            self->entries[i / 2] = stmt;
            return stmt;
        }
    }
    return NULL;
}

struct lm_stmt *
lm_stmt_cache_add(struct lm_stmt_cache *self, const char *sql,
                  const uint32_t *types, int type_count)
{
    struct lm_stmt *stmt = lm_calloc(1, sizeof *stmt);

    snprintf(stmt->name, sizeof stmt->name, "luamig_%" PRIu64, ++self->names);
    stmt->sql = lm_strdup(sql);
    stmt->hash = hash_key(sql, types, type_count);
    stmt->last_use = ++self->uses;
    stmt->asked_count = type_count;
    stmt->asked_types =
        lm_calloc((size_t)type_count, sizeof *stmt->asked_types);
    if (type_count > 0)
        memcpy(stmt->asked_types, types, (size_t)type_count * sizeof *types);
    self->entries =
        lm_realloc(self->entries, self->count + 1, sizeof(struct lm_stmt *));
    self->entries[self->count++] = stmt;
    return stmt;
}

struct lm_stmt *
lm_stmt_cache_oldest(const struct lm_stmt_cache *self)
{
    struct lm_stmt *oldest = NULL;

    if (self->count < MAX_STATEMENTS)
        return NULL;
    for (size_t i = 0; i < self->count; i++) {
        if (oldest == NULL || self->entries[i]->last_use < oldest->last_use)
            oldest = self->entries[i];
    }
    return oldest;
}

static void
stmt_free(struct lm_stmt *stmt)
{
    for (int i = 0; i < stmt->column_count; i++)
        free(stmt->columns[i].name);
    free(stmt->columns);
    free(stmt->param_types);
    free(stmt->asked_types);
    free(stmt->sql);
    free(stmt);
}

void
lm_stmt_cache_drop(struct lm_stmt_cache *self, struct lm_stmt *stmt)
{
    for (size_t i = 0; i < self->count; i++) {
        if (self->entries[i] == stmt) {
            self->entries[i] = self->entries[--self->count];
            stmt_free(stmt);
            return;
        }
    }
}

void
lm_stmt_cache_clear(struct lm_stmt_cache *self)
{
    for (size_t i = 0; i < self->count; i++)
        stmt_free(self->entries[i]);
    self->count = 0;
}

void
lm_stmt_cache_release(struct lm_stmt_cache *self)
{
    lm_stmt_cache_clear(self);
    free(self->entries);
    memset(self, 0, sizeof *self);
}

int
lm_stmt_param_count(const struct lm_stmt *self)
{
    return self->param_count;
}

uint32_t
lm_stmt_param_type(const struct lm_stmt *self, int index)
{
    return index < self->param_count ? self->param_types[index] : 0;
}

int
lm_stmt_column_count(const struct lm_stmt *self)
{
    return self->column_count;
}

const struct lm_column *
lm_stmt_column(const struct lm_stmt *self, int index)
{
    static char nameless[] = "";
    static const struct lm_column none = {.name = nameless};

    return index < self->column_count ? &self->columns[index] : &none;
}

const char *
lm_stmt_sql(const struct lm_stmt *self)
{
    return self->sql;
}

void
lm_stmt_set_verdict(struct lm_stmt *self, const struct lm_verdict *verdict)
{
    self->verdict = *verdict;
    self->judged = true;
}

const struct lm_verdict *
lm_stmt_verdict(const struct lm_stmt *self)
{
    return self->judged ? &self->verdict : NULL;
}
