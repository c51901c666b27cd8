/* SPDX-License-Identifier: MIT */
/*
 * Why did a write write no row? The row may be gone; or a trigger returned
 * NULL for it, a rule did something else instead, or a policy hides the row.
 * The catalog shows which of these are possible, and whether the row is still
 * there.
 *
 * luamig asks once, after a batch has failed, and leaves out what it cannot
 * find.
 */

#include "core/repo/private.h"

#include "pg/conn/answer.h"
#include "pg/conn/own.h"
#include "pg/sql/sql.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The bits of pg_trigger.tgtype, and pg_rewrite.ev_type. */
static const struct {
    const char *verb;
    const char *trigger_bits;
    const char *rule_event;
} events[] = {[LM_VERB_INSERT] = {"insert into", "4", "3"},
              [LM_VERB_UPDATE] = {"update of", "16", "2"},
              [LM_VERB_DELETE] = {"delete of", "8", "4"}};

/* $1 table, $2 bits of triggers, $3 event of rules. Looked at are the table,
 * its partitions and children, and what is below a view. A row that moves to
 * another partition is deleted and inserted. */
static const char takers_sql[] = LM_OWN_ABOUT_TABLE
    "WITH RECURSIVE named AS (SELECT c.oid, c.relkind,"
    "  CASE WHEN c.relkind = 'p' AND $2::int = 16 THEN 28 ELSE $2 END AS bits"
    "  FROM pg_catalog.pg_class c WHERE c.oid = " LM_OWN_TABLE "),"
    " reached AS (SELECT oid FROM named UNION SELECT n.oid FROM reached r"
    "  JOIN pg_catalog.pg_class p ON p.oid = r.oid,"
    "  LATERAL (SELECT d.refobjid AS oid FROM pg_catalog.pg_rewrite w"
    "    JOIN pg_catalog.pg_depend d"
    "    ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid"
    "    AND d.refclassid = 'pg_catalog.pg_class'::regclass"
    "    WHERE w.ev_class = p.oid AND w.ev_type = '1'"
    "   UNION ALL SELECT h.inhrelid FROM pg_catalog.pg_inherits h"
    "    WHERE h.inhparent = p.oid AND (p.relkind = 'p' OR $3 <> '3')) n),"
    " tables AS (SELECT c.* FROM reached JOIN pg_catalog.pg_class c"
    "  ON c.oid = reached.oid),"
    " takers AS (SELECT pg_catalog.format('trigger \"%s\" of \"%s\"',"
    "   g.tgname, t.relname) AS name, named.relkind = 'v'"
    /* the row has left its partition, and did not come to the other */
    "  OR $2 = 16 AND g.tgtype & 4 <> 0 AS hides FROM named, tables t"
    "  JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid"
    "  WHERE NOT g.tgisinternal AND g.tgenabled NOT IN ('D', 'R')"
    /* for each row, and BEFORE or INSTEAD OF */
    "  AND g.tgtype & 1 <> 0 AND g.tgtype & 66 <> 0"
    "  AND g.tgtype & named.bits <> 0"
    " UNION ALL SELECT pg_catalog.format('rule \"%s\" of \"%s\"', w.rulename,"
    "   t.relname), named.relkind = 'v'"
    "  FROM named, tables t JOIN pg_catalog.pg_rewrite w ON w.ev_class = t.oid"
    "  WHERE w.is_instead AND w.ev_type::text = $3::text"
    "  AND w.ev_enabled NOT IN ('D', 'R')"
    " UNION ALL SELECT pg_catalog.format("
    "   'the server of foreign table \"%s\"', t.relname),"
    "  named.relkind = 'v' FROM named, tables t WHERE t.relkind = 'f'"
    " UNION ALL SELECT pg_catalog.format('row security of \"%s\"', t.relname),"
    "  true FROM tables t WHERE t.relrowsecurity"
    "  AND pg_catalog.row_security_active(t.oid))"
    " SELECT pg_catalog.string_agg(name, ' or ' ORDER BY name),"
    "  pg_catalog.string_agg(name, ' or ' ORDER BY name) FILTER (WHERE hides)"
    " FROM takers";

/* Finds the names of what could have taken the write over. */
static void
find_causes(struct lm_repo *self, struct lm_blame *blame)
{
    const struct lm_form *form = &blame->write->shape->form;
    bool overwrites = form->conflict == LM_CONFLICT_UPDATE;
    struct lm_buf table = LM_BUF_INIT;
    const char *texts[3] = {NULL,
                            overwrites ? "20" : events[form->verb].trigger_bits,
                            events[form->verb].rule_event};
    struct lm_answer *answer = NULL;
    struct lm_err ignored;

    if (lm_sql_add_table(&table, form->table)) {
        texts[0] = lm_buf_text(&table);
        if (lm_conn_ask(self->conn, takers_sql, "1: t? t?",
                        (struct lm_values){texts, 3}, &answer, &ignored)) {
            blame->causes = lm_answer_copy(answer, 0, 0);
            blame->hiding_causes = lm_answer_copy(answer, 0, 1);
            lm_answer_free(answer);
        }
    }
    lm_buf_release(&table);
}

/* Is the row with the key of an update or delete still there? */
static bool
is_there(struct lm_repo *self, const struct lm_write *write)
{
    const struct lm_form *form = &write->shape->form;
    size_t count = (size_t)form->key.count;
    const char **texts = lm_calloc(count, sizeof *texts);
    bool *nulls = lm_calloc(count, sizeof *nulls);
    struct lm_values values = {texts, form->key.count};
    struct lm_buf sql = LM_BUF_INIT;
    const char *text = write->key;
    struct lm_answer *answer = NULL;
    struct lm_err ignored;
    bool found = false;

    for (size_t i = 0; i < count; i++) {
        texts[i] = text;
        text += strlen(text) + 1;
    }
    lm_buf_puts(&sql, "SELECT true FROM ");
    if (lm_sql_add_table(&sql, form->table)) {
        lm_buf_puts(&sql, " WHERE ");
        lm_write_equality(&sql, form->key, nulls, write->shape->equal);
        lm_buf_puts(&sql, " LIMIT 1");
        if (lm_conn_ask(self->conn, lm_buf_text(&sql), "?: b", values, &answer,
                        &ignored)) {
            found = lm_answer_rows(answer) == 1;
            lm_answer_free(answer);
        }
    }
    lm_buf_release(&sql);
    free(nulls);
    free(texts);
    return found;
}

/* -- words --------------------------------------------------------------- */

#define HOW_TO_ALLOW                                                   \
    "Correct the cause, or pass { missing = \"ignore\" } as the last " \
    "argument to allow this."

/* "id = 7, tenant = 3" */
static void
add_key(struct lm_buf *text, const struct lm_write *write)
{
    const struct lm_names *key = &write->shape->form.key;
    const char *value = write->key;

    for (int i = 0; i < key->count; i++) {
        lm_buf_printf(text, "%s%s = %s", i > 0 ? ", " : "", key->names[i],
                      value);
        value += strlen(value) + 1;
    }
}

/* Adds ", because of trigger "x" of "t"", if the causes are known: those that
 * may have replaced the write, or, if the row cannot be seen, those that may
 * also have removed or hidden it. */
static void
add_causes(struct lm_buf *text, const struct lm_blame *blame)
{
    bool is_gone =
        blame->write->shape->form.verb != LM_VERB_INSERT && !blame->is_there;
    const char *names = is_gone ? blame->hiding_causes : blame->causes;

    if (names != NULL)
        lm_buf_printf(text, ", because of %s", names);
}

static void
describe_insert(const struct lm_blame *blame, const char *causes,
                struct lm_err *err)
{
    const char *table = blame->write->shape->form.table;

    if (blame->rows == 0) {
        lm_err_set(err, LM_ERR_FAILED, "insert into \"%s\" wrote no row%s",
                   table, causes);
        lm_err_hint(err, HOW_TO_ALLOW);
    } else {
        lm_err_set(err, LM_ERR_FAILED,
                   "insert into \"%s\" wrote %" PRId64 " rows, not one%s",
                   table, blame->rows, causes);
        lm_err_hint(err, "To allow this, write the INSERT with repo:execute.");
    }
}

static void
describe_no_row(const struct lm_blame *blame, const char *key,
                const char *causes, struct lm_err *err)
{
    const struct lm_form *form = &blame->write->shape->form;
    const char *verb = events[form->verb].verb;

    if (blame->is_there) {
        lm_err_set(err, LM_ERR_FAILED,
                   "%s \"%s\" did not happen for the row with %s%s", verb,
                   form->table, key, causes);
        lm_err_hint(err, HOW_TO_ALLOW);
    } else if (blame->hiding_causes != NULL) {
        lm_err_set(err, LM_ERR_FAILED,
                   "%s \"%s\" matched no row with %s%s, or because there is no "
                   "such row",
                   verb, form->table, key, causes);
        lm_err_hint(err, HOW_TO_ALLOW);
    } else {
        lm_err_set(err, LM_ERR_FAILED, "%s \"%s\" matched no row with %s", verb,
                   form->table, key);
        lm_err_hint(err, "Pass { missing = \"ignore\" } as the last argument "
                         "if the row may be gone.");
    }
}

static void
describe(const struct lm_blame *blame, struct lm_err *err)
{
    const struct lm_form *form = &blame->write->shape->form;
    struct lm_buf key = LM_BUF_INIT;
    struct lm_buf causes = LM_BUF_INIT;

    add_key(&key, blame->write);
    add_causes(&causes, blame);
    if (form->verb == LM_VERB_INSERT) {
        describe_insert(blame, lm_buf_text(&causes), err);
    } else if (blame->rows == 0) {
        describe_no_row(blame, lm_buf_text(&key), lm_buf_text(&causes), err);
    } else {
        lm_err_set(err, LM_ERR_FAILED,
                   "%s \"%s\" matched %" PRId64 " rows with %s, not one",
                   events[form->verb].verb, form->table, blame->rows,
                   lm_buf_text(&key));
        lm_err_hint(err, "Name all columns of a unique key. To change several "
                         "rows, use the call that ends in _all.");
    }
    LM_ERR_COPY(err->sqlstate,
                blame->rows == 0 ? LM_REPO_NO_ROW : LM_REPO_TOO_MANY_ROWS);
    LM_ERR_COPY(err->where, blame->write->where);
    lm_buf_release(&key);
    lm_buf_release(&causes);
}

void
lm_repo_note_wrong_count(struct lm_repo *self, const struct lm_write *write,
                         int64_t rows, struct lm_err *err)
{
    self->blame = (struct lm_blame){.write = write, .rows = rows};
    describe(&self->blame, err);
}

void
lm_repo_explain(struct lm_repo *self, struct lm_err *err)
{
    struct lm_blame *blame = &self->blame;
    const struct lm_write *write = blame->write;

    if (write == NULL)
        return;
    if (lm_conn_in_transaction(self->conn)) {
        blame->is_there = blame->rows == 0 &&
                          write->shape->form.verb != LM_VERB_INSERT &&
                          is_there(self, write);
        find_causes(self, blame);
        describe(blame, err);
        free(blame->causes);
        free(blame->hiding_causes);
    }
    memset(blame, 0, sizeof *blame);
}
