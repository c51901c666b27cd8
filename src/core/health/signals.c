/* SPDX-License-Identifier: MIT */
/*
 * Reads the signals. A table has one statement for each signal, and a function
 * that turns its few rows into a reading.
 *
 * All statements of a sample run in one short read-only transaction. If one
 * fails, only its signal is lost, and the next one runs in another
 * transaction. If the server refuses a statement (SQLSTATE class 42 or 0A), it
 * is not sent again on that connection, so the server's log stays clean. NULL,
 * because the role may not read a value, never counts as zero.
 *
 * A statement has at most one parameter: the process of the run's connection,
 * or the OIDs of its tables.
 */

#include "core/health/health.h"

#include "base/clock.h"
#include "pg/conn/conn.h"
#include "pg/conn/own.h"
#include "pg/conn/txn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    STATEMENT_TIMEOUT_MS = 3000,
    LOCK_TIMEOUT_MS = 500,
    SILENCE_MS = 5000,
    RECONNECT_BASE_MS = 1000,
    RECONNECT_CAP_MS = 30000
};

struct replica {
    char *conninfo;
    struct lm_conn *conn; /* NULL: not connected */
    int attempts;
    int64_t retry_ms; /* when to connect again */
    char error[200];
};

struct lm_health_sampler {
    const atomic_bool *stop;
    char *tables;
    char *application_name;
    struct replica *replicas;
    int replica_count;
    struct lm_standbys standbys;
    char refused[LM_SIGNALS][200]; /* why it is not asked for; "": it is */
};

#define MAY_SEE_ALL "pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')"

/* The tables themselves, and the partitions below them. */
#define TARGETS                                                            \
    LM_OWN                                                                 \
    "WITH target AS (SELECT t.oid FROM pg_catalog.unnest($1::oid[]) "      \
    "t(oid)"                                                               \
    " UNION SELECT p.relid::oid FROM pg_catalog.unnest($1::oid[]) t(oid)," \
    " pg_catalog.pg_partition_tree(t.oid::regclass) p) "

/* Is session a none of this run, in other processes? Those are called as this
 * process's monitor: "luamig: run 7 of ...", "luamig monitor: run 7 of ...". A
 * run of another database may have the same number. */
#define IS_FOREIGN                                                \
    "(a.datname IS DISTINCT FROM pg_catalog.current_database()"   \
    " OR coalesce(a.application_name, '') NOT LIKE "              \
    "pg_catalog.replace(pg_catalog.split_part("                   \
    "pg_catalog.current_setting('application_name'), ' of ', 1)," \
    " ' monitor:', '%:') || ' of %')"

/* pg_blocking_pids stops all locking for a moment, so it is called for those
 * who wait only. */
static const char blocked_sql[] = LM_OWN
    "SELECT w.pid, coalesce(a.application_name, ''), coalesce(a.usename, '')"
    " FROM (SELECT DISTINCT l.pid FROM pg_catalog.pg_locks l"
    "  WHERE NOT l.granted) w"
    " LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid"
    " WHERE pg_catalog.pg_blocking_pids(w.pid) && $1::int[]"
    " AND w.pid <> ALL ($1::int[]) AND " IS_FOREIGN " ORDER BY w.pid";

/* A base backup has no position. What reports no replay (pg_receivewal) is
 * measured by what it has on disk, and may go at any time, as may the
 * subscriber of a logical slot. */
static const char replica_sql[] =
    LM_OWN "SELECT coalesce(r.application_name, ''), coalesce(pg_catalog.host("
           "  r.client_addr), 'local'), r.state IS NULL,"
           " pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(),"
           "  coalesce(r.replay_lsn, r.flush_lsn, r.write_lsn))::bigint,"
           " r.replay_lsn IS NOT NULL AND NOT EXISTS (SELECT FROM"
           "  pg_catalog.pg_replication_slots s WHERE s.active_pid = r.pid"
           "  AND s.slot_type = 'logical')"
           " FROM pg_catalog.pg_stat_replication r"
           " WHERE r.state IS DISTINCT FROM 'backup'"
           " ORDER BY 4 DESC NULLS LAST";

static const char replay_sql[] =
    LM_OWN "SELECT pg_catalog.pg_current_wal_lsn(), (SELECT system_identifier"
           " FROM pg_catalog.pg_control_system())";

static const char slots_sql[] =
    LM_OWN "SELECT s.slot_name, pg_catalog.pg_wal_lsn_diff("
           "  pg_catalog.pg_current_wal_lsn(), s.restart_lsn)::bigint,"
           " pg_catalog.pg_size_bytes(pg_catalog.current_setting("
           "  'max_slot_wal_keep_size')) / 2, count(*) OVER ()"
           " FROM pg_catalog.pg_replication_slots s"
           " WHERE s.restart_lsn IS NOT NULL"
           " AND s.wal_status IS DISTINCT FROM 'lost' ORDER BY 2 DESC LIMIT 1";

/* The segments from the oldest that is not archived up to the current one. The
 * archiver takes them in order, so one that fails is the oldest. */
static const char archiver_sql[] = LM_OWN
    "WITH a AS (SELECT f.failing, pg_catalog.substr(CASE WHEN f.failing"
    "   THEN s.last_failed_wal ELSE s.last_archived_wal END, 1, 24) AS wal,"
    "  pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) AS now,"
    "  pg_catalog.pg_size_bytes(pg_catalog.current_setting("
    "   'wal_segment_size')) AS size"
    " FROM pg_catalog.pg_stat_archiver s, LATERAL (SELECT coalesce("
    "   s.last_failed_time > coalesce(s.last_archived_time, '-infinity'),"
    "   false) AS failing) f),"
    " n AS (SELECT failing, size, wal, (SELECT pg_catalog.array_agg("
    "   ('x' || pg_catalog.substr(x, 9, 8))::bit(32)::bigint"
    "    * (4294967296 / size)"
    "   + ('x' || pg_catalog.substr(x, 17, 8))::bit(32)::bigint)"
    "  FROM pg_catalog.unnest(ARRAY[wal, now]) x) AS number"
    " FROM a WHERE wal ~ '^[0-9A-F]{24}$')"
    " SELECT pg_catalog.current_setting('archive_mode') = 'off', n.failing,"
    "  n.wal, greatest(0, (n.number[2] - n.number[1]"
    "   - CASE WHEN n.failing THEN 0 ELSE 1 END) * n.size)::bigint"
    " FROM (SELECT) one LEFT JOIN n ON true";

/* Without the right to see vacuums: the lock that they hold, which ANALYZE and
 * CREATE INDEX CONCURRENTLY hold as well. */
static const char vacuum_sql[] = TARGETS
    "SELECT v.relid::regclass, v.pid, " MAY_SEE_ALL
    " FROM (SELECT p.relid, p.pid FROM pg_catalog.pg_stat_progress_vacuum p"
    "  WHERE p.datname = pg_catalog.current_database() AND " MAY_SEE_ALL
    "  UNION SELECT l.relation, l.pid FROM pg_catalog.pg_locks l"
    "  WHERE l.locktype = 'relation' AND l.granted"
    "  AND l.mode = 'ShareUpdateExclusiveLock' AND l.database = (SELECT d.oid"
    "   FROM pg_catalog.pg_database d"
    "   WHERE d.datname = pg_catalog.current_database())"
    "  AND NOT " MAY_SEE_ALL ") v"
    " WHERE v.relid IN (SELECT oid FROM target)"
    " UNION ALL SELECT NULL, NULL, " MAY_SEE_ALL " ORDER BY 2 NULLS LAST";

/* How many times over the point where autovacuum begins. */
static const char debt_sql[] = TARGETS
    "SELECT c.oid::regclass, d.dead, o.enabled, CASE WHEN d.dead >= 100000"
    "  THEN d.dead / greatest(1, least(o.threshold"
    "   + o.factor * greatest(c.reltuples, 0), o.highest)) ELSE 0 END AS debt"
    " FROM target t JOIN pg_catalog.pg_class c ON c.oid = t.oid"
    "  AND c.relkind IN ('r', 'm'),"
    " LATERAL (SELECT pg_catalog.pg_stat_get_dead_tuples(c.oid) AS dead) d,"
    " LATERAL (SELECT coalesce(max(r.option_value) FILTER (WHERE"
    "   r.option_name = 'autovacuum_vacuum_threshold'),"
    "   pg_catalog.current_setting('autovacuum_vacuum_threshold'))::float8"
    "   AS threshold,"
    "  coalesce(max(r.option_value) FILTER (WHERE"
    "   r.option_name = 'autovacuum_vacuum_scale_factor'),"
    "   pg_catalog.current_setting('autovacuum_vacuum_scale_factor'))::float8"
    "   AS factor,"
    "  nullif(coalesce(max(r.option_value) FILTER (WHERE"
    "   r.option_name = 'autovacuum_vacuum_max_threshold'),"
    "   pg_catalog.current_setting('autovacuum_vacuum_max_threshold', true))"
    "   ::float8, -1) AS highest,"
    "  coalesce(max(r.option_value) FILTER (WHERE"
    "   r.option_name = 'autovacuum_enabled'), 'on')::bool"
    "   AND pg_catalog.current_setting('autovacuum')::bool"
    "   AND pg_catalog.current_setting('track_counts')::bool AS enabled"
    "  FROM pg_catalog.pg_options_to_table(c.reloptions) r) o"
    " ORDER BY o.enabled DESC, debt DESC, 1";

/* Snapshots of other databases do not keep dead rows here. */
static const char snapshot_sql[] = LM_OWN
    "SELECT * FROM (SELECT a.pid::text, coalesce(a.application_name, ''),"
    "  coalesce(a.usename::text, ''),"
    "  extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float8"
    "  AS age, " MAY_SEE_ALL " FROM pg_catalog.pg_stat_activity a"
    " WHERE a.datname = pg_catalog.current_database()"
    "  AND a.pid <> ALL ($1::int[] || pg_catalog.pg_backend_pid())"
    "  AND a.backend_type IN ('client backend', 'background worker')"
    "  AND coalesce(a.backend_xid, a.backend_xmin) IS NOT NULL"
    " UNION ALL SELECT NULL, p.gid, p.owner::text, extract(epoch FROM"
    "  pg_catalog.clock_timestamp() - p.prepared)::float8, " MAY_SEE_ALL
    " FROM pg_catalog.pg_prepared_xacts p"
    " WHERE p.database = pg_catalog.current_database()"
    " UNION ALL SELECT NULL, NULL, NULL, NULL, " MAY_SEE_ALL
    ") s ORDER BY age DESC NULLS LAST LIMIT 1";

/* Every transaction holds the lock on its own virtual number. */
static const char sessions_sql[] =
    LM_OWN "SELECT " MAY_SEE_ALL ", CASE WHEN " MAY_SEE_ALL
           " THEN (SELECT count(*) FROM pg_catalog.pg_stat_activity a"
           "  WHERE a.state = 'active' AND a.backend_type = 'client backend'"
           "  AND " IS_FOREIGN
           "  AND a.pid <> ALL ($1::int[] || pg_catalog.pg_backend_pid()))"
           " ELSE (SELECT count(*) FROM pg_catalog.pg_locks l"
           "  WHERE l.locktype = 'virtualxid' AND l.granted"
           "  AND l.mode = 'ExclusiveLock' AND NOT EXISTS (SELECT"
           "   FROM pg_catalog.pg_stat_activity a WHERE a.pid = l.pid"
           "   AND NOT " IS_FOREIGN ")"
           "  AND l.pid <> ALL ($1::int[] || pg_catalog.pg_backend_pid())) END";

/* -- from rows to readings ---------------------------------------------- */

#define SET_TEXT(field, ...) snprintf((field), sizeof(field), __VA_ARGS__)

static void
set_text(char *field, size_t size, struct lm_buf *buf)
{
    lm_err_copy(field, size, lm_buf_text(buf), strlen(lm_buf_text(buf)));
    lm_buf_release(buf);
}

static void
read_blocked(struct lm_health_sampler *self, const struct lm_answer *rows,
             struct lm_health_reading *out)
{
    int count = lm_answer_rows(rows);

    (void)self;
    out->value = count;
    if (count > 0) {
        SET_TEXT(out->text,
                 "%d session%s blocked by luamig: %s (app \"%s\", user %s)%s",
                 count, count == 1 ? "" : "s", lm_answer_text(rows, 0, 0),
                 lm_answer_text(rows, 0, 1), lm_answer_text(rows, 0, 2),
                 count > 1 ? " and others" : "");
    }
}

static void
read_replicas(struct lm_health_sampler *self, const struct lm_answer *rows,
              struct lm_health_reading *out)
{
    int count = lm_answer_rows(rows);
    const char *missing;
    struct lm_buf text = LM_BUF_INIT;

    lm_standbys_begin(&self->standbys);
    for (int i = 0; i < count; i++) {
        char name[128];

        if (lm_answer_bool(rows, i, 2)) {
            out->state = LM_HEALTH_UNAVAILABLE;
            out->lacks_right = true;
            SET_TEXT(out->note, "the position of %d standby%s is hidden", count,
                     count == 1 ? "" : "s");
            return;
        }
        SET_TEXT(name, "%s", lm_answer_text(rows, i, 0));
        if (strcmp(lm_answer_text(rows, i, 1), "local") != 0) {
            SET_TEXT(name, "%s (%s)", lm_answer_text(rows, i, 0),
                     lm_answer_text(rows, i, 1));
        }
        if (lm_answer_bool(rows, i, 4))
            lm_standbys_note(&self->standbys, name);
        if (i > 0 || lm_answer_is_null(rows, i, 3))
            continue;
        out->value = (double)lm_answer_int(rows, i, 3);
        lm_buf_puts(&text, "replica lag ");
        lm_health_add_bytes(&text, out->value);
        lm_buf_printf(&text, " on %s", name);
    }
    set_text(out->text, sizeof out->text, &text);
    if (count == 0)
        out->state = LM_HEALTH_UNUSED;
    SET_TEXT(out->note, "%d standby%s", count, count == 1 ? "" : "s");
    missing = lm_standbys_missing(&self->standbys, lm_clock_ms());
    if (missing != NULL) {
        out->missing = true;
        SET_TEXT(out->note, "standby \"%s\" has disconnected", missing);
    }
}

static void
read_slots(struct lm_health_sampler *self, const struct lm_answer *rows,
           struct lm_health_reading *out)
{
    struct lm_buf text = LM_BUF_INIT;

    (void)self;
    if (lm_answer_rows(rows) == 0) {
        out->state = LM_HEALTH_UNUSED;
        SET_TEXT(out->note, "no slots");
        return;
    }
    out->value = (double)lm_answer_int(rows, 0, 1);
    if (lm_answer_int(rows, 0, 2) > 0)
        out->cap = (double)lm_answer_int(rows, 0, 2);
    lm_buf_printf(&text, "slot \"%s\" retains ", lm_answer_text(rows, 0, 0));
    lm_health_add_bytes(&text, out->value);
    lm_buf_puts(&text, " of WAL");
    set_text(out->text, sizeof out->text, &text);
    SET_TEXT(out->note, "%s slot%s", lm_answer_text(rows, 0, 3),
             lm_answer_int(rows, 0, 3) == 1 ? "" : "s");
}

static void
read_archiver(struct lm_health_sampler *self, const struct lm_answer *rows,
              struct lm_health_reading *out)
{
    struct lm_buf text = LM_BUF_INIT;

    (void)self;
    if (lm_answer_bool(rows, 0, 0)) {
        out->state = LM_HEALTH_UNUSED;
        SET_TEXT(out->note, "archive_mode is off");
        return;
    }
    if (lm_answer_is_null(rows, 0, 3)) {
        out->state = LM_HEALTH_UNAVAILABLE;
        SET_TEXT(out->note, "no WAL has been archived yet");
        return;
    }
    out->value = (double)lm_answer_int(rows, 0, 3);
    lm_health_add_bytes(&text, out->value);
    lm_buf_puts(&text, " of WAL wait to be archived");
    if (lm_answer_bool(rows, 0, 1)) {
        lm_buf_printf(&text, "; archiving %s fails",
                      lm_answer_text(rows, 0, 2));
    }
    set_text(out->text, sizeof out->text, &text);
}

static void
read_vacuums(struct lm_health_sampler *self, const struct lm_answer *rows,
             struct lm_health_reading *out)
{
    int count = lm_answer_rows(rows) - 1; /* one says what may be seen */
    bool sees_all = lm_answer_bool(rows, 0, 2);

    (void)self;
    out->value = count;
    if (count > 0) {
        SET_TEXT(out->text, "%s of %s (pid %s)",
                 sees_all ? "vacuum" : "vacuum or analyze",
                 lm_answer_text(rows, 0, 0), lm_answer_text(rows, 0, 1));
    }
    if (!sees_all) {
        out->state = LM_HEALTH_DEGRADED;
        out->lacks_right = true;
        SET_TEXT(out->note, "found by its lock; ANALYZE takes the same lock");
    }
}

static void
read_debt(struct lm_health_sampler *self, const struct lm_answer *rows,
          struct lm_health_reading *out)
{
    (void)self;
    if (lm_answer_rows(rows) == 0) {
        out->state = LM_HEALTH_UNUSED;
        SET_TEXT(out->note, "no tables");
        return;
    }
    if (!lm_answer_bool(rows, 0, 2)) {
        out->state = LM_HEALTH_UNAVAILABLE;
        SET_TEXT(out->note,
                 "autovacuum is off for %s, so waiting would clear nothing",
                 lm_answer_text(rows, 0, 0));
        return;
    }
    out->value = lm_answer_real(rows, 0, 3);
    SET_TEXT(out->text,
             "%s dead tuples in %s, %.1f times the number at which autovacuum "
             "begins",
             lm_answer_text(rows, 0, 1), lm_answer_text(rows, 0, 0),
             out->value);
}

static void
read_snapshot(struct lm_health_sampler *self, const struct lm_answer *rows,
              struct lm_health_reading *out)
{
    const char *pid = lm_answer_text_or(rows, 0, 0, NULL);
    struct lm_clock_text held;

    (void)self;
    if (!lm_answer_bool(rows, 0, 4)) {
        out->state = LM_HEALTH_DEGRADED;
        out->lacks_right = true;
        SET_TEXT(out->note, "of the same role only");
    }
    if (lm_answer_is_null(rows, 0, 3))
        return;
    out->value = lm_answer_real(rows, 0, 3);
    held = lm_clock_span((int64_t)(out->value * 1000));
    if (pid == NULL) {
        SET_TEXT(out->text, "prepared transaction \"%s\" (user %s) is %s old",
                 lm_answer_text(rows, 0, 1), lm_answer_text(rows, 0, 2),
                 held.text);
        return;
    }
    SET_TEXT(out->text,
             "session %s (app \"%s\", user %s) has held a snapshot for %s", pid,
             lm_answer_text(rows, 0, 1), lm_answer_text(rows, 0, 2), held.text);
}

static void
read_sessions(struct lm_health_sampler *self, const struct lm_answer *rows,
              struct lm_health_reading *out)
{
    (void)self;
    out->value = (double)lm_answer_int(rows, 0, 1);
    if (lm_answer_bool(rows, 0, 0))
        return;
    out->state = LM_HEALTH_DEGRADED;
    out->lacks_right = true;
    SET_TEXT(out->note, "by open transactions");
}

/* -- the replicas that are named ----------------------------------------- */

static void
note_replica_error(struct replica *replica, const struct lm_err *err)
{
    SET_TEXT(replica->error, "%.90s%s%.90s", err->message,
             err->detail[0] != '\0' ? ": " : "", err->detail);
    lm_conn_close(replica->conn);
    replica->conn = NULL;
    replica->retry_ms = lm_clock_ms() + lm_clock_backoff_ms(++replica->attempts,
                                                            RECONNECT_BASE_MS,
                                                            RECONNECT_CAP_MS);
}

static bool
connect_replica(const struct lm_health_sampler *self, struct replica *replica,
                struct lm_err *err)
{
    struct lm_conn_options how = {.application_name = self->application_name,
                                  .silence_ms = SILENCE_MS};

    if (replica->conn != NULL)
        return true;
    if (!lm_conn_open(&replica->conn, replica->conninfo, &how, err))
        return false;
    lm_conn_set_deadline(replica->conn, SILENCE_MS);
    return true;
}

/* How far the replica is behind the given position, in bytes. */
static bool
ask_replica(struct replica *replica, const char *const *primary, double *lag,
            struct lm_err *err)
{
    static const char sql[] = LM_OWN
        "SELECT pg_catalog.pg_wal_lsn_diff($1::pg_lsn,"
        "  pg_catalog.pg_last_wal_replay_lsn())::bigint,"
        " pg_catalog.pg_is_in_recovery(),"
        " system_identifier = $2::bigint FROM pg_catalog.pg_control_system()";
    struct lm_values values = {primary, 2};
    struct lm_answer *rows = NULL;
    bool ok = true;

    if (!lm_conn_ask(replica->conn, sql, "1: i? b b", values, &rows, err))
        return false;
    if (!lm_answer_bool(rows, 0, 2)) {
        ok = lm_err_set(err, LM_ERR_CONNECT,
                        "%s is not a copy of the database's server",
                        lm_conn_target(replica->conn));
    } else if (!lm_answer_bool(rows, 0, 1) || lm_answer_is_null(rows, 0, 0)) {
        ok = lm_err_set(err, LM_ERR_CONNECT, "%s is not a streaming replica",
                        lm_conn_target(replica->conn));
    } else {
        *lag = (double)lm_answer_int(rows, 0, 0);
    }
    lm_answer_free(rows);
    return ok;
}

static void
read_one_replay(struct lm_health_sampler *self, struct replica *replica,
                const char *const *primary, struct lm_health_reading *out)
{
    struct lm_buf text = LM_BUF_INIT;
    struct lm_err err;
    double lag = 0;

    if (replica->conn == NULL && lm_clock_ms() < replica->retry_ms) {
        out->missing = true;
        LM_ERR_COPY(out->note, replica->error);
        return;
    }
    if (!connect_replica(self, replica, &err) ||
        !ask_replica(replica, primary, &lag, &err)) {
        note_replica_error(replica, &err);
        out->missing = true;
        LM_ERR_COPY(out->note, replica->error);
        return;
    }
    replica->attempts = 0;
    if (lag <= out->value && out->text[0] != '\0')
        return;
    out->value = lag;
    lm_buf_puts(&text, "replay lag ");
    lm_health_add_bytes(&text, lag);
    lm_buf_printf(&text, " on %s", lm_conn_target(replica->conn));
    set_text(out->text, sizeof out->text, &text);
}

static void
read_replay(struct lm_health_sampler *self, const struct lm_answer *rows,
            struct lm_health_reading *out)
{
    const char *primary[] = {lm_answer_text(rows, 0, 0),
                             lm_answer_text(rows, 0, 1)};

    SET_TEXT(out->note, "%d replica%s", self->replica_count,
             self->replica_count == 1 ? "" : "s");
    for (int i = 0; i < self->replica_count; i++)
        read_one_replay(self, &self->replicas[i], primary, out);
    if (out->missing)
        out->state = LM_HEALTH_DEGRADED;
}

/* -- sampling ------------------------------------------------------------ */

enum parameter { NO_PARAMETER, BACKEND_PID, TABLES };

static const struct {
    const char *sql;
    const char *shape;
    enum parameter parameter;
    void (*read)(struct lm_health_sampler *self, const struct lm_answer *rows,
                 struct lm_health_reading *out);
} sources[LM_SIGNALS] = {
    [LM_SIGNAL_BLOCKED] = {blocked_sql, "*: n t t", BACKEND_PID, read_blocked},
    [LM_SIGNAL_REPLICA_LAG] = {replica_sql, "*: t t b i? b", NO_PARAMETER,
                               read_replicas},
    [LM_SIGNAL_REPLAY_LAG] = {replay_sql, "1: t t", NO_PARAMETER, read_replay},
    [LM_SIGNAL_SLOTS] = {slots_sql, "?: t i i n", NO_PARAMETER, read_slots},
    [LM_SIGNAL_ARCHIVER] = {archiver_sql, "1: b b? t? n?", NO_PARAMETER,
                            read_archiver},
    [LM_SIGNAL_VACUUM] = {vacuum_sql, "+: t? n? b", TABLES, read_vacuums},
    [LM_SIGNAL_DEBT] = {debt_sql, "*: t n b r", TABLES, read_debt},
    [LM_SIGNAL_SNAPSHOT] = {snapshot_sql, "1: 3t? r? b", BACKEND_PID,
                            read_snapshot},
    [LM_SIGNAL_SESSIONS] = {sessions_sql, "1: b n", BACKEND_PID, read_sessions},
};

struct lm_health_sampler *
lm_health_sampler_new(const struct lm_health_options *options)
{
    struct lm_health_sampler *self = lm_calloc(1, sizeof *self);

    self->stop = options->stop;
    self->tables = lm_strdup(options->tables);
    self->application_name = lm_strdup(options->application_name);
    self->replica_count = options->replica_count;
    self->replicas =
        lm_calloc((size_t)options->replica_count, sizeof *self->replicas);
    for (int i = 0; i < options->replica_count; i++)
        self->replicas[i].conninfo = lm_strdup(options->replicas[i]);
    return self;
}

void
lm_health_sampler_free(struct lm_health_sampler *self)
{
    if (self == NULL)
        return;
    for (int i = 0; i < self->replica_count; i++) {
        free(self->replicas[i].conninfo);
        lm_conn_close(self->replicas[i].conn);
    }
    free(self->replicas);
    free(self->tables);
    free(self->application_name);
    free(self);
}

void
lm_health_sampler_reset(struct lm_health_sampler *self)
{
    memset(self->refused, 0, sizeof self->refused);
}

/* Why a signal is not asked for at all; false: it is. */
static bool
is_pointless(const struct lm_health_sampler *self, int signal,
             const char *backends, struct lm_health_reading *out)
{
    if (self->refused[signal][0] != '\0') {
        out->state = LM_HEALTH_UNAVAILABLE;
        LM_ERR_COPY(out->note, self->refused[signal]);
    } else if (signal == LM_SIGNAL_BLOCKED && strcmp(backends, "{}") == 0) {
        out->state = LM_HEALTH_UNAVAILABLE;
        SET_TEXT(out->note, "a pooler hides the server process");
    } else if (signal == LM_SIGNAL_REPLAY_LAG && self->replica_count == 0) {
        out->state = LM_HEALTH_UNUSED;
        SET_TEXT(out->note, "no --replica");
    } else {
        return false;
    }
    return true;
}

static bool
begin(struct lm_conn *conn, struct lm_err *err)
{
    struct lm_txn txn = {.read_only = true,
                         .own = true,
                         .statement_timeout_ms = STATEMENT_TIMEOUT_MS,
                         .lock_timeout_ms = LOCK_TIMEOUT_MS};

    return lm_conn_has_transaction(conn) || lm_txn_begin(conn, &txn, err);
}

static bool
ask(struct lm_conn *conn, const char *sql, const char *shape,
    struct lm_values values, struct lm_answer **rows, struct lm_err *err)
{
    struct lm_stmt *stmt;

    return begin(conn, err) && lm_conn_prepare_rare(conn, sql, &stmt, err) &&
           lm_conn_ask_prepared(conn, stmt, shape, values, rows, err);
}

static void
note_failure(struct lm_health_sampler *self, int signal,
             const struct lm_err *err, struct lm_health_reading *out)
{
    out->state = LM_HEALTH_UNAVAILABLE;
    SET_TEXT(out->note, "%.150s (SQLSTATE %s)", err->message, err->sqlstate);
    if (lm_err_is_state(err, "42") || lm_err_is_state(err, "0A"))
        LM_ERR_COPY(self->refused[signal], out->note);
}

/* False when the connection is lost. */
static bool
read_signal(struct lm_health_sampler *self, int signal, struct lm_conn *conn,
            const char *backends, struct lm_health_reading *out,
            struct lm_err *err)
{
    const char *text =
        sources[signal].parameter == TABLES ? self->tables : backends;
    struct lm_values values = {
        &text, sources[signal].parameter == NO_PARAMETER ? 0 : 1};
    struct lm_answer *rows = NULL;

    if (ask(conn, sources[signal].sql, sources[signal].shape, values, &rows,
            err)) {
        out->state = LM_HEALTH_AVAILABLE;
        sources[signal].read(self, rows, out);
        lm_answer_free(rows);
        return true;
    }
    lm_conn_rollback(conn);
    note_failure(self, signal, err, out);
    return lm_conn_is_up(conn);
}

bool
lm_health_sample(struct lm_health_sampler *self,
                 const struct lm_health_limits *limits, struct lm_conn *conn,
                 const char *backends, struct lm_health_sample *out,
                 struct lm_err *err)
{
    memset(out, 0, sizeof *out);
    for (int i = 0; i < LM_SIGNALS; i++) {
        if (atomic_load(self->stop))
            return lm_err_set(err, LM_ERR_INTERRUPT, "asked to stop");
        if (sources[i].sql == NULL || limits->above[i] < 0 ||
            is_pointless(self, i, backends, &out->of[i]))
            continue;
        if (!read_signal(self, i, conn, backends, &out->of[i], err))
            return false;
    }
    return !lm_conn_has_transaction(conn) ||
           lm_conn_command(conn, "COMMIT", err);
}
