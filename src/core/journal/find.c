/* SPDX-License-Identifier: MIT */
/*
 * Finds the run that a command means: the run with the script's name and the
 * same arguments. Refuses if another run looks like it: of another script, or
 * of the same one under another name. Then the user must say which it is.
 *
 * Arguments are the same if the same ones were given, or if all have the same
 * values. A run of luamig 0.1 does not know which arguments were given.
 */

#include "base/log.h"
#include "base/text.h"
#include "core/journal/input.h"
#include "core/journal/private.h"
#include "core/migration.h"
#include "pg/conn/answer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define UNFINISHED "r.state IN " LM_JOURNAL_MAY_GO_ON

/* Where a request's values stand in the statements below: those of all, ... */
#define SOURCE   "$1::bytea"
#define DECLARED "$2::jsonb"
/* ... and those of find_own and find_kin. */
#define ARGS     "$3::jsonb"
#define GIVEN    "$4::jsonb"
#define DEFAULTS "$5::jsonb"

/* The arguments that are declared secret. */
#define SECRETS                                                     \
    "ARRAY(SELECT s.key FROM pg_catalog.jsonb_each(" DECLARED ") s" \
    " WHERE s.value @> '{\"secret\": true}')"

/* Runs, and a: what they were given, as it is compared. Secrets do not count;
 * one that an unfinished run was given in clear is refused as a sibling's. A
 * run that is cancelled and has never loaded its file has done nothing. */
#define RUNS                                                           \
    " FROM {schema}.run r JOIN {schema}.progress p ON p.run_id = r.id" \
    " AND (r.state <> 'cancelled' OR NOT EXISTS (SELECT FROM"          \
    "  {schema}.input i WHERE i.run_id = r.id AND i.rows IS NULL))"    \
    " CROSS JOIN LATERAL " LM_JOURNAL_TOTALS                           \
    " CROSS JOIN LATERAL (SELECT CASE WHEN " UNFINISHED                \
    " THEN '{}' ELSE " SECRETS                                         \
    " END AS names) s CROSS JOIN LATERAL (SELECT r.args - s.names AS"  \
    " args, r.given - s.names AS given) a"

/* A run of luamig 0.1 does not know which arguments were given, so a value may
 * differ if the argument has its default now. */
#define SAME_ARGS                                                    \
    "(a.given = " GIVEN " OR " DEFAULTS " || a.args = " ARGS         \
    " OR (a.given IS NULL AND NOT EXISTS (SELECT FROM"               \
    "  pg_catalog.jsonb_object_keys(a.args || " ARGS ") k (name)"    \
    "  WHERE a.args ->> k.name IS DISTINCT FROM " ARGS " ->> k.name" \
    "  AND (" GIVEN " ? k.name OR NOT " DEFAULTS " ? k.name))))"

/* The columns that are read of a run: the counters of struct lm_run, and
 * struct sighting. */
#define COLUMNS                                                               \
    "r.id, r.state, coalesce(t.rows, 0), coalesce(t.batches, 0),"             \
    " coalesce(t.retries, 0), coalesce(t.failures, 0),"                       \
    " r.sha256 <> pg_catalog.encode(pg_catalog.sha256(" SOURCE "), 'hex'),"   \
    " r.script, r.file, r.path, coalesce(p.host, ''),"                        \
    " (SELECT min(k.name) FROM pg_catalog.jsonb_object_keys(r.args) k (name)" \
    "  WHERE k.name = ANY (" SECRETS "))"
#define SHAPE "i t n n n n b t t? t? t t?"

enum column {
    COL_THERE,
    COL_ID,
    COL_STATE,
    COL_ROWS,
    COL_BATCHES,
    COL_RETRIES,
    COL_FAILURES,
    COL_CHANGED,
    COL_SCRIPT,
    COL_FILE,
    COL_PATH,
    COL_HOST,
    COL_CLEAR, /* an argument that is secret now, and stands there in clear */
    COL_MORE
};

enum { MOST_VALUES = 8 };

struct look {
    struct lm_journal *journal;
    const struct lm_run_request *request;
    bool retries; /* failed rows of the run are to be tried again */
    char *source; /* owned */
    const char *texts[MOST_VALUES];
};

static void
look_init(struct look *self, struct lm_journal *journal,
          const struct lm_run_request *request)
{
    self->journal = journal;
    self->request = request;
    self->retries = false;
    self->source = lm_journal_bytea(request->source, strlen(request->source));
    self->texts[0] = self->source;
    self->texts[1] = request->arguments.declared;
    self->texts[2] = request->args_json;
    self->texts[3] = request->arguments.given;
    self->texts[4] = request->arguments.defaults;
    self->texts[5] = request->script;
    self->texts[6] = request->origin.path;
    self->texts[7] = request->origin.typed;
}

static bool
is_over(const char *state)
{
    return strncmp(state, "done", 4) == 0 || strcmp(state, "cancelled") == 0;
}

static enum lm_journal_found
judge_state(const char *state, const struct lm_run_request *request)
{
    if (strcmp(state, "cancelled") == 0)
        return request->restart ? LM_JOURNAL_NONE : LM_JOURNAL_CANCELLED;
    if (strncmp(state, "done", 4) == 0) {
        return request->again || request->restart ? LM_JOURNAL_NONE
                                                  : LM_JOURNAL_FINISHED;
    }
    return LM_JOURNAL_UNFINISHED;
}

static void
take(const struct lm_answer *answer, int row, struct lm_run *run)
{
    run->id = lm_answer_int(answer, row, COL_ID);
    LM_ERR_COPY(run->state, lm_answer_text(answer, row, COL_STATE));
    run->rows = lm_answer_int(answer, row, COL_ROWS);
    run->batches = lm_answer_int(answer, row, COL_BATCHES);
    run->retries = lm_answer_int(answer, row, COL_RETRIES);
    run->failures = lm_answer_int(answer, row, COL_FAILURES);
    run->script_changed = lm_answer_bool(answer, row, COL_CHANGED);
}

/* -- the run of the name and the arguments ------------------------------ */

/* After COLUMNS: an argument that has another value now. */
enum { COL_ARG = COL_MORE, COL_WAS, COL_IS };

static bool
fail_default(const struct lm_answer *answer, struct lm_err *err)
{
    const char *name = lm_answer_text(answer, 0, COL_ARG);
    const char *was = lm_answer_text(answer, 0, COL_WAS);
    int64_t id = lm_answer_int(answer, 0, COL_ID);
    bool over = is_over(lm_answer_text(answer, 0, COL_STATE));

    lm_err_set(err, LM_ERR_SCRIPT,
               "argument \"%s\" was %s in run %" PRId64
               "%s, and its default is %s now",
               name, was, id, over ? ", which is done" : "",
               lm_answer_text(answer, 0, COL_IS));
    return lm_err_hint(
        err,
        over ? "Give it: --arg %s=%s names the run that is done; %s begins "
               "another run, with the new default."
             : "Give it: --arg %s=%s continues that run; %s "
               "abandons it and begins at the first row, with the new default.",
        name, was, over ? "--again" : "--restart");
}

/* The name is the same, the file is another one with another text. */
static bool
fail_file(const struct look *self, const struct lm_answer *answer,
          const char *other, struct lm_err *err)
{
    int64_t id = lm_answer_int(answer, 0, COL_ID);
    bool over = is_over(lm_answer_text(answer, 0, COL_STATE));

    lm_err_set(err, LM_ERR_SCRIPT,
               "run %" PRId64 " of %s%s was begun by another script", id,
               lm_answer_text(answer, 0, COL_SCRIPT),
               over ? ", which is done," : "");
    lm_err_detail(err, "It was begun by %s, and this is %s, with another text.",
                  other, self->request->origin.path);
    if (self->retries) {
        lm_err_hint(err,
                    "If it is the same migration, \"luamig run\" with this "
                    "script and --adopt %" PRId64
                    " %s. If not, name the run's own script with --script.",
                    id, over ? "says so" : "continues the run");
        return false;
    }
    lm_err_hint(err,
                "If it is the same migration: --adopt %" PRId64
                " %s. If not, give this one a field \"name\" of its own; %s.",
                id, over ? "says that this is done" : "continues it",
                over ? "--again begins another run"
                     : "--restart abandons that run and begins at the first "
                       "row");
    return false;
}

/* Is this the file that began the run? The same place in another checkout of
 * the project is. */
static bool
check_file(const struct look *self, const struct lm_answer *answer,
           struct lm_run *run, struct lm_err *err)
{
    const struct lm_origin *mine = &self->request->origin;
    const char *file = lm_answer_text(answer, 0, COL_FILE);
    const char *path = lm_answer_text(answer, 0, COL_PATH);

    if (lm_answer_is_null(answer, 0, COL_FILE) || !run->script_changed ||
        strcmp(path, mine->path) == 0)
        return true;
    if (strcmp(file, mine->file) != 0 || !mine->marked)
        return fail_file(self, answer, path, err);
    if (!run->reported) {
        lm_log(LM_LOG_WARNING,
               "run %" PRId64 " was begun by %s, and this is %s, with another "
               "text",
               run->id, path, mine->path);
        run->reported = true;
    }
    return true;
}

static void
warn_of_clear_secret(const struct lm_answer *answer)
{
    if (lm_answer_is_null(answer, 0, COL_CLEAR))
        return;
    lm_log(LM_LOG_WARNING,
           "run %" PRId64 " has argument \"%s\", which is secret now, in clear "
           "in the journal; --adopt %" PRId64 " takes its value out",
           lm_answer_int(answer, 0, COL_ID),
           lm_answer_text(answer, 0, COL_CLEAR),
           lm_answer_int(answer, 0, COL_ID));
}

/* *any: there is one, whatever is to become of it. */
static bool
find_own(const struct look *self, enum lm_journal_found *found,
         struct lm_run *run, bool *any, struct lm_err *err)
{
    struct lm_answer *answer = NULL;
    bool ok = true;

    if (!lm_journal_ask(
            self->journal,
            "SELECT m.id IS NOT NULL, m.* FROM (SELECT) AS one LEFT JOIN ("
            "SELECT " COLUMNS ", d.name, d.was, d.is" RUNS
            " LEFT JOIN LATERAL ("
            "  SELECT k.name, a.args ->> k.name AS was,"
            "  " ARGS " ->> k.name AS is"
            "  FROM pg_catalog.jsonb_object_keys(a.args) k (name)"
            "  WHERE " ARGS " ? k.name"
            "  AND a.args ->> k.name <> " ARGS " ->> k.name"
            "  ORDER BY 1 LIMIT 1) d ON true"
            " WHERE r.script = $6 AND " SAME_ARGS " ORDER BY " UNFINISHED
            " DESC, d.name IS NULL DESC, r.id DESC"
            " LIMIT 1) AS m ON true",
            "!: b " SHAPE " t? t? t?", (struct lm_values){self->texts, 6},
            &answer, err))
        return false;
    *any = lm_answer_bool(answer, 0, COL_THERE);
    if (*any) {
        take(answer, 0, run);
        *found = judge_state(run->state, self->request);
        if (*found == LM_JOURNAL_FINISHED && !run->reported)
            warn_of_clear_secret(answer);
        if (!self->request->restart && (*found == LM_JOURNAL_UNFINISHED ||
                                        *found == LM_JOURNAL_FINISHED)) {
            ok = (lm_answer_is_null(answer, 0, COL_ARG) ||
                  fail_default(answer, err)) &&
                 check_file(self, answer, run, err);
        }
        run->reported = true;
    }
    lm_answer_free(answer);
    return ok;
}

/* -- under another name -------------------------------------------------- */

static bool
is_same(const char *a, const char *b)
{
    return a != NULL && b != NULL && strcmp(a, b) == 0;
}

enum kin {
    STRANGER,
    RENAMED, /* the same script: it is called otherwise now */
    PERHAPS, /* by the name that luamig 0.1 gave it, but its text is another */
    OTHER_NAME, /* the same file had another field "name" */
    MOVED,      /* the same text, and the file that had it is gone */
    EDITED      /* another text, and a file of the same last name is gone */
};

/* Is the script's name that of its file? */
static bool
is_implicit(const struct lm_run_request *request)
{
    return is_same(request->script, request->origin.file);
}

/* A run of luamig 0.1: its name was relative to some folder. */
static enum kin
judge_old(const struct look *self, const char *name, bool same_text)
{
    const struct lm_origin *mine = &self->request->origin;

    if (is_implicit(self->request) && (lm_path_ends_with(mine->path, name) ||
                                       lm_path_ends_with(mine->typed, name))) {
        if (same_text)
            return RENAMED;
        return mine->root == NULL ? PERHAPS : STRANGER;
    }
    return same_text && !lm_origin_is_there(mine, name, NULL) ? MOVED
                                                              : STRANGER;
}

static enum kin
judge_kin(const struct look *self, const struct lm_answer *answer, int row)
{
    const struct lm_origin *mine = &self->request->origin;
    const char *name = lm_answer_text(answer, row, COL_SCRIPT);
    const char *file = lm_answer_text_or(answer, row, COL_FILE, NULL);
    const char *path = lm_answer_text_or(answer, row, COL_PATH, NULL);
    bool same_text = !lm_answer_bool(answer, row, COL_CHANGED);

    if (file == NULL || path == NULL)
        return judge_old(self, name, same_text);
    if (lm_path_is_file_of(path, mine->path)) {
        bool here =
            is_same(lm_answer_text(answer, row, COL_HOST), LM_JOURNAL_HOST);

        if (is_same(name, file) && is_implicit(self->request) &&
            (same_text || here))
            return RENAMED;
        return is_over(lm_answer_text(answer, row, COL_STATE)) ? STRANGER
                                                               : OTHER_NAME;
    }
    if (lm_origin_is_there(mine, file, path))
        return STRANGER;
    if (same_text)
        return MOVED;
    return !is_over(lm_answer_text(answer, row, COL_STATE)) &&
                   is_same(name, file) && is_implicit(self->request) &&
                   lm_origin_may_have_moved(mine, file, path)
               ? EDITED
               : STRANGER;
}

static bool
fail_kin(const struct look *self, enum kin kin, const struct lm_run *run,
         const char *name, struct lm_err *err)
{
    const char *why =
        kin == PERHAPS  ? "luamig 0.1 named it after the folder in which it "
                          "ran, and its text was different"
        : kin == MOVED  ? "its text was the same, and its file is gone"
        : kin == EDITED ? "its file had the same name, and is gone"
                        : "it was begun by the same file";
    bool over = is_over(run->state);

    lm_err_set(err, LM_ERR_SCRIPT,
               "run %" PRId64 " of %s, which is %s, may belong to this script",
               run->id, name, run->state);
    lm_err_detail(
        err, "This script is called %s. The run's script may be the same: %s.",
        self->request->script, why);
    return lm_err_hint(
        err,
        "If it is the same migration: --adopt %" PRId64
        " %s. If not: --again begins another run, at the first row.",
        run->id, over ? "says that this is done" : "continues that run");
}

static bool
find_kin(const struct look *self, enum lm_journal_found *found,
         struct lm_run *run, struct lm_err *err)
{
    struct lm_answer *answer = NULL;
    enum kin kin = STRANGER;
    int row;

    if (!lm_journal_ask(
            self->journal,
            "SELECT true, " COLUMNS RUNS
            " WHERE r.script <> $6 AND r.state <> 'cancelled'"
            " AND " SAME_ARGS " AND (pg_catalog.lower(r.path)"
            "   = pg_catalog.lower($7) OR " UNFINISHED
            "  AND pg_catalog.regexp_replace(r.path, '^.*/', '')"
            "   = pg_catalog.regexp_replace($7, '^.*/', '')"
            "  OR r.sha256 = pg_catalog.encode(pg_catalog.sha256(" SOURCE "),"
            "   'hex')"
            "  OR r.path IS NULL AND ("
            "   pg_catalog.right($7, pg_catalog.length(r.script) + 1)"
            "    = '/' || r.script"
            "   OR pg_catalog.right($8, pg_catalog.length(r.script) + 1)"
            "    = '/' || r.script))"
            " ORDER BY " UNFINISHED " DESC, r.id DESC LIMIT 50",
            "*: b " SHAPE, (struct lm_values){self->texts, 8}, &answer, err))
        return false;
    for (row = 0; row < lm_answer_rows(answer) && kin == STRANGER; row++)
        kin = judge_kin(self, answer, row);
    if (kin != STRANGER)
        take(answer, row - 1, run);
    if (kin == RENAMED) {
        run->adopted = true;
        *found = judge_state(run->state, self->request);
        if (!run->reported) {
            lm_log(LM_LOG_INFO,
                   "run %" PRId64
                   " of %s belongs to this script, which is called %s now",
                   run->id, lm_answer_text(answer, row - 1, COL_SCRIPT),
                   self->request->script);
            run->reported = true;
        }
    } else if (kin != STRANGER) {
        fail_kin(self, kin, run, lm_answer_text(answer, row - 1, COL_SCRIPT),
                 err);
    }
    lm_answer_free(answer);
    return kin == STRANGER || kin == RENAMED;
}

/* -- unfinished runs of the same script, with other arguments ------------ */

enum sibling {
    SIBLING_ID,
    SIBLING_STATE,
    SIBLING_ARGS,
    SIBLING_WHY, /* it cannot be asked for any more: "gone", "type", "required" */
    SIBLING_NAME,
    SIBLING_VALUE
};

static bool
fail_sibling(const struct look *self, const struct lm_answer *answer,
             struct lm_err *err)
{
    const char *why = lm_answer_text(answer, 0, SIBLING_WHY);
    const char *name = lm_answer_text(answer, 0, SIBLING_NAME);
    int64_t id = lm_answer_int(answer, 0, SIBLING_ID);

    if (strcmp(why, "required") == 0) {
        lm_err_set(err, LM_ERR_SCRIPT,
                   "run %" PRId64 " of %s is unfinished and was begun without "
                   "argument \"%s\", which is required now",
                   id, self->request->script, name);
    } else if (strcmp(why, "secret") == 0) {
        lm_err_set(err, LM_ERR_SCRIPT,
                   "run %" PRId64 " of %s is unfinished and was begun with "
                   "argument \"%s\" in clear, which is secret now",
                   id, self->request->script, name);
    } else if (strcmp(name, LM_JOURNAL_INPUT_ARG) == 0) {
        return lm_journal_fail_unread_input(
            self->request->script, id, lm_answer_text(answer, 0, SIBLING_VALUE),
            err);
    } else {
        lm_err_set(err, LM_ERR_SCRIPT,
                   "run %" PRId64 " of %s is unfinished and was begun with "
                   "argument \"%s\" = %s, which the script %s",
                   id, self->request->script, name,
                   lm_answer_text(answer, 0, SIBLING_VALUE),
                   strcmp(why, "gone") == 0 ? "does not declare any more"
                                            : "declares with another type now");
    }
    lm_err_hint(err,
                "--adopt %" PRId64
                " continues that run with the new arguments; --again begins "
                "another run at the first row.",
                id);
    return false;
}

static bool
look_at_siblings(const struct look *self, struct lm_run *run,
                 struct lm_err *err)
{
    struct lm_answer *answer = NULL;
    bool ok = true;

    if (!lm_journal_ask(
            self->journal,
            "SELECT r.id, r.state, (" LM_JOURNAL_SHOWN_ARGS " - " SECRETS
            ")::text,"
            " x.why, x.name, x.value"
            " FROM {schema}.run r LEFT JOIN LATERAL ("
            "  SELECT CASE WHEN NOT " DECLARED " ? g.name THEN 'gone'"
            "   WHEN " DECLARED " -> g.name @> '{\"secret\": true}'"
            "    THEN 'secret'"
            "   WHEN pg_catalog.jsonb_typeof(r.args -> g.name)"
            "    <> " DECLARED " -> g.name ->> 'type' THEN 'type' END AS why,"
            "  g.name, " LM_JOURNAL_SHOWN_ARGS " ->> g.name AS value"
            "  FROM pg_catalog.jsonb_object_keys("
            "   coalesce(r.given, r.args)) g (name)"
            "  UNION ALL SELECT 'required', d.key, NULL"
            "  FROM pg_catalog.jsonb_each(" DECLARED ") d"
            "  WHERE d.value @> '{\"required\": true}'"
            "  AND NOT coalesce(r.given, r.args) ? d.key"
            "  ORDER BY 1, 2 LIMIT 1) x ON x.why IS NOT NULL"
            " WHERE r.script = $1 AND " UNFINISHED
            " ORDER BY x.why IS NULL, r.id DESC LIMIT 4",
            "*: i t t t? t? t?",
            LM_VALUES(self->request->script, self->request->arguments.declared),
            &answer, err))
        return false;
    if (lm_answer_rows(answer) > 0 &&
        !lm_answer_is_null(answer, 0, SIBLING_WHY) && !self->request->again) {
        ok = fail_sibling(self, answer, err);
    } else if (!run->reported) {
        for (int row = 0; row < lm_answer_rows(answer) && row < 3; row++) {
            lm_log(LM_LOG_INFO,
                   "run %" PRId64 " of %s %s, with other arguments, is "
                   "unfinished (%s); this is another run",
                   lm_answer_int(answer, row, SIBLING_ID),
                   self->request->script,
                   lm_answer_text(answer, row, SIBLING_ARGS),
                   lm_answer_text(answer, row, SIBLING_STATE));
        }
        run->reported = true;
    }
    lm_answer_free(answer);
    return ok;
}

/* -- finding -------------------------------------------------------------- */

/* After COLUMNS: arguments of the run that the script does not declare; the
 * file that the run reads; does the script read one? */
enum { COL_UNDECLARED = COL_MORE, COL_INPUT, COL_SHA256, COL_READS, COL_MARK };

/* Reads the run of a number. */
static bool
read_run(const struct look *self, int64_t run_id, struct lm_answer **out,
         struct lm_err *err)
{
    return lm_journal_ask(
        self->journal,
        "SELECT m.id IS NOT NULL, m.* FROM (SELECT) AS one LEFT JOIN ("
        " SELECT " COLUMNS ","
        " (SELECT pg_catalog.string_agg(a.key || ' = ' || a.value, ', ')"
        "  FROM pg_catalog.jsonb_each_text(coalesce(r.given, r.args)) a"
        "  WHERE NOT " DECLARED " ? a.key), i.name, i.sha256,"
        " " DECLARED " ? '" LM_JOURNAL_INPUT_ARG "', p.mark"
        " FROM {schema}.run r LEFT JOIN {schema}.input i ON i.run_id = r.id"
        " LEFT JOIN {schema}.progress p ON p.run_id = r.id LEFT JOIN LATERAL"
        " " LM_JOURNAL_TOTALS " ON true WHERE r.id = $3::bigint) AS m ON true",
        "!: b " SHAPE " t? t? t? b t?",
        LM_VALUES(self->texts[0], self->texts[1], LM_DIGITS(run_id)), out, err);
}

/* The cursor of a run is a place in its file. */
static bool
check_input(const struct lm_run_request *request, const struct lm_answer *run,
            bool unfinished, struct lm_err *err)
{
    const struct lm_run_file *given = &request->file;
    const char *name = lm_answer_text_or(run, 0, COL_INPUT, NULL);
    int64_t id = lm_answer_int(run, 0, COL_ID);

    if (name != NULL && unfinished && !lm_answer_bool(run, 0, COL_READS))
        return lm_journal_fail_unread_input(request->script, id, name, err);
    if (given->name == NULL || name == NULL ||
        strcmp(given->sha256, lm_answer_text(run, 0, COL_SHA256)) == 0)
        return true;
    return lm_journal_fail_other_input(id, name, given->name, err);
}

static bool
find_adopted(const struct look *self, enum lm_journal_found *found,
             struct lm_run *run, struct lm_err *err)
{
    struct lm_answer *answer = NULL;
    bool ok = true;

    if (!read_run(self, self->request->adopt, &answer, err))
        return false;
    if (!lm_answer_bool(answer, 0, COL_THERE)) {
        ok = lm_err_set(err, LM_ERR_USAGE,
                        "there is no run %" PRId64 " to adopt",
                        self->request->adopt);
        lm_err_hint(err, "\"luamig status\" lists them.");
    } else {
        take(answer, 0, run);
        run->adopted = true;
        *found = judge_state(run->state, self->request);
        ok = check_input(self->request, answer, *found == LM_JOURNAL_UNFINISHED,
                         err);
    }
    lm_answer_free(answer);
    return ok;
}

/* Names are made to fit; arguments are compared as they are. */
static bool
blame_arguments(struct lm_err *err)
{
    if (!lm_err_is_state(err, "22P05"))
        return false;
    err->sql[0] = '\0';
    lm_err_prefix(err, "the arguments cannot be recorded");
    lm_err_hint(err, "In the arguments, use only characters that the "
                     "database's encoding has.");
    return false;
}

bool
lm_journal_find(struct lm_journal *self, const struct lm_run_request *request,
                enum lm_journal_found *found, struct lm_run *run,
                struct lm_err *err)
{
    struct look look;
    bool any = false;
    bool ok;

    *found = LM_JOURNAL_NONE;
    run->adopted = false;
    look_init(&look, self, request);
    if (request->adopt > 0) {
        ok = find_adopted(&look, found, run, err);
    } else {
        ok = find_own(&look, found, run, &any, err);
        if (ok && !any && !request->again && !request->restart)
            ok = find_kin(&look, found, run, err);
        if (ok && *found == LM_JOURNAL_NONE)
            ok = look_at_siblings(&look, run, err);
    }
    free(look.source);
    return ok || blame_arguments(err);
}

/* Is it the run's script, whatever each is called by its file? */
static bool
check_name(const struct look *self, const struct lm_answer *answer,
           struct lm_err *err)
{
    const char *name = lm_answer_text(answer, 0, COL_SCRIPT);
    const char *file = lm_answer_text_or(answer, 0, COL_FILE, NULL);
    const char *path = lm_answer_text_or(answer, 0, COL_PATH, NULL);

    if (is_same(name, self->request->script) ||
        (is_same(path, self->request->origin.path) && is_same(name, file) &&
         is_implicit(self->request)))
        return true;
    lm_err_set(err, LM_ERR_SCRIPT, "run %" PRId64 " is of %s, not of %s",
               lm_answer_int(answer, 0, COL_ID), name, self->request->script);
    lm_err_hint(err,
                "Name the run's script with --script PATH. If it is called "
                "otherwise now, \"luamig run\" with it and --adopt %" PRId64
                " says so first.",
                lm_answer_int(answer, 0, COL_ID));
    return false;
}

bool
lm_journal_check_retry(struct lm_journal *self,
                       const struct lm_run_request *request, struct lm_run *run,
                       struct lm_err *err)
{
    struct lm_answer *answer = NULL;
    struct look look;
    bool ok;

    look_init(&look, self, request);
    look.retries = true;
    ok = read_run(&look, run->id, &answer, err);
    free(look.source);
    if (!ok)
        return false;
    if (lm_answer_bool(answer, 0, COL_THERE)) {
        run->script_changed = lm_answer_bool(answer, 0, COL_CHANGED);
        LM_ERR_COPY(run->mark, lm_answer_text_or(answer, 0, COL_MARK, ""));
        ok = check_name(&look, answer, err) &&
             check_file(&look, answer, run, err);
    } else {
        ok = lm_err_set(err, LM_ERR_FAILED, "run %" PRId64 " is gone", run->id);
    }
    if (ok && !lm_answer_is_null(answer, 0, COL_UNDECLARED)) {
        lm_log(LM_LOG_WARNING,
               "run %" PRId64 " was given %s, which the script does not "
               "declare any more; it is left out",
               run->id, lm_answer_text(answer, 0, COL_UNDECLARED));
    }
    lm_answer_free(answer);
    return ok;
}
