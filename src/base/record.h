/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_RECORD_H
#define LM_BASE_RECORD_H

/*
 * Adds members of one JSON object to a buffer, with commas between them and
 * without the braces. The result is always valid JSON in valid UTF-8 on one
 * line: a byte that is not UTF-8 becomes U+FFFD. Secrets in texts are masked
 * (base/secret.h).
 */

#include "base/mem.h"

void lm_record_text(struct lm_buf *buf, const char *name,
                    const char *text); /* NULL: null */
void lm_record_int(struct lm_buf *buf, const char *name, int64_t value);
/* null if it is negative. */
void lm_record_known(struct lm_buf *buf, const char *name, int64_t value);
/* With one decimal; null unless finite. */
void lm_record_real(struct lm_buf *buf, const char *name, double value);
void lm_record_bool(struct lm_buf *buf, const char *name, bool value);
/* A value that is JSON already, as the server writes it. */
void lm_record_json(struct lm_buf *buf, const char *name, const char *json);

/* A value that has members of its own, and a list of such. The members are
 * taken out of their buffer. */
void lm_record_object(struct lm_buf *buf, const char *name,
                      struct lm_buf *members);
void lm_record_begin_list(struct lm_buf *buf, const char *name);
void lm_record_add_item(struct lm_buf *buf, struct lm_buf *members);
void lm_record_end_list(struct lm_buf *buf);

/* Writes the object to stdout, and a line break. */
void lm_record_out(const struct lm_buf *buf);

#endif
