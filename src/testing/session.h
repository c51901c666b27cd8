/* SPDX-License-Identifier: MIT */
#ifndef LM_TESTING_SESSION_H
#define LM_TESTING_SESSION_H

#include "base/err.h"

#include <stdint.h>

struct lm_conn;

/* Ends a server process, and waits until it is gone with all that it holds. */
bool lm_session_end(struct lm_conn *admin, int64_t backend_pid,
                    struct lm_err *err) LM_MUSTCHECK;

#endif
