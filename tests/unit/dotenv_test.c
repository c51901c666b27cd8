/* SPDX-License-Identifier: MIT */
/* What a .env file means, and what becomes of the environment. */

#include "unit.h"

#include "base/dotenv.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void
note(void *arg, const char *name, const char *value)
{
    lm_buf_printf(arg, "%s=[%s] ", name, value);
}

static void
assert_parsed(const char *text, const char *expected)
{
    struct lm_buf shown = LM_BUF_INIT;
    struct lm_err err;

    if (!lm_dotenv_parse(text, strlen(text), ".env", note, &shown, &err))
        fail_msg("%s", err.message);
    assert_buf(&shown, expected);
    lm_buf_release(&shown);
}

static void
assert_refused(const char *text, size_t len, const char *message)
{
    struct lm_buf shown = LM_BUF_INIT;
    struct lm_err err;

    assert_false(lm_dotenv_parse(text, len, ".env", note, &shown, &err));
    assert_int_equal(err.kind, LM_ERR_SCRIPT);
    assert_string_equal(err.message, message);
    assert_null(strstr(err.hint, "s3cret"));
    lm_buf_release(&shown);
}
#define assert_broken(text, message) \
    assert_refused((text), sizeof(text) - 1, (message))

static void
test_lines_are_names_and_values(void **state)
{
    (void)state;
    assert_parsed("", "");
    assert_parsed("A=1", "A=[1] ");
    assert_parsed("A=1\nB=two words \n\n  C = 3\t\n", "A=[1] B=[two words] "
                                                      "C=[3] ");
    assert_parsed("A=\nB=''", "A=[] B=[] ");
    assert_parsed("export A=1\nexport\tB=2\nexport=3\nexporter=4",
                  "A=[1] B=[2] export=[3] exporter=[4] ");
    assert_parsed("A=b=c&d", "A=[b=c&d] ");
    assert_parsed("\xEF\xBB\xBF"
                  "A=1",
                  "A=[1] ");
}

static void
test_comments_begin_a_line_or_follow_a_blank(void **state)
{
    (void)state;
    assert_parsed("# A=1\n  # B=2\nC=3 # three\nD=a#b\nE=# none\nF='x' # y",
                  "C=[3] D=[a#b] E=[# none] F=[x] ");
}

static void
test_quotes_keep_what_is_between(void **state)
{
    (void)state;
    assert_parsed("A='a \"b\" \\n #$C'", "A=[a \"b\" \\n #$C] ");
    assert_parsed("A=\"a 'b' \\\"c\\\" \\\\ \\$D $E \\x\"",
                  "A=[a 'b' \"c\" \\ $D $E \\x] ");
    assert_parsed("A=\"x\\ty\\nz\"", "A=[x\ty\nz] ");
    assert_parsed("A=\"one\ntwo\"\nB=3", "A=[one\ntwo] B=[3] ");
    assert_parsed("A=it's", "A=[it's] ");
}

static void
test_lines_may_end_as_on_windows(void **state)
{
    (void)state;
    assert_parsed("A=1\r\n\r\nB='2'\r\nC=\"3\r\n4\"\r\nD=5\r",
                  "A=[1] B=[2] C=[3\n4] D=[5] ");
}

static void
test_a_broken_line_is_named_and_not_shown(void **state)
{
    (void)state;
    assert_broken("A=1\ns3cret", ".env:2: not of the form NAME=VALUE");
    assert_broken("A B=s3cret", ".env:1: not of the form NAME=VALUE");
    assert_broken("=s3cret", ".env:1: not of the form NAME=VALUE");
    assert_broken("1A=s3cret", ".env:1: not of the form NAME=VALUE");
    assert_broken("export A", ".env:1: not of the form NAME=VALUE");
    assert_broken("\n\nA='s3cret\nB=1", ".env:3: a quotation mark is not "
                                        "closed");
    assert_broken("A=\"x\n\"s3cret\n", ".env:2: something follows the closing "
                                       "quotation mark");
    assert_broken("A=1\nB=s3\0cret", ".env:2: there is a NUL byte");
}

static void
test_the_environment_outweighs_the_file(void **state)
{
    char path[] = "/tmp/luamig-dotenv-XXXXXX";
    int fd = mkstemp(path);
    struct lm_dotenv env;
    struct lm_err err;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(dprintf(fd, "LM_TEST_A=file\nLM_TEST_B=old\n"
                                 "LM_TEST_B=new\n"),
                     43);
    close(fd);
    setenv("LM_TEST_A", "here", 1);
    unsetenv("LM_TEST_B");
    assert_true(lm_dotenv_load(&env, path, &err));

    assert_string_equal(getenv("LM_TEST_A"), "here");
    assert_string_equal(getenv("LM_TEST_B"), "new");
    assert_false(lm_dotenv_has_set(&env, "LM_TEST_A"));
    assert_true(lm_dotenv_has_set(&env, "LM_TEST_B"));
    lm_dotenv_release(&env);
    unlink(path);
}

static void
test_no_file_is_no_error(void **state)
{
    struct lm_dotenv env;
    struct lm_err err;

    (void)state;
    assert_true(lm_dotenv_load(&env, "/nonexistent/.env", &err));
    assert_true(lm_dotenv_load(&env, "/tmp", &err)); /* a folder */
    assert_int_equal(env.count, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_names_and_values),
        cmocka_unit_test(test_comments_begin_a_line_or_follow_a_blank),
        cmocka_unit_test(test_quotes_keep_what_is_between),
        cmocka_unit_test(test_lines_may_end_as_on_windows),
        cmocka_unit_test(test_a_broken_line_is_named_and_not_shown),
        cmocka_unit_test(test_the_environment_outweighs_the_file),
        cmocka_unit_test(test_no_file_is_no_error),
    };

    return UNIT_RUN(tests);
}
