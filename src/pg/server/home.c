/* SPDX-License-Identifier: MIT */
/*
 * The embedded PostgreSQL's files: its home, its socket's folder, its user,
 * and the files there that luamig itself reads and locks. server.h lists the
 * files and their meaning.
 *
 * Promises: a folder appears under its final name only when it is complete.
 * Root changes the owner only of files that it has just made, and follows no
 * symbolic links inside a home, which may belong to another user.
 */

#include "pg/server/private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    POLL_MS = 10,
    LOCK_WAIT_MS = 120000 /* another luamig runs initdb and starts */
};

bool
lm_server_fail_path(struct lm_err *err, const char *verb, const char *path)
{
    return lm_err_set(err, LM_ERR_CONNECT, "could not %s \"%s\": %s", verb,
                      path, strerror(errno));
}

bool
lm_server_file_exists(const char *dir, const char *name, int mode)
{
    char *path = lm_format("%s/%s", dir, name);
    bool found = access(path, mode) == 0;

    free(path);
    return found;
}

size_t
lm_server_read_tail(const char *path, off_t offset, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    ssize_t len = 0;

    if (fd >= 0 && fstat(fd, &st) == 0) {
        if (st.st_size - offset > (off_t)size - 1)
            offset = st.st_size - (off_t)size + 1;
        len = pread(fd, out, size - 1, offset);
    }
    if (fd >= 0)
        close(fd);
    out[len > 0 ? len : 0] = '\0';
    return len > 0 ? (size_t)len : 0;
}

bool
lm_server_wait_step(int64_t deadline, const char *what, struct lm_err *err)
{
    if (lm_stop_level() > 0) {
        return lm_err_set(err, LM_ERR_INTERRUPT,
                          "interrupted while waiting for %s", what);
    }
    if (lm_clock_ms() >= deadline)
        return lm_err_set(err, LM_ERR_CONNECT, "gave up waiting for %s", what);
    lm_stop_sleep_ms(POLL_MS);
    return true;
}

bool
lm_server_lock_file(int fd, int operation, const char *what, struct lm_err *err)
{
    int64_t deadline = lm_clock_ms() + LOCK_WAIT_MS;

    while (flock(fd, operation | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return lm_err_set(err, LM_ERR_CONNECT,
                              "could not lock a file of the embedded "
                              "database: %s",
                              strerror(errno));
        }
        if (!lm_server_wait_step(deadline, what, err))
            return false;
    }
    return true;
}

static void
set_user(struct lm_server_user *user, uid_t uid, gid_t gid)
{
    const struct passwd *entry = getpwuid(uid);

    user->uid = uid;
    user->gid = entry != NULL && geteuid() == 0 ? entry->pw_gid : gid;
    snprintf(user->name, sizeof user->name, "%s",
             entry != NULL ? entry->pw_name : "");
}

static bool
set_default_user(struct lm_server_user *user, struct lm_err *err)
{
    const struct passwd *entry;

    if (geteuid() != 0) {
        set_user(user, geteuid(), getegid());
        return true;
    }
    entry = getpwnam("postgres");
    if (entry == NULL)
        entry = getpwnam("nobody");
    if (entry == NULL) {
        return lm_err_set(err, LM_ERR_CONNECT,
                          "PostgreSQL refuses to run as root, and there is "
                          "neither a user \"postgres\" nor \"nobody\"");
    }
    set_user(user, entry->pw_uid, entry->pw_gid);
    return true;
}

/* PostgreSQL looks up its own user, and refuses a uid without an entry. In a
 * user namespace without a mapping, every uid reads as that of "nobody", which
 * has an entry. */
bool
lm_server_become(const struct lm_server_user *user)
{
    bool known = user->name[0] != '\0';

    if (geteuid() == 0) {
        int groups =
            known ? initgroups(user->name, user->gid) : setgroups(0, NULL);

        if (groups != 0 || setgid(user->gid) != 0 || setuid(user->uid) != 0)
            return false;
    }
    return known || unshare(CLONE_NEWUSER) == 0;
}

static bool
fail_user(const struct lm_server_user *user, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_CONNECT,
               "could not run PostgreSQL as the user with uid %u",
               (unsigned)user->uid);
    if (user->name[0] == '\0') {
        lm_err_detail(err, "That uid has no entry in the password database, "
                           "and user namespaces are not allowed here.");
    }
    return lm_err_hint(err, "Name a database with --db URL.");
}

/* Sets *may: may the server's user pass through dir? The kernel is asked, by
 * a child that becomes that user. */
static bool
ask_may_enter(const struct lm_server_user *user, const char *dir, bool *may,
              struct lm_err *err)
{
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        if (!lm_server_become(user))
            _exit(2);
        _exit(access(dir, X_OK) == 0 ? 0 : 1);
    }
    if (child < 0) {
        return lm_err_set(err, LM_ERR_CONNECT, "could not fork: %s",
                          strerror(errno));
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    *may = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
        return fail_user(user, err);
    return true;
}

static bool
make_private_dir(const struct lm_server_user *user, const char *path,
                 struct lm_err *err)
{
    char *fresh = lm_format("%s.new", path);
    bool ok;

    rmdir(fresh);
    ok = mkdir(fresh, 0700) == 0 &&
         (geteuid() != 0 || lchown(fresh, user->uid, user->gid) == 0) &&
         rename(fresh, path) == 0;
    if (!ok)
        lm_server_fail_path(err, "create", path);
    free(fresh);
    return ok;
}

/* FNV-1a: it names folders and protects nothing. */
static uint64_t
hash_of(const char *string)
{
    uint64_t h = 0xcbf29ce484222325u;

    for (const char *c = string; *c != '\0'; c++)
        h = (h ^ (unsigned char)*c) * 0x100000001b3u;
    return h;
}

/* A home outside the project, for a project that the user may not enter. */
static bool
make_far_home(struct lm_server *self, const char *link, struct lm_err *err)
{
    static const char root[] = "/var/lib/luamig";
    uint64_t name = hash_of(self->project);
    char *path = lm_format("%s/%016" PRIx64, root, name);
    bool ok = true;

    if (mkdir(root, 0711) == 0)
        chmod(root, 0711);
    if (access(path, F_OK) != 0)
        ok = make_private_dir(&self->user, path, err);
    if (ok && symlink(path, link) != 0)
        ok = lm_server_fail_path(err, "create", link);
    if (ok) {
        lm_log(LM_LOG_INFO,
               "the embedded database is kept in %s, because its user \"%s\" "
               "may not enter %s",
               path, self->user.name, self->project);
    }
    free(path);
    return ok;
}

static bool
make_home(struct lm_server *self, const char *dir, const char *link,
          struct lm_err *err)
{
    bool may = false;

    if (!set_default_user(&self->user, err) ||
        !ask_may_enter(&self->user, dir, &may, err))
        return false;
    unlink(link); /* a link whose target is gone; a folder stays */
    if (may || geteuid() != 0)
        return make_private_dir(&self->user, link, err);
    return make_far_home(self, link, err);
}

/* Uses the existing home, and its owner as the server's user. */
static bool
adopt_home(struct lm_server *self, struct lm_err *err)
{
    struct stat st;
    bool may = false;

    if (stat(self->home, &st) != 0)
        return lm_server_fail_path(err, "read", self->home);
    set_user(&self->user, st.st_uid, st.st_gid);
    if (st.st_uid == 0 || (geteuid() != 0 && st.st_uid != geteuid())) {
        lm_err_set(err, LM_ERR_CONNECT,
                   "the embedded database in \"%s\" belongs to user \"%s\"",
                   self->home, self->user.name);
        lm_err_hint(err, "Run luamig as that user (as root, if you used sudo), "
                         "or move the folder away.");
        return false;
    }
    if (!ask_may_enter(&self->user, self->home, &may, err))
        return false;
    if (may)
        return true;
    lm_err_set(err, LM_ERR_CONNECT, "user \"%s\" may not enter \"%s\"",
               self->user.name, self->home);
    lm_err_hint(err, "The embedded database runs as that user. Give that user "
                     "access to the folders above, or move the project back.");
    return false;
}

/* Can the path stand in a list of socket folders, the server's and libpq's,
 * and does it leave room for the socket's name? */
static bool
fits_socket(const char *dir)
{
    return strlen(dir) + sizeof "/.s.PGSQL.5432" <= 107 &&
           strpbrk(dir, ",\"' \t\r\n\\") == NULL;
}

bool
lm_server_make_socket_dir(const struct lm_server *self, struct lm_err *err)
{
    const char *dir = self->sockets;
    struct stat st;

    if (strcmp(dir, self->home) == 0)
        return true;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return lm_server_fail_path(err, "create", dir);
    /* Everybody may write to /tmp, so a file there may be a trap. */
    if (lstat(dir, &st) != 0)
        return lm_server_fail_path(err, "read", dir);
    if (!S_ISDIR(st.st_mode) || (st.st_mode & 077) != 0 ||
        (st.st_uid != self->user.uid && st.st_uid != geteuid())) {
        return lm_err_set(err, LM_ERR_CONNECT,
                          "\"%s\" is not a private folder of the embedded "
                          "database's user",
                          dir);
    }
    if (geteuid() == 0 && lchown(dir, self->user.uid, self->user.gid) != 0)
        return lm_server_fail_path(err, "change the owner of", dir);
    return true;
}

static void
set_conninfo(struct lm_server *self)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
    struct lm_buf uri = LM_BUF_INIT;

    lm_buf_puts(&uri, "postgresql:///postgres?host=");
    for (const char *c = self->sockets; *c != '\0'; c++) {
        if (strchr(plain, *c) != NULL) {
            lm_buf_putc(&uri, *c);
        } else {
            lm_buf_printf(&uri, "%%%02X", (unsigned char)*c);
        }
    }
    lm_buf_puts(&uri, "&port=5432&user=postgres");
    self->conninfo = lm_buf_take(&uri);
}

bool
lm_server_open_home(struct lm_server *self, const char *link,
                    struct lm_err *err)
{
    self->home = realpath(link, NULL);
    if (self->home == NULL)
        return lm_server_fail_path(err, "read", link);
    if (!adopt_home(self, err))
        return false;
    self->data = lm_format("%s/data", self->home);
    if (fits_socket(self->home)) {
        self->sockets = lm_strdup(self->home);
    } else {
        self->sockets =
            lm_format("/tmp/luamig-%u-%016" PRIx64, (unsigned)self->user.uid,
                      hash_of(self->home));
    }
    set_conninfo(self);
    return true;
}

/* Makes .luamig, which keeps itself out of version control. */
static bool
make_dot_dir(const char *dir, struct lm_err *err)
{
    char *path;
    int fd;

    if (mkdir(dir, 0755) != 0)
        return errno == EEXIST || lm_server_fail_path(err, "create", dir);
    chmod(dir, 0755); /* whatever the umask: the server's user passes here */
    path = lm_format("%s/.gitignore", dir);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, "*\n", 2) != 2)
        lm_log(LM_LOG_DEBUG, "could not write %s", path);
    if (fd >= 0)
        close(fd);
    free(path);
    return true;
}

bool
lm_server_lock_home(struct lm_server *self, struct lm_err *err)
{
    char *dir = lm_format("%s/.luamig", self->project);
    char *lock = lm_format("%s/lock", dir);
    char *link = lm_format("%s/pg", dir);
    bool ok = false;

    if (!make_dot_dir(dir, err))
        goto out;
    self->lock_fd = open(lock, O_RDONLY | O_CREAT | O_CLOEXEC, 0644);
    if (self->lock_fd < 0) {
        lm_server_fail_path(err, "open", lock);
        goto out;
    }
    if (!lm_server_lock_file(self->lock_fd, LOCK_EX,
                             "another luamig that starts the embedded database",
                             err))
        goto out;
    if (access(link, F_OK) != 0 && !make_home(self, dir, link, err))
        goto out;
    ok = lm_server_open_home(self, link, err);
out:
    free(dir);
    free(lock);
    free(link);
    return ok;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

void
lm_server_remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void
lm_server_remove(const struct lm_server *self)
{
    if (self->home != NULL)
        lm_server_remove_tree(self->home);
    lm_server_remove_tree(self->project);
}

int
lm_server_open_users(const struct lm_server *self, struct lm_err *err)
{
    char *path = lm_format("%s/users", self->home);
    int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0) {
        lm_server_fail_path(err, "open", path);
    } else if (geteuid() == 0 &&
               fchown(fd, self->user.uid, self->user.gid) != 0) {
        lm_log(LM_LOG_DEBUG, "could not change the owner of %s", path);
    }
    free(path);
    return fd;
}
