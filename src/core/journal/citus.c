/* SPDX-License-Identifier: MIT */
/*
 * Citus commits a transaction that has written on one node only in one phase:
 * first on the node, then here. What comes between, such as a lost connection,
 * leaves a batch on the node and no checkpoint here. A transaction that writes
 * into a distributed table by INSERT ... SELECT has two phases, even if there
 * is no row. So the journal has a table for that, which can have no row.
 */

#include "base/text.h"
#include "core/journal/private.h"

/* Two shards: what is known to be on one node might have one phase one day. */
#define CREATE_TABLE                                        \
    "CREATE TABLE IF NOT EXISTS {schema}.two_phase (never " \
    "integer CHECK (false))"
#define GRANT_TABLE "GRANT INSERT ON {schema}.two_phase TO PUBLIC"
#define DISTRIBUTE                                                       \
    "SELECT create_distributed_table({quote}{schema}.two_phase{quote}, " \
    "'never', colocate_with => 'none', shard_count => 2)"

struct state {
    bool exists;
    bool is_done; /* or nothing is distributed in this database */
};

static bool
look(struct lm_journal *self, struct state *out, struct lm_err *err)
{
    static const char sql[] =
        "SELECT t.oid IS NOT NULL, NOT EXISTS (SELECT"
        "  FROM pg_catalog.pg_dist_partition) OR EXISTS (SELECT"
        "  FROM pg_catalog.pg_dist_partition p WHERE p.logicalrelid = t.oid)"
        " FROM (SELECT pg_catalog.max(c.oid) AS oid FROM pg_catalog.pg_class c"
        "  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        "  WHERE n.nspname = $1 AND c.relname = 'two_phase') t";
    struct lm_answer *row = NULL;

    if (!lm_journal_ask(self, sql, "1: b b", LM_VALUES(self->schema), &row,
                        err))
        return false;
    out->exists = lm_answer_bool(row, 0, 0);
    out->is_done = lm_answer_bool(row, 0, 1);
    lm_answer_free(row);
    return true;
}

static bool
make(struct lm_journal *self, struct lm_err *err)
{
    struct state state = {false, false};

    return lm_journal_lock_install(self, err) && look(self, &state, err) &&
           (state.exists ||
            (lm_journal_command(self, CREATE_TABLE, LM_NO_VALUES, err) &&
             lm_journal_command(self, GRANT_TABLE, LM_NO_VALUES, err))) &&
           (state.is_done ||
            lm_journal_command(self, DISTRIBUTE, LM_NO_VALUES, err));
}

static bool
fail(struct lm_journal *self, struct lm_err *err)
{
    struct lm_buf sql = LM_BUF_INIT;

    if (err->kind != LM_ERR_DATABASE)
        return false;
    err->kind = LM_ERR_CONNECT;
    err->sql[0] = '\0';
    lm_err_prefix(err,
                  "could not make the table \"%s.two_phase\", which luamig "
                  "needs on Citus",
                  self->schema);
    if (lm_err_is_state(err, "42501")) {
        lm_journal_fill_placeholders(
            &sql, CREATE_TABLE "; " GRANT_TABLE "; " DISTRIBUTE, self->schema);
        lm_err_hint(err, "Let the owner of luamig's tables run: %s;",
                    lm_buf_text(&sql));
    } else if (lm_err_is_state(err, LM_CONN_NODE_AWAY)) {
        lm_err_hint(err, "All nodes must answer when the table is made. Run "
                         "the same command again then.");
    }
    lm_buf_release(&sql);
    return false;
}

bool
lm_journal_prepare_citus(struct lm_journal *self, struct lm_err *err)
{
    struct state state;

    if (!lm_conn_is_citus(self->conn))
        return true;
    if (!look(self, &state, err))
        return false;
    if (state.exists && state.is_done)
        return true;
    if (lm_journal_open(self, err) && make(self, err) &&
        lm_journal_commit(self, err))
        return true;
    lm_conn_rollback(self->conn);
    return fail(self, err);
}

/* No row, unless the transaction has been on a node, where somebody has
 * distributed a table since the run began: then the table's CHECK fails. A
 * snapshot may be older than that, so a sequence is asked too. */
static const char two_phase_sql[] =
    "INSERT INTO {schema}.two_phase"
    " SELECT 0 FROM pg_catalog.get_current_transaction_id() t"
    " WHERE t.transaction_number OPERATOR(pg_catalog.<>) 0"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_dist_partition p"
    "  WHERE p.logicalrelid OPERATOR(pg_catalog.=)"
    "  {quote}{schema}.two_phase{quote}::pg_catalog.regclass)"
    " AND (EXISTS (SELECT FROM pg_catalog.pg_dist_partition)"
    "  OR (SELECT s.is_called FROM pg_catalog.pg_dist_shardid_seq s))";

static void
on_two_phase(void *arg, const struct lm_result *result, struct lm_err *err)
{
    (void)arg;
    (void)result;
    if (err == NULL || !lm_err_is_state(err, "23514"))
        return;
    lm_err_set(err, LM_ERR_CONNECT,
               "a table was distributed on Citus while the run was at work");
    lm_err_detail(err, "The batch is rolled back. What is done before stays.");
    lm_err_hint(err, "Run the same command again: it prepares luamig's tables "
                     "for that, and goes on.");
}

bool
lm_journal_post_two_phase(struct lm_journal *self, struct lm_err *err)
{
    return !lm_conn_is_citus(self->conn) ||
           lm_journal_post_heard(self, two_phase_sql, LM_NO_VALUES,
                                 on_two_phase, err);
}
