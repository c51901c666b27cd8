/* SPDX-License-Identifier: MIT */
/* As FIPS 180-4 describes it; names are those of the standard. */

#include "base/sha256.h"

#include <stdio.h>
#include <string.h>

enum { BLOCK = 64, ROUNDS = 64 };

static const uint32_t K[ROUNDS] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
    0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t
rotate(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static uint32_t
read_word(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 |
           (uint32_t)at[2] << 8 | (uint32_t)at[3];
}

static void
add_block(struct lm_sha256 *self, const unsigned char *block)
{
    uint32_t w[ROUNDS];
    uint32_t s[8];

    for (size_t t = 0; t < 16; t++)
        w[t] = read_word(block + t * 4);
    for (int t = 16; t < ROUNDS; t++) {
        uint32_t a = w[t - 15];
        uint32_t b = w[t - 2];

        w[t] = w[t - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[t - 7] +
               (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    memcpy(s, self->state, sizeof s);
    for (int t = 0; t < ROUNDS; t++) {
        uint32_t e = s[4];
        uint32_t a = s[0];
        uint32_t t1 = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                      ((e & s[5]) ^ (~e & s[6])) + K[t] + w[t];
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                      ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));

        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++)
        self->state[i] += s[i];
}

void
lm_sha256_init(struct lm_sha256 *self)
{
    static const uint32_t first[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372,
                                      0xa54ff53a, 0x510e527f, 0x9b05688c,
                                      0x1f83d9ab, 0x5be0cd19};

    memcpy(self->state, first, sizeof first);
    self->len = 0;
}

void
lm_sha256_add(struct lm_sha256 *self, const void *bytes, size_t len)
{
    const unsigned char *at = bytes;
    size_t used = self->len % BLOCK;

    self->len += len;
    if (used > 0) {
        size_t room = BLOCK - used;
        size_t taken = len < room ? len : room;

        memcpy(self->block + used, at, taken);
        at += taken;
        len -= taken;
        if (taken < room)
            return;
        add_block(self, self->block);
    }
    for (; len >= BLOCK; at += BLOCK, len -= BLOCK)
        add_block(self, at);
    memcpy(self->block, at, len);
}

void
lm_sha256_end(struct lm_sha256 *self, char text[LM_SHA256_TEXT])
{
    static const unsigned char padding[BLOCK] = {0x80};
    uint64_t bits = self->len * 8;
    size_t used = self->len % BLOCK;
    unsigned char size[8];

    for (int i = 0; i < 8; i++)
        size[i] = (unsigned char)(bits >> (56 - i * 8));
    lm_sha256_add(self, padding, (used < 56 ? 56 : 120) - used);
    lm_sha256_add(self, size, sizeof size);
    for (size_t i = 0; i < 8; i++)
        snprintf(text + i * 8, 9, "%08x", self->state[i]);
}
