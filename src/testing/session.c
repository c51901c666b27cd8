/* SPDX-License-Identifier: MIT */

#include "testing/session.h"

#include "base/clock.h"
#include "base/stop.h"
#include "base/text.h"
#include "pg/conn/conn.h"

#include <inttypes.h>

enum { END_MS = 10000 };

/* Asks a server process to end; is it still there? */
static bool
terminate(struct lm_conn *admin, int64_t backend_pid, bool *alive,
          struct lm_err *err)
{
    static const char sql[] = "SELECT pg_catalog.pg_terminate_backend($1)";
    struct lm_answer *answer = NULL;

    if (!lm_conn_ask(admin, sql, "1: b", LM_VALUES(LM_DIGITS(backend_pid)),
                     &answer, err))
        return false;
    *alive = lm_answer_bool(answer, 0, 0);
    lm_answer_free(answer);
    return true;
}

bool
lm_session_end(struct lm_conn *admin, int64_t backend_pid, struct lm_err *err)
{
    int64_t deadline = lm_clock_ms() + END_MS;
    bool alive = true;

    while (terminate(admin, backend_pid, &alive, err)) {
        if (!alive)
            return true;
        if (lm_clock_ms() > deadline)
            break;
        lm_stop_sleep_ms(1);
    }
    if (alive) {
        lm_err_set(err, LM_ERR_FAILED,
                   "the server process %" PRId64 " does not end", backend_pid);
    }
    return false;
}
