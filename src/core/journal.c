/* SPDX-License-Identifier: MIT */
/*
 * Installing the journal, and what the holder of a run writes to it: its
 * cursor, its state, and what it waits for.
 *
 * Rows are locked in one order, progress before run, and never for longer than
 * one of the short transactions here or the batch that checkpoints.
 */

#include "core/journal.h"

#include "base/log.h"
#include "core/journal_private.h"
#include "pg/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
lm_key_release(struct lm_key *key)
{
    lm_sql_free_array(key->texts, key->count);
    key->texts = NULL;
    key->count = 0;
}

void
lm_key_copy(struct lm_key *to, const char *const *texts, int count)
{
    char **copy = lm_calloc((size_t)count, sizeof *copy);

    for (int i = 0; i < count; i++)
        copy[i] = texts[i] != NULL ? lm_strdup(texts[i]) : NULL;
    lm_key_release(to);
    to->texts = copy;
    to->count = count;
}

void
lm_run_release(struct lm_run *run)
{
    lm_key_release(&run->cursor);
    lm_key_release(&run->bound);
}

/* -- installing ------------------------------------------------------- */

/* Asks the catalog by a query: look-ups by name may answer from a cache that is
 * older than a lock which was waited for. */
bool
lm_journal_installed(struct lm_journal *self, int *version, struct lm_err *err)
{
    const char *texts[] = {self->schema};
    struct lm_answer *result = NULL;
    bool exists;

    *version = 0;
    if (!lm_journal_ask(
            self,
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = $1 AND c.relname = 'version')",
            "1: b", texts, 1, &result, err))
        return false;
    exists = lm_answer_bool(result, 0, 0);
    lm_answer_free(result);
    if (!exists)
        return true;
    if (!lm_journal_ask(
            self, "SELECT coalesce(max(version), 0) FROM {schema}.version",
            "1: d", NULL, 0, &result, err))
        return false;
    *version = lm_answer_small(result, 0, 0);
    lm_answer_free(result);
    return true;
}

/* Two runners may want to install at once: the lock makes the second wait and
 * then find everything there. */
static bool
install_steps(struct lm_journal *self, struct lm_err *err)
{
    const char *texts[] = {self->schema};
    struct lm_buf ddl = LM_BUF_INIT;
    int version = 0;
    bool ok = lm_journal_open(self, err) &&
              lm_journal_tell(
                  self,
                  "SELECT pg_catalog.pg_advisory_xact_lock("
                  "pg_catalog.hashtextextended('luamig journal ' || $1, 0))",
                  texts, 1, err) &&
              lm_journal_installed(self, &version, err);

    if (ok && version < lm_journal_version()) {
        lm_journal_add_ddl(&ddl, self->schema, version);
        ok = lm_conn_script(self->conn, lm_buf_text(&ddl), err);
    }
    ok = ok && lm_journal_commit(self, err);
    if (!ok)
        lm_conn_rollback(self->conn);
    lm_buf_release(&ddl);
    return ok;
}

static bool
fail_install(const struct lm_journal *self, int version, struct lm_err *err)
{
    char from[32] = "";

    if (err->kind != LM_ERR_DATABASE)
        return false;
    err->kind = LM_ERR_CONNECT;
    err->sql[0] = '\0';
    lm_err_prefix(err, "could not set up luamig's tables in schema \"%s\"",
                  self->schema);
    if (version > 0)
        snprintf(from, sizeof from, " --from %d", version);
    if (lm_err_is_state(err, "42501")) {
        lm_err_hint(err,
                    "Let an owner of the %s run the output of \"luamig "
                    "journal --sql%s\", then of \"luamig journal --sql --grant "
                    "ROLE\" for the role that runs migrations.",
                    version > 0 ? "tables" : "database", from);
    } else if (lm_err_is_state(err, "42P07")) {
        lm_err_hint(err,
                    "Its tables are there without their rows, as after a "
                    "restore of the schema alone. Restore the rows as well; "
                    "or, if nothing has run in this database, DROP SCHEMA "
                    "\"%s\" CASCADE.",
                    self->schema);
    }
    return false;
}

bool
lm_journal_install(struct lm_journal *self, struct lm_err *err)
{
    int version = 0;

    if (!lm_journal_installed(self, &version, err))
        return fail_install(self, 0, err);
    if (version > lm_journal_version()) {
        lm_err_set(err, LM_ERR_CONNECT,
                   "the tables in schema \"%s\" are of version %d, which is "
                   "newer than this luamig",
                   self->schema, version);
        lm_err_hint(err, "Use the luamig that upgraded them, or a newer one.");
        return false;
    }
    if (version == lm_journal_version() || install_steps(self, err))
        return true;
    return fail_install(self, version, err);
}

/* -- moving on -------------------------------------------------------- */

bool
lm_journal_checkpoint(struct lm_journal *self, const struct lm_run *run,
                      const struct lm_key *cursor, int64_t rows,
                      int64_t retries, struct lm_err *err)
{
    struct lm_number id;
    struct lm_number seq;
    struct lm_number lease;
    struct lm_number row_count;
    struct lm_number retry_count;
    char *cursor_text = lm_key_array(cursor);
    const char *texts[] = {lm_number_text(&id, run->id),
                           run->owner,
                           lm_number_text(&seq, run->seq),
                           lm_number_text(&lease, self->lease_ms),
                           cursor_text,
                           lm_number_text(&row_count, rows),
                           lm_number_text(&retry_count, retries)};
    bool ok = lm_journal_post(
        self, "SELECT {schema}.checkpoint($1, $2, $3, $4, $5, $6, $7)", texts,
        7, err);

    free(cursor_text);
    return ok;
}

static bool
fence(struct lm_journal *self, const struct lm_run *run, struct lm_err *err)
{
    struct lm_number id;
    struct lm_number seq;
    struct lm_number lease;
    const char *texts[] = {lm_number_text(&id, run->id), run->owner,
                           lm_number_text(&seq, run->seq),
                           lm_number_text(&lease, self->lease_ms)};

    return lm_journal_tell(self, "SELECT {schema}.fence($1, $2, $3, $4)", texts,
                           4, err);
}

bool
lm_journal_mark_started(struct lm_journal *self, const struct lm_run *run,
                        const struct lm_key *bound, struct lm_err *err)
{
    struct lm_number id;
    char *bound_text =
        bound != NULL
            ? lm_journal_array((const char *const *)bound->texts, bound->count)
            : NULL;
    const char *texts[] = {lm_number_text(&id, run->id), bound_text};
    bool ok = fence(self, run, err) &&
              lm_journal_tell(self,
                              "UPDATE {schema}.progress SET started = true,"
                              " bound = $2 WHERE run_id = $1",
                              texts, 2, err);

    free(bound_text);
    return ok;
}

bool
lm_journal_finish(struct lm_journal *self, const struct lm_run *run,
                  const char *state, int exit_code, const struct lm_err *error,
                  struct lm_err *err)
{
    struct lm_number id;
    struct lm_number code;
    const char *texts[] = {
        lm_number_text(&id, run->id), state,
        error != NULL ? error->message : NULL,
        error != NULL && error->sqlstate[0] != '\0' ? error->sqlstate : NULL,
        lm_number_text(&code, exit_code)};

    return fence(self, run, err) &&
           lm_journal_tell(self,
                           "UPDATE {schema}.progress SET lease_until ="
                           " clock_timestamp(), waits_for = NULL,"
                           " waits_since = NULL WHERE run_id = $1",
                           texts, 1, err) &&
           lm_journal_tell(
               self,
               "UPDATE {schema}.run SET state = $2, error = $3,"
               " error_sqlstate = $4, exit_code = $5, finished_at ="
               " CASE WHEN $2 IN ('done', 'done_with_failures',"
               " 'cancelled') THEN clock_timestamp() END WHERE id = $1",
               texts, 5, err) &&
           lm_journal_close_requests(self, run->id, state, err);
}

bool
lm_journal_set_state(struct lm_journal *self, const struct lm_run *run,
                     const char *state, struct lm_err *err)
{
    struct lm_number id;
    const char *texts[] = {lm_number_text(&id, run->id), state};

    return fence(self, run, err) &&
           lm_journal_tell(self,
                           "UPDATE {schema}.run SET state = $2 WHERE id = $1",
                           texts, 2, err);
}

static bool
write_lease(struct lm_journal *self, const struct lm_run *run,
            const struct lm_journal_note *note, struct lm_err *err)
{
    struct lm_number id;
    struct lm_number lease;
    struct lm_number total;
    struct lm_number size;
    const char *texts[] = {
        lm_number_text(&id, run->id),
        run->owner,
        lm_number_text(&lease, self->lease_ms),
        note->waits_for,
        note->held_json,
        note->total >= 0 ? lm_number_text(&total, note->total) : NULL,
        lm_number_text(&size, note->batch_size)};

    return lm_journal_tell(self,
                           "UPDATE {schema}.progress SET lease_until ="
                           " clock_timestamp() + $3::bigint * interval '1 ms',"
                           " waits_for = $4::text,"
                           " waits_since = CASE WHEN $4::text IS NOT NULL THEN"
                           " coalesce(waits_since, clock_timestamp()) END,"
                           " held = $5::jsonb, total = $6, batch_size = $7"
                           " WHERE run_id = $1 AND owner = $2::uuid",
                           texts, 7, err);
}

bool
lm_journal_renew(struct lm_journal *self, const struct lm_run *run,
                 const struct lm_journal_note *note, struct lm_err *err)
{
    if (lm_journal_open(self, err) && write_lease(self, run, note, err) &&
        lm_journal_commit(self, err))
        return true;
    lm_conn_rollback(self->conn);
    return false;
}

static const char *
text_or_null(const char *text)
{
    return *text != '\0' ? text : NULL;
}

bool
lm_journal_quarantine(struct lm_journal *self, const struct lm_run *run,
                      const struct lm_failure *failure, int64_t retries,
                      struct lm_err *err)
{
    const struct lm_err *error = failure->error;
    struct lm_number id;
    struct lm_number seq;
    struct lm_number lease;
    struct lm_number retry_count;
    char *key = lm_key_array(failure->key);
    const char *texts[] = {lm_number_text(&id, run->id),
                           run->owner,
                           lm_number_text(&seq, run->seq),
                           lm_number_text(&lease, self->lease_ms),
                           key,
                           lm_number_text(&retry_count, retries),
                           text_or_null(error->sqlstate),
                           error->message,
                           text_or_null(error->detail),
                           text_or_null(error->where),
                           failure->columns,
                           failure->values};
    bool ok = lm_journal_post(self,
                              "SELECT {schema}.quarantine($1, $2, $3, $4, $5,"
                              " $6, $7, $8, $9, $10,"
                              " pg_catalog.jsonb_object($11::text[], $12))",
                              texts, 12, err);

    free(key);
    return ok;
}

bool
lm_journal_count_failures(struct lm_journal *self, struct lm_run *run,
                          struct lm_err *err)
{
    struct lm_number id;
    const char *texts[] = {lm_number_text(&id, run->id)};
    struct lm_answer *result = NULL;

    if (!lm_journal_ask(self,
                        "SELECT failures FROM {schema}.progress"
                        " WHERE run_id = $1 FOR UPDATE",
                        "1: n", texts, 1, &result, err))
        return false;
    run->failures = lm_answer_int(result, 0, 0);
    lm_answer_free(result);
    return true;
}

bool
lm_journal_next_failure(struct lm_journal *self, int64_t run_id, int64_t after,
                        int64_t *failure_id, struct lm_key *key,
                        struct lm_err *err)
{
    struct lm_number run;
    struct lm_number last;
    const char *texts[] = {lm_number_text(&run, run_id),
                           lm_number_text(&last, after)};
    struct lm_answer *result = NULL;

    if (!lm_journal_ask(self,
                        "SELECT f.id IS NOT NULL, f.id, f.key"
                        " FROM (SELECT) AS one LEFT JOIN ("
                        "  SELECT id, key FROM {schema}.failure"
                        "  WHERE run_id = $1 AND id > $2"
                        "  AND resolved_at IS NULL ORDER BY id LIMIT 1"
                        " ) AS f ON true",
                        "!: b n t[]", texts, 2, &result, err))
        return false;
    lm_key_release(key);
    *failure_id = lm_answer_int(result, 0, 1);
    key->count = lm_answer_texts(result, 0, 2, &key->texts);
    lm_answer_free(result);
    return true;
}

bool
lm_journal_resolve(struct lm_journal *self, int64_t failure_id,
                   const char *resolution, struct lm_err *err)
{
    struct lm_number id;
    const char *texts[] = {lm_number_text(&id, failure_id), resolution};

    return lm_journal_post(self, "SELECT {schema}.resolve($1, $2)", texts, 2,
                           err);
}

bool
lm_journal_fail_again(struct lm_journal *self, int64_t failure_id,
                      const struct lm_err *error, struct lm_err *err)
{
    struct lm_number id;
    const char *texts[] = {lm_number_text(&id, failure_id),
                           text_or_null(error->sqlstate), error->message,
                           text_or_null(error->detail),
                           text_or_null(error->where)};

    return lm_journal_open(self, err) &&
           lm_journal_tell(self,
                           "UPDATE {schema}.failure SET sqlstate = $2,"
                           " message = $3, detail = $4, line = $5,"
                           " attempts = attempts + 1,"
                           " failed_at = clock_timestamp()"
                           " WHERE id = $1 AND resolved_at IS NULL",
                           texts, 5, err) &&
           lm_journal_commit(self, err);
}
