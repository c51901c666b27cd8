/* SPDX-License-Identifier: MIT */

#include "cli/commands/detach.h"

#include "base/log.h"
#include "base/project.h"
#include "base/show.h"
#include "base/stop.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* .luamig/log/onboarding-20260131-235959-4711.log below the project root, as
 * far as the folders can be made. */
static char *
make_log_path(const char *script)
{
    const char *base = strrchr(script, '/');
    char *root = lm_project_root(NULL);
    struct lm_buf path = LM_BUF_INIT;
    time_t now = time(NULL);
    struct tm local;
    char stamp[32];

    base = base != NULL ? base + 1 : script;
    localtime_r(&now, &local);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &local);
    lm_buf_printf(&path, "%s/.luamig", root);
    mkdir(lm_buf_text(&path), 0755);
    lm_buf_puts(&path, "/log");
    mkdir(lm_buf_text(&path), 0755);
    lm_buf_printf(&path, "/%.*s-%s-%ld.log", (int)strcspn(base, "."), base,
                  stamp, (long)getpid());
    free(root);
    return lm_buf_take(&path);
}

static bool
open_files(struct lm_detach *self, const char *script, int *log, int ends[2],
           struct lm_err *err)
{
    self->log_path = make_log_path(script);
    *log = open(self->log_path,
                O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (*log < 0) {
        lm_err_set(err, LM_ERR_FAILED, "could not create the log file \"%s\"",
                   self->log_path);
        lm_err_detail(err, "%s", strerror(errno));
        lm_err_hint(err, "Run luamig in a project folder that it may write "
                         "to, or redirect its output and use \"nohup\".");
        return false;
    }
    if (pipe2(ends, O_CLOEXEC) == 0)
        return true;
    lm_err_set(err, LM_ERR_FAILED, "could not make a pipe: %s",
               strerror(errno));
    close(*log);
    return false;
}

/* -- the parent -------------------------------------------------------- */

/* The run's number, or 0 when the child ends without a word. A signal is for
 * the child, which is not of this terminal any more. */
static int64_t
read_child(int words, pid_t child)
{
    char text[32];
    size_t len = 0;
    int sent = lm_stop_level();

    while (len + 1 < sizeof text) {
        ssize_t got = read(words, text + len, sizeof text - len - 1);

        if (lm_stop_level() > sent) {
            sent = lm_stop_level();
            kill(child, SIGTERM);
        }
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    text[len] = '\0';
    return strtoll(text, NULL, 10);
}

/* Messages go where messages go, results to standard output. */
static void
copy_log(const char *path)
{
    static const char mark[] = "luamig: ";
    FILE *log = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;

    while (log != NULL && getline(&line, &room, log) >= 0) {
        bool is_message =
            strncmp(line, mark, strlen(mark)) == 0 || line[0] == '{';

        fputs(line, is_message ? stderr : stdout);
    }
    free(line);
    if (log != NULL)
        fclose(log);
    lm_cli_finish_output(LM_EXIT_DONE);
}

static int
exit_code_of(pid_t child)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : LM_EXIT_INTERNAL;
}

/* Prints what the child wrote before the run began on this terminal. */
static int
wait_for_child(const struct lm_detach *self, int words, pid_t child)
{
    int64_t run_id = read_child(words, child);

    copy_log(self->log_path);
    if (run_id == 0) {
        int code = exit_code_of(child);

        unlink(self->log_path);
        return code;
    }
    lm_out("run %" PRId64 " continues in process %ld; its log: %s\n", run_id,
           (long)child, self->log_path);
    return lm_cli_finish_output(LM_EXIT_DONE);
}

/* -- the child --------------------------------------------------------- */

static void
leave_terminal(int log)
{
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);

    setsid();
    if (nothing >= 0) {
        dup2(nothing, STDIN_FILENO);
        close(nothing);
    }
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    close(log);
    lm_log_set_times(true);
}

bool
lm_detach_begin(struct lm_detach *self, const char *script, int *code)
{
    struct lm_err err;
    int ends[2];
    int log;
    pid_t child;

    if (!open_files(self, script, &log, ends, &err)) {
        *code = lm_cli_fail(&err);
        return false;
    }
    fflush(NULL);
    child = fork();
    if (child == 0) {
        close(ends[0]);
        self->words = ends[1];
        leave_terminal(log);
        return true;
    }
    close(ends[1]);
    close(log);
    if (child > 0) {
        *code = wait_for_child(self, ends[0], child);
    } else {
        lm_err_set(&err, LM_ERR_FAILED, "could not start a process: %s",
                   strerror(errno));
        *code = lm_cli_fail(&err);
    }
    close(ends[0]);
    return false;
}

void
lm_detach_under_way(void *detach, int64_t run_id)
{
    struct lm_detach *self = detach;

    if (self->log_path == NULL || self->words < 0)
        return;
    if (dprintf(self->words, "%" PRId64 "\n", run_id) < 0)
        lm_log(LM_LOG_DEBUG, "nobody waits for the run to be under way");
    close(self->words);
    self->words = -1;
}

void
lm_detach_release(struct lm_detach *self)
{
    free(self->log_path);
    self->log_path = NULL;
}
