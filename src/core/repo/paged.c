/* SPDX-License-Identifier: MIT */
/*
 * Inserts into the table that the base query reads. If the key of a new row is
 * between the batch and the end of the run, the run will also migrate this
 * row. Keys from a sequence are behind the bound of the run; other keys may be
 * anywhere.
 */

#include "core/repo/private.h"

#include "base/log.h"
#include "base/text.h"
#include "pg/conn/answer.h"
#include "pg/conn/own.h"
#include "pg/sql/sql.h"

#include <string.h>

/* Does a sequence, which counts up, make the column's values? A default that
 * makes something else of its numbers, such as a text, has another order. */
static bool
is_counted(struct lm_repo *self, const struct lm_key_source *source,
           bool *counted, struct lm_err *err)
{
    static const char sql[] = LM_OWN
        "SELECT y.typcategory = 'N' AND coalesce(("
        " SELECT s.seqincrement > 0 AND NOT s.seqcycle"
        " FROM pg_catalog.pg_sequence s WHERE s.seqrelid = CASE"
        "  WHEN a.attidentity <> '' THEN pg_catalog.pg_get_serial_sequence("
        "   pg_catalog.format('%I.%I', n.nspname, c.relname), a.attname)"
        "   ::pg_catalog.regclass::pg_catalog.oid"
        "  WHEN pg_catalog.pg_get_expr(d.adbin, d.adrelid)"
        "   ~ '^nextval\\(''[^()]+''::regclass\\)$' THEN (SELECT p.refobjid"
        "    FROM pg_catalog.pg_depend p WHERE p.objid = d.oid"
        "    AND p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass"
        "    AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
        "    AND p.refobjid <> c.oid) END), false)"
        " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
        "  ON n.oid = c.relnamespace JOIN pg_catalog.pg_attribute a"
        "  ON a.attrelid = c.oid AND a.attname = $2"
        " JOIN pg_catalog.pg_type y ON y.oid = a.atttypid"
        " LEFT JOIN pg_catalog.pg_attrdef d"
        "  ON d.adrelid = c.oid AND d.adnum = a.attnum"
        " WHERE c.oid = $1::pg_catalog.oid";
    struct lm_answer *answer = NULL;

    if (!lm_conn_ask(self->conn, sql, "?: b",
                     LM_VALUES(LM_DIGITS(source->table), source->column),
                     &answer, err))
        return lm_repo_fail_with(self, err);
    *counted = lm_answer_rows(answer) == 1 && lm_answer_bool(answer, 0, 0);
    lm_answer_free(answer);
    return true;
}

/* Are the keys of such rows after the last key of the run? The first key
 * column decides, and only if its sequence sets it. */
static bool
lies_behind(struct lm_repo *self, const struct lm_form *form, bool *behind,
            struct lm_err *err)
{
    const struct lm_base_query *query = self->paged;
    const struct lm_key_source *first;

    *behind = false;
    if (self->follows_new || query->key_source[0] < 0)
        return true;
    first = &query->sources[query->key_source[0]];
    for (int i = 0; i < form->changes.count; i++) {
        if (strcmp(form->changes.names[i], first->column) == 0)
            return true;
    }
    return is_counted(self, first, behind, err);
}

/* Does an insert into table, perhaps through a view, add to a table that is
 * being paged? Partitions and children belong to their parents. */
static bool
adds_to_paged(struct lm_repo *self, const char *table, bool *adds,
              struct lm_err *err)
{
    static const char sql[] = LM_OWN_ABOUT_TABLE
        "WITH RECURSIVE written AS (SELECT " LM_OWN_TABLE " AS oid UNION"
        "  SELECT d.refobjid FROM written w JOIN pg_catalog.pg_rewrite r"
        "  ON r.ev_class = w.oid JOIN pg_catalog.pg_depend d"
        "  ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
        "  AND d.objid = r.oid AND d.deptype = 'n'"
        "  AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
        "  JOIN pg_catalog.pg_class v ON v.oid = w.oid AND v.relkind = 'v'),"
        " above AS (TABLE written UNION SELECT h.inhparent"
        "  FROM pg_catalog.pg_inherits h JOIN above ON above.oid = h.inhrelid),"
        " below AS (TABLE written UNION SELECT h.inhrelid"
        "  FROM pg_catalog.pg_inherits h JOIN below ON below.oid = h.inhparent)"
        " SELECT EXISTS (SELECT FROM (TABLE above UNION ALL TABLE below) f"
        "  WHERE f.oid = ANY ($2::pg_catalog.oid[]))";
    struct lm_buf name = LM_BUF_INIT;
    struct lm_buf sources = LM_BUF_INIT;
    struct lm_answer *answer = NULL;
    bool ok = true;

    *adds = false;
    for (int i = 0; i < self->paged->source_count; i++) {
        lm_buf_putc(&sources, i > 0 ? ',' : '{');
        lm_buf_add_int(&sources, self->paged->sources[i].table);
    }
    if (sources.len > 0 && lm_sql_add_table(&name, table)) {
        lm_buf_putc(&sources, '}');
        ok = lm_conn_ask(self->conn, sql, "1: b",
                         LM_VALUES(lm_buf_text(&name), lm_buf_text(&sources)),
                         &answer, err) ||
             lm_repo_fail_with(self, err);
        *adds = ok && lm_answer_bool(answer, 0, 0);
        lm_answer_free(answer);
    }
    lm_buf_release(&name);
    lm_buf_release(&sources);
    return ok;
}

bool
lm_repo_judge_insert(struct lm_repo *self, const struct lm_form *form,
                     struct lm_err *err)
{
    bool adds = false;
    bool behind = false;

    if (self->paged == NULL || self->paged_elsewhere || self->warned)
        return true;
    if (!adds_to_paged(self, form->table, &adds, err) ||
        (adds && !lies_behind(self, form, &behind, err)))
        return false;
    if (!adds || behind)
        return true;
    self->warned = true;
    lm_log(LM_LOG_WARNING,
           "migrate inserts rows into \"%s\", which the base query reads. The "
           "run also migrates these rows if the base query returns them and "
           "their keys are between their batch and %s",
           form->table,
           self->follows_new ? "the end of the table"
                             : "the last key of the run");
    return true;
}
