/* SPDX-License-Identifier: MIT */
/* The report of a dry run in two forms: a text with a unified diff, perhaps in
 * colours, and a JSON object with the same facts. */

#include "cli/report/dry_report.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/record.h"
#include "base/show.h"
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_SHOWN = 200, /* bytes of a value */ MOST_OF_UNIT = 10240 };

static const char *
state_of(const struct lm_dry_report *report)
{
    if (report->ending == LM_END_FAILED)
        return "failed";
    if (report->ending == LM_END_STOPPED)
        return "stopped";
    return report->complete ? "done" : "limit";
}

/* The value of a column, or NULL. */
static const char *
find_value(const struct lm_image *image, const char *column)
{
    for (int i = 0; i < image->count; i++) {
        if (strcmp(image->names[i], column) == 0)
            return image->values[i];
    }
    return NULL;
}

/* -- text ---------------------------------------------------------------- */

enum colour { PLAIN, BOLD, RED, GREEN, CYAN };

static void
begin_line(enum colour colour)
{
    static const char *const codes[] = {"", "\033[1m", "\033[31m", "\033[32m",
                                        "\033[36m"};

    if (lm_log_may_colour(STDOUT_FILENO))
        lm_out_own(codes[colour]);
}

static void
end_line(enum colour colour)
{
    if (colour != PLAIN && lm_log_may_colour(STDOUT_FILENO))
        lm_out_own("\033[0m");
    lm_out("\n");
}

/* Text of the database, cut where it is long. */
static void
put_text(const char *text)
{
    size_t len = strlen(text);
    size_t end = len < MOST_SHOWN ? len : MOST_SHOWN;

    while (end < len && ((unsigned char)text[end] & 0xC0) == 0x80)
        end--;
    lm_out("%.*s%s", (int)end, text, end < len ? "..." : "");
}

static struct lm_clock_text
bytes_text(int64_t bytes)
{
    struct lm_clock_text out = {""};
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    double amount = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes < MOST_OF_UNIT) {
        snprintf(out.text, sizeof out.text, "%" PRId64 " bytes", bytes);
        return out;
    }
    while (amount >= MOST_OF_UNIT && unit + 1 < LM_COUNT(units)) {
        amount /= 1024;
        unit++;
    }
    snprintf(out.text, sizeof out.text, "%.0f %s", amount, units[unit]);
    return out;
}

static void
print_head(const struct lm_dry_report *report, const char *script)
{
    lm_out("dry run of ");
    put_text(script);
    if (report->ending == LM_END_STOPPED) {
        lm_out(" stopped (%s)", report->reason);
    } else if (report->ending == LM_END_FAILED) {
        lm_out_own(" failed");
    }
    if (report->one_shot) {
        lm_out_own(": one transaction");
    } else {
        lm_out(": %s row%s%s, %" PRId64 " batch%s",
               lm_clock_count(report->rows).text, report->rows == 1 ? "" : "s",
               strcmp(state_of(report), "limit") == 0 ? " (the limit)" : "",
               report->batches, report->batches == 1 ? "" : "es");
    }
    lm_out(", %s, %" PRId64 " retr%s; everything is rolled back\n",
           lm_clock_span(report->elapsed_ms).text, report->retries,
           report->retries == 1 ? "y" : "ies");
}

static void
print_tables(const struct lm_tally *tally)
{
    int width = (int)strlen("rows of");

    if (tally->uncounted) {
        lm_out_own(
            "\nrows changed: unknown, the server's track_counts is off\n");
        return;
    }
    if (tally->count == 0) {
        lm_out_own("\nrows changed: none\n");
        return;
    }
    for (int i = 0; i < tally->count; i++) {
        int len = (int)strlen(tally->tables[i].name);

        width = len > width && len < MOST_SHOWN ? len : width;
    }
    lm_out("\n%-*s %12s %12s %12s\n", width, "rows of", "inserted", "updated",
           "deleted");
    for (int i = 0; i < tally->count; i++) {
        const struct lm_tally_table *table = &tally->tables[i];
        int len = (int)strlen(table->name);

        put_text(table->name);
        lm_out("%*s %12s %12s %12s\n", width > len ? width - len : 0, "",
               lm_clock_count(table->inserted).text,
               lm_clock_count(table->updated).text,
               lm_clock_count(table->deleted).text);
    }
}

static void
print_column(char sign, const char *name, const char *value)
{
    enum colour colour = sign == '-' ? RED : GREEN;

    begin_line(colour);
    lm_out("%c", sign);
    put_text(name);
    lm_out_own(": ");
    put_text(value);
    end_line(colour);
}

/* Columns that have changed; all of a row that came or went. */
static void
print_sample(const struct lm_samples *samples, const struct lm_sample *row)
{
    const struct lm_image *image =
        row->after.count > 0 ? &row->after : &row->before;
    bool changed = false;

    begin_line(CYAN);
    lm_out_own("@@ ");
    put_text(row->table);
    for (int i = 0; i < image->count; i++) {
        if (!lm_sample_is_key(samples, row, image->names[i]))
            continue;
        lm_out(" ");
        put_text(image->names[i]);
        lm_out("=");
        put_text(image->values[i]);
    }
    lm_out_own(" @@");
    end_line(CYAN);
    for (int i = 0; i < image->count; i++) {
        const char *before = find_value(&row->before, image->names[i]);
        const char *after = find_value(&row->after, image->names[i]);

        if (before != NULL && after != NULL && strcmp(before, after) == 0)
            continue;
        changed = true;
        if (before != NULL)
            print_column('-', image->names[i], before);
        if (after != NULL)
            print_column('+', image->names[i], after);
    }
    if (!changed)
        lm_out_own(" written; its values look the same\n");
}

static void
print_samples(const struct lm_samples *samples)
{
    for (int i = 0; i < samples->count; i++) {
        if (i == 0)
            lm_out("\n");
        print_sample(samples, &samples->rows[i]);
    }
}

static void
print_batches(const struct lm_dry_report *report)
{
    if (report->batches == 0)
        return;
    lm_out("\ntime of a batch: %s (median), %s (worst)\n",
           lm_clock_span(report->batch_ms.median).text,
           lm_clock_span(report->batch_ms.worst).text);
    lm_out("WAL of a batch: %s (median), %s (worst); this includes what other "
           "sessions wrote\n",
           bytes_text(report->batch_wal_bytes.median).text,
           bytes_text(report->batch_wal_bytes.worst).text);
}

static void
print_whole(const struct lm_dry_report *report)
{
    if (report->full_ms < 0)
        return;
    lm_out_own("estimate for the whole run: ");
    if (!report->one_shot) {
        lm_out("%s%s row%s, ", report->complete ? "" : "about ",
               lm_clock_count(report->full_rows).text,
               report->full_rows == 1 ? "" : "s");
    }
    lm_out("%s", lm_clock_span(report->full_ms).text);
    if (!report->one_shot)
        lm_out(" with throttle_ms = %" PRId64, report->throttle_ms);
    lm_out(", %s of WAL\n", bytes_text(report->full_wal_bytes).text);
}

static int64_t
dead_rows(const struct lm_tally *tally)
{
    int64_t rows = 0;

    for (int i = 0; i < tally->count; i++)
        rows += tally->tables[i].inserted + tally->tables[i].updated;
    return rows;
}

static void
print_residue(const struct lm_dry_report *report)
{
    int64_t dead = dead_rows(&report->tally);

    if (dead == 0 && report->residue.count == 0)
        return;
    lm_out_own("\nnot rolled back:\n");
    if (dead > 0) {
        lm_out("  %s dead row version%s, until the next vacuum\n",
               lm_clock_count(dead).text, dead == 1 ? "" : "s");
    }
    for (int i = 0; i < report->residue.count; i++) {
        const struct lm_residue_item *item = &report->residue.items[i];

        lm_out("  %s", item->what);
        if (item->name != NULL) {
            lm_out(" ");
            put_text(item->name);
        }
        if (item->before != NULL || item->after != NULL) {
            lm_out(", from %s to %s; ",
                   item->before != NULL ? item->before : "unused",
                   item->after != NULL ? item->after : "unused");
        } else {
            lm_out(" ");
        }
        lm_out("%s\n", item->note);
    }
}

static void
print_text(const struct lm_dry_report *report, const char *script)
{
    print_head(report, script);
    print_tables(&report->tally);
    print_samples(&report->samples);
    print_batches(report);
    print_whole(report);
    print_residue(report);
    if (report->would_record_row) {
        lm_out_own("\na run would find the failed row, record it and continue "
                   "(on_error = \"quarantine\")\n");
    }
}

/* -- JSON ---------------------------------------------------------------- */

static void
add_tables(struct lm_buf *buf, const struct lm_tally *tally)
{
    struct lm_buf fields = LM_BUF_INIT;

    if (tally->uncounted) {
        lm_record_text(buf, "tables", NULL);
        return;
    }
    lm_record_begin_list(buf, "tables");
    for (int i = 0; i < tally->count; i++) {
        lm_record_text(&fields, "table", tally->tables[i].name);
        lm_record_int(&fields, "inserted", tally->tables[i].inserted);
        lm_record_int(&fields, "updated", tally->tables[i].updated);
        lm_record_int(&fields, "deleted", tally->tables[i].deleted);
        lm_record_add_item(buf, &fields);
    }
    lm_record_end_list(buf);
    lm_buf_release(&fields);
}

static void
add_image(struct lm_buf *buf, const char *name, const struct lm_image *image)
{
    struct lm_buf fields = LM_BUF_INIT;

    if (image->count == 0) {
        lm_record_text(buf, name, NULL);
        return;
    }
    for (int i = 0; i < image->count; i++)
        lm_record_json(&fields, image->names[i], image->values[i]);
    lm_record_object(buf, name, &fields);
    lm_buf_release(&fields);
}

static void
add_samples(struct lm_buf *buf, const struct lm_samples *samples)
{
    struct lm_buf fields = LM_BUF_INIT;
    struct lm_buf key = LM_BUF_INIT;

    lm_record_begin_list(buf, "samples");
    for (int i = 0; i < samples->count; i++) {
        const struct lm_sample *row = &samples->rows[i];
        const struct lm_image *image =
            row->after.count > 0 ? &row->after : &row->before;

        for (int j = 0; j < image->count; j++) {
            if (lm_sample_is_key(samples, row, image->names[j]))
                lm_record_json(&key, image->names[j], image->values[j]);
        }
        lm_record_text(&fields, "table", row->table);
        lm_record_object(&fields, "key", &key);
        add_image(&fields, "before", &row->before);
        add_image(&fields, "after", &row->after);
        lm_record_add_item(buf, &fields);
    }
    lm_record_end_list(buf);
    lm_buf_release(&fields);
    lm_buf_release(&key);
}

static void
add_figure(struct lm_buf *buf, const char *name,
           const struct lm_dry_figure *figure)
{
    struct lm_buf fields = LM_BUF_INIT;

    lm_record_int(&fields, "sum", figure->sum);
    lm_record_int(&fields, "median", figure->median);
    lm_record_int(&fields, "worst", figure->worst);
    lm_record_object(buf, name, &fields);
    lm_buf_release(&fields);
}

static void
add_estimate(struct lm_buf *buf, const struct lm_dry_report *report)
{
    struct lm_buf fields = LM_BUF_INIT;

    lm_record_known(&fields, "rows", report->full_rows);
    lm_record_bool(&fields, "rows_are_exact", report->complete);
    lm_record_known(&fields, "ms", report->full_ms);
    lm_record_known(&fields, "wal_bytes", report->full_wal_bytes);
    lm_record_object(buf, "estimate", &fields);
    lm_buf_release(&fields);
}

static void
add_residue(struct lm_buf *buf, const struct lm_dry_report *report)
{
    struct lm_buf fields = LM_BUF_INIT;

    lm_record_begin_list(buf, "not_rolled_back");
    for (int i = 0; i < report->residue.count; i++) {
        const struct lm_residue_item *item = &report->residue.items[i];

        lm_record_text(&fields, "what", item->what);
        lm_record_text(&fields, "name", item->name);
        lm_record_text(&fields, "before", item->before);
        lm_record_text(&fields, "after", item->after);
        lm_record_text(&fields, "note", item->note);
        lm_record_add_item(buf, &fields);
    }
    lm_record_end_list(buf);
    lm_record_int(buf, "dead_row_versions", dead_rows(&report->tally));
    lm_buf_release(&fields);
}

static void
print_json(const struct lm_dry_report *report, const char *script,
           const struct lm_err *err)
{
    struct lm_buf buf = LM_BUF_INIT;
    bool failed = report->ending == LM_END_FAILED;

    lm_record_bool(&buf, "dry_run", true);
    lm_record_text(&buf, "script", script);
    lm_record_text(&buf, "state", state_of(report));
    lm_record_text(&buf, "error", failed ? err->message : NULL);
    lm_record_bool(&buf, "would_quarantine", report->would_record_row);
    lm_record_known(&buf, "rows", report->one_shot ? -1 : report->rows);
    lm_record_int(&buf, "batches", report->batches);
    lm_record_int(&buf, "retries", report->retries);
    lm_record_int(&buf, "elapsed_ms", report->elapsed_ms);
    add_tables(&buf, &report->tally);
    add_samples(&buf, &report->samples);
    add_figure(&buf, "batch_ms", &report->batch_ms);
    add_figure(&buf, "batch_wal_bytes", &report->batch_wal_bytes);
    lm_record_int(&buf, "wal_bytes", report->tally.wal_bytes);
    add_estimate(&buf, report);
    add_residue(&buf, report);
    lm_record_out(&buf);
    lm_buf_release(&buf);
}

/* -- both ---------------------------------------------------------------- */

/* The last line of --log json. */
static void
log_end(const struct lm_dry_report *report, const struct lm_err *err, int code)
{
    struct lm_buf fields = LM_BUF_INIT;

    lm_record_text(&fields, "event", "end");
    lm_record_text(&fields, "run", NULL);
    lm_record_bool(&fields, "dry_run", true);
    lm_record_text(&fields, "state", state_of(report));
    lm_record_int(&fields, "rows", report->rows);
    lm_record_int(&fields, "batches", report->batches);
    lm_record_int(&fields, "retries", report->retries);
    lm_record_int(&fields, "elapsed_ms", report->elapsed_ms);
    lm_record_text(&fields, "reason",
                   report->ending == LM_END_FAILED    ? err->message
                   : report->ending == LM_END_STOPPED ? report->reason
                                                      : NULL);
    lm_record_int(&fields, "exit_code", code);
    lm_log_event(LM_LOG_INFO, NULL, &fields);
    lm_buf_release(&fields);
}

int
lm_dry_report_print(const struct lm_dry_report *report, const char *script,
                    const struct lm_err *err)
{
    int code = LM_EXIT_DONE;

    if (report->worked) {
        if (isatty(STDOUT_FILENO) == 1) {
            print_text(report, script);
        } else {
            print_json(report, script, err);
        }
    }
    fflush(stdout); /* before what is said of the error */
    if (report->ending == LM_END_FAILED) {
        code = lm_cli_fail(err);
    } else if (report->ending == LM_END_STOPPED) {
        code = LM_EXIT_STOPPED;
    }
    code = lm_cli_finish_output(code);
    log_end(report, err, code);
    return code;
}
