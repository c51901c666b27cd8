/* SPDX-License-Identifier: MIT */
/* Requests to a run, from other terminals, and their answers. They are rows of
 * their own, so writing a request never waits for a batch. */

#include "base/text.h"
#include "core/journal/input.h"
#include "core/journal/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool
lm_journal_request(struct lm_journal *self, int64_t run_id, const char *verb,
                   bool at_once, const char *settings_json, const char *answer,
                   int64_t *request_id, struct lm_err *err)
{
    struct lm_answer *result = NULL;

    if (!lm_journal_open(self, err) ||
        !lm_journal_ask(
            self,
            "WITH asked AS (INSERT INTO {schema}.request"
            " (run_id, verb, at_once, settings, host, answer, answered_at)"
            " VALUES ($1::bigint, $2, $3, coalesce($4::jsonb, '{}'), $5, "
            "$6::text,"
            "  CASE WHEN $6::text IS NOT NULL THEN clock_timestamp() END)"
            " RETURNING id) SELECT id, "
            "pg_catalog.pg_notify('" LM_JOURNAL_CHANNEL
            "', $1::bigint::text) FROM asked",
            "1: n v",
            LM_VALUES(LM_DIGITS(run_id), verb, at_once ? "t" : "f",
                      settings_json, LM_JOURNAL_HOST, answer),
            &result, err)) {
        lm_conn_rollback(self->conn);
        return false;
    }
    *request_id = lm_answer_int(result, 0, 0);
    lm_answer_free(result);
    if (lm_journal_commit(self, err))
        return true;
    lm_conn_rollback(self->conn);
    return false;
}

static void
read_request(const struct lm_answer *result, int row, struct lm_request *out)
{
    const char *value = lm_answer_text_or(result, row, 4, "null");

    memset(out, 0, sizeof *out);
    out->id = lm_answer_int(result, row, 0);
    LM_ERR_COPY(out->verb, lm_answer_text(result, row, 1));
    out->at_once = lm_answer_bool(result, row, 2);
    LM_ERR_COPY(out->name, lm_answer_text(result, row, 3));
    LM_ERR_COPY(out->value, value);
    LM_ERR_COPY(out->by, lm_answer_text(result, row, 5));
    LM_ERR_COPY(out->host, lm_answer_text_or(result, row, 6, "unknown"));
    LM_ERR_COPY(out->fault, lm_answer_text(result, row, 7));
    if (out->fault[0] == '\0' && strlen(value) >= sizeof out->value) {
        snprintf(out->fault, sizeof out->fault,
                 "the value of \"%s\" is too long", out->name);
    }
}

/* The table may have any content: a row that is not a request has a fault and
 * no settings. Only a "set" has settings. */
#define REQUESTS                                                              \
    "SELECT r.id, r.verb, r.at_once, s.key, s.value, r.requested_by, r.host," \
    " f.fault FROM {schema}.request r CROSS JOIN LATERAL (SELECT CASE"        \
    "  WHEN r.verb NOT IN ('pause', 'resume', 'cancel', 'set')"               \
    "   THEN pg_catalog.format('there is no request \"%s\"',"                 \
    "    pg_catalog.left(r.verb, 40))"                                        \
    "  WHEN r.verb <> 'set' THEN NULL"                                        \
    "  WHEN pg_catalog.jsonb_typeof(r.settings) <> 'object'"                  \
    "   THEN 'settings must be a JSON object'"                                \
    "  WHEN r.settings = '{}' THEN '\"set\" names no setting'"                \
    "  WHEN pg_catalog.octet_length(r.settings::text) > 2048"                 \
    "   THEN 'settings is too long' END AS fault) f"                          \
    " LEFT JOIN LATERAL pg_catalog.jsonb_each_text(CASE WHEN f.fault IS NULL" \
    "  AND r.verb = 'set' THEN r.settings ELSE '{}' END) s ON true"           \
    " WHERE r.run_id = $1"
#define REQUESTS_SHAPE "*: n t b t? t? t t? t?"

static bool
read_requests(struct lm_journal *self, const char *sql, int64_t run_id,
              struct lm_request **out, int *count, struct lm_err *err)
{
    struct lm_answer *result = NULL;

    *out = NULL;
    if (!lm_journal_ask(self, sql, REQUESTS_SHAPE, LM_VALUES(LM_DIGITS(run_id)),
                        &result, err))
        return false;
    *count = lm_answer_rows(result);
    if (*count > 0)
        *out = lm_calloc((size_t)*count, sizeof **out);
    for (int i = 0; i < *count; i++)
        read_request(result, i, &(*out)[i]);
    lm_answer_free(result);
    return true;
}

bool
lm_journal_open_requests(struct lm_journal *self, int64_t run_id,
                         struct lm_request **out, int *count,
                         struct lm_err *err)
{
    return read_requests(self,
                         REQUESTS " AND r.answered_at IS NULL ORDER BY r.id",
                         run_id, out, count, err);
}

bool
lm_journal_settings(struct lm_journal *self, int64_t run_id,
                    struct lm_request **out, int *count, struct lm_err *err)
{
    return read_requests(self,
                         "SELECT DISTINCT ON (s.key) s.* FROM (" REQUESTS
                         " AND r.verb = 'set' AND r.answer = 'done') s"
                         " WHERE s.key IS NOT NULL ORDER BY s.key, s.id DESC",
                         run_id, out, count, err);
}

bool
lm_journal_answer(struct lm_journal *self, const struct lm_reply *answers,
                  int count, struct lm_err *err)
{
    struct lm_digits *ids = lm_calloc((size_t)count, sizeof *ids);
    const char **columns = lm_calloc((size_t)count * 2, sizeof *columns);
    char *texts[2];
    bool ok;

    for (int i = 0; i < count; i++) {
        columns[i] = lm_text_digits(&ids[i], answers[i].id);
        columns[count + i] = answers[i].text;
    }
    texts[0] = lm_journal_array(columns, count);
    texts[1] = lm_journal_array(columns + count, count);
    ok = lm_journal_command(self,
                            "UPDATE {schema}.request r SET answer = a.answer,"
                            " answered_at = clock_timestamp()"
                            " FROM ROWS FROM (pg_catalog.unnest($1::bigint[]),"
                            " pg_catalog.unnest($2::text[])) a(id, answer)"
                            " WHERE r.id = a.id AND r.answered_at IS NULL",
                            (struct lm_values){(const char *const *)texts, 2},
                            err);
    free(texts[0]);
    free(texts[1]);
    free(columns);
    free(ids);
    return ok;
}

bool
lm_journal_close_requests(struct lm_journal *self, int64_t run_id,
                          const char *state, struct lm_err *err)
{
    return lm_journal_command(
        self,
        "UPDATE {schema}.request SET answered_at = clock_timestamp(),"
        " answer = CASE WHEN $2::text = 'cancelled' AND verb = 'cancel'"
        " THEN 'done' ELSE 'the run is ' || $2::text END"
        " WHERE run_id = $1 AND answered_at IS NULL",
        LM_VALUES(LM_DIGITS(run_id), state), err);
}

bool
lm_journal_read_answer(struct lm_journal *self, int64_t request_id,
                       char *answer, size_t size, struct lm_err *err)
{
    struct lm_answer *result = NULL;
    const char *text;

    if (!lm_journal_ask(
            self, "SELECT answer FROM {schema}.request WHERE id = $1", "1: t?",
            LM_VALUES(LM_DIGITS(request_id)), &result, err))
        return false;
    text = lm_answer_text(result, 0, 0);
    lm_err_copy(answer, size, text, strlen(text));
    lm_answer_free(result);
    return true;
}

bool
lm_journal_cancel(struct lm_journal *self, int64_t run_id, bool *cancelled,
                  struct lm_err *err)
{
    const char *texts[] = {LM_DIGITS(run_id)};
    struct lm_answer *result = NULL;
    bool ok;

    /* One that waits for its frozen client would keep its rows locked. */
    lm_journal_terminate(self, run_id, NULL, 0, false);
    ok = lm_journal_open(self, err) &&
         lm_journal_command(self,
                            "UPDATE {schema}.progress SET owner ="
                            " pg_catalog.gen_random_uuid(), waits_for = NULL,"
                            " waits_since = NULL WHERE run_id = $1",
                            (struct lm_values){texts, 1}, err) &&
         lm_journal_command(self, "SELECT {schema}.drop_ranges($1)",
                            (struct lm_values){texts, 1}, err) &&
         lm_journal_ask(self,
                        "UPDATE {schema}.run SET state = 'cancelled',"
                        " exit_code = 8, finished_at = clock_timestamp()"
                        " WHERE id = $1 AND state IN " LM_JOURNAL_MAY_GO_ON
                        " RETURNING id",
                        "?: n", (struct lm_values){texts, 1}, &result, err) &&
         lm_journal_close_requests(self, run_id, "cancelled", err);

    *cancelled = ok && lm_answer_rows(result) == 1;
    lm_answer_free(result);
    ok = ok && lm_journal_commit(self, err);
    if (ok) {
        lm_journal_drop_inputs(self);
    } else {
        lm_conn_rollback(self->conn);
    }
    return ok;
}
