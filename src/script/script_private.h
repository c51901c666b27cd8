/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_SCRIPT_PRIVATE_H
#define LM_SCRIPT_SCRIPT_PRIVATE_H

/* A script that is loaded: script.c fills it, script_call.c calls it. */

#include "core/health/health.h"
#include "script/bind/sites.h"
#include "script/recipe.h"
#include "script/script.h"
#include "script/value/params.h"
#include "script/vm/vm.h"

struct lm_script {
    struct lm_vm vm;
    struct lm_recipe *recipe;
    const struct lm_script *original; /* owns the recipe; NULL: this one does */
    int definition;                   /* registry reference */
    int loaded;                       /* likewise: the list of modules */
    int prepared; /* likewise: of luamig.prepared; LUA_NOREF: no prepare */
    char key_prefix[LM_KEY_PREFIX_SIZE]; /* of run.key_of */
    struct lm_migration migration;
    const char *repo;
    struct lm_migration_ops ops;
    bool has[LM_CALL_ON_COMPLETE + 1];
    bool has_on_stop;
    const char **key;
    struct lm_input input;
    struct lm_input_column *columns; /* of the input */
    const char **header;             /* likewise */
    struct lm_health_limits health;
    struct lm_params base_params;
    struct lm_params start_after;
    struct lm_sites sites;
};

/* What ops->load_again and ops->release_copy promise. */
bool lm_script_load_again(void *self, struct lm_migration *out,
                          struct lm_err *err) LM_MUSTCHECK;
void lm_script_release_copy(struct lm_migration *copy);

/* Notes which functions the definition, at index 2, has, and how they are
 * called. [-0, +0, raises] */
void lmL_read_ops(lua_State *L, struct lm_script *self);

/* The run object of a callback, for a definition at that index; migrates: it is
 * migrate; source: where run.source is on the stack, or 0. [-0, +1, raises] */
void lmL_push_run(lua_State *L, struct lm_script *script, int definition,
                  const struct lm_run_info *info, bool migrates, int source);

/* prepare.c: the same as lmL_read_ops for prepare. [-0, +0, raises] */
void lmL_read_prepare(lua_State *L, struct lm_script *self);

/* script_input.c: reads field "input" of the definition, at index 2, if it has
 * one. [-0, +0, raises] */
void lmL_read_input(lua_State *L, struct lm_script *self);
/* What ops->read_input promises. */
bool lm_script_read_input(void *self, const char *table,
                          struct lm_migration *out,
                          struct lm_err *err) LM_MUSTCHECK;
/* script.c: reads base_query and base_params of the definition, at index 2.
 * [-0, +0, raises] */
void lmL_read_base_query(lua_State *L, struct lm_script *self);

/* script_args.c: the arguments that a script is given, on their way from
 * "name=value" to Lua. */

/* Has each argument the form NAME=VALUE, and is none given twice?
 * LM_ERR_USAGE. */
bool lm_script_check_args(const struct lm_script_options *options,
                          struct lm_err *err) LM_MUSTCHECK;

/* Sets fields in the table at the top, for luamig.script: args, { name =
 * "value" }; hidden, the set of arguments that came in a hidden way
 * (options->secret_count); and kept, in the form of args. */
void lmL_set_args(lua_State *L, const struct lm_script_options *options);

/* Adds a line for each argument in the list at the top, which is what
 * luamig.script.args declared: "  --arg tenant=integer (required)". */
void lmL_describe_args(lua_State *L, struct lm_buf *out);

#endif
