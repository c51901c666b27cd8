/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_RECIPE_H
#define LM_SCRIPT_RECIPE_H

/*
 * What a script is loaded from: its path and place, the options, and the texts
 * of its files. A script that is loaded again, in another thread, is loaded
 * from the same recipe, whatever the files hold by then.
 *
 * All but the texts stays as it was made. Any thread may add and find texts.
 */

#include "base/project.h"
#include "script/script.h"

#include <lua.h>
#include <pthread.h>

struct lm_recipe_text {
    char *key;
    char *file; /* where the text is from */
    char *text;
    size_t len;
};

struct lm_recipe {
    char *path;  /* as it was given */
    char *cwd;   /* NULL: unknown */
    char *typed; /* the path, made absolute; NULL: without a place */
    struct lm_place place;
    struct lm_script_options options; /* copies */
    pthread_mutex_t mutex;            /* of the texts */
    struct lm_recipe_text **texts;    /* none is changed or freed */
    size_t text_count;
};

/* options may be NULL. */
struct lm_recipe *lm_recipe_new(const char *path,
                                const struct lm_script_options *options);
void lm_recipe_free(struct lm_recipe *self); /* NULL is allowed */

/*
 * Pushes a table of functions, for luamig.script:
 *     find(key)              the text under that key, and its file; or nothing
 *     keep(key, file, text)  keeps the text unless there is one; returns what
 *                            find returns
 * [-0, +1, memory]
 */
void lmL_push_texts(lua_State *L, struct lm_recipe *recipe);

#endif
