/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_MEM_H
#define LM_BASE_MEM_H

/*
 * Memory and growable byte buffers.
 *
 * The allocation functions never return NULL: out of memory ends the process
 * (abort), which is safe because the server rolls the open batch back and the
 * journal resumes the run. Memory is released with free().
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define LM_MUSTCHECK    __attribute__((warn_unused_result))
#define LM_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define LM_COUNT(array) (sizeof(array) / sizeof((array)[0]))

void *lm_alloc(size_t size);
void *lm_calloc(size_t count, size_t size);
/* Grows or shrinks to count * size bytes; the product is checked. */
void *lm_realloc(void *ptr, size_t count, size_t size);
/* Room for one more in a list that is exactly as long as count says: the new
 * last element, which is not set yet. */
#define LM_ADD(list, count)                                               \
    (*((list) = lm_realloc((list), (size_t)(count) + 1, sizeof(*(list))), \
       &(list)[(count)++]))
/* printf to a new text. */
char *lm_format(const char *format, ...) LM_PRINTF(1, 2);
/* Frees a list of texts, and the texts. */
void lm_free_texts(char **texts, int count);
char *lm_strdup(const char *text);
char *lm_strndup(const char *text, size_t len);

/* Says that there is no memory left, and ends the process. */
_Noreturn void lm_mem_fail(void);
/* How much RAM the process uses, in bytes; 0: unknown. */
size_t lm_mem_resident(void);

/*
 * A byte buffer that grows. data is always NUL-terminated and never NULL
 * after the first append; len leaves the terminator out. Initialise with
 * LM_BUF_INIT, free with lm_buf_release, empty for reuse with lm_buf_clear.
 */
struct lm_buf {
    char *data;
    size_t len;
    size_t cap;
};

/* clang-format off */
#define LM_BUF_INIT { NULL, 0, 0 }
/* clang-format on */

void lm_buf_release(struct lm_buf *buf);
void lm_buf_clear(struct lm_buf *buf);
void lm_buf_add(struct lm_buf *buf, const char *bytes, size_t len);
void lm_buf_puts(struct lm_buf *buf, const char *text);
void lm_buf_putc(struct lm_buf *buf, char c);
/* Adds an integer in decimal digits. */
void lm_buf_add_int(struct lm_buf *buf, int64_t value);
void lm_buf_printf(struct lm_buf *buf, const char *format, ...) LM_PRINTF(2, 3);
/* Adds the rest of a stream; if that is more than most bytes, only so much
 * that this shows. False if reading failed; errno says why. */
bool lm_buf_read(struct lm_buf *buf, FILE *stream, size_t most) LM_MUSTCHECK;
/* The text, never NULL. Owned by the buffer. */
const char *lm_buf_text(const struct lm_buf *buf);
/* Hands the bytes to the caller, who frees them; the buffer is empty. */
char *lm_buf_take(struct lm_buf *buf);

#endif
