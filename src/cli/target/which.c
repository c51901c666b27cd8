/* SPDX-License-Identifier: MIT */
/* Finds the runs of the script that a word of the command line means. Does not
 * run the script. */

#include "cli/target/which.h"

#include "base/project.h"
#include "script/project.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
add_name(struct lm_which *self, const char *name)
{
    for (int i = 0; i < self->count; i++) {
        if (strcmp(self->names[i], name) == 0)
            return;
    }
    LM_ADD(self->names, self->count) = lm_strdup(name);
}

/* The names that a script at path would have, even if the file does not exist.
 */
static void
add_place(struct lm_which *self, const char *path)
{
    struct lm_place place;

    if (lm_place_find(&place, path))
        add_name(self, place.name);
    lm_place_release(&place);
}

static void
add_places(struct lm_which *self, const char *folder, const char *word)
{
    static const char *const endings[] = {"", ".lua"};

    for (size_t i = 0; i < LM_COUNT(endings); i++) {
        struct lm_buf path = LM_BUF_INIT;

        if (folder != NULL)
            lm_buf_printf(&path, "%s/", folder);
        lm_buf_printf(&path, "%s%s", word, endings[i]);
        add_place(self, lm_buf_text(&path));
        lm_buf_release(&path);
    }
}

static char *
read_file(const char *path)
{
    struct lm_buf text = LM_BUF_INIT;
    FILE *file = fopen(path, "re");
    bool ok = file != NULL && lm_buf_read(&text, file, SIZE_MAX);

    if (file != NULL)
        fclose(file);
    if (ok)
        return lm_buf_take(&text);
    lm_buf_release(&text);
    return NULL;
}

static void
take_file(struct lm_which *self, const char *file)
{
    struct lm_buf typed = LM_BUF_INIT;
    struct lm_place place;
    char cwd[PATH_MAX];

    if (access(file, F_OK) == 0 && lm_place_find(&place, file)) {
        if (*file != '/' && getcwd(cwd, sizeof cwd) != NULL)
            lm_buf_printf(&typed, "%s/", cwd);
        lm_buf_puts(&typed, file);
        self->typed = lm_buf_take(&typed);
        self->file = lm_strdup(file);
        self->source = read_file(file);
        self->path = lm_strdup(place.path);
        if (place.marked)
            self->inside = lm_strdup(place.name);
        add_name(self, place.name);
        lm_place_release(&place);
    }
}

void
lm_which_find(struct lm_which *self, struct lm_project *project,
              const char *word)
{
    const struct lm_project_file *project_file = NULL;
    struct lm_err ignored; /* a wrong project file does not matter here */
    char *found = NULL;
    char *folder;

    memset(self, 0, sizeof *self);
    if (lm_project_find_script(project, word, &found, &ignored))
        take_file(self, found);
    free(found);
    add_name(self, word);
    add_places(self, NULL, word);
    if (*word != '/' &&
        lm_project_read_file(project, &project_file, &ignored)) {
        folder = lm_project_path(
            project, project_file != NULL ? project_file->scripts : "scripts");
        add_places(self, folder, word);
        free(folder);
    }
}

void
lm_which_release(struct lm_which *self)
{
    lm_free_texts(self->names, self->count);
    free(self->file);
    free(self->source);
    free(self->path);
    free(self->typed);
    free(self->inside);
    memset(self, 0, sizeof *self);
}

bool
lm_which_ask(const struct lm_which *self, struct lm_conn *conn,
             const char *schema, struct lm_status_script *out,
             struct lm_err *err)
{
    struct lm_status_names names = {.names = (const char *const *)self->names,
                                    .count = self->count,
                                    .path = self->path,
                                    .typed = self->typed,
                                    .source = self->source,
                                    .file = self->inside};

    return lm_status_find_script(conn, schema, &names, out, err);
}
