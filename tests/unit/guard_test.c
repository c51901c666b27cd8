/* SPDX-License-Identifier: MIT */
/* The guard's verdicts: all of tests/corpus, and the rest. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg/sql/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -- the corpus ------------------------------------------------------- */

static const struct {
    const char *word;
    unsigned refusal;
    const char *message; /* a part of it; NULL: there is none */
} words[] = {
    {"passes", 0, NULL},
    {"unread", 0, NULL},
    {"unjudged", LM_GUARD_UNJUDGED, "luamig cannot judge the statement"},
    {"every row", LM_GUARD_EVERY_ROW, "every row"},
    {"ddl", LM_GUARD_DDL, "config.allow_ddl"},
    {"several", LM_GUARD_NEVER, "several statements"},
    {"empty", LM_GUARD_NEVER, "is empty"},
    {"transaction", LM_GUARD_NEVER, "begin or end transactions"},
    {"outside", LM_GUARD_NEVER, "cannot run inside a transaction"},
    {"copy", LM_GUARD_NEVER, "COPY cannot be used"},
    {"session", LM_GUARD_NEVER, "must not change the session"},
    {"config", LM_GUARD_NEVER, "must not change the session"},
    {"lock", LM_GUARD_NEVER, "lock beyond its transaction"},
};

/* One statement of the corpus. */
struct expected {
    int line;
    char verdict[80];
    struct lm_buf sql;
};

/* Is the word one of the verdict's, which are separated by " + "? */
static bool
says(const struct expected *self, const char *word)
{
    const char *found = strstr(self->verdict, word);

    return found != NULL && strchr(" ", found[strlen(word)]) != NULL;
}

static unsigned
expected_refusals(const struct expected *self)
{
    unsigned refusals = 0;
    bool known = false;

    for (size_t i = 0; i < LM_COUNT(words); i++) {
        if (says(self, words[i].word)) {
            refusals |= words[i].refusal;
            known = true;
        }
    }
    if (!known)
        fail_msg("line %d: no such verdict: %s", self->line, self->verdict);
    return refusals;
}

/* Is the message that of one of the words whose charge is not allowed? */
static bool
fits(const struct expected *self, const char *message, unsigned allowed)
{
    for (size_t i = 0; i < LM_COUNT(words); i++) {
        if (says(self, words[i].word) && (words[i].refusal & ~allowed) != 0 &&
            strstr(message, words[i].message) != NULL)
            return true;
    }
    return false;
}

static void
check_refusal(const struct expected *self, const struct lm_err *err,
              unsigned allowed)
{
    assert_int_equal(err->kind, LM_ERR_FAILED);
    assert_string_equal(err->sql, lm_buf_text(&self->sql));
    assert_true(err->hint[0] != '\0');
    if (!fits(self, err->message, allowed))
        fail_msg("line %d: %s", self->line, err->message);
    if (!says(self, "empty") && strstr(err->detail, "^") == NULL)
        fail_msg("line %d: no place is shown: %s", self->line, err->detail);
}

static void
check_statement(const struct expected *self)
{
    unsigned refusals = expected_refusals(self);

    for (unsigned i = 0; i < 8; i++) {
        unsigned allowed = ((i & 1) != 0 ? LM_GUARD_EVERY_ROW : 0) |
                           ((i & 2) != 0 ? LM_GUARD_DDL : 0) |
                           ((i & 4) != 0 ? LM_GUARD_UNJUDGED : 0);
        struct lm_verdict verdict;
        struct lm_err err = {.kind = LM_ERR_NONE};
        bool ok =
            lm_guard_judge(lm_buf_text(&self->sql), allowed, &verdict, &err);

        if (verdict.refusals != refusals ||
            verdict.parsed ==
                (says(self, "unjudged") || says(self, "unread")) ||
            ok != ((refusals & ~allowed) == 0)) {
            fail_msg("line %d, %s: charged with %u, allowed %u: %s %s",
                     self->line, self->verdict, verdict.refusals, allowed,
                     ok ? "passed" : "refused", err.message);
        }
        if (!ok)
            check_refusal(self, &err, allowed);
    }
}

static void
end_statement(struct expected *self, int *count)
{
    if (self->line == 0)
        return;
    while (self->sql.len > 0 && self->sql.data[self->sql.len - 1] == '\n')
        self->sql.data[--self->sql.len] = '\0';
    check_statement(self);
    (*count)++;
    self->line = 0;
}

/* Takes the verdict that fits the grammar out of "16+ | this | that". */
static void
choose_verdict(struct expected *self)
{
    char *known = strchr(self->verdict, '|');
    char *unknown = strrchr(self->verdict, '|');
    bool knows = known != unknown &&
                 lm_guard_grammar() >= strtol(self->verdict, NULL, 10);
    const char *chosen;

    if (known == NULL)
        return;
    *known = *unknown = '\0';
    chosen = (knows ? known : unknown) + 2;
    memmove(self->verdict, chosen, strlen(chosen) + 1);
    if (knows && self->verdict[strlen(self->verdict) - 1] == ' ')
        self->verdict[strlen(self->verdict) - 1] = '\0';
}

/* Judges all that is in the file; returns how many. */
static int
judge_corpus(const char *path)
{
    FILE *file = fopen(path, "r");
    struct expected now = {.line = 0, .sql = LM_BUF_INIT};
    char line[1024];
    int count = 0;

    assert_non_null(file);
    for (int number = 1; fgets(line, sizeof line, file) != NULL; number++) {
        if (line[0] == '[' || line[0] == '#')
            end_statement(&now, &count);
        if (line[0] == '[') {
            assert_int_equal(sscanf(line, "[%79[^]]]", now.verdict), 1);
            choose_verdict(&now);
            now.line = number;
            lm_buf_clear(&now.sql);
        } else if (now.line > 0) {
            lm_buf_puts(&now.sql, line);
        }
    }
    end_statement(&now, &count);
    lm_buf_release(&now.sql);
    fclose(file);
    return count;
}

static void
test_the_corpus(void **state)
{
    (void)state;
    assert_true(judge_corpus(LUAMIG_CORPUS "/statements.txt") > 250);
}

static void
test_what_not_every_version_knows(void **state)
{
    (void)state;
    print_message("the grammar is that of %d\n", lm_guard_grammar());
    assert_true(judge_corpus(LUAMIG_CORPUS "/newer.txt") > 100);
}

/* -- where the fault lies --------------------------------------------- */

static void
test_the_place_is_shown(void **state)
{
    static const struct {
        const char *sql;
        const char *detail;
    } cases[] = {
        {"UPDATE t SET a = 1", "LINE 1: UPDATE t SET a = 1\n"
                               "               ^"},
        {"WITH x AS (SELECT 1)\nDELETE FROM public.t",
         "LINE 2: DELETE FROM public.t\n                    ^"},
        {"DELETE FROM t\nWHERE id = 5 OR 1 = 1",
         "LINE 2: WHERE id = 5 OR 1 = 1\n              ^"},
        {"MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
         "LINE 1: MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE\n"
         "                                ^"},
        {"SELECT a,\n  pg_advisory_lock(5)",
         "LINE 2:   pg_advisory_lock(5)\n          ^"},
        {"-- all\n/* rows */ TRUNCATE t",
         "LINE 2: /* rows */ TRUNCATE t\n                   ^"},
        {"SELECT 1;\nCOMMIT", "LINE 2: COMMIT\n        ^"},
        {"SELECT 'ö'; COMMIT", "LINE 1: SELECT 'ö'; COMMIT\n"
                               "                    ^"},
        {"", ""},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_verdict verdict;
        struct lm_err err;

        assert_false(lm_guard_judge(cases[i].sql, 0, &verdict, &err));
        assert_string_equal(err.detail, cases[i].detail);
    }
}

/* -- what the repo asks besides --------------------------------------- */

static struct lm_verdict
verdict_on(const char *sql)
{
    struct lm_verdict verdict;
    struct lm_err err;

    if (!lm_guard_judge(sql,
                        LM_GUARD_DDL | LM_GUARD_EVERY_ROW | LM_GUARD_UNJUDGED,
                        &verdict, &err))
        fail_msg("%s: %s", sql, err.message);
    return verdict;
}

static void
test_only_queries_and_writes_are_plain(void **state)
{
    static const char *const plain[] = {
        "SELECT 1",
        "TABLE t",
        "VALUES (1)",
        "UPDATE t SET a = 1",
        "SELECT 'set_config'",
        "WITH x AS (DELETE FROM t) SELECT 1",
        "MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN DELETE"};
    static const char *const others[] = {
        "SELECT a INTO k FROM t",
        "SHOW search_path",
        "SET LOCAL a.b = 1",
        "EXPLAIN SELECT 1",
        "DO 'BEGIN END'",
        "CALL p()",
        "LOCK t",
        "SELECT set_config('search_path', $1, true)",
        "SELEC 1",
        "CREATE TABLE k (id int)"};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(plain); i++)
        assert_true(verdict_on(plain[i]).plain);
    for (size_t i = 0; i < LM_COUNT(others); i++)
        assert_false(verdict_on(others[i]).plain);
}

static void
test_what_may_change_the_columns_of_a_table(void **state)
{
    static const char *const keep[] = {"-- x\nSET LOCAL work_mem = '8MB'",
                                       "/* x */ CALL p(1)",
                                       "NOTIFY k",
                                       "EXPLAIN ANALYZE SELECT 1",
                                       "LOCK t",
                                       "SHOW search_path",
                                       "ANALYZE t",
                                       "SELECT 1"};
    static const char *const may[] = {
        "ALTER TABLE t ADD COLUMN k int",
        "SELECT a INTO k FROM t",
        "DO 'BEGIN END'",
        "SELECT set_config('search_path', 'x', true)",
        "EXPLAIN ANALYZE CREATE TABLE k AS SELECT 1",
        "SELEC 1"};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(keep); i++)
        assert_true(verdict_on(keep[i]).keeps_columns);
    for (size_t i = 0; i < LM_COUNT(may); i++)
        assert_false(verdict_on(may[i]).keeps_columns);
}

/* -- memory ----------------------------------------------------------- */

static void
test_a_text_is_judged_once(void **state)
{
    struct lm_guard guard = {.count = 0};
    struct lm_verdict *verdict;
    struct lm_err err;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_true(lm_guard_ask(&guard, "SELECT 1", 0, &verdict, &err));
        assert_true(lm_guard_ask(&guard, "UPDAT t SET a = 1",
                                 LM_GUARD_DDL | LM_GUARD_UNJUDGED, &verdict,
                                 &err));
        assert_true(verdict->warned == (i > 0));
        verdict->warned = true;
        assert_true(lm_guard_ask(&guard, "DELETE FROM t", LM_GUARD_EVERY_ROW,
                                 &verdict, &err));
    }
    assert_int_equal(guard.parses, 3);
    lm_guard_release(&guard);
}

/* The same text may come with luamig.ALL and then without it. */
static void
test_a_verdict_does_not_depend_on_what_was_said_before(void **state)
{
    struct lm_guard guard = {.count = 0};
    struct lm_verdict *verdict;
    struct lm_err err;

    (void)state;
    assert_false(lm_guard_ask(&guard, "DELETE FROM t", 0, &verdict, &err));
    assert_true(lm_guard_ask(&guard, "DELETE FROM t", LM_GUARD_EVERY_ROW,
                             &verdict, &err));
    assert_false(
        lm_guard_ask(&guard, "DELETE FROM t", LM_GUARD_DDL, &verdict, &err));
    assert_non_null(strstr(err.message, "DELETE without WHERE"));
    lm_guard_release(&guard);
}

/* A script that splices values makes a text for each row. */
static void
test_the_memory_is_bounded(void **state)
{
    struct lm_guard guard = {.count = 0};

    (void)state;
    for (int i = 0; i < 5000; i++) {
        char sql[64];
        struct lm_verdict *verdict;
        struct lm_err err;

        snprintf(sql, sizeof sql, "SELECT a FROM t WHERE id = %d", i);
        assert_true(lm_guard_ask(&guard, sql, 0, &verdict, &err));
        assert_true(verdict->plain);
    }
    assert_true(guard.count <= 1024);
    lm_guard_release(&guard);
}

/* -- deep and long ---------------------------------------------------- */

/* start, open count times, middle, close count times */
static char *
repeated(const char *start, int count, const char *open, const char *middle,
         const char *close)
{
    struct lm_buf buf = LM_BUF_INIT;

    lm_buf_puts(&buf, start);
    for (int i = 0; i < count; i++)
        lm_buf_puts(&buf, open);
    lm_buf_puts(&buf, middle);
    for (int i = 0; i < count; i++)
        lm_buf_puts(&buf, close);
    return lm_buf_take(&buf);
}

/* The parser has no limit of its own: it would run out of stack. */
static void
test_deep_nesting_is_left_to_the_server(void **state)
{
    static const struct {
        const char *open;
        const char *middle;
        const char *close;
    } cases[] = {
        {"", "1", "+1"},
        {"", "1", "::int"},
        {"", "a", " COLLATE c"},
        {"", "1", " UNION ALL SELECT 1"},
        {"", "1 FROM a", " JOIN a ON true"},
        {"NOT ", "true", ""},
        {"f(", "1", ")"},
        {"f(x, ", "1", ")"},
        {"(SELECT ", "1", ")"},
        {"(SELECT 1 FROM (SELECT ", "1", ") t)"},
        {"ARRAY[", "1", "]"},
        {"CASE WHEN true THEN ", "1", " END"},
        {"(1+1+1+1+1)+(", "1", ")"},
    };
    static const int counts[] = {100, 300, 700, 1400, 3000, 50000};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        for (size_t j = 0; j < LM_COUNT(counts); j++) {
            char *sql = repeated("SELECT ", counts[j], cases[i].open,
                                 cases[i].middle, cases[i].close);
            bool parsed = verdict_on(sql).parsed;

            if (counts[j] <= 100) {
                assert_true(parsed);
            } else if (counts[j] >= 3000) {
                assert_false(parsed);
            }
            free(sql);
        }
    }
}

static void
test_long_is_not_deep(void **state)
{
    char *sql = repeated("SELECT a FROM t WHERE a IN (0", 50000, ",1", ")", "");

    (void)state;
    assert_true(verdict_on(sql).parsed);
    free(sql);
    sql = repeated("INSERT INTO t VALUES (0, NULL)", 20000,
                   ", ('x'::text, -1 + (2))", "", "");
    assert_true(verdict_on(sql).parsed);
    free(sql);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_corpus),
        cmocka_unit_test(test_what_not_every_version_knows),
        cmocka_unit_test(test_the_place_is_shown),
        cmocka_unit_test(test_only_queries_and_writes_are_plain),
        cmocka_unit_test(test_what_may_change_the_columns_of_a_table),
        cmocka_unit_test(test_a_text_is_judged_once),
        cmocka_unit_test(
            test_a_verdict_does_not_depend_on_what_was_said_before),
        cmocka_unit_test(test_the_memory_is_bounded),
        cmocka_unit_test(test_deep_nesting_is_left_to_the_server),
        cmocka_unit_test(test_long_is_not_deep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
