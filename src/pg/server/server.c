/* SPDX-License-Identifier: MIT */
/*
 * The life of the embedded PostgreSQL: found, started, waited for, stopped.
 *
 * Owns the child processes of this luamig: initdb, and the watcher with the
 * server below it. Invariants:
 *
 *   - Only the holder of .luamig/lock makes a home, a cluster or a server.
 *   - "data" is always complete: initdb fills "data.new", which is renamed.
 *   - Whoever holds "users" shared may rely on the server's not being stopped
 *     by a watcher; whoever holds it exclusively may stop the server.
 *
 * It never listens on the network, and deletes no cluster but that of a server
 * that was started from scratch.
 */

#include "pg/server/server.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/log.h"
#include "pg/server/private.h"

#include <errno.h>
#include <fcntl.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    START_WAIT_MS = 60000,  /* recovery after a crash included */
    STOP_WAIT_MS = 60000,   /* the last checkpoint included */
    ORPHAN_WAIT_MS = 60000, /* backends that outlive a killed postmaster */
    REAP_WAIT_MS = 5000,    /* for processes that are about to end */
    SLOW_START_MS = 3000,   /* after this, say what is waited for */
    SHORT_US = 2000,        /* between two looks at a process that ends */
    LOG_LIMIT = 8 << 20     /* bytes, then the log is put aside */
};

enum server_state {
    SERVER_GONE, /* no such process */
    SERVER_BUSY, /* starting, stopping, or silent */
    SERVER_READY
};

static bool
stays(const struct lm_server *self)
{
    return lm_server_file_exists(self->home, "stays", F_OK);
}

static bool
set_stays(const struct lm_server *self, bool wanted, struct lm_err *err)
{
    char *path = lm_format("%s/stays", self->home);
    bool ok;
    int fd;

    if (wanted) {
        fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        ok = fd >= 0 || lm_server_fail_path(err, "create", path);
        if (fd >= 0)
            close(fd);
    } else {
        ok = unlink(path) == 0 || errno == ENOENT ||
             lm_server_fail_path(err, "remove", path);
    }
    free(path);
    return ok;
}

/* The process in postmaster.pid and the status that it wrote there (line 8,
 * as pg_ctl reads it). 0 when there is no such file. */
static pid_t
read_pid_file(const struct lm_server *self, char *status, size_t size)
{
    char *path = lm_format("%s/postmaster.pid", self->data);
    char content[4096];
    const char *line = content;
    long pid = 0;

    status[0] = '\0';
    if (lm_server_read_tail(path, 0, content, sizeof content) > 0)
        pid = strtol(content, NULL, 10);
    free(path);
    for (int i = 1; i < 8 && line != NULL; i++) {
        line = strchr(line, '\n');
        if (line != NULL)
            line++;
    }
    if (line != NULL)
        snprintf(status, size, "%s", line);
    return pid > 0 && pid <= INT32_MAX ? (pid_t)pid : 0;
}

/* A postmaster works in its data folder; another process that has come to
 * carry the same number does not. */
static bool
is_postmaster(const struct lm_server *self, pid_t pid)
{
    char cwd[64];
    struct stat a;
    struct stat b;

    if (pid == 0)
        return false;
    snprintf(cwd, sizeof cwd, "/proc/%d/cwd", (int)pid);
    return stat(cwd, &a) == 0 && stat(self->data, &b) == 0 &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static pid_t
find_postmaster(const struct lm_server *self)
{
    char status[16];
    pid_t pid = read_pid_file(self, status, sizeof status);

    return is_postmaster(self, pid) ? pid : 0;
}

static bool
answers(const struct lm_server *self)
{
    char *probe = lm_format("%s&connect_timeout=5", self->conninfo);
    bool ok = PQping(probe) == PQPING_OK;

    free(probe);
    return ok;
}

static enum server_state
server_state(const struct lm_server *self)
{
    char status[16];
    pid_t pid = read_pid_file(self, status, sizeof status);

    if (!is_postmaster(self, pid))
        return SERVER_GONE;
    if (strncmp(status, "ready", 5) == 0 && answers(self))
        return SERVER_READY;
    return SERVER_BUSY;
}

/* Waits until the server is either gone or ready. */
static bool
settle(const struct lm_server *self, enum server_state *state,
       struct lm_err *err)
{
    int64_t deadline = lm_clock_ms() + START_WAIT_MS;

    while ((*state = server_state(self)) == SERVER_BUSY) {
        if (lm_server_wait_step(deadline, "the embedded database", err))
            continue;
        lm_err_detail(err, "Its process %d is there but does not answer.",
                      (int)find_postmaster(self));
        return lm_err_hint(err, "See %s/log.", self->home);
    }
    return true;
}

/* The major version of the cluster, 0 when there is none. */
static int
cluster_version(const struct lm_server *self)
{
    char *path = lm_format("%s/PG_VERSION", self->data);
    char content[32];
    long version = 0;

    if (lm_server_read_tail(path, 0, content, sizeof content) > 0)
        version = strtol(content, NULL, 10);
    free(path);
    return version > 0 && version < 1000 ? (int)version : 0;
}

/* Where the log ends; a long one is put aside first. */
static off_t
begin_log(const struct lm_server *self)
{
    char *path = lm_format("%s/log", self->home);
    char *old = lm_format("%s.old", path);
    struct stat st;

    if (lstat(path, &st) != 0 ||
        (st.st_size > LOG_LIMIT && rename(path, old) == 0))
        st.st_size = 0;
    free(path);
    free(old);
    return st.st_size;
}

/* The end of a file since offset becomes the error's detail, if there is any. */
static void
show_tail(const char *path, off_t offset, struct lm_err *err)
{
    char tail[900];
    size_t len = lm_server_read_tail(path, offset, tail, sizeof tail);

    while (len > 0 && tail[len - 1] == '\n')
        tail[--len] = '\0';
    if (len > 0)
        lm_err_detail(err, "%s", tail);
}

/* An error with what the programs wrote to the log since offset. */
static bool
fail_with_log(const struct lm_server *self, off_t offset, const char *message,
              struct lm_err *err)
{
    char *path = lm_format("%s/log", self->home);

    lm_err_set(err, LM_ERR_CONNECT, "%s", message);
    show_tail(path, offset, err);
    lm_err_hint(err, "See %s.", path);
    free(path);
    return false;
}

static void
sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

/* Makes the cluster under its final name in one step. */
static bool
make_cluster(const struct lm_server *self, const char *bin, struct lm_err *err)
{
    char *fresh = lm_format("%s.new", self->data);
    off_t offset = begin_log(self);
    pid_t me = getpid();
    pid_t child = fork();
    int status = -1;
    bool ok;

    if (child == 0)
        lm_server_run_initdb(self, bin, me);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    LM_FAULT("after_initdb");
    ok = status == 0 && rename(fresh, self->data) == 0;
    free(fresh);
    if (!ok) {
        return fail_with_log(self, offset,
                             "could not create the embedded database", err);
    }
    sync_dir(self->home);
    lm_log(LM_LOG_INFO, "created the embedded database (PostgreSQL %d) in %s",
           cluster_version(self), self->home);
    return true;
}

/* Has the watcher, our child, ended, or does it within the time? */
static bool
reap_watcher(struct lm_server *self, int64_t wait_ms)
{
    int64_t deadline = lm_clock_ms() + wait_ms;

    while (self->watcher > 0) {
        pid_t ended = waitpid(self->watcher, NULL, WNOHANG);

        if (ended == self->watcher || (ended < 0 && errno == ECHILD)) {
            self->watcher = 0;
        } else {
            if (lm_clock_ms() >= deadline)
                return false;
            usleep(SHORT_US);
        }
    }
    return true;
}

static bool
wait_ready(struct lm_server *self, off_t log_offset, struct lm_err *err)
{
    int64_t start = lm_clock_ms();
    bool logged = false;

    while (server_state(self) != SERVER_READY) {
        if (reap_watcher(self, 0)) {
            return fail_with_log(self, log_offset,
                                 "the embedded database did not start", err);
        }
        if (!lm_server_wait_step(start + START_WAIT_MS,
                                 "the embedded database to start", err)) {
            return lm_err_hint(err, "See %s/log.", self->home);
        }
        if (!logged && lm_clock_ms() - start > SLOW_START_MS) {
            lm_log(LM_LOG_INFO, "waiting for the embedded database, which may "
                                "be recovering from a crash");
            logged = true;
        }
    }
    return true;
}

/* Starts the watcher and waits until the server answers. When the server has
 * ended instead, self->watcher is 0. */
static bool
launch(struct lm_server *self, const char *bin, struct lm_err *err)
{
    off_t offset = begin_log(self);
    int fd = lm_server_open_users(self, err);

    if (fd < 0)
        return false;
    self->watcher = fork();
    if (self->watcher == 0)
        lm_server_run_watcher(self, bin, fd);
    close(fd);
    if (self->watcher < 0) {
        self->watcher = 0;
        return lm_err_set(err, LM_ERR_CONNECT, "could not fork: %s",
                          strerror(errno));
    }
    return wait_ready(self, offset, err);
}

/*
 * True when the server was not shut down in order. Removes a postmaster.pid
 * whose number another process has come to carry, as after a reboot:
 * PostgreSQL would take that process for its own and refuse to start.
 */
static bool
clear_crash(const struct lm_server *self)
{
    char *path = lm_format("%s/postmaster.pid", self->data);
    char status[16];
    bool crashed = access(path, F_OK) == 0;
    pid_t pid = read_pid_file(self, status, sizeof status);

    if (pid > 0 && kill(pid, 0) == 0)
        unlink(path);
    free(path);
    return crashed;
}

/* Backends of a killed server hold on to its memory for a moment, and
 * PostgreSQL refuses to start until they have ended. */
static bool
launch_patiently(struct lm_server *self, const char *bin, struct lm_err *err)
{
    bool crashed = clear_crash(self);
    int64_t deadline = lm_clock_ms() + (crashed ? ORPHAN_WAIT_MS : 0);
    struct lm_err failure;
    bool logged = false;

    while (!launch(self, bin, &failure)) {
        if (self->watcher != 0 || failure.kind == LM_ERR_INTERRUPT ||
            lm_clock_ms() >= deadline) {
            *err = failure;
            return false;
        }
        if (!logged &&
            lm_clock_ms() > deadline - ORPHAN_WAIT_MS + SLOW_START_MS) {
            lm_log(LM_LOG_INFO, "waiting for processes of an embedded database "
                                "that was killed");
            logged = true;
        }
        usleep(100 * SHORT_US);
    }
    return true;
}

static bool
start(struct lm_server *self, struct lm_err *err)
{
    int version = cluster_version(self);
    char *bin = NULL;
    bool ok;

    ok = lm_server_find_programs(version, &bin, err) &&
         lm_server_make_socket_dir(self, err) &&
         (version != 0 || make_cluster(self, bin, err)) &&
         set_stays(self, false, err) && launch_patiently(self, bin, err);
    free(bin);
    return ok;
}

static bool
wait_gone(const struct lm_server *self, pid_t pid, int64_t wait_ms)
{
    int64_t deadline = lm_clock_ms() + wait_ms;

    while (is_postmaster(self, pid)) {
        if (lm_clock_ms() >= deadline)
            return false;
        usleep(SHORT_US);
    }
    return true;
}

/* A fast shutdown; after a minute, or when nothing is to be kept, an immediate
 * one. */
static bool
shut_down(const struct lm_server *self)
{
    pid_t pid = find_postmaster(self);

    if (pid == 0)
        return true;
    kill(pid, self->scratch ? SIGQUIT : SIGINT);
    if (wait_gone(self, pid, STOP_WAIT_MS))
        return true;
    kill(pid, SIGQUIT);
    return wait_gone(self, pid, REAP_WAIT_MS);
}

/* Ends this process's use of the server. If no other process uses it, waits
 * until it has shut down. The watcher would do so too, but a little later, and
 * a caller that then removes the project would meet a live server. */
static void
leave(struct lm_server *self)
{
    int64_t deadline = lm_clock_ms() + STOP_WAIT_MS;
    struct lm_err ignored;
    bool last = false;
    int fd;

    /* Not LOCK_UN: a forked process may share the lock and still need it. */
    close(self->users_fd);
    self->users_fd = -1;
    fd = stays(self) ? -1 : lm_server_open_users(self, &ignored);
    while (fd >= 0 && lm_clock_ms() < deadline) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
            last = shut_down(self);
            break;
        }
        if (flock(fd, LOCK_SH | LOCK_NB) == 0)
            break;   /* others use it */
        last = true; /* the watcher is at it */
        usleep(SHORT_US);
    }
    if (fd >= 0)
        close(fd);
    if (last)
        reap_watcher(self, REAP_WAIT_MS);
}

static struct lm_server *
server_new(const char *project_dir, struct lm_err *err)
{
    struct lm_server *self = lm_calloc(1, sizeof *self);

    self->lock_fd = -1;
    self->users_fd = -1;
    self->project = realpath(project_dir, NULL);
    if (self->project != NULL)
        return self;
    lm_server_fail_path(err, "enter", project_dir);
    free(self);
    return NULL;
}

/* Registers as a user, after a shutdown that may be under way, and sees
 * whether the server runs. */
static bool
attach(struct lm_server *self, enum server_state *state, struct lm_err *err)
{
    self->users_fd = lm_server_open_users(self, err);
    return self->users_fd >= 0 &&
           lm_server_lock_file(self->users_fd, LOCK_SH,
                               "the embedded database to shut down", err) &&
           settle(self, state, err);
}

static void
unlock(struct lm_server *self)
{
    if (self->lock_fd >= 0)
        close(self->lock_fd);
    self->lock_fd = -1;
}

bool
lm_server_start(struct lm_server **out, const char *project_dir,
                enum lm_server_life life, struct lm_err *err)
{
    struct lm_server *self = server_new(project_dir, err);
    enum server_state state;
    bool ok = false;

    *out = NULL;
    if (self == NULL)
        return false;
    if (!lm_server_lock_home(self, err) || !attach(self, &state, err))
        goto out;
    if (state == SERVER_GONE && !start(self, err))
        goto out;
    if (life == LM_SERVER_STAYS && !set_stays(self, true, err))
        goto out;
    unlock(self);
    *out = self;
    self = NULL;
    ok = true;
out:
    lm_server_free(self);
    return ok;
}

/* A folder that the server's user may pass through. */
static char *
make_scratch_dir(struct lm_err *err)
{
    const char *tmp = getenv("TMPDIR");
    char *dir = lm_format("%s/luamig-test-XXXXXX",
                          tmp != NULL && *tmp == '/' ? tmp : "/tmp");

    if (mkdtemp(dir) != NULL && chmod(dir, 0711) == 0)
        return dir;
    lm_server_fail_path(err, "create", dir);
    free(dir);
    return NULL;
}

bool
lm_server_start_scratch(struct lm_server **out, struct lm_err *err)
{
    char *dir = make_scratch_dir(err);
    struct lm_server *self = dir != NULL ? server_new(dir, err) : NULL;
    enum server_state state;

    *out = NULL;
    free(dir);
    if (self == NULL)
        return false;
    self->scratch = true;
    if (lm_server_lock_home(self, err) && attach(self, &state, err) &&
        start(self, err)) {
        unlock(self);
        *out = self;
        return true;
    }
    if (self->watcher == 0)
        lm_server_remove(self);
    lm_server_free(self);
    return false;
}

/* Turns psql's output about the file into an error. */
static bool
fail_load(const char *file, const char *output, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_SCRIPT, "could not load \"%s\"", file);
    show_tail(output, 0, err);
    if (strstr(err->detail, "ERROR:  role ") != NULL) {
        lm_err_hint(err, "The throw-away server does not have your roles. Make "
                         "the file without owners and grants: pg_dump "
                         "--schema-only --no-owner --no-privileges.");
    } else if (strstr(err->detail, "unrecognized configuration parameter") !=
               NULL) {
        lm_err_hint(err,
                    "The file comes from a later version than the throw-away "
                    "server. Remove the lines with that SET, or name server "
                    "programs of that version in LUAMIG_PG_BIN.");
    }
    return false;
}

bool
lm_server_load(const struct lm_server *self, const char *file,
               struct lm_err *err)
{
    char *output = lm_format("%s/psql", self->project);
    char *bin = NULL;
    int status = -1;
    bool ok = lm_server_find_programs(cluster_version(self), &bin, err);

    if (ok) {
        pid_t child = lm_server_spawn_psql(self, bin, file, output);

        while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
            continue;
        ok = status == 0 || fail_load(file, output, err);
    }
    unlink(output);
    free(output);
    free(bin);
    return ok;
}

bool
lm_server_find(struct lm_server **out, const char *project_dir,
               struct lm_err *err)
{
    struct lm_server *self = server_new(project_dir, err);
    enum server_state state = SERVER_GONE;
    char *link = NULL;
    bool ok = false;

    *out = NULL;
    if (self == NULL)
        return false;
    link = lm_format("%s/.luamig/pg", self->project);
    if (access(link, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
        ok = true;
        goto out;
    }
    if (!lm_server_open_home(self, link, err) || !attach(self, &state, err))
        goto out;
    ok = true;
    if (state == SERVER_READY) {
        *out = self;
        self = NULL;
    }
out:
    free(link);
    lm_server_free(self);
    return ok;
}

const char *
lm_server_conninfo(const struct lm_server *self)
{
    return self->conninfo;
}

bool
lm_server_stop(struct lm_server *self, struct lm_err *err)
{
    if (!set_stays(self, false, err))
        return false;
    if (shut_down(self))
        return true;
    lm_err_set(err, LM_ERR_CONNECT,
               "the embedded database (process %d) does not shut down",
               (int)find_postmaster(self));
    return lm_err_hint(err, "See %s/log.", self->home);
}

bool
lm_server_exec_psql(const struct lm_server *self, char *const *args,
                    struct lm_err *err)
{
    struct lm_err ignored;
    const char **argv;
    char *path = NULL;
    char *bin = NULL;
    size_t count = 0;

    while (args[count] != NULL)
        count++;
    argv = lm_calloc(count + 4, sizeof *argv);
    argv[0] = "psql";
    argv[1] = "-d";
    argv[2] = self->conninfo;
    memcpy(argv + 3, args, count * sizeof *argv);
    lm_server_reset_signals();
    fcntl(self->users_fd, F_SETFD, 0);
    if (lm_server_find_programs(cluster_version(self), &bin, &ignored)) {
        path = lm_format("%s/psql", bin);
        execv(path, (char *const *)argv);
    }
    execvp("psql", (char *const *)argv);
    lm_err_set(err, LM_ERR_CONNECT, "could not execute psql: %s",
               strerror(errno));
    lm_err_hint(err, "Install it (Debian, Ubuntu: apt-get install "
                     "postgresql-client).");
    fcntl(self->users_fd, F_SETFD, FD_CLOEXEC);
    free(argv);
    free(path);
    free(bin);
    return false;
}

void
lm_server_free(struct lm_server *self)
{
    if (self == NULL)
        return;
    if (self->users_fd >= 0)
        leave(self);
    unlock(self);
    free(self->project);
    free(self->home);
    free(self->data);
    free(self->sockets);
    free(self->conninfo);
    free(self);
}
