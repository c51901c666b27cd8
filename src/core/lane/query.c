/* SPDX-License-Identifier: MIT */
/* The base query as this connection sees it, and the run's keys. */

#include "core/lane/private.h"

#include "core/page/preflight.h"

#include <inttypes.h>
#include <string.h>

/* In a transaction like those of the batches: its settings decide what the
 * base query means, and whether row security would hide rows of it. */
bool
lm_lane_check_query(struct lm_lane *self, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_txn txn = lm_lane_read_txn(self);
    struct lm_conn *conn;
    bool nested;
    bool ok;

    if (m->one_shot)
        return true;
    lm_base_query_release(&self->query); /* of an attempt that failed */
    if (!lm_lane_connect_source(self, err))
        return false;
    conn = lm_lane_reader(self);
    nested = lm_conn_has_transaction(conn); /* a dry run's */
    ok = (nested ||
          (lm_txn_begin(conn, &txn, err) && lm_conn_flush(conn, err))) &&
         lm_preflight_query(conn, m->base_query, m->params, m->param_count,
                            m->key, m->key_count, m->assume_unique,
                            &self->query, err);
    if (!nested)
        lm_conn_rollback(conn);
    self->query.keys_only = m->by_range;
    if (!ok) {
        lm_base_query_release(&self->query);
        lm_preflight_explain(m, err);
    }
    return ok;
}

bool
lm_lane_knows_query(const struct lm_lane *self)
{
    return self->query.key_count > 0;
}

bool
lm_lane_check_query_again(struct lm_lane *self, struct lm_err *err)
{
    struct lm_base_query before;

    if (!lm_lane_forget_statements(self, err))
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
lm_lane_check_keys(const struct lm_lane *self, const struct lm_key *cursor,
                   const struct lm_key *upper, bool begun, struct lm_err *err)
{
    const char *wrong = NULL;

    if (self->migration->one_shot || !lm_lane_knows_query(self))
        return true;
    if (lm_key_is_empty(cursor) ? begun
                                : !lm_key_fits(cursor, self->query.key_count)) {
        wrong = "cursor";
    } else if (!lm_key_is_empty(upper) &&
               !lm_key_fits(upper, self->query.key_count)) {
        wrong = "upper key";
    }
    if (wrong == NULL)
        return true;
    lm_err_set(err, LM_ERR_FAILED,
               "the journal's %s of run %" PRId64 " does not fit the key",
               wrong, self->run->id);
    return lm_err_hint(
        err,
        "Correct it in the table \"range\" of the schema "
        "\"%s\", or abandon that run and begin a new one with --restart.",
        self->journal.schema);
}

bool
lm_lane_check_range(const struct lm_lane *self, struct lm_err *err)
{
    const struct lm_range *range = &self->range;

    return range->id == 0 ||
           lm_lane_check_keys(self, &range->cursor, &range->upper,
                              range->batches > 0, err);
}

struct lm_belief
lm_lane_believe(const struct lm_lane *self)
{
    const struct lm_range *range = &self->range;

    if (self->unsettled.id > 0)
        return self->unsettled;
    return (struct lm_belief){range->id, range->seq, range->rows,
                              range->batches};
}

bool
lm_lane_settle(struct lm_lane *self, const struct lm_belief *before,
               int64_t *batches, struct lm_err *err)
{
    struct lm_range found = {.rows = before->rows, .batches = before->batches};
    struct lm_counts done = {.rows = 0};

    self->unsettled = *before;
    if (before->id == self->range.id) {
        found.rows = self->range.rows;
        found.batches = self->range.batches;
    } else if (before->id > 0 && !lm_journal_read_closed(
                                     &self->journal, before->id, &found, err)) {
        return false;
    }
    self->unsettled.id = 0;
    done.rows = found.rows - before->rows;
    done.batches = found.batches - before->batches;
    lm_account_add(self->account, &done);
    *batches = done.batches;
    return true;
}

bool
lm_lane_refresh(struct lm_lane *self, struct lm_err *err)
{
    return self->host.reread(self->host.run, err) &&
           lm_lane_check_range(self, err);
}
