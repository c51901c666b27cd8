/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_INPUT_PRIVATE_H
#define LM_CORE_INPUT_PRIVATE_H

/* What the readers of the formats share. */

#include "core/input/reader.h"

struct lm_csv;
struct lm_jsonl;

struct lm_reader {
    const struct lm_input *input;
    const struct lm_input_file *file;
    const enum lm_input_kind *kinds;
    struct lm_lines *lines;
    int *places;
    int place_count;
    bool in_record; /* the current record goes on in the next line */
    int64_t count;  /* of records */
    int64_t *group; /* their lines */
    int group_size;
    int group_room;
    struct lm_csv *csv; /* of the format that it has */
    struct lm_jsonl *jsonl;
};

/* A record begins in this line; adds its number. */
void lm_reader_begin_record(struct lm_reader *self, int64_t line,
                            struct lm_buf *out);
/* The next column; NULL: it is NULL. */
void lm_reader_add_column(struct lm_buf *out, const char *text, size_t len);
void lm_reader_end_record(struct lm_reader *self, int64_t line,
                          struct lm_buf *out);
/* Can a text column hold it? If not, says so for that line and column. */
bool lm_reader_check_text(const struct lm_reader *self, int64_t line,
                          const char *column, const char *text, size_t len,
                          struct lm_err *err) LM_MUSTCHECK;
/* Which column of the input has the name; -1: none. */
int lm_reader_find_column(const struct lm_reader *self, const char *name,
                          size_t len);
/* "id, email": names of the columns. */
void lm_reader_add_names(const struct lm_reader *self, struct lm_buf *out);

bool lm_csv_open(struct lm_reader *reader, struct lm_err *err) LM_MUSTCHECK;
void lm_csv_close(struct lm_csv *self);
/* line is NULL at the end of the file. */
bool lm_csv_read(struct lm_reader *reader, const char *line, size_t len,
                 struct lm_buf *out, struct lm_err *err) LM_MUSTCHECK;

void lm_jsonl_open(struct lm_reader *reader);
void lm_jsonl_close(struct lm_jsonl *self);
bool lm_jsonl_read(struct lm_reader *reader, const char *line, size_t len,
                   struct lm_buf *out, struct lm_err *err) LM_MUSTCHECK;

#endif
