/* SPDX-License-Identifier: MIT */
/* The value rules, type by type, without a server. */

#include "unit.h"

#include "script/value/params.h"
#include "script/value/value.h"
#include "script/vm/vm.h"

#include <float.h>
#include <lauxlib.h>
#include <math.h>
#include <stdio.h>

static struct lm_vm vm;

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

/* Pushes what a Lua expression gives. */
static void
push_expression(const char *expression)
{
    struct lm_buf code = LM_BUF_INIT;
    struct lm_err err;

    lm_buf_printf(&code, "local luamig = require 'luamig'; return %s",
                  expression);
    assert_int_equal(luaL_loadstring(vm.L, lm_buf_text(&code)), LUA_OK);
    assert_true(lm_vm_call(vm.L, 0, 1, &err));
    lm_buf_release(&code);
}

static const struct {
    uint32_t type;
    const char *expression;
    const char *text; /* NULL: SQL NULL */
} accepted[] = {
    {LM_TYPE_BOOL, "true", "t"},
    {LM_TYPE_BOOL, "false", "f"},
    {LM_TYPE_INT2, "32767", "32767"},
    {LM_TYPE_INT2, "-32768", "-32768"},
    {LM_TYPE_INT4, "2147483647", "2147483647"},
    {LM_TYPE_INT4, "-2147483648", "-2147483648"},
    {LM_TYPE_INT8, "math.maxinteger", "9223372036854775807"},
    {LM_TYPE_INT8, "math.mininteger", "-9223372036854775808"},
    {LM_TYPE_INT8, "2^53 // 1 | 0", "9007199254740992"},
    {LM_TYPE_OID, "0", "0"},
    {LM_TYPE_OID, "4294967295", "4294967295"},
    {LM_TYPE_FLOAT8, "0.1", "0.1"},
    {LM_TYPE_FLOAT8, "1/3", "0.3333333333333333"},
    {LM_TYPE_FLOAT8, "0.1 + 0.2", "0.30000000000000004"},
    {LM_TYPE_FLOAT8, "-0.0", "-0"},
    {LM_TYPE_FLOAT8, "5e-324", "5e-324"},
    {LM_TYPE_FLOAT8, "1e308", "1e+308"},
    {LM_TYPE_FLOAT8, "0/0", "NaN"},
    {LM_TYPE_FLOAT8, "math.huge", "Infinity"},
    {LM_TYPE_FLOAT8, "-math.huge", "-Infinity"},
    {LM_TYPE_FLOAT8, "1 << 53", "9007199254740992"},
    {LM_TYPE_FLOAT8, "-(1 << 53)", "-9007199254740992"},
    {LM_TYPE_FLOAT4, "1.5", "1.5"},
    {LM_TYPE_FLOAT4, "7", "7"},
    {LM_TYPE_FLOAT4, "1 << 24", "16777216"},
    {LM_TYPE_FLOAT4, "-(1 << 24)", "-16777216"},
    {LM_TYPE_FLOAT4, "16777217.0", "16777217"},
    {LM_TYPE_NUMERIC, "'123456789012345678901234567890.5'",
     "123456789012345678901234567890.5"},
    {LM_TYPE_NUMERIC, "math.maxinteger", "9223372036854775807"},
    {LM_TYPE_NUMERIC, "0.1", "0.1"},
    {LM_TYPE_NUMERIC, "0/0", "NaN"},
    {LM_TYPE_TEXT, "''", ""},
    {LM_TYPE_TEXT, "'NULL'", "NULL"},
    {LM_TYPE_TEXT, "'\\u{e9}\\u{20ac}\\u{1F600}'",
     "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"},
    {LM_TYPE_NAME, "'a\\\\b\"c'", "a\\b\"c"},
    {2950 /* uuid */, "'00000000-0000-0000-0000-000000000000'",
     "00000000-0000-0000-0000-000000000000"},
    {LM_TYPE_BYTEA, "''", "\\x"},
    {LM_TYPE_BYTEA, "'\\0\\xff\\x10a'", "\\x00ff1061"},
    {LM_TYPE_INT4, "nil", NULL},
    {LM_TYPE_INT4, "luamig.NULL", NULL},
    {LM_TYPE_TEXT, "luamig.NULL", NULL},
    {LM_TYPE_BOOL, "nil", NULL},
    {LM_TYPE_BYTEA, "luamig.or_null(nil)", NULL},
};

static void
test_each_type_takes_what_belongs_to_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < LM_COUNT(accepted); i++) {
        struct lm_type type = {.oid = accepted[i].type,
                               .base = accepted[i].type,
                               .name = "a_type"};
        struct lm_buf out = LM_BUF_INIT;
        struct lm_err err;
        bool is_null = accepted[i].text != NULL;

        push_expression(accepted[i].expression);
        if (!lm_value_encode(vm.L, -1, &type, &out, &is_null, &err))
            fail_msg("%s: %s", accepted[i].expression, err.message);
        assert_int_equal(is_null, accepted[i].text == NULL);
        if (accepted[i].text != NULL) {
            assert_string_equal(lm_buf_text(&out), accepted[i].text);
            assert_int_equal(out.len, strlen(accepted[i].text) + 1);
        } else {
            assert_int_equal(out.len, 0);
        }
        lm_buf_release(&out);
        lua_pop(vm.L, 1);
        assert_int_equal(lua_gettop(vm.L), 0);
    }
}

static const struct {
    uint32_t type;
    const char *expression;
    const char *message;
} refused[] = {
    {LM_TYPE_BOOL, "1", "an integer cannot be written to type a_type"},
    {LM_TYPE_BOOL, "'true'", "a string cannot be written to type a_type"},
    {LM_TYPE_INT2, "32768", "32768 is out of range for type a_type"},
    {LM_TYPE_INT2, "-32769", "-32769 is out of range for type a_type"},
    {LM_TYPE_INT4, "2147483648", "2147483648 is out of range"},
    {LM_TYPE_INT4, "-2147483649", "-2147483649 is out of range"},
    {LM_TYPE_INT4, "1.0", "a float cannot be written to type a_type"},
    {LM_TYPE_INT8, "2^53", "a float cannot be written"},
    {LM_TYPE_INT8, "0/0", "a float cannot be written"},
    {LM_TYPE_INT8, "'1'", "a string cannot be written"},
    {LM_TYPE_INT8, "true", "a boolean cannot be written"},
    {LM_TYPE_OID, "-1", "-1 is out of range"},
    {LM_TYPE_OID, "4294967296", "4294967296 is out of range"},
    {LM_TYPE_FLOAT8, "(1 << 53) + 1", "9007199254740993 would be rounded"},
    {LM_TYPE_FLOAT8, "-(1 << 53) - 1", "-9007199254740993 would be rounded"},
    {LM_TYPE_FLOAT4, "math.maxinteger", "would be rounded"},
    {LM_TYPE_FLOAT8, "'0.5'", "a string cannot be written"},
    {LM_TYPE_NUMERIC, "true", "a boolean cannot be written"},
    {LM_TYPE_NUMERIC, "{}", "a table cannot be written"},
    {LM_TYPE_NUMERIC, "'1\\0'", "a string that is not a decimal number"},
    {LM_TYPE_TEXT, "1", "an integer cannot be written to type a_type"},
    {LM_TYPE_TEXT, "1.5", "a float cannot be written"},
    {LM_TYPE_TEXT, "true", "a boolean cannot be written"},
    {LM_TYPE_TEXT, "{}", "a table cannot be written"},
    {LM_TYPE_TEXT, "luamig.ALL", "luamig.ALL cannot be written"},
    {LM_TYPE_TEXT, "print", "a function cannot be written"},
    {LM_TYPE_TEXT, "io.stdout", "a userdata or thread cannot be written"},
    {LM_TYPE_TEXT, "coroutine.create(print)",
     "a userdata or thread cannot be written"},
    {LM_TYPE_TEXT, "'ab\\0cd'", "a string with a NUL byte (at byte 3)"},
    {LM_TYPE_TEXT, "'abc\\xff'", "not valid UTF-8 (at byte 4)"},
    {LM_TYPE_TEXT, "'\\xed\\xa0\\x80'", "not valid UTF-8 (at byte 1)"},
    {LM_TYPE_TEXT, "'abc\\xc3'", "not valid UTF-8 (at byte 4)"},
    {LM_TYPE_BYTEA, "1", "an integer cannot be written"},
};

static void
test_everything_else_is_refused_and_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < LM_COUNT(refused); i++) {
        struct lm_type type = {
            .oid = refused[i].type, .base = refused[i].type, .name = "a_type"};
        struct lm_buf out = LM_BUF_INIT;
        struct lm_err err;
        bool is_null = false;

        push_expression(refused[i].expression);
        if (lm_value_encode(vm.L, -1, &type, &out, &is_null, &err))
            fail_msg("accepted: %s", refused[i].expression);
        assert_int_equal(err.kind, LM_ERR_FAILED);
        assert_contains(err.message, refused[i].message);
        lm_buf_release(&out);
        lua_pop(vm.L, 1);
        assert_int_equal(lua_gettop(vm.L), 0);
    }
}

/* The rules are the base type's, the name is the domain's. */
static void
test_a_domain_takes_what_its_base_type_takes(void **state)
{
    static const struct lm_type domain = {
        .oid = 99999, .base = LM_TYPE_INT2, .name = "small"};
    struct lm_buf out = LM_BUF_INIT;
    struct lm_err err;
    bool is_null;

    (void)state;
    lua_pushinteger(vm.L, 7);
    assert_true(lm_value_encode(vm.L, -1, &domain, &out, &is_null, &err));
    assert_string_equal(lm_buf_text(&out), "7");
    lua_pushinteger(vm.L, 70000);
    assert_false(lm_value_encode(vm.L, -1, &domain, &out, &is_null, &err));
    assert_contains(err.message, "out of range for type small");
    lua_settop(vm.L, 0);
    lm_buf_release(&out);
}

static void
test_floats_read_back_as_the_same_float(void **state)
{
    static const struct lm_type type = {
        .oid = LM_TYPE_FLOAT8, .base = LM_TYPE_FLOAT8, .name = "f"};
    static const double values[] = {0.1,
                                    1.0 / 3,
                                    2.0 / 3,
                                    DBL_MAX,
                                    DBL_MIN,
                                    DBL_EPSILON,
                                    4.9406564584124654e-324,
                                    1.7976931348623155e308,
                                    123456789.123456789,
                                    9007199254740993.0,
                                    1e22,
                                    1e23,
                                    -0.0,
                                    INFINITY,
                                    -INFINITY,
                                    NAN};

    (void)state;
    for (size_t i = 0; i < LM_COUNT(values); i++) {
        struct lm_buf out = LM_BUF_INIT;
        struct lm_err err;
        bool is_null;
        double back;

        lua_pushnumber(vm.L, values[i]);
        assert_true(lm_value_encode(vm.L, -1, &type, &out, &is_null, &err));
        assert_true(
            lmL_push_value(vm.L, &type, lm_buf_text(&out), out.len - 1, &err));
        back = lua_tonumber(vm.L, -1);
        assert_false(lua_isinteger(vm.L, -1));
        assert_true(back == values[i] || (isnan(back) && isnan(values[i])));
        assert_int_equal(signbit(back) != 0, signbit(values[i]) != 0);
        lua_settop(vm.L, 0);
        lm_buf_release(&out);
    }
}

static void
test_bytea_carries_every_byte(void **state)
{
    static const struct lm_type type = {
        .oid = LM_TYPE_BYTEA, .base = LM_TYPE_BYTEA, .name = "bytea"};
    char bytes[256];
    struct lm_err err;

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)i;
    for (size_t len = 0; len <= sizeof bytes; len += len < 3 ? 1 : 253) {
        struct lm_buf out = LM_BUF_INIT;
        size_t back_len;
        const char *back;
        bool is_null;

        lua_pushlstring(vm.L, bytes, len);
        assert_true(lm_value_encode(vm.L, -1, &type, &out, &is_null, &err));
        assert_int_equal(out.len, 2 + 2 * len + 1);
        assert_true(
            lmL_push_value(vm.L, &type, lm_buf_text(&out), out.len - 1, &err));
        back = lua_tolstring(vm.L, -1, &back_len);
        assert_int_equal(back_len, len);
        assert_memory_equal(back, bytes, len);
        lua_settop(vm.L, 0);
        lm_buf_release(&out);
    }
}

static void
test_what_the_server_sends_becomes_lua(void **state)
{
    static const struct {
        uint32_t type;
        const char *text;
        const char *expression;
    } cases[] = {
        {LM_TYPE_BOOL, "t", "true"},
        {LM_TYPE_BOOL, "f", "false"},
        {LM_TYPE_INT2, "-32768", "-32768"},
        {LM_TYPE_INT4, "0", "0"},
        {LM_TYPE_INT8, "9223372036854775807", "math.maxinteger"},
        {LM_TYPE_INT8, "-9223372036854775808", "math.mininteger"},
        {LM_TYPE_OID, "4294967295", "4294967295"},
        {LM_TYPE_FLOAT4, "0.1", "0.1"},
        {LM_TYPE_FLOAT8, "1", "1.0"},
        {LM_TYPE_FLOAT8, "Infinity", "math.huge"},
        {LM_TYPE_FLOAT8, "-Infinity", "-math.huge"},
        {LM_TYPE_NUMERIC, "1.10", "luamig.decimal '1.10'"},
        {LM_TYPE_NUMERIC, "NaN", "luamig.decimal 'NaN'"},
        {LM_TYPE_JSONB, "1.10", "1.1"},
        {LM_TYPE_JSON, " null", "luamig.json.null"},
        {LM_TYPE_TEXT, "", "''"},
        {LM_TYPE_TEXT, "\xC3\xA9", "'\\u{e9}'"},
        {LM_TYPE_BYTEA, "\\x", "''"},
        {LM_TYPE_BYTEA, "\\x00ff09ab", "'\\0\\xff\\9\\xab'"},
        {1082 /* date */, "2024-02-29", "'2024-02-29'"},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        struct lm_type type = {.oid = cases[i].type, .base = cases[i].type};
        struct lm_err err;

        push_expression(cases[i].expression);
        assert_true(lmL_push_value(vm.L, &type, cases[i].text,
                                   strlen(cases[i].text), &err));
        if (!lua_compare(vm.L, -1, -2, LUA_OPEQ))
            fail_msg("%s", cases[i].text);
        assert_int_equal(lua_isinteger(vm.L, -1), lua_isinteger(vm.L, -2));
        assert_int_equal(lua_type(vm.L, -1), lua_type(vm.L, -2));
        lua_settop(vm.L, 0);
    }
}

static void
test_without_a_type_the_lua_type_decides(void **state)
{
    static const struct {
        const char *expression;
        const char *text; /* "!": refused */
    } cases[] = {
        {"true", "t"},    {"12", "12"},    {"0.5", "0.5"},
        {"'x'", "x"},     {"{a=1}", "!"},  {"print", "!"},
        {"'\\xff'", "!"}, {"'a\\0'", "!"}, {"math.huge", "Infinity"},
    };

    (void)state;
    for (size_t i = 0; i < LM_COUNT(cases); i++) {
        static const struct lm_type unknown = {.oid = 0};
        struct lm_buf out = LM_BUF_INIT;
        struct lm_err err;
        bool is_null;
        bool ok;

        push_expression(cases[i].expression);
        ok = lm_value_encode(vm.L, -1, &unknown, &out, &is_null, &err);
        assert_int_equal(ok, strcmp(cases[i].text, "!") != 0);
        if (ok)
            assert_string_equal(lm_buf_text(&out), cases[i].text);
        lua_settop(vm.L, 0);
        lm_buf_release(&out);
    }
}

/* Texts and NULLs keep their places while the buffer below them moves. */
static void
test_parameters_keep_their_order(void **state)
{
    static const struct lm_type unknown = {.oid = 0};
    struct lm_params params = {.count = 0};
    struct lm_values values;
    struct lm_err err;
    char text[32];

    (void)state;
    lm_params_begin(&params, 500);
    for (int i = 0; i < 500; i++) {
        if (i % 3 == 0) {
            lua_pushnil(vm.L);
        } else {
            lua_pushfstring(vm.L, "value %d", i);
        }
        assert_true(lm_params_set(&params, i, vm.L, -1, &unknown, &err));
        lua_pop(vm.L, 1);
    }
    lua_newthread(vm.L);
    assert_false(lm_params_set(&params, 499, vm.L, -1, &unknown, &err));
    lua_pop(vm.L, 1);
    values = lm_params_values(&params);
    assert_int_equal(values.count, 500);
    for (int i = 0; i < 500; i++) {
        snprintf(text, sizeof text, "value %d", i);
        if (i % 3 == 0) {
            assert_null(values.texts[i]);
        } else {
            assert_string_equal(values.texts[i], text);
        }
    }
    lm_params_release(&params);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_type_takes_what_belongs_to_it),
        cmocka_unit_test(test_everything_else_is_refused_and_named),
        cmocka_unit_test(test_a_domain_takes_what_its_base_type_takes),
        cmocka_unit_test(test_floats_read_back_as_the_same_float),
        cmocka_unit_test(test_bytea_carries_every_byte),
        cmocka_unit_test(test_what_the_server_sends_becomes_lua),
        cmocka_unit_test(test_without_a_type_the_lua_type_decides),
        cmocka_unit_test(test_parameters_keep_their_order),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
