/* SPDX-License-Identifier: MIT */
/*
 * Checks who owns the journal, before luamig reads or calls any of it.
 *
 * If another role created the schema first, it could have put a function, a
 * trigger or a view there, which would then run as the role that migrates. So
 * each owner must be on a short list, and the functions must have the texts
 * that luamig made. Membership in a role is not enough, because any role may
 * be granted to anybody.
 */

#include "core/journal/private.h"

#include <stdlib.h>
#include <string.h>

static const char variable[] = "LUAMIG_JOURNAL_OWNER";

/* The journal's, and what it has on Citus. */
#define TABLES                                                       \
    "('version', 'run', 'progress', 'failure', 'request', 'worker'," \
    " 'range', 'input', 'two_phase')"

/* Trusted owners: this role, superusers, the owner of the database, and a role
 * that the user names. A trigger belongs to the owner of its function. */
#define UNTRUSTED                                                              \
    "SELECT t.what, r.rolname FROM (SELECT 0 AS rank, 'it' AS what,"           \
    "  n.nspowner AS owner FROM pg_namespace n WHERE n.nspname = $1"           \
    " UNION ALL SELECT 1, 'table ' || c.relname, c.relowner FROM pg_class c"   \
    "  WHERE c.relnamespace = s.oid AND c.relname IN " TABLES                  \
    " UNION ALL SELECT 2, 'function ' || p.proname, p.proowner FROM pg_proc p" \
    "  WHERE p.pronamespace = s.oid AND p.proname = ANY ($3::text[])"          \
    " UNION ALL SELECT 3, 'trigger ' || g.tgname, p.proowner"                  \
    "  FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid"                 \
    "  JOIN pg_proc p ON p.oid = g.tgfoid WHERE c.relnamespace = s.oid"        \
    "   AND c.relname IN " TABLES ") t JOIN pg_roles r ON r.oid = t.owner"     \
    " WHERE NOT r.rolsuper AND r.rolname NOT IN (current_user, session_user,"  \
    "  'pg_database_owner', $2) AND r.oid <> (SELECT d.datdba"                 \
    "  FROM pg_database d WHERE d.datname = current_database())"               \
    " ORDER BY t.rank LIMIT 1"

/* A function as a step makes it, or drops it. */
struct function {
    const char *name; /* parts of the DDL, not ended */
    size_t name_len;
    bool dropped; /* then it has no body */
    const char *body;
    size_t body_len;
    bool has_path;
    bool is_definer; /* it has the rights of its owner */
};

/* The next function that the DDL makes or drops; NULL: there is none. The DDL
 * does not begin with one. */
static const char *
next_function(const char *ddl, const char *quote, const char *prefix,
              struct function *out)
{
    static const char drop[] = "DROP ";
    static const char path[] = "SET search_path = pg_catalog, pg_temp";
    static const char definer[] = "SECURITY DEFINER";
    const char *end;
    const char *found;

    ddl = strstr(ddl, prefix);
    if (ddl == NULL)
        return NULL;
    out->name = ddl + strlen(prefix);
    out->name_len = strcspn(out->name, "(");
    out->dropped = strncmp(ddl - strlen(drop), drop, strlen(drop)) == 0;
    if (out->dropped)
        return out->name;
    out->body = strstr(ddl, quote);
    if (out->body == NULL)
        return NULL;
    found = strstr(ddl, path);
    out->has_path = found != NULL && found < out->body;
    found = strstr(ddl, definer);
    out->is_definer = found != NULL && found < out->body;
    out->body += strlen(quote);
    end = strstr(out->body, quote);
    if (end == NULL)
        return NULL;
    out->body_len = (size_t)(end - out->body);
    return end + strlen(quote);
}

struct functions {
    char **names;
    char **bodies;
    char **paths;    /* "t" or "f" */
    char **definers; /* likewise */
    int count;
};

static void
drop_at(struct functions *self, int at)
{
    char **lists[] = {self->names, self->bodies, self->paths, self->definers};

    for (size_t i = 0; i < LM_COUNT(lists); i++) {
        free(lists[i][at]);
        lists[i][at] = lists[i][self->count - 1];
    }
    self->count--;
}

/* A later step makes or drops anew what an earlier one has made. */
static void
add_function(struct functions *self, const struct function *function)
{
    char *name = lm_strndup(function->name, function->name_len);
    size_t room = (size_t)self->count + 1;

    for (int at = self->count - 1; at >= 0; at--) {
        if (strcmp(self->names[at], name) == 0)
            drop_at(self, at);
    }
    if (function->dropped) {
        free(name);
        return;
    }
    self->names = lm_realloc(self->names, room, sizeof(char *));
    self->bodies = lm_realloc(self->bodies, room, sizeof(char *));
    self->paths = lm_realloc(self->paths, room, sizeof(char *));
    self->definers = lm_realloc(self->definers, room, sizeof(char *));
    self->names[self->count] = name;
    self->bodies[self->count] = lm_strndup(function->body, function->body_len);
    self->paths[self->count] = lm_strdup(function->has_path ? "t" : "f");
    self->definers[self->count] = lm_strdup(function->is_definer ? "t" : "f");
    self->count++;
}

/* Those of all steps. */
static void
read_functions(struct functions *self, const char *schema)
{
    struct lm_buf ddl = LM_BUF_INIT;
    struct lm_buf prefix = LM_BUF_INIT;
    struct lm_buf quote = LM_BUF_INIT;
    struct function function;
    const char *at;

    memset(self, 0, sizeof *self);
    lm_journal_add_ddl(&ddl, schema, 0);
    lm_journal_fill_placeholders(&prefix, "FUNCTION {schema}.", schema);
    lm_journal_fill_placeholders(&quote, "{quote}", schema);
    at = lm_buf_text(&ddl);
    while ((at = next_function(at, lm_buf_text(&quote), lm_buf_text(&prefix),
                               &function)) != NULL)
        add_function(self, &function);
    lm_buf_release(&ddl);
    lm_buf_release(&prefix);
    lm_buf_release(&quote);
}

static void
release_functions(struct functions *self)
{
    lm_free_texts(self->names, self->count);
    lm_free_texts(self->bodies, self->count);
    lm_free_texts(self->paths, self->count);
    lm_free_texts(self->definers, self->count);
}

bool
lm_journal_check_owner(struct lm_journal *self, struct lm_err *err)
{
    const char *named = getenv(variable);
    struct functions functions;
    struct lm_answer *row = NULL;
    char *names;
    bool ok;

    read_functions(&functions, self->schema);
    names =
        lm_journal_array((const char *const *)functions.names, functions.count);
    {
        ok = lm_journal_ask(
            self,
            "SELECT u.what, u.rolname FROM pg_namespace s,"
            " LATERAL (" UNTRUSTED ") u WHERE s.nspname = $1",
            "?: t t",
            LM_VALUES(self->schema, named != NULL ? named : "", names), &row,
            err);
    }
    release_functions(&functions);
    free(names);
    if (ok && lm_answer_rows(row) == 1) {
        ok = lm_err_set(err, LM_ERR_CONNECT,
                        "schema \"%s\" is not trusted: %s belongs to role "
                        "\"%s\"",
                        self->schema, lm_answer_text(row, 0, 0),
                        lm_answer_text(row, 0, 1));
        lm_err_detail(err, "Code of that role would run with the rights of the "
                           "role that migrates. luamig trusts its own role, "
                           "superusers and the owner of the database.");
        lm_err_hint(err,
                    "If that role should own luamig's tables, set "
                    "%s=%s in the environment or in .env. Otherwise pass "
                    "--journal-schema NAME to every command.",
                    variable, lm_answer_text(row, 0, 1));
    }
    lm_answer_free(row);
    return ok;
}

bool
lm_journal_check_functions(struct lm_journal *self, struct lm_err *err)
{
    struct functions functions;
    struct lm_answer *row = NULL;
    char *arrays[4];
    bool ok;

    read_functions(&functions, self->schema);
    for (size_t i = 0; i < LM_COUNT(arrays); i++) {
        char **const lists[] = {functions.names, functions.bodies,
                                functions.paths, functions.definers};

        arrays[i] =
            lm_journal_array((const char *const *)lists[i], functions.count);
    }
    {
        ok = lm_journal_ask(
            self,
            "SELECT pg_catalog.string_agg(f.name, ', ' ORDER BY f.name)"
            " FROM ROWS FROM (unnest($2::text[]), unnest($3::text[]),"
            "  unnest($4::bool[]), unnest($5::bool[]))"
            "  AS f (name, body, has_path, is_definer)"
            " WHERE (SELECT count(*) = 1 AND bool_and(p.prosrc = f.body"
            "  AND p.prosecdef = f.is_definer AND l.lanname = 'plpgsql'"
            "  AND p.proconfig IS NOT DISTINCT FROM CASE WHEN f.has_path"
            "   THEN ARRAY['search_path=pg_catalog, pg_temp'] END)"
            "  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
            "  JOIN pg_language l ON l.oid = p.prolang"
            "  WHERE n.nspname = $1 AND p.proname = f.name) IS NOT TRUE",
            "1: t?",
            LM_VALUES(self->schema, arrays[0], arrays[1], arrays[2], arrays[3]),
            &row, err);
    }
    for (size_t i = 0; i < LM_COUNT(arrays); i++)
        free(arrays[i]);
    release_functions(&functions);
    if (ok && !lm_answer_is_null(row, 0, 0)) {
        ok = lm_err_set(
            err, LM_ERR_CONNECT,
            "functions in schema \"%s\" differ from those that luamig made: %s",
            self->schema, lm_answer_text(row, 0, 0));
        lm_err_hint(
            err,
            "Find out who has changed them. \"luamig journal --sql\" prints "
            "the right functions. Drop other functions of the same name.");
    }
    lm_answer_free(row);
    return ok;
}
