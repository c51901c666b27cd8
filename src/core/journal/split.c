/* SPDX-License-Identifier: MIT */
/*
 * Gives work to a worker that has none: cuts the range of another, or takes the
 * rest of a range whose worker is gone.
 *
 * The ranges of a run always cover all keys that are still to do. Both changes
 * only divide a range, under the locks of progress and of the range, so no key
 * is ever in two ranges or in none.
 */

#include "base/log.h"
#include "base/text.h"
#include "core/journal/private.h"
#include "pg/conn/txn.h"

#include <stdlib.h>
#include <string.h>

#define ALIVE LM_JOURNAL_ALIVE("$2::bigint")

/* A neighbour is not waited for: its batch may last. */
enum { LOCK_MS = 200 };

void
lm_neighbours_release(struct lm_neighbours *self)
{
    for (int i = 0; i < self->count; i++)
        lm_range_release(&self->of[i].range);
    free(self->of);
    self->of = NULL;
    self->count = 0;
}

static void
read_key(const struct lm_answer *answer, int row, int column,
         struct lm_key *key)
{
    key->count = lm_answer_texts(answer, row, column, &key->texts);
}

bool
lm_journal_list_neighbours(struct lm_journal *self, int64_t run_id, bool held,
                           struct lm_neighbours *out, struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    out->of = NULL;
    out->count = 0;
    if (!lm_journal_ask(self,
                        "SELECT g.id, g.seq, g.cursor, g.upper,"
                        " coalesce(g.owner::text, ''),"
                        " coalesce(" ALIVE
                        ", false), coalesce(w.process::text, ''),"
                        " coalesce(w.number, 0) FROM {schema}.range g"
                        " LEFT JOIN {schema}.worker w ON w.id = g.worker"
                        " WHERE g.run_id = $1 AND NOT g.closed"
                        " AND (g.owner IS NOT NULL OR NOT $3::bool)",
                        "*: n n t?[]? t?[]? t b t d",
                        LM_VALUES(LM_DIGITS(run_id), LM_DIGITS(self->lease_ms),
                                  held ? "t" : "f"),
                        &answer, err))
        return false;
    out->count = lm_answer_rows(answer);
    out->of = lm_calloc((size_t)out->count + 1, sizeof *out->of);
    for (int i = 0; i < out->count; i++) {
        struct lm_neighbour *found = &out->of[i];

        found->range.id = lm_answer_int(answer, i, 0);
        found->range.seq = lm_answer_int(answer, i, 1);
        read_key(answer, i, 2, &found->range.cursor);
        read_key(answer, i, 3, &found->range.upper);
        LM_ERR_COPY(found->range.owner, lm_answer_text(answer, i, 4));
        found->alive = lm_answer_bool(answer, i, 5);
        LM_ERR_COPY(found->process, lm_answer_text(answer, i, 6));
        found->number = lm_answer_small(answer, i, 7);
    }
    lm_answer_free(answer);
    return true;
}

bool
lm_journal_lock_range(struct lm_journal *self, int64_t run_id,
                      struct lm_range *range, bool *there, struct lm_err *err)
{
    struct lm_answer *answer = NULL;
    struct lm_txn txn = {
        .own = true, .statement_timeout_ms = 10000, .lock_timeout_ms = LOCK_MS};

    *there = false;
    if (!lm_txn_begin(self->conn, &txn, err) ||
        !lm_journal_command(self,
                            "SELECT FROM {schema}.progress WHERE run_id = $1"
                            " FOR UPDATE",
                            LM_VALUES(LM_DIGITS(run_id)), err) ||
        !lm_journal_ask(self,
                        "SELECT " LM_JOURNAL_RANGE " FROM {schema}.range g"
                        " WHERE g.id = $1 AND g.owner = $2::uuid"
                        " AND NOT g.closed FOR UPDATE",
                        LM_JOURNAL_RANGE_SHAPE,
                        LM_VALUES(LM_DIGITS(range->id), range->owner), &answer,
                        err))
        return false;
    *there = lm_answer_rows(answer) == 1;
    lm_journal_read_range_row(answer, range->owner, range);
    lm_answer_free(answer);
    return true;
}

/* A range right behind this one, with keys after from and up to upper. */
static bool
put_part(struct lm_journal *self, int64_t run_id, const struct lm_range *range,
         const struct lm_key *from, const struct lm_key *upper,
         struct lm_err *err)
{
    char *from_text = lm_journal_key_array(from);
    char *upper_text = lm_journal_key_array(upper);
    bool ok = lm_journal_command(
        self,
        "INSERT INTO {schema}.range (run_id, place, cursor, upper)"
        " SELECT $1::bigint, g.place + (coalesce((SELECT min(n.place)"
        "  FROM {schema}.range n WHERE n.run_id = $1::bigint AND NOT n.closed"
        "  AND n.place > g.place), g.place + 1) - g.place) / 2, $3, $4"
        " FROM {schema}.range g WHERE g.id = $2::bigint",
        LM_VALUES(LM_DIGITS(run_id), LM_DIGITS(range->id), from_text,
                  upper_text),
        err);

    free(from_text);
    free(upper_text);
    return ok;
}

bool
lm_journal_cut(struct lm_journal *self, int64_t run_id,
               const struct lm_range *range, const struct lm_key *cuts,
               int count, struct lm_err *err)
{
    char *upper = lm_journal_key_array(&cuts[0]);
    bool ok = true;

    /* The last part first, because each takes the place right behind. */
    for (int i = count - 1; ok && i >= 0; i--) {
        ok = put_part(self, run_id, range, &cuts[i],
                      i + 1 < count ? &cuts[i + 1] : &range->upper, err);
    }
    ok = ok &&
         lm_journal_command(self,
                            "UPDATE {schema}.range SET upper = $2,"
                            " seq = seq + 1 WHERE id = $1",
                            LM_VALUES(LM_DIGITS(range->id), upper), err) &&
         lm_journal_command(self,
                            "UPDATE {schema}.progress SET ranges = ranges"
                            " + $2::bigint WHERE run_id = $1",
                            LM_VALUES(LM_DIGITS(run_id), LM_DIGITS(count)),
                            err) &&
         lm_conn_commit(self->conn, "cut_before_commit",
                        "cut_after_commit_sent", err);
    free(upper);
    return ok;
}

void
lm_journal_end_idle(struct lm_journal *self, int64_t run_id,
                    const struct lm_neighbour *neighbour)
{
    if (neighbour->process[0] != '\0') {
        lm_journal_terminate(self, run_id, neighbour->process,
                             neighbour->number, false);
    }
}

bool
lm_journal_abandon(struct lm_journal *self, const struct lm_range *range,
                   struct lm_err *err)
{
    return lm_journal_command(self,
                              "INSERT INTO {schema}.range (run_id, place,"
                              " cursor, upper) SELECT run_id, place, cursor,"
                              " upper FROM {schema}.range WHERE id = $1",
                              LM_VALUES(LM_DIGITS(range->id)), err) &&
           lm_journal_command(self,
                              "UPDATE {schema}.range SET closed = true,"
                              " owner = NULL, worker = NULL WHERE id = $1",
                              LM_VALUES(LM_DIGITS(range->id)), err) &&
           lm_conn_commit(self->conn, "abandon_range_before_commit",
                          "abandon_range_after_commit_sent", err);
}
