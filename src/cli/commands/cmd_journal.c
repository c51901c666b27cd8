/* SPDX-License-Identifier: MIT */
/* luamig journal --sql: the DDL and grants of luamig's tables, for databases
 * where the role that runs migrations may not create them. */

#include "base/show.h"
#include "cli/cli.h"
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

static const struct option long_options[] = {
    {"sql", no_argument, NULL, 's'},
    {"from", required_argument, NULL, 'f'},
    {"grant", required_argument, NULL, 'g'},
    {"journal-schema", required_argument, NULL, 'j'},
    {NULL, 0, NULL, 0}};

static int
run(int argc, char **argv)
{
    struct lm_buf sql = LM_BUF_INIT;
    const char *schema = "luamig";
    const char *role = NULL;
    int64_t from = 0;
    bool wanted = false;
    int code;

    while ((code = lm_cli_getopt(argc, argv, ":", long_options)) != -1) {
        if (code == 's') {
            wanted = true;
        } else if (code == 'f') {
            if (!lm_cli_number(optarg, 0, &from) ||
                from > lm_journal_version()) {
                return lm_cli_usage(&lm_cmd_journal,
                                    "--from takes a version up to %d, not "
                                    "\"%s\"",
                                    lm_journal_version(), optarg);
            }
        } else if (code == 'g') {
            role = optarg;
        } else if (code == 'j') {
            schema = optarg;
        } else {
            return lm_cli_bad_option(&lm_cmd_journal, code, argv, long_options);
        }
    }
    if (!wanted || optind < argc)
        return lm_cli_usage(&lm_cmd_journal, "journal takes --sql");
    if (role != NULL) {
        lm_journal_add_grants(&sql, schema, role);
    } else {
        /* Whoever runs it may have a path into which others can put things. */
        lm_buf_puts(&sql, "BEGIN;\nSET LOCAL search_path = " LM_OWN_PATH ";\n");
        lm_journal_add_ddl(&sql, schema, (int)from);
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
    .options = long_options,
    .words = ""};
