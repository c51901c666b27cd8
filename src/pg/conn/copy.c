/* SPDX-License-Identifier: MIT */
/* What libpq does not do in pipeline mode: several statements in one text, and
 * COPY. The mode is left for as long as that lasts. */

#include "pg/conn/copy.h"

#include "base/clock.h"
#include "pg/conn/private.h"

static bool
fail_lost(struct lm_conn *self, struct lm_err *err)
{
    lm_pipeline_fail_lost(self, PQerrorMessage(self->pg), err);
    return lm_pipeline_abandon(self);
}

static bool
send(struct lm_conn *self, const char *sql, struct lm_err *err)
{
    lm_pipeline_begin(self);
    if (PQexitPipelineMode(self->pg) == 0 || PQsendQuery(self->pg, sql) == 0)
        return fail_lost(self, err);
    return lm_conn_push(self, err);
}

/* Back to pipeline mode; returns ok unless it fails itself. */
static bool
return_to_pipeline(struct lm_conn *self, bool ok, struct lm_err *err)
{
    if (lm_conn_is_up(self) && PQenterPipelineMode(self->pg) == 0)
        return fail_lost(self, err);
    return ok;
}

/* Keeps what the first error says of its place. */
static void
keep_context(const PGresult *result, char **context)
{
    const char *text = PQresultErrorField(result, PG_DIAG_CONTEXT);

    if (context != NULL && *context == NULL && text != NULL)
        *context = lm_strdup(text);
}

/* Reads results to their end. ok: nothing has failed yet. */
static bool
read_results(struct lm_conn *self, const char *sql, bool ok, char **context,
             struct lm_err *err)
{
    for (;;) {
        PGresult *result;

        if (!lm_pipeline_await(self, err))
            return lm_pipeline_abandon(self);
        result = PQgetResult(self->pg);
        if (result == NULL)
            return ok;
        if (ok && PQresultStatus(result) == PGRES_FATAL_ERROR) {
            keep_context(result, context);
            ok = lm_pipeline_fail_result(self, result, sql, err);
        }
        PQclear(result);
    }
}

bool
lm_pipeline_script(struct lm_conn *self, const char *sql, struct lm_err *err)
{
    if (!send(self, sql, err))
        return false;
    return return_to_pipeline(self, read_results(self, sql, true, NULL, err),
                              err);
}

/* -- COPY ------------------------------------------------------------------- */

/* True: the server waits for rows. Otherwise err says why not. */
static bool
is_waiting(struct lm_conn *self, const char *sql, struct lm_err *err)
{
    PGresult *result;
    bool waits;

    if (!lm_pipeline_await(self, err))
        return lm_pipeline_abandon(self);
    result = PQgetResult(self->pg);
    waits = result != NULL && PQresultStatus(result) == PGRES_COPY_IN;
    if (!waits && result != NULL &&
        PQresultStatus(result) == PGRES_FATAL_ERROR) {
        (void)lm_pipeline_fail_result(self, result, sql, err);
    } else if (!waits) {
        lm_answer_fail_of(sql, "the server does not wait for rows", err);
    }
    PQclear(result);
    return waits || (read_results(self, sql, false, NULL, err) && false);
}

/* With what libpq keeps, its memory would grow with the file. */
static bool
put(struct lm_conn *self, const struct lm_buf *rows, struct lm_err *err)
{
    int done;

    while ((done = PQputCopyData(self->pg, rows->data, (int)rows->len)) == 0) {
        if (!lm_conn_push(self, err))
            return false;
    }
    return done > 0 ? lm_conn_push(self, err) : fail_lost(self, err);
}

static bool
put_all(struct lm_conn *self, const struct lm_copy_source *source,
        struct lm_err *err)
{
    struct lm_buf rows = LM_BUF_INIT;
    bool ok;

    do {
        lm_buf_clear(&rows);
        ok = source->next(source->arg, &rows, err) &&
             (rows.len == 0 || put(self, &rows, err));
    } while (ok && rows.len > 0);
    lm_buf_release(&rows);
    return ok;
}

/* Ends the COPY: a source that failed makes the server forget it. */
static bool
end_copy(struct lm_conn *self, const char *sql, bool ok, char **context,
         struct lm_err *err)
{
    int done;

    while ((done = PQputCopyEnd(
                self->pg, ok ? NULL : "luamig does not load the file")) == 0) {
        if (!lm_conn_push(self, err))
            return false;
    }
    if (done < 0)
        return fail_lost(self, err);
    return lm_conn_push(self, err) && read_results(self, sql, ok, context, err);
}

bool
lm_conn_copy(struct lm_conn *self, const char *sql,
             const struct lm_copy_source *source, char **context,
             struct lm_err *err)
{
    struct lm_err why;
    bool ok;

    *context = NULL;
    if (!lm_conn_flush(self, err) || !send(self, sql, err))
        return false;
    if (!is_waiting(self, sql, err))
        return return_to_pipeline(self, false, err);
    ok = put_all(self, source, &why);
    if (!lm_conn_is_up(self)) {
        *err = why;
        return false;
    }
    if (!ok)
        *err = why;
    ok = end_copy(self, sql, ok, context, ok ? err : &why);
    self->quiet_since_ms = lm_clock_ms();
    return return_to_pipeline(self, ok, err);
}
