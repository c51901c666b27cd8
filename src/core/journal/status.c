/* SPDX-License-Identifier: MIT */
/* The query behind "luamig status". JSON is made by the server, which prints
 * numbers of any size exactly. */

#include "core/journal/status.h"

#include "base/text.h"
#include "core/journal/journal.h"
#include "pg/conn/conn.h"
#include "pg/conn/own.h"

#include <inttypes.h>
#include <stdio.h>

#define HELD LM_JOURNAL_HELD(LM_JOURNAL_TEXT(LM_JOURNAL_LEASE_MS))

/* A runner that is reconnecting has no session. */
#define LEASED "(" LM_JOURNAL_LEASED " OR " HELD ")"

/* An estimate, as long as it is one: a run that is done has its rows, and one
 * that has more rows than were expected shows that it was wrong. */
#define TOTAL                                                              \
    "CASE WHEN r.state NOT IN ('done', 'done_with_failures', 'cancelled')" \
    " AND p.total >= t.rows THEN p.total END"

#define LIVE "(r.state IN ('running', 'paused') AND " HELD ")"

/* The workers of runs: w, with the range g that each holds. */
#define WORKERS                                                               \
    " {schema}.worker w LEFT JOIN {schema}.range g ON g.worker = w.id"        \
    " AND g.owner IS NOT NULL AND NOT g.closed"                               \
    " LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = w.backend_pid"       \
    " AND a.datname = pg_catalog.current_database()"                          \
    " CROSS JOIN LATERAL (SELECT w.rows + coalesce(g.rows, 0) AS rows,"       \
    "  greatest(0.001, extract(epoch FROM clock_timestamp() - w.started_at))" \
    "  AS seconds) d"
#define ALIVE LM_JOURNAL_ALIVE(LM_JOURNAL_TEXT(LM_JOURNAL_LEASE_MS))
#define DOING                                                  \
    "CASE WHEN NOT coalesce(" ALIVE ", false) THEN 'is gone'"  \
    " WHEN r.state = 'paused' THEN 'paused'"                   \
    " WHEN g.id IS NULL THEN 'looks for keys'"                 \
    " WHEN a.wait_event_type = 'Lock' THEN 'waits for a lock'" \
    " WHEN p.waits_for IS NOT NULL"                            \
    " THEN 'waits for ' || p.waits_for ELSE 'works' END"

/* A run that has not loaded its file yet is loading it. */
#define STATE                                                     \
    "CASE WHEN r.state = 'running' AND EXISTS (SELECT FROM"       \
    " {schema}.input i WHERE i.run_id = r.id AND i.rows IS NULL)" \
    " THEN 'loading' ELSE r.state END"

#define RUNS_SQL                                                              \
    "SELECT r.id AS run, r.script, " LM_JOURNAL_SHOWN_ARGS " AS args, " STATE \
    " AS state,"                                                              \
    " coalesce(" LIVE ", false) AS live,"                                     \
    " t.rows, t.batches, t.retries, p.key_columns, " LM_JOURNAL_CURSOR        \
    " AS cursor, p.bound,"                                                    \
    " date_trunc('second', r.started_at) AS started_at,"                      \
    " date_trunc('second', r.finished_at) AS finished_at, r.started_by,"      \
    " p.host, p.pid, r.version, r.file, r.given, r.sha256, r.error,"          \
    " r.error_sqlstate AS sqlstate, r.exit_code, t.failures, " TOTAL          \
    " AS total,"                                                              \
    " p.batch_size, p.waits_for,"                                             \
    " date_trunc('second', p.waits_since) AS waits_since, p.held,"            \
    " (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object("     \
    "   'verb', q.verb, 'at_once', q.at_once, 'settings', q.settings,"        \
    "   'by', q.requested_by, 'host', q.host, 'at', q.requested_at,"          \
    "   'answer', q.answer) ORDER BY q.id), '[]')"                            \
    "  FROM {schema}.request q WHERE q.run_id = r.id) AS requests,"           \
    " (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object("     \
    "   'host', w.host, 'pid', w.pid, 'worker', w.number, 'leads',"           \
    "   w.id = p.leader, 'rows', d.rows, 'rows_per_s',"                       \
    "   round((d.rows / d.seconds)::numeric, 1), 'after', g.cursor, 'upto'"   \
    "   , g.upper, 'doing', " DOING ", 'workers', w.workers, 'note', w.note"  \
    "   ) ORDER BY w.id = p.leader DESC,"                                     \
    "   w.host, w.pid, w.number), '[]') FROM" WORKERS                         \
    "  WHERE w.run_id = r.id AND r.state IN " LM_JOURNAL_MAY_GO_ON            \
    " ) AS workers,"                                                          \
    " pg_catalog.to_jsonb(p) -> 'source' AS source,"                          \
    " CASE WHEN p.run_id IS NULL THEN 'no row in progress' END AS damage"     \
    " FROM {schema}.run r LEFT JOIN {schema}.progress p ON p.run_id = r.id"   \
    " LEFT JOIN LATERAL " LM_JOURNAL_TOTALS " ON true"                        \
    " WHERE ($1::bigint[] IS NULL OR r.id = ANY ($1))"                        \
    " ORDER BY r.id DESC LIMIT $2::bigint"

/* What makes JSON of the statement s that follows, up to its ") s". */
#define AS_JSON                            \
    "SELECT coalesce(pg_catalog.json_agg(" \
    "pg_catalog.to_json(s)), '[]') FROM ("

bool
lm_status_read(struct lm_conn *conn, const char *schema, const char *runs,
               int64_t limit, bool as_json, struct lm_answer **out,
               struct lm_err *err)
{
    static const char shape[] =
        "*: n t t t b n? n? n? t? t t? t t? n? t? t? i? n? n? n? t? t?";
    static const char json_sql[] = LM_OWN AS_JSON RUNS_SQL ") s";
    static const char list_sql[] = LM_OWN
        "SELECT s.run, s.script, s.args, s.state, s.live,"
        " s.rows, s.batches, s.retries,"
        " array_to_string(s.cursor, ', ', 'NULL'),"
        " s.started_at, s.finished_at, s.started_by,"
        " s.host, s.pid, s.error, s.sqlstate, s.exit_code,"
        " s.failures, s.total, s.batch_size, s.waits_for, s.source ->> 'repo'"
        " FROM (" RUNS_SQL ") s";
    struct lm_buf sql = LM_BUF_INIT;
    bool ok;

    lm_journal_fill_placeholders(&sql, as_json ? json_sql : list_sql, schema);
    ok = lm_conn_ask(conn, lm_buf_text(&sql), as_json ? "1: t" : shape,
                     LM_VALUES(runs, LM_DIGITS(limit)), out, err);
    lm_buf_release(&sql);
    return ok;
}

static bool
fail_ambiguous(const struct lm_answer *runs, const char *which,
               struct lm_err *err)
{
    struct lm_buf list = LM_BUF_INIT;

    for (int row = 0; row < lm_answer_rows(runs); row++) {
        if (!lm_answer_bool(runs, row, 4))
            continue;
        lm_buf_printf(&list, "%s%s %s", list.len > 0 ? ", " : "",
                      lm_answer_text(runs, row, 0),
                      lm_answer_text(runs, row, 5));
    }
    lm_err_set(err, LM_ERR_FAILED, "%s has more than one unfinished run",
               which);
    lm_err_detail(err, "They are %s.", lm_buf_text(&list));
    lm_err_hint(err, "Name one by its number.");
    lm_buf_release(&list);
    return false;
}

static bool
fail_lost(int64_t id, const char *schema, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_FAILED,
               "run %" PRId64 " has no row in \"%s\".progress", id, schema);
    LM_ERR_COPY(err->sqlstate, LM_JOURNAL_VANISHED);
    lm_err_detail(err, "Only that row says how far the run is.");
    lm_err_hint(err, "Restore the row from a backup. \"luamig run\" with the "
                     "same script says how to continue without it.");
    return false;
}

static void
take_run(const struct lm_answer *runs, struct lm_status_run *out)
{
    out->id = lm_answer_int(runs, 0, 0);
    LM_ERR_COPY(out->script, lm_answer_text(runs, 0, 1));
    LM_ERR_COPY(out->state, lm_answer_text(runs, 0, 2));
    out->live = lm_answer_bool(runs, 0, 3);
    out->unfinished = lm_answer_bool(runs, 0, 4);
    out->leased = lm_answer_bool(runs, 0, 6);
    LM_ERR_COPY(out->path, lm_answer_text(runs, 0, 7));
}

bool
lm_status_find(struct lm_conn *conn, const char *schema, const char *runs,
               const char *which, struct lm_status_run *out, struct lm_err *err)
{
    static const char sql[] = LM_OWN
        "SELECT r.id, r.script, r.state, coalesce(" LIVE ", false),"
        " r.state IN " LM_JOURNAL_MAY_GO_ON ", " LM_JOURNAL_SHOWN_ARGS ","
        " coalesce(" LM_JOURNAL_LEASED ", false),"
        " coalesce(r.path, ''), p.run_id IS NULL"
        " FROM {schema}.run r LEFT JOIN {schema}.progress p"
        " ON p.run_id = r.id WHERE r.id = ANY ($1::bigint[])"
        " ORDER BY 5 DESC, r.id DESC LIMIT 10";
    struct lm_buf text = LM_BUF_INIT;
    struct lm_answer *found = NULL;
    bool ok;

    lm_journal_fill_placeholders(&text, sql, schema);
    ok = lm_conn_ask(conn, lm_buf_text(&text), "*: n t t b b t b t b",
                     LM_VALUES(runs), &found, err);
    lm_buf_release(&text);
    if (!ok)
        return false;
    if (lm_answer_rows(found) == 0) {
        ok = lm_err_set(err, LM_ERR_FAILED, "there is no run \"%s\"", which);
        lm_err_hint(err, "\"luamig status\" lists them.");
    } else if (lm_answer_rows(found) > 1 && lm_answer_bool(found, 1, 4)) {
        ok = fail_ambiguous(found, which, err);
    } else if (lm_answer_bool(found, 0, 8)) {
        ok = fail_lost(lm_answer_int(found, 0, 0), schema, err);
    } else {
        take_run(found, out);
    }
    lm_answer_free(found);
    return ok;
}

bool
lm_status_find_number(struct lm_conn *conn, const char *schema, int64_t id,
                      struct lm_status_run *out, struct lm_err *err)
{
    const char *which = LM_DIGITS(id);
    char runs[32];

    snprintf(runs, sizeof runs, "{%s}", which);
    return lm_status_find(conn, schema, runs, which, out, err);
}

bool
lm_status_find_failed(struct lm_conn *conn, const char *schema,
                      const char *runs, struct lm_status_run *out,
                      struct lm_err *err)
{
    static const char sql[] =
        LM_OWN "SELECT p.run_id FROM {schema}.progress p"
               " CROSS JOIN LATERAL " LM_JOURNAL_TOTALS
               " WHERE p.run_id = ANY ($1::bigint[]) AND t.failures > 0"
               " ORDER BY p.run_id = $2::bigint DESC, p.run_id DESC LIMIT 1";
    struct lm_buf text = LM_BUF_INIT;
    struct lm_answer *row = NULL;
    int64_t failed = out->id;
    bool ok;

    lm_journal_fill_placeholders(&text, sql, schema);
    ok = lm_conn_ask(conn, lm_buf_text(&text), "?: n",
                     LM_VALUES(runs, LM_DIGITS(out->id)), &row, err);
    lm_buf_release(&text);
    if (ok && lm_answer_rows(row) == 1)
        failed = lm_answer_int(row, 0, 0);
    lm_answer_free(row);
    return ok && (failed == out->id ||
                  lm_status_find_number(conn, schema, failed, out, err));
}

/* A statement whose one parameter is the run. */
static bool
ask_about(struct lm_conn *conn, const char *schema, const char *sql,
          const char *shape, int64_t run_id, struct lm_answer **out,
          struct lm_err *err)
{
    struct lm_buf text = LM_BUF_INIT;
    bool ok;

    lm_journal_fill_placeholders(&text, sql, schema);
    ok = lm_conn_ask(conn, lm_buf_text(&text), shape,
                     LM_VALUES(LM_DIGITS(run_id)), out, err);
    lm_buf_release(&text);
    return ok;
}

#define FAILURES_SQL                                                    \
    "SELECT f.id, pg_catalog.array_to_string(p.key_columns, ', ') AS"   \
    " key_columns, pg_catalog.array_to_string(f.key, ', ') AS key,"     \
    " f.sqlstate, f.message, f.detail, f.line, f.row_data, f.attempts," \
    " date_trunc('second', f.failed_at) AS failed_at"                   \
    " FROM {schema}.failure f JOIN {schema}.progress p"                 \
    " ON p.run_id = f.run_id"                                           \
    " WHERE f.run_id = $1::bigint AND f.resolved_at IS NULL ORDER BY f.id"

bool
lm_status_failures(struct lm_conn *conn, const char *schema, int64_t run_id,
                   bool as_json, struct lm_answer **out, struct lm_err *err)
{
    int64_t count = 0;
    bool ok = as_json
                  ? ask_about(conn, schema, LM_OWN AS_JSON FAILURES_SQL ") s",
                              "1: t", run_id, out, err)
                  : ask_about(conn, schema, LM_OWN FAILURES_SQL,
                              "*: n t t t? t t? t? t? n t", run_id, out, err);

    if (!ok || lm_answer_rows(*out) > 0)
        return ok;
    /* A lost answer must not look like "no failures". */
    ok = lm_status_count_failures(conn, schema, run_id, &count, err) &&
         (count == 0 || lm_answer_fail(*out, "it lacks the failures", err));
    if (!ok) {
        lm_answer_free(*out);
        *out = NULL;
    }
    return ok;
}

bool
lm_status_count_failures(struct lm_conn *conn, const char *schema,
                         int64_t run_id, int64_t *count, struct lm_err *err)
{
    static const char sql[] =
        LM_OWN "SELECT count(*) FROM {schema}.failure WHERE"
               " run_id = $1::bigint AND resolved_at IS NULL";
    struct lm_answer *answer = NULL;

    if (!ask_about(conn, schema, sql, "1: n", run_id, &answer, err))
        return false;
    *count = lm_answer_int(answer, 0, 0);
    lm_answer_free(answer);
    return true;
}

bool
lm_status_args(struct lm_conn *conn, const char *schema, int64_t run_id,
               struct lm_status_args *out, struct lm_err *err)
{
    static const char sql[] =
        LM_OWN "SELECT ARRAY(SELECT a.key || '=' || a.value"
               "  FROM pg_catalog.jsonb_each_text(r.args) a"
               "  WHERE a.value IS NOT NULL)"
               " FROM {schema}.run r WHERE r.id = $1::bigint";
    struct lm_answer *answer = NULL;

    if (!ask_about(conn, schema, sql, "1: t[]", run_id, &answer, err))
        return false;
    out->count = lm_answer_texts(answer, 0, 0, &out->texts);
    lm_answer_free(answer);
    return true;
}

void
lm_status_args_release(struct lm_status_args *self)
{
    lm_free_texts(self->texts, self->count);
}

bool
lm_status_requests(struct lm_conn *conn, const char *schema, int64_t run_id,
                   struct lm_answer **out, struct lm_err *err)
{
    static const char sql[] = LM_OWN
        "SELECT q.verb, q.requested_by, q.host,"
        " date_trunc('second', q.requested_at),"
        " coalesce(q.answer, CASE WHEN r.state IN ('done',"
        "  'done_with_failures', 'cancelled') THEN 'too late: the run is '"
        "  || r.state ELSE 'not answered yet' END),"
        " nullif(q.settings::text, '{}') FROM {schema}.request q"
        " JOIN {schema}.run r ON r.id = q.run_id"
        " WHERE q.run_id = $1::bigint ORDER BY q.id";

    return ask_about(conn, schema, sql, "*: t t t? t t t?", run_id, out, err);
}

bool
lm_status_progress(struct lm_conn *conn, const char *schema, int64_t run_id,
                   struct lm_status_progress *out, struct lm_err *err)
{
    static const char sql[] = LM_OWN
        "SELECT r.state, " LEASED ", t.rows, t.batches,"
        " t.retries, coalesce(" TOTAL ", -1), coalesce(p.batch_size, 0),"
        " coalesce(p.waits_for, ''), coalesce(r.exit_code, CASE"
        "  r.state WHEN 'done' THEN 0 WHEN 'stopped' THEN 5"
        "  WHEN 'cancelled' THEN 8 ELSE 1 END),"
        " coalesce(r.error, ''),"
        " (SELECT count(*)::int4 FROM {schema}.range g WHERE g.run_id = r.id"
        "  AND g.owner IS NOT NULL AND NOT g.closed),"
        " coalesce((SELECT w.note FROM {schema}.worker w"
        "  WHERE w.id = p.leader), ''),"
        " coalesce((extract(epoch FROM clock_timestamp() - p.waits_since)"
        "  * 1000)::int8, 0)"
        " FROM {schema}.run r JOIN {schema}.progress p ON p.run_id = r.id"
        " CROSS JOIN LATERAL " LM_JOURNAL_TOTALS " WHERE r.id = $1::bigint";
    struct lm_answer *row = NULL;
    bool ok = true;

    if (!ask_about(conn, schema, sql, "?: t b 3n i n t d t d t n", run_id, &row,
                   err))
        return false;
    if (lm_answer_rows(row) == 1) {
        LM_ERR_COPY(out->state, lm_answer_text(row, 0, 0));
        out->leased = lm_answer_bool(row, 0, 1);
        out->rows = lm_answer_int(row, 0, 2);
        out->batches = lm_answer_int(row, 0, 3);
        out->retries = lm_answer_int(row, 0, 4);
        out->total = lm_answer_int(row, 0, 5);
        out->batch_size = lm_answer_int(row, 0, 6);
        LM_ERR_COPY(out->waits_for, lm_answer_text(row, 0, 7));
        out->exit_code = lm_answer_small(row, 0, 8);
        LM_ERR_COPY(out->error, lm_answer_text(row, 0, 9));
        out->workers = lm_answer_small(row, 0, 10);
        LM_ERR_COPY(out->workers_note, lm_answer_text(row, 0, 11));
        out->waits_ms = lm_answer_int(row, 0, 12);
    } else {
        ok = fail_lost(run_id, schema, err);
    }
    lm_answer_free(row);
    return ok;
}

bool
lm_status_workers(struct lm_conn *conn, const char *schema, int64_t run_id,
                  struct lm_answer **out, struct lm_err *err)
{
    static const char sql[] = LM_OWN
        "SELECT w.host, w.pid, w.number, d.rows,"
        " (d.rows / d.seconds)::bigint,"
        " coalesce(array_to_string(g.cursor, ', '), ''),"
        " coalesce(array_to_string(g.upper, ', '), ''), " DOING ","
        " coalesce(w.workers, 0), coalesce(w.note, '') FROM" WORKERS
        " JOIN {schema}.run r ON r.id = w.run_id"
        " JOIN {schema}.progress p ON p.run_id = r.id"
        " WHERE w.run_id = $1::bigint AND r.state IN " LM_JOURNAL_MAY_GO_ON
        " ORDER BY w.id = p.leader DESC, w.host, w.pid, w.number";

    return ask_about(conn, schema, sql, "*: t n n n n t t t n t", run_id, out,
                     err);
}
