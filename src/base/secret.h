/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_SECRET_H
#define LM_BASE_SECRET_H

/*
 * Secrets: values of arguments that the script declares secret. Every text
 * that luamig prints, or keeps in the journal, passes through
 * lm_secret_add_masked (base/show, base/record), which writes "***" for each
 * secret.
 *
 * It finds the whole text; one of its lines, or a part between its tabs; its
 * form in JSON; and its beginning, if a text was cut. It does not find other
 * forms, such as base64, and texts of fewer than LM_SECRET_LEAST bytes, which
 * would be found everywhere.
 *
 * Secrets belong to the process; any thread may add one, and again.
 */

#include "base/err.h"

enum { LM_SECRET_LEAST = 4 };

void lm_secret_add(const char *text);

/* Is there any? Else nothing needs to be masked. */
bool lm_secret_any(void);

/* Adds text with each secret masked. */
void lm_secret_add_masked(struct lm_buf *buf, const char *text, size_t len);
/* Adds JSON, with the secrets in its strings masked. */
void lm_secret_add_masked_json(struct lm_buf *buf, const char *json);

/* A copy of text with each secret masked; NULL for NULL. Freed by the caller.
 */
char *lm_secret_masked(const char *text);
/* Masks the secrets in all that an error says. */
void lm_secret_mask_err(struct lm_err *err);

#endif
