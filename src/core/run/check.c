/* SPDX-License-Identifier: MIT */
/* The checks of a run: the fast ones before it begins or is resumed, which may
 * refuse it; and a check of the plan when pages become slow, which only warns.
 */

#include "core/check/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/run/runner.h"

/* -- before --------------------------------------------------------------- */

static void
copy_finding(const struct lm_finding *finding, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_SCRIPT, "%s: %s", finding->subject,
               finding->message);
    if (finding->detail != NULL)
        lm_err_detail(err, "%s", finding->detail);
    if (finding->hint != NULL)
        lm_err_hint(err, "%s", finding->hint);
}

static void
warn(const struct lm_runner *self, const struct lm_finding *finding)
{
    bool forced = finding->verdict == LM_VERDICT_ERROR;
    struct lm_err err;

    if (finding->verdict == LM_VERDICT_OK || (forced && !self->options->force))
        return;
    copy_finding(finding, &err);
    if (forced)
        lm_err_prefix(&err, "overridden by --force");
    lm_log_err(LM_LOG_WARNING, &err);
}

/* The first error refuses the run; the others are logged. */
static bool
refuse(const struct lm_runner *self, const struct lm_check *check,
       struct lm_err *err)
{
    const char *state = self->unseen ? "What on_start did is rolled back."
                                     : "Nothing has been written.";
    bool refused = false;

    for (int i = 0; i < check->count; i++) {
        const struct lm_finding *finding = &check->findings[i];

        if (finding->verdict != LM_VERDICT_ERROR)
            continue;
        if (refused) {
            lm_log(LM_LOG_ERROR, "%s: %s", finding->subject, finding->message);
            continue;
        }
        refused = true;
        copy_finding(finding, err);
        if (finding->detail == NULL) {
            lm_err_detail(err, "%s%s --force runs the script anyway.", state,
                          self->unseen ? "" : " \"luamig check\" shows more.");
        } else {
            lm_err_detail(err, "%s\n%s --force runs the script anyway.",
                          finding->detail, state);
        }
    }
    return !refused;
}

bool
lm_runner_check(struct lm_runner *self, struct lm_err *err)
{
    struct lm_check check;
    bool ok;

    if (self->checked)
        return true;
    lm_check_init(&check);
    ok = lm_check_quickly(&check, self->lane.conn, lm_lane_reader(&self->lane),
                          self->migration, &self->lane.query,
                          self->has_journal ? self->lane.journal.schema : NULL,
                          err);
    if (ok) {
        self->checked = true;
        for (int i = 0; i < check.count; i++)
            warn(self, &check.findings[i]);
        ok = self->options->force || refuse(self, &check, err);
    }
    lm_check_release(&check);
    return ok;
}

/* -- in between ------------------------------------------------------------- */

void
lm_runner_look_at_pace(struct lm_runner *self)
{
    struct lm_lane *lane = &self->lane;
    struct lm_check check;
    struct lm_err warning;

    /* Pages that are walked in windows are slow for a reason that is known. */
    if (lane->window.rows > 0 || !lm_pace_is_worth_a_look(&lane->pace))
        return;
    lm_check_init(&check);
    lm_check_page(&check, lm_lane_reader(lane), self->migration,
                  &self->lane.query, &lane->range.cursor, &lane->range.upper);
    lm_err_set(
        &warning, LM_ERR_FAILED,
        "pages have become slow: the last one took %s, the first ones %s%s%s",
        lm_clock_span(lane->pace.slow_ms).text,
        lm_clock_span(lm_pace_median_ms(&lane->pace)).text,
        check.count > 0 ? "; " : "",
        check.count > 0 ? check.findings[0].message : "");
    if (check.count > 0)
        lm_err_detail(&warning, "%s", check.findings[0].plan);
    lm_err_hint(&warning,
                "The run continues. \"luamig pause\" gives you time to "
                "ANALYZE the table or to create an index.");
    lm_log_err(LM_LOG_WARNING, &warning);
    lm_pace_looked(&lane->pace);
    lm_check_release(&check);
}
