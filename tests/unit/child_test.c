/* SPDX-License-Identifier: MIT */
/* Child processes of scripts, in the main thread and in one that blocks
 * signals. */

#include "unit.h"

#include "base/aside.h"
#include "base/stop.h"
#include "script/vm/vm.h"

#include <lauxlib.h>

static void
run_lua(const char *code)
{
    struct lm_vm vm;
    struct lm_err err;

    if (!lm_vm_init(&vm, &err) || luaL_loadstring(vm.L, code) != LUA_OK ||
        !lm_vm_call(vm.L, 0, 0, &err))
        fail_msg("%s", err.message);
    lm_vm_release(&vm);
}

static void *
run_aside(void *arg)
{
    run_lua(arg);
    return NULL;
}

static void
run_in_thread(const char *code)
{
    pthread_t thread;

    assert_true(lm_aside_start(&thread, run_aside, (void *)code));
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void
test_a_child_of_any_thread_blocks_no_signals(void **state)
{
    static const char code[] =
        "local pipe = io.popen 'kill -TERM $$; echo TERM is blocked'\n"
        "assert(pipe:read 'a' == '')\n"
        "assert(select(3, pipe:close()) == 15)\n"
        "assert(select(3, os.execute 'kill -TERM $$') == 15)\n";

    (void)state;
    run_in_thread(code);
    run_lua(code);
}

static void
test_a_command_ends_as_in_plain_lua(void **state)
{
    (void)state;
    run_lua("local function is(text, ...)\n"
            "  local got = {}\n"
            "  for i = 1, select('#', ...) do\n"
            "    got[i] = tostring((select(i, ...)))\n"
            "  end\n"
            "  got = table.concat(got, ' ')\n"
            "  assert(got == text, got)\n"
            "end\n"
            "is('true', os.execute())\n"
            "is('true exit 0', os.execute 'true')\n"
            "is('nil exit 3', os.execute 'exit 3')\n"
            "is('nil signal 9', os.execute 'kill -9 $$')\n"
            "is('true exit 0', io.popen('cat >/dev/null', 'w'):close())\n"
            "is('nil exit 4', io.popen('exit 4'):close())\n"
            "is('nil signal 9', io.popen('kill -9 $$'):close())\n");
}

static void
test_a_pipe_is_a_file(void **state)
{
    (void)state;
    run_lua("local pipe = io.popen 'printf \"a\\\\nb\\\\n\"'\n"
            "assert(io.type(pipe) == 'file')\n"
            "local lines = {}\n"
            "for line in pipe:lines() do lines[#lines + 1] = line end\n"
            "assert(table.concat(lines, ',') == 'a,b')\n"
            "pipe:close()\n"
            "assert(io.type(pipe) == 'closed file')\n"
            "local name = os.tmpname()\n"
            "pipe = io.popen('cat >' .. name, 'w')\n"
            "assert(pipe:write('x', 1))\n"
            "pipe = nil\n"
            "collectgarbage()\n" /* closes it, and waits */
            "local file = assert(io.open(name))\n"
            "assert(file:read 'a' == 'x1')\n"
            "file:close()\n"
            "os.remove(name)\n"
            "local ok, why = pcall(io.popen, 'true', 'rw')\n"
            "assert(not ok and why:find 'invalid mode', why)\n");
}

/* Ctrl-C, while a script waits for its child. */
static void
test_luamig_notices_a_signal_while_a_child_runs(void **state)
{
    (void)state;
    assert_int_equal(lm_stop_level(), 0);
    run_in_thread("os.execute 'kill -INT $PPID'");
    assert_int_equal(lm_stop_level(), 1);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_child_of_any_thread_blocks_no_signals),
        cmocka_unit_test(test_a_command_ends_as_in_plain_lua),
        cmocka_unit_test(test_a_pipe_is_a_file),
        cmocka_unit_test(test_luamig_notices_a_signal_while_a_child_runs),
    };

    lm_stop_install();
    return UNIT_RUN(tests);
}
