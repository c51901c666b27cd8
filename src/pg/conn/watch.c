/* SPDX-License-Identifier: MIT */
/*
 * What a silent server process does, seen over a second connection. This tells
 * apart: a long statement, a dead connection, and a COMMIT that waits for a
 * synchronous standby.
 *
 * If "track_activities" is off, the server knows no state. From version 14 on
 * it still knows whether the process waits for its client; in 13, a process
 * that exists counts as working. Nothing here ends or cancels anything.
 */

#include "base/text.h"
#include "pg/conn/private.h"

#include <string.h>

/* By its number alone a process might be one of another server, where the
 * address leads to several. */
static const char look_sql[] =
    "SELECT CASE WHEN a.wait_event OPERATOR(pg_catalog.=) 'SyncRep'"
    "  THEN 'standby'"
    " WHEN a.wait_event OPERATOR(pg_catalog.=) 'ClientRead'"
    "  OR a.state OPERATOR(pg_catalog.~~) 'idle%' THEN 'idle'"
    " ELSE 'works' END FROM pg_catalog.pg_stat_activity a"
    " WHERE a.pid OPERATOR(pg_catalog.=) $1::pg_catalog.int4"
    " AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";

static enum lm_activity
read_activity(const struct lm_answer *answer)
{
    const char *word;

    if (lm_answer_rows(answer) == 0)
        return LM_ACTIVITY_UNKNOWN;
    word = lm_answer_text(answer, 0, 0);
    if (strcmp(word, "standby") == 0)
        return LM_ACTIVITY_AWAITS_STANDBY;
    return strcmp(word, "works") == 0 ? LM_ACTIVITY_WORKS : LM_ACTIVITY_IDLE;
}

/* Signals do not end this query: that the user is in a hurry says nothing
 * about the server. It has its own time limit. */
enum lm_activity
lm_conn_look(const struct lm_conn *self)
{
    struct lm_conn_options how = {.application_name = "luamig: watch",
                                  .open_limit_ms = self->silence_ms / 3,
                                  .silence_ms = self->silence_ms};
    enum lm_activity activity = LM_ACTIVITY_UNKNOWN;
    struct lm_answer *answer = NULL;
    struct lm_conn *conn = NULL;
    struct lm_err ignored;

    if (self->conninfo == NULL ||
        !lm_conn_open(&conn, self->conninfo, &how, &ignored))
        return LM_ACTIVITY_UNKNOWN;
    lm_conn_set_deadline(conn, how.open_limit_ms);
    if (lm_conn_ask(conn, look_sql, "?: t",
                    LM_VALUES(LM_DIGITS(self->backend_pid)), &answer,
                    &ignored)) {
        activity = read_activity(answer);
        lm_answer_free(answer);
    }
    lm_conn_close(conn);
    return activity;
}
