/* SPDX-License-Identifier: MIT */
/* The Lua state: what becomes of errors, the memory cap, and signals. */

#include "unit.h"

#include "base/aside.h"
#include "base/clock.h"
#include "base/stop.h"
#include "script/vm/vm.h"

#include <lauxlib.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static int
set_up(void **state)
{
    struct lm_vm *vm = lm_calloc(1, sizeof *vm);
    struct lm_err err;

    *state = vm;
    return lm_vm_init(vm, &err) ? 0 : -1;
}

static int
tear_down(void **state)
{
    struct lm_vm *vm = *state;

    lm_vm_release(vm);
    lm_vm_release(vm);
    assert_int_equal(vm->used, 0);
    free(vm);
    return 0;
}

/* Runs a chunk called test.lua; the stack is as before in any case. */
static bool
run(struct lm_vm *vm, const char *code, struct lm_err *err)
{
    int top = lua_gettop(vm->L);
    bool ok;

    assert_int_equal(
        luaL_loadbufferx(vm->L, code, strlen(code), "@test.lua", "t"), LUA_OK);
    ok = lm_vm_call(vm->L, 0, 0, err);
    assert_int_equal(lua_gettop(vm->L), top);
    return ok;
}

static void
test_error_objects_keep_their_fields(void **state)
{
    struct lm_err err;

    assert_false(run(*state,
                     "require('luamig.errors').raise {"
                     " kind = 'database', message = 'm', detail = 'd',"
                     " hint = 'h', where = 'w:1', sqlstate = '23505',"
                     " constraint = 'c', sql = 's' }",
                     &err));
    assert_int_equal(err.kind, LM_ERR_DATABASE);
    assert_string_equal(err.message, "m");
    assert_string_equal(err.detail, "d");
    assert_string_equal(err.hint, "h");
    assert_string_equal(err.where, "w:1");
    assert_string_equal(err.sqlstate, "23505");
    assert_string_equal(err.constraint, "c");
    assert_string_equal(err.sql, "s");
    assert_contains(err.traceback, "test.lua:1");
}

static void
test_kinds_of_errors_are_read(void **state)
{
    static const struct {
        const char *kind;
        enum lm_err_kind expected;
    } cases[] = {
        {"'usage'", LM_ERR_USAGE},
        {"'database'", LM_ERR_DATABASE},
        {"'script'", LM_ERR_FAILED},
        {"'else'", LM_ERR_FAILED},
        {"nil", LM_ERR_FAILED},
        {"{}", LM_ERR_FAILED},
        {"'usageusageusage'", LM_ERR_FAILED},
    };

    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        char code[160];
        struct lm_err err;

        snprintf(code, sizeof code,
                 "require('luamig.errors').raise { message = 'm', kind = %s }",
                 cases[i].kind);
        assert_false(run(*state, code, &err));
        assert_int_equal(err.kind, cases[i].expected);
    }
}

static void
test_every_error_value_gives_a_message(void **state)
{
    static const struct {
        const char *code;
        const char *message;
    } cases[] = {
        {"error('plain', 0)", "plain"},
        {"error('placed')", "test.lua:1: placed"},
        {"error({})", "(error object is a table value)"},
        {"error({ message = 'own' })", "(error object is a table value)"},
        {"error(nil)", "(error object is a nil value)"},
        {"error()", "(error object is a nil value)"},
        {"error(42)", "42"},
        {"error(true)", "(error object is a boolean value)"},
        {"error(print)", "(error object is a function value)"},
        {"error(setmetatable({}, { __tostring = function()"
         " return 'shown' end }))",
         "shown"},
        {"error(setmetatable({}, { __name = 'luamig.error' }))",
         "error without a message"},
        {"require('luamig.errors').raise { message = {} }",
         "error without a message"},
        {"local x = nil; x.y = 1", "test.lua:1: attempt to index a nil value"},
    };

    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_err err;

        assert_false(run(*state, cases[i].code, &err));
        assert_int_equal(err.kind, LM_ERR_FAILED);
        assert_contains(err.message, cases[i].message);
        assert_memory_equal(err.message, cases[i].message,
                            strlen(cases[i].message));
        assert_string_not_equal(err.traceback, "");
    }
}

/* The handler may fail too; what matters is that the program goes on. */
static void
test_an_error_that_cannot_be_shown_does_no_harm(void **state)
{
    static const char *const codes[] = {
        "error(setmetatable({}, { __tostring = function() error 'no' end }))",
        "error(setmetatable({}, { __tostring = function() return {} end }))",
        "local function f() return f() + 1 end f()",
        "error(('x'):rep(1000000))",
    };

    for (size_t i = 0; i < LM_COUNT(codes); i++) {
        struct lm_err err;

        assert_false(run(*state, codes[i], &err));
        assert_string_not_equal(err.message, "");
        assert_true(run(*state, "assert(1 + 1 == 2)", &err));
    }
}

static void
test_an_error_caught_in_lua_keeps_its_identity(void **state)
{
    struct lm_err err;

    if (!run(*state,
             "local mine = {}"
             " local ok, caught = pcall(error, mine)"
             " assert(not ok and rawequal(caught, mine))",
             &err))
        fail_msg("%s", err.message);
}

static int
l_fail(lua_State *L)
{
    struct lm_err err;

    lm_err_set(&err, LM_ERR_DATABASE, "no such table");
    LM_ERR_COPY(err.sqlstate, "42P01");
    if (lua_toboolean(L, 1))
        LM_ERR_COPY(err.where, "other.lua:7");
    return lmL_raise(L, &err);
}

static void
test_errors_from_c_name_the_calling_line(void **state)
{
    struct lm_vm *vm = *state;
    struct lm_err err;

    lua_register(vm->L, "fail", l_fail);
    assert_false(run(vm, "local x\nfail()", &err));
    assert_int_equal(err.kind, LM_ERR_DATABASE);
    assert_string_equal(err.message, "no such table");
    assert_string_equal(err.sqlstate, "42P01");
    assert_string_equal(err.where, "test.lua:2");
    assert_false(run(vm, "fail(true)", &err));
    assert_string_equal(err.where, "other.lua:7");
    assert_true(run(vm,
                    "local ok, e = pcall(fail)"
                    " assert(not ok and e.sqlstate == '42P01')"
                    " assert(e.kind == 'database' and e.hint == nil)",
                    &err));
}

static void
test_the_memory_cap_gives_a_clean_error(void **state)
{
    static const char *const codes[] = {
        "local t = {} for i = 1, math.huge do t[i] = ('x'):rep(1000) .. i end",
        "local s = 'x' while true do s = s .. s end",
        "return ('x'):rep(1 << 30)",
        "local t = {} while true do t = { t } end",
    };
    struct lm_vm *vm = *state;
    struct lm_err err;

    vm->cap = vm->used + (8 << 20);
    for (size_t i = 0; i < LM_COUNT(codes); i++) {
        assert_false(run(vm, codes[i], &err));
        assert_int_equal(err.kind, LM_ERR_FAILED);
        assert_string_equal(err.message, "not enough memory");
        assert_true(vm->used <= vm->cap);
        lua_gc(vm->L, LUA_GCCOLLECT);
        assert_true(run(vm, "assert(('y'):rep(1000000))", &err));
    }
}

/* Holds for allocations of every kind: the state's own count must agree. */
static void
test_memory_is_counted_exactly(void **state)
{
    struct lm_vm *vm = *state;
    struct lm_err err;
    size_t counted;

    assert_true(run(vm,
                    "kept = {} for i = 1, 1000 do kept[i] = { i, tostring(i) }"
                    " end for i = 1, 500 do kept[i] = nil end",
                    &err));
    counted = (size_t)lua_gc(vm->L, LUA_GCCOUNT) * 1024 +
              (size_t)lua_gc(vm->L, LUA_GCCOUNTB);
    assert_int_equal(vm->used, counted);
}

static void
test_luamig_and_cjson_are_compiled_in(void **state)
{
    struct lm_err err;

    if (!run(*state,
             "package.path = ''"
             " local luamig = require 'luamig'"
             " assert(require 'cjson'.encode { 1 } == '[1]')"
             " assert(require 'luamig.mock')"
             " assert(luamig.NULL ~= luamig.ALL)",
             &err))
        fail_msg("%s", err.message);
}

/* -- signals: each case in a process of its own ----------------------- */

static int
l_interrupt(lua_State *L)
{
    for (lua_Integer i = luaL_checkinteger(L, 1); i > 0; i--)
        raise(SIGINT);
    return 0;
}

/* Lua 5.4.4 would use a stack that is gone. */
static void
test_a_metamethod_between_concatenations_may_use_the_stack(void **state)
{
    static const char code[] =
        "local function deep(n)"
        "  local a, b, c, d, e, f, g, h = 1, 2, 3, 4, 5, 6, 7, 8"
        "  return n == 0 and a + b + c + d + e + f + g + h"
        "    or 1 + deep(n - 1) "
        "end "
        "local joins = setmetatable({}, { __concat = function()"
        "  deep(40) collectgarbage() return 'x' end }) "
        "local function join()"
        "  return joins .. 'a' .. joins .. 'b' .. joins "
        "end "
        "for _ = 1, 20 do"
        "  assert(join() == 'x')"
        "  assert(coroutine.wrap(join)() == 'x')"
        "  local co = coroutine.create(join)"
        "  assert(select(2, coroutine.resume(co)) == 'x')"
        "  assert(coroutine.status(co) == 'dead') "
        "end";
    struct lm_err err;

    assert_true(run(*state, code, &err));
}

static void
test_coroutines_are_made_of_functions_only(void **state)
{
    struct lm_err err;

    assert_false(run(*state, "coroutine.wrap 'x'", &err));
    assert_non_null(strstr(err.message, "bad argument #1 to 'wrap'"));
    assert_false(run(*state, "coroutine.create()", &err));
    assert_non_null(strstr(err.message, "bad argument #1 to 'create'"));
}

/* Runs code with interrupt(n) defined. The exit code says how it ended; a
 * loop that does not end is killed by the alarm. */
static int
run_interrupted(const char *code)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        struct lm_vm vm;
        struct lm_err err;

        alarm(30);
        lm_stop_install();
        if (!lm_vm_init(&vm, &err))
            _exit(9);
        lua_register(vm.L, "interrupt", l_interrupt);
        if (run(&vm, code, &err))
            _exit(0);
        _exit(err.kind == LM_ERR_INTERRUPT ? 1 : 2);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

static void
test_two_signals_end_every_endless_loop(void **state)
{
    static const char *const codes[] = {
        "interrupt(2) while true do end",
        "interrupt(2) while true do pcall(function()"
        " while true do end end) end",
        "interrupt(2) while true do pcall(error) end",
        "interrupt(2) local function f() pcall(f) return f() end f()",
        "coroutine.wrap(function() interrupt(2) while true do end end)()",
        "local co = coroutine.create(function() while true do"
        " coroutine.yield() end end)"
        " interrupt(2) while true do coroutine.resume(co) end",
        "interrupt(2) while true do coroutine.resume(coroutine.create("
        "function() while true do end end)) end",
        "interrupt(2) while true do pcall(coroutine.wrap(function()"
        " while true do pcall(function() while true do end end) end end)) end",
        "interrupt(2) while true do xpcall(function() while true do end end,"
        " function(e) return e end) end",
        "interrupt(2) while true do load('while true do end')() end",
        "interrupt(2) local t = setmetatable({}, { __index = function(t, k)"
        " return t[k + 1] end }) while true do pcall(function()"
        " return t[1] end) end",
        "interrupt(2) for _ in function() return 1 end do end",
        "interrupt(2) ::again:: goto again",
        "do local x <close> = setmetatable({}, { __close = function()"
        " while true do end end }) interrupt(2) end",
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(codes); i++) {
        int ending = run_interrupted(codes[i]);

        if (ending != 1)
            fail_msg("%s: %d", codes[i], ending);
    }
}

enum { LOOPS = 3 };

static atomic_int looping;
static atomic_int interrupted;

static int
l_looping(lua_State *L)
{
    (void)L;
    atomic_fetch_add(&looping, 1);
    return 0;
}

/* A state of the thread's own, in a loop that calls nothing. */
static void *
loop(void *arg)
{
    bool entered = lm_stop_enter();
    struct lm_vm vm;
    struct lm_err err;

    if (entered && lm_vm_init(&vm, &err)) {
        lua_register(vm.L, "looping", l_looping);
        if (!run(&vm, "looping() while true do end", &err) &&
            err.kind == LM_ERR_INTERRUPT)
            atomic_fetch_add(&interrupted, 1);
        lm_vm_release(&vm);
    }
    if (arg != NULL)
        lm_stop_leave();
    return NULL;
}

static void *
interrupt_loops(void *by_signal)
{
    while (atomic_load(&looping) < LOOPS)
        usleep(1000);
    if (by_signal == NULL) {
        lm_stop_interrupt();
    } else {
        for (int i = 0; i < 2; i++) {
            kill(getpid(), SIGINT);
            while (lm_stop_level() <= i)
                usleep(1000);
        }
    }
    return NULL;
}

static int
count_ended_loops(void *by_signal)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        pthread_t threads[LOOPS];

        alarm(30);
        lm_stop_install();
        if (!lm_aside_start(&threads[0], interrupt_loops, by_signal))
            _exit(99);
        for (int i = 1; i < LOOPS; i++) {
            if (!lm_aside_start(&threads[i], loop, &threads))
                _exit(99);
        }
        loop(NULL);
        for (int i = 0; i < LOOPS; i++)
            pthread_join(threads[i], NULL);
        _exit(atomic_load(&interrupted));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

static void
test_the_loops_of_all_threads_end(void **state)
{
    int any;

    (void)state;
    assert_int_equal(count_ended_loops(NULL), LOOPS);
    assert_int_equal(count_ended_loops(&any), LOOPS);
}

static void
test_the_last_words_are_not_interrupted(void **state)
{
    pid_t child = fork();
    int status;

    (void)state;
    if (child == 0) {
        struct lm_vm vm;
        struct lm_err err;
        bool ok;

        alarm(30);
        lm_stop_install();
        ok = lm_vm_init(&vm, &err);
        lm_stop_interrupt();
        ok = ok && !run(&vm, "while true do end", &err);
        lm_vm_ignore_signals(&vm, true);
        ok = ok && run(&vm, "for i = 1, 1000000 do end", &err);
        ok = ok && run(&vm,
                       "coroutine.wrap(function()"
                       " for i = 1, 1000000 do end end)()",
                       &err);
        lm_vm_ignore_signals(&vm, false);
        ok = ok && !run(&vm, "while true do end", &err);
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void
test_one_signal_lets_the_script_finish(void **state)
{
    (void)state;
    assert_int_equal(run_interrupted("interrupt(1) for i = 1, 1000000 do end"),
                     0);
    assert_int_equal(run_interrupted("interrupt(1) error 'own'"), 2);
}

static void
test_code_that_does_not_end_in_its_time_is_ended(void **state)
{
    static const char *const codes[] = {
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "coroutine.wrap(function() while true do end end)()"};
    struct lm_err err;

    for (size_t i = 0; i < LM_COUNT(codes); i++) {
        lm_vm_set_deadline(*state, lm_clock_ms() + 20);
        assert_false(run(*state, codes[i], &err));
        assert_non_null(strstr(err.message, "the time is over"));
        assert_int_equal(err.kind, LM_ERR_FAILED);
        lm_vm_set_deadline(*state, 0);
        assert_true(run(*state, "for _ = 1, 1000000 do end", &err));
    }
}

static void
test_a_third_signal_ends_the_process(void **state)
{
    (void)state;
    assert_int_equal(run_interrupted("interrupt(3)"), 100);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_error_objects_keep_their_fields,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_a_metamethod_between_concatenations_may_use_the_stack, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            test_coroutines_are_made_of_functions_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_kinds_of_errors_are_read, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_every_error_value_gives_a_message,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_an_error_that_cannot_be_shown_does_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_an_error_caught_in_lua_keeps_its_identity, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_errors_from_c_name_the_calling_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_memory_cap_gives_a_clean_error,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory_is_counted_exactly, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_luamig_and_cjson_are_compiled_in,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            test_code_that_does_not_end_in_its_time_is_ended, set_up,
            tear_down),
        cmocka_unit_test(test_two_signals_end_every_endless_loop),
        cmocka_unit_test(test_the_loops_of_all_threads_end),
        cmocka_unit_test(test_the_last_words_are_not_interrupted),
        cmocka_unit_test(test_one_signal_lets_the_script_finish),
        cmocka_unit_test(test_a_third_signal_ends_the_process),
    };

    return UNIT_RUN(tests);
}
