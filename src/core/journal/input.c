/* SPDX-License-Identifier: MIT */
/* The SQL for files that runs read. The tables are made and dropped by
 * functions of the journal, see ddl_input.c. */

#include "core/journal/input.h"

#include "base/log.h"
#include "base/text.h"
#include "core/journal/private.h"
#include "pg/conn/txn.h"
#include "pg/sql/sql.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

bool
lm_journal_add_input(struct lm_journal *self, int64_t run_id,
                     const struct lm_run_file *file, struct lm_err *err)
{
    char *name;
    bool ok;

    if (file->name == NULL)
        return true;
    name = lm_conn_fit_name(self->conn, file->name);
    ok = lm_journal_command(self,
                            "INSERT INTO {schema}.input (run_id, name, sha256,"
                            " bytes) VALUES ($1, $2, $3, $4)",
                            LM_VALUES(LM_DIGITS(run_id), name, file->sha256,
                                      LM_DIGITS(file->bytes)),
                            err);
    free(name);
    return ok;
}

bool
lm_journal_read_input(struct lm_journal *self, int64_t run_id,
                      struct lm_run_input *out, struct lm_err *err)
{
    struct lm_answer *answer = NULL;

    memset(out, 0, sizeof *out);
    if (!lm_journal_ask(
            self,
            "SELECT i.name, i.sha256, i.loaded_at IS NOT NULL,"
            " coalesce(i.rows, 0),"
            " coalesce(pg_catalog.has_table_privilege("
            "  pg_catalog.to_regclass({schema}.place_of_input(i.run_id)),"
            "  'SELECT'), false)"
            " FROM {schema}.input i WHERE i.run_id = $1",
            "?: t t b n b", LM_VALUES(LM_DIGITS(run_id)), &answer, err))
        return false;
    out->there = lm_answer_rows(answer) == 1;
    if (out->there) {
        LM_ERR_COPY(out->name, lm_answer_text(answer, 0, 0));
        LM_ERR_COPY(out->sha256, lm_answer_text(answer, 0, 1));
        out->loaded = lm_answer_bool(answer, 0, 2);
        out->rows = lm_answer_int(answer, 0, 3);
        out->readable = lm_answer_bool(answer, 0, 4);
    }
    lm_answer_free(answer);
    return true;
}

/* -- which file is meant --------------------------------------------------- */

bool
lm_journal_fail_without_input(const char *script, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_USAGE, "%s reads a file, and none is given", script);
    return lm_err_hint(err, "Name it with --input FILE; - is standard input.");
}

bool
lm_journal_fail_unread_input(const char *script, int64_t run_id,
                             const char *name, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_SCRIPT,
               "run %" PRId64 " of %s is unfinished and reads %s, and the "
               "script reads no file now",
               run_id, script, name);
    return lm_err_hint(err, "Change the script back to continue that run; "
                            "--again begins another run at the first row.");
}

bool
lm_journal_fail_other_input(int64_t run_id, const char *name, const char *given,
                            struct lm_err *err)
{
    lm_err_set(err, LM_ERR_USAGE,
               "run %" PRId64 " reads %s, and %s has another content", run_id,
               name, given);
    return lm_err_hint(err,
                       "To continue that run, give its own file, or leave "
                       "--input out. Without --adopt, %s is another run.",
                       given);
}

static bool
fail_several(const struct lm_answer *runs, struct lm_err *err)
{
    struct lm_buf list = LM_BUF_INIT;

    for (int row = 0; row < lm_answer_rows(runs); row++) {
        lm_buf_printf(&list, "%srun %s reads %s (%s)", row > 0 ? ", " : "",
                      lm_answer_text(runs, row, 0),
                      lm_answer_text(runs, row, 1),
                      lm_answer_text(runs, row, 2));
    }
    lm_err_set(err, LM_ERR_USAGE,
               "several unfinished runs of this script read a file, and none "
               "is given");
    lm_err_detail(err, "%s.", lm_buf_text(&list));
    lm_buf_release(&list);
    return lm_err_hint(err, "Name the file of the run that should go on with "
                            "--input FILE, or the run with --adopt RUN.");
}

bool
lm_journal_find_input(struct lm_journal *self,
                      const struct lm_run_request *request, char *sha256,
                      size_t size, struct lm_err *err)
{
    struct lm_answer *runs = NULL;
    bool ok = lm_journal_ask(
        self,
        "SELECT r.id, i.name, r.state, i.sha256 FROM {schema}.run r"
        " JOIN {schema}.input i ON i.run_id = r.id"
        " WHERE CASE WHEN $2::bigint > 0 THEN r.id = $2::bigint ELSE"
        " r.script = $1 AND r.state IN " LM_JOURNAL_MAY_GO_ON
        " AND (r.args - '" LM_JOURNAL_INPUT_ARG "' = $3::jsonb"
        "  OR r.given - '" LM_JOURNAL_INPUT_ARG "' = $4::jsonb) END"
        " ORDER BY r.id DESC LIMIT 5",
        "*: n t t t",
        LM_VALUES(request->script, LM_DIGITS(request->adopt),
                  request->args_json, request->arguments.given),
        &runs, err);

    if (!ok)
        return false;
    sha256[0] = '\0';
    if (lm_answer_rows(runs) == 1) {
        const char *found = lm_answer_text(runs, 0, 3);

        lm_err_copy(sha256, size, found, strlen(found));
    } else if (request->adopt == 0) {
        ok = lm_answer_rows(runs) == 0
                 ? lm_journal_fail_without_input(request->script, err)
                 : fail_several(runs, err);
    }
    lm_answer_free(runs);
    return ok;
}

/* -- the table -------------------------------------------------------------- */

char *
lm_journal_input_name(int64_t run_id)
{
    return lm_format("input_%" PRId64, run_id);
}

char *
lm_journal_input_table(const struct lm_journal *self, int64_t run_id)
{
    struct lm_buf table = LM_BUF_INIT;

    lm_sql_add_identifier(&table, self->schema);
    lm_buf_printf(&table, ".input_%" PRId64, run_id);
    return lm_buf_take(&table);
}

static char *
numbers(const struct lm_input_columns *columns, bool of_types)
{
    struct lm_buf list = LM_BUF_INIT;

    for (int i = 0; i < columns->count; i++) {
        lm_buf_putc(&list, i == 0 ? '{' : ',');
        lm_buf_add_int(&list, of_types ? (int64_t)columns->types[i]
                                       : (int64_t)columns->modifiers[i]);
    }
    lm_buf_putc(&list, '}');
    return lm_buf_take(&list);
}

enum { LACK_OWNER, LACK_COLUMN, LACK_TYPE, LACK_GRANT };

static bool
fail_types(const struct lm_answer *lack, struct lm_err *err)
{
    lm_err_set(
        err, LM_ERR_CONNECT,
        "role \"%s\", which owns luamig's tables, may not use type %s of "
        "column \"%s\" in input.columns",
        lm_answer_text(lack, 0, LACK_OWNER), lm_answer_text(lack, 0, LACK_TYPE),
        lm_answer_text(lack, 0, LACK_COLUMN));
    return lm_err_hint(err,
                       "That role makes the table of the file. Allow it: "
                       "%s;",
                       lm_answer_text(lack, 0, LACK_GRANT));
}

static bool
check_kinds(struct lm_journal *self, const char *names, const char *types,
            struct lm_err *err)
{
    struct lm_answer *wrong = NULL;
    bool ok =
        lm_journal_ask(self,
                       "SELECT c.name, format_type(u.root, NULL)"
                       " FROM (" LM_JOURNAL_UNFIT_TYPES(
                           "$2::oid[]") ") u"
                                        " JOIN ROWS FROM (unnest($1::text[]), "
                                        "unnest($2::oid[]))"
                                        "  WITH ORDINALITY AS c (name, type, "
                                        "place) ON c.type = u.root"
                                        " ORDER BY c.place LIMIT 1",
                       "?: t t", LM_VALUES(names, types), &wrong, err);

    if (ok && lm_answer_rows(wrong) > 0) {
        ok = lm_err_set(err, LM_ERR_SCRIPT,
                        "input.columns: column \"%s\" cannot be of type %s",
                        lm_answer_text(wrong, 0, 0),
                        lm_answer_text(wrong, 0, 1));
        lm_err_hint(err, "Give the column type text, and cast it in the base "
                         "query or in migrate.");
    }
    lm_answer_free(wrong);
    return ok;
}

/* The rights on an array are those on the type of its elements. */
static bool
check_rights(struct lm_journal *self, const char *names, const char *types,
             struct lm_err *err)
{
    static const char sql[] =
        "SELECT r.rolname, c.name, format_type(t.oid, NULL), format("
        " CASE WHEN has_type_privilege(r.oid, t.oid, 'USAGE')"
        "  THEN 'GRANT USAGE ON SCHEMA %1$I TO %3$I'"
        "  ELSE 'GRANT USAGE ON TYPE %2$s TO %3$I' END,"
        " n.nspname, format_type(t.oid, NULL), r.rolname)"
        " FROM pg_proc p JOIN pg_namespace j ON j.oid = p.pronamespace"
        " JOIN pg_roles r ON r.oid = p.proowner"
        " CROSS JOIN ROWS FROM (unnest($2::text[]), unnest($3::oid[]))"
        "  WITH ORDINALITY AS c (name, type, place)"
        " JOIN pg_type t ON t.oid = coalesce((SELECT e.oid FROM pg_type e"
        "  WHERE e.typarray = c.type), c.type)"
        " JOIN pg_namespace n ON n.oid = t.typnamespace"
        " WHERE j.nspname = $1 AND p.proname = 'make_input' AND NOT"
        " (has_type_privilege(r.oid, t.oid, 'USAGE')"
        "  AND has_schema_privilege(r.oid, n.oid, 'USAGE'))"
        " ORDER BY c.place LIMIT 1";
    struct lm_answer *lack = NULL;
    bool ok = lm_journal_ask(self, sql, "?: t t t t",
                             LM_VALUES(self->schema, names, types), &lack, err);

    if (ok && lm_answer_rows(lack) > 0)
        ok = fail_types(lack, err);
    lm_answer_free(lack);
    return ok;
}

bool
lm_journal_check_input_types(struct lm_journal *self,
                             const struct lm_input_columns *columns,
                             struct lm_err *err)
{
    char *names = lm_journal_array(columns->names, columns->count);
    char *types = numbers(columns, true);
    bool ok = check_kinds(self, names, types, err) &&
              check_rights(self, names, types, err);

    free(names);
    free(types);
    return ok;
}

bool
lm_journal_check_input_columns(struct lm_journal *self, int64_t run_id,
                               const char *const *names, int count,
                               struct lm_err *err)
{
    char *wanted = lm_journal_array(names, count);
    struct lm_answer *lack = NULL;
    bool ok = lm_journal_ask(
        self,
        "SELECT string_agg(w.name, ', ' ORDER BY w.name)"
        " FROM unnest($2::text[]) AS w (name) WHERE NOT EXISTS (SELECT"
        "  FROM pg_attribute a WHERE a.attname = w.name AND a.attrelid"
        "  = to_regclass({schema}.place_of_input($1::bigint)))",
        "1: t?", LM_VALUES(LM_DIGITS(run_id), wanted), &lack, err);

    free(wanted);
    if (ok && !lm_answer_is_null(lack, 0, 0)) {
        ok = lm_err_set(err, LM_ERR_SCRIPT,
                        "input.columns was without %s when run %" PRId64
                        " loaded its file",
                        lm_answer_text(lack, 0, 0), run_id);
        lm_err_hint(err,
                    "Change it back to continue that run. --restart with "
                    "--input loads the file again for a new run, which also "
                    "migrates the rows that run %" PRId64 " has done.",
                    run_id);
    }
    lm_answer_free(lack);
    return ok;
}

bool
lm_journal_make_input(struct lm_journal *self, int64_t run_id,
                      const struct lm_input_columns *columns,
                      struct lm_err *err)
{
    char *names = lm_journal_array(columns->names, columns->count);
    char *types = numbers(columns, true);
    char *modifiers = numbers(columns, false);
    bool ok = lm_journal_command(
        self,
        "SELECT {schema}.make_input($1, $2::text[], $3::oid[],"
        " $4::integer[], current_user)",
        LM_VALUES(LM_DIGITS(run_id), names, types, modifiers), err);

    free(names);
    free(types);
    free(modifiers);
    return ok;
}

bool
lm_journal_finish_input(struct lm_journal *self, const struct lm_run *run,
                        int64_t rows, struct lm_err *err)
{
    return lm_journal_command(self, "SELECT {schema}.finish_input($1, $2)",
                              LM_VALUES(LM_DIGITS(run->id), LM_DIGITS(rows)),
                              err) &&
           lm_txn_end_soon(self->conn, err) &&
           lm_journal_command(
               self, "SELECT {schema}.fence($1, $2, $3)",
               LM_VALUES(LM_DIGITS(run->id), run->owner, LM_DIGITS(run->seq)),
               err);
}

bool
lm_journal_open_input(struct lm_journal *self, int64_t run_id,
                      struct lm_err *err)
{
    return lm_journal_write(self,
                            "SELECT {schema}.open_input($1, current_user)",
                            LM_VALUES(LM_DIGITS(run_id)), err);
}

void
lm_journal_drop_inputs(struct lm_journal *self)
{
    struct lm_err why;

    if (!lm_journal_write(self, "SELECT {schema}.drop_inputs()", LM_NO_VALUES,
                          &why)) {
        lm_log(LM_LOG_DEBUG, "tables of files are not dropped yet: %s",
               why.message);
    }
}
