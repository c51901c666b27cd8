/* SPDX-License-Identifier: MIT */
/*
 * Does the cursor of a run still fit? The journal has the fingerprint from the
 * begin of the run (core/page/fingerprint.h); it is compared with the database
 * of now.
 *
 * OIDs are compared. Names are compared only if OIDs mean nothing: in a copy
 * of the database or of the journal. Changes that keep the order of the keys
 * are allowed: a table may be renamed, an integer may become a bigint, a text
 * a varchar.
 */

#include "base/log.h"
#include "base/text.h"
#include "core/journal/private.h"
#include "pg/conn/answer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* $1 the run, $2 what there is now. The first of the differences: what, of
 * which key column, as it was, as it is. */
#define THEN_AND_NOW                                                          \
    "WITH both_of AS (SELECT r.fingerprint AS then, $2::jsonb AS now"         \
    " FROM {schema}.run r WHERE r.id = $1),"                                  \
    " f AS (SELECT b.then, b.now,"                                            \
    "  coalesce(nullif(b.then ->> 'system', '')"                              \
    "   <> nullif(b.now ->> 'system', ''), false)"                            \
    "  OR b.then ->> 'database' <> b.now ->> 'database'"                      \
    "  OR b.then ->> 'journal' IS DISTINCT FROM b.now ->> 'journal' AS moved" \
    "  FROM both_of b),"                                                      \
    " t AS (SELECT o.value ->> 'oid' AS oid, o.value ->> 'name' AS name"      \
    "  FROM f, pg_catalog.jsonb_array_elements(f.then -> 'tables') o),"       \
    " n AS (SELECT o.value ->> 'oid' AS oid, o.value ->> 'name' AS name"      \
    "  FROM f, pg_catalog.jsonb_array_elements(f.now -> 'tables') o)"

static const char fit_sql[] = THEN_AND_NOW
    ", k AS (SELECT a.place, a.value AS o, b.value AS k"
    "  FROM f, pg_catalog.jsonb_array_elements(f.then -> 'key')"
    "   WITH ORDINALITY a (value, place)"
    "  JOIN pg_catalog.jsonb_array_elements((SELECT now -> 'key' FROM f))"
    "   WITH ORDINALITY b (value, place) ON b.place = a.place),"
    " d (rank, what, name, was, turned) AS ("
    /* Where the key comes from. */
    " SELECT 1, CASE WHEN k.o ->> 'table_name' = k.k ->> 'table_name'"
    "   THEN 'remade' ELSE 'table' END, k.o ->> 'name',"
    "  coalesce(k.o ->> 'table_name', 'an expression'),"
    "  coalesce(k.k ->> 'table_name', 'an expression') FROM k, f"
    "  WHERE CASE WHEN f.moved AND k.o ->> 'table' <> '0'"
    "   THEN k.o ->> 'table_name' IS DISTINCT FROM k.k ->> 'table_name'"
    "   ELSE k.o ->> 'table' <> k.k ->> 'table' END"
    " UNION ALL SELECT 2, CASE WHEN k.o ->> 'column' = k.k ->> 'column'"
    "   THEN 'readded' ELSE 'column' END, k.o ->> 'name',"
    "  k.o ->> 'column', k.k ->> 'column' FROM k, f"
    "  WHERE CASE WHEN f.moved THEN k.o ->> 'column' <> k.k ->> 'column'"
    "   ELSE k.o ->> 'number' <> k.k ->> 'number' END"
    /* A computed key stands on the whole query. */
    " UNION ALL SELECT 3, 'tables', k.o ->> 'name',"
    "  (SELECT pg_catalog.string_agg(t.name, ', ') FROM t),"
    "  (SELECT pg_catalog.string_agg(n.name, ', ') FROM n) FROM k, f"
    "  WHERE k.o ->> 'table' = '0' AND CASE WHEN f.moved"
    "   THEN ARRAY(SELECT t.name FROM t ORDER BY 1)"
    "    <> ARRAY(SELECT n.name FROM n ORDER BY 1)"
    "   ELSE ARRAY(SELECT t.oid FROM t ORDER BY 1)"
    "    <> ARRAY(SELECT n.oid FROM n ORDER BY 1) END"
    " UNION ALL SELECT 4, 'computed', k.o ->> 'name', '', '' FROM k, f"
    "  WHERE k.o ->> 'table' = '0' AND f.then -> 'query' <> f.now -> 'query'"
    /* Its type. */
    " UNION ALL SELECT 5, CASE WHEN k.o ->> 'type_name' = k.k ->> 'type_name'"
    "   THEN 'retyped' ELSE 'type' END, k.o ->> 'name',"
    "  k.o ->> 'type_name', k.k ->> 'type_name' FROM k, f"
    "  WHERE CASE WHEN f.moved"
    "   THEN k.o ->> 'type_name' <> k.k ->> 'type_name'"
    "    OR k.o -> 'labels' <> k.k -> 'labels'"
    "   ELSE k.o ->> 'type' <> k.k ->> 'type'"
    "    AND (k.o -> 'labels' <> 'null'"
    "     AND k.o -> 'labels' = k.k -> 'labels') IS NOT TRUE END"
    "  AND NOT EXISTS (SELECT FROM (VALUES"
    "    ('{smallint,integer,bigint}'::text[]),"
    "    ('{text,character varying}')) s (family)"
    "   WHERE k.o ->> 'type_name' = ANY (s.family)"
    "   AND k.k ->> 'type_name' = ANY (s.family))"
    " UNION ALL SELECT 6, 'digits', k.o ->> 'name',"
    "  pg_catalog.format_type((k.o ->> 'type')::oid,"
    "   (k.o ->> 'typmod')::int), pg_catalog.format_type("
    "   (k.k ->> 'type')::oid, (k.k ->> 'typmod')::int) FROM k"
    "  WHERE k.o ->> 'type_name' = k.k ->> 'type_name'"
    "  AND k.o ->> 'typmod' <> k.k ->> 'typmod'"
    "  AND k.k ->> 'typmod' <> '-1' AND CASE k.o ->> 'type_name'"
    "   WHEN 'character varying' THEN false"
    "   WHEN 'numeric' THEN k.o ->> 'typmod' = '-1'"
    "    OR ((k.k ->> 'typmod')::int - 4) % 65536"
    "     < ((k.o ->> 'typmod')::int - 4) % 65536"
    "   ELSE k.o ->> 'typmod' = '-1'"
    "    OR (k.k ->> 'typmod')::int < (k.o ->> 'typmod')::int END"
    /* Its order. */
    " UNION ALL SELECT 7, 'collation', k.o ->> 'name',"
    "  coalesce(k.o ->> 'collation_name', 'no collation'),"
    "  coalesce(k.k ->> 'collation_name', 'no collation') FROM k, f"
    "  WHERE k.o ->> 'collation_name' IS DISTINCT FROM"
    "   k.k ->> 'collation_name'"
    " UNION ALL SELECT 8, 'version', k.o ->> 'collation_name',"
    "  k.o ->> 'version', k.k ->> 'version' FROM k"
    "  WHERE k.o ->> 'version' <> k.k ->> 'version'"
    " UNION ALL SELECT 9, 'recollated', k.o ->> 'name',"
    "  k.o ->> 'collation_name', '' FROM k, f WHERE NOT f.moved"
    "  AND k.o ->> 'collation' <> k.k ->> 'collation'"
    " UNION ALL SELECT 10, 'order', k.o ->> 'name', k.o ->> 'order_name',"
    "  k.k ->> 'order_name' FROM k"
    "  WHERE k.o ->> 'type_name' = k.k ->> 'type_name'"
    "  AND k.o ->> 'order_name' <> k.k ->> 'order_name'"
    /* What unqualified names mean, also in the script. */
    " UNION ALL SELECT 11, 'search_path', '',"
    "  pg_catalog.array_to_string(p.then, ', '),"
    "  pg_catalog.array_to_string(p.now, ', ') FROM (SELECT"
    "   ARRAY(SELECT pg_catalog.jsonb_array_elements_text("
    "    f.then -> 'search_path') FROM f) AS then,"
    "   ARRAY(SELECT pg_catalog.jsonb_array_elements_text("
    "    f.now -> 'search_path') FROM f) AS now) p"
    "  WHERE p.then <> p.now[1:pg_catalog.cardinality(p.then)]"
    " UNION ALL SELECT 12, 'read', '',"
    "  pg_catalog.string_agg(t.name, ', '), '' FROM f, t"
    "  WHERE f.then -> 'query' = f.now -> 'query'"
    "  AND NOT EXISTS (SELECT FROM n WHERE n.name = t.name OR n.oid = t.oid)"
    "  HAVING pg_catalog.count(*) > 0)"
    " SELECT d.what IS NOT NULL, d.what, d.name, d.was, d.turned, f.moved,"
    " " LM_JOURNAL_CURSOR " FROM f JOIN {schema}.progress p ON p.run_id = $1"
    " LEFT JOIN (SELECT * FROM d ORDER BY rank LIMIT 1) d ON true"
    " WHERE f.then IS NOT NULL";

enum column {
    COL_DIFFERS,
    COL_WHAT,
    COL_NAME,
    COL_WAS,
    COL_IS,
    COL_MOVED,
    COL_CURSOR
};

/* A sentence each; {name} is the key column's. */
static const struct {
    const char *what;
    const char *sentence;
} sentences[] = {
    {"table", "the key column \"{name}\" came from {was} when run {run} "
              "began, and comes from {is} now"},
    {"remade", "the key column \"{name}\" comes from {was}, which is another "
               "table than when run {run} began"},
    {"column", "the key column \"{name}\" was the table's column \"{was}\" "
               "when run {run} began, and is \"{is}\" now"},
    {"readded", "the key column \"{name}\" comes from column \"{was}\", which "
                "has been dropped and added again since run {run} began"},
    {"tables", "the base query, which computes the key column \"{name}\", read "
               "{was} when run {run} began, and reads {is} now"},
    {"computed", "the base query, which computes the key column \"{name}\", "
                 "has changed since run {run} began"},
    {"type", "the key column \"{name}\" was {was} when run {run} began, and "
             "is {is} now"},
    {"retyped", "the key column \"{name}\" is of type {was}, which is another "
                "one than when run {run} began"},
    {"digits", "the key column \"{name}\" was {was} when run {run} began, and "
               "is {is} now"},
    {"collation", "the key column \"{name}\" was ordered by collation {was} "
                  "when run {run} began, and is ordered by {is} now"},
    {"version", "collation {name} was of version {was} when run {run} began, "
                "and is of version {is} now"},
    {"recollated", "the key column \"{name}\" is ordered by collation {was}, "
                   "which is another one than when run {run} began"},
    {"order", "the key column \"{name}\" was ordered by operator class {was} "
              "when run {run} began, and is ordered by {is} now"},
    {"search_path", "the search_path was {was} when run {run} began, and is "
                    "{is} now"},
    {"read", "the base query read {was} when run {run} began, and its names "
             "mean other tables now"},
};

/* Adds the sentence with its marks filled in. */
static void
add_sentence(struct lm_buf *out, const char *sentence,
             const struct lm_answer *answer, int64_t run_id)
{
    static const char *const marks[] = {"{name}", "{was}", "{is}"};
    size_t i;

    while (*sentence != '\0') {
        for (i = 0; i < LM_COUNT(marks); i++) {
            if (strncmp(sentence, marks[i], strlen(marks[i])) == 0)
                break;
        }
        if (i < LM_COUNT(marks)) {
            lm_buf_puts(out, lm_answer_text(answer, 0, COL_NAME + (int)i));
            sentence += strlen(marks[i]);
        } else if (strncmp(sentence, "{run}", strlen("{run}")) == 0) {
            lm_buf_add_int(out, run_id);
            sentence += strlen("{run}");
        } else {
            lm_buf_putc(out, *sentence++);
        }
    }
}

static void
hint(const struct lm_answer *answer, struct lm_err *err)
{
    struct lm_buf after = LM_BUF_INIT;
    struct lm_key cursor;

    cursor.count = lm_answer_texts(answer, 0, COL_CURSOR, &cursor.texts);
    lm_journal_add_lua_key(&after, &cursor);
    lm_err_detail(err, "In another table or another order, the rows after the "
                       "last key are not the rows that are left to migrate.");
    if (cursor.count > 0) {
        lm_err_hint(
            err,
            "Undo that change, and run the same command. Or abandon the run "
            "with --restart: the new run begins at the first row, or after "
            "that key with config.start_after = %s in the script.",
            lm_buf_text(&after));
    } else {
        lm_err_hint(err, "Undo that change, and run the same command. Or "
                         "abandon the run with --restart.");
    }
    lm_key_release(&cursor);
    lm_buf_release(&after);
}

static bool
fail_unfit(const struct lm_answer *answer, int64_t run_id, struct lm_err *err)
{
    const char *what = lm_answer_text(answer, 0, COL_WHAT);
    struct lm_buf message = LM_BUF_INIT;

    for (size_t i = 0; i < LM_COUNT(sentences); i++) {
        if (strcmp(sentences[i].what, what) == 0)
            add_sentence(&message, sentences[i].sentence, answer, run_id);
    }
    lm_err_set(err, LM_ERR_SCRIPT, "%s", lm_buf_text(&message));
    lm_buf_release(&message);
    hint(answer, err);
    return false;
}

/* The columns of the key, as config.key has them. *same: so is the whole
 * fingerprint. */
static bool
fits_key(struct lm_journal *self, const struct lm_run_request *request,
         const struct lm_run *run, bool *same, struct lm_err *err)
{
    char *columns = lm_journal_array(request->key_columns, request->key_count);
    struct lm_answer *answer = NULL;
    bool ok = lm_journal_ask(
        self,
        "SELECT p.key_columns = $2::text[],"
        " pg_catalog.array_to_string(p.key_columns, ', '),"
        " coalesce(r.fingerprint = $3::jsonb, $3 IS NULL)"
        " FROM {schema}.progress p JOIN {schema}.run r ON r.id = p.run_id"
        " WHERE p.run_id = $1",
        "?: b t b",
        LM_VALUES(LM_DIGITS(run->id), columns, request->fingerprint), &answer,
        err);

    free(columns);
    if (ok && lm_answer_rows(answer) == 0) {
        ok = lm_journal_fail_vanished(self, run, err);
    } else if (ok && !lm_answer_bool(answer, 0, 0)) {
        ok = lm_err_set(err, LM_ERR_SCRIPT,
                        "the key was (%s) when run %" PRId64 " began",
                        lm_answer_text(answer, 0, 1), run->id);
        lm_err_hint(err, "Change config.key back, or abandon that run and "
                         "begin a new one with --restart.");
    }
    *same = ok && lm_answer_bool(answer, 0, 2);
    lm_answer_free(answer);
    return ok;
}

/* Rows of a partition that was attached during the run are like inserted rows:
 * the run does not migrate those with keys up to the cursor. */
static bool
warn_of_parts(struct lm_journal *self, const char *const *texts, int64_t run_id,
              struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    if (!lm_journal_ask(
            self,
            THEN_AND_NOW
            " SELECT pg_catalog.string_agg(c.oid::regclass::text, ', '"
            "  ORDER BY c.oid) FROM f, pg_catalog.jsonb_array_elements_text("
            "   f.now -> 'parts') p (oid) JOIN pg_catalog.pg_class c"
            "  ON c.oid = p.oid::oid WHERE f.then ? 'parts' AND NOT f.moved"
            "  AND NOT (f.then -> 'parts' ? p.oid)"
            "  AND pg_catalog.pg_relation_size(c.oid) > 0",
            "1: t?", (struct lm_values){texts, 2}, &answer, err))
        return false;
    if (!lm_answer_is_null(answer, 0, 0)) {
        lm_log(LM_LOG_WARNING,
               "%s became part of the key's table after run %" PRId64
               " began: its rows with keys up to the run's last key are not "
               "migrated",
               lm_answer_text(answer, 0, 0), run_id);
    }
    lm_answer_free(answer);
    return true;
}

bool
lm_journal_fits(struct lm_journal *self, const struct lm_run_request *request,
                const struct lm_run *run, struct lm_err *err)
{
    const int64_t run_id = run->id;
    const char *texts[] = {LM_DIGITS(run_id), request->fingerprint};
    struct lm_answer *answer = NULL;
    bool same;
    bool ok;

    if (!fits_key(self, request, run, &same, err))
        return false;
    if (same)
        return true;
    if (!lm_journal_ask(self, fit_sql, "?: b t? t? t? t? b t?[]?",
                        (struct lm_values){texts, 2}, &answer, err))
        return false;
    ok = lm_answer_rows(answer) == 0 ||
         !lm_answer_bool(answer, 0, COL_DIFFERS) ||
         fail_unfit(answer, run_id, err);
    if (ok && lm_answer_rows(answer) > 0 &&
        lm_answer_bool(answer, 0, COL_MOVED)) {
        lm_log(LM_LOG_INFO,
               "run %" PRId64
               " began in another database, and this database is a copy of it; "
               "luamig compares tables and types by their names",
               run_id);
    }
    lm_answer_free(answer);
    return ok && warn_of_parts(self, texts, run_id, err);
}

/* -- a run that is done ---------------------------------------------------- */

/* Has it read the tables that the same names mean now? One that is gone is not
 * asked for, as long as nothing else is read instead. */
static const char done_sql[] = THEN_AND_NOW
    ", k AS (SELECT DISTINCT o.value ->> 'table' AS oid,"
    "  o.value ->> 'table_name' AS name"
    "  FROM f, pg_catalog.jsonb_array_elements(f.then -> 'key') o"
    "  WHERE o.value ->> 'table' <> '0'"
    "  UNION SELECT t.oid, t.name FROM t WHERE EXISTS (SELECT FROM f,"
    "   pg_catalog.jsonb_array_elements(f.then -> 'key') o"
    "   WHERE o.value ->> 'table' = '0')),"
    " p AS (SELECT ARRAY(SELECT pg_catalog.jsonb_array_elements_text("
    "   f.then -> 'search_path') FROM f) AS then,"
    "  ARRAY(SELECT pg_catalog.jsonb_array_elements_text("
    "   f.now -> 'search_path') FROM f) AS now)"
    " SELECT CASE WHEN f.then -> 'key' = '[]' THEN CASE WHEN"
    "   p.then <> p.now[1:pg_catalog.cardinality(p.then)]"
    "   THEN 'search_path' END"
    "  WHEN EXISTS (SELECT FROM n) AND EXISTS (SELECT FROM k, f WHERE NOT"
    "   EXISTS (SELECT FROM n WHERE n.oid = k.oid AND NOT f.moved"
    "    OR n.name = k.name) AND (pg_catalog.to_regclass(k.name) IS NOT NULL"
    "   OR EXISTS (SELECT FROM n WHERE NOT EXISTS (SELECT FROM t"
    "    WHERE n.oid = t.oid AND NOT f.moved OR n.name = t.name))))"
    "   THEN 'table'"
    "  WHEN NOT f.moved AND EXISTS (SELECT FROM k JOIN n ON n.name = k.name"
    "   WHERE NOT EXISTS (SELECT FROM n WHERE n.oid = k.oid))"
    "   THEN 'remade' END,"
    " CASE WHEN f.then -> 'key' = '[]'"
    "  THEN pg_catalog.array_to_string(p.then, ', ')"
    "  ELSE (SELECT pg_catalog.string_agg(k.name, ', ') FROM k) END,"
    " CASE WHEN f.then -> 'key' = '[]'"
    "  THEN pg_catalog.array_to_string(p.now, ', ')"
    "  ELSE (SELECT pg_catalog.string_agg(n.name, ', ') FROM n) END"
    " FROM f, p WHERE f.then IS NOT NULL";

bool
lm_journal_fits_done(struct lm_journal *self, const char *sketch,
                     int64_t run_id, struct lm_err *err)
{
    struct lm_answer *answer = NULL;
    const char *what;
    bool ok = true;

    if (!lm_journal_ask(self, done_sql, "?: t? t? t?",
                        LM_VALUES(LM_DIGITS(run_id), sketch), &answer, err))
        return false;
    what = lm_answer_rows(answer) > 0 ? lm_answer_text(answer, 0, 0) : "";
    if (strcmp(what, "remade") == 0) {
        lm_log(LM_LOG_WARNING,
               "run %" PRId64
               ", which is done, has read another table %s; --again runs the "
               "script on the table that has this name now",
               run_id, lm_answer_text(answer, 0, 1));
    } else if (*what != '\0') {
        ok = lm_err_set(
            err, LM_ERR_SCRIPT,
            "run %" PRId64 ", which is done, %s %s, and this would %s %s",
            run_id, *what == 't' ? "has read" : "had the search_path",
            lm_answer_text(answer, 0, 1), *what == 't' ? "read" : "have",
            lm_answer_text(answer, 0, 2));
        lm_err_hint(
            err, "--again runs the script here as well. To use it for several "
                 "sets of tables, give it an argument, or a field \"name\".");
    }
    lm_answer_free(answer);
    return ok;
}

bool
lm_journal_note_fingerprint(struct lm_journal *self, int64_t run_id,
                            const char *fingerprint, struct lm_err *err)
{
    return lm_journal_write(self,
                            "UPDATE {schema}.run SET fingerprint = $2::jsonb"
                            " WHERE id = $1",
                            LM_VALUES(LM_DIGITS(run_id), fingerprint), err);
}
