/* SPDX-License-Identifier: MIT */
/*
 * Checks database URLs before libpq reads them. If libpq cannot read a URL,
 * its error quotes parts of it, which may be a password. So luamig does not
 * show that error: this file finds what libpq would refuse or misread, and
 * describes it in other words.
 *
 * A name from the URL is repeated only if it is in one of the tables below.
 */

#include "pg/conn/url.h"

#include "base/text.h"

#include <ctype.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define FORM "postgresql://user@host:5432/database"

static const char escapes[] =
    "In a user name or password write @ as %40, / as %2F, : as %3A, ? as %3F, "
    "# as %23 and % as %25.";

static bool
fail(struct lm_err *err, const char *message, const char *hint)
{
    lm_err_set(err, LM_ERR_CONNECT, "%s", message);
    return lm_err_hint(err, "%s", hint);
}

/* -- schemes ----------------------------------------------------------- */

static bool
is_uri(const char *text)
{
    return strncmp(text, "postgresql://", 13) == 0 ||
           strncmp(text, "postgres://", 11) == 0;
}

static bool
begins(const char *text, const char *word)
{
    return strncasecmp(text, word, strlen(word)) == 0;
}

static const struct {
    const char *prefix; /* letter case does not matter */
    const char *tool;
} foreign_schemes[] = {
    {"jdbc:postgresql:", "JDBC"},     {"postgresql+", "SQLAlchemy"},
    {"postgres+", "SQLAlchemy"},      {"ecto:", "Ecto"},
    {"postgis:", "Django and Rails"}, {"pgsql:", "PDO"},
    {"psql:", "django-environ"},      {"prisma:", "Prisma"},
    {"prisma+postgres:", "Prisma"}};

static const struct {
    const char *prefix;
    const char *name;
} other_databases[] = {{"mysql", "MySQL"},         {"mariadb", "MariaDB"},
                       {"sqlite", "SQLite"},       {"mongodb", "MongoDB"},
                       {"redis", "Redis"},         {"mssql", "SQL Server"},
                       {"sqlserver", "SQL Server"}};

static bool
check_foreign(const char *text, struct lm_err *err)
{
    for (size_t i = 0; i < LM_COUNT(foreign_schemes); i++) {
        if (!begins(text, foreign_schemes[i].prefix))
            continue;
        lm_err_set(err, LM_ERR_CONNECT,
                   "the database URL begins like a URL of %s",
                   foreign_schemes[i].tool);
        lm_err_hint(err, "Begin the URL with \"postgresql://\": " FORM ".");
        return false;
    }
    for (size_t i = 0; i < LM_COUNT(other_databases); i++) {
        if (!begins(text, other_databases[i].prefix) ||
            text[strcspn(text, ":=")] != ':')
            continue;
        lm_err_set(err, LM_ERR_CONNECT, "the database URL is for %s",
                   other_databases[i].name);
        return lm_err_hint(
            err, "luamig migrates only PostgreSQL databases. Write " FORM ".");
    }
    return true;
}

/* "POSTGRES://" and "postgresql:/host" are near enough to say what is off. */
static bool
check_spelling(const char *text, struct lm_err *err)
{
    const char *rest = text;

    if (!begins(text, "postgres"))
        return true;
    rest +=
        begins(text, "postgresql") ? strlen("postgresql") : strlen("postgres");
    if (strncmp(rest, "://", 3) == 0) {
        return fail(err, "the database URL begins with capital letters",
                    "Write \"postgresql://\" in small letters.");
    }
    if (*rest != ':' && *rest != '/')
        return true;
    return fail(err, "the database URL does not begin with \"postgresql://\"",
                "Write a colon and two slashes after the first word: " FORM
                ".");
}

static bool
check_form(const char *text, struct lm_err *err)
{
    const char *scheme_end;

    if (strchr("\"'`", *text) != NULL) {
        return fail(err, "the database URL begins with a quotation mark",
                    "Remove the quotation marks. A shell removes them itself, "
                    "but other programs keep them.");
    }
    if (isspace((unsigned char)*text)) {
        return fail(err, "the database URL begins with a space",
                    "Remove the space.");
    }
    if (!check_foreign(text, err) || !check_spelling(text, err))
        return false;
    scheme_end = strstr(text, "://");
    if (scheme_end != NULL &&
        strcspn(text, "=") > (size_t)(scheme_end - text)) {
        return fail(err,
                    "the database URL does not begin with \"postgresql://\"",
                    "Write it as " FORM ".");
    }
    if (strchr(text, '=') != NULL)
        return true;
    return fail(err, "the database is given as a name, not as a URL",
                "Write " FORM ", or \"dbname=...\" for a database of the "
                "server that libpq connects to by default.");
}

/* -- parts of a URL ---------------------------------------------------- */

/* Is there an "@" in what libpq takes for hosts, ports and database of a URI?
 * Then the user or the password ended too early, and a part of the password
 * has become a host. An escaped one is a part of the name. */
static bool
has_stray_at(const char *uri)
{
    const char *place = strstr(uri, "://") + 3;
    size_t user = strcspn(place, "@/");

    if (place[user] == '@')
        place += user + 1;
    return memchr(place, '@', strcspn(place, "?")) != NULL;
}

static bool
has_bad_escape(const char *uri)
{
    for (const char *at = strchr(uri, '%'); at != NULL;
         at = strchr(at + 1, '%')) {
        if (!isxdigit((unsigned char)at[1]) ||
            !isxdigit((unsigned char)at[2]) || strncmp(at, "%00", 3) == 0)
            return true;
    }
    return false;
}

/* "user:password/database", without a host, makes the password a port. */
static bool
has_numeric_ports(const PQconninfoOption *options)
{
    for (; options->keyword != NULL; options++) {
        if (strcmp(options->keyword, "port") == 0 && options->val != NULL)
            return options->val[strspn(options->val, "0123456789,")] == '\0';
    }
    return true;
}

/* Behind the "?" that begins the parameters; NULL without. An unescaped "?" in
 * a user name or password is a part of it, for libpq as well. */
static const char *
find_parameters(const char *uri)
{
    const char *place = strstr(uri, "://") + 3;
    size_t user = strcspn(place, "@/");

    if (place[user] == '@')
        place += user + 1;
    place += strcspn(place, "?");
    return *place == '?' ? place + 1 : NULL;
}

/* -- parameters -------------------------------------------------------- */

static const char set_search_path[] =
    "Write options=-csearch_path%3DNAME instead, or name the schema in the "
    "script's SQL.";
static const char no_pool[] =
    "Remove it: luamig opens two connections and has no pool.";
static const char own_statements[] =
    "Remove it: luamig manages prepared statements by itself, also behind a "
    "pooler.";
static const char always_utf8[] = "Remove it: luamig always uses UTF-8.";
static const char set_connect_timeout[] =
    "Write connect_timeout=SECONDS instead. For statements, set "
    "config.statement_timeout_ms and config.lock_timeout_ms in the script.";
static const char set_sslmode[] =
    "Write sslmode=require instead. To check the server's certificate, write "
    "sslmode=verify-full and sslrootcert. Without encryption, write "
    "sslmode=disable.";

static const struct {
    const char *name;
    const char *tool; /* NULL: several */
    const char *instead;
} foreign_parameters[] = {
    {"schema", "Prisma", set_search_path},
    {"search_path", NULL, set_search_path},
    {"currentSchema", "JDBC", set_search_path},
    {"pool", NULL, no_pool},
    {"pool_size", "Ecto and SQLAlchemy", no_pool},
    {"pool_timeout", "Prisma", no_pool},
    {"connection_limit", "Prisma", no_pool},
    {"max_connections", NULL, no_pool},
    {"pgbouncer", "Prisma", "Remove it: luamig recognises a pooler by itself."},
    {"statement_cache_size", "Prisma and asyncpg", own_statements},
    {"prepared_statement_cache_size", "asyncpg", own_statements},
    {"prepared_statements", "Rails", own_statements},
    {"prepareThreshold", "JDBC", own_statements},
    {"ssl", NULL, set_sslmode},
    {"sslaccept", "Prisma", set_sslmode},
    {"tlsmode", NULL, set_sslmode},
    {"encoding", "Rails", always_utf8},
    {"charset", NULL, always_utf8},
    {"adapter", "Rails", "Remove it: luamig works only with PostgreSQL."},
    {"timeout", NULL, set_connect_timeout},
    {"connectTimeout", "JDBC", set_connect_timeout},
    {"socket_timeout", "Prisma", set_connect_timeout},
    {"ApplicationName", "JDBC",
     "Write application_name=NAME instead. The default is \"luamig: "
     "SCRIPT\"."}};

static bool
explain_parameter(const char *name, size_t len, struct lm_err *err)
{
    for (size_t i = 0; i < LM_COUNT(foreign_parameters); i++) {
        const char *known = foreign_parameters[i].name;
        const char *tool = foreign_parameters[i].tool;

        if (strlen(known) != len || strncasecmp(known, name, len) != 0)
            continue;
        lm_err_set(err, LM_ERR_CONNECT,
                   "the database URL has the parameter \"%s\"%s%s, which "
                   "libpq does not know",
                   known, tool != NULL ? " of " : "", tool != NULL ? tool : "");
        lm_err_hint(err, "%s", foreign_parameters[i].instead);
        return true;
    }
    return false;
}

/* libpq knows ssl=true, and takes it for sslmode=require. */
static bool
is_libpqs(const PQconninfoOption *options, const char *name, size_t len)
{
    if (strncmp(name, "ssl=true", 8) == 0 &&
        (name[8] == '&' || name[8] == '\0'))
        return true;
    for (; options->keyword != NULL; options++) {
        if (strlen(options->keyword) == len &&
            strncmp(options->keyword, name, len) == 0)
            return true;
    }
    return false;
}

static bool
fail_parameter(const PQconninfoOption *options, const char *name, size_t len,
               struct lm_err *err)
{
    const char *names[64];
    size_t count = 0;
    char *given = lm_strndup(name, len);
    int nearest;

    for (; options->keyword != NULL && count < LM_COUNT(names); options++)
        names[count++] = options->keyword;
    nearest = lm_text_nearest(given, names, count);
    free(given);
    lm_err_set(err, LM_ERR_CONNECT,
               "the database URL has a parameter that libpq does not know");
    if (nearest >= 0) {
        lm_err_hint(err, "Did you mean \"%s\"?", names[nearest]);
    } else {
        lm_err_hint(
            err,
            "Only libpq's parameters are allowed after \"?\", such as sslmode "
            "or connect_timeout. Remove those of other tools. %s",
            escapes);
    }
    return false;
}

/* Why libpq does not take the parameters; true when the fault is not there. */
static bool
check_parameters(const char *uri, struct lm_err *err)
{
    const char *at = find_parameters(uri);
    PQconninfoOption *options;
    bool ok = true;

    if (at == NULL)
        return true;
    options = PQconndefaults();
    while (ok && options != NULL && *at != '\0') {
        size_t all = strcspn(at, "&");
        size_t len = strcspn(at, "&=");

        if (!is_libpqs(options, at, len)) {
            ok = false;
            if (!explain_parameter(at, len, err))
                fail_parameter(options, at, len, err);
        }
        at += all + (at[all] == '&');
    }
    PQconninfoFree(options);
    return ok;
}

/* -- names --------------------------------------------------------------- */

static const struct {
    const char *keyword;
    const char *variable; /* that stands in for it */
    const char *message;
} names[] = {{"host", "PGHOST", "the name of the host is a URL"},
             {"dbname", "PGDATABASE", "the name of the database is a URL"}};

/* A URL in the place of a name would be shown as one, password and all. */
static bool
check_names(const PQconninfoOption *options, struct lm_err *err)
{
    for (; options->keyword != NULL; options++) {
        for (size_t i = 0; i < LM_COUNT(names); i++) {
            const char *value = options->val;

            if (strcmp(options->keyword, names[i].keyword) != 0)
                continue;
            if (value == NULL)
                value = getenv(names[i].variable);
            if (value == NULL || strstr(value, "://") == NULL)
                continue;
            lm_err_set(err, LM_ERR_CONNECT, "%s", names[i].message);
            lm_err_hint(err,
                        "%s and %s take a name, not a URL. Pass the URL with "
                        "--db, LUAMIG_DATABASE_URL or DATABASE_URL: " FORM ".",
                        names[i].keyword, names[i].variable);
            return false;
        }
    }
    return true;
}

/* -- the whole ---------------------------------------------------------- */

static bool
check_uri(const char *uri, const PQconninfoOption *options, struct lm_err *err)
{
    if (has_stray_at(uri)) {
        return fail(err,
                    "the database URL has a character that must be escaped",
                    escapes);
    }
    if (has_bad_escape(uri)) {
        return fail(err, "the database URL has a wrong escape after a \"%\"",
                    "Write two hexadecimal digits after a \"%\", but not 00. "
                    "Write the character \"%\" itself as %25.");
    }
    if (options != NULL && !has_numeric_ports(options)) {
        lm_err_set(err, LM_ERR_CONNECT,
                   "the port in the database URL is not a number");
        return lm_err_hint(err,
                           "A URL with a password needs a host: "
                           "postgresql://user:password@host:5432/database. %s",
                           escapes);
    }
    return options != NULL || check_parameters(uri, err);
}

static bool
check_parsed(const char *conninfo, const PQconninfoOption *options,
             struct lm_err *err)
{
    if (is_uri(conninfo)) {
        if (!check_uri(conninfo, options, err))
            return false;
    } else if (options == NULL && !check_form(conninfo, err)) {
        return false;
    }
    if (options != NULL)
        return check_names(options, err);
    return fail(err, "libpq cannot read the database URL",
                "Write " FORM ", or \"host=... dbname=...\" with single quotes "
                "around a value that has spaces.");
}

bool
lm_url_check(const char *conninfo, struct lm_err *err)
{
    char *ignored = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &ignored);
    bool ok = check_parsed(conninfo, options, err);

    PQfreemem(ignored);
    PQconninfoFree(options);
    return ok;
}
