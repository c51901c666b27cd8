/* SPDX-License-Identifier: MIT */
/* luamig journal --sql: the DDL and grants of luamig's tables, for databases
 * where the role that runs migrations may not create them. */

#include "base/show.h"
#include "cli/options.h"
#include "core/journal/journal.h"
#include "pg/conn/own.h"

#include <getopt.h>

static const char help[] =
    "usage: luamig journal --sql [--from VERSION | --grant ROLE]\n"
    "                            [--journal-schema NAME]\n"
    "\n"
    "Prints the SQL that creates luamig's tables. With --from: the SQL that "
    "upgrades\n"
    "the tables of that version. With --grant: the SQL that lets a role use "
    "them.\n"
    "luamig creates and upgrades its tables itself if its role has the "
    "rights.\n";

struct journal_options {
    bool sql;
    const char *from;  /* NULL: the first version */
    const char *grant; /* NULL: no grants */
    const char *schema;
};

static const struct lm_option option_table[] = {
    LM_FLAG("sql", struct journal_options, sql),
    LM_TEXT("from", struct journal_options, from),
    LM_TEXT("grant", struct journal_options, grant),
    LM_TEXT("journal-schema", struct journal_options, schema), LM_NO_MORE};

static int
run(int argc, char **argv)
{
    struct journal_options options = {.schema = "luamig"};
    struct lm_buf sql = LM_BUF_INIT;
    int64_t from = 0;

    if (!lm_cli_parse(&lm_cmd_journal, argc, argv, &options))
        return LM_EXIT_USAGE;
    if (options.from != NULL && (!lm_cli_number(options.from, 0, &from) ||
                                 from > lm_journal_version())) {
        return lm_cli_usage(&lm_cmd_journal,
                            "--from takes a version up to %d, not \"%s\"",
                            lm_journal_version(), options.from);
    }
    if (!options.sql || optind < argc)
        return lm_cli_usage(&lm_cmd_journal, "journal takes --sql");
    if (options.grant != NULL) {
        lm_journal_add_grants(&sql, options.schema, options.grant);
    } else {
        /* The search_path of the user that runs it may have schemas in which
         * others can create objects. */
        lm_buf_puts(&sql, "BEGIN;\nSET LOCAL search_path = " LM_OWN_PATH ";\n");
        lm_journal_add_ddl(&sql, options.schema, (int)from);
        lm_buf_puts(&sql, "COMMIT;\n");
    }
    lm_out_own(lm_buf_text(&sql));
    lm_buf_release(&sql);
    return lm_cli_finish_output(LM_EXIT_DONE);
}

const struct lm_command lm_cmd_journal = {
    "journal",
    "print the SQL of luamig's own tables",
    help,
    run,
    .options = option_table,
    .words = ""};
