/* SPDX-License-Identifier: MIT */
/* What the cursor of a run stands on: taken before the run begins or goes on,
 * and compared with what the journal has of it. */

#include "core/run/private.h"

#include <stdlib.h>

static struct lm_fingerprint_place
place_of(const struct lm_runner *self)
{
    struct lm_fingerprint_place place = {
        .system = self->server, .journal_schema = self->journal.schema};

    return place;
}

bool
lm_runner_take_fingerprint(struct lm_runner *self, struct lm_err *err)
{
    struct lm_fingerprint_place place = place_of(self);

    free(self->fingerprint);
    self->fingerprint = NULL;
    return lm_fingerprint_take(self->conn, &place, &self->query,
                               &self->fingerprint, err);
}

bool
lm_runner_check_done(struct lm_runner *self, struct lm_err *err)
{
    struct lm_fingerprint_place place = place_of(self);
    char *sketch = NULL;
    bool ok =
        lm_fingerprint_sketch(self->conn, &place, self->migration->base_query,
                              &sketch, err) &&
        lm_journal_fits_done(&self->journal, sketch, self->run.id, err);

    free(sketch);
    return ok;
}
