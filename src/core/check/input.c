/* SPDX-License-Identifier: MIT */
/* The file of a script with an input: read whole, into a table of the session.
 * Without a file the table is empty, and shows whether the types and the base
 * query are right. */

#include "core/check/private.h"

#include "base/clock.h"
#include "core/input/load.h"
#include "core/journal/input.h"
#include "pg/conn/txn.h"

#include <stdlib.h>

static void
add_records(struct lm_checking *self, const struct lm_input_file *file,
            int64_t rows)
{
    struct lm_finding *finding;

    if (file != NULL) {
        lm_check_add(self->check, LM_VERDICT_OK, "input", "%s: %s record%s",
                     file->name, lm_clock_count(rows).text,
                     rows == 1 ? "" : "s");
        return;
    }
    finding = lm_check_add(self->check, LM_VERDICT_WARNING, "input",
                           "the script reads a file, and none is given: its "
                           "types are checked, and the query on an empty "
                           "table");
    lm_finding_hint(finding, "--input FILE checks the file as well.");
}

/* A run needs a table in the journal's schema. */
static bool
check_types(struct lm_checking *self, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    struct lm_journal journal = {.conn = self->conn,
                                 .schema = self->journal_schema};
    struct lm_txn txn = {.durable = false, .timezone = m->timezone};
    struct lm_input_types types = {.oids = NULL};
    bool ok = lm_txn_begin(self->conn, &txn, err) &&
              lm_input_find_types(self->conn, m->input, &types, err);

    if (ok) {
        struct lm_input_columns columns = {
            types.names, types.oids, types.modifiers, m->input->column_count};

        ok = lm_journal_check_input_types(&journal, &columns, err);
    }
    lm_input_types_release(&types);
    lm_conn_rollback(self->conn);
    return ok;
}

bool
lm_check_input(struct lm_checking *self, const struct lm_input_file *file,
               bool *readable, struct lm_err *err)
{
    const struct lm_migration *m = self->migration;
    char *table = NULL;
    int64_t rows = 0;

    *readable = true;
    if (m->input == NULL)
        return true;
    self->reading = *m;
    *readable =
        check_types(self, err) &&
        lm_input_load_temporary(self->conn, m, file, &table, &rows, err) &&
        m->ops->read_input(m->self, table, &self->reading, err);
    free(table);
    if (*readable) {
        self->migration = &self->reading;
        add_records(self, file, rows);
        return true;
    }
    if (lm_check_is_over(self->conn, err))
        return false;
    lm_check_add_err(self->check, "input", err);
    return true;
}
