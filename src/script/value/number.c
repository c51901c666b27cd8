/* SPDX-License-Identifier: MIT */
/*
 * Texts of numbers: the shortest of a double, and decimals compared and
 * rewritten digit by digit. Nothing here rounds.
 */

#include "script/value/number.h"

#include <ctype.h>
#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    FLOAT_DIGITS = 17, /* significant digits that tell any two doubles apart */
    FLOAT_TEXT = 40,
    MAX_WHOLE = 131072, /* numeric's digits before the point */
    MAX_SCALE = 16383,  /* and after it */
    MAX_EXPONENT = 1000000
};

/* -- floats ----------------------------------------------------------- */

/*
 * Below a power of two doubles lie closer than above it, so the nearest text
 * of 16 digits may miss while its neighbour hits.
 */
static bool
try_neighbours(double value, char *text, size_t size)
{
    char digits[FLOAT_TEXT];
    char *mark;
    int64_t mantissa;
    long exponent;

    snprintf(digits, sizeof digits, "%.15e", fabs(value));
    mark = strchr(digits, 'e');
    exponent = strtol(mark + 1, NULL, 10);
    *mark = '\0';
    memmove(digits + 1, digits + 2, strlen(digits + 2) + 1);
    mantissa = strtoll(digits, NULL, 10);
    for (int step = -1; step <= 1; step += 2) {
        snprintf(digits, sizeof digits, "%" PRId64, mantissa + step);
        snprintf(text, size, "%s%c.%.17se%+03ld", value < 0 ? "-" : "",
                 digits[0], digits + 1, exponent);
        if (strlen(digits) == 16 && strtod(text, NULL) == value)
            return true;
    }
    return false;
}

static void
shortest(double value, char *text, size_t size)
{
    int digits = fabs(value) < DBL_MIN ? 1 : 15;

    for (; digits < FLOAT_DIGITS; digits++) {
        snprintf(text, size, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            return;
    }
    if (!try_neighbours(value, text, size))
        snprintf(text, size, "%.*g", FLOAT_DIGITS, value);
}

void
lm_number_add_float(struct lm_buf *out, double value)
{
    char text[FLOAT_TEXT];

    if (isnan(value)) {
        lm_buf_puts(out, "NaN");
    } else if (isinf(value)) {
        lm_buf_puts(out, value > 0 ? "Infinity" : "-Infinity");
    } else {
        shortest(value, text, sizeof text);
        lm_buf_puts(out, text);
    }
}

/* -- decimals --------------------------------------------------------- */

/* The digits of a number without zeros at either end, and where its point is:
 * 0.DIGITS * 10^exponent. */
struct significant {
    char digits[FLOAT_DIGITS];
    int count;
    int64_t exponent;
    bool negative;
};

/* The exponent at text, which may be absent; bounded. */
static int64_t
read_exponent(const char *text, const char *end)
{
    bool negative;
    int64_t value = 0;

    if (text == end)
        return 0;
    text++; /* the e */
    negative = *text == '-';
    text += *text == '-' || *text == '+';
    for (; text < end; text++) {
        if (value < MAX_EXPONENT)
            value = value * 10 + (*text - '0');
    }
    return negative ? -value : value;
}

/* False when there are more digits than a double needs. */
static bool
read_significant(const char *text, size_t len, struct significant *out)
{
    const char *end = text + len;
    bool after_point = false;
    int zeros = 0;

    memset(out, 0, sizeof *out);
    out->negative = *text == '-';
    text += out->negative;
    for (; text < end && *text != 'e' && *text != 'E'; text++) {
        if (*text == '.') {
            after_point = true;
            continue;
        }
        if (*text == '0' && out->count == 0) {
            out->exponent -= after_point;
            continue;
        }
        out->exponent += !after_point;
        if (*text == '0') {
            zeros++;
            continue;
        }
        if (zeros >= FLOAT_DIGITS - out->count)
            return false;
        memset(out->digits + out->count, '0', (size_t)zeros);
        out->count += zeros;
        zeros = 0;
        out->digits[out->count++] = *text;
    }
    out->exponent += read_exponent(text, end);
    if (out->count == 0)
        out->exponent = 0;
    return true;
}

bool
lm_number_is_float(const char *text, size_t len, double value)
{
    char shown[FLOAT_TEXT];
    struct significant a;
    struct significant b;

    if (!isfinite(value) || !read_significant(text, len, &a))
        return false;
    shortest(value, shown, sizeof shown);
    return read_significant(shown, strlen(shown), &b) &&
           a.negative == b.negative && a.count == b.count &&
           a.exponent == b.exponent &&
           memcmp(a.digits, b.digits, (size_t)a.count) == 0;
}

static size_t
count_digits(const char *text, size_t len)
{
    size_t count = 0;

    while (count < len && isdigit((unsigned char)text[count]))
        count++;
    return count;
}

/* "12", "12.", ".5", "12.5", then "e-3" or not. */
static bool
is_digits(const char *text, size_t len)
{
    size_t whole = count_digits(text, len);
    size_t at = whole;
    size_t count;

    if (at < len && text[at] == '.') {
        at++;
        count = count_digits(text + at, len - at);
        if (whole + count == 0)
            return false;
        at += count;
    } else if (whole == 0) {
        return false;
    }
    if (at == len)
        return true;
    if (text[at] != 'e' && text[at] != 'E')
        return false;
    at++;
    at += at < len && (text[at] == '-' || text[at] == '+');
    count = count_digits(text + at, len - at);
    return count > 0 && at + count == len;
}

bool
lm_number_is_decimal(const char *text, size_t len)
{
    static const char *const names[] = {"NaN", "Infinity", "inf"};
    bool has_sign = len > 0 && (*text == '-' || *text == '+');

    text += has_sign;
    len -= has_sign;
    for (size_t i = 0; i < LM_COUNT(names); i++) {
        if (strlen(names[i]) == len && strncasecmp(text, names[i], len) == 0)
            return i > 0 || !has_sign;
    }
    return is_digits(text, len);
}

/* Digits, of which the last scale stand behind the point; there may be too few
 * or too many zeros before them. */
static void
add_scaled(struct lm_buf *out, const char *digits, size_t count, size_t scale)
{
    size_t whole;

    while (count > scale + 1 && *digits == '0') {
        digits++;
        count--;
    }
    whole = count > scale ? count - scale : 0;
    if (whole > 0) {
        lm_buf_add(out, digits, whole);
    } else {
        lm_buf_putc(out, '0');
    }
    if (scale == 0)
        return;
    lm_buf_putc(out, '.');
    for (size_t i = count; i < scale; i++)
        lm_buf_putc(out, '0');
    lm_buf_add(out, digits + whole, count - whole);
}

bool
lm_number_add_decimal(struct lm_buf *out, const char *text, size_t len)
{
    const char *end = text + len;
    struct lm_buf digits = LM_BUF_INIT;
    bool negative = *text == '-';
    bool is_zero = true;
    int64_t scale = 0;
    int64_t point = 0; /* digits before the point, from the first not zero */
    bool after_point = false;
    bool fits;

    text += negative;
    for (; text < end && *text != 'e' && *text != 'E'; text++) {
        if (*text == '.') {
            after_point = true;
            continue;
        }
        is_zero = is_zero && *text == '0';
        lm_buf_putc(&digits, *text);
        scale += after_point;
        point += is_zero ? -(int64_t)after_point : !after_point;
    }
    scale -= read_exponent(text, end);
    point += read_exponent(text, end);
    fits = scale <= MAX_SCALE && (is_zero || point <= MAX_WHOLE);
    if (fits && is_zero)
        negative = false;
    for (; fits && !is_zero && scale < 0; scale++)
        lm_buf_putc(&digits, '0');
    if (fits && negative)
        lm_buf_putc(out, '-');
    if (fits) {
        add_scaled(out, lm_buf_text(&digits), digits.len,
                   (size_t)(scale > 0 ? scale : 0));
    }
    lm_buf_release(&digits);
    return fits;
}
