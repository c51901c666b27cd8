/* SPDX-License-Identifier: MIT */
/* What reaches stderr, which is a file here. */

#include "unit.h"

#include "base/log.h"
#include "base/record.h"

#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <unistd.h>

static int kept_stderr;
static FILE *file;
static char shown[1 << 20];

static void
capture(void)
{
    file = tmpfile();
    kept_stderr = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
}

/* What was written since. */
static const char *
captured(void)
{
    size_t len;

    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    rewind(file);
    len = fread(shown, 1, sizeof shown - 1, file);
    shown[len] = '\0';
    fclose(file);
    return shown;
}

static void
assert_matches(const char *text, const char *pattern)
{
    regex_t regex;

    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
    if (regexec(&regex, text, 0, NULL, 0) != 0)
        fail_msg("\"%s\" is not like \"%s\"", text, pattern);
    regfree(&regex);
}

static struct lm_err
an_error(void)
{
    struct lm_err err;

    lm_err_set(&err, LM_ERR_DATABASE, "no");
    LM_ERR_COPY(err.sqlstate, "23505");
    LM_ERR_COPY(err.sql, "SELECT\n  ^");
    lm_err_hint(&err, "Say \"yes\".");
    return err;
}

static void
test_plain_lines_begin_with_luamig_and_carets_point_home(void **state)
{
    struct lm_err err = an_error();

    (void)state;
    capture();
    lm_log(LM_LOG_WARNING, "%d", 7);
    lm_log(LM_LOG_DEBUG, "dropped");
    lm_log_err(LM_LOG_ERROR, &err);
    assert_string_equal(captured(), "luamig: warning: 7\n"
                                    "luamig: error: no (SQLSTATE 23505)\n"
                                    "luamig: statement: SELECT\n"
                                    "luamig:              ^\n"
                                    "luamig: hint: Say \"yes\".\n");
}

static void
test_foreign_text_cannot_look_like_a_message(void **state)
{
    static const char *const lines[] = {
        "luamig: row a\n",
        "luamig:   luamig: run 1 done\\x1b[2K\\r\\u202e\n",
        "luamig: warning: x\n",
        "luamig:          luamig: error: y\\xff\n",
    };
    struct lm_buf expected = LM_BUF_INIT;

    (void)state;
    for (size_t i = 0; i < LM_COUNT(lines); i++)
        lm_buf_puts(&expected, lines[i]);
    capture();
    lm_log(LM_LOG_INFO, "row %s", "a\nluamig: run 1 done\x1b[2K\r\xE2\x80\xAE");
    lm_log(LM_LOG_WARNING, "%s", "x\nluamig: error: y\xFF");
    assert_string_equal(captured(), lm_buf_text(&expected));
    lm_buf_release(&expected);
}

static void
test_with_times_each_message_says_when(void **state)
{
    (void)state;
    capture();
    lm_log_set_times(true);
    lm_log(LM_LOG_INFO, "one\ntwo");
    lm_log_set_times(false);
    assert_matches(captured(),
                   "^luamig: 20[0-9-]{8} [0-9:]{8}\\.[0-9]{3}Z one\n"
                   "luamig:  {27}two\n$");
}

static void
test_json_is_one_object_a_line_with_what_is_known_of_an_error(void **state)
{
    struct lm_err err = an_error();
    struct lm_buf fields = LM_BUF_INIT;

    (void)state;
    lm_record_int(&fields, "n", 5);
    capture();
    lm_log_set_format(LM_LOG_JSON);
    lm_log(LM_LOG_INFO, "one\ntwo");
    lm_log_err(LM_LOG_ERROR, &err);
    lm_log_event(LM_LOG_INFO, NULL, &fields);
    lm_log_set_format(LM_LOG_PLAIN);
    lm_buf_release(&fields);
    assert_matches(
        captured(),
        "^\\{\"time\":\"20[0-9-]{8}T[0-9:]{8}\\.[0-9]{3}Z\",\"level\":\"info\","
        "\"message\":\"one\\\\ntwo\"\\}\n"
        "\\{\"time\":\"[^\"]+\",\"level\":\"error\",\"message\":\"no\","
        "\"sqlstate\":\"23505\",\"hint\":\"Say \\\\\"yes\\\\\"\\.\","
        "\"statement\":\"SELECT\\\\n  \\^\"\\}\n"
        "\\{\"time\":\"[^\"]+\",\"level\":\"info\",\"n\":5\\}\n$");
}

static void
test_a_message_for_machines_only_is_not_plain(void **state)
{
    struct lm_buf fields = LM_BUF_INIT;

    (void)state;
    lm_record_int(&fields, "n", 5);
    capture();
    lm_log_event(LM_LOG_INFO, NULL, &fields);
    lm_log_event(LM_LOG_INFO, "both", &fields);
    lm_buf_release(&fields);
    assert_string_equal(captured(), "luamig: both\n");
}

static void *
write_many(void *arg)
{
    struct lm_err err;

    lm_err_set(&err, LM_ERR_FAILED, "%s", (const char *)arg);
    lm_err_detail(&err, "%s", (const char *)arg);
    for (int i = 0; i < 500; i++) {
        lm_log(LM_LOG_INFO, "%s", (const char *)arg);
        lm_log_status((const char *)arg);
        lm_log_err(LM_LOG_ERROR, &err);
    }
    return NULL;
}

/* A message and its detail stand together. */
static void
test_the_lines_of_two_threads_do_not_mix(void **state)
{
    char ours[] = "aaaa";
    char theirs[] = "bbbb";
    pthread_t other;
    const char *at;
    int details = 0;

    (void)state;
    capture();
    pthread_create(&other, NULL, write_many, theirs);
    write_many(ours);
    pthread_join(other, NULL);
    at = captured();
    while ((at = strstr(at, "luamig: error: ")) != NULL) {
        const char *text = at + strlen("luamig: error: ");
        char wanted[64];

        snprintf(wanted, sizeof wanted, "%.4s\nluamig: detail: %.4s\n", text,
                 text);
        assert_memory_equal(text, wanted, strlen(wanted));
        details++;
        at = text;
    }
    assert_int_equal(details, 1000);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_plain_lines_begin_with_luamig_and_carets_point_home),
        cmocka_unit_test(test_foreign_text_cannot_look_like_a_message),
        cmocka_unit_test(test_with_times_each_message_says_when),
        cmocka_unit_test(
            test_json_is_one_object_a_line_with_what_is_known_of_an_error),
        cmocka_unit_test(test_a_message_for_machines_only_is_not_plain),
        cmocka_unit_test(test_the_lines_of_two_threads_do_not_mix),
    };

    return UNIT_RUN(tests);
}
