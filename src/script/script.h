/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_SCRIPT_H
#define LM_SCRIPT_SCRIPT_H

/*
 * A migration script: loaded and checked by the Lua module luamig.script, and
 * handed to the engine as a struct lm_migration.
 */

#include "core/migration.h"

struct lm_script;
struct lm_observer; /* script/bind/observe.h */

enum { LM_SCRIPT_WORKERS_AUTO = -1 };

/* What the command line and the project file say about a script. */
struct lm_script_options {
    const char *const *args; /* "name=value" each */
    int arg_count;
    /* How many of the last args came in a hidden way (file, stdin or
     * variable), as secrets must. -1: a test's, not checked. */
    int secret_count;
    /* "name=value" each, from an earlier run: for declared arguments that are
     * not in args and not secret; others are ignored. */
    const char *const *kept;
    int kept_count;
    int64_t batch_size;  /* -1: as the script says */
    int64_t target_ms;   /* likewise */
    int64_t throttle_ms; /* likewise */
    int64_t workers;     /* 0: as the script says */
    /* What the project file says for keys that config leaves out; may be
     * NULL. */
    const char *defaults_json;
    const struct lm_observer *observer; /* NULL: nobody; outlives the script */
};

/* LM_ERR_SCRIPT, or LM_ERR_USAGE for an argument or option that is wrong. */
bool lm_script_load(struct lm_script **out, const char *path,
                    const struct lm_script_options *options,
                    struct lm_err *err) LM_MUSTCHECK;
void lm_script_free(struct lm_script *self); /* NULL is allowed */

/* Owned by the script. */
const struct lm_migration *lm_script_migration(const struct lm_script *self);

/* The repo that the script is for (config.repo); owned by the script. */
const char *lm_script_repo(const struct lm_script *self);

/* Adds a description of the declared arguments, one a line; nothing if there
 * are none. Loads the script without values for them. */
bool lm_script_describe(const char *path, struct lm_buf *out,
                        struct lm_err *err) LM_MUSTCHECK;

/* A file is given, and the script reads none: LM_ERR_USAGE. Always false. */
bool lm_script_fail_unread(const char *path, struct lm_err *err);

#endif
