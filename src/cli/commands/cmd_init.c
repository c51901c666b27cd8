/* SPDX-License-Identifier: MIT */
/* luamig init: the files of a project. Existing files stay unchanged; luamig
 * prints the lines that they should have. The type definitions below .luamig
 * belong to luamig and follow its version. */

#include "base/show.h"
#include "cli/cli.h"
#include "cli/files/files.h"
#include "cli/files/lua_files.h"
#include "script/scaffold.h"

#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: luamig init [DIR]\n"
    "\n"
    "Makes a folder a project (default: the working directory). Creates "
    "scripts/,\n"
    "spec/, luamig.lua, and the settings of busted, luacheck, the Lua language "
    "server\n"
    "and git. Keeps files that exist, and prints the lines to add to them.\n";

/* The next commands, for a project that has only these files. */
static const char steps[] =
    "\n"
    "next:\n"
    "  luamig new fill_names --table users   create a script and its spec\n"
    "  luamig test                           run the specs, without a "
    "database\n"
    "  luamig check scripts/fill_names.lua   check the script and the "
    "database\n"
    "  luamig run scripts/fill_names.lua     migrate\n"
    "\n"
    "The database: --db URL or DATABASE_URL; \"--db embedded\" is a private "
    "one.\n";

static void
print_file(bool created, const char *name, const char *advice)
{
    lm_out("%s %s%s\n", created ? "created" : "kept   ", name,
           advice != NULL ? "; add to it:" : "");
    while (advice != NULL) {
        int len = (int)strcspn(advice, "\n");

        lm_out("          %.*s\n", len, advice);
        advice = advice[len] == '\n' ? advice + len + 1 : NULL;
    }
}

static bool
make_folder(const char *dir, const char *name, struct lm_err *err)
{
    char *path = lm_format("%s/%s", dir, name);
    bool created = false;
    bool ok = lm_files_make_folder(path, &created, err);

    if (ok)
        print_file(created, name, NULL);
    free(path);
    return ok;
}

static bool
make_file(const char *dir, const struct lm_scaffold_file *file,
          struct lm_err *err)
{
    char *path = lm_format("%s/%s", dir, file->path);
    bool created = false;
    bool ok =
        lm_files_create(path, file->text, strlen(file->text), &created, err);

    if (ok)
        print_file(created, file->path, file->advice);
    free(path);
    return ok;
}

static bool
make_files(const char *dir, struct lm_err *err)
{
    struct lm_scaffold scaffold;
    bool ok = lm_scaffold_project(dir, &scaffold, err);

    for (int i = 0; ok && i < scaffold.count; i++)
        ok = make_file(dir, &scaffold.files[i], err);
    lm_scaffold_release(&scaffold);
    return ok;
}

static bool
make_types(const char *dir, struct lm_err *err)
{
    char *path = lm_format("%s/.luamig/types", dir);
    bool is_there = lm_lua_files_match(path, LM_LUA_TYPES);
    bool ok = lm_lua_files_put(path, LM_LUA_TYPES, err);

    if (ok)
        print_file(!is_there, ".luamig/types/", NULL);
    free(path);
    return ok;
}

static int
run(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : ".";
    struct lm_err err;

    if (*dir == '-')
        return lm_cli_usage(&lm_cmd_init, "unknown option \"%s\"", dir);
    if (argc > 2 || *dir == '\0')
        return lm_cli_usage(&lm_cmd_init, "init takes one folder at most");
    if (!lm_files_make_folder(dir, NULL, &err) ||
        !make_folder(dir, "scripts/", &err) ||
        !make_folder(dir, "spec/", &err) || !make_files(dir, &err) ||
        !make_types(dir, &err))
        return lm_cli_finish_output(lm_cli_fail(&err));
    if (strcmp(dir, ".") != 0)
        lm_out("\nthe project is in %s\n", dir);
    lm_out_own(steps);
    return lm_cli_finish_output(LM_EXIT_DONE);
}

const struct lm_command lm_cmd_init = {"init", "make a folder a project", help,
                                       run, .words = NULL};
