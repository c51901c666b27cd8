/* SPDX-License-Identifier: MIT */
/*
 * Runs a command and writes down what it used.
 *
 *     measure FILE COMMAND [ARGUMENT...]
 *
 * FILE gets one line: seconds on the clock, user and system CPU seconds, peak
 * resident memory in KiB. The exit status is the command's.
 *
 * A program of its own, because the peak that Linux reports of a process
 * includes that of whoever forked it, until exec.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double
now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double
seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int
main(int argc, char **argv)
{
    struct rusage used;
    double start = now();
    int status = 0;
    FILE *out;
    pid_t pid;

    if (argc < 3) {
        fputs("usage: measure FILE COMMAND [ARGUMENT...]\n", stderr);
        return 2;
    }
    pid = fork();
    if (pid == 0) {
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &used) != pid) {
        perror("measure");
        return 1;
    }
    start = now() - start;
    out = fopen(argv[1], "w");
    if (out == NULL) {
        perror(argv[1]);
        return 1;
    }
    fprintf(out, "%.6f %.6f %.6f %ld\n", start, seconds(used.ru_utime),
            seconds(used.ru_stime), used.ru_maxrss);
    if (fclose(out) != 0) {
        perror(argv[1]);
        return 1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
