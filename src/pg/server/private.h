/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_SERVER_PRIVATE_H
#define LM_PG_SERVER_PRIVATE_H

/*
 * What the parts of the embedded PostgreSQL share; for server*.c only.
 *
 *     server.c          the life of a server, and the interface
 *     server/home.c     the folders, the user, the files
 *     server/process.c  the programs and the child processes
 */

#include "base/err.h"

#include <stdint.h>
#include <sys/types.h>

/* Who the server runs as. */
struct lm_server_user {
    uid_t uid;
    gid_t gid;
    char name[64]; /* "" when the password database does not know the uid */
};

struct lm_server {
    char *project; /* resolved */
    char *home;    /* resolved */
    char *data;    /* home/data */
    char *sockets; /* folder of the socket */
    char *conninfo;
    struct lm_server_user user;
    int lock_fd;   /* .luamig/lock, exclusive; -1 when not held */
    int users_fd;  /* home/users, shared; -1 when not held */
    pid_t watcher; /* our child, or 0 */
    bool scratch;  /* gone with us, folder and all */
};

/* --- server/home.c --- */

/* Sets "could not <verb> "<path>": <errno>"; always false. */
bool lm_server_fail_path(struct lm_err *err, const char *verb,
                         const char *path);
bool lm_server_file_exists(const char *dir, const char *name, int mode);
/* Reads a file from offset on, or its end when that is longer than size - 1
 * bytes. Returns the length; 0 also when the file cannot be read. */
size_t lm_server_read_tail(const char *path, off_t offset, char *out,
                           size_t size);

/* One short step of waiting for `what`. False, with an error, if the user
 * asked to stop or the deadline has passed. */
bool lm_server_wait_step(int64_t deadline, const char *what,
                         struct lm_err *err) LM_MUSTCHECK;
/* Takes a flock, waiting while others hold it. */
bool lm_server_lock_file(int fd, int operation, const char *what,
                         struct lm_err *err) LM_MUSTCHECK;

/* Makes a child process the server's user. */
bool lm_server_become(const struct lm_server_user *user) LM_MUSTCHECK;

/* Takes .luamig/lock, and finds or makes the home. */
bool lm_server_lock_home(struct lm_server *self,
                         struct lm_err *err) LM_MUSTCHECK;
/* Fills in everything that follows from the home; link is .luamig/pg. */
bool lm_server_open_home(struct lm_server *self, const char *link,
                         struct lm_err *err) LM_MUSTCHECK;
/* Makes the socket's folder when it is not the home. */
bool lm_server_make_socket_dir(const struct lm_server *self,
                               struct lm_err *err) LM_MUSTCHECK;
/* Removes the folders of a server that was started from scratch. */
void lm_server_remove(const struct lm_server *self);
void lm_server_remove_tree(const char *path);
/* Opens home/users; -1 on failure. */
int lm_server_open_users(const struct lm_server *self, struct lm_err *err);

/* --- server/process.c --- */

/* The folder of postgres, initdb and psql, freed by the caller. wanted is the
 * cluster's major version, 0 for any. */
bool lm_server_find_programs(int wanted, char **dir,
                             struct lm_err *err) LM_MUSTCHECK;

/* Starts psql in database "postgres" on a file of SQL, which ends at the first
 * error; what it says goes to the file output. Returns the child, or -1. */
pid_t lm_server_spawn_psql(const struct lm_server *self, const char *bin,
                           const char *file, const char *output);

/* Signals as a program expects to find them. */
void lm_server_reset_signals(void);

/* For a child that has just been forked by parent: becomes initdb, which
 * fills home/data.new and holds .luamig/lock meanwhile. */
_Noreturn void lm_server_run_initdb(const struct lm_server *self,
                                    const char *bin, pid_t parent);

/*
 * For a child that has just been forked: becomes the watcher. Starts the
 * server as its own child, sleeps until no luamig uses it any more, and shuts
 * it down. Ends with the server. users_fd is home/users, opened for the
 * watcher only.
 */
_Noreturn void lm_server_run_watcher(const struct lm_server *self,
                                     const char *bin, int users_fd);

#endif
