/* SPDX-License-Identifier: MIT */
/* Arrays in text and in Lua, numbers, and parameters without a type. */

#include "unit.h"

#include "script/value/number.h"
#include "script/value/value.h"
#include "script/vm/vm.h"

#include <lauxlib.h>

static struct lm_vm vm;

static const struct lm_type untyped = {.oid = 0};
static const struct lm_type integers = {.oid = 1007,
                                        .base = 1007,
                                        .element = 23,
                                        .element_base = 23,
                                        .delimiter = ',',
                                        .name = "integer[]",
                                        .element_name = "integer"};
static const struct lm_type texts = {.oid = 1009,
                                     .base = 1009,
                                     .element = 25,
                                     .element_base = 25,
                                     .delimiter = ',',
                                     .name = "text[]",
                                     .element_name = "text"};
static const struct lm_type boxes = {.oid = 1020,
                                     .base = 1020,
                                     .element = 603,
                                     .element_base = 603,
                                     .delimiter = ';',
                                     .name = "box[]",
                                     .element_name = "box"};
static const struct lm_type documents = {.oid = 3807,
                                         .base = 3807,
                                         .element = 3802,
                                         .element_base = 3802,
                                         .delimiter = ',',
                                         .name = "jsonb[]",
                                         .element_name = "jsonb"};
static const struct lm_type nested = {.oid = 99999,
                                      .base = 99999,
                                      .element = 99998,
                                      .delimiter = ',',
                                      .name = "list[]",
                                      .element_name = "list"};
static const struct lm_type numbers = {
    .oid = LM_TYPE_NUMERIC, .base = LM_TYPE_NUMERIC, .name = "numeric"};
static const struct lm_type reals = {
    .oid = LM_TYPE_FLOAT4, .base = LM_TYPE_FLOAT4, .name = "real"};

/* Writes the value of a Lua expression; NULL, and err, when it is refused. */
static char *
write(const struct lm_type *type, const char *expression, struct lm_err *err)
{
    struct lm_buf code = LM_BUF_INIT;
    struct lm_buf out = LM_BUF_INIT;
    bool is_null;
    bool ok;
    int top = lua_gettop(vm.L);

    lm_buf_printf(&code, "local luamig = require 'luamig' return %s",
                  expression);
    if (luaL_loadstring(vm.L, lm_buf_text(&code)) != LUA_OK ||
        lua_pcall(vm.L, 0, 1, 0) != LUA_OK)
        fail_msg("%s", lua_tostring(vm.L, -1));
    lm_buf_release(&code);
    ok = lm_value_encode(vm.L, -1, type, &out, &is_null, err);
    assert_int_equal(lua_gettop(vm.L), top + 1);
    lua_settop(vm.L, top);
    if (ok && !is_null)
        assert_int_equal(out.len, strlen(out.data) + 1);
    if (ok)
        return is_null ? lm_strdup("(null)") : lm_buf_take(&out);
    lm_buf_release(&out);
    return NULL;
}

static void
check_written(const struct lm_type *type, const char *expression,
              const char *wanted)
{
    struct lm_err err;
    char *text = write(type, expression, &err);

    if (text == NULL)
        fail_msg("%s: %s", expression, err.message);
    assert_string_equal(text, wanted);
    free(text);
}

static void
check_refused(const struct lm_type *type, const char *expression,
              const char *wanted)
{
    struct lm_err err;
    char *text = write(type, expression, &err);

    if (text != NULL)
        fail_msg("%s gave %s", expression, text);
    if (strstr(err.message, wanted) == NULL) {
        fail_msg("%s: \"%s\" is not in \"%s\"", expression, wanted,
                 err.message);
    }
}

/* Reads a text and holds it against a Lua expression of v. */
static void
check_read(const struct lm_type *type, const char *text, const char *condition)
{
    struct lm_err err;
    struct lm_buf code = LM_BUF_INIT;

    if (!lmL_push_value(vm.L, type, text, strlen(text), &err))
        fail_msg("%s: %s", text, err.message);
    lua_setglobal(vm.L, "v");
    lm_buf_printf(&code, "local NULL = require('luamig').NULL assert(%s)",
                  condition);
    if (luaL_dostring(vm.L, lm_buf_text(&code)) != LUA_OK)
        fail_msg("%s: %s", text, lua_tostring(vm.L, -1));
    lm_buf_release(&code);
}

static void
check_unreadable(const struct lm_type *type, const char *text,
                 const char *wanted)
{
    struct lm_err err;
    int top = lua_gettop(vm.L);

    assert_false(lmL_push_value(vm.L, type, text, strlen(text), &err));
    assert_int_equal(lua_gettop(vm.L), top);
    assert_non_null(strstr(err.message, wanted));
}

static void
test_arrays_are_read(void **state)
{
    (void)state;
    check_read(&integers, "{}", "next(v) == nil");
    check_read(&integers, "{1,NULL,-3}",
               "#v == 3 and v[2] == NULL and v[3] == -3");
    check_read(&integers, "{{1,2},{3,4}}", "#v == 2 and v[2][1] == 3");
    check_read(&integers, "{{{{{{7}}}}}}", "v[1][1][1][1][1][1] == 7");
    check_read(&texts, "{NULL,\"NULL\",\"\",\"a b\",\"\\\"\\\\\",\"{,}\",x}",
               "v[1] == NULL and v[2] == 'NULL' and v[3] == '' and "
               "v[4] == 'a b' and v[5] == '\"\\\\' and v[6] == '{,}' and "
               "v[7] == 'x' and #v == 7");
    check_read(&boxes, "{(1,1),(0,0);(2,2),(0,0)}",
               "#v == 2 and v[2] == '(2,2),(0,0)'");
    check_read(&documents, "{\"{\\\"a\\\": []}\",null,NULL}",
               "#v == 3 and #v[1].a == 0 and v[3] == NULL");
    check_read(&nested, "{\"{1,2}\",\"{}\"}",
               "v[1] == '{1,2}' and v[2] == '{}'");
}

static void
test_arrays_that_are_not_read(void **state)
{
    static const char *const cases[] = {
        "",       "{",      "{1",   "{1,",   "{1}}",     "1",
        "{\"a",   "{\"a\\", "{{1}", "{1;2}", "{\"a\"b}", "{{{{{{{1}}}}}}}",
        "{1,2} ",
    };

    (void)state;
    check_unreadable(&integers, "[2:3]={1,2}", "has the bounds [2:3]");
    check_unreadable(&integers, "[0:0][1:1]={{1}}", "the bounds [0:0][1:1]");
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_err err;

        /* Refused or read: never beyond the end, nothing left behind. */
        lua_settop(vm.L, 0);
        if (!lmL_push_value(vm.L, &texts, cases[i], strlen(cases[i]), &err))
            assert_int_equal(lua_gettop(vm.L), 0);
        lua_settop(vm.L, 0);
    }
    check_unreadable(&documents, "{\"{\\\"a\\\":1,\\\"a\\\":2}\"}", "twice");
}

static void
test_arrays_are_written(void **state)
{
    (void)state;
    check_written(&integers, "{}", "{}");
    check_written(&integers, "luamig.array{}", "{}");
    check_written(&integers, "{1, luamig.NULL, -3}", "{1,NULL,-3}");
    check_written(&integers, "{{1, 2}, {3, luamig.NULL}}", "{{1,2},{3,NULL}}");
    check_written(&integers, "{{{{{{7}}}}}}", "{{{{{{7}}}}}}");
    check_written(&texts,
                  "{'', 'NULL', 'null', 'a b', '\"', '\\\\', '{', '}', ',', "
                  "';', 'x', '\\t', luamig.NULL}",
                  "{\"\",\"NULL\",\"null\",\"a b\",\"\\\"\",\"\\\\\",\"{\","
                  "\"}\",\",\",;,x,\"\t\",NULL}");
    check_written(&boxes, "{'(1,1),(0,0)', '(2,2),(0,0)'}",
                  "{(1,1),(0,0);(2,2),(0,0)}");
    check_written(&documents,
                  "{luamig.array{}, {a = 1}, luamig.json.null, 'x'}",
                  "{[],\"{\\\"a\\\":1}\",\"null\",\"\\\"x\\\"\"}");
    check_written(&documents, "{{1}, {2}}", "{{1},{2}}");
    check_written(&nested, "{'{1,2}', '{}'}", "{\"{1,2}\",\"{}\"}");
}

static void
test_arrays_that_are_not_written(void **state)
{
    (void)state;
    check_refused(&integers, "'{1}'", "a string cannot be written to type");
    check_refused(&integers, "luamig.object{}", "a table cannot be written");
    check_refused(&integers, "luamig.decimal '1'", "a luamig.decimal cannot");
    check_refused(&integers, "{1, 2.5}", "element [2]: a float cannot");
    check_refused(&integers, "{{1, 2}, {3, 'x'}}", "element [2][2]: a string");
    check_refused(&integers, "{{1, 2}, {3}}", "not rectangular");
    check_refused(&integers, "{{1}, 2}", "not rectangular");
    check_refused(&integers, "{1, {2}}", "not rectangular");
    check_refused(&integers, "{luamig.NULL, {2}}", "not rectangular");
    check_refused(&integers, "{{}, {}}", "not rectangular");
    check_refused(&integers, "{1, nil, 3}", "keys 1, 2, 3, ...");
    check_refused(&integers, "{a = 1}", "keys 1, 2, 3, ...");
    check_refused(&integers, "{{{{{{{1}}}}}}}", "at most 6 dimensions");
    check_refused(&integers, "{2^31 | 0}", "element [1]: 2147483648 is out of");
    check_refused(&texts, "{'a\\0'}", "element [1]: a string with a NUL byte");
    check_refused(&nested, "{{1}}", "element [1][1]: an integer cannot");
    check_refused(&documents, "{{a = {}}}",
                  "element [1]: at a: an empty table");
}

static void
test_numeric(void **state)
{
    static const char *const good[] = {"1",     "-1.50", "+.5",  "5.",
                                       "1e400", "nan",   "-inf", "-Infinity",
                                       "1E-5",  "0001"};
    static const char *const bad[] = {"",      ".",   "1e",      "e1",   "0x10",
                                      "1_000", "--1", "x",       "1 ",   "1,5",
                                      "+nan",  "-",   "Infinit", "1.2.3"};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(good); i++)
        assert_true(lm_number_is_decimal(good[i], strlen(good[i])));
    for (size_t i = 0; i < LM_COUNT(bad); i++)
        assert_false(lm_number_is_decimal(bad[i], strlen(bad[i])));
    check_written(&numbers, "'12.50'", "12.50");
    check_written(&numbers, "luamig.decimal '12.50' * 2", "25.00");
    check_written(&numbers, "9007199254740993", "9007199254740993");
    check_written(&numbers, "0.1", "0.1");
    check_refused(&numbers, "'1,5'", "a string that is not a decimal number");
    check_refused(&numbers, "{}", "a table cannot be written to type numeric");
    check_written(&reals, "16777216", "16777216");
    check_refused(&reals, "16777217", "would be rounded by type real");
}

static void
test_shortest_floats(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"},
                 {1.0 / 3, "0.3333333333333333"},
                 {5e-324, "5e-324"},
                 {2.2250738585072014e-308, "2.2250738585072014e-308"},
                 {5.684341886080802e-14, "5.684341886080802e-14"},
                 {-5.684341886080802e-14, "-5.684341886080802e-14"},
                 {9007199254740992.0, "9007199254740992"},
                 {1e23, "1e+23"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {-0.0, "-0"}};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_buf out = LM_BUF_INIT;

        lm_number_add_float(&out, cases[i].value);
        assert_string_equal(out.data, cases[i].text);
        lm_buf_release(&out);
    }
}

static void
test_untyped(void **state)
{
    (void)state;
    check_written(&untyped, "luamig.NULL", "(null)");
    check_written(&untyped, "nil", "(null)");
    check_written(&untyped, "'x'", "x");
    check_written(&untyped, "1.5", "1.5");
    check_written(&untyped, "true", "t");
    check_written(&untyped, "luamig.decimal '1.50'", "1.50");
    check_written(&untyped, "luamig.bytea '\\0\\xff'", "\\x00ff");
    check_written(&untyped, "{1, 'a b', luamig.NULL, true}",
                  "{1,\"a b\",NULL,t}");
    check_written(&untyped, "{}", "{}");
    check_written(&untyped, "luamig.array{1, 'a'}", "[1,\"a\"]");
    check_written(&untyped, "luamig.object{}", "{}");
    check_written(&untyped, "luamig.json '{}'", "{}");
    check_written(&untyped, "luamig.json.null", "null");
    check_refused(&untyped, "luamig.ALL", "luamig.ALL cannot be written");
    check_refused(&untyped, "{a = 1}", "keys 1, 2, 3, ...");
    check_refused(&untyped, "print", "a function cannot be written");
    check_refused(&untyped, "'\\0'", "NUL byte");
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
        cmocka_unit_test(test_arrays_are_read),
        cmocka_unit_test(test_arrays_that_are_not_read),
        cmocka_unit_test(test_arrays_are_written),
        cmocka_unit_test(test_arrays_that_are_not_written),
        cmocka_unit_test(test_numeric),
        cmocka_unit_test(test_shortest_floats),
        cmocka_unit_test(test_untyped),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
