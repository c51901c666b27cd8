/* SPDX-License-Identifier: MIT */
/* config.source: the database that the base query and run.source read. */

#include "core/check/private.h"

#include "core/page/place.h"
#include "core/page/preflight.h"

static const char unnoticed[] =
    "What the source changes in a row after luamig has read it is not copied, "
    "and rows that are added there up to the last key may be missed.";

static bool
open_source(struct lm_checking *self, const struct lm_check_options *options,
            struct lm_err *err)
{
    struct lm_conn_options how = {.application_name = options->application_name,
                                  .interruptible = true};

    if (!lm_conn_open(&self->conn, options->source_conninfo, &how, err))
        return false;
    lm_conn_set_deadline(self->conn, 30000);
    return lm_preflight_version(self->conn, err);
}

/* The server refuses the connection: what it would say of the query is not
 * known. */
static bool
add_unreachable(struct lm_checking *self, struct lm_err *err)
{
    lm_conn_close(self->conn);
    self->conn = NULL;
    if (err->kind == LM_ERR_INTERRUPT)
        return false;
    self->check->unreachable = true;
    lm_check_add_err(self->check, "source", err);
    return true;
}

static void
add_place(struct lm_checking *self, const struct lm_place *place,
          const struct lm_place *run)
{
    bool is_own = lm_place_shows(place, run);
    int version = lm_conn_server_version(self->conn);
    struct lm_finding *finding = lm_check_add(
        self->check, is_own ? LM_VERDICT_WARNING : LM_VERDICT_OK, "source",
        "\"%s\" is %s, PostgreSQL %d.%d%s; luamig does not notice what it "
        "changes%s",
        self->migration->reads_from, lm_conn_target(self->conn),
        version / 10000, version % 10000, place->standby ? ", a standby" : "",
        is_own ? ". It is the run's own database" : "");

    lm_finding_detail(finding, "%s", unnoticed);
    if (is_own) {
        lm_finding_hint(finding,
                        "Without config.source, luamig notices such changes "
                        "and runs the batch again.");
    }
}

bool
lm_check_source(struct lm_checking *self, struct lm_conn *run,
                const struct lm_check_options *options, struct lm_err *err)
{
    struct lm_place place;
    struct lm_place own;

    if (!open_source(self, options, err) ||
        !lm_place_look(self->conn, &place, err))
        return add_unreachable(self, err);
    if (!lm_place_look(run, &own, err))
        return false;
    add_place(self, &place, &own);
    return true;
}
