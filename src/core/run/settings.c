/* SPDX-License-Identifier: MIT */
/* The settings that "luamig set" may change during a run: some of its config,
 * and the limits of the health signals. They are kept as requests in the
 * journal, and later runners of the run use them, too. */

#include "base/log.h"
#include "base/text.h"
#include "core/run/runner.h"
#include "core/run/team.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static const char health_prefix[] = "health.";
static const char workers_name[] = "workers";

static const struct {
    const char *name;
    int64_t least;
    int64_t most;
    size_t place; /* in struct lm_migration */
} figures[] = {
    {"batch_size", 1, 1000000, offsetof(struct lm_migration, batch_size)},
    {"throttle_ms", 0, INT32_MAX, offsetof(struct lm_migration, throttle_ms)},
    {"target_ms", 0, INT32_MAX, offsetof(struct lm_migration, target_ms)},
    {workers_name, 1, LM_RUNNER_MOST_WORKERS,
     offsetof(struct lm_migration, workers)}};

/* A setting as it was read: one of the figures, or the limit of a signal. */
struct setting {
    int figure; /* -1: none */
    int signal; /* likewise */
    int64_t value;
    double limit; /* negative: the signal is switched off */
};

/* -- reading ----------------------------------------------------------- */

static bool
fail_unknown(const char *name, struct lm_err *err)
{
    const char *names[LM_COUNT(figures) + LM_SIGNALS];
    size_t count = 0;
    bool of_health = strncmp(name, health_prefix, strlen(health_prefix)) == 0;
    int nearest;

    for (size_t i = 0; !of_health && i < LM_COUNT(figures); i++)
        names[count++] = figures[i].name;
    for (int i = 0; of_health && i < LM_SIGNALS; i++)
        names[count++] = lm_health_setting((enum lm_signal)i);
    nearest = lm_text_nearest(of_health ? name + strlen(health_prefix) : name,
                              names, count);
    lm_err_set(err, LM_ERR_USAGE, "there is no setting \"%s\"", name);
    if (nearest >= 0) {
        lm_err_hint(err, "Did you mean \"%s%s\"?",
                    of_health ? health_prefix : "", names[nearest]);
    }
    return false;
}

static bool
read_figure(int figure, const char *text, struct setting *out,
            struct lm_err *err)
{
    char *end;
    bool bare = text[strspn(text, "0123456789")] == '\0';

    errno = 0;
    out->figure = figure;
    out->value = 0;
    if (figures[figure].name == workers_name && strcmp(text, "auto") == 0)
        return true;
    out->value = strtoll(text, &end, 10);
    if (bare && end != text && *end == '\0' && errno == 0 &&
        out->value >= figures[figure].least &&
        out->value <= figures[figure].most)
        return true;
    return lm_err_set(
        err, LM_ERR_USAGE,
        "%s takes a number from %" PRId64 " to %" PRId64 "%s, not \"%s\"",
        figures[figure].name, figures[figure].least, figures[figure].most,
        figures[figure].name == workers_name ? " or auto" : "", text);
}

static bool
read_limit(int signal, const char *text, struct setting *out,
           struct lm_err *err)
{
    char *end;
    bool bare = text[strspn(text, "0123456789.eE+")] == '\0';

    out->signal = signal;
    out->limit = -1;
    if (strcmp(text, "false") == 0)
        return true;
    out->limit = strtod(text, &end);
    if (bare && end != text && *end == '\0' && isfinite(out->limit) &&
        out->limit >= 0)
        return true;
    return lm_err_set(err, LM_ERR_USAGE,
                      "%s%s takes a number or false, not \"%s\"", health_prefix,
                      lm_health_setting((enum lm_signal)signal), text);
}

static bool
read_setting(const char *name, const char *text, struct setting *out,
             struct lm_err *err)
{
    size_t prefix = strlen(health_prefix);

    memset(out, 0, sizeof *out);
    out->figure = out->signal = -1;
    for (int i = 0; i < (int)LM_COUNT(figures); i++) {
        if (strcmp(figures[i].name, name) == 0)
            return read_figure(i, text, out, err);
    }
    for (int i = 0; strncmp(name, health_prefix, prefix) == 0 && i < LM_SIGNALS;
         i++) {
        if (strcmp(lm_health_setting((enum lm_signal)i), name + prefix) == 0)
            return read_limit(i, text, out, err);
    }
    return fail_unknown(name, err);
}

bool
lm_runner_check_setting(const char *name, const char *text, struct lm_err *err)
{
    struct setting ignored;

    return read_setting(name, text, &ignored, err);
}

/* -- obeying ----------------------------------------------------------- */

static void
apply_figure(struct lm_runner *self, const struct setting *setting)
{
    size_t place = figures[setting->figure].place;

    memcpy((char *)&self->tuned + place, &setting->value,
           sizeof setting->value);
    if (place == offsetof(struct lm_migration, batch_size))
        lm_size_set_max(&self->lane.size, setting->value);
    if (place == offsetof(struct lm_migration, target_ms))
        lm_size_set_target(&self->lane.size, setting->value);
    lm_team_set_settings(self->team, self->migration);
}

static bool
apply_setting(struct lm_runner *self, const struct lm_request *request,
              struct lm_err *err)
{
    struct setting setting;

    if (!read_setting(request->name, request->value, &setting, err))
        return false;
    if (setting.figure >= 0) {
        apply_figure(self, &setting);
    } else {
        enum lm_signal signal = (enum lm_signal)setting.signal;

        lm_holding_set_limit(&self->holding, signal, setting.limit);
        lm_runner_note_limits(self);
    }
    lm_log(LM_LOG_INFO, "%s = %s, set by %s on %s", request->name,
           request->value, request->by, request->host);
    return true;
}

bool
lm_runner_apply_set(struct lm_runner *self, const struct lm_request *requests,
                    int count, struct lm_err *err)
{
    for (int i = 0; i < count; i++) {
        if (!lm_runner_check_setting(requests[i].name, requests[i].value, err))
            return false;
    }
    for (int i = 0; i < count; i++) {
        if (!apply_setting(self, &requests[i], err))
            return false;
    }
    return true;
}

static bool
is_fixed(const struct lm_runner_options *options, const char *name)
{
    return (options->keep_batch_size && strcmp(name, "batch_size") == 0) ||
           (options->keep_throttle_ms && strcmp(name, "throttle_ms") == 0) ||
           (options->keep_target_ms && strcmp(name, "target_ms") == 0) ||
           (options->keep_workers && strcmp(name, workers_name) == 0);
}

void
lm_runner_apply_settings(struct lm_runner *self,
                         const struct lm_request *requests, int count)
{
    struct lm_err err;

    for (int i = 0; i < count; i++) {
        if (!is_fixed(self->options, requests[i].name) &&
            !apply_setting(self, &requests[i], &err))
            lm_log(LM_LOG_WARNING, "%s", err.message);
    }
}
