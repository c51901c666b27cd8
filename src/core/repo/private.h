/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_REPO_PRIVATE_H
#define LM_CORE_REPO_PRIVATE_H

/* What the repo*.c files share, and nobody else. */

#include "core/repo/repo.h"

struct lm_write {
    struct lm_writes *home;
    const char *where;      /* file:line of the call; not owned */
    int64_t pending;        /* statements, or rows, that are not done */
    int64_t affected;       /* by those that are done */
    struct lm_shape *vague; /* some row of that shape was not written, but it
                               is not known which */
    const struct lm_shape *shape; /* each statement must write exactly one row,
                                     or none if it may miss; NULL: any number;
                                     not owned */
    char *key;                    /* its values, each ended by a NUL */
};

/* The first write that did not write exactly one row. */
struct lm_blame {
    const struct lm_write *write; /* NULL: there is none; not owned */
    int64_t rows;                 /* that it wrote */
    bool is_there;                /* the row that it should have written */
    char *causes;                 /* what could have taken it over, or NULL */
    char *hiding_causes; /* likewise those after which it cannot be seen */
};

enum { LM_MAX_GROUPS = 8 };

/* Writes of one shape, waiting to become one statement. What is empty may be
 * used again. */
struct lm_group {
    struct lm_shape *shape;
    struct lm_buf *arrays; /* an array literal a column, still open */
    struct lm_buf *first;  /* the first row, in case it stays alone */
    bool *first_nulls;
    struct lm_write **writes;
    size_t rows;
    size_t room;
    size_t goal;    /* as many rows are sent on */
    uint64_t *keys; /* hashes of those in the group; 0 is free */
    size_t key_room;
};

struct lm_repo {
    struct lm_conn *conn; /* not owned */
    uint64_t conn_serial; /* whose types and shapes are known */
    uint64_t checked;     /* the transaction in which the shapes were checked */
    const struct lm_base_query *paged; /* not owned; NULL: nothing is paged */
    struct lm_types types;
    struct lm_guard guard;
    struct lm_repo_options options;
    bool follows_new; /* pages have no last key */
    bool warned;      /* of inserts into the table that is being paged */
    bool open;
    bool failed;
    struct lm_err failure; /* the first database error */
    struct lm_blame blame; /* if the failure is one to be explained */
    int savepoints;
    struct lm_writes *writes; /* made since the repo was opened */
    bool unsure;              /* writes of one row are in flight */

    bool combine; /* writes of one shape */
    struct lm_shapes shapes;
    bool shapes_trusted; /* what is known of them was so in this transaction */
    bool shapes_changed; /* perhaps, by the transaction itself */
    bool stale;          /* so may be what the prepared statements are of */
    struct lm_group groups[LM_MAX_GROUPS];
    int group_count;
    bool reordered;       /* writes are in flight before earlier ones */
    bool overtaken;       /* they were, since the repo was opened */
    bool combined_failed; /* one by one, the failure might be another */
};

/* The records of the writes of one callback. Each statement in flight holds
 * them; when the repo has let go of them, they end with the last of it. */
struct lm_writes {
    struct lm_repo *repo; /* NULL: it has let go */
    struct lm_write_block *blocks;
    struct lm_flight *flights; /* combined statements */
    int64_t in_flight;
};
/* A combined statement. */
struct lm_flight {
    struct lm_flight *next;
    struct lm_writes *home;
    struct lm_shape *shape; /* not owned, and gone when the repo has let go */
    struct lm_write **writes;
    size_t rows;
};
/* Those of the repo. A statement is in flight until it has landed. */
struct lm_writes *lm_repo_writes(struct lm_repo *self);
void lm_writes_land(struct lm_writes *self);
/* Lets go of them. */
void lm_repo_forget_writes(struct lm_repo *self);
/* Is anything in flight? */
bool lm_repo_awaits(const struct lm_repo *self);
/* The first failure of the repo. */
void lm_repo_note_failure(struct lm_repo *self, const struct lm_err *err);

bool lm_repo_check_usable(const struct lm_repo *self, struct lm_err *err);
/* Latches err; *err becomes the first failure. Always false. */
bool lm_repo_fail_with(struct lm_repo *self, struct lm_err *err);
/* Has nothing failed so far, as far as answers have come? Else *err is the first
 * failure. */
bool lm_repo_has_no_failure(struct lm_repo *self, struct lm_err *err);
/* lm_repo_post for a statement that is luamig's own. */
bool lm_repo_post_kept(struct lm_repo *self, const struct lm_stmt *stmt,
                       struct lm_values values, struct lm_write *write,
                       struct lm_err *err) LM_MUSTCHECK;

/* Warns, once a run, of inserts that the run itself may meet. */
bool lm_repo_judge_insert(struct lm_repo *self, const struct lm_form *form,
                          struct lm_err *err) LM_MUSTCHECK;

/* A write that did not write exactly one row: sets err, as far as that is known
 * while answers are being read. Afterwards, and inside the transaction,
 * lm_repo_explain says in it who took the write over; it does nothing when
 * there is nothing to explain. */
void lm_repo_note_wrong_count(struct lm_repo *self,
                              const struct lm_write *write, int64_t rows,
                              struct lm_err *err);
void lm_repo_explain(struct lm_repo *self, struct lm_err *err);

/* Before a shape is looked at: forgets what may have changed. */
bool lm_repo_begin_write(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;

/* Posts what waits in groups. */
bool lm_repo_send_groups(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;
/* Drops what waits in groups: it is rolled back before it was made. */
void lm_repo_drop_groups(struct lm_repo *self);
/* The same, and gives their memory back. */
void lm_repo_forget_groups(struct lm_repo *self);

#endif
