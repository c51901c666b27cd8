/* SPDX-License-Identifier: MIT */
#ifndef LM_CLI_TARGET_CONTROL_H
#define LM_CLI_TARGET_CONTROL_H

/* Sends a request to a run, and waits some time for the answer. Used by pause,
 * resume, cancel and set. */

#include "cli/target/look.h"

struct lm_control {
    const struct lm_command *command; /* its name is the verb */
    struct lm_look look;
    struct lm_status_run run;
    bool at_once;
    const char *settings_json; /* of set; NULL */
    int64_t request_id;
};

void lm_control_init(struct lm_control *self, const struct lm_command *command);
void lm_control_release(struct lm_control *self);

/* Connects and finds the run. LM_ERR_FAILED when it has ended. */
bool lm_control_find(struct lm_control *self, const char *which,
                     struct lm_err *err) LM_MUSTCHECK;
/* Asks the runner, and prints on stdout what happens: *code. False if the run
 * has no runner, so that nothing was asked or answered. */
bool lm_control_ask(struct lm_control *self, int *code);
/* Writes the request for the next runner. */
bool lm_control_note(struct lm_control *self, struct lm_err *err) LM_MUSTCHECK;

#endif
