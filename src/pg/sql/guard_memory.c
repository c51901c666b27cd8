/* SPDX-License-Identifier: MIT */
/* Remembers verdicts by text. A script that puts values into its SQL makes a
 * new text each time, so the memory is limited: when it is full, it is
 * emptied. */

#include "pg/sql/guard.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_JUDGED = 1024 };

struct lm_judged {
    uint64_t hash;
    char *sql;
    struct lm_verdict verdict;
};

void
lm_guard_release(struct lm_guard *self)
{
    for (size_t i = 0; i < self->count; i++)
        free(self->judged[i].sql);
    free(self->judged);
    self->judged = NULL;
    self->count = 0;
}

static struct lm_verdict *
find(const struct lm_guard *self, const char *sql, uint64_t hash)
{
    for (size_t i = 0; i < self->count; i++) {
        struct lm_judged *judged = &self->judged[i];

        if (judged->hash == hash && strcmp(judged->sql, sql) == 0)
            return &judged->verdict;
    }
    return NULL;
}

static struct lm_verdict *
keep(struct lm_guard *self, const char *sql, uint64_t hash)
{
    struct lm_judged *judged;

    if (self->count == MAX_JUDGED)
        lm_guard_release(self);
    judged = &LM_ADD(self->judged, self->count);
    *judged = (struct lm_judged){.hash = hash, .sql = lm_strdup(sql)};
    return &judged->verdict;
}

bool
lm_guard_ask(struct lm_guard *self, const char *sql, unsigned allowed,
             struct lm_verdict **out, struct lm_err *err)
{
    uint64_t hash = lm_text_hash(sql);
    struct lm_verdict again;

    *out = find(self, sql, hash);
    if (*out == NULL) {
        *out = keep(self, sql, hash);
        self->parses++;
        return lm_guard_judge(sql, allowed, *out, err);
    }
    /* Once more for the error, which is not remembered. */
    return ((*out)->refusals & ~allowed) == 0 ||
           lm_guard_judge(sql, allowed, &again, err);
}
