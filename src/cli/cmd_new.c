/* SPDX-License-Identifier: MIT */
/* luamig new: a script and its spec to start from. Never overwrites. */

#include "base/log.h"
#include "cli/cli.h"
#include "cli/project.h"
#include "script/project.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] =
    "usage: luamig new NAME\n"
    "\n"
    "Writes scripts/NAME.lua and spec/NAME_spec.lua, below the working "
    "directory,\n"
    "unless they exist. With a luamig.lua they lie below its folder, and its "
    "field\n"
    "scripts names the folder of scripts.\n";

static const char script_template[] =
    "-- What changes, and why: one sentence for the reviewer.\n"
    "return {\n"
    "  config = { batch_size = 1000, throttle_ms = 100 },\n"
    "\n"
    "  -- luamig adds the key condition, the order and the limit.\n"
    "  base_query = \"SELECT id FROM my_table WHERE my_column IS NULL\",\n"
    "\n"
    "  -- Called once per batch, inside the batch's transaction.\n"
    "  migrate = function(rows, repo)\n"
    "    for _, row in ipairs(rows) do\n"
    "      repo:update(\"my_table\", { id = row.id }, { my_column = "
    "\"value\" })\n"
    "    end\n"
    "  end,\n"
    "}\n";

static const char spec_template[] =
    "local mock = require \"luamig.mock\"\n"
    "\n"
    "describe(\"{script}\", function()\n"
    "  local function world()\n"
    "    return mock.new {\n"
    "      tables = {\n"
    "        my_table = {\n"
    "          columns = { id = \"int8\", my_column = \"text\" },\n"
    "          primary_key = { \"id\" },\n"
    "          rows = { { id = 1 }, { id = 2, my_column = \"kept\" }, "
    "{ id = 3 } },\n"
    "        },\n"
    "      },\n"
    "      base = {\n"
    "        from = \"my_table\", select = { \"id\" },\n"
    "        where = function(row) return row.my_column == nil end,\n"
    "      },\n"
    "    }\n"
    "  end\n"
    "\n"
    "  it(\"fills what is empty and keeps the rest\", function()\n"
    "    local w = world()\n"
    "    local result = w:run(\"{script}\", { batch_size = 1 })\n"
    "    assert.equal(\"done\", result.state)\n"
    "    assert.equal(2, result.rows)\n"
    "    assert.equal(\"kept\", w:rows(\"my_table\")[2].my_column)\n"
    "    assert.equal(\"value\", w:rows(\"my_table\")[3].my_column)\n"
    "  end)\n"
    "end)\n";

static bool
is_good_name(const char *name)
{
    if (*name == '\0' || strlen(name) > 100)
        return false;
    for (; *name != '\0'; name++) {
        if (!isalnum((unsigned char)*name) && *name != '_' && *name != '-')
            return false;
    }
    return true;
}

/* Makes the folders that a file lies in. */
static bool
make_folders(const char *path, struct lm_err *err)
{
    char *folder = lm_strdup(path);
    bool ok = true;

    for (char *slash = strchr(folder + 1, '/'); ok && slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
            ok = lm_err_set(err, LM_ERR_FAILED,
                            "could not create folder \"%s\": %s", folder,
                            strerror(errno));
        }
        *slash = '/';
    }
    free(folder);
    return ok;
}

/* The template with {script} filled in, to a file that must not exist yet. */
static bool
write_file(const char *path, const char *template, const char *script,
           struct lm_err *err)
{
    FILE *file;
    const char *mark;
    bool ok;

    if (!make_folders(path, err))
        return false;
    file = fopen(path, "wx");
    if (file == NULL) {
        return lm_err_set(err, LM_ERR_FAILED, "could not create \"%s\": %s",
                          path, strerror(errno));
    }
    while ((mark = strstr(template, "{script}")) != NULL) {
        fwrite(template, 1, (size_t)(mark - template), file);
        fputs(script, file);
        template = mark + strlen("{script}");
    }
    fputs(template, file);
    ok = ferror(file) == 0;
    ok = fclose(file) == 0 && ok;
    if (!ok) {
        return lm_err_set(err, LM_ERR_FAILED, "could not write \"%s\": %s",
                          path, strerror(errno));
    }
    printf("%s\n", path);
    return true;
}

/* Without a project file the working directory is the place. */
static char *
make_path(const struct lm_project *project, const char *name)
{
    return project->file != NULL ? lm_project_path(project, name)
                                 : lm_strdup(name);
}

static bool
write_both(const char *name, struct lm_err *err)
{
    struct lm_project project;
    const struct lm_project_file *file;
    struct lm_buf script = LM_BUF_INIT;
    struct lm_buf spec = LM_BUF_INIT;
    char *script_path = NULL;
    char *spec_path = NULL;
    bool ok = lm_project_open(&project, err) &&
              lm_project_read_file(&project, &file, err);

    if (ok) {
        lm_buf_printf(&script, "%s/%s.lua",
                      file != NULL ? file->scripts : "scripts", name);
        lm_buf_printf(&spec, "spec/%s_spec.lua", name);
        script_path = make_path(&project, lm_buf_text(&script));
        spec_path = make_path(&project, lm_buf_text(&spec));
        ok = write_file(script_path, script_template, "", err) &&
             write_file(spec_path, spec_template, lm_buf_text(&script), err);
    }
    lm_buf_release(&script);
    lm_buf_release(&spec);
    free(script_path);
    free(spec_path);
    lm_project_release(&project);
    return ok;
}

static int
run(int argc, char **argv)
{
    struct lm_err err;
    bool ok;

    if (argc != 2)
        return lm_cli_usage(&lm_cmd_new, "new takes one name");
    if (!is_good_name(argv[1])) {
        return lm_cli_usage(&lm_cmd_new,
                            "a name has letters, digits, _ and - only, not "
                            "\"%s\"",
                            argv[1]);
    }
    ok = write_both(argv[1], &err);
    if (ok) {
        lm_log(LM_LOG_INFO,
               "to run the spec: luamig lua \"$(command -v busted)\" spec");
    }
    return lm_cli_finish_output(ok ? LM_EXIT_DONE : lm_cli_fail(&err));
}

const struct lm_command lm_cmd_new = {
    "new", "a script and its spec to start from", help, run};
