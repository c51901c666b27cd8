/* SPDX-License-Identifier: MIT */
/* The ranges of a run: handing them out, and moving on in one. */

#include "base/text.h"
#include "core/journal/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
lm_range_release(struct lm_range *self)
{
    lm_key_release(&self->cursor);
    lm_key_release(&self->upper);
    memset(self, 0, sizeof *self);
}

static void
read_key(const struct lm_answer *answer, int column, struct lm_key *key)
{
    lm_key_release(key);
    key->count = lm_answer_texts(answer, 0, column, &key->texts);
}

void
lm_journal_read_range_row(const struct lm_answer *answer, const char *token,
                          struct lm_range *range)
{
    char owner[sizeof range->owner];

    LM_ERR_COPY(owner, token); /* it may be the range's own */
    lm_range_release(range);
    if (lm_answer_rows(answer) == 0)
        return;
    range->id = lm_answer_int(answer, 0, 0);
    range->seq = lm_answer_int(answer, 0, 1);
    read_key(answer, 2, &range->cursor);
    read_key(answer, 3, &range->upper);
    range->rows = lm_answer_int(answer, 0, 4);
    range->batches = lm_answer_int(answer, 0, 5);
    LM_ERR_COPY(range->owner, owner);
}

bool
lm_journal_checkpoint(struct lm_journal *self, const struct lm_range *range,
                      const struct lm_key *cursor, int64_t rows,
                      int64_t retries, struct lm_err *err)
{
    char *cursor_text = lm_journal_key_array(cursor);
    bool ok = lm_journal_post(
        self, "SELECT {schema}.checkpoint($1, $2, $3, $4, $5, $6, 0)",
        LM_VALUES(LM_DIGITS(range->id), range->owner, LM_DIGITS(range->seq),
                  cursor_text, LM_DIGITS(rows), LM_DIGITS(retries)),
        err);

    free(cursor_text);
    return ok;
}

bool
lm_journal_read_range(struct lm_journal *self, struct lm_range *range,
                      bool *mine, struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    if (!lm_journal_ask(self,
                        "SELECT " LM_JOURNAL_RANGE " FROM {schema}.range g"
                        " WHERE g.id = $1 AND g.owner = $2::uuid",
                        LM_JOURNAL_RANGE_SHAPE,
                        LM_VALUES(LM_DIGITS(range->id), range->owner), &answer,
                        err))
        return false;
    *mine = lm_answer_rows(answer) == 1;
    lm_journal_read_range_row(answer, range->owner, range);
    lm_answer_free(answer);
    return true;
}

bool
lm_journal_read_closed(struct lm_journal *self, int64_t id,
                       struct lm_range *range, struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    if (!lm_journal_ask(self,
                        "SELECT g.rows, g.batches FROM {schema}.range g"
                        " WHERE g.id = $1 AND g.closed",
                        "?: n n", LM_VALUES(LM_DIGITS(id)), &answer, err))
        return false;
    if (lm_answer_rows(answer) == 1) {
        range->rows = lm_answer_int(answer, 0, 0);
        range->batches = lm_answer_int(answer, 0, 1);
    }
    lm_answer_free(answer);
    return true;
}

/* -- handing out ---------------------------------------------------------- */

static bool
ask_for_range(struct lm_journal *self, const struct lm_run *run,
              struct lm_range *range, bool over, bool next, struct lm_err *err)
{
    struct lm_answer *answer = NULL;
    bool has = range->id > 0;
    char token[sizeof range->owner];

    if (!lm_journal_make_token(token, sizeof token, err) ||
        !lm_journal_ask(
            self,
            "SELECT " LM_JOURNAL_RANGE " FROM {schema}.next_range($1,"
            " $2::uuid, $3::uuid, $4, $5::uuid, $6, $7) g",
            LM_JOURNAL_RANGE_SHAPE,
            LM_VALUES(LM_DIGITS(run->id), self->worker, next ? token : NULL,
                      has ? LM_DIGITS(range->id) : NULL,
                      has ? range->owner : NULL, LM_DIGITS(range->seq),
                      over ? "t" : "f"),
            &answer, err))
        return false;
    lm_journal_read_range_row(answer, token, range);
    lm_answer_free(answer);
    return true;
}

bool
lm_journal_count_run(struct lm_journal *self, struct lm_run *run,
                     struct lm_err *err)
{
    struct lm_answer *answer = NULL;
    bool whole;

    if (!lm_journal_ask(
            self,
            "SELECT r.state, t.rows, t.batches, t.retries,"
            " t.failures, t.ranges, " LM_JOURNAL_CURSOR
            ", t.ranges = p.ranges FROM {schema}.progress p"
            " JOIN {schema}.run r ON r.id = p.run_id"
            " CROSS JOIN LATERAL " LM_JOURNAL_TOTALS " WHERE p.run_id = $1",
            "?: t 5n t?[]? b", LM_VALUES(LM_DIGITS(run->id)), &answer, err))
        return false;
    if (lm_answer_rows(answer) == 0) {
        lm_answer_free(answer);
        return lm_journal_fail_vanished(self, run, err);
    }
    LM_ERR_COPY(run->state, lm_answer_text(answer, 0, 0));
    run->rows = lm_answer_int(answer, 0, 1);
    run->batches = lm_answer_int(answer, 0, 2);
    run->retries = lm_answer_int(answer, 0, 3);
    run->failures = lm_answer_int(answer, 0, 4);
    run->ranges = (int)lm_answer_int(answer, 0, 5);
    read_key(answer, 6, &run->cursor);
    whole = lm_answer_bool(answer, 0, 7);
    lm_answer_free(answer);
    return whole || lm_journal_fail_ranges(self, run, err);
}

static bool
hand_out(struct lm_journal *self, struct lm_run *run, struct lm_range *range,
         bool over, bool take, struct lm_err *err)
{
    struct lm_range next = *range;
    struct lm_run found = *run;
    bool ok;

    memset(&next.cursor, 0, sizeof next.cursor);
    memset(&next.upper, 0, sizeof next.upper);
    memset(&found.cursor, 0, sizeof found.cursor);
    ok = lm_journal_open_lightly(self, err) &&
         ask_for_range(self, run, &next, over, take, err) &&
         lm_journal_count_run(self, &found, err) &&
         lm_conn_commit(self->conn, "range_before_commit",
                        "range_after_commit_sent", err);
    if (ok) {
        lm_range_release(range);
        *range = next;
        lm_key_swap(&found.cursor, &run->cursor);
        lm_key_release(&found.cursor);
        found.cursor = run->cursor;
        *run = found;
        return true;
    }
    lm_range_release(&next);
    lm_key_release(&found.cursor);
    lm_conn_rollback(self->conn);
    return false;
}

bool
lm_journal_next_range(struct lm_journal *self, struct lm_run *run,
                      struct lm_range *range, bool over, struct lm_err *err)
{
    return hand_out(self, run, range, over, true, err);
}

bool
lm_journal_give_back(struct lm_journal *self, struct lm_run *run,
                     struct lm_range *range, bool over, struct lm_err *err)
{
    return hand_out(self, run, range, over, false, err);
}

bool
lm_journal_count_others(struct lm_journal *self, const struct lm_run *run,
                        const struct lm_range *range, int64_t *others,
                        struct lm_err *err)
{
    struct lm_answer *answer = NULL;
    bool whole;

    if (!lm_journal_ask(self,
                        "SELECT p.ranges = count(g.id),"
                        " count(g.id) FILTER (WHERE g.id <> $2)"
                        " FROM {schema}.progress p LEFT JOIN {schema}.range g"
                        " ON g.run_id = p.run_id AND NOT g.closed"
                        " WHERE p.run_id = $1 GROUP BY p.ranges",
                        "?: b n",
                        LM_VALUES(LM_DIGITS(run->id), LM_DIGITS(range->id)),
                        &answer, err))
        return false;
    if (lm_answer_rows(answer) == 0) {
        lm_answer_free(answer);
        return lm_journal_fail_vanished(self, run, err);
    }
    whole = lm_answer_bool(answer, 0, 0);
    *others = lm_answer_int(answer, 0, 1);
    lm_answer_free(answer);
    return whole || lm_journal_fail_ranges(self, run, err);
}
