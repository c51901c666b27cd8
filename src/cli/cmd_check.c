/* SPDX-License-Identifier: MIT */
/* luamig check: what can be said of a migration before it runs, a verdict a
 * line, or as JSON. */

#include "base/log.h"
#include "base/record.h"
#include "cli/cli.h"
#include "core/check.h"
#include "script/script.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
    "usage: luamig check SCRIPT [OPTIONS]\n"
    "\n"
    "Looks at a migration and its database without changing anything: the base "
    "query,\n"
    "the key, what the server would read for each page, what fires when its "
    "tables are\n"
    "written, rights, and health. A verdict a line; exit code 3 when one is "
    "\"error\".\n"
    "\n"
    "  --db URL              the database; \"embedded\" for a private one\n"
    "  --arg NAME=VALUE      an argument that the script declares; repeatable\n"
    "  --batch-size N        rows in a batch, instead of the script's figure\n"
    "  --replica URL         a standby whose replay is waited for; repeatable\n"
    "  --journal-schema NAME schema of luamig's tables (default: luamig)\n"
    "  --json                as JSON\n"
    "  -v, --verbose         show the page's plan\n";

struct check_options {
    const char *path;
    char *url; /* owned */
    const char **args;
    int arg_count;
    char **replicas; /* owned */
    int replica_count;
    int64_t batch_size;
    const char *journal_schema;
    bool json;
    bool verbose;
};

enum option_code {
    OPT_DB = 256,
    OPT_ARG,
    OPT_BATCH_SIZE,
    OPT_REPLICA,
    OPT_JOURNAL_SCHEMA,
    OPT_JSON
};

static const struct option long_options[] = {
    {"db", required_argument, NULL, OPT_DB},
    {"arg", required_argument, NULL, OPT_ARG},
    {"batch-size", required_argument, NULL, OPT_BATCH_SIZE},
    {"replica", required_argument, NULL, OPT_REPLICA},
    {"journal-schema", required_argument, NULL, OPT_JOURNAL_SCHEMA},
    {"json", no_argument, NULL, OPT_JSON},
    {"verbose", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0}};

static bool
take_option(struct check_options *options, int code, char **argv)
{
    switch (code) {
    case OPT_DB:
        free(options->url);
        options->url = lm_database_take_url(optarg);
        return true;
    case OPT_ARG:
        options->args[options->arg_count++] = optarg;
        return true;
    case OPT_BATCH_SIZE:
        if (lm_cli_number(optarg, 1, &options->batch_size))
            return true;
        lm_cli_usage(&lm_cmd_check,
                     "--batch-size takes a number that is at least 1, not "
                     "\"%s\"",
                     optarg);
        return false;
    case OPT_REPLICA:
        options->replicas[options->replica_count++] =
            lm_database_take_url(optarg);
        return true;
    case OPT_JOURNAL_SCHEMA:
        options->journal_schema = optarg;
        return true;
    case OPT_JSON:
        options->json = true;
        return true;
    case 'v':
        options->verbose = true;
        return true;
    default:
        lm_cli_bad_option(&lm_cmd_check, code, argv, long_options);
        return false;
    }
}

static bool
parse_options(int argc, char **argv, struct check_options *options)
{
    int code;

    memset(options, 0, sizeof *options);
    options->batch_size = -1;
    options->journal_schema = "luamig";
    options->args = lm_calloc((size_t)argc, sizeof *options->args);
    options->replicas = lm_calloc((size_t)argc, sizeof *options->replicas);
    while ((code = lm_cli_getopt(argc, argv, ":v", long_options)) != -1) {
        if (!take_option(options, code, argv))
            return false;
    }
    if (optind + 1 == argc) {
        options->path = argv[optind];
        return true;
    }
    if (optind < argc) {
        lm_cli_usage(&lm_cmd_check,
                     "check takes one script; \"%s\" is too much",
                     argv[optind + 1]);
    } else {
        lm_cli_usage(&lm_cmd_check, "check which script?");
    }
    return false;
}

/* -- printing ---------------------------------------------------------------- */

static const char *const verdicts[] = {[LM_VERDICT_OK] = "ok",
                                       [LM_VERDICT_WARNING] = "warning",
                                       [LM_VERDICT_ERROR] = "error"};

/* Lines below a finding, indented; lead stands before the first one. */
static void
print_below(const char *lead, const char *text)
{
    while (text != NULL && *text != '\0') {
        size_t len = strcspn(text, "\n");

        printf("         %s%.*s\n", lead, (int)len, text);
        lead = "";
        text += len + (text[len] == '\n');
    }
}

static void
print_finding(const struct lm_finding *finding, bool colour, bool verbose)
{
    static const char *const colours[] = {[LM_VERDICT_OK] = "\033[32m",
                                          [LM_VERDICT_WARNING] = "\033[33m",
                                          [LM_VERDICT_ERROR] = "\033[31m"};
    bool is_ok = finding->verdict == LM_VERDICT_OK;

    printf("%s%-7s%s  %-16s  %s\n", colour ? colours[finding->verdict] : "",
           verdicts[finding->verdict], colour ? "\033[0m" : "",
           finding->subject, finding->message);
    if (!is_ok || verbose) {
        print_below("", finding->detail);
        print_below("hint: ", finding->hint);
    }
    if (verbose)
        print_below("", finding->plan);
}

static void
print_count(int count, const char *what)
{
    printf("%d %s%s", count, what, count == 1 ? "" : "s");
}

static void
print_findings(const struct lm_check *check, bool verbose)
{
    bool colour = lm_log_may_colour(STDOUT_FILENO);
    int errors = lm_check_count(check, LM_VERDICT_ERROR);

    for (int i = 0; i < check->count; i++)
        print_finding(&check->findings[i], colour, verbose);
    print_count(errors, "error");
    fputs(", ", stdout);
    print_count(lm_check_count(check, LM_VERDICT_WARNING), "warning");
    if (check->unreachable) {
        puts(": the rest was not looked at");
    } else {
        puts(errors > 0 ? ": not fit to run as it is" : "");
    }
}

/* -- JSON ---------------------------------------------------------------------- */

static void
add_figure(struct lm_buf *out, const char *name, int64_t value)
{
    if (value >= 0) {
        lm_record_int(out, name, value);
    } else {
        lm_record_text(out, name, NULL);
    }
}

static void
print_json(const struct lm_check *check)
{
    struct lm_buf figures = LM_BUF_INIT;

    fputs("{\"findings\":[", stdout);
    for (int i = 0; i < check->count; i++) {
        const struct lm_finding *finding = &check->findings[i];
        struct lm_buf fields = LM_BUF_INIT;

        lm_record_text(&fields, "level", verdicts[finding->verdict]);
        lm_record_text(&fields, "subject", finding->subject);
        lm_record_text(&fields, "message", finding->message);
        lm_record_text(&fields, "detail", finding->detail);
        lm_record_text(&fields, "hint", finding->hint);
        if (finding->plan != NULL)
            lm_record_text(&fields, "plan", finding->plan);
        printf("%s{%s}", i > 0 ? "," : "", lm_buf_text(&fields));
        lm_buf_release(&fields);
    }
    lm_record_int(&figures, "errors", lm_check_count(check, LM_VERDICT_ERROR));
    lm_record_int(&figures, "warnings",
                  lm_check_count(check, LM_VERDICT_WARNING));
    add_figure(&figures, "rows", check->rows);
    add_figure(&figures, "batches", check->batches);
    add_figure(&figures, "batch_size", check->batch_size);
    add_figure(&figures, "page_rows_read", check->page_rows_read);
    add_figure(&figures, "page_ms", check->page_ms);
    add_figure(&figures, "duration_ms", check->duration_ms);
    printf("],%s}\n", lm_buf_text(&figures));
    lm_buf_release(&figures);
}

/* -- checking -------------------------------------------------------------------- */

static bool
look_at_database(const struct check_options *options,
                 const struct lm_script *script, struct lm_check *check,
                 struct lm_err *err)
{
    struct lm_check_options how = {.application_name = "luamig: check",
                                   .journal_schema = options->journal_schema,
                                   .replicas =
                                       (const char *const *)options->replicas,
                                   .replica_count = options->replica_count};
    struct lm_database database;
    bool ok = lm_database_resolve(&database, options->url, err);

    how.conninfo = database.conninfo;
    ok = ok && lm_check_all(check, lm_script_migration(script), &how, err);
    lm_database_release(&database);
    return ok;
}

static bool
look(const struct check_options *options, struct lm_check *check,
     struct lm_err *err)
{
    struct lm_script_options script_options = {.args = options->args,
                                               .arg_count = options->arg_count,
                                               .batch_size =
                                                   options->batch_size,
                                               .target_ms = -1,
                                               .throttle_ms = -1};
    struct lm_script *script = NULL;
    bool ok = lm_script_load(&script, options->path, &script_options, err);

    if (ok) {
        lm_check_add(check, LM_VERDICT_OK, "script", "%s", options->path);
        ok = look_at_database(options, script, check, err);
    } else if (err->kind == LM_ERR_SCRIPT) {
        struct lm_finding *finding = lm_check_add_err(check, "script", err);

        if (finding->detail == NULL) {
            lm_finding_detail(finding, "at %s",
                              err->where[0] != '\0' ? err->where
                                                    : options->path);
        }
        ok = true;
    }
    lm_script_free(script);
    return ok;
}

static int
exit_code(const struct lm_check *check)
{
    if (check->unreachable)
        return LM_EXIT_DATABASE;
    return lm_check_count(check, LM_VERDICT_ERROR) > 0 ? LM_EXIT_SCRIPT
                                                       : LM_EXIT_DONE;
}

static int
check_script(const struct check_options *options)
{
    struct lm_check check;
    struct lm_err err;
    int code;
    bool ok;

    lm_check_init(&check);
    ok = look(options, &check, &err);
    if (ok && options->json) {
        print_json(&check);
    } else if (ok) {
        print_findings(&check, options->verbose);
    }
    code = ok ? lm_cli_finish_output(exit_code(&check)) : lm_cli_fail(&err);
    lm_check_release(&check);
    return code;
}

static int
run(int argc, char **argv)
{
    struct check_options options;
    int code = LM_EXIT_USAGE;

    if (parse_options(argc, argv, &options))
        code = check_script(&options);
    for (int i = 0; i < options.replica_count; i++)
        free(options.replicas[i]);
    free(options.replicas);
    free(options.args);
    free(options.url);
    return code;
}

const struct lm_command lm_cmd_check = {
    "check", "look at a migration before it runs; changes nothing", help, run};
