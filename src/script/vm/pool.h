/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_VM_POOL_H
#define LM_SCRIPT_VM_POOL_H

/*
 * Memory for small objects of one Lua state. A batch makes and drops thousands
 * of tables and strings of a few sizes; here each size has a list of its own,
 * and what was dropped is used again. It goes back to the system with the pool.
 *
 * Lua says the size of what it gives back, so nothing is stored beside it.
 */

#include <stddef.h>
#include <string.h>

enum { LM_POOL_GRAIN = 16, LM_POOL_MAX = 256 };

struct lm_pool {
    void *chunks; /* each begins with a pointer to the next */
    char *fresh;  /* the rest of the newest */
    size_t left;
    void *free[LM_POOL_MAX / LM_POOL_GRAIN];
};

static inline size_t
lm_pool_class(size_t size)
{
    return (size - 1) / LM_POOL_GRAIN;
}

/* What lm_pool_take does where nothing of the size was dropped. */
void *lm_pool_take_fresh(struct lm_pool *self, size_t size);

/* NULL when there is no memory. size is 1 to LM_POOL_MAX. */
static inline void *
lm_pool_take(struct lm_pool *self, size_t size)
{
    void **list = &self->free[lm_pool_class(size)];
    void *ptr = *list;

    if (ptr == NULL)
        return lm_pool_take_fresh(self, size);
    memcpy(list, ptr, sizeof *list);
    return ptr;
}

static inline void
lm_pool_give(struct lm_pool *self, void *ptr, size_t size)
{
    void **list = &self->free[lm_pool_class(size)];

    memcpy(ptr, list, sizeof *list);
    *list = ptr;
}

void lm_pool_release(struct lm_pool *self);

#endif
