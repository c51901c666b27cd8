/* SPDX-License-Identifier: MIT */

#include "script/recipe.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* -- making ----------------------------------------------------------------- */

static const char *const *
copy_texts(const char *const *texts, int count)
{
    char **copies = lm_calloc((size_t)count, sizeof *copies);

    for (int i = 0; i < count; i++)
        copies[i] = lm_strdup(texts[i]);
    return (const char *const *)copies;
}

static void
copy_options(struct lm_script_options *self,
             const struct lm_script_options *options)
{
    *self = *options;
    self->args = copy_texts(options->args, options->arg_count);
    self->kept = copy_texts(options->kept, options->kept_count);
    if (options->defaults_json != NULL)
        self->defaults_json = lm_strdup(options->defaults_json);
}

/* Finds the place of the script. If the file does not exist, reading it
 * reports that. */
static void
find_place(struct lm_recipe *self)
{
    const char *path = self->path;
    struct lm_buf typed = LM_BUF_INIT;

    if (!lm_place_find(&self->place, path))
        return;
    if (*path != '/' && self->cwd != NULL)
        lm_buf_printf(&typed, "%s/", self->cwd);
    while (strncmp(path, "./", 2) == 0)
        path += 2;
    lm_buf_puts(&typed, path);
    self->typed = lm_buf_take(&typed);
}

struct lm_recipe *
lm_recipe_new(const char *path, const struct lm_script_options *options)
{
    struct lm_recipe *self = lm_calloc(1, sizeof *self);
    char cwd[PATH_MAX];

    pthread_mutex_init(&self->mutex, NULL);
    self->path = lm_strdup(path);
    if (getcwd(cwd, sizeof cwd) != NULL)
        self->cwd = lm_strdup(cwd);
    find_place(self);
    if (options != NULL)
        copy_options(&self->options, options);
    return self;
}

void
lm_recipe_free(struct lm_recipe *self)
{
    if (self == NULL)
        return;
    for (size_t i = 0; i < self->text_count; i++) {
        free(self->texts[i]->key);
        free(self->texts[i]->file);
        free(self->texts[i]->text);
        free(self->texts[i]);
    }
    free(self->texts);
    lm_free_texts((char **)self->options.args, self->options.arg_count);
    lm_free_texts((char **)self->options.kept, self->options.kept_count);
    free((char *)self->options.defaults_json);
    lm_place_release(&self->place);
    free(self->typed);
    free(self->cwd);
    free(self->path);
    pthread_mutex_destroy(&self->mutex);
    free(self);
}

/* -- texts ------------------------------------------------------------------ */

/* With the mutex held. */
static const struct lm_recipe_text *
find_text(const struct lm_recipe *self, const char *key)
{
    for (size_t i = 0; i < self->text_count; i++) {
        if (strcmp(self->texts[i]->key, key) == 0)
            return self->texts[i];
    }
    return NULL;
}

/* The text under that key; text NULL only looks for it. */
static const struct lm_recipe_text *
keep_text(struct lm_recipe *self, const char *key, const char *file,
          const char *text, size_t len)
{
    const struct lm_recipe_text *found;
    struct lm_recipe_text *kept;

    pthread_mutex_lock(&self->mutex);
    found = find_text(self, key);
    if (found == NULL && text != NULL) {
        kept = lm_alloc(sizeof *kept);
        *kept = (struct lm_recipe_text){lm_strdup(key), lm_strdup(file),
                                        lm_strndup(text, len), len};
        self->texts = lm_realloc(self->texts, (size_t)self->text_count + 1,
                                 sizeof(struct lm_recipe_text *));
        self->texts[self->text_count++] = kept;
        found = kept;
    }
    pthread_mutex_unlock(&self->mutex);
    return found;
}

static int
push_text(lua_State *L, const struct lm_recipe_text *text)
{
    if (text == NULL)
        return 0;
    lua_pushlstring(L, text->text, text->len);
    lua_pushstring(L, text->file);
    return 2;
}

static int
l_find(lua_State *L)
{
    struct lm_recipe *self = lua_touserdata(L, lua_upvalueindex(1));

    return push_text(L, keep_text(self, luaL_checkstring(L, 1), NULL, NULL, 0));
}

static int
l_keep(lua_State *L)
{
    struct lm_recipe *self = lua_touserdata(L, lua_upvalueindex(1));
    const char *key = luaL_checkstring(L, 1);
    const char *file = luaL_checkstring(L, 2);
    size_t len;
    const char *text = luaL_checklstring(L, 3, &len);

    return push_text(L, keep_text(self, key, file, text, len));
}

void
lmL_push_texts(lua_State *L, struct lm_recipe *recipe)
{
    static const luaL_Reg functions[] = {
        {"find", l_find}, {"keep", l_keep}, {NULL, NULL}};

    luaL_newlibtable(L, functions);
    lua_pushlightuserdata(L, recipe);
    luaL_setfuncs(L, functions, 1);
}
