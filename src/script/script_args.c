/* SPDX-License-Identifier: MIT */
/* A script's arguments on their way from the command line to Lua; see the
 * header. */

#include "script/script_private.h"

#include "script/value/fields.h"

#include <lauxlib.h>
#include <string.h>

/* Is the name of argument i, "name=" in len bytes, that of one before it? */
static bool
is_given_before(const struct lm_script_options *options, int i, size_t len)
{
    for (int j = 0; j < i; j++) {
        if (strncmp(options->args[j], options->args[i], len) == 0)
            return true;
    }
    return false;
}

bool
lm_script_check_args(const struct lm_script_options *options,
                     struct lm_err *err)
{
    for (int i = 0; i < options->arg_count; i++) {
        const char *arg = options->args[i];
        const char *equals = strchr(arg, '=');

        if (equals == NULL || equals == arg) {
            return lm_err_set(err, LM_ERR_USAGE,
                              "--arg takes NAME=VALUE, not \"%s\"", arg);
        }
        if (is_given_before(options, i, (size_t)(equals - arg) + 1)) {
            return lm_err_set(err, LM_ERR_USAGE,
                              "argument \"%.*s\" is given twice",
                              (int)(equals - arg), arg);
        }
    }
    return true;
}

/* Pushes { name = "value" } of those from one on, up to another. */
static void
push_values(lua_State *L, const char *const *args, int from, int to)
{
    lua_newtable(L);
    for (int i = from; i < to; i++) {
        const char *equals = strchr(args[i], '=');

        lua_pushlstring(L, args[i], (size_t)(equals - args[i]));
        lua_pushstring(L, equals + 1);
        lua_rawset(L, -3);
    }
}

void
lmL_set_args(lua_State *L, const struct lm_script_options *options)
{
    push_values(L, options->args, 0, options->arg_count);
    lua_setfield(L, -2, "args");
    push_values(L, options->kept, 0, options->kept_count);
    lua_setfield(L, -2, "kept");
    if (options->secret_count >= 0) {
        push_values(L, options->args,
                    options->arg_count - options->secret_count,
                    options->arg_count);
        lua_setfield(L, -2, "hidden");
    }
}

/* How the argument at the top is given. */
static void
describe_arg(lua_State *L, struct lm_buf *out)
{
    const char *name = lmL_text_field(L, -1, "name");

    if (lmL_bool_field(L, -1, "secret")) {
        lm_buf_printf(out,
                      "  --arg-env %s=VARIABLE or --arg-file %s=PATH (secret)",
                      name, name);
    } else {
        lm_buf_printf(out, "  --arg %s=%s", name,
                      lmL_text_field(L, -1, "type"));
    }
}

void
lmL_describe_args(lua_State *L, struct lm_buf *out)
{
    int specs = lua_gettop(L);

    for (lua_Integer i = 1; i <= (lua_Integer)lua_rawlen(L, specs); i++) {
        const char *text;

        lua_rawgeti(L, specs, i);
        describe_arg(L, out);
        if (lmL_bool_field(L, -1, "required"))
            lm_buf_puts(out, " (required)");
        lua_getfield(L, -1, "default");
        if (!lua_isnil(L, -1)) {
            lm_buf_printf(out, " (default: %s)", luaL_tolstring(L, -1, NULL));
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
        text = lmL_text_field(L, -1, "desc");
        if (text != NULL)
            lm_buf_printf(out, "\n        %s", text);
        lm_buf_putc(out, '\n');
        lua_pop(L, 1);
    }
}
