/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_SHA256_H
#define LM_BASE_SHA256_H

/* SHA-256 of bytes that come in pieces (FIPS 180-4). */

#include <stddef.h>
#include <stdint.h>

enum { LM_SHA256_TEXT = 65 };

struct lm_sha256 {
    uint32_t state[8];
    uint64_t len; /* bytes so far */
    unsigned char block[64];
};

void lm_sha256_init(struct lm_sha256 *self);
void lm_sha256_add(struct lm_sha256 *self, const void *bytes, size_t len);
/* Writes 64 hexadecimal digits. */
void lm_sha256_end(struct lm_sha256 *self, char text[LM_SHA256_TEXT]);

#endif
