/* SPDX-License-Identifier: MIT */
/* The query behind "luamig status". JSON is made by the server, which prints
 * numbers of any size exactly. */

#include "core/status.h"

#include "core/journal.h"

#include <inttypes.h>
#include <stdio.h>

/* A run is live when its runner renews the lease and its backend is there;
 * behind a pooler no backend is known to be its. */
static const char runs_sql[] =
    "SELECT r.id AS run, r.script, r.args, r.state,"
    " (r.state = 'running' AND p.lease_until > clock_timestamp()"
    "  AND (p.backend_pid = 0 OR EXISTS (SELECT FROM"
    "   pg_catalog.pg_stat_activity a WHERE a.pid = p.backend_pid"
    "   AND coalesce(a.backend_start = p.backend_start, true)))) AS live,"
    " p.rows, p.batches, p.retries, p.key_columns, p.cursor, p.bound,"
    " date_trunc('second', r.started_at) AS started_at,"
    " date_trunc('second', r.finished_at) AS finished_at, r.started_by,"
    " p.host, p.pid, r.version, r.sha256, r.error,"
    " r.error_sqlstate AS sqlstate"
    " FROM {schema}.run r JOIN {schema}.progress p ON p.run_id = r.id"
    " WHERE ($1::text IS NULL OR r.script = $1)"
    " AND ($2::bigint IS NULL OR r.id = $2)"
    " ORDER BY r.id DESC LIMIT $3::bigint";

bool
lm_status_read(struct lm_conn *conn, const char *schema,
               const struct lm_status_filter *filter, bool as_json,
               struct lm_result **out, struct lm_err *err)
{
    struct lm_buf sql = LM_BUF_INIT;
    char run_id[24];
    char limit[24];
    const char *texts[] = {filter->script, NULL, limit};
    struct lm_values values = {texts, 3};
    bool ok;

    snprintf(limit, sizeof limit, "%" PRId64, filter->limit);
    snprintf(run_id, sizeof run_id, "%" PRId64, filter->run_id);
    if (filter->run_id > 0)
        texts[1] = run_id;
    if (as_json) {
        lm_buf_puts(&sql, "SELECT coalesce(pg_catalog.json_agg("
                          "pg_catalog.to_json(s)), '[]') FROM (");
    } else {
        lm_buf_puts(&sql, "SELECT s.run, s.script, s.args, s.state, s.live,"
                          " s.rows, s.batches, s.retries,"
                          " array_to_string(s.cursor, ', ', 'NULL'),"
                          " s.started_at, s.finished_at, s.started_by,"
                          " s.host, s.pid, s.error, s.sqlstate FROM (");
    }
    lm_journal_splice(&sql, runs_sql, schema);
    lm_buf_puts(&sql, ") s");
    ok = lm_conn_query(conn, lm_buf_text(&sql), values, out, err);
    lm_buf_release(&sql);
    return ok;
}
