/* SPDX-License-Identifier: MIT */
/*
 * Several processes at one run. One of them leads it: it begins and ends the
 * run, and answers requests. The others only work on ranges. If the leader is
 * gone, one of the others leads: progress.owner is a fresh token then, so what
 * the old leader still had to say about the run as a whole is void.
 */

#include "base/text.h"
#include "core/journal/private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HELD  LM_JOURNAL_HELD("$2::bigint")
#define ALIVE LM_JOURNAL_ALIVE("$2::bigint")

static bool
fail_changed(const struct lm_run *run, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_SCRIPT,
               "run %" PRId64 " is at work with another text of this script",
               run->id);
    return lm_err_hint(err, "Join with the same script. Or stop the run, and "
                            "resume it with the new one.");
}

bool
lm_journal_join(struct lm_journal *self, const struct lm_run_request *request,
                struct lm_run *run, bool *joined, struct lm_err *err)
{
    struct lm_range none = {.id = 0};
    struct lm_lead lead = {.pid = 0};
    bool ok;

    *joined = false;
    if (!lm_journal_look_at_lead(self, run, &lead, err))
        return false;
    if (!lead.alive || (strcmp(run->state, "running") != 0 &&
                        strcmp(run->state, "paused") != 0))
        return true;
    if (run->script_changed)
        return fail_changed(run, err);
    ok = lm_journal_fits(self, request, run, err) &&
         request->accepts(request->arg, run, err) &&
         lm_journal_come_back(self, run, &none, err);
    lm_range_release(&none);
    *joined = ok;
    return ok;
}

bool
lm_journal_look_at_lead(struct lm_journal *self, struct lm_run *run,
                        struct lm_lead *out, struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    if (!lm_journal_ask_for_any_progress(self, run, err) ||
        !lm_journal_ask(
            self,
            "SELECT r.state, coalesce(r.error, ''), p.host, p.pid,"
            " coalesce(" HELD ", false),"
            " EXISTS (SELECT FROM {schema}.worker w WHERE w.id = p.leader"
            "  AND " ALIVE "), EXISTS (SELECT FROM {schema}.request q"
            "  WHERE q.run_id = r.id AND q.verb = 'pause'"
            "  AND q.answered_at IS NULL), p.leader IS NULL,"
            " coalesce((SELECT w.workers FROM {schema}.worker w"
            "  WHERE w.id = p.leader), 0)"
            " FROM {schema}.run r JOIN {schema}.progress p ON p.run_id = r.id"
            " WHERE r.id = $1::bigint",
            "?: t t t n b b b b d",
            LM_VALUES(LM_DIGITS(run->id), LM_DIGITS(self->lease_ms)), &answer,
            err))
        return false;
    if (lm_answer_rows(answer) == 0) {
        lm_answer_free(answer);
        return lm_journal_fail_vanished(self, run, err);
    }
    LM_ERR_COPY(run->state, lm_answer_text(answer, 0, 0));
    LM_ERR_COPY(out->error, lm_answer_text(answer, 0, 1));
    LM_ERR_COPY(out->host, lm_answer_text(answer, 0, 2));
    out->pid = lm_answer_int(answer, 0, 3);
    out->alive = lm_answer_bool(answer, 0, 4);
    out->leads = lm_answer_bool(answer, 0, 5);
    out->wants_pause = lm_answer_bool(answer, 0, 6);
    out->resigned = lm_answer_bool(answer, 0, 7);
    out->workers = lm_answer_small(answer, 0, 8);
    lm_answer_free(answer);
    return true;
}

bool
lm_journal_lead(struct lm_journal *self, struct lm_run *run, bool *leads,
                struct lm_err *err)
{
    struct lm_answer *answer = NULL;
    char token[sizeof run->owner];
    bool ok = lm_journal_make_token(token, sizeof token, err) &&
              lm_journal_open(self, err) &&
              lm_journal_ask(self,
                             "UPDATE {schema}.progress SET owner = $3::uuid,"
                             " leader = $4::uuid, host = $5, pid = $6"
                             " WHERE run_id = $1 AND owner = $2::uuid"
                             " RETURNING seq",
                             "?: n",
                             LM_VALUES(LM_DIGITS(run->id), run->owner, token,
                                       self->worker, LM_JOURNAL_HOST,
                                       LM_DIGITS(getpid())),
                             &answer, err) &&
              lm_journal_commit(self, err);

    *leads = ok && lm_answer_rows(answer) == 1;
    if (*leads) {
        LM_ERR_COPY(run->owner, token);
        run->seq = lm_answer_int(answer, 0, 0);
    }
    lm_answer_free(answer);
    if (!ok)
        lm_conn_rollback(self->conn);
    return ok;
}

bool
lm_journal_is_member(struct lm_journal *self, int64_t run_id, bool *member,
                     struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    if (!lm_journal_ask(self,
                        "SELECT EXISTS (SELECT FROM {schema}.worker"
                        " WHERE run_id = $1 AND process = $2::uuid)",
                        "1: b", LM_VALUES(LM_DIGITS(run_id), self->process),
                        &answer, err))
        return false;
    *member = lm_answer_bool(answer, 0, 0);
    lm_answer_free(answer);
    return true;
}

bool
lm_journal_count_held(struct lm_journal *self, int64_t run_id, int64_t *held,
                      struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    if (!lm_journal_ask(self,
                        "SELECT count(*) FROM {schema}.range g"
                        " LEFT JOIN {schema}.worker w ON w.id = g.worker"
                        " WHERE g.run_id = $1 AND g.owner IS NOT NULL"
                        " AND NOT g.closed"
                        " AND w.process IS DISTINCT FROM $2::uuid",
                        "1: n", LM_VALUES(LM_DIGITS(run_id), self->process),
                        &answer, err))
        return false;
    *held = lm_answer_int(answer, 0, 0);
    lm_answer_free(answer);
    return true;
}

bool
lm_journal_has_others(struct lm_journal *self, int64_t run_id, bool *others,
                      struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    if (!lm_journal_ask(self,
                        "SELECT EXISTS (SELECT FROM {schema}.worker w"
                        " WHERE w.run_id = $1 AND w.process <> $3::uuid"
                        " AND " ALIVE ")",
                        "1: b",
                        LM_VALUES(LM_DIGITS(run_id), LM_DIGITS(self->lease_ms),
                                  self->process),
                        &answer, err))
        return false;
    *others = lm_answer_bool(answer, 0, 0);
    lm_answer_free(answer);
    return true;
}

bool
lm_journal_leave_run(struct lm_journal *self, int64_t run_id,
                     struct lm_err *err)
{
    if (lm_journal_open(self, err) &&
        lm_journal_command(self,
                           "SELECT FROM {schema}.progress WHERE run_id = $1"
                           " FOR UPDATE",
                           LM_VALUES(LM_DIGITS(run_id)), err) &&
        lm_journal_command(self,
                           "UPDATE {schema}.progress p SET leader = NULL"
                           " FROM {schema}.worker w WHERE p.run_id = $1"
                           " AND w.id = p.leader AND w.process = $2::uuid",
                           LM_VALUES(LM_DIGITS(run_id), self->process), err) &&
        lm_journal_leave(self, run_id, err) && lm_journal_commit(self, err))
        return true;
    lm_conn_rollback(self->conn);
    return false;
}

bool
lm_journal_fail_elsewhere(const struct lm_run *run, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_FAILED,
               "run %" PRId64 " has failed in another process", run->id);
    return lm_err_hint(err, "\"luamig status %" PRId64 "\" says why.", run->id);
}

bool
lm_journal_fail_run(struct lm_journal *self, const struct lm_run *run,
                    const struct lm_err *error, int exit_code,
                    struct lm_err *err)
{
    struct lm_err *fitting = lm_journal_copy_fitting(self, error);
    bool ok = lm_journal_open(self, err) &&
              lm_journal_command(self,
                                 "UPDATE {schema}.progress SET leader = NULL,"
                                 " owner = pg_catalog.gen_random_uuid(),"
                                 " waits_for = NULL, waits_since = NULL"
                                 " WHERE run_id = $1",
                                 LM_VALUES(LM_DIGITS(run->id)), err) &&
              lm_journal_free_ranges(self, run->id, err) &&
              lm_journal_leave(self, run->id, err) &&
              lm_journal_command(
                  self,
                  "UPDATE {schema}.run SET state = 'failed',"
                  " error = $2, error_sqlstate = $3, exit_code = $4"
                  " WHERE id = $1 AND state IN ('running', 'paused')",
                  LM_VALUES(LM_DIGITS(run->id), fitting->message,
                            error->sqlstate[0] != '\0' ? error->sqlstate : NULL,
                            LM_DIGITS(exit_code)),
                  err) &&
              lm_journal_commit(self, err);

    free(fitting);
    if (!ok)
        lm_conn_rollback(self->conn);
    return ok;
}
