/* SPDX-License-Identifier: MIT */

#include "core/lane/private.h"

#include "core/page/preflight.h"

#include <stdlib.h>
#include <string.h>

void
lm_lane_init(struct lm_lane *self, const struct lm_lane_options *options,
             const struct lm_migration *migration, const struct lm_run *run,
             struct lm_account *account)
{
    struct lm_repo_options repo = {
        .allow_ddl = migration->allow_ddl,
        .allow_unjudged = migration->allow_unjudged,
        .combine = {.journal = options->dry ? NULL : options->journal_schema,
                    .always = migration->combine_always}};

    memset(self, 0, sizeof *self);
    self->options = *options;
    self->migration = migration;
    self->run = run;
    self->account = account;
    lm_size_init(&self->size, migration->batch_size, migration->target_ms);
    self->attempt.number = 1;
    self->journal.schema = options->journal_schema;
    self->repo = lm_repo_new(&repo);
    if (migration->reads_from != NULL) {
        repo.reads_source = true;
        self->source.repo = lm_repo_new(&repo);
    }
}

void
lm_lane_release(struct lm_lane *self)
{
    lm_account_reserve(self->account, self->reserved, 0);
    lm_repo_free(self->repo);
    lm_repo_free(self->source.repo);
    lm_page_question_release(&self->question);
    lm_failed_batch_release(&self->failed_batch);
    lm_key_release(&self->narrow.end);
    lm_window_release(&self->window);
    lm_base_query_release(&self->query);
    free(self->first_key);
    lm_range_release(&self->range);
    lm_conn_close(self->source.conn);
    lm_conn_close(self->conn);
}
