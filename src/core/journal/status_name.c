/* SPDX-License-Identifier: MIT */
/* Finds the runs of a script by its possible names. */

#include "core/journal/journal.h"
#include "core/journal/status.h"
#include "pg/conn/answer.h"
#include "pg/conn/conn.h"
#include "pg/conn/own.h"
#include "pg/sql/sql.h"

#include <stdlib.h>
#include <string.h>

/* Was a run begun by this file, or may it have been? luamig 0.1 did not note
 * the file, so its runs may fit. */
#define FITS                                                     \
    "coalesce($2::text IS NULL OR r.path IS NULL OR r.path = $2" \
    " OR r.file = $5::text OR r.sha256 ="                        \
    "  pg_catalog.encode(pg_catalog.sha256($4::bytea), 'hex'), false)"

/* The file's own path comes first, then the names, then what luamig 0.1 made
 * of the path. */
static const char script_sql[] = LM_OWN
    "SELECT s.script, s.fits, s.id, coalesce(s.path, ''), ARRAY("
    "  SELECT r.id FROM {schema}.run r WHERE r.script = s.script AND " FITS
    " )::text FROM ("
    " SELECT 0 AS rank, r.*, true AS fits FROM {schema}.run r"
    " WHERE r.path = $2"
    " UNION ALL SELECT n.rank, r.*, " FITS
    " FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY n (name, rank)"
    " JOIN {schema}.run r ON n.name IN (r.script, r.file)"
    " UNION ALL SELECT 1000, r.*, true FROM {schema}.run r"
    " WHERE r.path IS NULL AND r.sha256 = pg_catalog.encode("
    "  pg_catalog.sha256($4::bytea), 'hex')"
    " AND '/' || r.script IN ("
    "  pg_catalog.right($2, pg_catalog.length(r.script) + 1),"
    "  pg_catalog.right($3, pg_catalog.length(r.script) + 1))) s"
    " ORDER BY s.fits DESC, s.rank,"
    " s.state IN " LM_JOURNAL_MAY_GO_ON " DESC, s.id DESC"
    " LIMIT 1";

enum column { COL_SCRIPT, COL_FITS, COL_ID, COL_PATH, COL_RUNS };

static void
take(const struct lm_answer *answer, struct lm_status_script *out)
{
    bool any = lm_answer_rows(answer) > 0;

    if (any && lm_answer_bool(answer, 0, COL_FITS)) {
        out->name = lm_answer_copy(answer, 0, COL_SCRIPT);
        out->runs = lm_answer_copy(answer, 0, COL_RUNS);
        return;
    }
    out->runs = lm_strdup("{}");
    if (any) {
        out->other = lm_answer_int(answer, 0, COL_ID);
        out->other_path = lm_answer_copy(answer, 0, COL_PATH);
    }
}

/* As the runner writes them. */
static void
add_names(const struct lm_conn *conn, const struct lm_status_names *names,
          struct lm_buf *list)
{
    char **fitting = lm_calloc((size_t)names->count, sizeof *fitting);

    for (int i = 0; i < names->count; i++)
        fitting[i] = lm_conn_fit_name(conn, names->names[i]);
    lm_sql_add_array(list, (const char *const *)fitting, names->count);
    lm_free_texts(fitting, names->count);
}

bool
lm_status_find_script(struct lm_conn *conn, const char *schema,
                      const struct lm_status_names *names,
                      struct lm_status_script *out, struct lm_err *err)
{
    struct lm_buf list = LM_BUF_INIT;
    struct lm_buf source = LM_BUF_INIT;
    char *path = lm_conn_fit_name(conn, names->path);
    char *typed = lm_conn_fit_name(conn, names->typed);
    char *file = lm_conn_fit_name(conn, names->file);
    const char *texts[] = {NULL, path, typed, NULL, file};
    struct lm_answer *answer = NULL;
    struct lm_buf sql = LM_BUF_INIT;
    bool ok;

    add_names(conn, names, &list);
    texts[0] = lm_buf_text(&list);
    if (names->source != NULL) {
        lm_sql_add_bytea(&source, names->source, strlen(names->source));
        texts[3] = lm_buf_text(&source);
    }
    lm_journal_fill_placeholders(&sql, script_sql, schema);
    ok = lm_conn_ask(conn, lm_buf_text(&sql), "?: t b n t t",
                     (struct lm_values){texts, (int)LM_COUNT(texts)}, &answer,
                     err);
    memset(out, 0, sizeof *out);
    if (ok)
        take(answer, out);
    lm_answer_free(answer);
    lm_buf_release(&sql);
    lm_buf_release(&list);
    lm_buf_release(&source);
    free(path);
    free(typed);
    free(file);
    return ok;
}

void
lm_status_script_release(struct lm_status_script *self)
{
    free(self->name);
    free(self->runs);
    free(self->other_path);
    memset(self, 0, sizeof *self);
}
