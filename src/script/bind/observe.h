/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_BIND_OBSERVE_H
#define LM_SCRIPT_BIND_OBSERVE_H

/* Observes all calls that a script makes to its repo and to run.log, for tests
 * of scripts. An observed call is complete when it returns: its statement has
 * been answered, and its error is raised there. */

#include "core/repo/repo.h"

#include <lua.h>

/* A call, with the script's Lua state. Before the call, first ... first +
 * count - 1 are the arguments; after it, the results; after a failure, one
 * error object. */
struct lm_seen {
    lua_State *L;
    struct lm_repo *repo;
    bool source;      /* the repo is that of run.source */
    const char *verb; /* "update" */
    const char *file; /* of the line that calls; "" when it is not known */
    int line;
    char where[512]; /* file:line as messages have it */
    int first;
    int count;
    bool ok;
};

struct lm_observer {
    void *arg;
    /* False fails the call; the observer must have made the repo fail. */
    bool (*before)(void *arg, const struct lm_seen *seen, struct lm_err *err);
    bool (*after)(void *arg, const struct lm_seen *seen, struct lm_err *err);
    /* "log", of run.log, or "warning": L's stack is the arguments, which were
     * accepted. */
    void (*said)(void *arg, const char *verb, lua_State *L);
};

/* Observes every method of the state's repos, and of run.source. [-0, +0,
 * memory] */
void lmL_observe_repo(lua_State *L, const struct lm_observer *observer);
/* Observes the function at the top of the stack, which logs: run.log, or a
 * function that warns. [-1, +1, memory] */
void lmL_observe_words(lua_State *L, const struct lm_observer *observer,
                       const char *verb);

#endif
