/* SPDX-License-Identifier: MIT */
/*
 * Sends a call to the server: encodes the Lua values on the stack as
 * parameters of the statement's or shape's types, then executes, posts or
 * combines it.
 *
 * Nothing here raises or runs a script's code. The binding keeps the encoded
 * values until the next call. An error names the parameter as the caller does,
 * and has the script's line, also in the repo's failure.
 *
 * Refuses more or fewer values than the statement has parameters, and more
 * than the protocol allows.
 */

#include "script/bind/private.h"

#include "script/vm/vm.h"

void
lm_call_note(struct lm_call *call, struct lm_err *err)
{
    if (err->where[0] == '\0')
        LM_ERR_COPY(err->where, call->where);
    lm_repo_note_place(call->repo, call->where);
}

bool
lm_call_fail_table(struct lm_call *call, const char *table, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_FAILED, "\"%s\" is not a table name", table);
    lm_err_hint(err, "Write table or schema.table. Put double quotes around a "
                     "name that has a dot in it.");
    lm_call_note(call, err);
    return false;
}

int
lmL_raise_noted(lua_State *L, struct lm_call *call, struct lm_err *err)
{
    lm_call_note(call, err);
    return lmL_raise(L, err);
}

/* Encodes parameter i, which is the value at first + i. */
static bool
encode_one(lua_State *L, struct lm_call *call, int first, int i,
           const struct lm_type *type, struct lm_call_names names,
           struct lm_err *err)
{
    char name[256];

    if (lm_params_set(&call->binding->params, i, L, first + i, type, err))
        return true;
    names.namer(name, sizeof name, i, names.arg);
    return lm_err_prefix(err, "%s", name);
}

static bool
encode_all(lua_State *L, struct lm_call *call, const struct lm_stmt *stmt,
           int first, struct lm_call_names names, struct lm_err *err)
{
    lm_params_begin(&call->binding->params, lm_stmt_param_count(stmt));
    for (int i = 0; i < lm_stmt_param_count(stmt); i++) {
        const struct lm_type *type;

        if (!lm_repo_type(call->repo, lm_stmt_param_type(stmt, i), &type,
                          err) ||
            !encode_one(L, call, first, i, type, names, err))
            return false;
    }
    return true;
}

static bool
fail_param_count(const struct lm_stmt *stmt, int count, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_FAILED,
               "the statement has %d parameters, but %d values are given",
               lm_stmt_param_count(stmt), count);
    LM_ERR_COPY(err->sql, lm_stmt_sql(stmt));
    lm_err_hint(
        err,
        "Pass each value, also a nil at the end of the list. A function call "
        "at the end of the list may return fewer values than you expect.");
    return false;
}

static bool
check_param_count(const char *sql, int count, struct lm_err *err)
{
    if (count <= LM_MAX_PARAMS)
        return true;
    lm_err_set(err, LM_ERR_FAILED,
               "%d parameters are given, but a statement cannot have more than "
               "%d",
               count, LM_MAX_PARAMS);
    LM_ERR_COPY(err->sql, sql);
    lm_err_hint(err, "Pass one array, as in \"id = ANY ($1::bigint[])\", write "
                     "rows with repo:insert_all, or take smaller batches.");
    return false;
}

/* Prepares sql and encodes its parameters. */
static bool
get_ready(lua_State *L, struct lm_call *call, const char *sql, int first,
          int count, struct lm_call_names names, struct lm_stmt **stmt,
          struct lm_err *err)
{
    bool ok = check_param_count(sql, count, err) &&
              lm_repo_prepare(call->repo, sql, call->every_row, call->where,
                              stmt, err);

    if (ok && lm_stmt_param_count(*stmt) != count)
        ok = fail_param_count(*stmt, count, err);
    return ok && encode_all(L, call, *stmt, first, names, err);
}

bool
lm_call_run(lua_State *L, struct lm_call *call, const char *sql, int first,
            int count, struct lm_call_names names, struct lm_result **out,
            struct lm_err *err)
{
    struct lm_stmt *stmt = NULL;
    bool ok =
        get_ready(L, call, sql, first, count, names, &stmt, err) &&
        lm_repo_execute(call->repo, stmt,
                        lm_params_values(&call->binding->params), out, err);

    if (!ok)
        lm_call_note(call, err);
    return ok;
}

bool
lm_call_write(lua_State *L, struct lm_call *call, const char *sql, int first,
              int count, struct lm_call_names names,
              const struct lm_shape *shape, struct lm_write **out,
              struct lm_err *err)
{
    struct lm_stmt *stmt = NULL;
    bool ok = get_ready(L, call, sql, first, count, names, &stmt, err);

    if (ok) {
        struct lm_values values = lm_params_values(&call->binding->params);

        if (*out == NULL)
            *out = lm_repo_write(call->repo, call->where);
        if (shape != NULL)
            lm_write_expect_one(*out, shape, values);
        ok = lm_repo_post(call->repo, stmt, values, *out, err);
        if (ok && !lm_repo_may_post(stmt))
            ok = lm_repo_flush(call->repo, err);
    }
    if (!ok)
        lm_call_note(call, err);
    return ok;
}

bool
lm_call_combine_params(struct lm_call *call, struct lm_shape *shape,
                       struct lm_write **out, struct lm_err *err)
{
    struct lm_values values = lm_params_values(&call->binding->params);

    if (*out == NULL)
        *out = lm_repo_write(call->repo, call->where);
    if (lm_repo_combine(call->repo, shape, values, *out, err))
        return true;
    lm_call_note(call, err);
    return false;
}

bool
lm_call_combine(lua_State *L, struct lm_call *call, struct lm_shape *shape,
                int first, struct lm_call_names names, struct lm_write **out,
                struct lm_err *err)
{
    int count = lm_shape_column_count(shape);

    lm_params_begin(&call->binding->params, count);
    for (int i = 0; i < count; i++) {
        if (!encode_one(L, call, first, i, shape->types[i], names, err)) {
            lm_call_note(call, err);
            return false;
        }
    }
    return lm_call_combine_params(call, shape, out, err);
}
