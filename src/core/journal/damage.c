/* SPDX-License-Identifier: MIT */
/*
 * Finds damage to the journal, made by hand or by an incomplete restore: rows
 * that are gone or contradict each other. luamig does not guess, because a run
 * that begins again would migrate rows twice. The error says what is wrong and
 * how to continue.
 */

#include "base/log.h"
#include "base/text.h"
#include "core/journal/private.h"
#include "pg/conn/answer.h"

#include <inttypes.h>
#include <string.h>

/* Adds the hint that says how to continue after the migrated rows; how: with
 * which options. */
static void
hint_at_cursor(const struct lm_run *run, const char *how, struct lm_err *err)
{
    struct lm_buf key = LM_BUF_INIT;

    lm_journal_add_lua_key(&key, &run->cursor);
    lm_err_hint(err,
                "All rows up to the key %s are migrated. To continue after "
                "them, set config.start_after = %s and run the script %s.",
                lm_buf_text(&key), lm_buf_text(&key), how);
    lm_buf_release(&key);
}

/* No key tells the rows that are migrated from the others. */
static bool
had_several_workers(const struct lm_journal *self, const struct lm_run *run)
{
    return run->ranges > 1 || self->number > 1;
}

static void
hint_at_restoring(struct lm_err *err)
{
    lm_err_hint(err, "Several workers had the run: there is no key up to which "
                     "all rows are migrated, and after which none is. Restore "
                     "the journal from a backup. Or find out by the data which "
                     "rows are migrated, leave them out in the base query, and "
                     "run the script with --restart.");
}

bool
lm_journal_fail_vanished(const struct lm_journal *self,
                         const struct lm_run *run, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_FAILED,
               "the row of run %" PRId64 " in \"%s\".progress is gone", run->id,
               self->schema);
    LM_ERR_COPY(err->sqlstate, LM_JOURNAL_VANISHED);
    lm_err_detail(err, "Somebody has deleted it. The committed changes stay, "
                       "but the journal no longer knows how far the run is.");
    if (had_several_workers(self, run)) {
        hint_at_restoring(err);
    } else if (run->cursor.texts != NULL) {
        hint_at_cursor(run, "with --restart", err);
    } else {
        lm_err_hint(
            err,
            "Restore the row, or begin again at the first row with --restart.");
    }
    return false;
}

bool
lm_journal_fail_ranges(const struct lm_journal *self, const struct lm_run *run,
                       struct lm_err *err)
{
    lm_err_set(err, LM_ERR_FAILED,
               "the rows of run %" PRId64 " in \"%s\".range are not complete",
               run->id, self->schema);
    LM_ERR_COPY(err->sqlstate, LM_JOURNAL_VANISHED);
    lm_err_detail(err, "Somebody has changed them. The committed changes stay, "
                       "but the journal no longer knows which keys are left.");
    return lm_err_hint(err, "Restore the rows from a backup. Or find out by "
                            "the data which rows are migrated, leave them out "
                            "in the base query, and run the script with "
                            "--restart.");
}

/* The parts of a journal of a version: "table progress, ...", or "". */
static bool
find_missing(struct lm_journal *self, int version, char *out, size_t size,
             struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    if (!lm_journal_ask(
            self,
            "SELECT pg_catalog.string_agg(m.kind || ' ' || m.name, ', '"
            "  ORDER BY m.kind DESC, m.name)"
            " FROM (VALUES ('table', 'version', 1), ('table', 'run', 1),"
            "  ('table', 'progress', 1), ('table', 'failure', 3),"
            "  ('table', 'request', 3), ('table', 'worker', 5),"
            "  ('table', 'range', 5), ('function', 'fold', 5),"
            "  ('function', 'next_range', 5), ('function', 'end_ranges', 5),"
            "  ('function', 'drop_ranges', 5), ('table', 'input', 6),"
            "  ('function', 'place_of_input', 6),"
            "  ('function', 'open_input', 6), ('function', 'make_input', 6),"
            "  ('function', 'finish_input', 6),"
            "  ('function', 'drop_inputs', 6),"
            "  ('function', 'fence', 1),"
            "  ('function', 'checkpoint', 1), ('function', 'expect', 2),"
            "  ('function', 'quarantine', 3), ('function', 'resolve', 3))"
            "  m (kind, name, since)"
            " LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1"
            " WHERE m.since <= $2::int AND NOT EXISTS ("
            "  SELECT FROM pg_catalog.pg_class c WHERE m.kind = 'table'"
            "  AND c.relnamespace = n.oid AND c.relname = m.name)"
            " AND NOT EXISTS ("
            "  SELECT FROM pg_catalog.pg_proc p WHERE m.kind = 'function'"
            "  AND p.pronamespace = n.oid AND p.proname = m.name)",
            "1: t?", LM_VALUES(self->schema, LM_DIGITS(version)), &answer, err))
        return false;
    lm_err_copy(out, size, lm_answer_text_or(answer, 0, 0, ""),
                strlen(lm_answer_text_or(answer, 0, 0, "")));
    lm_answer_free(answer);
    return true;
}

bool
lm_journal_check_whole(struct lm_journal *self, int version, struct lm_err *err)
{
    char missing[512];

    if (!find_missing(self, version, missing, sizeof missing, err))
        return false;
    if (missing[0] == '\0')
        return true;
    lm_err_set(err, LM_ERR_FAILED, "the journal in schema \"%s\" lacks: %s",
               self->schema, missing);
    LM_ERR_COPY(err->sqlstate, LM_JOURNAL_VANISHED);
    lm_err_hint(err, "Restore it from a backup. Or pass --journal-schema NAME, "
                     "which makes a new journal, and set config.start_after to "
                     "the last key that was migrated, if any row was.");
    return false;
}

bool
lm_journal_blames_loss(struct lm_journal *self, const struct lm_run *run,
                       const struct lm_err *why, struct lm_err *err)
{
    struct lm_err found;

    if (lm_journal_check_whole(self, lm_journal_version(), &found) ||
        !lm_err_is_state(&found, LM_JOURNAL_VANISHED))
        return false;
    lm_err_detail(&found,
                  "Somebody dropped or renamed it while run %" PRId64
                  " was running (%s). The committed changes stay.",
                  run->id, why->message);
    if (had_several_workers(self, run)) {
        hint_at_restoring(&found);
    } else if (run->cursor.texts != NULL) {
        hint_at_cursor(run,
                       "again. If a part of the journal is left, add "
                       "--journal-schema NAME, which makes a new journal",
                       &found);
    }
    *err = found;
    return true;
}

#define STATES                                                        \
    "('running', 'paused', 'stopped', 'failed', 'cancelled', 'done'," \
    " 'done_with_failures')"

/* What is wrong with run r, as SQL, behind "it has"; NULL: nothing. */
#define DAMAGE                                                               \
    "CASE (SELECT count(*) FROM {schema}.progress p WHERE p.run_id = r.id)"  \
    " WHEN 0 THEN 'no row' WHEN 1 THEN CASE WHEN r.state IN " STATES         \
    " THEN (SELECT 'NULL as ' || (SELECT pg_catalog.string_agg(v.key, ', '"  \
    "    ORDER BY v.key) FROM pg_catalog.jsonb_each_text("                   \
    "    pg_catalog.to_jsonb(p)) v WHERE v.value IS NULL AND v.key NOT IN (" \
    "    'cursor', 'bound', 'leader', 'total', 'batch_size', 'waits_for',"   \
    "    'waits_since', 'source'))"                                          \
    "   FROM {schema}.progress p WHERE p.run_id = r.id"                      \
    "   AND pg_catalog.num_nulls(p.key_columns, p.owner, p.seq, p.host,"     \
    "    p.pid, p.started, p.rows, p.batches, p.retries, p.failures,"        \
    "    p.held, p.ranges) > 0)"                                             \
    " ELSE 'the unknown state ' || coalesce(pg_catalog.left(r.state, 60),"   \
    "  'NULL') END ELSE 'more than one row' END"

/* Two unfinished runs of one script and the same arguments: the index that
 * forbids them is gone. */
#define TWIN                                                          \
    "(SELECT 'a twin, run ' || o.id FROM {schema}.run o"              \
    "  WHERE o.script = r.script AND o.args = r.args AND o.id < r.id" \
    "  AND o.state IN " LM_JOURNAL_MAY_GO_ON                          \
    "  AND r.state IN " LM_JOURNAL_MAY_GO_ON "  ORDER BY o.id DESC LIMIT 1)"

static bool
fail_damaged(const struct lm_journal *self, const struct lm_answer *answer,
             struct lm_err *err)
{
    const char *what = lm_answer_text(answer, 0, 3);
    int64_t id = lm_answer_int(answer, 0, 1);
    bool is_twin = strncmp(what, "a twin", 6) == 0;
    bool in_run = is_twin || strncmp(what, "the ", 4) == 0;

    lm_err_set(err, LM_ERR_FAILED, "run %" PRId64 " has %s in \"%s\".%s", id,
               what, self->schema, in_run ? "run" : "progress");
    if (is_twin) {
        lm_err_detail(err, "Both are unfinished, of the same script and the "
                           "same arguments.");
        lm_err_hint(err, "End one with \"luamig cancel\" and its number; the "
                         "same command then continues the other.");
        return false;
    }
    lm_err_detail(
        err, "Its state is %s. Only its row in progress says how far it is.",
        lm_answer_text_or(answer, 0, 2, "unknown"));
    return lm_err_hint(
        err,
        "Restore that from a backup: the same command then continues the run. "
        "Or set config.start_after to the last key that was migrated, "
        "if any row was, and run the script with --restart.");
}

/* If the run has a runner after all, that runner cannot commit any more. */
static bool
give_up_run(struct lm_journal *self, int64_t id, struct lm_err *err)
{
    const char *texts[] = {LM_DIGITS(id)};

    if (!lm_journal_open(self, err) ||
        !lm_journal_command(self,
                            "UPDATE {schema}.progress SET owner ="
                            " pg_catalog.gen_random_uuid() WHERE run_id = $1",
                            (struct lm_values){texts, 1}, err) ||
        !lm_journal_command(self, "SELECT {schema}.drop_ranges($1)",
                            (struct lm_values){texts, 1}, err) ||
        !lm_journal_command(self,
                            "UPDATE {schema}.run SET state = 'cancelled',"
                            " exit_code = 8, finished_at = clock_timestamp(),"
                            " error = 'its rows in the journal were damaged'"
                            " WHERE id = $1",
                            (struct lm_values){texts, 1}, err) ||
        !lm_journal_commit(self, err)) {
        lm_conn_rollback(self->conn);
        return false;
    }
    lm_log(LM_LOG_WARNING,
           "run %" PRId64 ", whose rows in the journal were damaged, is "
           "abandoned; its changes stay",
           id);
    return true;
}

/* The latest run of the script, or the one to adopt, that is damaged: "true",
 * number, state, and what is wrong. */
static bool
find_damaged(struct lm_journal *self, const struct lm_run_request *request,
             struct lm_answer **answer, struct lm_err *err)
{
    return lm_journal_ask(
        self,
        "SELECT d.id IS NOT NULL, d.id, d.state, d.what"
        " FROM (SELECT) AS one LEFT JOIN (SELECT r.id, r.state, w.what"
        "  FROM {schema}.run r CROSS JOIN LATERAL ("
        "   SELECT coalesce(" DAMAGE ", " TWIN ")) w (what)"
        "  WHERE (r.script = $1 OR r.id = $2) AND w.what IS NOT NULL"
        "  AND r.state IS DISTINCT FROM 'cancelled'"
        "  ORDER BY r.id DESC LIMIT 1) AS d ON true",
        "!: b n? t? t?", LM_VALUES(request->script, LM_DIGITS(request->adopt)),
        answer, err);
}

bool
lm_journal_examine(struct lm_journal *self,
                   const struct lm_run_request *request, struct lm_err *err)
{
    bool damaged = true;
    bool ok = true;

    while (ok && damaged) {
        struct lm_answer *answer = NULL;
        int64_t id;

        if (!find_damaged(self, request, &answer, err))
            return false;
        damaged = lm_answer_bool(answer, 0, 0);
        id = lm_answer_int(answer, 0, 1);
        if (damaged && !request->restart)
            ok = fail_damaged(self, answer, err);
        lm_answer_free(answer);
        if (damaged && ok)
            ok = give_up_run(self, id, err);
    }
    return ok;
}
