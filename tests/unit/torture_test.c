/* SPDX-License-Identifier: MIT */
/*
 * Lua's allocator fails at every request in turn while a script is loaded, and
 * while a page is handed to it. Whatever happens must be a success or a clean
 * error; the sanitizers see leaks and bad accesses.
 *
 * The linker routes lua_newstate and the readers of results here, so that the
 * allocator can be wrapped, and a page made without a server.
 */

#include "unit.h"

#include "core/page/page.h"
#include "core/repo/private.h"
#include "pg/conn/types.h"
#include "script/script.h"

#include <lua.h>
#include <stdio.h>
#include <unistd.h>

/* -- the allocator ---------------------------------------------------- */

enum mode {
    CALM,
    ONE,      /* fails once; Lua collects garbage and asks again */
    TWICE,    /* fails the second time too */
    FROM_THEN /* fails from then on */
};

static enum mode mode;
static long requests; /* that would grow something */
static long fail_at;
static lua_Alloc vm_allocate;
static void *vm_arg;
static lua_State *vm_state;

static bool
must_fail(void)
{
    requests++;
    switch (mode) {
    case ONE:
        return requests == fail_at;
    case TWICE:
        return requests == fail_at || requests == fail_at + 1;
    case FROM_THEN:
        return requests >= fail_at;
    case CALM:
        break;
    }
    return false;
}

static void *
allocate(void *arg, void *ptr, size_t old_size, size_t size)
{
    (void)arg;
    if (size > (ptr != NULL ? old_size : 0) && must_fail())
        return NULL;
    return vm_allocate(vm_arg, ptr, old_size, size);
}

static void
torment(enum mode new_mode, long at)
{
    mode = new_mode;
    fail_at = at;
    requests = 0;
}

/* The linker's --wrap chooses these names. */
/* NOLINTBEGIN(bugprone-reserved-identifier) */
lua_State *__real_lua_newstate(lua_Alloc f, void *arg);
lua_State *__wrap_lua_newstate(lua_Alloc f, void *arg);
const char *__wrap_lm_result_text(const struct lm_result *self, int row,
                                  int column);
size_t __wrap_lm_result_length(const struct lm_result *self, int row,
                               int column);
const char *__wrap_lm_result_column_name(const struct lm_result *self,
                                         int column);
uint32_t __wrap_lm_result_column_type(const struct lm_result *self, int column);

lua_State *
__wrap_lua_newstate(lua_Alloc f, void *arg)
{
    vm_allocate = f;
    vm_arg = arg;
    vm_state = __real_lua_newstate(allocate, NULL);
    return vm_state;
}

/* -- a page ----------------------------------------------------------- */

enum { INT4_ARRAY = 1007 };

static const struct {
    const char *name;
    uint32_t type;
} columns[] = {{"id", LM_TYPE_INT8},      {"email", LM_TYPE_TEXT},
               {"score", LM_TYPE_FLOAT8}, {"raw", LM_TYPE_BYTEA},
               {"gone", LM_TYPE_TEXT},    {"price", LM_TYPE_NUMERIC},
               {"doc", LM_TYPE_JSONB},    {"list", INT4_ARRAY}};
static const char *const rows[][LM_COUNT(columns)] = {
    {"1", "a@example.org", "0.5", "\\x00ff", NULL, "1.50",
     "{\"a\\n\": [1, 2.5, 1e400, null], \"o\": {}}", "{1,NULL}"},
    {"2", "b@example.org", "NaN", "\\x", NULL, "NaN", "null", "{}"},
    {"3", NULL, "-Infinity", NULL, NULL, NULL, NULL, "{{7}}"}};

const char *
__wrap_lm_result_text(const struct lm_result *self, int row, int column)
{
    (void)self;
    return rows[row][column];
}

size_t
__wrap_lm_result_length(const struct lm_result *self, int row, int column)
{
    (void)self;
    return rows[row][column] != NULL ? strlen(rows[row][column]) : 0;
}

const char *
__wrap_lm_result_column_name(const struct lm_result *self, int column)
{
    (void)self;
    return columns[column].name;
}

uint32_t
__wrap_lm_result_column_type(const struct lm_result *self, int column)
{
    (void)self;
    return columns[column].type;
}
/* NOLINTEND(bugprone-reserved-identifier) */

/* -- the script ------------------------------------------------------- */

static char path[] = "/tmp/luamig-torture-XXXXXX";
static const char source[] =
    "local luamig = require 'luamig'\n"
    "return { config = { key = { 'id', 'email' }, start_after = { 1, 'x' } },\n"
    " args = { tenant = { type = 'integer', default = 3, desc = 'd' } },\n"
    " base_query = function(args)\n"
    "  return 'SELECT id, email FROM t', args.tenant, luamig.NULL, 'x'\n"
    " end,\n"
    " on_start = function() error { code = 5 } end,\n"
    " migrate = function(rows, repo, run)\n"
    "  assert(#rows == 3 and rows.columns[5] == 'gone')\n"
    "  assert(rows[1].id == 1 and rows[1].raw == '\\0\\xff')\n"
    "  assert(rows[2].score ~= rows[2].score and rows[2].raw == '')\n"
    "  assert(rows[3].email == nil and rows[3].score == -math.huge)\n"
    "  assert(rows[3].raw == nil and run.batch == 1)\n"
    "  assert(rows[1].price + 1 == luamig.decimal '2.5')\n"
    "  assert(rows[1].doc['a\\n'][4] == luamig.json.null)\n"
    "  assert(rows[1].list[2] == luamig.NULL and rows[3].list[1][1] == 7)\n"
    "  assert(not pcall(function() return rows[1].emial end))\n"
    " end }\n";

static int
set_up(void **state)
{
    int fd = mkstemp(path);
    ssize_t len = (ssize_t)sizeof source - 1;

    (void)state;
    return fd < 0 || write(fd, source, sizeof source - 1) != len || close(fd);
}

static int
tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

static bool
load(struct lm_script **script, struct lm_err *err)
{
    static const char *const args[] = {"tenant=7"};
    static const struct lm_script_options options = {.args = args,
                                                     .arg_count = 1,
                                                     .batch_size = 10,
                                                     .target_ms = -1,
                                                     .throttle_ms = -1};

    return lm_script_load(script, path, &options, err);
}

/* There is no server to ask. */
static void
know_arrays(struct lm_types *types)
{
    struct lm_type *type = lm_calloc(1, sizeof *type);

    type->oid = type->base = INT4_ARRAY;
    type->element = type->element_base = LM_TYPE_INT4;
    type->delimiter = ',';
    types->known = lm_calloc(1, sizeof(struct lm_type *));
    types->known[0] = type;
    types->count = 1;
}

static bool
migrate(struct lm_script *script, struct lm_err *err)
{
    static const struct lm_run_info info = {
        .id = 1, .script = "s", .batch = 1, .worker = 1, .attempt = 1};
    const struct lm_migration *m = lm_script_migration(script);
    struct lm_page page = {NULL, (int)LM_COUNT(rows), (int)LM_COUNT(columns),
                           false, 0};
    struct lm_repo *repo = lm_repo_new(&(struct lm_repo_options){0});
    bool ok;

    know_arrays(&repo->types);
    ok = m->ops->migrate(m->self, &page, NULL, repo, &info, err);
    lm_repo_free(repo);
    return ok;
}

static bool
start(struct lm_script *script, struct lm_err *err)
{
    static const struct lm_run_info info = {
        .id = 1, .script = "s", .worker = 1, .attempt = 1};
    const struct lm_migration *m = lm_script_migration(script);
    struct lm_repo *repo = lm_repo_new(&(struct lm_repo_options){0});
    bool ok;

    ok = m->ops->has(m->self, LM_CALL_ON_START) &&
         m->ops->call(m->self, LM_CALL_ON_START, repo, &info, err);
    lm_repo_free(repo);
    return ok;
}

static void
assert_clean(const struct lm_err *err, long at)
{
    if (strstr(err->message, "not enough memory") == NULL &&
        strcmp(err->message, "could not start Lua") != 0)
        fail_msg("request %ld: %s", at, err->message);
}

/* -- tests ------------------------------------------------------------ */

static void
test_a_page_arrives_in_lua(void **state)
{
    struct lm_script *script;
    struct lm_err err;

    (void)state;
    torment(CALM, 0);
    if (!load(&script, &err) || !migrate(script, &err))
        fail_msg("%s", err.message);
    assert_false(start(script, &err));
    assert_string_equal(err.message, "(error object is a table value)");
    lm_script_free(script);
}

/* Requests are counted anew, since garbage collection moves them about; the
 * loop ends with the first load that none of them stops. */
static long
torture_load(enum mode how, long step)
{
    long failures = 0;
    long last = 0;

    for (long at = 1; last == 0 || at <= last; at += step) {
        struct lm_script *script;
        struct lm_err err;
        bool ok;

        torment(how, at);
        ok = load(&script, &err);
        if (ok) {
            last = requests;
            lm_script_free(script);
        } else {
            assert_clean(&err, at);
            failures++;
        }
        torment(CALM, 0);
    }
    return failures;
}

static void
test_loading_survives_every_allocation_that_fails(void **state)
{
    (void)state;
    assert_true(torture_load(FROM_THEN, 1) > 1000);
}

static void
test_loading_reports_a_single_failure(void **state)
{
    (void)state;
    assert_true(torture_load(TWICE, 5) > 200);
}

/* All but the buffers of Lua's auxiliary library ask again. */
static void
test_loading_goes_on_after_collecting_garbage(void **state)
{
    (void)state;
    assert_true(torture_load(ONE, 17) < 20);
}

typedef bool (*call)(struct lm_script *script, struct lm_err *err);

/* succeeds: without torture it does. Returns how often it failed. */
static long
torture_call(call fn, bool succeeds, enum mode how)
{
    struct lm_script *script;
    struct lm_err err;
    long failures = 0;
    long count;

    torment(CALM, 0);
    assert_true(load(&script, &err));
    assert_int_equal(fn(script, &err), succeeds);
    lua_gc(vm_state, LUA_GCCOLLECT);
    requests = 0;
    assert_int_equal(fn(script, &err), succeeds);
    count = requests;
    for (long at = 1; at <= count; at++) {
        bool ok;

        /* Strings that are still about would need no memory. */
        lua_gc(vm_state, LUA_GCCOLLECT);
        torment(how, at);
        ok = fn(script, &err);
        torment(CALM, 0);
        if (!ok && succeeds)
            assert_clean(&err, at);
        failures += !ok;
        /* Nothing is left broken behind. */
        assert_int_equal(fn(script, &err), succeeds);
    }
    lm_script_free(script);
    return failures;
}

static void
test_a_page_survives_every_allocation_that_fails(void **state)
{
    (void)state;
    assert_true(torture_call(migrate, true, FROM_THEN) > 20);
    assert_true(torture_call(migrate, true, TWICE) > 20);
    assert_int_equal(torture_call(migrate, true, ONE), 0);
}

/* The error is a table already when memory runs out. */
static void
test_an_error_is_reported_without_memory(void **state)
{
    (void)state;
    torture_call(start, false, FROM_THEN);
    torture_call(start, false, TWICE);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_page_arrives_in_lua),
        cmocka_unit_test(test_loading_survives_every_allocation_that_fails),
        cmocka_unit_test(test_loading_reports_a_single_failure),
        cmocka_unit_test(test_loading_goes_on_after_collecting_garbage),
        cmocka_unit_test(test_a_page_survives_every_allocation_that_fails),
        cmocka_unit_test(test_an_error_is_reported_without_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
