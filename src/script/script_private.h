/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_SCRIPT_PRIVATE_H
#define LM_SCRIPT_SCRIPT_PRIVATE_H

/* A script that is loaded: script.c fills it, script_call.c calls it. */

#include "base/project.h"
#include "core/health.h"
#include "script/params.h"
#include "script/script.h"
#include "script/sites.h"
#include "script/vm.h"

struct lm_script {
    struct lm_vm vm;
    struct lm_place place;
    char *typed;    /* the path as it was given, made absolute */
    int definition; /* registry reference */
    int loaded;     /* likewise: the list of modules */
    struct lm_migration migration;
    const char *repo;
    struct lm_migration_ops ops;
    bool has[LM_CALL_ON_COMPLETE + 1];
    bool has_on_stop;
    const char **key;
    struct lm_health_limits health;
    struct lm_params base_params;
    struct lm_params start_after;
    struct lm_sites sites;
    const struct lm_observer *observer; /* or NULL */
};

/* Notes which functions the definition, at index 2, has, and how they are
 * called. [-0, +0, raises] */
void lmL_read_ops(lua_State *L, struct lm_script *self);

#endif
