/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_MIGRATION_H
#define LM_CORE_MIGRATION_H

/* A migration as the engine knows it: its settings, and functions to call.
 * src/script implements the functions in Lua; a test may implement them in C.
 */

#include "base/err.h"

#include <stdint.h>

struct lm_health_limits;
struct lm_page;
struct lm_repo;
struct lm_stretch;

enum { LM_KEY_PREFIX_SIZE = 48 };

struct lm_run_info {
    int64_t id;
    const char *script;
    int64_t batch; /* from 1; 0 before the first; a one-shot is batch 1 */
    int worker;    /* from 1 */
    int attempt;   /* from 1 */
    bool dry_run;  /* everything is rolled back, and id is 0 */
    bool prepared; /* the rows are those that ops->look has seen last */
    /* what tells its rows from those of all other runs, dry ones too */
    char key_prefix[LM_KEY_PREFIX_SIZE];
    /* reads where the base query does, and is open as long as the callback's
     * repo; NULL: none */
    struct lm_repo *source;
};

enum lm_callback {
    LM_CALL_RUN,      /* the whole of a one-shot */
    LM_CALL_ON_START, /* before the first batch */
    LM_CALL_ON_COMPLETE
};

/* SQLSTATEs of errors of the script: its memory limit is too low; a service
 * that it needs is away. */
#define LM_SCRIPT_NO_MEMORY "LM007"
#define LM_SCRIPT_RETRY     "LM011"

/* What has become of the rows that a script has prepared. */
struct lm_looked {
    int64_t missing; /* rows that are not prepared as they are */
    char column[64]; /* in which one of them has changed; "": all are new */
};

/* Another file whose code runs with the script. */
struct lm_module {
    const char *name; /* the name that the script passes to require */
    const char *file; /* below the project's root, else its path */
    const char *text;
    size_t len;
};

struct lm_migration;

enum lm_input_format { LM_INPUT_CSV, LM_INPUT_JSONL };

/* A column of the file, and its type as the script writes it. */
struct lm_input_column {
    const char *name;
    const char *type;
};

/* What a script says of the file that it reads. */
struct lm_input {
    enum lm_input_format format;
    const struct lm_input_column *columns; /* by name */
    int column_count;
    char delimiter;
    const char *null_text; /* stands for NULL, without quotes; "": nothing */
    const char *encoding;  /* NULL: UTF-8 */
    const char *const
        *header;         /* names of the columns of a file without header */
    int header_count;    /* 0: its first line has them */
    bool ignores_others; /* columns that `columns` does not name */
};

struct lm_migration_ops {
    /* Handles one page inside the batch's transaction: its rows, or, by range,
     * the stretch of the key in which it lies. */
    bool (*migrate)(void *self, const struct lm_page *page,
                    const struct lm_stretch *stretch, struct lm_repo *repo,
                    const struct lm_run_info *info, struct lm_err *err);
    /*
     * What the script does with rows before their transaction; NULL: nothing.
     * look, inside a transaction: which rows of the page are not prepared as
     * they are. prepare, outside of one: the script prepares at most so
     * many of them; *ready of the page's rows, from its first, are prepared
     * now. passed: the page that was looked at is done.
     */
    bool (*look)(void *self, const struct lm_page *page, struct lm_repo *repo,
                 struct lm_looked *out, struct lm_err *err);
    bool (*prepare)(void *self, int64_t most, const struct lm_run_info *info,
                    int64_t *ready, struct lm_err *err);
    void (*passed)(void *self);
    bool (*has)(void *self, enum lm_callback callback);
    bool (*call)(void *self, enum lm_callback callback, struct lm_repo *repo,
                 const struct lm_run_info *info, struct lm_err *err);
    /* Called after a stop or a failure; it cannot change the ending. */
    void (*on_stop)(void *self, const struct lm_run_info *info,
                    const char *reason);
    /* How many modules are loaded so far, and which, in the order of loading.
     * Both are NULL if this is not known. The module lives as long as self. */
    int (*module_count)(void *self);
    void (*module)(void *self, int index, struct lm_module *out);
    /* Loads the migration once more, for the thread that calls this, from the
     * texts of the first loading: self may be at work in another thread. The
     * copy has self's settings and functions of its own; it is used by one
     * thread, and released before self. NULL: it cannot be loaded again.
     * LM_ERR_SCRIPT. */
    bool (*load_again)(void *self, struct lm_migration *out,
                       struct lm_err *err);
    void (*release_copy)(struct lm_migration *copy);
    /* With an input: sets base_query and params in out, for a table, which
     * has the file's records. The texts belong to self. LM_ERR_SCRIPT. */
    bool (*read_input)(void *self, const char *table, struct lm_migration *out,
                       struct lm_err *err);
    bool has_throttle;
    /* How long to wait, and whether to ask again then; 0: continue. */
    bool (*throttle)(void *self, struct lm_repo *repo,
                     const struct lm_run_info *info, int64_t *wait_ms,
                     bool *ask_again, struct lm_err *err);
};

/* Where a script lies, as base/project.h says. */
struct lm_origin {
    const char *file;  /* relative to the project's root, else its path */
    const char *path;  /* absolute, without links */
    const char *typed; /* as the command line had it, made absolute */
    const char *root;  /* of its project; NULL: no project */
    bool marked;       /* the root is marked, not guessed */
};

/* The arguments of a run, as JSON objects by name. They never have the value
 * of a secret. */
struct lm_arguments {
    const char *given;    /* the texts that were given */
    const char *defaults; /* the values of the defaults */
    const char *declared; /* { "type": of JSON, "required":, "secret": } */
};

struct lm_migration {
    const char *name;
    struct lm_origin origin;
    const char *source;
    const char *args_json; /* all that have a value and are no secrets */
    struct lm_arguments arguments;
    const char *config_json;

    bool one_shot; /* then the fields down to start_after are unused */
    const struct lm_input *input; /* NULL: none. With one, base_query is NULL
                                     until ops->read_input */
    bool whole_input;             /* ... and returns each record of the file */
    bool by_range; /* the script gets stretches of the key, and no rows */
    const char *base_query;
    const char *const *params;
    int param_count;
    const char *const *key;
    int key_count;
    const char *const *start_after; /* key_count texts, or NULL */
    bool follow_new;
    bool assume_unique;
    int64_t batch_size;
    int64_t target_ms; /* time that a batch should take; 0: no target */
    int64_t throttle_ms;
    int64_t max_failures;
    int64_t workers; /* 0: "auto" */

    const char *isolation;
    const char *timezone; /* NULL: UTC */
    /* The repo of luamig.lua in whose database the base query reads; NULL: the
     * run's own. */
    const char *reads_from;
    int64_t statement_timeout_ms;
    int64_t lock_timeout_ms;
    int64_t prepare_timeout_ms; /* of one call of ops->prepare */
    int retries;
    bool row_security; /* policies may hide rows from the run */
    bool durable_batches;
    bool combine;        /* successive writes may become one statement */
    bool allow_ddl;      /* scripts may change the schema */
    bool allow_unjudged; /* they may run SQL that the guard cannot judge */
    bool combine_always; /* even if triggers could notice it */
    bool repeatable;
    /* on_error = "quarantine": record failed rows and continue */
    bool record_failures;
    bool keep_failed_rows; /* the journal also keeps the row's values */

    const struct lm_health_limits *health; /* core/health/health.h */
    const struct lm_migration_ops *ops;
    void *self;
};

#endif
