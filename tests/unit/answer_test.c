/* SPDX-License-Identifier: MIT */
/* An answer is what its shape says, or an error that names the statement. */

#include "unit.h"

#include "pg/conn/private.h"

static const char sql[] = "SELECT what FROM a_table";

/* Rows and columns of texts; NULL is NULL. */
static PGresult *
make(int rows, int columns, const char *const *texts)
{
    PGresult *pg = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PGresAttDesc attributes[8] = {{.name = (char *)"c"}};

    for (int i = 0; i < columns; i++)
        attributes[i].name = (char *)"c";
    assert_int_equal(PQsetResultAttrs(pg, columns, attributes), 1);
    for (int i = 0; i < rows * columns; i++) {
        const char *text = texts[i];

        assert_int_equal(PQsetvalue(pg, i / columns, i % columns, (char *)text,
                                    text != NULL ? (int)strlen(text) : -1),
                         1);
    }
    return pg;
}

static bool
check(const char *shape, int rows, int columns, const char *const *texts,
      struct lm_err *err)
{
    PGresult *pg = make(rows, columns, texts);
    bool ok = lm_answer_check(pg, sql, shape, err);

    PQclear(pg);
    return ok;
}

static void
test_a_kind_takes_what_it_names_and_nothing_else(void **state)
{
    static const struct {
        const char *shape;
        const char *good[3];
        const char *bad[6];
    } cases[] = {
        {"1: i",
         {"-9223372036854775808", "0", "42"},
         {"", "4x2", "4 ", "9223372036854775808", "--4", "1.5"}},
        {"1: n", {"0", "42", "9223372036854775807"}, {"-1", "", "x"}},
        {"1: d", {"0", "42", "2147483647"}, {"-1", "2147483648", "0x1"}},
        {"1: o", {"0", "42", "4294967295"}, {"-1", "4294967296", "+1"}},
        {"1: r", {"-1.5", "0", "1e3"}, {"", "1.5x", "NaN", "Infinity", "x"}},
        {"1: b", {"t", "f"}, {"", "true", "T", "1", "tt"}},
        {"1: t", {"", "a", "\n"}, {NULL}},
        {"1: o[]",
         {"{}", "{1}", "{1,2,3}"},
         {"", "{", "{1", "{1,}", "{NULL}", "{1,x}"}},
        {"1: t[]",
         {"{}", "{a,\"b,\\\"\"}", "{\"NULL\"}"},
         {"a", "{a}b", "{a,NULL}", "{\"a}", "{,}", "{{a}}"}},
        {"1: t?[]", {"{NULL,a}", "{}", "{a}"}, {"{", "NULL", ""}},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_err err;
        const char *null = NULL;

        for (int k = 0; k < 3 && cases[i].good[k] != NULL; k++)
            assert_true(check(cases[i].shape, 1, 1, &cases[i].good[k], &err));
        for (int k = 0; k < 6 && cases[i].bad[k] != NULL; k++) {
            assert_false(check(cases[i].shape, 1, 1, &cases[i].bad[k], &err));
            assert_string_equal(err.sqlstate, LM_ANSWER_WRONG);
            assert_string_equal(err.sql, sql);
        }
        assert_false(check(cases[i].shape, 1, 1, &null, &err));
        assert_contains(err.message, "column 1 of row 1 is NULL");
    }
}

static void
test_rows_and_columns_are_counted(void **state)
{
    static const char *const ones[] = {"1", "1", "1", "1", "1", "1"};
    static const struct {
        const char *shape;
        int rows;
        int columns;
        const char *fault; /* NULL: none */
    } cases[] = {
        {"1: i", 1, 1, NULL},
        {"1: i", 0, 1, "it has 0 rows instead of one"},
        {"1: i", 2, 1, "it has 2 rows instead of one"},
        {"?: i", 0, 1, NULL},
        {"?: i", 1, 1, NULL},
        {"?: i", 2, 1, "it has 2 rows instead of at most one"},
        {"+: i", 0, 1, "it has 0 rows instead of at least one"},
        {"+: i", 2, 1, NULL},
        {"*: i", 0, 1, NULL},
        {"*: i i", 3, 2, NULL},
        {"*: i i", 3, 1, "it has 1 column instead of 2"},
        {"*: i", 0, 2, "it has 2 columns instead of 1"},
        {"*:", 1, 1, "it has 1 column instead of 0"},
        {"1: 2i t", 1, 3, NULL},
        {"1: 2i t", 1, 2, "it has 2 columns instead of 3"},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_err err;
        bool ok =
            check(cases[i].shape, cases[i].rows, cases[i].columns, ones, &err);

        assert_int_equal(ok, cases[i].fault == NULL);
        if (cases[i].fault != NULL)
            assert_contains(err.message, cases[i].fault);
    }
}

static void
test_the_fault_is_named_by_row_and_column(void **state)
{
    static const char *const texts[] = {"1", "a", "2", NULL};
    struct lm_err err;

    (void)state;
    assert_false(check("*: i t", 2, 2, texts, &err));
    assert_contains(err.message, "column 2 of row 2 is NULL");
    assert_int_equal(err.kind, LM_ERR_DATABASE);
}

static void
test_a_row_says_whether_the_rest_is_there(void **state)
{
    static const struct {
        const char *texts[3];
        bool is_right;
    } cases[] = {
        {{"t", "1", NULL}, true},  {{"t", "1", "a"}, true},
        {{"f", NULL, NULL}, true}, {{"t", NULL, "a"}, false},
        {{"f", "1", NULL}, false}, {{"f", NULL, "a"}, false},
        {{NULL, "1", "a"}, false}, {{NULL, NULL, NULL}, false},
        {{"", NULL, NULL}, false},
    };
    struct lm_err err;

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        assert_int_equal(check("!: b i t?", 1, 3, cases[i].texts, &err),
                         cases[i].is_right);
    }
    assert_false(check("!: b i t?", 0, 3, NULL, &err));
}

static void
test_a_command_without_rows_is_no_answer(void **state)
{
    PGresult *pg = PQmakeEmptyPGresult(NULL, PGRES_COMMAND_OK);
    struct lm_err err;

    (void)state;
    assert_false(lm_answer_check(pg, sql, "*: i", &err));
    assert_false(lm_answer_is_there(NULL, sql, &err));
    PQclear(pg);
}

static void
test_values_are_read_as_what_they_are(void **state)
{
    static const char *const texts[] = {"-7", "42", "4294967295", "1.5",
                                        "t",  "x",  "{a,b}",      "{1,65536}"};
    static const char shape[] = "1: i? d o r b t t[] o[]";
    struct lm_answer *answer = lm_answer_new(make(1, 8, texts), sql, shape);
    char **list;
    uint32_t *oids;

    (void)state;
    assert_int_equal(lm_answer_rows(answer), 1);
    assert_int_equal(lm_answer_int(answer, 0, 0), -7);
    assert_int_equal(lm_answer_small(answer, 0, 1), 42);
    assert_int_equal(lm_answer_oid(answer, 0, 2), 4294967295);
    assert_true(lm_answer_real(answer, 0, 3) > 1.4);
    assert_true(lm_answer_bool(answer, 0, 4));
    assert_string_equal(lm_answer_text(answer, 0, 5), "x");
    assert_int_equal(lm_answer_texts(answer, 0, 6, &list), 2);
    assert_string_equal(list[1], "b");
    for (int i = 0; i < 2; i++)
        free(list[i]);
    free(list);
    assert_int_equal(lm_answer_oids(answer, 0, 7, &oids), 2);
    assert_int_equal(oids[1], 65536);
    free(oids);
    lm_answer_free(answer);
}

static void
test_what_is_not_there_is_nothing(void **state)
{
    static const char *const texts[] = {NULL, NULL, NULL, NULL, NULL};
    static const int places[][2] = {{0, 0}, {0, -1}, {-1, 0}, {1, 0}, {0, 5}};
    static const char *const shapes[] = {"1: 5i?", "1: 5b?", "1: 5t?",
                                         "1: 5t?[]?"};
    char **list;

    (void)state;
    for (size_t i = 0; i < LM_COUNT(shapes); i++) {
        struct lm_answer *answer =
            lm_answer_new(make(1, 5, texts), sql, shapes[i]);

        for (size_t k = 0; k < LM_COUNT(places); k++) {
            int row = places[k][0];
            int column = places[k][1];

            assert_true(lm_answer_is_null(answer, row, column));
            assert_string_equal(lm_answer_text(answer, row, column), "");
            assert_null(lm_answer_text_or(answer, row, column, NULL));
            assert_null(lm_answer_copy(answer, row, column));
            if (i == 0)
                assert_int_equal(lm_answer_int(answer, row, column), 0);
            if (i == 1)
                assert_false(lm_answer_bool(answer, row, column));
            if (i == 3) {
                assert_int_equal(lm_answer_texts(answer, row, column, &list),
                                 0);
                free(list);
            }
        }
        lm_answer_free(answer);
    }
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_kind_takes_what_it_names_and_nothing_else),
        cmocka_unit_test(test_rows_and_columns_are_counted),
        cmocka_unit_test(test_the_fault_is_named_by_row_and_column),
        cmocka_unit_test(test_a_row_says_whether_the_rest_is_there),
        cmocka_unit_test(test_a_command_without_rows_is_no_answer),
        cmocka_unit_test(test_values_are_read_as_what_they_are),
        cmocka_unit_test(test_what_is_not_there_is_nothing),
    };

    return UNIT_RUN(tests);
}
