/* SPDX-License-Identifier: MIT */

#include "script/vm/pool.h"

#include <stdlib.h>
#include <string.h>

enum { CHUNK = 64 * 1024 };

static size_t
class_of(size_t size)
{
    return (size - 1) / LM_POOL_GRAIN;
}

/* A new chunk; what is left of the one before is lost. */
static int
add_chunk(struct lm_pool *self)
{
    char *chunk = malloc(CHUNK);

    if (chunk == NULL)
        return 0;
    memcpy(chunk, &self->chunks, sizeof self->chunks);
    self->chunks = chunk;
    self->fresh = chunk + LM_POOL_GRAIN;
    self->left = CHUNK - LM_POOL_GRAIN;
    return 1;
}

void *
lm_pool_take(struct lm_pool *self, size_t size)
{
    void **list = &self->free[class_of(size)];
    void *ptr = *list;

    if (ptr != NULL) {
        memcpy(list, ptr, sizeof *list);
        return ptr;
    }
    size = (class_of(size) + 1) * LM_POOL_GRAIN;
    if (self->left < size && !add_chunk(self))
        return NULL;
    ptr = self->fresh;
    self->fresh += size;
    self->left -= size;
    return ptr;
}

void
lm_pool_give(struct lm_pool *self, void *ptr, size_t size)
{
    void **list = &self->free[class_of(size)];

    memcpy(ptr, list, sizeof *list);
    *list = ptr;
}

void
lm_pool_release(struct lm_pool *self)
{
    while (self->chunks != NULL) {
        void *chunk = self->chunks;

        memcpy(&self->chunks, chunk, sizeof self->chunks);
        free(chunk);
    }
    memset(self, 0, sizeof *self);
}
