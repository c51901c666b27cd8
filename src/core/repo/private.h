/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_REPO_PRIVATE_H
#define LM_CORE_REPO_PRIVATE_H

/* What the repo*.c files share, and nobody else. */

#include "core/repo/repo.h"

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
void lm_repo_latch(struct lm_repo *self, const struct lm_err *err);

bool lm_repo_check_usable(const struct lm_repo *self, struct lm_err *err);
/* Latches err; *err becomes the first failure. Always false. */
bool lm_repo_fail_with(struct lm_repo *self, struct lm_err *err);
/* Has nothing failed so far, as far as answers have come? Else *err is the first
 * failure. */
bool lm_repo_is_sound(struct lm_repo *self, struct lm_err *err);
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
void lm_repo_suspect(struct lm_repo *self, const struct lm_write *write,
                     int64_t rows, struct lm_err *err);
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
