/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_INPUT_READER_H
#define LM_CORE_INPUT_READER_H

/*
 * Reads the records of a file, and writes them as COPY wants them: the number
 * of the record's first line, then its columns. Errors name line and column.
 */

#include "core/input/file.h"
#include "core/migration.h"

/* How a column takes a JSON value. */
enum lm_input_kind {
    LM_INPUT_SCALAR,
    LM_INPUT_DOCUMENT, /* json, jsonb */
    LM_INPUT_ARRAY
};

struct lm_reader;

/* Reads the header, if there is one. Both arguments, and kinds, must live as
 * long as the reader. kinds has one for each column; NULL: all are scalars. */
bool lm_reader_open(struct lm_reader **out, const struct lm_input *input,
                    const struct lm_input_file *file,
                    const enum lm_input_kind *kinds,
                    struct lm_err *err) LM_MUSTCHECK;
void lm_reader_close(struct lm_reader *self); /* NULL is allowed */

/* Which columns of the input the records have, in their order. */
const int *lm_reader_places(const struct lm_reader *self, int *count);

/* Adds the records of the next line, if it ends any. *over: there is no
 * further line. */
bool lm_reader_next(struct lm_reader *self, struct lm_buf *out, bool *over,
                    struct lm_err *err) LM_MUSTCHECK;
/* Has it added the beginning of a record, or nothing of it yet, whose end is in
 * a later line? */
bool lm_reader_is_in_record(const struct lm_reader *self);
/* How many records it has added. */
int64_t lm_reader_count(const struct lm_reader *self);
/* How many of the file's bytes it has read. */
int64_t lm_reader_bytes(const struct lm_reader *self);

/* Begins a group of records; later, the line of the group's n-th, from 1. 0:
 * there is none. */
void lm_reader_begin_group(struct lm_reader *self);
int lm_reader_group_size(const struct lm_reader *self);
int64_t lm_reader_line_of(const struct lm_reader *self, int64_t number);

#endif
