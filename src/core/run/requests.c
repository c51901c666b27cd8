/* SPDX-License-Identifier: MIT */
/*
 * Requests to the run from other terminals: pause, resume, cancel, set.
 *
 * Requests arrive in a mailbox, which another thread may fill. The runner
 * empties it between batches and while it waits. It writes the answer in the
 * transaction that does what the request asks.
 */

#include "base/log.h"
#include "base/stop.h"
#include "core/run/runner.h"
#include "core/run/team.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STAY_MS = 1000, REST_MS = 100 };

/* -- hearing ----------------------------------------------------------- */

/* Pauses that were taken, and not obeyed yet, will not be: says why. */
static void
outweigh_pauses(struct lm_requests *self, const char *why)
{
    for (int i = 0; i < self->answer_count; i++) {
        if (self->answers[i].waits)
            LM_ERR_COPY(self->answers[i].text, why);
        self->answers[i].waits = false;
    }
    self->wants_pause = false;
}

static void
obey_later(struct lm_requests *self, const struct lm_request *request)
{
    bool pause = strcmp(request->verb, "pause") == 0;
    bool cancel = strcmp(request->verb, "cancel") == 0;
    char why[sizeof self->answers->text];

    if (cancel || pause != self->wants_pause)
        self->asked = *request;
    if (!pause) {
        snprintf(why, sizeof why, "the run was %s by %.80s on %.80s",
                 cancel ? "cancelled" : "resumed", request->by, request->host);
        outweigh_pauses(self, why);
    }
    self->wants_pause = pause;
    self->cancelled = cancel;
}

/* Does what one request asks for; err says why not. */
static bool
follow(struct lm_runner *self, const struct lm_request *request, int count,
       struct lm_err *err)
{
    if (request->fault[0] != '\0')
        return lm_err_set(err, LM_ERR_USAGE, "%s", request->fault);
    if (strcmp(request->verb, "set") == 0)
        return lm_runner_apply_set(self, request, count, err);
    obey_later(&self->requests, request);
    return true;
}

/* Each request is judged alone. */
static void
take(struct lm_runner *self, const struct lm_request *request, int count)
{
    struct lm_reply answer = {.id = request->id,
                              .waits = strcmp(request->verb, "pause") == 0};
    struct lm_buf why = LM_BUF_INIT;
    struct lm_err err;

    if (follow(self, request, count, &err)) {
        LM_ERR_COPY(answer.text, "done");
    } else {
        lm_buf_printf(&why, "refused: %s%s%s", err.message,
                      err.hint[0] != '\0' ? ". " : "", err.hint);
        LM_ERR_COPY(answer.text, lm_buf_text(&why));
        lm_buf_release(&why);
        lm_log(LM_LOG_WARNING, "request %" PRId64 " by %s on %s is %s",
               request->id, request->by, request->host, answer.text);
    }
    if (self->requests.answer_count == self->requests.answer_room) {
        self->requests.answer_room = 2 * self->requests.answer_room + 16;
        self->requests.answers = lm_realloc(self->requests.answers,
                                            (size_t)self->requests.answer_room,
                                            sizeof *self->requests.answers);
    }
    self->requests.answers[self->requests.answer_count++] = answer;
}

void
lm_runner_empty_mailbox(struct lm_runner *self)
{
    int entries;
    int count;
    struct lm_request *requests =
        lm_mailbox_empty(self->requests.mailbox, &count);

    for (int i = 0; i < count && !self->requests.cancelled; i += entries) {
        entries = lm_requests_of_one(&requests[i], count - i);
        take(self, &requests[i], entries);
    }
    free(requests);
}

static bool
is_connected(const struct lm_runner *self)
{
    return self->lane.conn != NULL && lm_conn_is_up(self->lane.conn);
}

bool
lm_runner_should_end_wait(struct lm_runner *self)
{
    struct lm_err ignored;

    if (self->dry == NULL && lm_mailbox_is_poll_due(self->requests.mailbox) &&
        is_connected(self) &&
        !lm_mailbox_poll(self->requests.mailbox, &self->lane.journal,
                         self->run.id, &ignored)) {
        lm_log(LM_LOG_DEBUG, "could not look for requests: %s",
               ignored.message);
    }
    lm_runner_empty_mailbox(self);
    return lm_stop_level() > 0 || self->requests.cancelled ||
           self->requests.answer_count > 0 || self->holding.overtaken ||
           !is_connected(self);
}

/* -- obeying ----------------------------------------------------------- */

bool
lm_runner_has_request(const struct lm_runner *self)
{
    return self->requests.answer_count > 0 && !self->requests.cancelled;
}

static void
call_on_stop(struct lm_runner *self)
{
    const struct lm_migration *m = self->migration;
    struct lm_run_info info = lm_lane_info(&self->lane, self->run.batches);

    if (self->requests.paused)
        m->ops->on_stop(m->self, &info, "pause");
}

bool
lm_runner_answer(struct lm_runner *self, struct lm_err *err)
{
    return self->requests.answer_count == 0 ||
           lm_journal_answer(&self->lane.journal, self->requests.answers,
                             self->requests.answer_count, err);
}

/* A pause is answered when nobody has a batch in hand. Other processes see the
 * request, or the state, and give their ranges back; the range of one that is
 * gone becomes free. */
static bool
others_rest(struct lm_runner *self, bool *rest, struct lm_err *err)
{
    struct lm_journal *journal = &self->lane.journal;
    struct lm_txn txn = lm_lane_txn(&self->lane);
    int64_t held = 0;
    bool freed;

    *rest = true;
    if (!lm_journal_count_held(journal, self->run.id, &held, err))
        return false;
    if (held == 0)
        return true;
    *rest = false;
    txn.own = true;
    if (strcmp(self->run.state, "paused") != 0) {
        if (!lm_txn_begin(self->lane.conn, &txn, err) ||
            !lm_journal_set_state(journal, &self->run, "paused", err) ||
            !lm_conn_commit(self->lane.conn, "rest_before_commit",
                            "rest_after_commit_sent", err))
            return false;
        self->run.seq++;
        LM_ERR_COPY(self->run.state, "paused");
    }
    if (!lm_lane_free_abandoned(&self->lane, &self->share, &freed, err))
        return false;
    lm_stop_wait_ms(REST_MS);
    return true;
}

/* Who has asked for the pause may want to know why it is not answered. */
static void
tell_of_prepare(struct lm_runner *self)
{
    if (self->holding.waits_for != NULL || !lm_team_prepares(self->team))
        return;
    lm_holding_waits_for(&self->holding, "prepare");
    lm_runner_renew_lease_and_status(self);
}

bool
lm_runner_obey(struct lm_runner *self, struct lm_err *err)
{
    struct lm_txn txn = lm_lane_txn(&self->lane);
    bool pause = self->requests.wants_pause;
    bool changes = pause != self->requests.paused;
    bool rest = true;

    lm_lane_rest(&self->lane);
    lm_team_hold(self->team, pause);
    if (!lm_team_is_idle(self->team) && pause) {
        tell_of_prepare(self);
        lm_stop_wait_ms(STAY_MS);
        return true;
    }
    if (pause && !others_rest(self, &rest, err))
        return false;
    if (!rest)
        return true;
    txn.own = true;
    /* Also if the state stays the same: only the run's runner may answer. */
    if (!lm_txn_begin(self->lane.conn, &txn, err) ||
        !lm_journal_set_state(&self->lane.journal, &self->run,
                              pause ? "paused" : "running", err) ||
        !lm_runner_answer(self, err) ||
        !lm_conn_commit(self->lane.conn, "obey_before_commit",
                        "obey_after_commit_sent", err))
        return false;
    self->requests.answer_count = 0;
    self->run.seq++;
    LM_ERR_COPY(self->run.state, pause ? "paused" : "running");
    lm_holding_waits_for(&self->holding, pause ? "paused" : NULL);
    if (!changes) {
        lm_runner_renew_lease_and_status(self);
        return true;
    }
    self->requests.paused = pause;
    lm_runner_renew_lease_and_status(self);
    lm_log(LM_LOG_INFO, "%s by %s on %s", pause ? "paused" : "resumed",
           self->requests.asked.by, self->requests.asked.host);
    call_on_stop(self);
    return true;
}

void
lm_runner_stay_paused(struct lm_runner *self)
{
    lm_progress_hold_begin(&self->gauge.progress, "paused");
    lm_runner_rest(self, STAY_MS);
    lm_progress_hold_end(&self->gauge.progress);
    if (is_connected(self))
        lm_lane_note_alive(&self->lane); /* there is no progress to be had */
}

bool
lm_runner_begin_control(struct lm_runner *self, struct lm_err *err)
{
    struct lm_request *requests = NULL;
    int count = 0;

    if (!lm_mailbox_poll(self->requests.mailbox, &self->lane.journal,
                         self->run.id, err) ||
        !lm_journal_settings(&self->lane.journal, self->run.id, &requests,
                             &count, err))
        return false;
    lm_runner_apply_settings(self, requests, count);
    free(requests);
    lm_runner_empty_mailbox(self);
    /* The command that started this runner also resumes a paused run. */
    outweigh_pauses(&self->requests, "the run was resumed by its command");
    self->requests.heard = true;
    return true;
}

void
lm_requests_note_state(struct lm_requests *self, const char *state)
{
    self->paused = strcmp(state, "paused") == 0;
}
