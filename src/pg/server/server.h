/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_SERVER_SERVER_H
#define LM_PG_SERVER_SERVER_H

/*
 * The embedded PostgreSQL: a private server below <project>/.luamig, reached
 * through a Unix socket only. Its data is durable.
 *
 *     .luamig/lock        held while a server is looked for or started
 *     .luamig/pg/         the server's home, 0700, owned by its user
 *         data/           the cluster
 *         log, log.old    what initdb and the server wrote
 *         users           every luamig that uses the server holds a shared
 *                         lock; when the last one is gone, so is the server
 *         stays           exists while the server shall outlive its users
 *         .s.PGSQL.5432   the socket
 *
 * The server runs as the user of this process. As root it runs as the owner of
 * an existing home, else as "postgres", else as "nobody". When that user may
 * not enter the project (below /root, say), the home is made in
 * /var/lib/luamig/<hash of the project's path>, .luamig/pg is a symbolic link
 * to it, and luamig says so when it makes it; removing .luamig leaves such a
 * home where it is, to be found again. When the home's path is unfit
 * for a socket (too long, or with characters that separate names), the socket
 * is in /tmp/luamig-<uid>-<hash of the home's path>, 0700.
 *
 * A small watcher process, forked from the luamig that starts the server, is
 * the server's parent. It waits for the lock on "users" and then shuts the
 * server down, also when luamig was killed. Both are in a session of their
 * own, so Ctrl-C reaches neither.
 *
 * The programs come from $LUAMIG_PG_BIN, else from the highest version in
 * /usr/lib/postgresql/N/bin, else from PATH; an existing cluster is only
 * started by programs of its own major version.
 *
 * Errors are LM_ERR_CONNECT unless it says so, or LM_ERR_INTERRUPT after a
 * signal.
 */

#include "base/err.h"

struct lm_server;

enum lm_server_life {
    LM_SERVER_WITH_PARENT, /* gone with the last luamig that uses it */
    LM_SERVER_STAYS        /* until lm_server_stop */
};

/*
 * Makes the cluster if there is none, starts the server if it does not run,
 * and waits until it answers (60 s at most: it may recover from a crash).
 * Several processes may call this at once; one starts, the others attach. A
 * server that is shutting down is waited for and then started.
 * LM_SERVER_STAYS also makes a server that already runs stay. *out is freed
 * with lm_server_free.
 */
bool lm_server_start(struct lm_server **out, const char *project_dir,
                     enum lm_server_life life, struct lm_err *err) LM_MUSTCHECK;

/*
 * A server for this process alone, for tests: in a folder of its own in TMPDIR
 * (or /tmp), not durable, and gone with the process, folder and all, however
 * the process ends.
 */
bool lm_server_start_scratch(struct lm_server **out,
                             struct lm_err *err) LM_MUSTCHECK;

/* Runs a file of SQL with psql, in database "postgres". LM_ERR_SCRIPT shows
 * what psql said. */
bool lm_server_load(const struct lm_server *self, const char *file,
                    struct lm_err *err) LM_MUSTCHECK;

/* Attaches to a server that runs; *out is NULL when there is none. Creates
 * nothing. */
bool lm_server_find(struct lm_server **out, const char *project_dir,
                    struct lm_err *err) LM_MUSTCHECK;

/* A URI for libpq and psql, as user and in database "postgres". Owned by
 * self. */
const char *lm_server_conninfo(const struct lm_server *self);

/* Shuts the server down, whoever uses it, and waits until it is gone. */
bool lm_server_stop(struct lm_server *self, struct lm_err *err) LM_MUSTCHECK;

/* Replaces this process by psql, connected to the server and keeping it alive.
 * args follows psql's own name and ends with NULL. Returns on failure only. */
bool lm_server_exec_psql(const struct lm_server *self, char *const *args,
                         struct lm_err *err) LM_MUSTCHECK;

/* Ends the use of the server. When it was the last and the server does not
 * stay, waits until it has shut down. NULL is allowed. */
void lm_server_free(struct lm_server *self);

#endif
