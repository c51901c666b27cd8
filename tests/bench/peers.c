/* SPDX-License-Identifier: MIT */
/*
 * What one would write by hand in C, to compare luamig with.
 *
 *     peers MODE CONNINFO BATCH [audit] [free]
 *
 * Gives every row of the table "users" without an onboarding step the one
 * that step_for() says, in batches of BATCH rows. MODE is how the writes are
 * sent:
 *
 *     row       a prepared UPDATE a row, each waiting for its answer
 *     pipeline  the same through libpq's pipeline mode
 *     unnest    one UPDATE a batch, over arrays
 *
 * With "audit", each update is followed by an INSERT into the table "audit".
 * A batch is a repeatable read transaction with synchronous_commit off: the
 * page, the writes, and an UPDATE of the checkpoint's row, which "free" leaves
 * out. The modes "pipeline" and "unnest" send BEGIN with the page query and
 * COMMIT with the writes: two round trips.
 */

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum mode { ROW, PIPELINE, UNNEST };

struct text {
    char *bytes;
    size_t size;
    size_t room;
};

struct job {
    PGconn *conn;
    enum mode mode;
    bool audit;
    bool checkpoint;
    int batch;
    char *cursor;
    char *bound;
    long long rows;
};

static const char begin_sql[] = "BEGIN ISOLATION LEVEL REPEATABLE READ";
static const char commit_setting_sql[] = "SET LOCAL synchronous_commit = off";
static const char page_sql[] =
    "SELECT id, email FROM users WHERE onboarding_step IS NULL"
    " AND id > $1 AND id <= $2 ORDER BY id LIMIT $3";
static const char checkpoint_sql[] =
    "UPDATE bench_checkpoint SET cursor = $1, rows = rows + $2,"
    " batches = batches + 1, at = clock_timestamp() WHERE id = 1";
static const char update_sql[] =
    "UPDATE users SET onboarding_step = $2 WHERE id = $1";
static const char insert_sql[] =
    "INSERT INTO audit (user_id, step) VALUES ($1, $2)";
static const char update_unnest_sql[] =
    "UPDATE users SET onboarding_step = v.step"
    " FROM unnest($1::bigint[], $2::text[]) AS v (id, step)"
    " WHERE users.id = v.id";
static const char insert_unnest_sql[] =
    "INSERT INTO audit (user_id, step)"
    " SELECT * FROM unnest($1::bigint[], $2::text[])";

static void
fail(struct job *job, const char *what)
{
    fprintf(stderr, "peers: %s: %s", what, PQerrorMessage(job->conn));
    exit(1);
}

static void *
allocate(void *old, size_t size)
{
    void *p = realloc(old, size);

    if (p == NULL) {
        fputs("peers: out of memory\n", stderr);
        exit(1);
    }
    return p;
}

static void
add(struct text *text, const char *more)
{
    size_t size = strlen(more);

    if (text->size + size + 1 > text->room) {
        text->room = 2 * (text->size + size + 1);
        text->bytes = allocate(text->bytes, text->room);
    }
    memcpy(text->bytes + text->size, more, size + 1);
    text->size += size;
}

static void
set(char **to, const char *value)
{
    size_t size = strlen(value) + 1;

    *to = allocate(*to, size);
    memcpy(*to, value, size);
}

static const char *
step_for(const char *id, const char *email)
{
    static const char *const steps[] = {"welcome", "profile", "invite", "done"};

    return steps[(strtoull(id, NULL, 10) + strlen(email)) % 4];
}

/* -- waiting for each answer ------------------------------------------ */

static void
expect(struct job *job, PGresult *result, ExecStatusType status,
       const char *count)
{
    if (PQresultStatus(result) != status ||
        (count != NULL && strcmp(PQcmdTuples(result), count) != 0))
        fail(job, PQcmdStatus(result));
}

static void
command(struct job *job, const char *sql)
{
    PGresult *result = PQexec(job->conn, sql);

    expect(job, result, PGRES_COMMAND_OK, NULL);
    PQclear(result);
}

static PGresult *
run(struct job *job, const char *statement, int count,
    const char *const *values)
{
    return PQexecPrepared(job->conn, statement, count, values, NULL, NULL, 0);
}

static void
prepare(struct job *job, const char *name, const char *sql)
{
    PGresult *result = PQprepare(job->conn, name, sql, 0, NULL);

    expect(job, result, PGRES_COMMAND_OK, NULL);
    PQclear(result);
}

/* -- the pipeline ----------------------------------------------------- */

/* Sends on what libpq has buffered, and reads what comes meanwhile: neither
 * side ever waits for the other with both its buffers full. */
static void
push(struct job *job, bool all)
{
    struct pollfd fd = {.fd = PQsocket(job->conn)};
    int left;

    while ((left = PQflush(job->conn)) > 0) {
        fd.events = POLLIN | POLLOUT;
        if (poll(&fd, 1, all ? -1 : 0) < 0 && errno != EINTR)
            fail(job, "poll");
        if ((fd.revents & POLLIN) != 0 && !PQconsumeInput(job->conn))
            fail(job, "read");
        if (!all && (fd.revents & POLLOUT) == 0)
            return;
    }
    if (left < 0)
        fail(job, "send");
}

static void
post(struct job *job, const char *statement, int count,
     const char *const *values)
{
    if (!PQsendQueryPrepared(job->conn, statement, count, values, NULL, NULL,
                             0))
        fail(job, statement);
}

static void
post_sync(struct job *job)
{
    if (!PQpipelineSync(job->conn))
        fail(job, "sync");
    push(job, true);
}

/* The answer to the next statement that was posted. */
static PGresult *
answer(struct job *job, ExecStatusType status, const char *count)
{
    PGresult *result = PQgetResult(job->conn);
    PGresult *none;

    expect(job, result, status, count);
    if (status == PGRES_PIPELINE_SYNC)
        return result;
    none = PQgetResult(job->conn);
    if (none != NULL)
        fail(job, "an answer too many");
    return result;
}

static void
answers(struct job *job, int count, ExecStatusType status, const char *tuples)
{
    for (int i = 0; i < count; i++)
        PQclear(answer(job, status, tuples));
}

/* -- a batch ---------------------------------------------------------- */

static PGresult *
begin_and_page(struct job *job)
{
    char limit[24];
    const char *values[] = {job->cursor, job->bound, limit};
    PGresult *page;

    snprintf(limit, sizeof limit, "%d", job->batch + 1);
    if (job->mode == ROW) {
        command(job, begin_sql);
        command(job, commit_setting_sql);
        page = run(job, "page", 3, values);
        expect(job, page, PGRES_TUPLES_OK, NULL);
        return page;
    }
    post(job, "begin", 0, NULL);
    post(job, "setting", 0, NULL);
    post(job, "page", 3, values);
    post_sync(job);
    answers(job, 2, PGRES_COMMAND_OK, NULL);
    page = answer(job, PGRES_TUPLES_OK, NULL);
    answers(job, 1, PGRES_PIPELINE_SYNC, NULL);
    return page;
}

static void
write_rows(struct job *job, const PGresult *page, int rows)
{
    for (int i = 0; i < rows; i++) {
        const char *id = PQgetvalue(page, i, 0);
        const char *values[] = {id, step_for(id, PQgetvalue(page, i, 1))};
        PGresult *result = run(job, "update", 2, values);

        expect(job, result, PGRES_COMMAND_OK, "1");
        PQclear(result);
        if (job->audit) {
            result = run(job, "insert", 2, values);
            expect(job, result, PGRES_COMMAND_OK, "1");
            PQclear(result);
        }
    }
}

/* Returns how many statements were posted. */
static int
post_rows(struct job *job, const PGresult *page, int rows)
{
    for (int i = 0; i < rows; i++) {
        const char *id = PQgetvalue(page, i, 0);
        const char *values[] = {id, step_for(id, PQgetvalue(page, i, 1))};

        post(job, "update", 2, values);
        if (job->audit)
            post(job, "insert", 2, values);
        if (i % 64 == 63)
            push(job, false);
    }
    return job->audit ? 2 * rows : rows;
}

static int
post_arrays(struct job *job, const PGresult *page, int rows)
{
    static struct text ids;
    static struct text steps;
    const char *values[2];

    ids.size = steps.size = 0;
    for (int i = 0; i < rows; i++) {
        const char *id = PQgetvalue(page, i, 0);

        add(&ids, i == 0 ? "{" : ",");
        add(&ids, id);
        add(&steps, i == 0 ? "{\"" : "\",\"");
        add(&steps, step_for(id, PQgetvalue(page, i, 1)));
    }
    add(&ids, "}");
    add(&steps, "\"}");
    values[0] = ids.bytes;
    values[1] = steps.bytes;
    post(job, "update_unnest", 2, values);
    if (job->audit)
        post(job, "insert_unnest", 2, values);
    return job->audit ? 2 : 1;
}

static void
finish_row_by_row(struct job *job, const char *const *values)
{
    PGresult *result;

    if (job->checkpoint) {
        result = run(job, "checkpoint", 2, values);
        expect(job, result, PGRES_COMMAND_OK, "1");
        PQclear(result);
    }
    command(job, "COMMIT");
}

static void
finish_posted(struct job *job, const char *const *values, int posted,
              const char *tuples)
{
    if (job->checkpoint)
        post(job, "checkpoint", 2, values);
    post(job, "commit", 0, NULL);
    post_sync(job);
    answers(job, posted, PGRES_COMMAND_OK, tuples);
    answers(job, job->checkpoint ? 1 : 0, PGRES_COMMAND_OK, "1");
    answers(job, 1, PGRES_COMMAND_OK, NULL);
    answers(job, 1, PGRES_PIPELINE_SYNC, NULL);
}

/* False after the last batch. */
static bool
migrate_batch(struct job *job)
{
    PGresult *page = begin_and_page(job);
    int found = PQntuples(page);
    int rows = found < job->batch ? found : job->batch;
    char count[24];
    const char *values[] = {NULL, count};

    snprintf(count, sizeof count, "%d", rows);
    if (rows > 0)
        set(&job->cursor, PQgetvalue(page, rows - 1, 0));
    values[0] = job->cursor;
    switch (job->mode) {
    case ROW:
        write_rows(job, page, rows);
        finish_row_by_row(job, values);
        break;
    case PIPELINE:
        finish_posted(job, values, post_rows(job, page, rows), "1");
        break;
    case UNNEST:
        finish_posted(job, values, rows > 0 ? post_arrays(job, page, rows) : 0,
                      count);
        break;
    }
    job->rows += rows;
    PQclear(page);
    return found > job->batch;
}

/* -- the whole -------------------------------------------------------- */

static void
connect_to(struct job *job, const char *conninfo)
{
    PGresult *result;

    job->conn = PQconnectdb(conninfo);
    if (PQstatus(job->conn) != CONNECTION_OK)
        fail(job, "connect");
    prepare(job, "begin", begin_sql);
    prepare(job, "setting", commit_setting_sql);
    prepare(job, "commit", "COMMIT");
    prepare(job, "page", page_sql);
    prepare(job, "checkpoint", checkpoint_sql);
    prepare(job, "update", update_sql);
    prepare(job, "update_unnest", update_unnest_sql);
    if (job->audit) {
        prepare(job, "insert", insert_sql);
        prepare(job, "insert_unnest", insert_unnest_sql);
    }
    result = PQexec(job->conn, "SELECT coalesce(max(id), 0) FROM users"
                               " WHERE onboarding_step IS NULL");
    expect(job, result, PGRES_TUPLES_OK, NULL);
    set(&job->bound, PQgetvalue(result, 0, 0));
    set(&job->cursor, "0");
    PQclear(result);
    if (job->mode != ROW && (!PQenterPipelineMode(job->conn) ||
                             PQsetnonblocking(job->conn, 1) != 0))
        fail(job, "pipeline mode");
}

static bool
read_arguments(struct job *job, int argc, char **argv)
{
    static const char *const modes[] = {"row", "pipeline", "unnest"};
    bool known = false;

    if (argc < 4)
        return false;
    for (int i = 0; i < 3; i++) {
        if (strcmp(argv[1], modes[i]) == 0) {
            job->mode = (enum mode)i;
            known = true;
        }
    }
    job->batch = atoi(argv[3]);
    job->checkpoint = true;
    for (int i = 4; i < argc; i++) {
        if (strcmp(argv[i], "audit") == 0)
            job->audit = true;
        else if (strcmp(argv[i], "free") == 0)
            job->checkpoint = false;
        else
            return false;
    }
    return known && job->batch > 0;
}

int
main(int argc, char **argv)
{
    struct job job = {0};

    if (!read_arguments(&job, argc, argv)) {
        fputs("usage: peers row|pipeline|unnest CONNINFO BATCH [audit] "
              "[free]\n",
              stderr);
        return 2;
    }
    connect_to(&job, argv[2]);
    while (migrate_batch(&job))
        ;
    printf("%lld rows\n", job.rows);
    PQfinish(job.conn);
    free(job.cursor);
    free(job.bound);
    return 0;
}
