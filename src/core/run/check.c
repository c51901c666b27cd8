/* SPDX-License-Identifier: MIT */
/*
 * The checks of a run: the quick ones before it begins or is resumed, which may
 * refuse it, and another look at the plan when pages become slow, which only
 * warns.
 */

#include "core/check/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/run/private.h"

#include <stdlib.h>
#include <string.h>

enum {
    SLOW_MS = 1000,   /* a page that takes less is no trouble */
    SLOW_FACTOR = 10, /* over the pages at first */
    AGAIN_MS = 600000
};

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

/* The first error refuses the run; the others are told. */
static bool
refuse(const struct lm_check *check, struct lm_err *err)
{
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
            lm_err_detail(err, "Nothing has been written; \"luamig check\" "
                               "shows more, --force runs it all the same.");
        } else {
            lm_err_detail(err,
                          "%s\nNothing has been written; --force runs it all "
                          "the same.",
                          finding->detail);
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
    ok = lm_check_quickly(&check, self->conn, self->migration, &self->query,
                          self->has_journal ? self->journal.schema : NULL, err);
    if (ok) {
        self->checked = true;
        for (int i = 0; i < check.count; i++)
            warn(self, &check.findings[i]);
        ok = self->options->force || refuse(&check, err);
    }
    lm_check_release(&check);
    return ok;
}

/* -- in between ------------------------------------------------------------- */

static int
compare_ms(const void *a, const void *b)
{
    const int64_t *one = a;
    const int64_t *other = b;

    return (*one > *other) - (*one < *other);
}

static int64_t
median_ms(const struct lm_pace *pace)
{
    int64_t sorted[LM_COUNT(pace->first_ms)];

    memcpy(sorted, pace->first_ms, sizeof sorted);
    qsort(sorted, LM_COUNT(sorted), sizeof *sorted, compare_ms);
    return sorted[LM_COUNT(sorted) / 2];
}

void
lm_runner_note_page(struct lm_runner *self, int64_t page_ms)
{
    struct lm_pace *pace = &self->pace;

    if (pace->count < (int)LM_COUNT(pace->first_ms)) {
        pace->first_ms[pace->count++] = page_ms;
    } else if (page_ms > SLOW_MS && page_ms > SLOW_FACTOR * median_ms(pace)) {
        pace->slow_ms = page_ms;
    }
}

/* Pages that are walked in windows are slow for a reason that is known. */
static bool
is_worth_a_look(struct lm_runner *self)
{
    struct lm_pace *pace = &self->pace;
    int64_t now = lm_clock_ms();

    if (pace->slow_ms == 0 || self->window.rows > 0 ||
        (pace->looked_ms > 0 && now - pace->looked_ms < AGAIN_MS))
        return false;
    pace->looked_ms = now;
    return true;
}

void
lm_runner_look_at_pace(struct lm_runner *self)
{
    struct lm_check check;
    struct lm_err warning;
    char slow[32];
    char first[32];

    if (!is_worth_a_look(self))
        return;
    lm_check_init(&check);
    lm_check_page(&check, self->conn, self->migration, &self->query,
                  &self->run.cursor, &self->run.bound);
    lm_clock_format(slow, sizeof slow, self->pace.slow_ms);
    lm_clock_format(first, sizeof first, median_ms(&self->pace));
    lm_err_set(&warning, LM_ERR_FAILED,
               "pages have become slow: the last one took %s, those at first "
               "%s%s%s",
               slow, first, check.count > 0 ? "; " : "",
               check.count > 0 ? check.findings[0].message : "");
    if (check.count > 0)
        lm_err_detail(&warning, "%s", check.findings[0].plan);
    lm_err_hint(&warning, "The run goes on. \"luamig pause\" leaves time to "
                          "ANALYZE the table or to create an index.");
    lm_log_err(LM_LOG_WARNING, &warning);
    self->pace.slow_ms = 0;
    lm_check_release(&check);
}
