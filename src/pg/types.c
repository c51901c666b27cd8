/* SPDX-License-Identifier: MIT */
/* The cache of types; see the header. */

#include "pg/types.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
lm_types_release(struct lm_types *self)
{
    free(self->known);
    self->known = NULL;
    self->count = 0;
}

static bool
ask(struct lm_conn *conn, uint32_t oid, struct lm_type *out, struct lm_err *err)
{
    static const char sql[] =
        "WITH RECURSIVE chain AS ("
        " SELECT oid, typtype, typbasetype FROM pg_catalog.pg_type"
        "  WHERE oid = $1::pg_catalog.oid"
        " UNION ALL"
        " SELECT t.oid, t.typtype, t.typbasetype FROM chain"
        "  JOIN pg_catalog.pg_type t ON t.oid = chain.typbasetype"
        "  WHERE chain.typtype = 'd')"
        " SELECT oid, pg_catalog.format_type($1::pg_catalog.oid, NULL)"
        " FROM chain WHERE typtype <> 'd'";
    char text[16];
    const char *texts[] = {text};
    struct lm_values values = {texts, 1};
    struct lm_result *result = NULL;

    snprintf(text, sizeof text, "%" PRIu32, oid);
    if (!lm_conn_query(conn, sql, values, &result, err))
        return false;
    out->oid = oid;
    out->base = oid;
    snprintf(out->name, sizeof out->name, "type %" PRIu32, oid);
    if (lm_result_rows(result) == 1) {
        out->base = (uint32_t)lm_result_int(result, 0, 0);
        snprintf(out->name, sizeof out->name, "%s",
                 lm_result_text(result, 0, 1));
    }
    lm_result_free(result);
    return true;
}

bool
lm_types_find(struct lm_types *self, struct lm_conn *conn, uint32_t oid,
              struct lm_type *out, struct lm_err *err)
{
    for (size_t i = 0; i < self->count; i++) {
        if (self->known[i].oid == oid) {
            *out = self->known[i];
            return true;
        }
    }
    if (!ask(conn, oid, out, err))
        return false;
    self->known = lm_realloc(self->known, self->count + 1, sizeof *self->known);
    self->known[self->count++] = *out;
    return true;
}
