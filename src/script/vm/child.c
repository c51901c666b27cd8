/* SPDX-License-Identifier: MIT */
/*
 * Child processes of scripts, by posix_spawn.
 *
 * system() and popen() hand on the signals that the thread blocks. Besides,
 * system() ignores SIGINT in the whole process while it waits; and flushing all
 * streams, as Lua does before popen(), waits for every other thread that reads
 * from one.
 */

#include "script/vm/child.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <lualib.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static const char shell[] = "/bin/sh";

/* What io.popen returns: a file of Lua, and the process behind it. */
struct pipe_file {
    luaL_Stream stream; /* the first member, as Lua's functions expect */
    pid_t child;
};

/* Starts a shell that runs the command. Its descriptor number (0 or 1) is the
 * end of a pipe; end -1: none. Returns an errno. */
static int
start(const char *command, int end, int number, pid_t *child)
{
    const char *argv[] = {"sh", "-c", command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int error;

    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    error =
        end >= 0 ? posix_spawn_file_actions_adddup2(&actions, end, number) : 0;
    if (error == 0) {
        error = posix_spawn(child, shell, &actions, &attributes,
                            (char *const *)argv, environ);
    }
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Pushes how the child ended, as Lua says it. */
static int
push_end(lua_State *L, pid_t child)
{
    int status;

    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return luaL_fileresult(L, 0, NULL);
    }
    errno = 0; /* else luaL_execresult reports it */
    return luaL_execresult(L, status);
}

static int
l_execute(lua_State *L)
{
    const char *command = luaL_optstring(L, 1, NULL);
    pid_t child;

    if (command == NULL) {
        lua_pushboolean(L, access(shell, X_OK) == 0);
        return 1;
    }
    errno = start(command, -1, -1, &child);
    return errno != 0 ? luaL_fileresult(L, 0, NULL) : push_end(L, child);
}

static int
close_pipe(lua_State *L)
{
    struct pipe_file *self = luaL_checkudata(L, 1, LUA_FILEHANDLE);

    fclose(self->stream.f);
    return push_end(L, self->child);
}

/* Fills self; returns an errno. */
static int
open_pipe(struct pipe_file *self, const char *command, const char *mode)
{
    int ours = *mode == 'r' ? 0 : 1;
    int ends[2];
    int error;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    self->stream.f = fdopen(ends[ours], mode);
    error = self->stream.f == NULL
                ? errno
                : start(command, ends[1 - ours], 1 - ours, &self->child);
    close(ends[1 - ours]);
    if (error != 0 && self->stream.f != NULL) {
        fclose(self->stream.f);
    } else if (error != 0) {
        close(ends[ours]);
    }
    return error;
}

static int
l_popen(lua_State *L)
{
    const char *command = luaL_checkstring(L, 1);
    const char *mode = luaL_optstring(L, 2, "r");
    struct pipe_file *self;

    luaL_argcheck(L, (*mode == 'r' || *mode == 'w') && mode[1] == '\0', 2,
                  "invalid mode");
    self = lua_newuserdatauv(L, sizeof *self, 0);
    self->stream.closef = NULL; /* closed, for Lua */
    luaL_setmetatable(L, LUA_FILEHANDLE);
    fflush(stdout);
    errno = open_pipe(self, command, mode);
    if (errno != 0)
        return luaL_fileresult(L, 0, command);
    self->stream.closef = close_pipe;
    return 1;
}

static void
replace(lua_State *L, const char *library, const char *name,
        lua_CFunction function)
{
    lua_getglobal(L, library);
    lua_pushcfunction(L, function);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

void
lmL_open_children(lua_State *L)
{
    replace(L, LUA_IOLIBNAME, "popen", l_popen);
    replace(L, LUA_OSLIBNAME, "execute", l_execute);
}
