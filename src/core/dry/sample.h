/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_DRY_SAMPLE_H
#define LM_CORE_DRY_SAMPLE_H

/*
 * A few rows that a transaction has changed, before and after.
 *
 * "After" is read at the end of the transaction's work, "before" after a
 * rollback to a savepoint. Both use one snapshot, so changes of other sessions
 * are never shown as changes of the script. Samples are best effort: rows that
 * the role may not read, or that take long to read, are left out, and nothing
 * fails because of them.
 */

#include "core/dry/tally.h"
#include "core/page/base_query.h"

/* How many rows of a page are sampled at most. */
enum { LM_SAMPLE_KEYS = 100 };

/* A row's columns in the table's order; no columns: the row does not exist. */
struct lm_image {
    int count;
    char **names;
    char **values; /* as JSON */
};

/* Where sampled rows are looked up. */
struct lm_sample_place {
    char *from;   /* as SQL */
    char **key;   /* columns that identify a row */
    char **equal; /* how each is compared: OPERATOR("s".=) */
    uint32_t *types;
    int key_count;
};

struct lm_sample {
    char *table; /* as SQL; a partition's own name */
    int place;
    char **key; /* texts, one a column of the place's key */
    struct lm_image before;
    struct lm_image after;
};

struct lm_samples {
    struct lm_sample *rows;
    int count;
    int known; /* of them: with both images */
    struct lm_sample_place *places;
    int place_count;
    char *settings; /* that values and rights depend on, as JSON */
};
void lm_samples_release(struct lm_samples *self);

/* Is that column part of the row's key? */
bool lm_sample_is_key(const struct lm_samples *self,
                      const struct lm_sample *row, const char *column);

/* After the savepoint, before the work. Both images are read with the settings
 * of this moment, whatever SET LOCAL the work uses. */
void lm_samples_begin(struct lm_samples *self, struct lm_conn *conn);

/* The keys of a page's rows. */
struct lm_sample_page {
    const struct lm_base_query *query;
    const char *table;        /* of the key, as SQL; NULL: there is none */
    const char *const *texts; /* key_count a row */
    int rows;                 /* at most LM_SAMPLE_KEYS */
};

/* After the work: takes rows of the page that it changed or deleted, then rows
 * of other tables that it wrote. Leaves out tables that have enough rows. page
 * may be NULL. */
void lm_samples_take(struct lm_samples *self, struct lm_conn *conn,
                     const struct lm_sample_page *page,
                     const struct lm_tally *written);
/* After the rollback to the savepoint that was set before the work, in the
 * same transaction. */
void lm_samples_complete(struct lm_samples *self, struct lm_conn *conn);

#endif
