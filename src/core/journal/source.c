/* SPDX-License-Identifier: MIT */
/* Where a run reads, if that is not its own database: in the row of its
 * progress, from the transaction on that finds the run's last key. */

#include "base/text.h"
#include "core/journal/private.h"
#include "pg/conn/answer.h"

#include <stdlib.h>
#include <string.h>

bool
lm_journal_read_source(struct lm_journal *self, int64_t run_id,
                       struct lm_journal_source *out, struct lm_err *err)
{
    struct lm_answer *row = NULL;

    memset(out, 0, sizeof *out);
    if (!lm_journal_ask(self,
                        "SELECT p.source ->> 'repo', p.source ->> 'system',"
                        " p.source ->> 'database', p.source ->> 'position'"
                        " FROM {schema}.progress p WHERE p.run_id = $1",
                        "?: t? t? t? t?", LM_VALUES(LM_DIGITS(run_id)), &row,
                        err))
        return false;
    out->there = lm_answer_rows(row) == 1 && !lm_answer_is_null(row, 0, 0);
    if (out->there) {
        LM_ERR_COPY(out->repo, lm_answer_text(row, 0, 0));
        LM_ERR_COPY(out->place.system, lm_answer_text(row, 0, 1));
        LM_ERR_COPY(out->place.database, lm_answer_text(row, 0, 2));
        LM_ERR_COPY(out->place.position, lm_answer_text(row, 0, 3));
    }
    lm_answer_free(row);
    return true;
}

bool
lm_journal_note_source(struct lm_journal *self, int64_t run_id,
                       const char *repo, const struct lm_place *place,
                       struct lm_err *err)
{
    char *fitting = lm_conn_fit_name(self->conn, repo);
    bool ok = lm_journal_command(
        self,
        "UPDATE {schema}.progress SET source = pg_catalog.jsonb_build_object("
        " 'repo', $2::text, 'system', $3::text, 'database', $4::text,"
        " 'position', greatest(nullif(source ->> 'position', '')::pg_lsn,"
        "  nullif($5::text, '')::pg_lsn)::text) WHERE run_id = $1",
        LM_VALUES(LM_DIGITS(run_id), fitting, place->system, place->database,
                  place->position),
        err);

    free(fitting);
    return ok;
}
