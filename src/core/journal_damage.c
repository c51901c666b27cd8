/* SPDX-License-Identifier: MIT */
/*
 * A journal that was damaged by hand or by half a restore: rows that are gone
 * or contradict each other. Nothing is guessed, since a run that begins anew
 * would migrate rows twice: it is said what is wrong, and how to go on.
 */

#include "base/log.h"
#include "core/journal_private.h"
#include "pg/answer.h"

#include <inttypes.h>
#include <string.h>

/* "{ 2000 }", as config.start_after takes it. */
static void
add_key(struct lm_buf *buf, const struct lm_key *key)
{
    lm_buf_puts(buf, "{ ");
    for (int i = 0; i < key->count; i++) {
        const char *text = key->texts[i];
        const char *quote =
            strspn(text, "0123456789") == strlen(text) ? "" : "\"";

        lm_buf_printf(buf, "%s%s%s%s", i > 0 ? ", " : "", quote, text, quote);
    }
    lm_buf_puts(buf, " }");
}

bool
lm_journal_fail_vanished(const struct lm_journal *self,
                         const struct lm_run *run, struct lm_err *err)
{
    struct lm_buf key = LM_BUF_INIT;

    lm_err_set(err, LM_ERR_FAILED,
               "the row of run %" PRId64 " in \"%s\".progress is gone", run->id,
               self->schema);
    LM_ERR_COPY(err->sqlstate, LM_JOURNAL_VANISHED);
    lm_err_detail(err, "Somebody has deleted it. What was committed stays; the "
                       "journal does not know any more how far the run is.");
    if (run->cursor.texts != NULL) {
        add_key(&key, &run->cursor);
        lm_err_hint(err,
                    "All rows up to the key %s are migrated. To go on after "
                    "them, set config.start_after = %s and run the script with "
                    "--restart.",
                    lm_buf_text(&key), lm_buf_text(&key));
    } else {
        lm_err_hint(err, "Restore the row, or begin anew with --restart.");
    }
    lm_buf_release(&key);
    return false;
}

static bool
fail_damaged(const struct lm_journal *self, const struct lm_answer *answer,
             struct lm_err *err)
{
    int64_t id = lm_answer_int(answer, 0, 1);

    if (lm_answer_bool(answer, 0, 3)) {
        lm_err_set(err, LM_ERR_FAILED,
                   "run %" PRId64 " has no row in \"%s\".progress", id,
                   self->schema);
        lm_err_detail(err,
                      "Its state is %s. How far it is, only that row knows.",
                      lm_answer_text(answer, 0, 2));
    } else {
        lm_err_set(err, LM_ERR_FAILED,
                   "run %" PRId64 " has a state in \"%s\".run that there is "
                   "not: %s",
                   id, self->schema, lm_answer_text(answer, 0, 2));
    }
    lm_err_hint(err,
                "Restore the row from a backup: the same command then goes on. "
                "Or set config.start_after to the last key that was migrated, "
                "if any row was, and run the script with --restart.");
    return false;
}

static bool
give_up_run(struct lm_journal *self, int64_t id, struct lm_err *err)
{
    struct lm_number number;
    const char *texts[] = {lm_number_text(&number, id)};

    if (!lm_journal_open(self, err) ||
        !lm_journal_tell(self,
                         "UPDATE {schema}.run SET state = 'cancelled',"
                         " exit_code = 8, finished_at = clock_timestamp(),"
                         " error = 'its rows in the journal were damaged'"
                         " WHERE id = $1",
                         texts, 1, err) ||
        !lm_journal_commit(self, err)) {
        lm_conn_rollback(self->conn);
        return false;
    }
    lm_log(LM_LOG_WARNING,
           "run %" PRId64 ", whose rows in the journal were damaged, is given "
           "up; what it wrote stays",
           id);
    return true;
}

/* The latest run of the script that is damaged: "true", number, state, and
 * whether its progress is lost. */
static bool
find_damaged(struct lm_journal *self, const char *script,
             struct lm_answer **answer, struct lm_err *err)
{
    const char *texts[] = {script};

    return lm_journal_ask(
        self,
        "SELECT d.id IS NOT NULL, d.id, d.state, d.lost"
        " FROM (SELECT) AS one LEFT JOIN (SELECT r.id, r.state,"
        "  p.run_id IS NULL AS lost FROM {schema}.run r"
        "  LEFT JOIN {schema}.progress p ON p.run_id = r.id"
        "  WHERE r.script = $1 AND r.state <> 'cancelled'"
        "  AND (p.run_id IS NULL OR r.state NOT IN ('running',"
        "   'paused', 'stopped', 'failed', 'done', 'done_with_failures'))"
        "  ORDER BY r.id DESC LIMIT 1) AS d ON true",
        "!: b n? t? b?", texts, 1, answer, err);
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

        if (!find_damaged(self, request->script, &answer, err))
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
