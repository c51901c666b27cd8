/* SPDX-License-Identifier: MIT */
/*
 * Makes a connection: checks the conninfo (pg/conn/url.h), lets libpq connect
 * in another thread so that signals work meanwhile, and asks the server
 * whether there is a pooler.
 *
 * libpq handles hosts, their order, target_session_attrs and time limits. A
 * connection that is given up continues in its thread and is closed there. No
 * error contains a password.
 */

#include "base/aside.h"
#include "base/clock.h"
#include "base/log.h"
#include "pg/conn/private.h"
#include "pg/conn/txn.h"
#include "pg/conn/url.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPEN_LIMIT_MS = 120000, /* all hosts and the resolver together */
    PING_LIMIT_MS = 10000,
    SILENCE_MS = 30000 /* unless the options say otherwise */
};

/* A password that is a name as well, or hardly a word, gives nothing away
 * where libpq's text has it, and without it the text would say nothing. */
static bool
is_secret(PGconn *pg, const char *password)
{
    enum { SHORTEST = 4 };
    const char *const names[] = {PQuser(pg), PQdb(pg), PQhost(pg)};

    if (password == NULL || strlen(password) < SHORTEST)
        return false;
    for (size_t i = 0; i < LM_COUNT(names); i++) {
        if (names[i] != NULL && strcmp(names[i], password) == 0)
            return false;
    }
    return true;
}

/* Why there is no connection, in libpq's words but for the password. */
static void
copy_reason(char *field, size_t size, PGconn *pg)
{
    const char *password = PQpass(pg);
    const char *text = PQerrorMessage(pg);
    struct lm_buf shown = LM_BUF_INIT;
    const char *found;

    while (is_secret(pg, password) &&
           (found = strstr(text, password)) != NULL) {
        lm_buf_add(&shown, text, (size_t)(found - text));
        lm_buf_puts(&shown, "***");
        text = found + strlen(password);
    }
    lm_buf_puts(&shown, text);
    lm_pipeline_copy_message(field, size, lm_buf_text(&shown));
    lm_buf_release(&shown);
}

/* Hosts, ports and database as libpq settled them; no secrets. */
static char *
describe_target(PGconn *pg)
{
    const char *host = PQhost(pg);

    return lm_format("%s:%s/%s", host != NULL ? host : "", PQport(pg),
                     PQdb(pg) != NULL ? PQdb(pg) : "");
}

/* Also a server's last word, when it ends a session that asked nothing. */
static void
on_notice(void *arg, const PGresult *result)
{
    const char *severity =
        PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    struct lm_conn *self = arg;
    char text[1024];

    if (severity != NULL && strcmp(severity, "FATAL") == 0)
        lm_pipeline_note_fatal(self, result);
    lm_pipeline_copy_message(text, sizeof text, PQresultErrorMessage(result));
    lm_conn_log_server_message(self, LM_LOG_INFO, text);
}

/* -- connecting aside ------------------------------------------------- */

/* One attempt; belongs to the thread once it is given up. */
struct attempt {
    char *conninfo;
    char *application_name;
    PGconn *pg;
    PGPing ping;
};

static struct attempt *
attempt_new(const char *conninfo, const char *application_name)
{
    struct attempt *self = lm_calloc(1, sizeof *self);

    self->conninfo = lm_strdup(conninfo);
    self->application_name = lm_strdup(application_name);
    return self;
}

static void
attempt_free(void *arg)
{
    struct attempt *self = arg;

    PQfinish(self->pg);
    free(self->conninfo);
    free(self->application_name);
    free(self);
}

static void
connect_blocking(void *arg)
{
    struct attempt *self = arg;
    /* What stands before dbname may be overridden by the conninfo. */
    const char *const keys[] = {"connect_timeout",  "application_name",
                                "dbname",           "client_encoding",
                                "keepalives_idle",  "keepalives_interval",
                                "keepalives_count", NULL};
    const char *const values[] = {
        "10", self->application_name, self->conninfo, "UTF8", "10", "10", "3",
        NULL};

    self->pg = PQconnectdbParams(keys, values, 1);
}

static void
ping_blocking(void *arg)
{
    struct attempt *self = arg;
    const char *const keys[] = {"connect_timeout", "dbname", NULL};
    const char *const values[] = {"10", self->conninfo, NULL};

    self->ping = PQpingParams(keys, values, 1);
}

bool
lm_conn_is_starting(const char *conninfo)
{
    struct attempt *attempt = attempt_new(conninfo, "");
    bool starting;

    if (lm_aside_run(ping_blocking, attempt_free, attempt, PING_LIMIT_MS, 1) !=
        LM_ASIDE_DONE)
        return false;
    starting = attempt->ping == PQPING_REJECT;
    attempt_free(attempt);
    return starting;
}

/* libpq's connection, which may have failed; NULL and an error if the wait
 * ended early. */
static PGconn *
connect_aside(const char *conninfo, const struct lm_conn_options *options,
              struct lm_err *err)
{
    struct attempt *attempt = attempt_new(conninfo, options->application_name);
    int stop_level = options->stop_level > 0 ? options->stop_level : 1;
    int64_t limit_ms =
        options->open_limit_ms > 0 ? options->open_limit_ms : OPEN_LIMIT_MS;
    PGconn *pg;

    switch (lm_aside_run(connect_blocking, attempt_free, attempt, limit_ms,
                         options->interruptible ? stop_level : 0)) {
    case LM_ASIDE_STOPPED:
        lm_err_set(err, LM_ERR_INTERRUPT, "interrupted while connecting");
        return NULL;
    case LM_ASIDE_LATE:
        lm_err_set(err, LM_ERR_CONNECT,
                   "could not connect within %" PRId64 " seconds",
                   limit_ms / 1000);
        return NULL;
    case LM_ASIDE_DONE:
        break;
    }
    pg = attempt->pg;
    attempt->pg = NULL;
    attempt_free(attempt);
    return pg;
}

/* -- the connection --------------------------------------------------- */

/*
 * A pooler makes up the process that it names when a connection begins, for
 * it has none to give; the server knows its own. Citus has its tables in
 * pg_catalog.
 */
static bool
recognise(struct lm_conn *self, struct lm_err *err)
{
    static const char sql[] =
        "SELECT pg_catalog.pg_backend_pid(), pg_catalog.to_regclass("
        "'pg_catalog.pg_dist_partition') IS NOT NULL";
    struct lm_answer *answer = NULL;

    if (!lm_conn_ask(self, sql, "1: n b", LM_NO_VALUES, &answer, err)) {
        if (err->kind == LM_ERR_LOST)
            err->kind = LM_ERR_CONNECT;
        return false;
    }
    self->backend_pid = lm_answer_int(answer, 0, 0);
    self->pooled = self->backend_pid != PQbackendPID(self->pg);
    self->citus = lm_answer_bool(answer, 0, 1);
    lm_answer_free(answer);
    return true;
}

static bool
set_up(struct lm_conn *self, struct lm_err *err)
{
    if (PQstatus(self->pg) != CONNECTION_OK) {
        lm_err_set(err, LM_ERR_CONNECT, "could not connect to %s",
                   self->target);
        copy_reason(err->detail, sizeof err->detail, self->pg);
        return false;
    }
    PQsetnonblocking(self->pg, 1);
    PQenterPipelineMode(self->pg);
    PQsetNoticeReceiver(self->pg, on_notice, self);
    return recognise(self, err) && lm_txn_prepare_session(self, err);
}

bool
lm_conn_open(struct lm_conn **out, const char *conninfo,
             const struct lm_conn_options *options, struct lm_err *err)
{
    struct lm_conn *self;
    PGconn *pg;

    if (*conninfo != '\0' && !lm_url_check(conninfo, err))
        return false;
    pg = connect_aside(conninfo, options, err);
    if (pg == NULL)
        return false;
    self = lm_calloc(1, sizeof *self);
    self->pg = pg;
    self->serial = lm_conn_next_number();
    self->interruptible = options->interruptible;
    self->quiet = !options->interruptible;
    self->silence_ms =
        options->silence_ms > 0 ? options->silence_ms : SILENCE_MS;
    self->target = describe_target(pg);
    self->alone = true;
    if (options->watched)
        self->conninfo = lm_strdup(conninfo);
    if (!set_up(self, err)) {
        lm_conn_close(self);
        return false;
    }
    *out = self;
    return true;
}

/* -- what may read along ------------------------------------------------ */

const char *
lm_conn_encryption(const struct lm_conn *self)
{
    if (PQsslInUse(self->pg) != 0)
        return PQsslAttribute(self->pg, "protocol");
    return PQgssEncInUse(self->pg) != 0 ? "GSSAPI" : NULL;
}

bool
lm_conn_used_password(const struct lm_conn *self)
{
    return PQconnectionUsedPassword(self->pg) != 0;
}

/* Over a network, by the address: a Unix socket has none. */
static bool
leaves_machine(PGconn *pg)
{
    const char *host = PQhost(pg);
    const char *address = PQhostaddr(pg);

    if (address == NULL || *address == '\0' ||
        (host != NULL && (*host == '/' || *host == '@')))
        return false;
    return strncmp(address, "127.", 4) != 0 && strcmp(address, "::1") != 0 &&
           strncmp(address, "::ffff:127.", 11) != 0;
}

void
lm_conn_warn_unencrypted(const struct lm_conn *self)
{
    static atomic_bool has_warned;

    if (!lm_conn_used_password(self) || lm_conn_encryption(self) != NULL ||
        !leaves_machine(self->pg) || atomic_exchange(&has_warned, true))
        return;
    lm_log(LM_LOG_WARNING,
           "the connection to %s is not encrypted, and a password is used on "
           "it; add sslmode=require to the URL, or verify-full",
           self->target);
}
