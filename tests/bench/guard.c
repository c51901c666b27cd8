/* SPDX-License-Identifier: MIT */
/*
 * What judging a statement costs: each statement of a corpus file, judged many
 * times. Prints the mean and the dearest, in microseconds.
 *
 * usage: guard CORPUS
 */

#include "pg/sql/guard.h"

#include <stdio.h>
#include <time.h>

enum { TIMES = 500, ALLOWED = LM_GUARD_DDL | LM_GUARD_EVERY_ROW };

/* CPU time, so that other work on the machine does not count. */
static double
microseconds_for(const char *sql)
{
    clock_t began = clock();

    for (int i = 0; i < TIMES; i++) {
        struct lm_verdict verdict;
        struct lm_err err;

        if (!lm_guard_judge(sql, ALLOWED, &verdict, &err))
            continue; /* a refusal costs something, too */
    }
    return (double)(clock() - began) * 1e6 / CLOCKS_PER_SEC / TIMES;
}

int
main(int argc, char **argv)
{
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    struct lm_buf sql = LM_BUF_INIT;
    char line[1024];
    double sum = 0;
    double dearest = 0;
    int count = 0;

    if (file == NULL)
        return 2;
    while (fgets(line, sizeof line, file) != NULL) {
        double cost;

        if (line[0] != '[' && line[0] != '#') {
            if (line[0] != '\n')
                lm_buf_puts(&sql, line);
            continue;
        }
        if (sql.len == 0)
            continue;
        cost = microseconds_for(lm_buf_text(&sql));
        lm_buf_clear(&sql);
        sum += cost;
        dearest = cost > dearest ? cost : dearest;
        count++;
    }
    fclose(file);
    lm_buf_release(&sql);
    if (count > 0) {
        printf("%d statements: %.0f microseconds on average, %.0f at most\n",
               count, sum / count, dearest);
    }
    return 0;
}
