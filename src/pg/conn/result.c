/* SPDX-License-Identifier: MIT */
/* What a result holds: rows, columns, and where they come from. */

#include "pg/conn/private.h"

#include <stdlib.h>

void
lm_result_free(struct lm_result *self)
{
    if (self == NULL)
        return;
    PQclear(self->pg);
    free(self);
}

struct lm_result *
lm_result_copy(const struct lm_result *self)
{
    struct lm_result *copy = lm_alloc(sizeof *copy);

    copy->pg = PQcopyResult(self->pg, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES);
    if (copy->pg == NULL)
        lm_mem_fail();
    return copy;
}

int
lm_result_rows(const struct lm_result *self)
{
    return PQntuples(self->pg);
}

int
lm_result_columns(const struct lm_result *self)
{
    return PQnfields(self->pg);
}

const char *
lm_result_column_name(const struct lm_result *self, int column)
{
    const char *name = PQfname(self->pg, column);

    return name != NULL ? name : "";
}

uint32_t
lm_result_column_type(const struct lm_result *self, int column)
{
    return PQftype(self->pg, column);
}

uint32_t
lm_result_column_table(const struct lm_result *self, int column)
{
    return PQftable(self->pg, column);
}

int
lm_result_table_column(const struct lm_result *self, int column)
{
    return PQftablecol(self->pg, column);
}

const char *
lm_result_text(const struct lm_result *self, int row, int column)
{
    const char *text = PQgetvalue(self->pg, row, column); /* NULL becomes "" */

    if (text != NULL && *text != '\0')
        return text;
    return PQgetisnull(self->pg, row, column) != 0 ? NULL : text;
}

size_t
lm_result_length(const struct lm_result *self, int row, int column)
{
    return (size_t)PQgetlength(self->pg, row, column);
}

size_t
lm_result_bytes(const struct lm_result *self)
{
    return PQresultMemorySize(self->pg);
}

int64_t
lm_result_affected(const struct lm_result *self)
{
    return strtoll(PQcmdTuples(self->pg), NULL, 10);
}
