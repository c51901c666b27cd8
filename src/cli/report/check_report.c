/* SPDX-License-Identifier: MIT */

#include "cli/report/check_report.h"

#include "base/log.h"
#include "base/record.h"
#include "base/show.h"

#include <string.h>
#include <unistd.h>

static const char *const verdicts[] = {[LM_VERDICT_OK] = "ok",
                                       [LM_VERDICT_WARNING] = "warning",
                                       [LM_VERDICT_ERROR] = "error"};

/* Lines below a finding, indented; lead stands before the first one. */
static void
print_below(const char *lead, const char *text)
{
    while (text != NULL && *text != '\0') {
        size_t len = strcspn(text, "\n");

        lm_out("         %s%.*s\n", lead, (int)len, text);
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

    lm_out_own(colour ? colours[finding->verdict] : "");
    lm_out("%-7s", verdicts[finding->verdict]);
    lm_out_own(colour ? "\033[0m" : "");
    lm_out("  %-16s  %s\n", finding->subject, finding->message);
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
    lm_out("%d %s%s", count, what, count == 1 ? "" : "s");
}

void
lm_check_report_print(const struct lm_check *check, bool verbose)
{
    bool colour = lm_log_may_colour(STDOUT_FILENO);
    int errors = lm_check_count(check, LM_VERDICT_ERROR);

    for (int i = 0; i < check->count; i++)
        print_finding(&check->findings[i], colour, verbose);
    print_count(errors, "error");
    lm_out_own(", ");
    print_count(lm_check_count(check, LM_VERDICT_WARNING), "warning");
    if (check->unreachable) {
        lm_out_own(": the rest was not checked\n");
    } else {
        lm_out("%s\n",
               errors > 0 ? ": correct the errors before you run it" : "");
    }
}

/* -- JSON ---------------------------------------------------------------------- */

static void
add_finding(struct lm_buf *out, const struct lm_finding *finding)
{
    struct lm_buf fields = LM_BUF_INIT;

    lm_record_text(&fields, "level", verdicts[finding->verdict]);
    lm_record_text(&fields, "subject", finding->subject);
    lm_record_text(&fields, "message", finding->message);
    lm_record_text(&fields, "detail", finding->detail);
    lm_record_text(&fields, "hint", finding->hint);
    if (finding->plan != NULL)
        lm_record_text(&fields, "plan", finding->plan);
    lm_record_add_item(out, &fields);
    lm_buf_release(&fields);
}

void
lm_check_report_print_json(const struct lm_check *check)
{
    struct lm_buf out = LM_BUF_INIT;

    lm_record_begin_list(&out, "findings");
    for (int i = 0; i < check->count; i++)
        add_finding(&out, &check->findings[i]);
    lm_record_end_list(&out);
    lm_record_int(&out, "errors", lm_check_count(check, LM_VERDICT_ERROR));
    lm_record_int(&out, "warnings", lm_check_count(check, LM_VERDICT_WARNING));
    lm_record_known(&out, "rows", check->rows);
    lm_record_known(&out, "batches", check->batches);
    lm_record_known(&out, "batch_size", check->batch_size);
    lm_record_known(&out, "page_rows_read", check->page_rows_read);
    lm_record_known(&out, "page_ms", check->page_ms);
    lm_record_known(&out, "duration_ms", check->duration_ms);
    lm_record_out(&out);
    lm_buf_release(&out);
}
