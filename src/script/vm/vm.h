/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_VM_VM_H
#define LM_SCRIPT_VM_VM_H

/*
 * The Lua state: its memory cap, its libraries, the modules compiled in, and
 * the one place where Lua code is called.
 *
 * Functions named lmL_ may raise a Lua error and are called from Lua C
 * functions only; lm_ functions never raise.
 *
 * Registry, keyed by the addresses of these variables:
 *     lm_vm_handler_key    message handler: makes every error a table
 *     lm_vm_new_error_key  luamig.errors.new
 *     lm_vm_null_key       luamig.NULL
 *     lm_vm_all_key        luamig.ALL
 */

#include "base/err.h"
#include "script/vm/pool.h"

#include <lua.h>

extern const char lm_vm_handler_key;
extern const char lm_vm_new_error_key;
extern const char lm_vm_null_key;
extern const char lm_vm_all_key;

struct lm_vm {
    lua_State *L;
    bool is_deaf;        /* two signals do not end its code */
    int64_t deadline_ms; /* when its code ends with an error; 0: never */
    size_t used;
    size_t cap; /* bytes that Lua may use in all */
    struct lm_pool pool;
};

/* A state with the standard libraries, cjson and luamig's modules. self must
 * not move afterwards. */
bool lm_vm_init(struct lm_vm *self, struct lm_err *err) LM_MUSTCHECK;
void lm_vm_release(struct lm_vm *self);

/* If so, two signals do not end its code, also if they have done so before. */
void lm_vm_ignore_signals(struct lm_vm *self, bool ignore);

/* When the code that it calls from now on has to end, by the clock; 0: never. It
 * does so where Lua runs, not in a function of C. */
void lm_vm_set_deadline(struct lm_vm *self, int64_t deadline_ms);

/* Modules are not found in the working directory any more, unless the
 * environment names it: others may write to it. [-0, +0, memory] */
void lmL_leave_cwd(lua_State *L);

/* Takes os.setlocale away, also for those who require "os": the locale is the
 * process's, and changes how all its threads read and write numbers.
 * [-0, +0, memory] */
void lmL_leave_locale(lua_State *L);

/*
 * Calls the function below its nargs arguments and leaves nresults results, or
 * nothing on failure. [-(nargs + 1), +nresults]. The error says what Lua's
 * error object said, with the traceback; LM_ERR_INTERRUPT after two signals.
 */
bool lm_vm_call(lua_State *L, int nargs, int nresults,
                struct lm_err *err) LM_MUSTCHECK;

/* Raises err as an error object of luamig.errors, with position "file:line" of
 * the calling Lua function unless err has one. [-0, +0, raises] */
int lmL_raise(lua_State *L, const struct lm_err *err);

/* Pushes err as an error object. [-0, +1, memory] */
void lmL_push_error(lua_State *L, const struct lm_err *err);

/* Copies "file:line" of the running Lua function that called C; "" when there
 * is none. Level 1 is the caller of the current C function. */
void lmL_where(lua_State *L, int level, char *where, size_t size);

#endif
