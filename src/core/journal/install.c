/* SPDX-License-Identifier: MIT */
/* Creates and upgrades the journal's tables, and finds what prevents that:
 * other tables with these names, publications that would send the tables to
 * subscribers without them, a role without rights. */

#include "base/log.h"
#include "core/journal/input.h"
#include "core/journal/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A table is luamig's if it has this column besides its name. */
#define MARKS                                                 \
    "(VALUES ('version', 'installed_by'), ('run', 'sha256')," \
    " ('progress', 'batches'), ('failure', 'row_data'),"      \
    " ('request', 'at_once'), ('batch_lease', 'until'),"      \
    " ('worker', 'lease_until'), ('range', 'upper'),"         \
    " ('two_phase', 'never'), ('input', 'loaded_at'))"        \
    " AS own (name, mark)"

/* Relations of the schema that are not luamig's. Tables of files, such as
 * input_7, belong to the owner of the others. */
#define OTHERS                                                   \
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n" \
    " ON n.oid = c.relnamespace WHERE n.nspname = $1"            \
    " AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"                \
    " AND (c.relname !~ '^input_[0-9]+$' OR c.relowner <>"       \
    "  (SELECT i.relowner FROM pg_catalog.pg_class i WHERE"      \
    "   i.relnamespace = n.oid AND i.relname = 'input')"         \
    " ) IS NOT FALSE AND NOT EXISTS ("                           \
    "  SELECT FROM " MARKS " JOIN pg_catalog.pg_attribute a"     \
    "  ON a.attrelid = c.oid AND a.attname = own.mark"           \
    "  WHERE own.name = c.relname)"

/* The "luamig journal --sql" command that makes the tables of the schema, or
 * upgrades those of a version (0: there are none). */
static void
describe_sql(const char *schema, int version, char *out, size_t size)
{
    struct lm_buf command = LM_BUF_INIT;

    lm_buf_puts(&command, "luamig journal --sql");
    if (version > 0)
        lm_buf_printf(&command, " --from %d", version);
    if (strcmp(schema, "luamig") != 0)
        lm_buf_printf(&command, " --journal-schema %s", schema);
    lm_err_copy(out, size, lm_buf_text(&command), command.len);
    lm_buf_release(&command);
}

/* One text, copied; "" when the server has none. */
static bool
ask_text(struct lm_journal *self, const char *sql, char *out, size_t size,
         struct lm_err *err)
{
    struct lm_answer *row = NULL;
    const char *text;

    if (!lm_journal_ask(self, sql, "1: t?", LM_VALUES(self->schema), &row, err))
        return false;
    text = lm_answer_text_or(row, 0, 0, "");
    lm_err_copy(out, size, text, strlen(text));
    lm_answer_free(row);
    return true;
}

static bool
fail_taken(const struct lm_journal *self, const char *names, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_CONNECT,
               "schema \"%s\" holds tables that are not luamig's: %s",
               self->schema, names);
    return lm_err_hint(err, "Give luamig's tables a schema of their own: pass "
                            "--journal-schema NAME to every command.");
}

/* Fails where tables of others have the names of luamig's. */
static bool
check_names(struct lm_journal *self, struct lm_err *err)
{
    char names[512];

    if (!ask_text(self,
                  "SELECT pg_catalog.string_agg(c.relname, ', '"
                  " ORDER BY c.relname)" OTHERS " AND c.relname IN"
                  " (SELECT name FROM " MARKS ")",
                  names, sizeof names, err))
        return false;
    return names[0] == '\0' || fail_taken(self, names, err);
}

/* Asks the catalog by a query: look-ups by name may answer from a cache that is
 * older than a lock which was waited for. */
bool
lm_journal_installed(struct lm_journal *self, int *version, struct lm_err *err)
{
    struct lm_answer *result = NULL;
    bool exists;

    *version = 0;
    if (!lm_journal_check_owner(self, err) ||
        !lm_journal_ask(
            self,
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_class c"
            " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
            " JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid"
            " WHERE n.nspname = $1 AND c.relname = 'version'"
            " AND a.attname = 'installed_by')",
            "1: b", LM_VALUES(self->schema), &result, err))
        return false;
    exists = lm_answer_bool(result, 0, 0);
    lm_answer_free(result);
    if (!exists)
        return true;
    if (!lm_journal_ask(
            self, "SELECT coalesce(max(version), 0) FROM {schema}.version",
            "1: d", LM_NO_VALUES, &result, err))
        return false;
    *version = lm_answer_small(result, 0, 0);
    lm_answer_free(result);
    return *version != lm_journal_version() ||
           lm_journal_check_functions(self, err);
}

/* -- the script's search_path --------------------------------------------- */

/* The name that an element of a path stands for, which ends before end. */
static char *
read_element(const char *at, const char *end)
{
    struct lm_buf name = LM_BUF_INIT;
    bool quoted = *at == '"';

    for (at += quoted; at < end; at++) {
        if (quoted && *at == '"' && *++at != '"')
            break;
        if (!quoted && strchr(" \t\n", *at) != NULL)
            break;
        if (!quoted && *at >= 'A' && *at <= 'Z') {
            lm_buf_putc(&name, (char)(*at | 0x20));
        } else {
            lm_buf_putc(&name, *at);
        }
    }
    return lm_buf_take(&name);
}

/* Adds a path without the schema; is_mine: "$user" stands for it. */
static bool
add_path_without(struct lm_buf *out, const char *path, const char *schema,
                 bool is_mine)
{
    bool found = false;

    while (*path != '\0') {
        size_t len = 0;
        bool in_quotes = false;
        bool drop;
        char *name;

        path += strspn(path, ", \t\n");
        for (; path[len] != '\0' && (in_quotes || path[len] != ','); len++)
            in_quotes = in_quotes != (path[len] == '"');
        name = read_element(path, path + len);
        drop = strcmp(name, schema) == 0 ||
               (is_mine && strcmp(name, "$user") == 0);
        free(name);
        found = found || drop;
        if (!drop && len > 0) {
            lm_buf_puts(out, out->len > 0 ? ", " : "");
            lm_buf_add(out, path, len);
        }
        path += len;
    }
    return found;
}

bool
lm_journal_remove_schema_from_path(struct lm_journal *self, struct lm_err *err)
{
    static const char sql[] =
        "SELECT pg_catalog.current_setting('search_path'), current_user";
    struct lm_answer *row = NULL;
    struct lm_buf path = LM_BUF_INIT;
    char others[512];
    bool ok = true;

    if (!lm_conn_ask(self->conn, sql, "1: 2t", LM_NO_VALUES, &row, err))
        return false;
    if (add_path_without(&path, lm_answer_text(row, 0, 0), self->schema,
                         strcmp(lm_answer_text(row, 0, 1), self->schema) ==
                             0)) {
        ok = ask_text(self,
                      "SELECT pg_catalog.string_agg(c.relname, ', ')" OTHERS,
                      others, sizeof others, err);
        if (ok && others[0] == '\0') {
            lm_conn_set_path(self->conn,
                             path.len > 0 ? lm_buf_text(&path) : "\"\"");
        }
    }
    lm_buf_release(&path);
    lm_answer_free(row);
    return ok;
}

/* -- publications --------------------------------------------------------- */

/* Publications that take every new table of the schema along. Those of a schema
 * came with PostgreSQL 15. */
static bool
find_publications(struct lm_journal *self, char *names, size_t size,
                  struct lm_err *err)
{
    static const char of_all[] =
        "SELECT pg_catalog.string_agg(p.pubname, ', ' ORDER BY p.pubname)"
        " FROM pg_catalog.pg_publication p WHERE p.puballtables"
        " AND (p.pubinsert OR p.pubupdate OR p.pubdelete)"
        " AND $1::text IS NOT NULL";
    static const char of_schema[] =
        "SELECT pg_catalog.string_agg(p.pubname, ', ' ORDER BY p.pubname)"
        " FROM pg_catalog.pg_publication p"
        " WHERE (p.pubinsert OR p.pubupdate OR p.pubdelete)"
        " AND (p.puballtables OR EXISTS (SELECT"
        "  FROM pg_catalog.pg_publication_namespace w"
        "  JOIN pg_catalog.pg_namespace n ON n.oid = w.pnnspid"
        "  WHERE w.pnpubid = p.oid AND n.nspname = $1))";
    char has_schemas[16];

    return ask_text(self,
                    "SELECT pg_catalog.max(c.relname) FROM pg_catalog.pg_class"
                    " c WHERE c.relname = 'pg_publication_namespace'"
                    " AND c.relnamespace = 'pg_catalog'::regnamespace"
                    " AND $1::text IS NOT NULL",
                    has_schemas, sizeof has_schemas, err) &&
           ask_text(self, has_schemas[0] != '\0' ? of_schema : of_all, names,
                    size, err);
}

#define STOPS                                                 \
    "A subscriber stops at the first row of a table, or of a" \
    " column, that it lacks."

/* Unless --force says otherwise. */
static bool
refuse_published(const struct lm_journal *self, struct lm_err *err)
{
    if (self->published == LM_JOURNAL_PUBLISHED_REFUSE)
        return false;
    lm_err_prefix(err, "overridden by --force");
    lm_log_err(LM_LOG_WARNING, err);
    return true;
}

static bool
check_publications(struct lm_journal *self, int version, struct lm_err *err)
{
    char names[512];
    char command[256];

    if (self->published == LM_JOURNAL_PUBLISHED_ALLOW)
        return true;
    if (!find_publications(self, names, sizeof names, err))
        return false;
    if (names[0] == '\0')
        return true;
    describe_sql(self->schema, version, command, sizeof command);
    lm_err_set(err, LM_ERR_CONNECT,
               "a publication includes luamig's tables, and a subscriber may "
               "not have them: %s",
               names);
    lm_err_detail(err, STOPS);
    lm_err_hint(err,
                "Run the output of \"%s\" in the database of each "
                "subscriber, then pass --force to \"luamig run\".",
                command);
    return refuse_published(self, err);
}

bool
lm_journal_check_input_published(struct lm_journal *self, struct lm_err *err)
{
    char names[512];

    if (!find_publications(self, names, sizeof names, err))
        return false;
    if (names[0] == '\0')
        return true;
    lm_err_set(err, LM_ERR_CONNECT,
               "a publication would include the table of the file, which no "
               "subscriber has: %s",
               names);
    lm_err_detail(err, STOPS);
    lm_err_hint(err, "Let the publication name its tables. Or pass --force to "
                     "\"luamig run\": then each subscriber needs that table, "
                     "whose name has the number of the run.");
    return refuse_published(self, err);
}

bool
lm_journal_check_install(struct lm_journal *self, int version,
                         struct lm_err *err)
{
    return (version > 0 || check_names(self, err)) &&
           check_publications(self, version, err);
}

/* -- installing ----------------------------------------------------------- */

bool
lm_journal_lock_install(struct lm_journal *self, struct lm_err *err)
{
    return lm_journal_command(
        self,
        "SELECT pg_catalog.pg_advisory_xact_lock("
        "pg_catalog.hashtextextended('luamig journal ' || $1, 0))",
        LM_VALUES(self->schema), err);
}

/* The tables belong to the coordinator alone. */
static bool
stay_here(struct lm_journal *self, struct lm_err *err)
{
    return !lm_conn_is_citus(self->conn) ||
           lm_journal_command(
               self,
               "SELECT pg_catalog.set_config(v.name, 'off', true) FROM (VALUES"
               " ('citus.enable_ddl_propagation'),"
               " ('citus.enable_schema_based_sharding'),"
               " ('citus.use_citus_managed_tables')) AS v (name)"
               " WHERE pg_catalog.current_setting(v.name, true) IS NOT NULL",
               LM_NO_VALUES, err);
}

static bool
install_steps(struct lm_journal *self, struct lm_err *err)
{
    struct lm_buf ddl = LM_BUF_INIT;
    int version = 0;
    bool ok = lm_journal_open(self, err) &&
              lm_journal_lock_install(self, err) && stay_here(self, err) &&
              lm_journal_installed(self, &version, err);

    if (ok && version < lm_journal_version()) {
        lm_journal_add_ddl(&ddl, self->schema, version);
        ok = lm_conn_script(self->conn, lm_buf_text(&ddl), err) &&
             lm_journal_check_functions(self, err);
    }
    ok = ok && lm_journal_commit(self, err);
    if (!ok)
        lm_conn_rollback(self->conn);
    lm_buf_release(&ddl);
    return ok;
}

/* Something of these names is there, but not the rows that say so. */
static void
hint_at_restore(struct lm_journal *self, struct lm_err *err)
{
    char others[512] = "";
    struct lm_err ignored;
    bool alone = ask_text(self,
                          "SELECT pg_catalog.string_agg(c.relname, ', '"
                          " ORDER BY c.relname)" OTHERS,
                          others, sizeof others, &ignored) &&
                 others[0] == '\0' && strcmp(self->schema, "public") != 0;

    if (alone) {
        lm_err_hint(err,
                    "Its tables are there without their rows, as after a "
                    "restore of the schema alone. Restore the rows as well; "
                    "or, if nothing has run in this database, DROP SCHEMA "
                    "\"%s\" CASCADE.",
                    self->schema);
    } else {
        lm_err_hint(
            err,
            "The schema also holds other objects%s%s. Give luamig's tables a "
            "schema of their own: pass --journal-schema NAME to every command.",
            others[0] != '\0' ? ": " : "", others);
    }
}

static bool
fail_install(struct lm_journal *self, int version, struct lm_err *err)
{
    char command[256];
    char grant[256];

    if (err->kind != LM_ERR_DATABASE ||
        (lm_err_is_state(err, "55P03") && lm_journal_blames_standby(self, err)))
        return false;
    err->kind = LM_ERR_CONNECT;
    if (!lm_err_is_state(err, LM_ANSWER_WRONG))
        err->sql[0] = '\0';
    lm_err_prefix(err, "could not set up luamig's tables in schema \"%s\"",
                  self->schema);
    describe_sql(self->schema, version, command, sizeof command);
    describe_sql(self->schema, 0, grant, sizeof grant);
    if (lm_err_is_state(err, "42501")) {
        lm_err_hint(err,
                    "Let an owner of the %s run the output of \"%s\", then of "
                    "\"%s --grant ROLE\" for the role that runs migrations.",
                    version > 0 ? "tables" : "database", command, grant);
    } else if (lm_err_is_state(err, "42P07") || lm_err_is_state(err, "42723")) {
        hint_at_restore(self, err);
    }
    return false;
}

bool
lm_journal_install(struct lm_journal *self, struct lm_err *err)
{
    int version = 0;

    if (!lm_journal_installed(self, &version, err))
        return fail_install(self, 0, err);
    if (version > lm_journal_version()) {
        lm_err_set(err, LM_ERR_CONNECT,
                   "the tables in schema \"%s\" are of version %d, which is "
                   "newer than this luamig",
                   self->schema, version);
        lm_err_hint(err, "Use the luamig that upgraded them, or a newer one.");
        return false;
    }
    if (version < lm_journal_version() &&
        !(lm_journal_check_install(self, version, err) &&
          install_steps(self, err)))
        return fail_install(self, version, err);
    return lm_journal_prepare_citus(self, err);
}
