/* SPDX-License-Identifier: MIT */
/* From what a script may be called to what the journal calls it. */

#include "core/journal.h"
#include "core/status.h"
#include "pg/answer.h"
#include "pg/own.h"
#include "pg/sql.h"

#include <string.h>

/* The file's own path comes first, then the names, then what luamig 0.1 made
 * of the path: it did not note files. */
static const char name_sql[] = LM_OWN
    "SELECT s.script FROM ("
    " SELECT 0 AS rank, r.id, r.script, r.state FROM {schema}.run r"
    " WHERE r.path = $2"
    " UNION ALL SELECT n.rank, r.id, r.script, r.state"
    " FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY n (name, rank)"
    " JOIN {schema}.run r ON n.name IN (r.script, r.file)"
    " UNION ALL SELECT 1000, r.id, r.script, r.state FROM {schema}.run r"
    " WHERE r.path IS NULL AND r.sha256 = pg_catalog.encode("
    "  pg_catalog.sha256($4::bytea), 'hex')"
    " AND '/' || r.script IN ("
    "  pg_catalog.right($2, pg_catalog.length(r.script) + 1),"
    "  pg_catalog.right($3, pg_catalog.length(r.script) + 1))) s"
    " ORDER BY s.rank,"
    " s.state IN ('running', 'paused', 'stopped', 'failed') DESC, s.id DESC"
    " LIMIT 1";

bool
lm_status_name(struct lm_conn *conn, const char *schema,
               const struct lm_status_names *names, char **script,
               struct lm_err *err)
{
    struct lm_buf list = LM_BUF_INIT;
    struct lm_buf source = LM_BUF_INIT;
    const char *texts[] = {NULL, names->path, names->typed, NULL};
    struct lm_answer *answer = NULL;
    struct lm_buf sql = LM_BUF_INIT;
    bool ok;

    lm_sql_add_array(&list, names->names, names->count);
    texts[0] = lm_buf_text(&list);
    if (names->source != NULL) {
        lm_sql_add_bytea(&source, names->source, strlen(names->source));
        texts[3] = lm_buf_text(&source);
    }
    lm_journal_splice(&sql, name_sql, schema);
    ok = lm_conn_ask(conn, lm_buf_text(&sql), "?: t",
                     (struct lm_values){texts, (int)LM_COUNT(texts)}, &answer,
                     err);
    *script = NULL;
    if (ok && lm_answer_rows(answer) == 1)
        *script = lm_answer_copy(answer, 0, 0);
    lm_answer_free(answer);
    lm_buf_release(&sql);
    lm_buf_release(&list);
    lm_buf_release(&source);
    return ok;
}
