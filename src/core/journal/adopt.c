/* SPDX-License-Identifier: MIT */
/* Gives a run the name and the arguments of a request (--adopt). */

#include "base/text.h"
#include "core/journal/private.h"

bool
lm_journal_fail_adopting(const struct lm_run_request *request,
                         struct lm_err *err)
{
    if (!lm_err_is_state(err, "23505"))
        return false;
    lm_err_set(err, LM_ERR_USAGE,
               "%s has an unfinished run of its own with these arguments",
               request->script);
    lm_err_hint(err, "\"luamig status\" shows it; \"luamig cancel\" ends it.");
    return false;
}

bool
lm_journal_adopt(struct lm_journal *self, const struct lm_run_request *request,
                 struct lm_run *run, struct lm_err *err)
{
    bool held = lm_journal_open(self, err) &&
                lm_journal_hold_script(self, request->script, err);
    bool ok = held &&
              lm_journal_command(
                  self,
                  "UPDATE {schema}.run SET script = $2, args = $3::jsonb,"
                  " given = $4::jsonb, file = $5, path = $6 WHERE id = $1",
                  LM_VALUES(LM_DIGITS(run->id), request->script,
                            request->args_json, request->arguments.given,
                            request->origin.file, request->origin.path),
                  err) &&
              lm_journal_commit(self, err);

    if (!ok)
        lm_conn_rollback(self->conn);
    if (!held)
        return lm_journal_fail_to_hold(self, err);
    if (!ok)
        return lm_journal_fail_adopting(request, err);
    run->adopted = false;
    return true;
}
