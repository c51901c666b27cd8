/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_REPO_PRIVATE_H
#define LM_CORE_REPO_PRIVATE_H

/* What only the repo's own files share. */

#include "core/repo/repo.h"

struct lm_write {
    struct lm_writes *home;
    const char *where; /* file:line of the call; not owned */
    int64_t pending;   /* statements, or rows, without an answer */
    int64_t affected;  /* rows written, by the answers so far */
    /* a row of this shape was not written; unknown which */
    struct lm_shape *vague;
    const struct lm_shape *shape; /* each statement must write exactly one row,
                                     or none if it may miss; NULL: any number;
                                     not owned */
    char *key;                    /* its values, each ended by a NUL */
    bool undone;                  /* rolled back with its savepoint */
    bool returns;                 /* its row */
    struct lm_result *row;        /* that, when it has come; owned */
};

/* The first write that did not write exactly one row, and why. */
struct lm_blame {
    const struct lm_write *write; /* NULL: none; not owned */
    int64_t rows;                 /* how many rows it wrote */
    bool is_there;                /* the row exists */
    /* triggers or rules that may have replaced the write; NULL: none */
    char *causes;
    char *hiding_causes; /* ... that may have hidden or removed the row */
};

enum { LM_MAX_GROUPS = 8, LM_MAX_SAVEPOINTS = 64 };

/* Writes of one shape that wait to become one statement. An empty group may be
 * used again. */
struct lm_group {
    struct lm_shape *shape;
    struct lm_buf *arrays; /* an array literal a column, still open */
    struct lm_buf *first;  /* the first row, in case it stays alone */
    bool *first_nulls;
    const char **texts; /* of the statement that is posted */
    struct lm_write **writes;
    size_t rows;
    size_t room;
    size_t bytes;   /* of the rows' texts, about */
    size_t goal;    /* the group is sent when it has so many rows */
    uint64_t *keys; /* hashes of those in the group; 0 is free */
    size_t key_room;
};

struct lm_repo {
    struct lm_conn *conn; /* not owned */
    uint64_t conn_serial; /* the connection of the known types and shapes */
    uint64_t checked;     /* the transaction in which the shapes were checked */
    const struct lm_base_query *paged; /* not owned; NULL: no base query */
    struct lm_types types;
    struct lm_guard guard;
    struct lm_repo_options options;
    bool follows_new; /* pages have no last key */
    bool paged_elsewhere;
    bool warned; /* about inserts into the paged table */
    bool open;
    bool failed;
    struct lm_err failure; /* the first database error */
    struct lm_blame blame; /* if the failure is a wrong row count */
    int savepoints;
    int64_t writes_before[LM_MAX_SAVEPOINTS]; /* those made before each */
    struct lm_writes *writes; /* made since the repo was opened */
    bool unsure;              /* writes of one row are in flight */

    bool combine; /* writes of one shape */
    struct lm_shapes shapes;
    bool shapes_trusted; /* they were checked in this transaction */
    bool shapes_changed; /* the transaction itself may have changed them */
    bool stale;          /* ... and the prepared statements, too */
    struct lm_group groups[LM_MAX_GROUPS];
    int group_count;
    bool reordered;       /* writes in flight were sent before earlier calls */
    bool overtaken;       /* ... at some time since the repo was opened */
    bool combined_failed; /* one by one, another write might fail */
};

/* The records of the writes of one callback. The repo and each statement in
 * flight use them; the last one frees them. */
struct lm_writes {
    struct lm_repo *repo; /* NULL: the repo does not need them any more */
    struct lm_write_block *blocks;
    struct lm_flight *flights; /* combined statements */
    int64_t made;
    int64_t in_flight;
};
/* A combined statement. */
struct lm_flight {
    struct lm_flight *next;
    struct lm_writes *home;
    /* not owned; gone when the repo has released them */
    struct lm_shape *shape;
    struct lm_write **writes;
    size_t rows;
};
/* The repo's records. A statement is in flight until its answer has come
 * (land). */
struct lm_writes *lm_repo_writes(struct lm_repo *self);
void lm_writes_land(struct lm_writes *self);
/* Releases the records. */
void lm_repo_forget_writes(struct lm_repo *self);
/* All writes but the first ones, so many, were rolled back. */
void lm_repo_undo_writes(struct lm_repo *self, int64_t kept);
/* Is anything in flight? */
bool lm_repo_awaits(const struct lm_repo *self);
/* The first failure of the repo. */
void lm_repo_note_failure(struct lm_repo *self, const struct lm_err *err);

/* Keeps err as the failure, if it is the first; *err becomes the first
 * failure. Always false. */
bool lm_repo_fail_with(struct lm_repo *self, struct lm_err *err);
/* Has nothing failed, by the answers so far? If something has, *err is the
 * first failure. */
bool lm_repo_has_no_failure(struct lm_repo *self, struct lm_err *err);
/* lm_repo_post for a statement of luamig's own. */
bool lm_repo_post_kept(struct lm_repo *self, const struct lm_stmt *stmt,
                       struct lm_values values, struct lm_write *write,
                       struct lm_err *err) LM_MUSTCHECK;

/* Warns, once a run, of inserts that the run itself may migrate. */
bool lm_repo_judge_insert(struct lm_repo *self, const struct lm_form *form,
                          struct lm_err *err) LM_MUSTCHECK;

/*
 * A write did not write exactly one row: sets err, without a question to the
 * server, because answers are being read. Later, inside the transaction,
 * lm_repo_explain adds which trigger or rule replaced the write; it does
 * nothing if there is nothing to explain.
 */
void lm_repo_note_wrong_count(struct lm_repo *self,
                              const struct lm_write *write, int64_t rows,
                              struct lm_err *err);
void lm_repo_explain(struct lm_repo *self, struct lm_err *err);

/* Before a shape is used: forgets the facts that may have changed. */
bool lm_repo_begin_write(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;

/* Posts all groups. */
bool lm_repo_send_groups(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;
/* Empties the groups, because the transaction is rolled back. */
void lm_repo_drop_groups(struct lm_repo *self);
/* The same, and frees their memory. */
void lm_repo_forget_groups(struct lm_repo *self);

#endif
