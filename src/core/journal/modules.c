/* SPDX-License-Identifier: MIT */
/* The other files whose code has migrated rows of the run: run.modules is {
 * "name": { "file", "sha256" } }. The server computes the hash, as it does for
 * the script. The batch's transaction notes them. */

#include "base/text.h"
#include "core/journal/private.h"
#include "pg/conn/answer.h"

/* $1 the run, $2 names, $3 files, $4 contents. */
#define THESE                                                                 \
    "(SELECT m.name, m.file, pg_catalog.encode(pg_catalog.sha256(m.content)," \
    "  'hex') AS sha256 FROM ROWS FROM ("                                     \
    "   pg_catalog.unnest($2::pg_catalog.text[]),"                            \
    "   pg_catalog.unnest($3::pg_catalog.text[]),"                            \
    "   pg_catalog.unnest($4::pg_catalog.bytea[]))"                           \
    "  AS m (name, file, content))"

bool
lm_journal_other_modules(struct lm_journal *self, int64_t run_id,
                         const struct lm_journal_modules *modules,
                         char ***names, char ***files, int *count,
                         struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    if (!lm_journal_ask(
            self,
            "SELECT coalesce(pg_catalog.array_agg(m.key), '{}'),"
            " coalesce(pg_catalog.array_agg(m.value ->> 'file'), '{}')"
            " FROM {schema}.run r, pg_catalog.jsonb_each(r.modules) m"
            " WHERE r.id = $1 AND m.key <> ALL ($2::text[])",
            "1: t[] t[]",
            LM_VALUES(LM_DIGITS(run_id), lm_buf_text(&modules->names)), &answer,
            err))
        return false;
    *count = lm_answer_texts(answer, 0, 0, names);
    (void)lm_answer_texts(answer, 0, 1, files);
    lm_answer_free(answer);
    return true;
}

bool
lm_journal_changed_modules(struct lm_journal *self, int64_t run_id,
                           const struct lm_journal_modules *modules,
                           char ***files, int *count, struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    if (!lm_journal_ask(
            self,
            "SELECT coalesce(pg_catalog.array_agg(DISTINCT n.file), '{}')"
            " FROM {schema}.run r, " THESE " n WHERE r.id = $1"
            " AND r.modules ? n.name AND r.modules -> n.name ->> 'sha256'"
            "  IS DISTINCT FROM n.sha256",
            "1: t[]",
            LM_VALUES(LM_DIGITS(run_id), lm_buf_text(&modules->names),
                      lm_buf_text(&modules->files),
                      lm_buf_text(&modules->contents)),
            &answer, err))
        return false;
    *count = lm_answer_texts(answer, 0, 0, files);
    lm_answer_free(answer);
    return true;
}

bool
lm_journal_note_modules(struct lm_journal *self, int64_t run_id,
                        const struct lm_journal_modules *modules,
                        struct lm_err *err)
{
    return lm_journal_post(
        self,
        "UPDATE {schema}.run SET modules = modules OPERATOR(pg_catalog.||)"
        " (SELECT coalesce(pg_catalog.jsonb_object_agg(n.name,"
        "  pg_catalog.jsonb_build_object('file', n.file, 'sha256', n.sha256)),"
        "  '{}') FROM " THESE " n) WHERE id OPERATOR(pg_catalog.=) $1",
        LM_VALUES(LM_DIGITS(run_id), lm_buf_text(&modules->names),
                  lm_buf_text(&modules->files),
                  lm_buf_text(&modules->contents)),
        err);
}
