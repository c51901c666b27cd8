/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_MIGRATION_H
#define LM_CORE_MIGRATION_H

/*
 * What the engine knows of a migration: its settings, and functions to call.
 * The Lua side implements it in src/script; tests may do so in C.
 *
 * A new key of config begins in lua/luamig/script/config.lua, which checks it. Then
 * script/script.c puts it into a member of struct lm_migration.
 */

#include "base/err.h"

#include <stdint.h>

struct lm_health_limits;
struct lm_page;
struct lm_repo;

struct lm_run_info {
    int64_t id;
    const char *script;
    int64_t batch; /* from 1, a one-shot being one; 0 before the first */
    int attempt;   /* from 1 */
    bool dry_run;  /* all of it is rolled back; id is 0 then */
};

enum lm_callback {
    LM_CALL_RUN,      /* the whole of a one-shot */
    LM_CALL_ON_START, /* before the first batch */
    LM_CALL_ON_COMPLETE
};

/* SQLSTATE of an error of the script's code: its memory did not suffice. */
#define LM_SCRIPT_NO_MEMORY "LM007"

/* A file, beside the script, whose code runs. */
struct lm_module {
    const char *name; /* as the script requires it */
    const char *file; /* below the project's root, else its path */
    const char *text;
    size_t len;
};

struct lm_migration_ops {
    /* Handles one page inside the batch's transaction. */
    bool (*migrate)(void *self, const struct lm_page *page,
                    struct lm_repo *repo, const struct lm_run_info *info,
                    struct lm_err *err);
    bool (*has)(void *self, enum lm_callback callback);
    bool (*call)(void *self, enum lm_callback callback, struct lm_repo *repo,
                 const struct lm_run_info *info, struct lm_err *err);
    /* After a stop or a failure; cannot change it. */
    void (*on_stop)(void *self, const struct lm_run_info *info,
                    const char *reason);
    /* How many have been loaded so far, and which; in the order of loading.
     * Both are NULL where nobody knows. What they give lives with self. */
    int (*module_count)(void *self);
    void (*module)(void *self, int index, struct lm_module *out);
    bool has_throttle;
    /* How long to wait, and whether to ask again after that; 0: go on. */
    bool (*throttle)(void *self, struct lm_repo *repo,
                     const struct lm_run_info *info, int64_t *wait_ms,
                     bool *ask_again, struct lm_err *err);
};

/* Where a script lies, as base/project.h says. */
struct lm_origin {
    const char *file;  /* relative to the project's root, else its path */
    const char *path;  /* absolute, without links */
    const char *typed; /* as the command line had it, made absolute */
    const char *root;  /* of its project; NULL: it is in none */
    bool marked;       /* the root is marked, not guessed */
};

/* What a run's arguments are known by: JSON objects by name. No value of a
 * secret is among them. */
struct lm_arguments {
    const char *given;    /* the texts of what was given */
    const char *defaults; /* the values of what has a default */
    const char *declared; /* { "type": of JSON, "required":, "secret": } */
};

struct lm_migration {
    const char *name;
    struct lm_origin origin;
    const char *source;
    const char *args_json; /* all that have a value and are no secrets */
    struct lm_arguments arguments;
    const char *config_json;

    bool one_shot; /* what follows up to start_after is then unused */
    const char *base_query;
    const char *const *params;
    int param_count;
    const char *const *key;
    int key_count;
    const char *const *start_after; /* key_count texts, or NULL */
    bool follow_new;
    bool assume_unique;
    int64_t batch_size;
    int64_t target_ms; /* how long a batch should take; 0: as it will */
    int64_t throttle_ms;
    int64_t max_failures;

    const char *isolation;
    const char *timezone; /* NULL: UTC */
    int64_t statement_timeout_ms;
    int64_t lock_timeout_ms;
    int retries;
    bool row_security; /* policies may hide rows from the run */
    bool durable_batches;
    bool combine;        /* successive writes may become one statement */
    bool allow_ddl;      /* scripts may change the schema */
    bool allow_unjudged; /* they may run what the guard cannot read */
    bool combine_always; /* also where triggers can tell the difference */
    bool repeatable;
    bool record_failures;  /* set rows at fault aside instead of failing */
    bool keep_failed_rows; /* the journal keeps the row itself, too */

    const struct lm_health_limits *health; /* core/health/health.h */
    const struct lm_migration_ops *ops;
    void *self;
};

#endif
