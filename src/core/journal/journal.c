/* SPDX-License-Identifier: MIT */
/*
 * What a runner writes to the journal: the cursor, the state, and what the run
 * waits for.
 *
 * Rows are locked in one order, progress before run, and only for one of the
 * short transactions here or for the batch that makes the checkpoint.
 */

#include "core/journal/journal.h"

#include "base/secret.h"
#include "base/text.h"
#include "core/journal/private.h"
#include "pg/conn/txn.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number would become another text: Lua makes 1234 of 01234. */
void
lm_journal_add_lua_key(struct lm_buf *buf, const struct lm_key *key)
{
    for (int i = 0; i < key->count; i++) {
        const char *at = key->texts[i];

        lm_buf_puts(buf, i == 0 ? "{ \"" : ", \"");
        for (; at != NULL && *at != '\0'; at++) {
            if ((unsigned char)*at < ' ') {
                lm_buf_printf(buf, "\\%03d", *at);
                continue;
            }
            if (*at == '"' || *at == '\\')
                lm_buf_putc(buf, '\\');
            lm_buf_putc(buf, *at);
        }
        lm_buf_putc(buf, '"');
    }
    lm_buf_puts(buf, " }");
}

void
lm_run_release(struct lm_run *run)
{
    lm_key_release(&run->cursor);
    lm_key_release(&run->bound);
}

/* -- moving on -------------------------------------------------------- */

static bool
fence(struct lm_journal *self, const struct lm_run *run, struct lm_err *err)
{
    return lm_txn_end_soon(self->conn, err) &&
           lm_journal_command(
               self, "SELECT {schema}.fence($1, $2, $3)",
               LM_VALUES(LM_DIGITS(run->id), run->owner, LM_DIGITS(run->seq)),
               err);
}

/* The first range: all keys from the cursor to the bound. */
static bool
put_range(struct lm_journal *self, const struct lm_run *run, const char *bound,
          struct lm_range *range, struct lm_err *err)
{
    char *cursor = lm_journal_key_array(&run->cursor);
    char token[sizeof range->owner];
    struct lm_answer *answer = NULL;
    bool ok = lm_journal_make_token(token, sizeof token, err) &&
              lm_journal_ask(self,
                             "INSERT INTO {schema}.range AS g (run_id, cursor,"
                             " upper, owner, worker) VALUES ($1, $2, $3,"
                             " $4::uuid, $5::uuid) RETURNING " LM_JOURNAL_RANGE,
                             LM_JOURNAL_RANGE_SHAPE,
                             LM_VALUES(LM_DIGITS(run->id), cursor, bound, token,
                                       self->worker),
                             &answer, err);

    free(cursor);
    if (ok)
        lm_journal_read_range_row(answer, token, range);
    lm_answer_free(answer);
    return ok;
}

bool
lm_journal_mark_started(struct lm_journal *self, const struct lm_run *run,
                        const struct lm_key *bound, bool pages,
                        struct lm_range *range, struct lm_err *err)
{
    char *bound_text =
        bound != NULL
            ? lm_journal_array((const char *const *)bound->texts, bound->count)
            : NULL;
    bool ok =
        fence(self, run, err) &&
        lm_journal_command(
            self,
            "UPDATE {schema}.progress SET started = true,"
            " bound = $2, ranges = $3 WHERE run_id = $1",
            LM_VALUES(LM_DIGITS(run->id), bound_text, pages ? "1" : "0"), err);

    lm_range_release(range);
    ok = ok && (!pages || put_range(self, run, bound_text, range, err));
    free(bound_text);
    return ok;
}

/* Scripts may raise any text; the journal keeps it in characters that the
 * database's encoding has, without secrets. */
struct lm_err *
lm_journal_copy_fitting(const struct lm_journal *self,
                        const struct lm_err *error)
{
    struct lm_err *copy = lm_alloc(sizeof *copy);

    *copy = *error;
    lm_secret_mask_err(copy);
    lm_conn_fit_text(self->conn, copy->message, sizeof copy->message);
    lm_conn_fit_text(self->conn, copy->detail, sizeof copy->detail);
    lm_conn_fit_text(self->conn, copy->where, sizeof copy->where);
    return copy;
}

/* What becomes of the ranges when the run ends like this. */
static bool
end_ranges(struct lm_journal *self, const struct lm_run *run,
           const struct lm_range *range, const char *state, struct lm_err *err)
{
    bool has = range->id > 0;

    if (strcmp(state, "cancelled") == 0) {
        return lm_journal_command(self, "SELECT {schema}.drop_ranges($1)",
                                  LM_VALUES(LM_DIGITS(run->id)), err);
    }
    if (strcmp(state, "failed") == 0 &&
        !lm_journal_free_ranges(self, run->id, err))
        return false;
    if (strncmp(state, "done", 4) != 0)
        return lm_journal_leave(self, run->id, err);
    return lm_journal_command(
        self, "SELECT {schema}.end_ranges($1, $2, $3::uuid, $4)",
        LM_VALUES(LM_DIGITS(run->id), has ? LM_DIGITS(range->id) : NULL,
                  has ? range->owner : NULL, LM_DIGITS(range->seq)),
        err);
}

bool
lm_journal_finish(struct lm_journal *self, const struct lm_run *run,
                  const struct lm_range *range,
                  const struct lm_journal_end *end, struct lm_err *err)
{
    const struct lm_err *error = end->error;
    struct lm_err *fitting =
        error != NULL ? lm_journal_copy_fitting(self, error) : NULL;
    bool ok =
        fence(self, run, err) &&
        end_ranges(self, run, range, end->state, err) &&
        lm_journal_command(
            self,
            "UPDATE {schema}.progress SET waits_for = NULL,"
            " waits_since = NULL,"
            " retries = retries + $2::bigint"
            " WHERE run_id = $1",
            LM_VALUES(LM_DIGITS(run->id), LM_DIGITS(end->retries)), err) &&
        lm_journal_command(
            self,
            "UPDATE {schema}.run SET state = $2::text, error = $3,"
            " error_sqlstate = $4, exit_code = $5, finished_at ="
            " CASE WHEN $2::text IN ('done', 'done_with_failures',"
            " 'cancelled') THEN clock_timestamp() END WHERE id = $1",
            LM_VALUES(LM_DIGITS(run->id), end->state,
                      fitting != NULL ? fitting->message : NULL,
                      error != NULL && error->sqlstate[0] != '\0'
                          ? error->sqlstate
                          : NULL,
                      LM_DIGITS(end->exit_code)),
            err) &&
        lm_journal_close_requests(self, run->id, end->state, err);

    free(fitting);
    return ok;
}

bool
lm_journal_set_state(struct lm_journal *self, const struct lm_run *run,
                     const char *state, struct lm_err *err)
{
    return fence(self, run, err) &&
           lm_journal_command(
               self, "UPDATE {schema}.run SET state = $2 WHERE id = $1",
               LM_VALUES(LM_DIGITS(run->id), state), err);
}

/* As {schema}.fence says it. */
static bool
fail_overtaken(const struct lm_run *run, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_DATABASE, "run %" PRId64 " has been taken over",
               run->id);
    LM_ERR_COPY(err->sqlstate, LM_JOURNAL_FENCED);
    return false;
}

static bool
write_note(struct lm_journal *self, const struct lm_run *run,
           const struct lm_journal_note *note, struct lm_err *err)
{
    char waits_for[512] = "";

    struct lm_answer *answer = NULL;
    bool ok;

    if (note->waits_for != NULL)
        LM_ERR_COPY(waits_for, note->waits_for);
    lm_conn_fit_text(self->conn, waits_for, sizeof waits_for);
    ok = lm_journal_ask(
        self,
        "UPDATE {schema}.progress SET waits_for = $3::text,"
        " waits_since = CASE WHEN $3::text IS NOT NULL THEN"
        " coalesce(waits_since, clock_timestamp()) END,"
        " held = $4::jsonb, total = $5, batch_size = $6"
        " WHERE run_id = $1 AND owner = $2::uuid"
        " RETURNING run_id",
        "?: n",
        LM_VALUES(LM_DIGITS(run->id), run->owner,
                  note->waits_for != NULL ? waits_for : NULL, note->held_json,
                  note->total >= 0 ? LM_DIGITS(note->total) : NULL,
                  LM_DIGITS(note->batch_size)),
        &answer, err);
    if (ok && lm_answer_rows(answer) == 0)
        ok = fail_overtaken(run, err);
    lm_answer_free(answer);
    return ok;
}

bool
lm_journal_renew(struct lm_journal *self, const struct lm_run *run,
                 const struct lm_journal_note *note, struct lm_err *err)
{
    if (lm_journal_open(self, err) &&
        (!note->leads || write_note(self, run, note, err)) &&
        lm_journal_renew_leases(self, run->id, note, err) &&
        lm_journal_commit(self, err))
        return true;
    lm_conn_rollback(self->conn);
    return false;
}

static const char *
text_or_null(const char *text)
{
    return *text != '\0' ? text : NULL;
}

bool
lm_journal_record_failed_row(struct lm_journal *self, int64_t run_id,
                             const struct lm_range *range,
                             const struct lm_failure *failure, int64_t retries,
                             struct lm_err *err)
{
    struct lm_err *error = lm_journal_copy_fitting(self, failure->error);
    char *key = lm_journal_key_array(failure->key);
    bool ok = lm_journal_post(
        self,
        "SELECT {schema}.quarantine($1, $2, $3, $4, $5,"
        " $6, $7, $8, $9, $10,"
        " pg_catalog.jsonb_object($11::pg_catalog.text[],"
        " $12))",
        LM_VALUES(LM_DIGITS(run_id), LM_DIGITS(range->id), range->owner,
                  LM_DIGITS(range->seq), key, LM_DIGITS(retries),
                  text_or_null(error->sqlstate), error->message,
                  text_or_null(error->detail), text_or_null(error->where),
                  failure->columns, failure->values),
        err);

    free(error);
    free(key);
    return ok;
}

bool
lm_journal_count_failures(struct lm_journal *self, struct lm_run *run,
                          struct lm_err *err)
{
    struct lm_answer *result = NULL;

    if (!lm_journal_ask(self,
                        "SELECT p.failures + (SELECT"
                        " coalesce(sum(g.failures), 0)::bigint"
                        " FROM {schema}.range g WHERE g.run_id = p.run_id)"
                        " FROM {schema}.progress p WHERE p.run_id = $1"
                        " FOR UPDATE OF p",
                        "1: n", LM_VALUES(LM_DIGITS(run->id)), &result, err))
        return false;
    run->failures = lm_answer_int(result, 0, 0);
    lm_answer_free(result);
    return true;
}

bool
lm_journal_next_failure(struct lm_journal *self, int64_t run_id, int64_t after,
                        int64_t *failure_id, struct lm_key *key,
                        struct lm_err *err)
{
    struct lm_answer *result = NULL;

    if (!lm_journal_ask(self,
                        "SELECT f.id IS NOT NULL, f.id, f.key"
                        " FROM (SELECT) AS one LEFT JOIN ("
                        "  SELECT id, key FROM {schema}.failure"
                        "  WHERE run_id = $1 AND id > $2"
                        "  AND resolved_at IS NULL ORDER BY id LIMIT 1"
                        " ) AS f ON true",
                        "!: b n t[]",
                        LM_VALUES(LM_DIGITS(run_id), LM_DIGITS(after)), &result,
                        err))
        return false;
    lm_key_release(key);
    *failure_id = lm_answer_int(result, 0, 1);
    key->count = lm_answer_texts(result, 0, 2, &key->texts);
    lm_answer_free(result);
    return true;
}

bool
lm_journal_resolve(struct lm_journal *self, int64_t failure_id,
                   const char *resolution, struct lm_err *err)
{
    return lm_journal_post(self, "SELECT {schema}.resolve($1, $2)",
                           LM_VALUES(LM_DIGITS(failure_id), resolution), err);
}

bool
lm_journal_fail_again(struct lm_journal *self, int64_t failure_id,
                      const struct lm_err *error, struct lm_err *err)
{
    struct lm_err *fitting = lm_journal_copy_fitting(self, error);
    bool ok =
        lm_journal_open(self, err) &&
        lm_journal_command(
            self,
            "UPDATE {schema}.failure SET sqlstate = $2,"
            " message = $3, detail = $4, line = $5,"
            " attempts = attempts + 1,"
            " failed_at = clock_timestamp()"
            " WHERE id = $1 AND resolved_at IS NULL",
            LM_VALUES(LM_DIGITS(failure_id), text_or_null(error->sqlstate),
                      fitting->message, text_or_null(fitting->detail),
                      text_or_null(fitting->where)),
            err) &&
        lm_journal_commit(self, err);

    free(fitting);
    return ok;
}
