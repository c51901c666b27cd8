/* SPDX-License-Identifier: MIT */

#include "script/vm/pool.h"

#include <stdlib.h>

enum { CHUNK = 64 * 1024 };

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
lm_pool_take_fresh(struct lm_pool *self, size_t size)
{
    char *ptr;

    size = (lm_pool_class(size) + 1) * LM_POOL_GRAIN;
    if (self->left < size && !add_chunk(self))
        return NULL;
    ptr = self->fresh;
    self->fresh += size;
    self->left -= size;
    return ptr;
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
