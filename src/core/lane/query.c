/* SPDX-License-Identifier: MIT */
/* The base query as this connection sees it, and the run's keys. */

#include "core/lane/lane.h"

#include "core/page/preflight.h"

#include <inttypes.h>
#include <string.h>

/* In a transaction like those of the batches: its settings decide what the
 * base query means, and whether row security would hide rows of it. */
bool
lm_lane_check_query(struct lm_lane *self, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_txn txn = lm_lane_txn(self);
    bool nested = lm_conn_has_transaction(self->conn); /* a dry run's */
    bool ok;

    if (m->one_shot)
        return true;
    txn.read_only = true;
    ok = (nested || (lm_txn_begin(self->conn, &txn, err) &&
                     lm_conn_flush(self->conn, err))) &&
         lm_preflight_query(self->conn, m->base_query, m->params,
                            m->param_count, m->key, m->key_count,
                            m->assume_unique, &self->query, err);
    if (!nested)
        lm_conn_rollback(self->conn);
    self->query.keys_only = m->by_range;
    if (!ok)
        lm_preflight_explain(m, err);
    return ok;
}

bool
lm_lane_check_query_again(struct lm_lane *self, struct lm_err *err)
{
    struct lm_base_query before;

    if (!lm_conn_forget(self->conn, err))
        return false;
    before = self->query;
    memset(&self->query, 0, sizeof self->query);
    if (!lm_lane_check_query(self, err)) {
        /* Keep the old description, which is good enough to try again. */
        lm_base_query_release(&self->query);
        self->query = before;
        return false;
    }
    lm_base_query_release(&before);
    return true;
}

/* Somebody may have edited the run's journal rows by hand. Without a cursor
 * the run would begin again, so that is allowed only for runs without rows. */
bool
lm_lane_check_keys(const struct lm_lane *self, const struct lm_run *run,
                   struct lm_err *err)
{
    const char *wrong = NULL;

    if (self->migration->one_shot)
        return true;
    if (lm_key_is_empty(&run->cursor)
            ? run->batches > 0
            : !lm_key_fits(&run->cursor, self->query.key_count)) {
        wrong = "cursor";
    } else if (lm_key_is_empty(&run->bound)
                   ? run->bound_is_empty && run->batches > 0
                   : !lm_key_fits(&run->bound, self->query.key_count)) {
        wrong = "bound";
    }
    if (wrong == NULL)
        return true;
    lm_err_set(err, LM_ERR_FAILED,
               "the journal's %s of run %" PRId64 " does not fit the key",
               wrong, run->id);
    return lm_err_hint(
        err,
        "Correct it in the table \"progress\" of the schema "
        "\"%s\", or abandon that run and begin a new one with --restart.",
        self->journal.schema);
}

bool
lm_lane_refresh(struct lm_lane *self, struct lm_err *err)
{
    return self->host.reread(self->host.run, err) &&
           lm_lane_check_keys(self, self->run, err);
}
