/* SPDX-License-Identifier: MIT */
/*
 * Finds what a rollback did not undo; see the header. It only guesses about
 * sequences and dblink: other sessions may have moved a sequence, and writes
 * that functions make through dblink are not seen. It leaves out what the role
 * may not read. Nothing here fails a run.
 */

#include "core/dry/residue.h"

#include "pg/conn/conn.h"
#include "pg/conn/own.h"
#include "pg/conn/txn.h"

#include <stdlib.h>
#include <string.h>

enum { STATEMENT_MS = 5000, LOCK_MS = 500 };

void
lm_residue_release(struct lm_residue *self)
{
    for (int i = 0; i < self->sequence_count; i++) {
        free(self->sequences[i].name);
        free(self->sequences[i].value);
    }
    for (int i = 0; i < self->count; i++) {
        free(self->items[i].name);
        free(self->items[i].before);
        free(self->items[i].after);
    }
    free(self->sequences);
    free(self->items);
    memset(self, 0, sizeof *self);
}

static char *
copy(const char *text)
{
    return text != NULL ? lm_strdup(text) : NULL;
}

static bool
is_known(const struct lm_residue *self, const char *what, const char *name)
{
    for (int i = 0; i < self->count; i++) {
        const struct lm_residue_item *item = &self->items[i];

        if (strcmp(item->what, what) == 0 && item->name != NULL &&
            name != NULL && strcmp(item->name, name) == 0)
            return true;
    }
    return false;
}

static struct lm_residue_item *
add_item(struct lm_residue *self, const char *what, const char *name,
         const char *note)
{
    struct lm_residue_item *item;

    item = &LM_ADD(self->items, self->count);
    *item = (struct lm_residue_item){
        .what = what, .name = copy(name), .note = note};
    return item;
}

/* A question in a transaction of its own. */
static bool
ask(struct lm_conn *conn, const char *sql, const char *shape,
    struct lm_answer **out)
{
    struct lm_txn txn = {.read_only = true,
                         .own = true,
                         .statement_timeout_ms = STATEMENT_MS,
                         .lock_timeout_ms = LOCK_MS};
    struct lm_err ignored;
    bool ok;

    *out = NULL;
    ok = lm_txn_begin(conn, &txn, &ignored) &&
         lm_conn_ask(conn, sql, shape, LM_NO_VALUES, out, &ignored);
    lm_conn_rollback(conn);
    return ok;
}

/* -- sequences ----------------------------------------------------------- */

static const char sequences_sql[] = LM_OWN
    "SELECT pg_catalog.format('%I.%I', schemaname, sequencename), last_value"
    " FROM pg_catalog.pg_sequences ORDER BY 1";

void
lm_residue_begin(struct lm_residue *self, struct lm_conn *conn)
{
    struct lm_answer *result = NULL;

    self->saw_sequences = ask(conn, sequences_sql, "*: t t?", &result);
    if (!self->saw_sequences)
        return;
    self->sequence_count = lm_answer_rows(result);
    self->sequences =
        lm_calloc((size_t)self->sequence_count, sizeof *self->sequences);
    for (int i = 0; i < self->sequence_count; i++) {
        self->sequences[i].name = lm_strdup(lm_answer_text(result, i, 0));
        self->sequences[i].value = lm_answer_copy(result, i, 1);
    }
    lm_answer_free(result);
}

/* NULL: unused, or set back by setval(..., false). */
static bool
is_same(const char *one, const char *other)
{
    if (one == NULL || other == NULL)
        return one == other;
    return strcmp(one, other) == 0;
}

/* A sequence that did not exist before belongs to another session. */
static void
compare_sequence(struct lm_residue *self, const char *name, const char *value)
{
    for (int i = 0; i < self->sequence_count; i++) {
        const struct lm_sequence *before = &self->sequences[i];
        struct lm_residue_item *item;

        if (strcmp(before->name, name) != 0)
            continue;
        if (!is_same(before->value, value)) {
            item = add_item(self, "sequence", name,
                            "other sessions may have moved it as well");
            item->before = copy(before->value);
            item->after = copy(value);
        }
        return;
    }
}

static void
compare_sequences(struct lm_residue *self, struct lm_conn *conn)
{
    struct lm_answer *result = NULL;

    if (!self->saw_sequences || !ask(conn, sequences_sql, "*: t t?", &result)) {
        add_item(self, "sequences", NULL,
                 "could not be read; some may have moved");
        return;
    }
    for (int i = 0; i < lm_answer_rows(result); i++) {
        compare_sequence(self, lm_answer_text(result, i, 0),
                         lm_answer_text_or(result, i, 1, NULL));
    }
    lm_answer_free(result);
}

/* -- other servers, and locks -------------------------------------------- */

void
lm_residue_look(struct lm_residue *self, struct lm_conn *conn)
{
    static const char sql[] =
        LM_OWN "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname),"
               " w.fdwname = 'postgres_fdw' FROM pg_catalog.pg_foreign_table f"
               " JOIN pg_catalog.pg_class c ON c.oid = f.ftrelid"
               " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
               " JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver"
               " JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw"
               " WHERE f.ftrelid IN (SELECT relation FROM pg_catalog.pg_locks"
               "  WHERE pid = pg_catalog.pg_backend_pid() AND granted"
               "  AND mode = 'RowExclusiveLock') ORDER BY 1";
    struct lm_answer *result = NULL;
    struct lm_err ignored;

    if (!lm_conn_ask(conn, sql, "*: t b", LM_NO_VALUES, &result, &ignored))
        return;
    for (int i = 0; i < lm_answer_rows(result); i++) {
        const char *name = lm_answer_text(result, i, 0);

        if (is_known(self, "foreign table", name))
            continue;
        add_item(self, "foreign table", name,
                 lm_answer_bool(result, i, 1)
                     ? "was written to; postgres_fdw rolls back there as well"
                     : "was written to; whether its server rolls back is not "
                       "known");
    }
    lm_answer_free(result);
}

static void
look_for_dblink(struct lm_residue *self, struct lm_conn *conn,
                const char *script)
{
    struct lm_answer *result = NULL;

    if (!ask(conn,
             LM_OWN "SELECT FROM pg_catalog.pg_extension WHERE extname = "
                    "'dblink'",
             "*:", &result))
        return;
    if (lm_answer_rows(result) > 0) {
        add_item(
            self, "dblink", NULL,
            strstr(script, "dblink") != NULL
                ? "the script calls it: its changes in the other database stay"
                : "is installed: the changes that functions and triggers made "
                  "through it stay");
    }
    lm_answer_free(result);
}

static void
look_for_locks(struct lm_residue *self, struct lm_conn *conn)
{
    struct lm_answer *result = NULL;

    if (!ask(conn,
             LM_OWN
             "SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory'"
             " AND pid = pg_catalog.pg_backend_pid() AND granted",
             "*:", &result))
        return;
    if (lm_answer_rows(result) > 0) {
        add_item(self, "advisory locks", NULL,
                 lm_conn_is_pooled(conn)
                     ? "of the session stay in the pooler's session"
                     : "of the session were kept until its end");
    }
    lm_answer_free(result);
}

void
lm_residue_end(struct lm_residue *self, struct lm_conn *conn,
               const char *script)
{
    compare_sequences(self, conn);
    look_for_dblink(self, conn, script);
    look_for_locks(self, conn);
}
