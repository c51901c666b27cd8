/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_CLOCK_H
#define LM_BASE_CLOCK_H

/*
 * Time that only moves forward, and durations as people write them.
 */

#include <stddef.h>
#include <stdint.h>

/* Milliseconds of the monotonic clock; only differences mean anything. */
int64_t lm_clock_ms(void);

/* The wait before a retry: base_ms, doubled with each attempt (from 1), at
 * most cap_ms, and shortened by up to half at random, so that runners do not
 * retry at the same moment. */
int64_t lm_clock_backoff_ms(int attempt, int64_t base_ms, int64_t cap_ms);

/* Writes the time of day in UTC, "2026-01-01T11:42:10.123Z", with separator in
 * place of the T. */
enum { LM_CLOCK_NOW_SIZE = 32 };
void lm_clock_format_now(char *text, size_t size, char separator);

/* A text by value, for the expression that asks for it. */
struct lm_clock_text {
    char text[32];
};

/* "850ms", "12.3s", "4m05s" or "2h03m". */
struct lm_clock_text lm_clock_span(int64_t duration_ms);

/* A number with its thousands marked: "12,345". */
struct lm_clock_text lm_clock_count(int64_t n);

#endif
