/* SPDX-License-Identifier: MIT */
/* Scripts as the engine sees them: loaded, described, called. */

#include "unit.h"

#include "base/aside.h"
#include "core/repo/repo.h"
#include "script/script.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/luamig-script-XXXXXX";
static char path[64];

static int
set_up(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/s.lua", dir);
    return 0;
}

static int
tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

static void
write_file(const char *name, const char *source)
{
    FILE *file = fopen(name, "w");

    assert_non_null(file);
    assert_true(fputs(source, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void
write_script(const char *source)
{
    write_file(path, source);
}

static bool
load_with(const char *source, const char *const *args, int arg_count,
          struct lm_script **out, struct lm_err *err)
{
    struct lm_script_options options = {.args = args,
                                        .arg_count = arg_count,
                                        .batch_size = -1,
                                        .target_ms = -1,
                                        .throttle_ms = -1};

    write_script(source);
    return lm_script_load(out, path, &options, err);
}

static struct lm_script *
load(const char *source)
{
    struct lm_script *script;
    struct lm_err err;

    if (!load_with(source, NULL, 0, &script, &err))
        fail_msg("%s", err.message);
    return script;
}

static void
assert_text(const char *text, const char *expected)
{
    assert_non_null(text);
    assert_string_equal(text, expected);
}

#define PAGED \
    "base_query = 'SELECT id FROM t', migrate = function(rows, repo, run) end"

static void
test_a_short_script_gets_the_defaults(void **state)
{
    struct lm_script *script = load("return { " PAGED " }");
    const struct lm_migration *m = lm_script_migration(script);

    (void)state;
    assert_text(m->name, path); /* it is in no project */
    assert_text(m->origin.path, path);
    assert_null(m->origin.root);
    assert_text(m->source, "return { " PAGED " }");
    assert_text(m->args_json, "{}");
    assert_false(m->one_shot);
    assert_text(m->base_query, "SELECT id FROM t");
    assert_int_equal(m->param_count, 0);
    assert_int_equal(m->key_count, 1);
    assert_text(m->key[0], "id");
    assert_null(m->start_after);
    assert_false(m->follow_new);
    assert_false(m->assume_unique);
    assert_int_equal(m->batch_size, 1000);
    assert_int_equal(m->throttle_ms, 100);
    assert_int_equal(m->workers, 1);
    assert_text(m->isolation, "repeatable read");
    assert_null(m->timezone);
    assert_int_equal(m->statement_timeout_ms, 30000);
    assert_int_equal(m->lock_timeout_ms, 1000);
    assert_int_equal(m->retries, 5);
    assert_false(m->durable_batches);
    assert_false(m->repeatable);
    assert_false(m->ops->has_throttle);
    assert_false(m->ops->has(m->self, LM_CALL_RUN));
    assert_false(m->ops->has(m->self, LM_CALL_ON_START));
    assert_false(m->ops->has(m->self, LM_CALL_ON_COMPLETE));
    lm_script_free(script);
}

static void
test_a_long_script_says_everything(void **state)
{
    struct lm_script *script = load(
        "local luamig = require 'luamig'\n"
        "return { name = 'long', config = { batch_size = 7, throttle_ms = 0,"
        " workers = 64,"
        " key = { 'a', 'b' }, start_after = { 5, 'x' }, follow_new = true,"
        " isolation = 'serializable', retries = 2, timezone = 'UTC',"
        " statement_timeout_ms = 10, lock_timeout_ms = 20,"
        " durable_batches = true, repeatable = true, assume_unique = true },"
        " base_query = function() return 'SELECT', 1, nil, 'y', 0.5, true,"
        " luamig.NULL end,"
        " migrate = print, throttle = print, on_start = print,"
        " on_complete = print }");
    const struct lm_migration *m = lm_script_migration(script);

    (void)state;
    assert_text(m->name, "long");
    assert_int_equal(m->batch_size, 7);
    assert_int_equal(m->throttle_ms, 0);
    assert_int_equal(m->workers, 64);
    assert_int_equal(m->key_count, 2);
    assert_text(m->key[0], "a");
    assert_text(m->key[1], "b");
    assert_text(m->start_after[0], "5");
    assert_text(m->start_after[1], "x");
    assert_int_equal(m->param_count, 6);
    assert_text(m->params[0], "1");
    assert_null(m->params[1]);
    assert_text(m->params[2], "y");
    assert_text(m->params[3], "0.5");
    assert_text(m->params[4], "t");
    assert_null(m->params[5]);
    assert_true(m->follow_new);
    assert_true(m->durable_batches);
    assert_true(m->repeatable);
    assert_true(m->assume_unique);
    assert_text(m->isolation, "serializable");
    assert_text(m->timezone, "UTC");
    assert_int_equal(m->retries, 2);
    assert_int_equal(m->statement_timeout_ms, 10);
    assert_int_equal(m->lock_timeout_ms, 20);
    assert_true(m->ops->has_throttle);
    assert_false(m->ops->has(m->self, LM_CALL_RUN));
    assert_true(m->ops->has(m->self, LM_CALL_ON_START));
    assert_true(m->ops->has(m->self, LM_CALL_ON_COMPLETE));
    lm_script_free(script);
}

static void
test_a_one_shot_has_run_alone(void **state)
{
    struct lm_script *script = load("return { run = function() end }");
    const struct lm_migration *m = lm_script_migration(script);

    (void)state;
    assert_true(m->one_shot);
    assert_true(m->ops->has(m->self, LM_CALL_RUN));
    assert_false(m->ops->has(m->self, LM_CALL_ON_START));
    lm_script_free(script);
}

#define WITH_ARGS                                                        \
    "return { " PAGED ", args = { tenant = { type = 'integer',"          \
    " required = true, desc = 'whose rows' }, mode = { type = 'string'," \
    " default = 'fast' } } }"

static void
test_arguments_are_typed_and_take_part_in_the_identity(void **state)
{
    static const char *const args[] = {"tenant=5", "mode=a=b"};
    struct lm_script *script;
    struct lm_err err;

    (void)state;
    assert_true(load_with(WITH_ARGS, args, 2, &script, &err));
    assert_text(lm_script_migration(script)->args_json,
                "{\"mode\":\"a=b\",\"tenant\":5}");
    lm_script_free(script);
    assert_true(load_with(WITH_ARGS, args, 1, &script, &err));
    assert_text(lm_script_migration(script)->args_json,
                "{\"mode\":\"fast\",\"tenant\":5}");
    lm_script_free(script);
}

static void
test_wrong_arguments_are_errors_of_usage(void **state)
{
    static const struct {
        const char *args[3];
        int count;
        const char *message;
    } cases[] = {
        {{"tenant"}, 1, "--arg takes NAME=VALUE, not \"tenant\""},
        {{"=5"}, 1, "--arg takes NAME=VALUE, not \"=5\""},
        {{""}, 1, "--arg takes NAME=VALUE, not \"\""},
        {{"tenant=5", "mode=x", "tenant=5"},
         3,
         "argument \"tenant\" is given twice"},
        {{"tenant=5", "tenant="}, 2, "argument \"tenant\" is given twice"},
        {{"tenant=x"}, 1, "argument \"tenant\" must be an integer"},
        {{"mode=x"}, 1, "tenant"},
        {{"tenant=5", "tenan=5"}, 2, "unknown argument \"tenan\""},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_script *script;
        struct lm_err err;

        assert_false(
            load_with(WITH_ARGS, cases[i].args, cases[i].count, &script, &err));
        assert_contains(err.message, cases[i].message);
        assert_int_equal(err.kind, LM_ERR_USAGE);
    }
}

static void
test_auto_is_no_number_of_workers(void **state)
{
    struct lm_script *script =
        load("return { " PAGED ", config = { workers = 'auto' } }");

    (void)state;
    assert_int_equal(lm_script_migration(script)->workers, 0);
    lm_script_free(script);
}

static void
test_options_win_over_the_config_and_are_checked(void **state)
{
    struct lm_script_options options = {
        .batch_size = 33, .target_ms = 44, .throttle_ms = 0};
    struct lm_script *script;
    struct lm_err err;

    (void)state;
    write_script("return { " PAGED ", config = { batch_size = 7,"
                 " throttle_ms = 9 } }");
    assert_true(lm_script_load(&script, path, &options, &err));
    assert_int_equal(lm_script_migration(script)->batch_size, 33);
    assert_int_equal(lm_script_migration(script)->target_ms, 44);
    assert_int_equal(lm_script_migration(script)->throttle_ms, 0);
    lm_script_free(script);
    options.batch_size = 0;
    assert_false(lm_script_load(&script, path, &options, &err));
    assert_int_equal(err.kind, LM_ERR_USAGE);
    assert_contains(err.message, "--batch-size");
}

static void
test_a_wrong_script_is_an_error_of_the_script(void **state)
{
    static const struct {
        const char *source;
        const char *message;
    } cases[] = {
        {"return {", "s.lua:1: "},
        {"", "must return a table, it returned nothing"},
        {"return 5", "must return a table"},
        {"error 'own'", "s.lua:1: own"},
        {"return { " PAGED ", migrat = 1 }", "unknown field \"migrat\""},
        {"return { base_query = 5, migrate = print }", "\"base_query\""},
        {"x = 1", "assignment to global \"x\""},
        {"return { base_query = function() return 'SELECT', '\\xff' end,"
         " migrate = print }",
         "base_query, value 1: a string that is not valid UTF-8"},
        {"\x1bLua", "s.lua"},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_script *script;
        struct lm_err err;

        if (load_with(cases[i].source, NULL, 0, &script, &err))
            fail_msg("loaded: %s", cases[i].source);
        assert_contains(err.message, cases[i].message);
        assert_int_equal(err.kind, LM_ERR_SCRIPT);
    }
}

static void
test_a_script_that_is_not_there_is_named(void **state)
{
    struct lm_script_options options = {
        .batch_size = -1, .target_ms = -1, .throttle_ms = -1};
    struct lm_script *script;
    struct lm_err err;

    (void)state;
    assert_false(
        lm_script_load(&script, "/tmp/luamig/none.lua", &options, &err));
    assert_int_equal(err.kind, LM_ERR_SCRIPT);
    assert_contains(err.message, "/tmp/luamig/none.lua");
    lm_script_free(NULL);
}

static void
test_describing_needs_no_arguments(void **state)
{
    struct lm_buf out = LM_BUF_INIT;
    struct lm_err err;

    (void)state;
    write_script(WITH_ARGS);
    assert_true(lm_script_describe(path, &out, &err));
    assert_contains(lm_buf_text(&out), "--arg mode=string (default: fast)\n");
    assert_contains(lm_buf_text(&out),
                    "--arg tenant=integer (required)\n        whose rows\n");
    lm_buf_clear(&out);
    write_script("return { " PAGED " }");
    assert_true(lm_script_describe(path, &out, &err));
    assert_buf(&out, "");
    write_script("return {}");
    assert_false(lm_script_describe(path, &out, &err));
    assert_int_equal(err.kind, LM_ERR_SCRIPT);
    lm_buf_release(&out);
}

/* Loads what was loaded first, though the file says
 * something else by now. */
static void *
load_again(void *self)
{
    struct lm_script *script = self;
    const struct lm_migration *m = lm_script_migration(script);
    struct lm_migration copy;
    struct lm_err err;
    bool ok = m->ops->load_again(m->self, &copy, &err);
    bool same = ok && copy.self != m->self && copy.source == m->source &&
                strcmp(copy.args_json, "{\"n\":5}") == 0 &&
                copy.ops->has(copy.self, LM_CALL_ON_START);

    if (ok)
        copy.ops->release_copy(&copy);
    return same ? NULL : self;
}

static void
test_a_script_is_loaded_again_from_what_it_was(void **state)
{
    static const char *const args[] = {"n=5"};
    struct lm_script *script;
    pthread_t threads[4];
    char module[sizeof path];
    struct lm_err err;

    (void)state;
    snprintf(module, sizeof module, "%s/helper.lua", dir);
    write_file(module, "return { start = print }");
    assert_true(load_with("return { " PAGED
                          ", on_start = require 'helper'.start,"
                          " args = { n = { type = 'integer' } } }",
                          args, 1, &script, &err));
    write_file(module, "error 'another module'");
    write_script("error 'another script'");
    for (size_t i = 0; i < LM_COUNT(threads); i++)
        assert_true(lm_aside_start(&threads[i], load_again, script));
    for (size_t i = 0; i < LM_COUNT(threads); i++) {
        void *failed;

        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    unlink(module);
    lm_script_free(script);
}

/* -- calling ---------------------------------------------------------- */

static const struct lm_run_info info = {
    .id = 42, .script = "s.lua", .batch = 3, .worker = 4, .attempt = 2};

static bool
call(struct lm_script *script, enum lm_callback callback, struct lm_err *err)
{
    const struct lm_migration *m = lm_script_migration(script);
    struct lm_repo *repo = lm_repo_new(&(struct lm_repo_options){0});
    bool ok;

    ok = m->ops->call(m->self, callback, repo, &info, err);
    lm_repo_free(repo);
    return ok;
}

static void
test_callbacks_get_a_repo_and_the_run(void **state)
{
    struct lm_script *script =
        load("return { run = function(repo, run)\n"
             " assert(type(repo) == 'userdata' and run.id == 42)\n"
             " assert(run.script == 's.lua' and run.batch == 3)\n"
             " assert(run.worker == 4)\n"
             " assert(run.attempt == 2 and run.dry_run == false)\n"
             " assert(next(run.args) == nil)\n"
             " local ok, why = pcall(function() return run.atempt end)\n"
             " assert(not ok and why:find 'attempt', why)\n"
             "end, on_complete = function() error 'at the end' end }");
    struct lm_err err;

    (void)state;
    if (!call(script, LM_CALL_RUN, &err))
        fail_msg("%s", err.message);
    assert_false(call(script, LM_CALL_ON_COMPLETE, &err));
    assert_int_equal(err.kind, LM_ERR_FAILED);
    assert_contains(err.message, "s.lua:9: at the end");
    assert_contains(err.traceback, "s.lua:9");
    lm_script_free(script);
}

static void
test_a_repo_dies_with_its_callback(void **state)
{
    struct lm_script *script =
        load("local kept\n"
             "return { run = function(repo) kept = repo end,\n"
             " on_start = function(repo) kept = repo error 'x' end,\n"
             " on_complete = function() kept:query 'SELECT 1' end }");
    static const enum lm_callback first[] = {LM_CALL_RUN, LM_CALL_ON_START};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(first); i++) {
        struct lm_err err;

        assert_int_equal(call(script, first[i], &err), i == 0);
        assert_false(call(script, LM_CALL_ON_COMPLETE, &err));
        assert_contains(err.message, "used after its function has returned");
        assert_contains(err.where, "s.lua:4");
    }
    lm_script_free(script);
}

/* Nothing may be cut off a statement: what is cut may be its WHERE. */
static void
test_text_with_a_nul_byte_is_refused(void **state)
{
    static const char *const calls[] = {
        "repo:query('SELECT 1\\0')",
        "repo:one('SELECT 1\\0')",
        "repo:scalar('SELECT 1\\0')",
        "repo:execute('DELETE FROM t\\0 WHERE id = 1')",
        "repo:execute(require 'luamig'.ALL, 'DELETE FROM t\\0')",
        "repo:update('t\\0', { id = 1 }, { a = 1 })",
        "repo:update('t', { id = 1 }, { ['a\\0'] = 1 })",
        "repo:update('t', { ['id\\0'] = 1 }, { a = 1 })",
        "repo:delete('t\\0', { id = 1 })",
        "repo:delete('t', { ['id\\0'] = 1 })",
        "repo:insert('t\\0', { id = 1 })",
        "repo:insert('t', {}, {on_conflict={columns={'a\\0'},update={'b'}}})",
        "repo:insert_all('t\\0', { { id = 1 } })",
        "repo:update_all('t\\0', { a = 1 }, 'b')",
        "repo:delete_all('t\\0', 'b')",
        "repo:delete_all('t', 'true \\0 AND id = 1')",
        "repo:delete_all('t', { ['id\\0'] = 1 })",
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(calls); i++) {
        struct lm_buf source = LM_BUF_INIT;
        struct lm_script *script;
        struct lm_err err;

        lm_buf_printf(&source, "return { run = function(repo) %s end }",
                      calls[i]);
        script = load(lm_buf_text(&source));
        lm_buf_release(&source);
        assert_false(call(script, LM_CALL_RUN, &err));
        assert_contains(err.message, "must not hold a NUL byte");
        lm_script_free(script);
    }
}

static void
test_what_throttle_returns_is_how_long_to_wait(void **state)
{
    static const struct {
        const char *returned;
        int64_t wait_ms;
        bool ask_again;
        const char *message; /* NULL: fine */
    } cases[] = {
        {"nil", 0, false, NULL},
        {"false", 0, false, NULL},
        {"true", 1000, true, NULL},
        {"0", 0, false, NULL},
        {"250", 250, false, NULL},
        {"1.5", 1, false, NULL},
        {"-1", 0, false, "throttle must return"},
        {"0/0", 0, false, "throttle must return"},
        {"math.huge", 0, false, "throttle must return"},
        {"'5'", 0, false, "throttle must return"},
        {"{}", 0, false, "throttle must return"},
        {"error 'x'", 0, false, "x"},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_buf source = LM_BUF_INIT;
        const struct lm_migration *m;
        struct lm_script *script;
        struct lm_repo *repo = lm_repo_new(&(struct lm_repo_options){0});
        struct lm_err err;
        int64_t wait_ms = -5;
        bool ask_again = !cases[i].ask_again;
        bool ok;

        lm_buf_printf(&source,
                      "return { " PAGED ", throttle = function(repo, run)"
                      " return %s end }",
                      cases[i].returned);
        script = load(lm_buf_text(&source));
        lm_buf_release(&source);
        m = lm_script_migration(script);
        ok = m->ops->throttle(m->self, repo, &info, &wait_ms, &ask_again, &err);
        lm_repo_free(repo);
        assert_int_equal(ok, cases[i].message == NULL);
        if (ok) {
            assert_int_equal(wait_ms, cases[i].wait_ms);
            assert_int_equal(ask_again, cases[i].ask_again);
        } else if (cases[i].message != NULL) {
            assert_contains(err.message, cases[i].message);
        }
        lm_script_free(script);
    }
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_short_script_gets_the_defaults),
        cmocka_unit_test(test_a_long_script_says_everything),
        cmocka_unit_test(test_a_one_shot_has_run_alone),
        cmocka_unit_test(
            test_arguments_are_typed_and_take_part_in_the_identity),
        cmocka_unit_test(test_wrong_arguments_are_errors_of_usage),
        cmocka_unit_test(test_auto_is_no_number_of_workers),
        cmocka_unit_test(test_options_win_over_the_config_and_are_checked),
        cmocka_unit_test(test_a_wrong_script_is_an_error_of_the_script),
        cmocka_unit_test(test_a_script_that_is_not_there_is_named),
        cmocka_unit_test(test_describing_needs_no_arguments),
        cmocka_unit_test(test_a_script_is_loaded_again_from_what_it_was),
        cmocka_unit_test(test_callbacks_get_a_repo_and_the_run),
        cmocka_unit_test(test_a_repo_dies_with_its_callback),
        cmocka_unit_test(test_text_with_a_nul_byte_is_refused),
        cmocka_unit_test(test_what_throttle_returns_is_how_long_to_wait),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
