/* SPDX-License-Identifier: MIT */
/* What is said about a database URL before libpq sees it. */

#include "unit.h"

#include "pg/conn/url.h"

#include <stdio.h>
#include <stdlib.h>

static void
assert_good(const char *url)
{
    struct lm_err err;

    if (!lm_url_check(url, &err))
        fail_msg("\"%s\": %s", url, err.message);
}

/* The error's message and hint; none of them may hold "S3CRET" or its end. */
static void
assert_bad(const char *url, const char *message, const char *hint)
{
    struct lm_err err;

    if (lm_url_check(url, &err))
        fail_msg("\"%s\" is taken", url);
    assert_int_equal(err.kind, LM_ERR_CONNECT);
    assert_contains(err.message, message);
    assert_contains(err.hint, hint);
    assert_null(strstr(err.message, "CRET"));
    assert_null(strstr(err.detail, "CRET"));
    assert_null(strstr(err.hint, "CRET"));
}

static void
test_urls_that_libpq_can_read_are_accepted(void **state)
{
    (void)state;
    assert_good("postgresql://app:S3CRET@db.example.org:5432/shop");
    assert_good("postgres://app@db1,db2:5433/shop?target_session_attrs=any");
    assert_good("postgresql:///shop?host=%2Frun%2Fpg&sslmode=disable");
    assert_good("postgresql://app:a%40b%2Fc%25@db/shop");
    assert_good("postgresql://app:what?now@db/shop?connect_timeout=3");
    assert_good("postgresql://app@[::1]:5432/shop?ssl=true");
    assert_good("postgresql://db/shop?user=app@tenant");
    assert_good("host=db dbname=shop password='S3 CRET'");
    assert_good("dbname=shop");
    assert_good("");
}

static void
test_a_url_given_as_a_name_is_not_shown(void **state)
{
    (void)state;
    assert_bad("dbname=postgres://app:S3CRET@db/shop",
               "name of the database is a URL", "--db");
    assert_bad("host=postgres://app:S3CRET@db/shop",
               "name of the host is a URL", "PGHOST");
    setenv("PGDATABASE", "postgres://app:S3CRET@db/shop", 1);
    assert_bad("host=db", "name of the database is a URL", "PGDATABASE");
    assert_good("host=db dbname=shop");
    unsetenv("PGDATABASE");
}

static void
test_urls_of_other_tools_are_named(void **state)
{
    (void)state;
    assert_bad("jdbc:postgresql://db/shop?user=app&password=S3CRET", "JDBC",
               "postgresql://user@host");
    assert_bad("postgresql+psycopg2://app:S3CRET@db/shop", "SQLAlchemy",
               "Begin the URL with \"postgresql://\"");
    assert_bad("postgresql+asyncpg://app:S3CRET@db/shop", "SQLAlchemy", "");
    assert_bad("ecto://app:S3CRET@db/shop", "Ecto", "postgresql://");
    assert_bad("postgis://app:S3CRET@db/shop", "Django", "postgresql://");
    assert_bad("mysql://app:S3CRET@db/shop", "MySQL", "PostgreSQL");
    assert_bad("sqlite:shop.db", "SQLite", "PostgreSQL");
    assert_bad("S3CRET://db/shop", "begin with", "postgresql://");
}

static void
test_nearly_right_urls_get_a_hint(void **state)
{
    (void)state;
    assert_bad("POSTGRES://app:S3CRET@db/shop", "capital", "small letters");
    assert_bad("Postgresql://app@db/shop?sslmode=require", "capital", "small");
    assert_bad("postgresql:/app:S3CRET@db/shop", "begin", "two slashes");
    assert_bad("postgresql:app:S3CRET@db/shop", "begin", "two slashes");
    assert_bad("postgres//app:S3CRET@db/shop", "begin", "colon");
    assert_bad("\"postgresql://app:S3CRET@db/shop\"", "quotation mark",
               "Remove");
    assert_bad(" postgresql://app:S3CRET@db/shop", "space", "Remove");
    assert_bad("S3CRET", "given as a name", "dbname=");
}

static void
test_each_parameter_of_another_tool_has_its_own_advice(void **state)
{
    static const struct {
        const char *parameter;
        const char *name;
        const char *advice;
    } cases[] = {
        {"schema=S3CRET", "\"schema\" of Prisma", "options=-csearch_path%3D"},
        {"search_path=x", "\"search_path\"", "options=-csearch_path%3D"},
        {"currentSchema=x", "\"currentSchema\" of JDBC", "search_path%3D"},
        {"pool=5", "\"pool\"", "no pool"},
        {"pool_size=5", "\"pool_size\"", "no pool"},
        {"pool_timeout=5", "\"pool_timeout\" of Prisma", "no pool"},
        {"connection_limit=1", "\"connection_limit\" of Prisma", "no pool"},
        {"pgbouncer=true", "\"pgbouncer\" of Prisma", "recognises a pooler"},
        {"statement_cache_size=0", "\"statement_cache_size\"", "prepared"},
        {"prepared_statements=false", "\"prepared_statements\"", "prepared"},
        {"ssl=false", "\"ssl\"", "sslmode="},
        {"ssl=trueS3CRET", "\"ssl\"", "sslmode="},
        {"sslaccept=strict", "\"sslaccept\" of Prisma", "verify-full"},
        {"encoding=utf8", "\"encoding\"", "UTF-8"},
        {"adapter=postgresql", "\"adapter\" of Rails", "Remove it"},
        {"timeout=5000", "\"timeout\"", "connect_timeout=SECONDS"},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        char url[200];

        snprintf(url, sizeof url,
                 "postgresql://app:S3CRET@db/shop?sslmode=require&%s",
                 cases[i].parameter);
        assert_bad(url, cases[i].name, cases[i].advice);
    }
}

static void
test_an_unknown_parameter_is_compared_and_not_repeated(void **state)
{
    (void)state;
    assert_bad("postgresql://db/shop?sslmod=require", "does not know",
               "\"sslmode\"");
    assert_bad("postgresql://db/shop?S3CRETpart=1", "does not know",
               "libpq's parameters");
    assert_bad("postgresql://app:1/b?S3CRET=x@db/shop?y=z", "does not know",
               "%2F");
}

static void
test_characters_that_must_be_escaped_are_noticed(void **state)
{
    (void)state;
    assert_bad("postgresql://app:my@S3CRET@db/shop", "escaped", "%40");
    assert_bad("postgresql://ap@p:S3CRET@db/shop", "escaped", "%40");
    assert_bad("postgresql://app:my/S3CRET@db/shop", "escaped", "%2F");
    assert_bad("postgresql://app:50%S3CRET@db/shop", "wrong escape", "%25");
    assert_bad("postgresql://app:S3CRET%2@db/shop", "wrong escape", "%25");
    assert_bad("postgresql://app:S3CRET%00@db/shop", "wrong escape", "%25");
    assert_bad("postgresql://app:S3CRET/shop", "port", "needs a host");
    assert_bad("postgresql://app:S3CRET@[::1/shop", "libpq cannot read", "");
    assert_bad("host=db password=my S3CRET", "libpq cannot read",
               "single quotes");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls_that_libpq_can_read_are_accepted),
        cmocka_unit_test(test_a_url_given_as_a_name_is_not_shown),
        cmocka_unit_test(test_urls_of_other_tools_are_named),
        cmocka_unit_test(test_nearly_right_urls_get_a_hint),
        cmocka_unit_test(
            test_each_parameter_of_another_tool_has_its_own_advice),
        cmocka_unit_test(
            test_an_unknown_parameter_is_compared_and_not_repeated),
        cmocka_unit_test(test_characters_that_must_be_escaped_are_noticed),
    };

    return UNIT_RUN(tests);
}
