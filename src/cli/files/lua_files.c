/* SPDX-License-Identifier: MIT */
/* Writes the embedded Lua files out; those that are there already, byte for
 * byte, are not touched. */

#include "cli/files/lua_files.h"

#include "cli/files/files.h"
#include "script/vm/embedded.h"

#include <stdlib.h>

static const struct lm_embedded *
table_of(enum lm_lua_files which, size_t *count)
{
    *count = which == LM_LUA_TYPES ? lm_embedded_type_count : lm_embedded_count;
    return which == LM_LUA_TYPES ? lm_embedded_types : lm_embedded_modules;
}

static char *
path_of(const char *dir, const struct lm_embedded *file)
{
    return lm_format("%s/%s", dir, file->chunk + 1);
}

bool
lm_lua_files_match(const char *dir, enum lm_lua_files which)
{
    size_t count;
    const struct lm_embedded *files = table_of(which, &count);
    bool match = true;

    for (size_t i = 0; match && i < count; i++) {
        char *path = path_of(dir, &files[i]);

        match = lm_files_equal(path, files[i].source, files[i].len);
        free(path);
    }
    return match;
}

bool
lm_lua_files_put(const char *dir, enum lm_lua_files which, struct lm_err *err)
{
    size_t count;
    const struct lm_embedded *files = table_of(which, &count);
    bool ok = true;

    for (size_t i = 0; ok && i < count; i++) {
        char *path = path_of(dir, &files[i]);

        ok = lm_files_put(path, files[i].source, files[i].len, err);
        free(path);
    }
    return ok;
}
