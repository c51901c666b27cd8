/* SPDX-License-Identifier: MIT */
/* The JSON codec: what it reads, what it writes, what it refuses. */

#include "unit.h"

#include "script/value/json.h"
#include "script/vm/vm.h"

#include <lauxlib.h>

static struct lm_vm vm;

/* Reads a document, runs Lua code that sees it as v, and writes v. */
static char *
round_trip(const char *document, const char *code, struct lm_err *err)
{
    lua_State *L = vm.L;
    struct lm_buf out = LM_BUF_INIT;
    char *result = NULL;
    int top = lua_gettop(L);

    if (lmL_json_push(L, document, strlen(document), err)) {
        assert_int_equal(lua_gettop(L), top + 1);
        lua_setglobal(L, "v");
        if (luaL_dostring(L, code) != LUA_OK)
            fail_msg("%s", lua_tostring(L, -1));
        lua_getglobal(L, "v");
        if (lm_json_add(L, -1, &out, err))
            result = lm_buf_take(&out);
        lua_pop(L, 1);
    }
    lm_buf_release(&out);
    assert_int_equal(lua_gettop(L), top);
    return result;
}

static void
check_result(const char *document, const char *code, const char *wanted)
{
    struct lm_err err = {.kind = LM_ERR_NONE};
    char *result = round_trip(document, code, &err);

    if (result == NULL)
        fail_msg("%s: %s", document, err.message);
    assert_string_equal(result, wanted);
    free(result);
}

static void
check_refused(const char *document, const char *code, const char *wanted)
{
    struct lm_err err = {.kind = LM_ERR_NONE};
    char *result = round_trip(document, code, &err);

    if (result != NULL)
        fail_msg("%s gave %s", document, result);
    if (strstr(err.message, wanted) == NULL)
        fail_msg("%s: \"%s\" is not in \"%s\"", document, wanted, err.message);
}

static void
test_documents(void **state)
{
    static const char *const cases[][2] = {
        {"null", "null"},
        {" true ", "true"},
        {"false", "false"},
        {"\"\"", "\"\""},
        {"[]", "[]"},
        {"{}", "{}"},
        {"[ [ ] , { } ]", "[[],{}]"},
        {"{\"b\":1,\"a\":null,\"\":[null]}",
         "{\"\":[null],\"a\":null,\"b\":1}"},
        {"{\"1\":1,\"10\":2,\"2\":3}", "{\"1\":1,\"10\":2,\"2\":3}"},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\"",
         "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\""},
        {"\"\\u00e9\\u20AC\\ud83d\\uDE00\"", "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F"
                                             "\x98\x80\""},
        {"{\"a\\u0062\":\"c\\n\"}", "{\"ab\":\"c\\n\"}"},
        /* integers */
        {"0", "0"},
        {"-0", "0"},
        {"9007199254740993", "9007199254740993"},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"9223372036854775808", "9223372036854775808"},
        {"-9223372036854775809", "-9223372036854775809"},
        {"123456789012345678901234567890", "123456789012345678901234567890"},
        /* floats and decimals */
        {"0.1", "0.1"},
        {"1.10", "1.1"},
        {"1.0", "1.0"},
        {"-0.0", "-0.0"},
        {"1e2", "100.0"},
        {"1E+22", "10000000000000000000000.0"},
        {"1e-7", "1e-07"},
        {"5e-324", "5e-324"},
        {"1.7976931348623157e308", NULL},
        {"5.684341886080802e-14", "5.684341886080802e-14"},
        {"0.30000000000000004", "0.30000000000000004"},
        {"0.100000000000000000001", "0.100000000000000000001"},
        {"3.14159265358979323846", "3.14159265358979323846"},
        {"1.5e-400", NULL},
        {"1e400", NULL},
        {"-1.5E400", NULL},
        {"0.00", "0.0"},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        if (cases[i][1] != NULL)
            check_result(cases[i][0], "", cases[i][1]);
    }
    check_result("1e400", "v = tostring(v) == '1' .. ('0'):rep(400)", "true");
    check_result("1.5e-20", "v = { math.type(v) }", "[\"float\"]");
    check_result("1.5e-400", "v = #tostring(v)", "403");
    check_result("[1.7976931348623157e308]",
                 "v = v[1] == 1.7976931348623157e308", "true");
}

static void
test_lua_sees_what_it_should(void **state)
{
    (void)state;
    check_result("{\"a\":[1,2.5,null],\"b\":{}}",
                 "assert(math.type(v.a[1]) == 'integer')"
                 "assert(math.type(v.a[2]) == 'float')"
                 "assert(v.a[3] == require('luamig').json.null)"
                 "assert(#v.a == 3 and next(v.b) == nil)"
                 "v = {} for i = 1, 3 do v[i] = i end",
                 "[1,2,3]");
    check_result("[2.50, 12345678901234567890.50]",
                 "assert(v[1] == 2.5)"
                 "assert(tostring(v[2]) == '12345678901234567890.50')"
                 "v[2] = v[2] + 1",
                 "[2.5,12345678901234567891.50]");
    check_result("[]", "v[1] = 1 v[2] = {x = true}", "[1,{\"x\":true}]");
    check_result("{}", "v.z = require('luamig').array{}", "{\"z\":[]}");
    check_result("1", "v = {a = require('luamig').json '[1, 2]'}",
                 "{\"a\":[1, 2]}");
    check_result("1", "v = require('luamig').json ' {\"a\" : 1} '",
                 " {\"a\" : 1} ");
    check_result("1", "v = {1e15, 1e300, 2^53, 0.1, -1.5e-9}",
                 "[1000000000000000.0,10000000000000000000000000000000000000000"
                 "000000000000000000000000000000000000000000000000000000000000"
                 "000000000000000000000000000000000000000000000000000000000000"
                 "000000000000000000000000000000000000000000000000000000000000"
                 "000000000000000000000000000000000000000000000000000000000000"
                 "00000000000000000000.0,9007199254740992.0,0.1,-1.5e-09]");
}

static void
test_refused_documents(void **state)
{
    static const char *const cases[][2] = {
        {"", "not JSON"},
        {" ", "not JSON"},
        {"nul", "not JSON"},
        {"nulll", "not JSON (at byte 5)"},
        {"[1,]", "not JSON (at byte 4)"},
        {"[1", "not JSON"},
        {"[1 2]", "not JSON"},
        {"{\"a\"}", "not JSON"},
        {"{\"a\":}", "not JSON"},
        {"{\"a\":1,}", "not JSON"},
        {"{a:1}", "not JSON"},
        {"{1:1}", "not JSON"},
        {"01", "not JSON"},
        {"-", "not JSON"},
        {"1.", "not JSON"},
        {".5", "not JSON"},
        {"1e", "not JSON"},
        {"+1", "not JSON"},
        {"NaN", "not JSON"},
        {"0x10", "not JSON"},
        {"\"a", "not JSON"},
        {"\"a\\", "not JSON"},
        {"\"\\x\"", "not JSON"},
        {"\"\\u12\"", "not JSON"},
        {"\"\\u12g4\"", "not JSON"},
        {"\"a\nb\"", "not JSON"},
        {"[1]]", "not JSON"},
        {"\"a\\u0000b\"", "escape \\u0000"},
        {"{\"\\u0000\":1}", "escape \\u0000"},
        {"\"\\ud800\"", "\\ud800, which is half of a character"},
        {"\"\\ud83dx\"", "half of a character"},
        {"\"\\ud83d\\u0041\"", "half of a character"},
        {"\"\\udc00\"", "half of a character"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "key \"a\" twice"},
        {"[{\"a\":null,\"\\u0061\":3}]", "key \"a\" twice"},
        {"1e999999", "1e999999 is out of range for type numeric"},
        {"1e-99999999999999999999", "out of range"},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++)
        check_refused(cases[i][0], "", cases[i][1]);
}

static void
test_refused_values(void **state)
{
    static const char *const cases[][2] = {
        {"v = {}", "an empty table may be an array or an object"},
        {"v = {a = {b = {1, {}}}}", "at a.b[2]: an empty table"},
        {"v = {1, nil, 3}", "keys 1, 2, 3, ... or strings"},
        {"v = {1, a = 2}", "keys 1, 2, 3, ... or strings"},
        {"v = {[0] = 1}", "keys 1, 2, 3, ... or strings"},
        {"v = {[1.5] = 1}", "keys 1, 2, 3, ... or strings"},
        {"v = require('luamig').array{a = 1}", "a luamig.array has other keys"},
        {"v = require('luamig').object{1}", "keys that are not strings"},
        {"v = {x = 0/0}", "at x: JSON has neither NaN"},
        {"v = {1/0}", "at [1]: JSON has neither"},
        {"v = require('luamig').decimal 'NaN'", "JSON has neither"},
        {"v = print", "a function cannot be written to JSON"},
        {"v = {io.stdout}", "at [1]: a userdata"},
        {"v = {'\\0'}", "at [1]: a string with a NUL byte"},
        {"v = {['\\0'] = 1}", "a string with a NUL byte"},
        {"v = '\\255'", "not valid UTF-8"},
        {"v = {a = '\\xed\\xa0\\x80'}", "at a: a string that is not valid"},
        {"v = {require('luamig').NULL}",
         "luamig.NULL cannot be written to JSON"},
        {"v = require('luamig').ALL", "luamig.ALL is not a value"},
        {"v = require('luamig').bytea 'x'", "a luamig.bytea cannot"},
        {"v = {require('luamig').json '1, 2'}", "at [1]: luamig.json: the text "
                                                "is not JSON"},
        {"v = {a = 1} v.b = {v}", "at b[1]: the table contains itself"},
        {"v = {} v[1] = v", "the table contains itself"},
        {"v = {} for i = 1, 2001 do v = {v} end", "nested more deeply"},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++)
        check_refused("1", cases[i][0], cases[i][1]);
}

static void
test_depth(void **state)
{
    char text[2 * LM_JSON_DEPTH + 3];

    (void)state;
    memset(text, '[', LM_JSON_DEPTH);
    memset(text + LM_JSON_DEPTH, ']', LM_JSON_DEPTH);
    text[sizeof text - 3] = '\0';
    check_result(text, "", text);
    check_refused(text, "v = {v}", "nested more deeply than 2000 levels");
    memset(text, '[', LM_JSON_DEPTH + 1);
    check_refused(text, "", "nested more deeply than 2000 levels");
}

/* Every prefix and every damaged byte of a document is refused or read, and
 * never read beyond its end (which the sanitizer sees). */
static void
test_damage(void **state)
{
    static const char document[] =
        "{\"a\":[1,-2.5e+3,\"\\u00e9\\ud83d\\ude00\\n\",true,null],\"b\":{}}";
    size_t len = sizeof document - 1;

    (void)state;
    for (size_t i = 0; i < len; i++) {
        for (int c = 0; c < 256; c += c == 0 ? 1 : 7) {
            struct lm_err err;
            size_t size = c == 0 ? i : len;
            char *copy = lm_strndup(document, size);

            if (c > 0)
                copy[i] = (char)c;
            if (lmL_json_push(vm.L, copy, size, &err))
                lua_pop(vm.L, 1);
            free(copy);
        }
    }
}

static int
set_up(void **state)
{
    struct lm_err err;

    (void)state;
    return lm_vm_init(&vm, &err) ? 0 : -1;
}

static int
tear_down(void **state)
{
    (void)state;
    lm_vm_release(&vm);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents),
        cmocka_unit_test(test_lua_sees_what_it_should),
        cmocka_unit_test(test_refused_documents),
        cmocka_unit_test(test_refused_values),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_damage),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
