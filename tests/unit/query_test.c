/* SPDX-License-Identifier: MIT */
/* What luamig reads from the parse tree of a query, case by case. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pg/query/query.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *sql;
    const char *message;
    const char *detail;
} refused_cases[] = {
    {"", "is empty", ""},
    {"-- nothing\n;", "is empty", ""},
    {"SELECT 1; SELECT 2", "contains more than one statement",
     "LINE 1: SELECT 1; SELECT 2\n                  ^"},
    {"SELECT 1; -- done\n  /* then */ DELETE FROM t",
     "contains more than one statement",
     "LINE 2:   /* then */ DELETE FROM t\n                     ^"},
    {"UPDATE t SET a = 1", "is not a SELECT",
     "LINE 1: UPDATE t SET a = 1\n        ^"},
    {"-- all\nDELETE FROM t", "is not a SELECT",
     "LINE 2: DELETE FROM t\n        ^"},
    {"VALUES (1)", "is not a SELECT", "LINE 1: VALUES (1)\n        ^"},
    {"EXPLAIN SELECT 1", "is not a SELECT",
     "LINE 1: EXPLAIN SELECT 1\n        ^"},
    {"BEGIN", "is not a SELECT", "LINE 1: BEGIN\n        ^"},
    {"SELECT a INTO b FROM t", "must not be SELECT INTO",
     "LINE 1: SELECT a INTO b FROM t\n                      ^"},
    {"SELECT a INTO b FROM t UNION SELECT 1", "must not be SELECT INTO",
     "LINE 1: SELECT a INTO b FROM t UNION SELECT 1\n"
     "                      ^"},
    {"SELECT a FROM t\nORDER BY b, a", "must not have ORDER BY",
     "LINE 2: ORDER BY b, a\n                 ^"},
    {"(SELECT a FROM t) ORDER BY 1", "must not have ORDER BY",
     "LINE 1: (SELECT a FROM t) ORDER BY 1\n"
     "                                   ^"},
    {"(SELECT a FROM t ORDER BY a)", "must not have ORDER BY",
     "LINE 1: (SELECT a FROM t ORDER BY a)\n"
     "                                  ^"},
    {"TABLE t ORDER BY a", "must not have ORDER BY",
     "LINE 1: TABLE t ORDER BY a\n                         ^"},
    {"SELECT 1 UNION SELECT 2 ORDER BY 1", "must not have ORDER BY",
     "LINE 1: SELECT 1 UNION SELECT 2 ORDER BY 1\n"
     "                                         ^"},
    {"SELECT 1 UNION SELECT 2 LIMIT 9", "must not have LIMIT or FETCH FIRST",
     "LINE 1: SELECT 1 UNION SELECT 2 LIMIT 9\n"
     "                                      ^"},
    {"SELECT a FROM t LIMIT $1", "must not have LIMIT or FETCH FIRST",
     "LINE 1: SELECT a FROM t LIMIT $1\n"
     "                              ^"},
    {"SELECT a FROM t LIMIT ALL", "must not have LIMIT or FETCH FIRST",
     "LINE 1: SELECT a FROM t LIMIT ALL\n"
     "                              ^"},
    {"SELECT a FROM t FETCH FIRST ROW ONLY",
     "must not have LIMIT or FETCH FIRST",
     "LINE 1: SELECT a FROM t FETCH FIRST ROW ONLY\n"
     "                        ^"},
    {"SELECT a FROM t OFFSET 3", "must not have OFFSET",
     "LINE 1: SELECT a FROM t OFFSET 3\n"
     "                               ^"},
    {"SELECT a FROM t FOR UPDATE", "must not lock rows (FOR UPDATE, FOR SHARE)",
     "LINE 1: SELECT a FROM t FOR UPDATE\n                        ^"},
    {"SELECT a FROM t FOR NO KEY UPDATE OF t SKIP LOCKED",
     "must not lock rows (FOR UPDATE, FOR SHARE)",
     "LINE 1: SELECT a FROM t FOR NO KEY UPDATE OF t SKIP LOCKED\n"
     "                        ^"},
    {"SELECT a FROM t FOR KEY SHARE",
     "must not lock rows (FOR UPDATE, FOR SHARE)",
     "LINE 1: SELECT a FROM t FOR KEY SHARE\n                        ^"},
    {"SELECT a FROM t WHERE EXISTS (SELECT FROM s FOR SHARE)\nFOR UPDATE",
     "must not lock rows (FOR UPDATE, FOR SHARE)",
     "LINE 2: FOR UPDATE\n        ^"},
    {"WITH x AS (UPDATE t SET a = 1 RETURNING *) TABLE x",
     "must not change rows in a WITH query",
     "LINE 1: WITH x AS (UPDATE t SET a = 1 RETURNING *) TABLE x\n"
     "                          ^"},
    {"WITH x AS (WITH y AS (DELETE FROM t RETURNING *) TABLE y) TABLE x",
     "must not change rows in a WITH query",
     "LINE 1: WITH x AS (WITH y AS (DELETE FROM t RETURNING *) TABLE y) "
     "TABLE x\n                                          ^"},
    {"SELECT 1 UNION (WITH x AS (INSERT INTO t VALUES (1) RETURNING a) "
     "TABLE x)",
     "must not change rows in a WITH query",
     "LINE 1: SELECT 1 UNION (WITH x AS (INSERT INTO t VALUES (1) "
     "RETURNING a) TABLE x)\n                                              "
     " ^"},
    /* One column a character, however many bytes; tabs stay tabs. */
    {"SELECT 'åäö€😀' FROM \"Größe\"\tORDER BY größe", "must not have ORDER BY",
     "LINE 1: SELECT 'åäö€😀' FROM \"Größe\"\tORDER BY größe\n"
     "                                   \t         ^"},
    {"SELECT a FROM t -- ü\r\nORDER BY a\r\n", "must not have ORDER BY",
     "LINE 2: ORDER BY a\n                 ^"},
    {"SELECT aaaaaaaaaaaaaaaaaaaa, ää, üüüüüüüüüüüüüüüüüüüüü FROM t "
     "ORDER BY 1, äääääääääääääääääääääää",
     "must not have ORDER BY",
     "LINE 1: ...üüüüüüüüüüüüüüüü FROM t ORDER BY 1, "
     "ääääääääääääääääää...\n"
     "                                            ^"},
};

static void
test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < LM_COUNT(refused_cases); i++) {
        struct lm_query_shape shape;
        struct lm_err err = {.kind = LM_ERR_NONE};

        if (lm_query_inspect(refused_cases[i].sql, &shape, &err))
            fail_msg("accepted: %s", refused_cases[i].sql);
        assert_int_equal(err.kind, LM_ERR_SCRIPT);
        assert_memory_equal(err.message, "base_query ", 11);
        assert_string_equal(err.message + 11, refused_cases[i].message);
        assert_string_equal(err.detail, refused_cases[i].detail);
        assert_true(err.hint[0] != '\0');
        lm_query_release(&shape);
    }
}

static void
test_accepted(void **state)
{
    static const struct {
        const char *sql;
        const char *text;
        bool parsed;
    } cases[] = {
        {"SELECT 1", "SELECT 1", true},
        {"\n  SELECT 1 ;\n", "SELECT 1", true},
        {"SELECT 1;;; -- done", "SELECT 1", true},
        {";SELECT 1", "SELECT 1", true},
        {"SELECT 1 -- a; b", "SELECT 1 -- a; b", true},
        {"SELECT 1 -- a\n;", "SELECT 1 -- a", true},
        {"SELECT ';' ; /* ; */", "SELECT ';'", true},
        {"-- ö\nSELECT 'ö';", "-- ö\nSELECT 'ö'", true},
        {"TABLE t", "TABLE t", true},
        {"SELECT a -- ORDER BY a LIMIT 1\nFROM t /* FOR UPDATE */",
         "SELECT a -- ORDER BY a LIMIT 1\nFROM t /* FOR UPDATE */", true},
        {"SELECT a FROM (SELECT a FROM t ORDER BY b LIMIT 5 OFFSET 1) s", NULL,
         true},
        {"SELECT array_agg(a ORDER BY a) FROM t GROUP BY b", NULL, true},
        {"SELECT row_number() OVER (ORDER BY a) FROM t", NULL, true},
        {"SELECT 1 OVER_ FROM t WINDOW w AS (ORDER BY a)", NULL, true},
        {"(SELECT a FROM t ORDER BY a LIMIT 1) UNION ALL SELECT 2", NULL, true},
        {"WITH x AS (SELECT a FROM t ORDER BY a LIMIT 9) TABLE x", NULL, true},
        {"SELECT a FROM t WHERE EXISTS (SELECT FROM s FOR UPDATE)", NULL, true},
        {"SELECT a FROM (VALUES (1)) v(a)", NULL, true},
        {"SELECT 1x ; \n; ", "SELECT 1x", false},
        {"  SELECT 1y ORDER BY 1", "SELECT 1y ORDER BY 1", false},
        {"SELECT JSON_TABLE(", "SELECT JSON_TABLE(", false},
        {"SELECT 'open", "SELECT 'open", false},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        const char *text = cases[i].text;
        struct lm_query_shape shape;
        struct lm_err err;

        if (!lm_query_inspect(cases[i].sql, &shape, &err))
            fail_msg("%s: %s", cases[i].sql, err.message);
        assert_string_equal(shape.text, text != NULL ? text : cases[i].sql);
        assert_int_equal(shape.parsed, cases[i].parsed);
        assert_int_equal(shape.tree != NULL, cases[i].parsed);
        lm_query_release(&shape);
        lm_query_release(&shape);
    }
}

struct proof {
    const char *sql;
    bool proved;
};

static struct lm_query_shape
inspect(const char *sql)
{
    struct lm_query_shape shape;
    struct lm_err err;

    if (!lm_query_inspect(sql, &shape, &err))
        fail_msg("%s: %s", sql, err.message);
    return shape;
}

static void
check_proof(const struct proof *expected, struct lm_query_shape *shape,
            bool proved)
{
    lm_query_release(shape);
    if (proved != expected->proved) {
        fail_msg("%s: %s", expected->proved ? "not proved" : "wrongly proved",
                 expected->sql);
    }
}

/* Of the output column id. */
static const struct proof excludes_null_cases[] = {
    {"SELECT id FROM u WHERE id IS NOT NULL", true},
    {"SELECT id FROM u WHERE id NOTNULL", true},
    {"SELECT id FROM u WHERE a AND ((b OR c) AND (id IS NOT NULL))", true},
    {"SELECT id FROM u", false},
    {"SELECT id FROM u WHERE id IS NULL", false},
    {"SELECT id FROM u WHERE a OR id IS NOT NULL", false},
    {"SELECT id FROM u WHERE NOT (id IS NOT NULL)", false},
    {"SELECT id FROM u WHERE NOT id IS NULL", false},
    {"SELECT id FROM u WHERE id > 0", false},
    {"SELECT id FROM u WHERE other IS NOT NULL", false},
    {"SELECT id FROM u WHERE EXISTS (SELECT WHERE id IS NOT NULL)", false},
    {"SELECT id FROM u JOIN p ON id IS NOT NULL", false},
    {"SELECT \"ID\" AS id FROM u WHERE id IS NOT NULL", false},
    {"SELECT \"ID\" AS id FROM u WHERE \"ID\" IS NOT NULL", true},
    {"SELECT \"ID\" FROM u WHERE \"ID\" IS NOT NULL", false},
    {"SELECT ID FROM u WHERE Id IS NOT NULL", true},
    /* an alias does not exist yet in WHERE */
    {"SELECT u.key AS id FROM u WHERE u.key IS NOT NULL", true},
    {"SELECT u.key AS id FROM u WHERE key IS NOT NULL", true},
    {"SELECT key AS id FROM u WHERE u.key IS NOT NULL", true},
    {"SELECT u.key AS id FROM u WHERE id IS NOT NULL", false},
    {"SELECT u.key AS id FROM u, p WHERE p.key IS NOT NULL", false},
    {"SELECT u.id AS key, p.x AS id FROM u, p WHERE u.id IS NOT NULL", false},
    {"SELECT s.u.id FROM s.u WHERE u.id IS NOT NULL", true},
    {"SELECT s.u.id FROM s.u, r.u AS v WHERE s.u.id IS NOT NULL", true},
    {"SELECT s.u.id FROM s.u, r.u WHERE r.u.id IS NOT NULL", false},
    /* stars */
    {"TABLE u", false},
    {"SELECT * FROM u WHERE id IS NOT NULL", true},
    {"SELECT * FROM u WHERE u.id IS NOT NULL", true},
    {"SELECT u.* FROM u WHERE id IS NOT NULL", true},
    {"SELECT a.* FROM a LEFT JOIN b ON true WHERE b.id IS NOT NULL", false},
    {"SELECT a.* FROM a LEFT JOIN b ON true WHERE a.id IS NOT NULL", true},
    {"SELECT b.* FROM a LEFT JOIN b ON true WHERE b.id IS NOT NULL", true},
    {"SELECT a.*, b.x FROM a, b WHERE b.id IS NOT NULL", false},
    {"SELECT a.x, b.* FROM a, b WHERE b.id IS NOT NULL", true},
    {"SELECT b.x AS id, a.y FROM a, b WHERE id IS NOT NULL", false},
    {"SELECT *, b.x AS id FROM b WHERE id IS NOT NULL", false},
    {"SELECT *, lower(x) FROM b WHERE id IS NOT NULL", true},
    {"SELECT *, id(x) FROM b WHERE id IS NOT NULL", false},
    {"SELECT *, 1, a + 1, a::int, $1, a IS NULL, true, COALESCE(a, b), "
     "NULLIF(a, b), a COLLATE c, '1'::text FROM b WHERE id IS NOT NULL",
     true},
    {"SELECT *, (b.c).id FROM b WHERE id IS NOT NULL", false},
    {"SELECT (b.c).* FROM b WHERE id IS NOT NULL", false},
    /* merged columns */
    {"SELECT * FROM a FULL JOIN b USING (id) WHERE id IS NOT NULL", true},
    {"SELECT id FROM a FULL JOIN b USING (id) WHERE id IS NOT NULL", true},
    {"SELECT b.* FROM a LEFT JOIN b USING (id) WHERE id IS NOT NULL", false},
    {"SELECT b.id FROM a LEFT JOIN b USING (id) WHERE id IS NOT NULL", false},
    {"SELECT b.id FROM a NATURAL LEFT JOIN b WHERE id IS NOT NULL", false},
    {"SELECT b.* FROM a LEFT JOIN b USING (id) WHERE b.id IS NOT NULL", true},
    {"SELECT * FROM a LEFT JOIN b USING (id) WHERE b.id IS NOT NULL", false},
    {"SELECT b.id FROM b, (SELECT 1 FROM x JOIN y USING (id)) s "
     "WHERE id IS NOT NULL",
     true},
    /* expressions */
    {"SELECT d->>'k' AS id FROM u WHERE d->>'k' IS NOT NULL", true},
    {"SELECT d->>'k' AS id FROM u WHERE d->>'j' IS NOT NULL", false},
    {"SELECT a::text AS id FROM u WHERE a::text IS NOT NULL", true},
    {"SELECT a::text AS id FROM u WHERE a::int IS NOT NULL", false},
    {"SELECT a::text AS id FROM u WHERE a IS NOT NULL", false},
    {"SELECT a + 1 AS id FROM u WHERE a + 2 IS NOT NULL", false},
    {"SELECT f(a) AS id FROM u WHERE f(a) IS NOT NULL", false},
    {"SELECT (SELECT 1) AS id FROM u WHERE (SELECT 1) IS NOT NULL", false},
    {"SELECT id FROM (SELECT f(a) AS id FROM u) s WHERE id IS NOT NULL", true},
    /* NULL comes in again */
    {"SELECT id FROM u WHERE id IS NOT NULL GROUP BY id", true},
    {"SELECT id FROM u WHERE id IS NOT NULL GROUP BY ROLLUP (id)", false},
    {"SELECT id FROM u WHERE id IS NOT NULL GROUP BY GROUPING SETS ((id), "
     "())",
     false},
    {"SELECT max(id) AS id FROM u WHERE id IS NOT NULL", false},
    {"SELECT id FROM u WHERE id IS NOT NULL UNION SELECT NULL", false},
    {"SELECT 1x AS id FROM u WHERE id IS NOT NULL", false},
};

static void
test_excludes_null(void **state)
{
    (void)state;
    for (size_t i = 0; i < LM_COUNT(excludes_null_cases); i++) {
        struct lm_query_shape shape = inspect(excludes_null_cases[i].sql);

        check_proof(&excludes_null_cases[i], &shape,
                    lm_query_column_excludes_null(&shape, "id"));
    }
}

/* Of the output column id, traced by the server to the table u. */
static const struct proof keeps_not_null_cases[] = {
    {"SELECT id FROM u", true},
    {"TABLE u", true},
    {"SELECT u.id FROM u, b", true},
    {"SELECT * FROM u JOIN b ON true CROSS JOIN c", true},
    {"SELECT id FROM u TABLESAMPLE system (1)", true},
    /* the qualifier says which side */
    {"SELECT u.id FROM u LEFT JOIN b ON true", true},
    {"SELECT u.id FROM b LEFT JOIN u ON true", false},
    {"SELECT u.id FROM b RIGHT JOIN u ON true", true},
    {"SELECT u.id FROM u RIGHT JOIN b ON true", false},
    {"SELECT u.id FROM u FULL JOIN b ON true", false},
    {"SELECT u.id FROM b FULL JOIN u ON true", false},
    {"SELECT u.id FROM (u JOIN c ON true) RIGHT JOIN b ON true", false},
    {"SELECT u.id FROM c LEFT JOIN (b JOIN u ON true) ON true", false},
    {"SELECT u.id FROM c LEFT JOIN b ON true JOIN u ON true", true},
    {"SELECT u.id FROM u, b LEFT JOIN c ON true", true},
    {"SELECT x.id FROM u AS x LEFT JOIN u AS y ON true", true},
    {"SELECT y.id FROM u AS x LEFT JOIN u AS y ON true", false},
    {"SELECT y.key AS id FROM u AS x LEFT JOIN u AS y ON true", false},
    {"SELECT s.u.id FROM b LEFT JOIN s.u ON true", false},
    {"SELECT \"X\".id FROM b LEFT JOIN u AS \"X\" ON true", false},
    {"SELECT x.id FROM b LEFT JOIN u TABLESAMPLE system (1) AS \"x\" ON "
     "true",
     false},
    /* without one, the table's name does */
    {"SELECT id FROM u LEFT JOIN b ON true", true},
    {"SELECT * FROM u LEFT JOIN b ON true", true},
    {"SELECT id FROM b LEFT JOIN u ON true", false},
    {"SELECT * FROM b LEFT JOIN u AS x ON true", false},
    {"SELECT * FROM b LEFT JOIN s.u AS x ON true", false},
    {"SELECT * FROM u LEFT JOIN \"U\" ON true", true},
    {"SELECT u.* FROM b LEFT JOIN u ON true", false},
    {"SELECT b.*, u.* FROM u LEFT JOIN b ON true", true},
    {"SELECT b.*, u.* FROM b LEFT JOIN u ON true", false},
    {"SELECT x.* FROM u AS x LEFT JOIN u AS y ON true", true},
    {"SELECT * FROM u AS x LEFT JOIN u AS y ON true", false},
    {"SELECT id FROM u LEFT JOIN b USING (id)", true},
    {"SELECT id FROM b LEFT JOIN u USING (id)", false},
    {"SELECT * FROM u LEFT JOIN LATERAL f(u.x) ON true", true},
    {"SELECT * FROM u LEFT JOIN (SELECT id FROM u) x ON true", false},
    {"SELECT u.* FROM u LEFT JOIN (SELECT id FROM u) x ON true", true},
    {"SELECT x.* FROM u LEFT JOIN (SELECT id FROM u) x ON true", false},
    /* joins with a name */
    {"SELECT j.id FROM (u JOIN b ON true) AS j", true},
    {"SELECT j.id FROM (b LEFT JOIN u ON true) AS j", false},
    {"SELECT id FROM c LEFT JOIN (u JOIN b ON true) AS j ON true", false},
    {"SELECT x.id FROM b LEFT JOIN u USING (id) AS x", false},
    /* subselects and WITH */
    {"SELECT id FROM (SELECT id FROM u) s", true},
    {"SELECT id FROM (SELECT u.id FROM b LEFT JOIN u ON true) s", false},
    {"SELECT u.id FROM u, (SELECT 1 FROM b LEFT JOIN c ON true) s", true},
    {"SELECT s.id FROM b LEFT JOIN u ON true, "
     "LATERAL (SELECT u.id) s",
     false},
    {"SELECT j.id FROM b LEFT JOIN u ON true, "
     "(c JOIN LATERAL (SELECT u.id) s ON true) AS j",
     false},
    {"SELECT s.id FROM b JOIN u ON true, LATERAL (SELECT u.id) s", true},
    {"SELECT u.id FROM u LEFT JOIN LATERAL (SELECT u.id) s ON true", true},
    {"SELECT id FROM (SELECT id FROM u GROUP BY CUBE (id)) s", false},
    {"SELECT id FROM (SELECT id FROM u UNION SELECT NULL) s", false},
    {"WITH u AS (SELECT id FROM v) SELECT id FROM u", true},
    {"WITH w AS (SELECT u.id FROM b LEFT JOIN u ON true) TABLE w", false},
    {"WITH w AS (SELECT id FROM u) SELECT * FROM b LEFT JOIN w ON true", false},
    {"WITH w AS (SELECT u.id FROM b LEFT JOIN u ON true) "
     "SELECT * FROM (TABLE w) s",
     false},
    {"WITH w AS (SELECT u.id FROM b LEFT JOIN u ON true) "
     "SELECT u.id FROM u JOIN w ON true",
     true},
    {"WITH w AS (SELECT id FROM u) SELECT * FROM u LEFT JOIN s.w ON true",
     true},
    {"SELECT id FROM u WHERE EXISTS (SELECT FROM b LEFT JOIN u ON true)", true},
    /* expressions */
    {"SELECT id::int FROM u", true},
    {"SELECT u.id::int AS id FROM b LEFT JOIN u ON true", false},
    {"SELECT COALESCE(id, 1) AS id FROM u", false},
    {"SELECT (u).id FROM u", false},
    {"SELECT key FROM u", false},
    /* grouping sets, set operations */
    {"SELECT id FROM u GROUP BY id", true},
    {"SELECT id FROM u GROUP BY ROLLUP (id)", false},
    {"SELECT id FROM u GROUP BY x, GROUPING SETS ((id), ())", false},
    {"SELECT id FROM u GROUP BY CUBE (id)", false},
    {"SELECT id FROM u UNION ALL SELECT id FROM u", false},
    {"SELECT id, 1x FROM u", false},
};

static void
test_keeps_not_null(void **state)
{
    (void)state;
    for (size_t i = 0; i < LM_COUNT(keeps_not_null_cases); i++) {
        struct lm_query_shape shape = inspect(keeps_not_null_cases[i].sql);

        check_proof(&keeps_not_null_cases[i], &shape,
                    lm_query_keeps_not_null(&shape, "id", "u"));
    }
}

static void
test_keeps_unique(void **state)
{
    static const struct proof cases[] = {
        {"TABLE u", true},
        {"SELECT id, 1, 'x'::text, a + 1, a[1], CASE WHEN a THEN b END FROM u",
         true},
        {"SELECT x.* FROM s.u AS x WHERE f(a) AND b IN (TABLE c)", true},
        {"SELECT id FROM ONLY u", true},
        {"SELECT id FROM u TABLESAMPLE bernoulli (1)", true},
        {"SELECT DISTINCT id FROM u", true},
        {"SELECT DISTINCT ON (a) id FROM u", true},
        {"SELECT id FROM u GROUP BY id", true},
        {"SELECT id, (SELECT count(*) FROM b) FROM u", true},
        {"SELECT id, ARRAY(SELECT f(b.a) FROM b) FROM u", true},
        {"SELECT id, COALESCE(a, b), current_date FROM u", true},
        {"WITH w AS (SELECT 1) SELECT id FROM u", true},
        {"SELECT id FROM u, b", false},
        {"SELECT id FROM u JOIN b ON true", false},
        {"SELECT 1", false},
        {"SELECT id FROM (TABLE u) s", false},
        {"SELECT id FROM f() u(id)", false},
        {"SELECT id FROM XMLTABLE('/r' PASSING x COLUMNS id int) u", false},
        {"WITH u AS (SELECT 1 AS id FROM a, b) SELECT id FROM u", false},
        {"WITH u AS (SELECT 1) SELECT id FROM s.u", true},
        {"SELECT id FROM u UNION ALL SELECT id FROM u", false},
        {"SELECT id, unnest(a) FROM u", false},
        {"SELECT id, lower(a) FROM u", false},
        {"SELECT id, 1 + f(a) FROM u", false},
        {"SELECT id, f(a) IN (TABLE c) FROM u", false},
        {"SELECT id, (f(a)).* FROM u", false},
        {"SELECT id FROM u GROUP BY id, unnest(a)", false},
        {"SELECT DISTINCT ON (id, unnest(a)) id FROM u", false},
        {"SELECT id FROM u WINDOW w AS (PARTITION BY unnest(a))", false},
        {"SELECT id FROM u GROUP BY GROUPING SETS ((id), (id))", false},
        {"SELECT id, 1x FROM u", false},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_query_shape shape = inspect(cases[i].sql);

        check_proof(&cases[i], &shape, lm_query_keeps_unique(&shape));
    }
}

static void
test_from_only(void **state)
{
    static const struct proof cases[] = {
        {"SELECT id FROM ONLY u", true},
        {"SELECT id FROM ONLY (u) AS x", true},
        {"TABLE ONLY u", true},
        {"SELECT id FROM ONLY u TABLESAMPLE system (1)", true},
        {"SELECT id FROM u", false},
        {"SELECT id FROM u *", false},
        {"SELECT id FROM ONLY u, ONLY b", false},
        {"SELECT id FROM (SELECT id FROM ONLY u) s", false},
        {"SELECT id FROM ONLY u UNION SELECT id FROM ONLY u", false},
        {"SELECT 1", false},
        {"SELECT 1x FROM ONLY u", false},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_query_shape shape = inspect(cases[i].sql);

        check_proof(&cases[i], &shape, lm_query_from_only(&shape));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_excludes_null),
        cmocka_unit_test(test_keeps_not_null),
        cmocka_unit_test(test_keeps_unique),
        cmocka_unit_test(test_from_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
