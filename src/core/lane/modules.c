/* SPDX-License-Identifier: MIT */
/* The other files whose code a script uses. The transaction that commits their
 * first work notes them in the journal. When a run is resumed, or is found to
 * be done, luamig warns of files that have changed, as it does for the script.
 */

#include "core/lane/lane.h"

#include "base/log.h"
#include "pg/sql/sql.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lists {
    struct lm_journal_modules of;
    int count;
};

static void
lists_init(struct lists *self)
{
    memset(self, 0, sizeof *self);
    lm_buf_puts(&self->of.names, "{}");
    lm_buf_puts(&self->of.files, "{}");
    lm_buf_puts(&self->of.contents, "{}");
}

static void
lists_release(struct lists *self)
{
    lm_buf_release(&self->of.names);
    lm_buf_release(&self->of.files);
    lm_buf_release(&self->of.contents);
}

/* Adds one element to each list. */
static void
add(const struct lm_conn *conn, struct lists *self, const char *name,
    const char *file, const char *text, size_t len)
{
    struct lm_buf content = LM_BUF_INIT;
    struct lm_buf *const to[] = {&self->of.names, &self->of.files,
                                 &self->of.contents};
    char *fit_name = lm_conn_fit_name(conn, name);
    char *fit_file = lm_conn_fit_name(conn, file);
    const char *texts[] = {fit_name, fit_file, NULL};

    if (text != NULL) {
        lm_sql_add_bytea(&content, text, len);
        texts[2] = lm_buf_text(&content);
    }
    for (size_t i = 0; i < LM_COUNT(to); i++) {
        struct lm_buf one = LM_BUF_INIT;

        lm_sql_add_array(&one, &texts[i], 1);
        to[i]->len--;
        if (self->count > 0)
            lm_buf_putc(to[i], ',');
        lm_buf_add(to[i], one.data + 1, one.len - 1);
        lm_buf_release(&one);
    }
    self->count++;
    lm_buf_release(&content);
    free(fit_name);
    free(fit_file);
}

static int
loaded(const struct lm_lane *self)
{
    const struct lm_migration_ops *ops = self->migration->ops;

    return ops->module_count != NULL ? ops->module_count(self->migration->self)
                                     : 0;
}

/* The modules from one on. */
static void
collect(const struct lm_lane *self, int from, struct lists *out)
{
    const struct lm_migration *m = self->migration;
    int count = loaded(self);

    lists_init(out);
    for (int i = from; i < count; i++) {
        struct lm_module module;
        bool again = false;

        m->ops->module(m->self, i, &module);
        for (int j = i + 1; j < count && !again; j++) {
            struct lm_module later;

            m->ops->module(m->self, j, &later);
            again = strcmp(later.name, module.name) == 0;
        }
        if (!again) {
            add(self->conn, out, module.name, module.file, module.text,
                module.len);
        }
    }
}

bool
lm_lane_post_modules(struct lm_lane *self, struct lm_err *err)
{
    struct lists lists;
    int count = loaded(self);
    bool ok;

    if (count == self->modules_noted)
        return true;
    collect(self, self->modules_noted, &lists);
    ok = lm_journal_note_modules(&self->journal, self->run->id, &lists.of, err);
    lists_release(&lists);
    return ok;
}

/* Their transaction has committed. */
void
lm_lane_modules_noted(struct lm_lane *self)
{
    self->modules_noted = loaded(self);
}

/* Adds a file of the journal that is not loaded, or not yet. */
static void
add_file(const struct lm_lane *self, struct lists *out, const char *name,
         const char *file)
{
    const struct lm_origin *origin = &self->migration->origin;
    const char *base = origin->root != NULL ? origin->root : origin->path;
    const char *slash = strrchr(origin->path, '/');
    int len = (int)(origin->root != NULL ? strlen(base)
                                         : (size_t)(slash - origin->path));
    struct lm_buf path = LM_BUF_INIT;
    struct lm_buf text = LM_BUF_INIT;
    FILE *in;
    bool ok;

    if (file[0] != '/')
        lm_buf_printf(&path, "%.*s/", len, base);
    lm_buf_puts(&path, file);
    in = fopen(lm_buf_text(&path), "re");
    ok = in != NULL && lm_buf_read(&text, in, SIZE_MAX);
    add(self->conn, out, name, file, ok ? lm_buf_text(&text) : NULL, text.len);
    if (in != NULL)
        fclose(in);
    lm_buf_release(&path);
    lm_buf_release(&text);
}

/* All modules of the run: those that are loaded, and others of the journal. */
static bool
collect_all(struct lm_lane *self, struct lists *out, struct lm_err *err)
{
    char **names = NULL;
    char **files = NULL;
    int count = 0;
    bool ok;

    collect(self, 0, out);
    ok = lm_journal_other_modules(&self->journal, self->run->id, &out->of,
                                  &names, &files, &count, err);
    for (int i = 0; ok && i < count; i++)
        add_file(self, out, names[i], files[i]);
    lm_free_texts(names, count);
    lm_free_texts(files, count);
    return ok;
}

bool
lm_lane_warn_of_modules(struct lm_lane *self, bool over, struct lm_err *err)
{
    struct lists lists;
    char **files = NULL;
    int count = 0;
    bool ok = collect_all(self, &lists, err) &&
              lm_journal_changed_modules(&self->journal, self->run->id,
                                         &lists.of, &files, &count, err);

    for (int i = 0; ok && i < count; i++) {
        lm_log(LM_LOG_WARNING,
               over ? "%s has changed since run %" PRId64
                      ", which is done; --again runs the new version"
                    : "%s has changed since run %" PRId64
                      " began; the rows that are left are migrated with the "
                      "new version",
               files[i], self->run->id);
    }
    lm_free_texts(files, count);
    lists_release(&lists);
    return ok;
}
