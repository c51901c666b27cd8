/* SPDX-License-Identifier: MIT */

#include "cli/target/control.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/show.h"
#include "base/stop.h"
#include "core/journal/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A runner answers within a second, or after its batch. */
enum { PATIENCE_MS = 10000, ASK_AGAIN_MS = 100 };

void
lm_control_init(struct lm_control *self, const struct lm_command *command)
{
    memset(self, 0, sizeof *self);
    self->command = command;
    lm_look_init(&self->look);
}

void
lm_control_release(struct lm_control *self)
{
    lm_look_release(&self->look);
}

static struct lm_journal
journal_of(const struct lm_control *self)
{
    struct lm_journal journal = {.conn = self->look.conn,
                                 .schema = self->look.schema};

    return journal;
}

bool
lm_control_find(struct lm_control *self, const char *which, struct lm_err *err)
{
    if (!lm_look_find(&self->look, self->command, which, &self->run, err))
        return false;
    if (self->run.unfinished)
        return true;
    return lm_err_set(err, LM_ERR_FAILED,
                      "run %" PRId64 " of %s has ended: it is %s", self->run.id,
                      self->run.script, self->run.state);
}

/* One that reconnects shows itself by its lease only. */
static bool
has_runner(const struct lm_control *self)
{
    return self->run.live || (self->run.leased && self->run.unfinished);
}

static bool
look_at_run(struct lm_control *self, struct lm_err *err)
{
    return lm_status_find_number(self->look.conn, self->look.schema,
                                 self->run.id, &self->run, err);
}

/* Waits for the answer; false when none came in time. */
static bool
wait_for_answer(struct lm_control *self, char *answer, size_t size,
                struct lm_err *err)
{
    struct lm_journal journal = journal_of(self);
    int64_t end = lm_clock_ms() + PATIENCE_MS;

    answer[0] = '\0';
    while (answer[0] == '\0' && has_runner(self) && lm_clock_ms() < end) {
        if (!look_at_run(self, err) ||
            !lm_journal_read_answer(&journal, self->request_id, answer, size,
                                    err))
            return false;
        if (answer[0] == '\0' && !lm_stop_sleep_ms(ASK_AGAIN_MS))
            break;
    }
    return true;
}

static const char *
done_word(const char *verb)
{
    static const char *const words[][2] = {{"pause", "is paused"},
                                           {"resume", "continues"},
                                           {"cancel", "is cancelled"},
                                           {"set", "has its new settings"}};

    for (size_t i = 0; i < LM_COUNT(words); i++) {
        if (strcmp(words[i][0], verb) == 0)
            return words[i][1];
    }
    return "has answered";
}

static void
print_no_answer(const struct lm_control *self)
{
    struct lm_status_progress now;
    struct lm_err ignored;
    char prepares[80] = "";

    if (lm_status_progress(self->look.conn, self->look.schema, self->run.id,
                           &now, &ignored) &&
        strcmp(now.waits_for, "prepare") == 0) {
        snprintf(prepares, sizeof prepares, " (in prepare since %s)",
                 lm_clock_span(now.waits_ms).text);
    }
    lm_out("run %" PRId64 " has been asked to %s; it has not answered yet%s, "
           "it answers after its current batch\n",
           self->run.id, self->command->name, prepares);
}

static int
print_answer(const struct lm_control *self, const char *answer)
{
    if (answer[0] == '\0') {
        print_no_answer(self);
    } else if (strcmp(answer, "done") != 0) {
        lm_log(LM_LOG_ERROR, "run %" PRId64 " answers: %s", self->run.id,
               answer);
        return LM_EXIT_FAILED;
    } else {
        lm_out("run %" PRId64 " %s\n", self->run.id,
               done_word(self->command->name));
    }
    return lm_cli_finish_output(LM_EXIT_DONE);
}

bool
lm_control_ask(struct lm_control *self, int *code)
{
    struct lm_journal journal = journal_of(self);
    char answer[256];
    struct lm_err err;

    if (!has_runner(self))
        return false;
    if (!lm_journal_request(&journal, self->run.id, self->command->name,
                            self->at_once, self->settings_json, NULL,
                            &self->request_id, &err) ||
        !wait_for_answer(self, answer, sizeof answer, &err)) {
        *code = lm_cli_fail(&err);
        return true;
    }
    if (answer[0] == '\0' && !self->run.live)
        return false;
    *code = print_answer(self, answer);
    return true;
}

bool
lm_control_note(struct lm_control *self, struct lm_err *err)
{
    struct lm_journal journal = journal_of(self);

    return lm_journal_request(&journal, self->run.id, self->command->name,
                              self->at_once, self->settings_json, "done",
                              &self->request_id, err);
}
