/* SPDX-License-Identifier: MIT */
#ifndef LM_TESTS_UNIT_UNIT_H
#define LM_TESTS_UNIT_UNIT_H

/* What every unit test includes: cmocka with its prerequisites, and a few
 * assertions that say more than that two things differ. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"

#include <stdlib.h>
#include <string.h>

#define UNIT_RUN(tests) cmocka_run_group_tests((tests), NULL, NULL)

#define assert_contains(text, part)                              \
    do {                                                         \
        if (strstr((text), (part)) == NULL)                      \
            fail_msg("\"%s\" is not in \"%s\"", (part), (text)); \
    } while (0)

/* The text of a buffer, which is emptied for the next case. */
#define assert_buf(buf, text)                          \
    do {                                               \
        assert_string_equal(lm_buf_text(buf), (text)); \
        assert_int_equal((buf)->len, strlen(text));    \
        lm_buf_clear(buf);                             \
    } while (0)

#endif
