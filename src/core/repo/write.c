/* SPDX-License-Identifier: MIT */

#include "core/repo/write.h"

#include "pg/sql/sql.h"

static void
add_list(struct lm_buf *sql, struct lm_names names)
{
    for (int i = 0; i < names.count; i++) {
        if (i > 0)
            lm_buf_puts(sql, ", ");
        lm_sql_add_identifier(sql, names.names[i]);
    }
}

bool
lm_form_is_computed(const struct lm_form *form)
{
    return form->sums != NULL || form->copied.count > 0;
}

/* A column's value in the row v. */
static void
add_value(struct lm_buf *sql, int i, const char *cast)
{
    lm_buf_printf(sql, "v.c%d", i + 1);
    if (cast != NULL)
        lm_buf_printf(sql, "::%s", cast);
}

/* SET c1 = $first, c2 = c2 + $first+1, c3 = c4 ...; with casts, the values are
 * those of the row v, and the columns those of t. */
static void
add_changes(struct lm_buf *sql, const struct lm_form *form, int first,
            char *const *casts)
{
    const char *row = casts == NULL ? "" : "t.";
    int count = form->changes.count;

    lm_buf_puts(sql, " SET ");
    for (int i = 0; i < count + form->copied.count; i++) {
        const char *name =
            i < count ? form->changes.names[i] : form->copied.names[i - count];

        if (i > 0)
            lm_buf_puts(sql, ", ");
        lm_sql_add_identifier(sql, name);
        lm_buf_puts(sql, " = ");
        if (i >= count) {
            lm_buf_puts(sql, row);
            lm_sql_add_identifier(sql, form->sources.names[i - count]);
            continue;
        }
        if (form->sums != NULL && form->sums[i]) {
            lm_buf_puts(sql, row);
            lm_sql_add_identifier(sql, name);
            lm_buf_puts(sql, " OPERATOR(pg_catalog.+) ");
        }
        if (casts == NULL) {
            lm_buf_printf(sql, "$%d", first + i);
        } else {
            add_value(sql, i, casts[i]);
        }
    }
}

/* "c = $1": column i equals a parameter. */
static void
add_equals(struct lm_buf *sql, struct lm_names names,
           const struct lm_equal *equal, int i, int param)
{
    lm_sql_add_identifier(sql, names.names[i]);
    lm_buf_printf(sql, " %s $%d%s", equal != NULL ? equal[i].op : "=", param,
                  equal != NULL ? equal[i].collate : "");
}

/* WHERE k1 = $first AND k2 = $first+1 ... */
static void
add_key(struct lm_buf *sql, struct lm_names names, const struct lm_equal *equal,
        int first)
{
    for (int i = 0; i < names.count; i++) {
        lm_buf_puts(sql, i > 0 ? " AND " : " WHERE ");
        add_equals(sql, names, equal, i, first + i);
    }
}

/* The line break ends a -- comment in the script's SQL. */
static void
add_where(struct lm_buf *sql, const char *where)
{
    if (where != NULL)
        lm_buf_printf(sql, " WHERE (%s\n)", where);
}

static void
add_conflict(struct lm_buf *sql, const struct lm_form *form)
{
    if (form->conflict == LM_CONFLICT_ERROR)
        return;
    lm_buf_puts(sql, " ON CONFLICT ");
    if (form->target.count > 0) {
        lm_buf_putc(sql, '(');
        add_list(sql, form->target);
        lm_buf_putc(sql, ')');
        add_where(sql, form->target_where);
        lm_buf_putc(sql, ' ');
    }
    if (form->conflict == LM_CONFLICT_NOTHING) {
        lm_buf_puts(sql, "DO NOTHING");
        return;
    }
    lm_buf_puts(sql, "DO UPDATE SET ");
    for (int i = 0; i < form->overwritten.count + form->summed.count; i++) {
        int sum = i - form->overwritten.count;
        const char *name =
            sum < 0 ? form->overwritten.names[i] : form->summed.names[sum];

        if (i > 0)
            lm_buf_puts(sql, ", ");
        lm_sql_add_identifier(sql, name);
        lm_buf_puts(sql, " = ");
        if (sum >= 0) {
            lm_buf_puts(sql, "t.");
            lm_sql_add_identifier(sql, name);
            lm_buf_puts(sql, " OPERATOR(pg_catalog.+) ");
        }
        lm_buf_puts(sql, "excluded.");
        lm_sql_add_identifier(sql, name);
    }
}

static void
add_insert(struct lm_buf *sql, const struct lm_form *form)
{
    if (form->changes.count == 0) {
        lm_buf_puts(sql, " DEFAULT VALUES");
    } else {
        lm_buf_puts(sql, " (");
        add_list(sql, form->changes);
        lm_buf_puts(sql, ") VALUES (");
        for (int i = 0; i < form->changes.count; i++)
            lm_buf_printf(sql, "%s$%d", i > 0 ? ", " : "", i + 1);
        lm_buf_putc(sql, ')');
    }
    add_conflict(sql, form);
}

static bool
add_verb(struct lm_buf *sql, const struct lm_form *form)
{
    static const char *const verbs[] = {[LM_VERB_INSERT] = "INSERT INTO ",
                                        [LM_VERB_UPDATE] = "UPDATE ",
                                        [LM_VERB_DELETE] = "DELETE FROM "};

    lm_buf_puts(sql, verbs[form->verb]);
    if (!lm_sql_add_table(sql, form->table))
        return false;
    if (form->summed.count > 0)
        lm_buf_puts(sql, " AS t");
    return true;
}

bool
lm_write_one(struct lm_buf *sql, const struct lm_form *form,
             const struct lm_equal *equal)
{
    if (!add_verb(sql, form))
        return false;
    switch (form->verb) {
    case LM_VERB_INSERT:
        add_insert(sql, form);
        if (form->returned.count > 0) {
            lm_buf_puts(sql, " RETURNING ");
            add_list(sql, form->returned);
        }
        return true;
    case LM_VERB_UPDATE:
        add_changes(sql, form, 1, NULL);
        break;
    case LM_VERB_DELETE:
        break;
    }
    add_key(sql, form->key, equal, form->changes.count + 1);
    return true;
}

/* -- many rows in one statement --------------------------------------- */

/* The subselects hide the arrays' lengths from the planner: it would turn from
 * the index to a sequential scan where a batch is large. */
static void
add_rows(struct lm_buf *sql, const char *keyword, int count)
{
    lm_buf_printf(sql, "%sROWS FROM (", keyword);
    for (int i = 0; i < count; i++) {
        lm_buf_printf(sql, "%spg_catalog.unnest((SELECT $%d))",
                      i > 0 ? ", " : "", i + 1);
    }
    lm_buf_puts(sql, ") AS v (");
    for (int i = 0; i < count; i++)
        lm_buf_printf(sql, "%sc%d", i > 0 ? ", " : "", i + 1);
    lm_buf_putc(sql, ')');
}

static void
add_values(struct lm_buf *sql, int first, int count, char *const *casts)
{
    for (int i = first; i < first + count; i++) {
        if (i > first)
            lm_buf_puts(sql, ", ");
        add_value(sql, i, casts[i]);
    }
}

static void
add_key_condition(struct lm_buf *sql, const struct lm_form *form,
                  const struct lm_equal *equal, char *const *casts)
{
    for (int i = 0; i < form->key.count; i++) {
        int column = form->changes.count + i;

        lm_buf_puts(sql, i > 0 ? " AND t." : " WHERE t.");
        lm_sql_add_identifier(sql, form->key.names[i]);
        lm_buf_printf(sql, " %s ", equal != NULL ? equal[i].op : "=");
        add_value(sql, column, casts[column]);
        lm_buf_puts(sql, equal != NULL ? equal[i].collate : "");
    }
}

static void
add_many(struct lm_buf *sql, const struct lm_form *form,
         const struct lm_equal *equal, char *const *casts)
{
    int count = form->changes.count + form->key.count;

    switch (form->verb) {
    case LM_VERB_INSERT:
        lm_buf_puts(sql, " (");
        add_list(sql, form->changes);
        lm_buf_puts(sql, ") SELECT ");
        add_values(sql, 0, count, casts);
        add_rows(sql, " FROM ", count);
        add_conflict(sql, form);
        return;
    case LM_VERB_UPDATE:
        lm_buf_puts(sql, " AS t");
        add_changes(sql, form, 0, casts);
        add_rows(sql, " FROM ", count);
        break;
    case LM_VERB_DELETE:
        lm_buf_puts(sql, " AS t");
        add_rows(sql, " USING ", count);
        break;
    }
    add_key_condition(sql, form, equal, casts);
}

/* Is there a number of rows that a combined statement must write? */
static bool
asserts(const struct lm_form *form)
{
    return form->conflict != LM_CONFLICT_NOTHING &&
           (form->verb != LM_VERB_INSERT || !form->may_miss);
}

/* The values travel in arrays, where NULL is a word. A script, or a function
 * that it calls, may have made a text of that word. */
#define NULLS_ARE_NULL                          \
    "pg_catalog.current_setting('array_nulls')" \
    " OPERATOR(pg_catalog.=) 'on'"
#define COUNT_OF_NONE "'-1'::pg_catalog.int8"

/* SQL that raises an error if array_nulls has changed the arrays, or if the
 * number of written rows is wrong. */
static void
add_check(struct lm_buf *sql, const struct lm_form *form, const char *journal)
{
    int rows = form->changes.count + form->key.count + 1;
    bool counts = asserts(form);

    lm_buf_puts(sql, "CASE WHEN " NULLS_ARE_NULL);
    if (counts) {
        lm_buf_printf(sql,
                      " AND pg_catalog.count(*) OPERATOR(pg_catalog.=)"
                      " $%d::pg_catalog.int8",
                      rows);
    }
    lm_buf_puts(sql, " THEN 0 ELSE ");
    if (journal == NULL) {
        lm_buf_puts(sql, "0 OPERATOR(pg_catalog./)"
                         " (0 OPERATOR(pg_catalog.*) pg_catalog.count(*)) END");
        return;
    }
    lm_sql_add_identifier(sql, journal);
    lm_buf_printf(sql, ".expect(%s, $%d::pg_catalog.int8) END",
                  counts ? "CASE WHEN " NULLS_ARE_NULL
                           " THEN pg_catalog.count(*) ELSE " COUNT_OF_NONE
                           " END"
                         : COUNT_OF_NONE,
                  rows);
}

/*
 * Where rows may be missing, two keys that are equal to the server, though not
 * in their text, would pass for one that is missing: then the keys are counted.
 */
static void
add_assertion(struct lm_buf *sql, const struct lm_form *form,
              char *const *casts, const char *journal)
{
    bool counts_keys = form->may_miss && asserts(form);

    lm_buf_puts(sql, counts_keys ? ", (SELECT " : ", ");
    add_check(sql, form, journal);
    if (!counts_keys)
        return;
    lm_buf_puts(sql, " FROM (SELECT DISTINCT ");
    add_values(sql, form->changes.count, form->key.count, casts);
    add_rows(sql, " FROM ", form->changes.count + form->key.count);
    lm_buf_puts(sql, ") AS keys)");
}

bool
lm_write_combined(struct lm_buf *sql, const struct lm_form *form,
                  const struct lm_equal *equal, char *const *casts,
                  const char *journal)
{
    lm_buf_puts(sql, "WITH written AS (");
    if (!add_verb(sql, form))
        return false;
    add_many(sql, form, equal, casts);
    lm_buf_puts(sql, " RETURNING 1) SELECT pg_catalog.count(*)");
    add_assertion(sql, form, casts, journal);
    lm_buf_puts(sql, " FROM written");
    return true;
}

/* -- by a condition ---------------------------------------------------- */

bool
lm_write_update_all(struct lm_buf *sql, const struct lm_form *form,
                    const char *where, int where_params)
{
    if (!add_verb(sql, form))
        return false;
    add_changes(sql, form, where_params + 1, NULL);
    add_where(sql, where);
    return true;
}

bool
lm_write_delete_all(struct lm_buf *sql, const char *table, const char *where)
{
    lm_buf_puts(sql, "DELETE FROM ");
    if (!lm_sql_add_table(sql, table))
        return false;
    add_where(sql, where);
    return true;
}

bool
lm_write_select(struct lm_buf *sql, const char *table, struct lm_names columns,
                const char *where, int most)
{
    lm_buf_puts(sql, "SELECT ");
    if (columns.count > 0) {
        add_list(sql, columns);
    } else {
        lm_buf_putc(sql, '*');
    }
    lm_buf_puts(sql, " FROM ");
    if (!lm_sql_add_table(sql, table))
        return false;
    add_where(sql, where);
    if (most > 0)
        lm_buf_printf(sql, " LIMIT %d", most);
    return true;
}

void
lm_write_equality(struct lm_buf *sql, struct lm_names columns,
                  const bool *nulls, const struct lm_equal *equal)
{
    int param = 0;

    for (int i = 0; i < columns.count; i++) {
        if (i > 0)
            lm_buf_puts(sql, " AND ");
        if (nulls != NULL && nulls[i]) {
            lm_sql_add_identifier(sql, columns.names[i]);
            lm_buf_puts(sql, " IS NULL");
        } else {
            add_equals(sql, columns, equal, i, ++param);
        }
    }
}
