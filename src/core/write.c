/* SPDX-License-Identifier: MIT */
/* Builds the statements of structured writes; executes nothing. */

#include "core/write.h"

#include "pg/sql.h"

static void
add_list(struct lm_buf *sql, struct lm_names names)
{
    for (int i = 0; i < names.count; i++) {
        if (i > 0)
            lm_buf_puts(sql, ", ");
        lm_sql_add_identifier(sql, names.names[i]);
    }
}

/* c1 = $first separator c2 = $first+1 ... */
static void
add_pairs(struct lm_buf *sql, struct lm_names names, int first,
          const char *separator)
{
    for (int i = 0; i < names.count; i++) {
        if (i > 0)
            lm_buf_puts(sql, separator);
        lm_sql_add_identifier(sql, names.names[i]);
        lm_buf_printf(sql, " = $%d", first + i);
    }
}

bool
lm_write_update(struct lm_buf *sql, const char *table, struct lm_names changes,
                struct lm_names key)
{
    lm_buf_puts(sql, "UPDATE ");
    if (!lm_sql_add_table(sql, table))
        return false;
    lm_buf_puts(sql, " SET ");
    add_pairs(sql, changes, 1, ", ");
    lm_buf_puts(sql, " WHERE ");
    add_pairs(sql, key, changes.count + 1, " AND ");
    return true;
}

bool
lm_write_delete(struct lm_buf *sql, const char *table, struct lm_names key)
{
    lm_buf_puts(sql, "DELETE FROM ");
    if (!lm_sql_add_table(sql, table))
        return false;
    lm_buf_puts(sql, " WHERE ");
    add_pairs(sql, key, 1, " AND ");
    return true;
}

static void
add_conflict(struct lm_buf *sql, enum lm_conflict conflict,
             struct lm_names target, struct lm_names update)
{
    if (conflict == LM_CONFLICT_ERROR)
        return;
    lm_buf_puts(sql, " ON CONFLICT ");
    if (target.count > 0) {
        lm_buf_putc(sql, '(');
        add_list(sql, target);
        lm_buf_puts(sql, ") ");
    }
    if (conflict == LM_CONFLICT_NOTHING) {
        lm_buf_puts(sql, "DO NOTHING");
        return;
    }
    lm_buf_puts(sql, "DO UPDATE SET ");
    for (int i = 0; i < update.count; i++) {
        if (i > 0)
            lm_buf_puts(sql, ", ");
        lm_sql_add_identifier(sql, update.names[i]);
        lm_buf_puts(sql, " = excluded.");
        lm_sql_add_identifier(sql, update.names[i]);
    }
}

bool
lm_write_insert(struct lm_buf *sql, const char *table, struct lm_names columns,
                enum lm_conflict conflict, struct lm_names target,
                struct lm_names update)
{
    lm_buf_puts(sql, "INSERT INTO ");
    if (!lm_sql_add_table(sql, table))
        return false;
    if (columns.count == 0) {
        lm_buf_puts(sql, " DEFAULT VALUES");
    } else {
        lm_buf_puts(sql, " (");
        add_list(sql, columns);
        lm_buf_puts(sql, ") VALUES (");
        for (int i = 0; i < columns.count; i++)
            lm_buf_printf(sql, "%s$%d", i > 0 ? ", " : "", i + 1);
        lm_buf_putc(sql, ')');
    }
    add_conflict(sql, conflict, target, update);
    return true;
}

/* The line break ends a -- comment in the script's SQL. */
static void
add_where(struct lm_buf *sql, const char *where)
{
    if (where != NULL)
        lm_buf_printf(sql, " WHERE (%s\n)", where);
}

bool
lm_write_update_all(struct lm_buf *sql, const char *table,
                    struct lm_names changes, const char *where,
                    int where_params)
{
    lm_buf_puts(sql, "UPDATE ");
    if (!lm_sql_add_table(sql, table))
        return false;
    lm_buf_puts(sql, " SET ");
    add_pairs(sql, changes, where_params + 1, ", ");
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

void
lm_write_equality(struct lm_buf *sql, struct lm_names columns,
                  const bool *nulls)
{
    int param = 0;

    for (int i = 0; i < columns.count; i++) {
        if (i > 0)
            lm_buf_puts(sql, " AND ");
        lm_sql_add_identifier(sql, columns.names[i]);
        if (nulls[i]) {
            lm_buf_puts(sql, " IS NULL");
        } else {
            lm_buf_printf(sql, " = $%d", ++param);
        }
    }
}
