/* SPDX-License-Identifier: MIT */
/* The fingerprint of a run: taken before the run begins or is resumed, and
 * compared with the journal's. */

#include "core/page/preflight.h"
#include "core/run/runner.h"

#include <stdlib.h>

static bool
is_elsewhere(const struct lm_runner *self)
{
    return lm_lane_has_source(&self->lane) && !self->migration->one_shot;
}

/* What unqualified names of the script mean is the run's own database to say. A
 * journal in the source is not the run's. */
static bool
put_own_path(struct lm_runner *self, struct lm_err *err)
{
    static const char sql[] =
        "SELECT ($1::pg_catalog.jsonb OPERATOR(pg_catalog.||)"
        " pg_catalog.jsonb_build_object('journal', NULL, 'search_path',"
        "  pg_catalog.to_jsonb(pg_catalog.current_schemas(false))))"
        "::pg_catalog.text";
    struct lm_answer *answer = NULL;

    if (!is_elsewhere(self))
        return true;
    if (!lm_conn_ask(self->lane.conn, sql, "1: t", LM_VALUES(self->fingerprint),
                     &answer, err))
        return false;
    free(self->fingerprint);
    self->fingerprint = lm_answer_copy(answer, 0, 0);
    lm_answer_free(answer);
    return true;
}

static struct lm_fingerprint_place
place_of(const struct lm_runner *self)
{
    struct lm_fingerprint_place place = {
        .system = is_elsewhere(self) ? self->lane.source.place.system
                                     : self->lane.server,
        .journal_schema = self->lane.journal.schema};

    return place;
}

bool
lm_runner_take_fingerprint(struct lm_runner *self, struct lm_err *err)
{
    struct lm_fingerprint_place place = place_of(self);

    free(self->fingerprint);
    self->fingerprint = NULL;
    return lm_fingerprint_take(lm_lane_reader(&self->lane), &place,
                               &self->lane.query, &self->fingerprint, err) &&
           put_own_path(self, err);
}

bool
lm_runner_look_again(struct lm_runner *self, struct lm_err *err)
{
    if (!lm_lane_check_query_again(&self->lane, err) ||
        (self->acquired && self->dry == NULL &&
         (!lm_runner_take_fingerprint(self, err) ||
          !lm_journal_note_fingerprint(&self->lane.journal, self->run.id,
                                       self->fingerprint, err))))
        return false;
    self->look_again = false;
    if (self->unseen && self->dry == NULL)
        lm_runner_watch_tables(self);
    self->unseen = false;
    return true;
}

bool
lm_runner_may_look_later(struct lm_runner *self, bool started,
                         const struct lm_err *err)
{
    const struct lm_migration *m = self->migration;

    self->unseen = lm_err_is_state(err, "42P01") && !started &&
                   m->reads_from == NULL &&
                   m->ops->has(m->self, LM_CALL_ON_START);
    return self->unseen;
}

/* A question that fails rolls back what on_start did. */
static bool
judge_late(struct lm_runner *self, struct lm_err *err)
{
    uint64_t transaction = lm_conn_transaction(self->lane.conn);

    if (!lm_runner_check(self, err))
        return false;
    if (lm_conn_in_transaction(self->lane.conn) &&
        lm_conn_transaction(self->lane.conn) == transaction)
        return true;
    lm_err_set(err, LM_ERR_DATABASE,
               "the base query could not be checked after on_start");
    LM_ERR_COPY(err->sqlstate, "40001");
    return false;
}

/* on_start may put a table into the place of the one that was looked at. */
static bool
reads_the_same(struct lm_runner *self, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;

    return m->one_shot || is_elsewhere(self) ||
           !m->ops->has(m->self, LM_CALL_ON_START) ||
           lm_preflight_tables(self->lane.conn, m->base_query, err);
}

bool
lm_runner_look_late(struct lm_runner *self, struct lm_err *err)
{
    if (!self->unseen)
        return reads_the_same(self, err);
    if (!lm_lane_check_query(&self->lane, err) || !judge_late(self, err) ||
        !lm_runner_check_start(self, &self->run.cursor, err))
        return false;
    lm_runner_warn_of_volatile_calls(self);
    return true;
}

bool
lm_runner_has_fitted(struct lm_runner *self, struct lm_err *err)
{
    struct lm_run_request request;

    if (self->migration->one_shot)
        return true;
    if (!lm_lane_check_query_again(&self->lane, err) ||
        !lm_runner_take_fingerprint(self, err))
        return false;
    request = lm_runner_request(self);
    if (lm_journal_fits(&self->lane.journal, &request, &self->run, err))
        return true;
    if (err->kind == LM_ERR_SCRIPT) {
        err->kind = LM_ERR_FAILED;
        lm_err_detail(err, "That has changed during the run. The run may have "
                           "skipped rows, or migrated rows twice.");
        lm_err_hint(err, "See which rows were not migrated. --restart abandons "
                         "the run and begins at the first row.");
    }
    return false;
}

bool
lm_runner_check_done(struct lm_runner *self, struct lm_err *err)
{
    struct lm_fingerprint_place place = place_of(self);
    char *sketch = NULL;
    bool ok;

    if (is_elsewhere(self)) /* it may be gone for good by now */
        return true;
    ok = lm_fingerprint_sketch(self->lane.conn, &place,
                               self->migration->base_query, &sketch, err) &&
         lm_journal_fits_done(&self->lane.journal, sketch, self->run.id, err);

    free(sketch);
    return ok;
}
