/* SPDX-License-Identifier: MIT */

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int64_t
lm_clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Good enough to spread runners: the clock's low bits and the process. */
static uint64_t
jitter(void)
{
    struct timespec now;
    uint64_t x;

    clock_gettime(CLOCK_MONOTONIC, &now);
    x = (uint64_t)now.tv_nsec * 0x9E3779B97F4A7C15u + (uint64_t)getpid();
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    return x ^ (x >> 32);
}

int64_t
lm_clock_backoff_ms(int attempt, int64_t base_ms, int64_t cap_ms)
{
    int64_t wait = base_ms;

    for (int i = 1; i < attempt && wait < cap_ms; i++)
        wait *= 2;
    if (wait > cap_ms)
        wait = cap_ms;
    if (wait < 2)
        return wait;
    return wait - (int64_t)(jitter() % (uint64_t)(wait / 2 + 1));
}

void
lm_clock_format_now(char *text, size_t size, char separator)
{
    struct timespec now;
    struct tm utc;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    snprintf(text, size, "%04d-%02d-%02d%c%02d:%02d:%02d.%03dZ",
             utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, separator,
             utc.tm_hour, utc.tm_min, utc.tm_sec, (int)(now.tv_nsec / 1000000));
}

struct lm_clock_text
lm_clock_span(int64_t duration_ms)
{
    struct lm_clock_text out = {""};
    int64_t seconds = duration_ms / 1000;

    if (duration_ms < 1000) {
        snprintf(out.text, sizeof out.text, "%" PRId64 "ms", duration_ms);
    } else if (seconds < 60) {
        snprintf(out.text, sizeof out.text, "%" PRId64 ".%" PRId64 "s", seconds,
                 duration_ms % 1000 / 100);
    } else if (seconds < 3600) {
        snprintf(out.text, sizeof out.text, "%" PRId64 "m%02" PRId64 "s",
                 seconds / 60, seconds % 60);
    } else {
        snprintf(out.text, sizeof out.text, "%" PRId64 "h%02" PRId64 "m",
                 seconds / 3600, seconds % 3600 / 60);
    }
    return out;
}

struct lm_clock_text
lm_clock_count(int64_t n)
{
    struct lm_clock_text out = {""};
    char digits[32];
    char *at = out.text;
    int len = snprintf(digits, sizeof digits, "%" PRId64, n);

    for (int i = 0; i < len; i++) {
        if (i > 0 && digits[i - 1] != '-' && (len - i) % 3 == 0)
            *at++ = ',';
        *at++ = digits[i];
    }
    *at = '\0';
    return out;
}
