/* SPDX-License-Identifier: MIT */
/*
 * The embedded PostgreSQL's programs and processes: where postgres, initdb
 * and psql are, and what a forked child does before it becomes one of them.
 *
 * Children run as the server's user, in a session of their own (Ctrl-C in
 * luamig's terminal does not reach them), write to the log only, and end with
 * their parent.
 */

#include "pg/server/private.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    OLDEST_VERSION = 13, /* of PostgreSQL, that luamig works with */
    STOP_WAIT_S = 60,    /* for a fast shutdown, its checkpoint included */
    WATCHER_FD = 3
};

static bool
has_programs(const char *dir)
{
    return lm_server_file_exists(dir, "postgres", X_OK) &&
           lm_server_file_exists(dir, "initdb", X_OK);
}

/* The highest version that Debian's packages have installed, or the one that
 * is wanted. */
static char *
find_packaged(int wanted)
{
    static const char prefix[] = "/usr/lib/postgresql/";
    glob_t found;
    long best = OLDEST_VERSION - 1;
    char *dir = NULL;

    if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) != 0)
        return NULL;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *path = found.gl_pathv[i];
        long version = strtol(path + sizeof prefix - 1, NULL, 10);

        if (version <= best || (wanted != 0 && version != wanted) ||
            !has_programs(path))
            continue;
        best = version;
        free(dir);
        dir = lm_strdup(path);
    }
    globfree(&found);
    return dir;
}

/* Of these the version is unknown; the server itself refuses a cluster of
 * another one. */
static char *
find_on_path(void)
{
    const char *path = getenv("PATH");

    while (path != NULL && *path != '\0') {
        size_t len = strcspn(path, ":");
        char *dir = lm_strndup(path, len);

        if (dir[0] == '/' && has_programs(dir))
            return dir;
        free(dir);
        path += len;
        path += *path == ':';
    }
    return NULL;
}

static bool
fail_programs(int wanted, struct lm_err *err)
{
    if (wanted == 0) {
        lm_err_set(err, LM_ERR_CONNECT,
                   "no PostgreSQL server programs were found in "
                   "/usr/lib/postgresql/*/bin or on PATH");
        lm_err_hint(err, "Install them (Debian, Ubuntu: apt-get install "
                         "postgresql) or name a database with --db URL.");
        return false;
    }
    lm_err_set(err, LM_ERR_CONNECT,
               "the embedded database was made by PostgreSQL %d, whose "
               "server programs were not found",
               wanted);
    lm_err_hint(err,
                "Install them (Debian, Ubuntu: apt-get install "
                "postgresql-%d), or move .luamig/pg away to begin with an "
                "empty database.",
                wanted);
    return false;
}

bool
lm_server_find_programs(int wanted, char **dir, struct lm_err *err)
{
    const char *named = getenv("LUAMIG_PG_BIN");

    if (named != NULL && *named != '\0') {
        if (has_programs(named)) {
            *dir = lm_strdup(named);
            return true;
        }
        lm_err_set(err, LM_ERR_CONNECT,
                   "no PostgreSQL server programs were found in \"%s\"", named);
        lm_err_hint(err, "LUAMIG_PG_BIN names the folder that holds postgres "
                         "and initdb; without it luamig looks in "
                         "/usr/lib/postgresql/*/bin and on PATH.");
        return false;
    }
    *dir = find_packaged(wanted);
    if (*dir == NULL)
        *dir = find_on_path();
    return *dir != NULL || fail_programs(wanted, err);
}

void
lm_server_reset_signals(void)
{
    static const int numbers[] = {SIGHUP,  SIGINT,  SIGQUIT,
                                  SIGTERM, SIGPIPE, SIGCHLD};
    sigset_t none;

    for (size_t i = 0; i < LM_COUNT(numbers); i++)
        signal(numbers[i], SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
redirect(const char *path, int flags, int target)
{
    int fd = open(path, flags, 0600);

    if (fd < 0)
        _exit(1);
    if (fd == target)
        return;
    dup2(fd, target);
    close(fd);
}

/* Turns a fresh child into the server's user, in its home, writing to the
 * log, gone with its parent. */
static void
enter_child(const struct lm_server *self, pid_t parent, int death_signal)
{
    lm_server_reset_signals();
    umask(077);
    if (!lm_server_become(&self->user) || chdir(self->home) != 0)
        _exit(1);
    redirect("/dev/null", O_RDONLY, STDIN_FILENO);
    redirect("log", O_WRONLY | O_CREAT | O_APPEND, STDOUT_FILENO);
    dup2(STDOUT_FILENO, STDERR_FILENO);
    /* A change of user clears it, so it is set after that. */
    prctl(PR_SET_PDEATHSIG, death_signal);
    if (getppid() != parent)
        _exit(1);
}

/* Executes the program args[0] of bin in a small environment: PGDATA, PGPORT,
 * PGOPTIONS and the like are meant for other servers. It is told its whole
 * path, since PostgreSQL's programs look for each other next to it. */
static _Noreturn void
execute(const char *bin, const char **args)
{
    static const char *const kept[] = {"PATH", "TZ", "LD_LIBRARY_PATH"};
    char locale[] = "LC_ALL=C.UTF-8";
    char *env[LM_COUNT(kept) + 2] = {locale};
    char *path = lm_format("%s/%s", bin, args[0]);
    size_t count = 1;

    args[0] = path;
    for (size_t i = 0; i < LM_COUNT(kept); i++) {
        const char *value = getenv(kept[i]);

        if (value != NULL)
            env[count++] = lm_format("%s=%s", kept[i], value);
    }
    execve(path, (char *const *)args, env);
    dprintf(STDERR_FILENO, "luamig: could not execute \"%s\": %s\n", path,
            strerror(errno));
    _exit(1);
}

void
lm_server_run_initdb(const struct lm_server *self, const char *bin,
                     pid_t parent)
{
    /* Bytewise order, so that clusters behave the same everywhere. */
    /* clang-format off */
    const char *args[] = {
        "initdb", "--pgdata=data.new", "--username=postgres", "--auth=trust",
        "--encoding=UTF8", "--locale=C.UTF-8",
        self->scratch ? "--no-sync" : NULL, NULL};
    /* clang-format on */

    setsid();
    enter_child(self, parent, SIGKILL);
    /* initdb's own children may live a moment longer. They keep the lock too,
     * so that nothing touches data.new until they are gone. */
    fcntl(self->lock_fd, F_SETFD, 0);
    lm_server_remove_tree("data.new");
    execute(bin, args);
}

/* Where nothing needs to outlive the server. */
static const char *const scratch_settings[] = {
    "fsync=off",      "full_page_writes=off", "synchronous_commit=off",
    "autovacuum=off", "wal_level=minimal",    "max_wal_senders=0"};

static _Noreturn void
run_server(const struct lm_server *self, const char *bin, pid_t parent)
{
    enum { PLAIN = 11 };
    char *sockets = lm_format("unix_socket_directories=%s", self->sockets);
    /* clang-format off */
    const char *args[PLAIN + 2 * LM_COUNT(scratch_settings) + 1] = {
        "postgres", "-D", self->data, "-p", "5432",
        "-c", sockets,
        "-c", "listen_addresses=",
        "-c", "logging_collector=off", NULL};
    /* clang-format on */

    for (size_t i = 0; self->scratch && i < LM_COUNT(scratch_settings); i++) {
        args[PLAIN + 2 * i] = "-c";
        args[PLAIN + 2 * i + 1] = scratch_settings[i];
    }

    enter_child(self, parent, SIGINT);
    execute(bin, args);
}

pid_t
lm_server_spawn_psql(const struct lm_server *self, const char *bin,
                     const char *file, const char *output)
{
    char *path = lm_format("%s/psql", bin);
    const char *args[] = {"psql", "-X", "-q", "-v",           "ON_ERROR_STOP=1",
                          "-f",   file, "-d", self->conninfo, NULL};
    pid_t child = fork();

    if (child == 0) {
        lm_server_reset_signals();
        redirect("/dev/null", O_RDONLY, STDIN_FILENO);
        redirect(output, O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
        dup2(STDOUT_FILENO, STDERR_FILENO);
        execv(path, (char *const *)args);
        execvp("psql", (char *const *)args);
        dprintf(STDERR_FILENO, "could not execute psql: %s\n", strerror(errno));
        _exit(1);
    }
    free(path);
    return child;
}

static const struct lm_server *watched;

/* The watcher does nothing but wait, so that its handler may do anything. */
static void
on_server_gone(int number)
{
    (void)number;
    if (waitpid(-1, NULL, WNOHANG) <= 0)
        return;
    if (watched->scratch)
        lm_server_remove(watched);
    _exit(0);
}

/* Makes the child independent of luamig's session, streams and descriptors. */
static void
enter_watcher(const struct lm_server *self, int users_fd)
{
    setsid();
    lm_server_reset_signals();
    prctl(PR_SET_NAME, "luamig-db");
    for (int fd = 0; fd < WATCHER_FD; fd++) {
        if (users_fd != fd)
            redirect("/dev/null", O_RDWR, fd);
    }
    dup2(users_fd, WATCHER_FD);
    close_range(WATCHER_FD + 1, ~0U, 0);
    fcntl(WATCHER_FD, F_SETFD, FD_CLOEXEC);
    if (chdir(self->home) != 0)
        _exit(1);
}

/* Forks the server; its end is the watcher's. */
static pid_t
start_server(const struct lm_server *self, const char *bin)
{
    struct sigaction action = {.sa_handler = on_server_gone,
                               .sa_flags = SA_NOCLDSTOP};
    pid_t me = getpid();
    sigset_t child;
    pid_t server;

    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    sigaction(SIGCHLD, &action, NULL);
    server = fork();
    if (server < 0)
        _exit(1);
    if (server == 0)
        run_server(self, bin, me);
    sigprocmask(SIG_UNBLOCK, &child, NULL);
    return server;
}

void
lm_server_run_watcher(const struct lm_server *self, const char *bin,
                      int users_fd)
{
    pid_t server;

    watched = self;
    enter_watcher(self, users_fd);
    server = start_server(self, bin);
    while (flock(WATCHER_FD, LOCK_EX) != 0 && errno == EINTR)
        continue;
    if (access("stays", F_OK) == 0) {
        flock(WATCHER_FD, LOCK_UN);
    } else {
        /* "Fast": clients are sent home, a checkpoint is written. The lock
         * keeps others waiting until that is done. */
        kill(server, self->scratch ? SIGQUIT : SIGINT);
        sleep(STOP_WAIT_S);
        kill(server, SIGQUIT);
    }
    for (;;)
        pause();
}
