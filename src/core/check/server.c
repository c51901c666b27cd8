/* SPDX-License-Identifier: MIT */
/* The server as a run would meet it: the connection, limits of the role, the
 * journal, and the health signals. */

#include "core/check/private.h"
#include "core/health/health.h"
#include "core/journal/journal.h"

#include "base/clock.h"
#include "base/text.h"
#include "pg/conn/own.h"

#include <stdio.h>
#include <string.h>

/* -- the connection --------------------------------------------------------- */

/* Settings of the role or the server. luamig's transactions change some of
 * them, so this reads the values outside. */
static const char server_sql[] =
    LM_OWN "SELECT pg_catalog.current_setting('server_version'), current_user,"
           " coalesce((SELECT s.ssl FROM pg_catalog.pg_stat_ssl s"
           "  WHERE s.pid = pg_catalog.pg_backend_pid()), false),"
           " coalesce(pg_catalog.inet_client_addr() <<= '127.0.0.0/8'"
           "  OR pg_catalog.inet_client_addr() = '::1', true),"
           " coalesce((SELECT g.reset_val::bigint FROM pg_catalog.pg_settings g"
           "  WHERE g.name = 'transaction_timeout'), 0),"
           " coalesce((SELECT g.reset_val::bigint FROM pg_catalog.pg_settings g"
           "  WHERE g.name = 'idle_session_timeout'), 0)";

enum {
    COL_VERSION,
    COL_ROLE,
    COL_SSL,
    COL_LOCAL,
    COL_TRANSACTION_MS,
    COL_IDLE_MS
};

/* Limits that luamig's own settings do not replace. */
static void
judge_limits(struct lm_checking *self, const struct lm_answer *row)
{
    int64_t transaction_ms = lm_answer_int(row, 0, COL_TRANSACTION_MS);
    int64_t idle_ms = lm_answer_int(row, 0, COL_IDLE_MS);
    int64_t statement_ms = self->migration->statement_timeout_ms;

    if (transaction_ms > 0 &&
        (statement_ms == 0 || transaction_ms < statement_ms)) {
        lm_finding_hint(
            lm_check_add(self->check, LM_VERDICT_WARNING, "timeouts",
                         "transaction_timeout ends each batch after %s",
                         lm_clock_span(transaction_ms).text),
            "ALTER ROLE %s SET transaction_timeout = 0, or keep batches short "
            "with config.target_ms.",
            lm_answer_text(row, 0, COL_ROLE));
    }
    if (idle_ms > 0) {
        lm_finding_hint(
            lm_check_add(self->check, LM_VERDICT_WARNING, "timeouts",
                         "idle_session_timeout ends a connection that waits "
                         "for %s",
                         lm_clock_span(idle_ms).text),
            "ALTER ROLE %s SET idle_session_timeout = 0; otherwise a run "
            "connects again after each hold.",
            lm_answer_text(row, 0, COL_ROLE));
    }
}

bool
lm_check_server(struct lm_checking *self, struct lm_err *err)
{
    bool pooled = lm_conn_is_pooled(self->conn);
    struct lm_answer *row = NULL;

    if (!lm_check_ask(self, "server", server_sql, "1: t t b b n n",
                      LM_NO_VALUES, &row, err))
        return false;
    if (row == NULL)
        return true;
    lm_check_add(self->check, LM_VERDICT_OK, "server",
                 "PostgreSQL %s at %s, as %s%s",
                 lm_answer_text(row, 0, COL_VERSION),
                 lm_conn_target(self->conn), lm_answer_text(row, 0, COL_ROLE),
                 pooled ? ", through a connection pooler" : "");
    if (!pooled && !lm_answer_bool(row, 0, COL_SSL) &&
        !lm_answer_bool(row, 0, COL_LOCAL)) {
        lm_finding_hint(lm_check_add(self->check, LM_VERDICT_WARNING, "tls",
                                     "the connection is not encrypted"),
                        "Add sslmode=verify-full to the URL.");
    }
    judge_limits(self, row);
    lm_answer_free(row);
    return true;
}

/* -- the journal -------------------------------------------------------------- */

static void
hint_grants(struct lm_checking *self, struct lm_finding *finding,
            const char *from)
{
    bool renamed = strcmp(self->journal_schema, "luamig") != 0;

    lm_finding_hint(finding,
                    "Let an owner of the database run the output of \"luamig "
                    "journal --sql%s%s%s\", then that of \"luamig journal "
                    "--sql --grant ROLE%s%s\".",
                    from, renamed ? " --journal-schema " : "",
                    renamed ? self->journal_schema : "",
                    renamed ? " --journal-schema " : "",
                    renamed ? self->journal_schema : "");
}

bool
lm_check_journal_rights(struct lm_checking *self, struct lm_err *err)
{
    static const char sql[] = LM_OWN
        "SELECT pg_catalog.string_agg(r.privilege || ' on ' || r.relname, ', ')"
        " FROM (SELECT w.privilege, c.relname FROM pg_catalog.pg_class c"
        "  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        "  JOIN (VALUES ('run'), ('progress'), ('failure'), ('request'))"
        "   AS t (name) ON t.name = c.relname,"
        "  (VALUES ('SELECT'), ('INSERT'), ('UPDATE')) AS w (privilege)"
        "  WHERE n.nspname = $1"
        "  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
        "  AND NOT pg_catalog.has_table_privilege(c.oid, w.privilege)) r";
    struct lm_answer *row = NULL;

    if (!lm_check_ask(self, "journal", sql, "1: t?",
                      LM_VALUES(self->journal_schema), &row, err))
        return false;
    if (row != NULL && !lm_answer_is_null(row, 0, 0)) {
        hint_grants(self,
                    lm_check_add(self->check, LM_VERDICT_ERROR, "journal",
                                 "the role may not use luamig's tables in "
                                 "schema \"%s\": it lacks %s",
                                 self->journal_schema,
                                 lm_answer_text(row, 0, 0)),
                    "");
    }
    lm_answer_free(row);
    return true;
}

/* May the role create the tables, or upgrade those that are there? */
static bool
may_install(struct lm_checking *self, int version, bool *may,
            struct lm_err *err)
{
    static const char create_sql[] = LM_OWN
        "SELECT CASE WHEN n.oid IS NULL THEN pg_catalog.has_database_privilege("
        " pg_catalog.current_database(), 'CREATE')"
        " ELSE pg_catalog.has_database_privilege("
        "  pg_catalog.current_database(), 'CREATE')"
        "  AND pg_catalog.has_schema_privilege(n.oid, 'CREATE') END"
        " FROM (SELECT) one LEFT JOIN pg_catalog.pg_namespace n"
        " ON n.nspname = $1";
    static const char upgrade_sql[] =
        LM_OWN "SELECT coalesce(bool_and(pg_catalog.pg_has_role(c.relowner,"
               " 'USAGE')), false) FROM pg_catalog.pg_class c"
               " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
               " WHERE n.nspname = $1 AND c.relkind = 'r'";
    struct lm_answer *row = NULL;

    if (!lm_check_ask(self, "journal", version > 0 ? upgrade_sql : create_sql,
                      "1: b", LM_VALUES(self->journal_schema), &row, err))
        return false;
    *may = row != NULL && lm_answer_bool(row, 0, 0);
    lm_answer_free(row);
    return true;
}

/* Adds a finding if the run would refuse to install the journal. */
static bool
look_for_obstacles(struct lm_checking *self, int version, bool *free_way,
                   struct lm_err *err)
{
    struct lm_journal journal = {.conn = self->conn,
                                 .schema = self->journal_schema};

    *free_way = lm_check_begin(self, LM_CHECK_MS, err) &&
                lm_journal_check_install(&journal, version, err);
    lm_conn_rollback(self->conn);
    if (*free_way)
        return true;
    if (lm_check_is_over(self->conn, err))
        return false;
    lm_check_add_err(self->check, "journal", err);
    return true;
}

static bool
judge_install(struct lm_checking *self, int version, struct lm_err *err)
{
    char from[32] = "";
    bool free_way = true;
    bool may;

    if (!may_install(self, version, &may, err) ||
        !look_for_obstacles(self, version, &free_way, err))
        return false;
    if (may && !free_way)
        return true;
    if (may) {
        lm_check_add(self->check, LM_VERDICT_OK, "journal",
                     "the run %s luamig's tables in schema \"%s\"",
                     version > 0 ? "upgrades" : "creates",
                     self->journal_schema);
        return true;
    }
    if (version > 0)
        snprintf(from, sizeof from, " --from %d", version);
    hint_grants(self,
                lm_check_add(self->check, LM_VERDICT_ERROR, "journal",
                             "the role may not %s luamig's tables in schema "
                             "\"%s\"",
                             version > 0 ? "upgrade" : "create",
                             self->journal_schema),
                from);
    return true;
}

static bool
find_version(struct lm_checking *self, int *version, struct lm_err *err)
{
    struct lm_journal journal = {.conn = self->conn,
                                 .schema = self->journal_schema};
    bool ok = lm_check_begin(self, LM_CHECK_MS, err) &&
              lm_journal_installed(&journal, version, err);

    lm_conn_rollback(self->conn);
    return ok;
}

static bool
add_owner(struct lm_checking *self, struct lm_err *err)
{
    static const char sql[] =
        LM_OWN "SELECT pg_get_userbyid(c.relowner) FROM pg_class c"
               " JOIN pg_namespace n ON n.oid = c.relnamespace"
               " WHERE n.nspname = $1 AND c.relname = 'run'";
    struct lm_answer *row = NULL;

    if (!lm_check_ask(self, "journal", sql, "?: t",
                      LM_VALUES(self->journal_schema), &row, err))
        return false;
    lm_check_add(self->check, LM_VERDICT_OK, "journal",
                 "luamig's tables are there, in schema \"%s\"; they belong to "
                 "role \"%s\"",
                 self->journal_schema,
                 row != NULL ? lm_answer_text(row, 0, 0) : "");
    lm_answer_free(row);
    return true;
}

bool
lm_check_journal(struct lm_checking *self, struct lm_err *err)
{
    int before = self->check->count;
    struct lm_finding *finding;
    int version = 0;

    if (!find_version(self, &version, err)) {
        if (lm_check_is_over(self->conn, err))
            return false;
        finding = lm_check_add_err(self->check, "journal", err);
        if (lm_err_is_state(err, "42501"))
            hint_grants(self, finding, "");
        return true;
    }
    if (version > lm_journal_version()) {
        lm_finding_hint(
            lm_check_add(self->check, LM_VERDICT_ERROR, "journal",
                         "the tables in schema \"%s\" are of version %d, which "
                         "is newer than this luamig",
                         self->journal_schema, version),
            "Use the luamig that upgraded them, or a newer one.");
        return true;
    }
    if (version < lm_journal_version())
        return judge_install(self, version, err);
    if (!lm_check_journal_rights(self, err))
        return false;
    return self->check->count != before || add_owner(self, err);
}

/* -- health ------------------------------------------------------------------- */

static void
judge_sample(struct lm_checking *self, const struct lm_health_sample *sample)
{
    struct lm_health health;
    enum lm_signal by;
    struct lm_buf unseen = LM_BUF_INIT;
    struct lm_buf all = LM_BUF_INIT;

    lm_health_describe(sample, false, &unseen);
    lm_health_describe(sample, true, &all);
    if (unseen.len > 0) {
        lm_finding_detail(lm_check_add(self->check, LM_VERDICT_WARNING,
                                       "health", "some signals cannot be read"),
                          "%s", lm_buf_text(&unseen));
    } else {
        lm_finding_detail(
            lm_check_add(self->check, LM_VERDICT_OK, "health",
                         "all signals are available or not in use"),
            "%s", lm_buf_text(&all));
    }
    lm_buf_release(&unseen);
    lm_buf_release(&all);
    lm_health_begin(&health, self->migration->health);
    lm_health_take(&health, sample, lm_clock_ms());
    by = lm_health_holds(&health, lm_clock_ms());
    if (by != LM_HELD_BY_NOTHING) {
        lm_finding_hint(lm_check_add(self->check, LM_VERDICT_WARNING, "health",
                                     "a run would wait: %s",
                                     lm_health_why(&health, by)),
                        "The run would continue by itself; config.health.%s "
                        "changes the limit.",
                        lm_health_setting(by));
    }
}

bool
lm_check_health(struct lm_checking *self,
                const struct lm_check_options *options, struct lm_err *err)
{
    atomic_bool stop;
    struct lm_buf tables = LM_BUF_INIT;
    struct lm_health_sample sample;
    struct lm_health_sampler *sampler;
    struct lm_health_options how = {.stop = &stop,
                                    .replicas = options->replicas,
                                    .replica_count = options->replica_count,
                                    .application_name =
                                        options->application_name};
    bool ok;

    char backends[32];

    atomic_init(&stop, false);
    if (self->migration->one_shot)
        return true;
    lm_check_add_sources(&self->query, &tables);
    how.tables = lm_buf_text(&tables);
    sampler = lm_health_sampler_new(&how);
    snprintf(backends, sizeof backends, "{%s}",
             lm_conn_is_pooled(self->conn)
                 ? ""
                 : LM_DIGITS(lm_conn_backend_pid(self->conn)));
    ok = lm_health_sample(sampler, self->migration->health, self->conn,
                          backends, &sample, err);
    if (ok)
        judge_sample(self, &sample);
    lm_health_sampler_free(sampler);
    lm_buf_release(&tables);
    return ok;
}
