/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_REPO_PRIVATE_H
#define LM_CORE_REPO_PRIVATE_H

/* What repo.c and repo_group.c share, and nobody else. */

#include "core/repo.h"

bool lm_repo_check_usable(const struct lm_repo *self, struct lm_err *err);
/* Latches err; *err becomes the first failure. Always false. */
bool lm_repo_fail_with(struct lm_repo *self, struct lm_err *err);
/* lm_repo_post for a statement that is luamig's own. */
bool lm_repo_post_kept(struct lm_repo *self, const struct lm_stmt *stmt,
                       struct lm_values values, struct lm_write *write,
                       struct lm_err *err) LM_MUSTCHECK;

/* Before a shape is looked at: forgets what may have changed. */
bool lm_repo_begin_write(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;

/* Posts what waits in groups. */
bool lm_repo_send_groups(struct lm_repo *self, struct lm_err *err) LM_MUSTCHECK;
/* Drops what waits in groups: it is rolled back before it was made. */
void lm_repo_drop_groups(struct lm_repo *self);
/* The same, and forgets what was in flight. */
void lm_repo_forget_groups(struct lm_repo *self);

#endif
