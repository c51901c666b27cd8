/* SPDX-License-Identifier: MIT */
/* luamig set: changes settings of a run while it is at work. */

#include "base/log.h"
#include "base/show.h"
#include "cli/target/control.h"
#include "core/run/run.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: luamig set RUN NAME=VALUE ... [OPTIONS]\n"
    "\n"
    "Changes settings of a run, from its next batch on. The run keeps them "
    "when\n"
    "another runner continues it.\n"
    "\n"
    "  batch_size=N          rows in a batch\n"
    "  throttle_ms=N         pause between batches\n"
    "  target_ms=N           time that a batch should take; 0: no target\n"
    "  workers=N             connections of each process of the run, 1 to 64, "
    "or auto:\n"
    "                        as many as help\n"
    "  health.SIGNAL=N       the run waits while this health signal is above "
    "N;\n"
    "                        false: do not watch it (docs/operating.md lists "
    "them)\n"
    "\n" LM_LOOK_HELP "\n" LM_LOOK_RUN;

static const struct lm_option option_table[] = {
    LM_LOOK_OPTIONS(offsetof(struct lm_control, look))};

/* Adds "name": "value", both of which are known to need no escapes. */
static bool
add_setting(struct lm_buf *json, const char *text)
{
    const char *equals = strchr(text, '=');
    char name[64];
    struct lm_err err;

    if (equals == NULL || equals - text >= (ptrdiff_t)sizeof name) {
        lm_cli_usage(&lm_cmd_set, "set takes NAME=VALUE, not \"%s\"", text);
        return false;
    }
    snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
    if (!lm_runner_check_setting(name, equals + 1, &err)) {
        lm_log_err(LM_LOG_ERROR, &err);
        return false;
    }
    lm_buf_printf(json, "%s\"%s\": \"%s\"", json->len > 1 ? ", " : "", name,
                  equals + 1);
    return true;
}

static bool
parse_options(int argc, char **argv, struct lm_control *self,
              struct lm_buf *json)
{
    if (!lm_cli_parse(self->command, argc, argv, self))
        return false;
    if (optind + 2 > argc) {
        lm_cli_usage(self->command, "set takes a run and NAME=VALUE");
        return false;
    }
    lm_buf_putc(json, '{');
    for (int i = optind + 1; i < argc; i++) {
        if (!add_setting(json, argv[i]))
            return false;
    }
    lm_buf_putc(json, '}');
    self->settings_json = lm_buf_text(json);
    return true;
}

static int
note(struct lm_control *self)
{
    struct lm_err err;

    if (self->request_id == 0 && !lm_control_note(self, &err))
        return lm_cli_fail(&err);
    lm_out("run %" PRId64
           " has no runner; its next runner will use these settings\n",
           self->run.id);
    return lm_cli_finish_output(LM_EXIT_DONE);
}

static int
run(int argc, char **argv)
{
    struct lm_control self;
    struct lm_buf json = LM_BUF_INIT;
    struct lm_err err;
    int code = LM_EXIT_USAGE;

    lm_control_init(&self, &lm_cmd_set);
    if (parse_options(argc, argv, &self, &json)) {
        if (!lm_control_find(&self, argv[optind], &err)) {
            code = lm_cli_fail(&err);
        } else if (!lm_control_ask(&self, &code)) {
            code = note(&self);
        }
    }
    lm_control_release(&self);
    lm_buf_release(&json);
    return code;
}

const struct lm_command lm_cmd_set = {"set", "change the settings of a run",
                                      help, run, .options = option_table};
