/* SPDX-License-Identifier: MIT */
#ifndef LM_CORE_INPUT_FILE_H
#define LM_CORE_INPUT_FILE_H

/*
 * A file that a run reads (luamig run --input), and its lines.
 *
 * The file is read twice: first for its hash, which belongs to the run's
 * identity, then for its records. So one that has changed in between is
 * noticed. What can be read only once, such as a pipe, is first copied to a
 * temporary file without a name.
 */

#include "base/err.h"

#include <sha256.h>

/* Of a line, and of a record. */
#define LM_INPUT_MOST_BYTES ((size_t)256 << 20)

struct lm_input_file {
    char *name; /* for messages: the last part of its path */
    int fd;
    int64_t bytes;
    char sha256[SHA256_DIGEST_STRING_LENGTH]; /* hexadecimal */
};

/* path "-" is standard input. LM_ERR_USAGE if it cannot be read,
 * LM_ERR_INTERRUPT after a signal. */
bool lm_input_file_open(struct lm_input_file *self, const char *path,
                        struct lm_err *err) LM_MUSTCHECK;
void lm_input_file_close(struct lm_input_file *self); /* may be all zero */

/* "The file has changed", and has so many bytes now. Always false. */
bool lm_input_fail_changed(const struct lm_input_file *self, int64_t bytes,
                           struct lm_err *err);
/* Has the file another size by now? Then sets err, which says so. */
bool lm_input_file_has_changed(const struct lm_input_file *self,
                               struct lm_err *err);

/* The lines of a file, from the first. Memory: the longest line. */
struct lm_lines;

/* encoding is the file's; NULL: UTF-8. by_return: a carriage return ends a
 * line, too. LM_ERR_SCRIPT if the encoding is not known. */
bool lm_lines_open(struct lm_lines **out, const struct lm_input_file *file,
                   const char *encoding, bool by_return,
                   struct lm_err *err) LM_MUSTCHECK;
void lm_lines_close(struct lm_lines *self); /* NULL is allowed */
/* The next line, with what ends it, and valid until the next call. *line is
 * NULL after the last one: then the file is the one that was opened. */
bool lm_lines_next(struct lm_lines *self, const char **line, size_t *len,
                   struct lm_err *err) LM_MUSTCHECK;
/* The number of the line that was returned last; 0: none yet. */
int64_t lm_lines_number(const struct lm_lines *self);
/* How many bytes of the file have been read. */
int64_t lm_lines_bytes(const struct lm_lines *self);

/* Sets "NAME, line N, column "C": ..." (LM_ERR_FAILED). line 0, column NULL:
 * without. Always false. */
bool lm_input_fail(const struct lm_input_file *file, int64_t line,
                   const char *column, struct lm_err *err, const char *format,
                   ...) LM_PRINTF(5, 6);
/* Puts that before the message of an error, which it makes LM_ERR_FAILED. */
bool lm_input_place(const struct lm_input_file *file, int64_t line,
                    const char *column, struct lm_err *err);

#endif
