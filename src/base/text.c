/* SPDX-License-Identifier: MIT */

#include "base/text.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { MAX_WORD = 64 };

/* Levenshtein's distance, one row of the matrix at a time. */
static size_t
distance(const char *a, const char *b)
{
    size_t row[MAX_WORD + 1];
    size_t len_a = strlen(a);
    size_t len_b = strlen(b);

    if (len_a > MAX_WORD || len_b > MAX_WORD)
        return SIZE_MAX;
    for (size_t j = 0; j <= len_b; j++)
        row[j] = j;
    for (size_t i = 1; i <= len_a; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= len_b; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[len_b];
}

int
lm_text_nearest(const char *word, const char *const *candidates, size_t count)
{
    size_t limit = strlen(word) / 3 + 1;
    int nearest = -1;

    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, candidates[i]);

        if (d <= limit && d < strlen(candidates[i])) {
            nearest = (int)i;
            limit = d > 0 ? d - 1 : 0;
            if (d == 0)
                break;
        }
    }
    return nearest;
}

/* Length of the well-formed character at s, or 0. Ranges: Unicode 15,
 * table 3-7. */
static size_t
char_length(const unsigned char *s, size_t left)
{
    unsigned char low = 0x80;
    unsigned char high = 0xBF;
    size_t need;

    if (s[0] < 0x80)
        return s[0] != 0 ? 1 : 0;
    if (s[0] >= 0xC2 && s[0] <= 0xDF) {
        need = 2;
    } else if (s[0] >= 0xE0 && s[0] <= 0xEF) {
        need = 3;
    } else if (s[0] >= 0xF0 && s[0] <= 0xF4) {
        need = 4;
    } else {
        return 0;
    }
    if (left < need)
        return 0;
    if (s[0] == 0xE0) {
        low = 0xA0;
    } else if (s[0] == 0xED) {
        high = 0x9F;
    } else if (s[0] == 0xF0) {
        low = 0x90;
    } else if (s[0] == 0xF4) {
        high = 0x8F;
    }
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < need; i++) {
        if (s[i] < 0x80 || s[i] > 0xBF)
            return 0;
    }
    return need;
}

/* Most texts are ASCII: eight bytes at a time, as far as they go. */
static size_t
ascii_length(const unsigned char *s, size_t len)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t tops = ones << 7;
    size_t at = 0;
    uint64_t word;

    for (; len - at >= sizeof word; at += sizeof word) {
        memcpy(&word, s + at, sizeof word);
        if (((word | (word - ones)) & tops) != 0)
            break;
    }
    return at;
}

bool
lm_text_is_utf8(const char *text, size_t len, size_t *offset)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t at = ascii_length(s, len);

    while (at < len) {
        bool is_ascii = s[at] - 1U < 0x7F;
        size_t step = is_ascii ? 1 : char_length(s + at, len - at);

        if (step == 0) {
            *offset = at;
            return false;
        }
        at += step;
    }
    return true;
}

void
lm_text_make_utf8(char *text)
{
    size_t len = strlen(text);
    size_t offset;

    while (!lm_text_is_utf8(text, len, &offset)) {
        text += offset;
        len -= offset;
        *text = '?';
    }
}

size_t
lm_text_read_char(const char *text, size_t len, uint32_t *code)
{
    static const unsigned char masks[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *s = (const unsigned char *)text;
    size_t count = s[0] == 0 ? 1 : char_length(s, len);

    if (count == 0)
        return 0;
    *code = s[0] & masks[count];
    for (size_t i = 1; i < count; i++)
        *code = *code << 6 | (s[i] & 0x3F);
    return count;
}

const char *
lm_text_digits(struct lm_digits *out, int64_t number)
{
    snprintf(out->text, sizeof out->text, "%" PRId64, number);
    return out->text;
}

static uint64_t
hash_word(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 32;
}

/* Like FNV-1a, but eight bytes at a time. */
static uint64_t
hash_bytes(uint64_t hash, const char *bytes, size_t len)
{
    uint64_t word;

    for (; len >= sizeof word; bytes += sizeof word, len -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        hash = hash_word(hash, word);
    }
    word = 0;
    memcpy(&word, bytes, len);
    return len > 0 ? hash_word(hash, word) : hash;
}

uint64_t
lm_text_hash(const char *text)
{
    const size_t part = 64;
    size_t len = strlen(text);
    uint64_t hash = 0xCBF29CE484222325u ^ len;

    if (len <= 3 * part)
        return hash_bytes(hash, text, len);
    hash = hash_bytes(hash, text, part);
    hash = hash_bytes(hash, text + (len - part) / 2, part);
    return hash_bytes(hash, text + len - part, part);
}
