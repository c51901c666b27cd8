/* SPDX-License-Identifier: MIT */
/*
 * Runs of scripts for tests, see the header.
 *
 * There are two Lua states: the spec's, which has called run and waits, and
 * the script's. Events in the script's state are sent to the spec's state as
 * copies. Calls into the spec's state are protected, and an error there ends
 * the run.
 */

#include "testing/world.h"

#include "base/text.h"
#include "core/dry/dry.h"
#include "core/health/health.h"
#include "core/input/file.h"
#include "core/page/page.h"
#include "core/run/run.h"
#include "script/bind/bind.h"
#include "script/bind/observe.h"
#include "script/database.h"
#include "script/script.h"
#include "script/value/fields.h"
#include "script/value/value.h"
#include "script/vm/vm.h"
#include "testing/copy.h"
#include "testing/session.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEASE_MS = 60000, SILENCE_MS = 30000 };

static const char journal_schema[] = "luamig";

/* One call of database:run. */
struct world_run {
    lua_State *L; /* the spec's, with watch at this index */
    int watch;
    struct lm_conn *admin; /* to the same database */
    struct lm_script *script;
    const struct lm_migration *real;
    struct lm_migration migration; /* the same for a test */
    struct lm_migration_ops ops;
    struct lm_health_limits limits;
    struct lm_run_info info; /* of the current callback */
    int64_t backend_pid;     /* of the run */
    int64_t looked;          /* rows of the page that is prepared */
    bool watch_failed;
    struct lm_err failure; /* then */
};

/* -- events ------------------------------------------------------------ */

/* What watch returned for a moment. */
struct verdict {
    bool kills;
    bool breaks;
    char sql[2048]; /* "": none */
};

/* Something to tell the spec, while the Lua stack of it is being built. */
struct event {
    struct world_run *run;
    const char *name;
    const char *callback;       /* begin */
    const struct lm_seen *seen; /* call, returned */
    lua_State *said;            /* log, warning: its stack is the arguments */
    const struct lm_page *page; /* rows */
    struct lm_repo *repo;       /* rows */
    bool ask_again;             /* throttled */
    int columns;      /* returned: stack index of the row's columns, or 0 */
    int64_t affected; /* likewise of a write: how many rows; -1: none */
    struct verdict verdict;
};

/* The values first ... first + count - 1 of another state, as a list with n. */
static void
set_values(lua_State *L, const char *name, lua_State *from, int first,
           int count)
{
    lua_createtable(L, count, 1);
    for (int i = 0; i < count; i++) {
        lmL_copy_value(L, from, first + i);
        lua_rawseti(L, -2, i + 1);
    }
    lmL_set_integer(L, "n", count);
    lua_setfield(L, -2, name);
}

static void
set_call(lua_State *L, const struct event *event)
{
    const struct lm_seen *seen = event->seen;
    bool returned = strcmp(event->name, "returned") == 0;

    lmL_set_text(L, "verb", seen->verb);
    lmL_set_text(L, "file", seen->file);
    lmL_set_integer(L, "line", seen->line);
    if (seen->source)
        lmL_set_bool(L, "source", true);
    set_values(L, returned ? "results" : "args", seen->L, seen->first,
               seen->count);
    if (!returned)
        return;
    lmL_set_bool(L, "ok", seen->ok);
    if (event->affected >= 0)
        lmL_set_integer(L, "affected", event->affected);
    if (event->columns > 0) {
        lmL_copy_value(L, seen->L, event->columns);
        lua_setfield(L, -2, "columns");
    }
}

/* The key of a row as the script reads it. */
static void
set_key(lua_State *L, const char *name, const struct event *event, int row)
{
    const struct lm_base_query *paged = lm_repo_paged(event->repo);
    const struct lm_result *result = event->page->result;
    struct lm_err err;

    lua_createtable(L, paged->key_count, 0);
    for (int i = 0; i < paged->key_count; i++) {
        int column = lm_page_key_index(paged, i);
        const struct lm_type *type;

        if (!lm_repo_type(event->repo, lm_result_column_type(result, column),
                          &type, &err) ||
            !lmL_push_value(L, type, lm_result_text(result, row, column),
                            lm_result_length(result, row, column), &err))
            lmL_raise(L, &err);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, name);
}

static void
push_event(lua_State *L, const struct event *event)
{
    lua_newtable(L);
    lmL_set_text(L, "event", event->name);
    lmL_set_integer(L, "batch", event->run->info.batch);
    lmL_set_integer(L, "worker", event->run->info.worker);
    lmL_set_integer(L, "attempt", event->run->info.attempt);
    if (event->callback != NULL)
        lmL_set_text(L, "callback", event->callback);
    if (event->seen != NULL)
        set_call(L, event);
    if (event->said != NULL)
        set_values(L, "args", event->said, 1, lua_gettop(event->said));
    if (event->page != NULL) {
        lmL_set_integer(L, "count", event->page->rows);
        set_key(L, "first", event, 0);
        set_key(L, "last", event, event->page->rows - 1);
    }
    lmL_set_bool(L, "ask_again", event->ask_again);
}

static void
read_verdict(lua_State *L, struct verdict *verdict)
{
    if (lua_type(L, -1) != LUA_TTABLE)
        return;
    verdict->kills = lmL_bool_field(L, -1, "kill");
    verdict->breaks = lmL_bool_field(L, -1, "breaks");
    lua_getfield(L, -1, "sql");
    if (lua_type(L, -1) == LUA_TSTRING)
        snprintf(verdict->sql, sizeof verdict->sql, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
}

/* watch(event): arguments are the event and watch. */
static int
deliver(lua_State *L)
{
    struct event *event = lua_touserdata(L, 1);
    bool has_repo =
        event->seen != NULL && lm_repo_failure(event->seen->repo) == NULL;

    if (has_repo)
        lmL_push_repo(L, event->seen->repo); /* at 3 */
    lua_pushvalue(L, 2);
    push_event(L, event);
    if (has_repo) {
        lua_pushvalue(L, 3);
        lua_setfield(L, -2, "repo");
    }
    lua_call(L, 1, 1);
    read_verdict(L, &event->verdict);
    return 0;
}

/* Sends the event to the spec, and puts its verdict into the event. */
static void
send_event(struct event *event)
{
    struct world_run *run = event->run;
    lua_State *L = run->L;

    memset(&event->verdict, 0, sizeof event->verdict);
    if (run->watch_failed || !lua_checkstack(L, 8)) {
        event->verdict.kills = true;
        return;
    }
    lua_pushcfunction(L, deliver);
    lua_pushlightuserdata(L, event);
    lua_pushvalue(L, run->watch);
    if (lm_vm_call(L, 2, 0, &run->failure))
        return;
    run->watch_failed = event->verdict.kills = true;
}

/* -- verdicts ---------------------------------------------------------- */

static bool
fail_killed(struct lm_err *err)
{
    return lm_err_set(err, LM_ERR_KILLED, "killed");
}

/* -- the script's calls ------------------------------------------------- */

static bool
spoil_call(const struct event *event, struct lm_err *err)
{
    const struct verdict *verdict = &event->verdict;
    struct lm_repo *repo = event->seen->repo;
    struct lm_result *result = NULL;
    struct lm_stmt *stmt = NULL;

    if (verdict->kills) {
        lm_repo_abort(repo, LM_ERR_KILLED, "killed");
        return fail_killed(err);
    }
    if (verdict->breaks) {
        return lm_session_end(event->run->admin,
                              lm_conn_backend_pid(lm_repo_conn(repo)), err);
    }
    if (verdict->sql[0] == '\0')
        return true;
    if (!lm_repo_prepare(repo, verdict->sql, false, NULL, &stmt, err) ||
        !lm_repo_execute(repo, stmt, LM_NO_VALUES, &result, err)) {
        err->sql[0] = '\0';
        lm_repo_hide_sql(repo);
        return false;
    }
    lm_result_free(result);
    return true;
}

static bool
before_call(void *arg, const struct lm_seen *seen, struct lm_err *err)
{
    struct event event = {.run = arg, .name = "call", .seen = seen};

    if (!seen->source)
        event.run->backend_pid = lm_conn_backend_pid(lm_repo_conn(seen->repo));
    send_event(&event);
    return spoil_call(&event, err);
}

/* Adds facts that the first result does not show: how many rows a write has
 * written, and the columns of a row, which its NULLs hide. */
static void
look_into(struct event *event)
{
    const struct lm_seen *seen = event->seen;
    if (!seen->ok || seen->count == 0)
        return;
    event->affected = lmL_affected_of(seen->L, seen->first);
    if (lua_type(seen->L, seen->first) == LUA_TTABLE &&
        luaL_getmetafield(seen->L, seen->first, "columns") != LUA_TNIL)
        event->columns = lua_gettop(seen->L);
}

static bool
after_call(void *arg, const struct lm_seen *seen, struct lm_err *err)
{
    struct event event = {
        .run = arg, .name = "returned", .seen = seen, .affected = -1};

    look_into(&event);
    send_event(&event);
    lua_settop(seen->L, seen->first + seen->count - 1);
    return spoil_call(&event, err);
}

static void
said(void *arg, const char *verb, lua_State *L)
{
    struct event event = {.run = arg, .name = verb, .said = L};

    send_event(&event);
}

/* -- the run's moments -------------------------------------------------- */

static bool
witness(void *arg, enum lm_moment moment, struct lm_conn *conn,
        const struct lm_run_info *info, struct lm_err *err)
{
    static const char *const names[] = {"page", "commit", "committed"};
    struct event event = {.run = arg, .name = names[moment]};

    event.run->info = *info;
    event.run->backend_pid = lm_conn_backend_pid(conn);
    send_event(&event);
    if (event.verdict.kills)
        return fail_killed(err);
    if (event.verdict.breaks)
        return lm_session_end(event.run->admin, event.run->backend_pid, err);
    if (event.verdict.sql[0] == '\0')
        return true;
    if (lm_conn_command(conn, event.verdict.sql, err))
        return true;
    err->sql[0] = '\0';
    return false;
}

static bool
begin(struct world_run *self, const char *callback,
      const struct lm_run_info *info, struct lm_err *err)
{
    struct event event = {.run = self, .name = "begin", .callback = callback};

    self->info = *info;
    send_event(&event);
    return !event.verdict.kills || fail_killed(err);
}

static bool
op_migrate(void *arg, const struct lm_page *page,
           const struct lm_stretch *stretch, struct lm_repo *repo,
           const struct lm_run_info *info, struct lm_err *err)
{
    struct world_run *self = arg;
    struct event event = {.run = self,
                          .name = "rows",
                          .page = page,
                          .repo = info->source != NULL ? info->source : repo};

    if (!begin(self, "migrate", info, err))
        return false;
    send_event(&event);
    return event.verdict.kills
               ? fail_killed(err)
               : self->real->ops->migrate(self->script, page, stretch, repo,
                                          info, err);
}

static bool
op_look(void *arg, const struct lm_page *page, struct lm_repo *repo,
        struct lm_looked *out, struct lm_err *err)
{
    struct world_run *self = arg;

    self->looked = page->rows;
    return self->real->ops->look(self->script, page, repo, out, err);
}

/* The spec may change rows when all of them are prepared. */
static bool
op_prepare(void *arg, int64_t most, const struct lm_run_info *info,
           int64_t *ready, struct lm_err *err)
{
    struct world_run *self = arg;
    struct event event = {.run = self, .name = "prepared"};

    self->info = *info;
    if (!self->real->ops->prepare(self->script, most, info, ready, err))
        return false;
    if (*ready == self->looked)
        send_event(&event);
    return !event.verdict.kills || fail_killed(err);
}

static void
op_passed(void *arg)
{
    struct world_run *self = arg;

    self->real->ops->passed(self->script);
}

static bool
op_has(void *arg, enum lm_callback callback)
{
    struct world_run *self = arg;

    return self->real->ops->has(self->script, callback);
}

static bool
op_call(void *arg, enum lm_callback callback, struct lm_repo *repo,
        const struct lm_run_info *info, struct lm_err *err)
{
    static const char *const names[] = {"run", "on_start", "on_complete"};
    struct world_run *self = arg;

    return begin(self, names[callback], info, err) &&
           self->real->ops->call(self->script, callback, repo, info, err);
}

static void
op_on_stop(void *arg, const struct lm_run_info *info, const char *reason)
{
    struct world_run *self = arg;
    struct lm_err ignored;

    if (begin(self, "on_stop", info, &ignored))
        self->real->ops->on_stop(self->script, info, reason);
}

/* A test never sleeps. */
static bool
op_throttle(void *arg, struct lm_repo *repo, const struct lm_run_info *info,
            int64_t *wait_ms, bool *ask_again, struct lm_err *err)
{
    struct world_run *self = arg;
    struct event event = {.run = self, .name = "throttled"};

    if (!begin(self, "throttle", info, err) ||
        !self->real->ops->throttle(self->script, repo, info, wait_ms, ask_again,
                                   err))
        return false;
    *wait_ms = 0;
    event.ask_again = *ask_again;
    send_event(&event);
    return !event.verdict.kills || fail_killed(err);
}

/* -- running ------------------------------------------------------------ */

static bool
op_read_input(void *arg, const char *table, struct lm_migration *out,
              struct lm_err *err)
{
    const struct lm_migration *real = ((struct world_run *)arg)->real;

    return real->ops->read_input(real->self, table, out, err);
}

/* The script's migration with nothing that depends on the time, or makes one
 * statement of several calls. */
static void
adapt(struct world_run *self)
{
    self->real = lm_script_migration(self->script);
    self->migration = *self->real;
    self->ops = (struct lm_migration_ops){.migrate = op_migrate,
                                          .has = op_has,
                                          .call = op_call,
                                          .on_stop = op_on_stop,
                                          .throttle = op_throttle,
                                          .read_input = op_read_input};
    if (self->real->ops->prepare != NULL) {
        self->ops.look = op_look;
        self->ops.prepare = op_prepare;
        self->ops.passed = op_passed;
    }
    self->ops.has_throttle = self->real->ops->has_throttle;
    self->migration.ops = &self->ops;
    self->migration.self = self;
    self->migration.throttle_ms = 0;
    self->migration.target_ms = 0;
    self->migration.combine = false;
    for (int i = 0; i < LM_SIGNALS; i++)
        self->limits.above[i] = -1;
    self->migration.health = &self->limits;
}

/* Opens the file of the options, if they name one. */
static bool
open_input(const struct world_run *self, int options,
           struct lm_input_file *file, struct lm_runner_options *how,
           struct lm_err *err)
{
    bool ok = true;

    lua_getfield(self->L, options, "input");
    if (!lua_isnil(self->L, -1)) {
        ok = lm_input_file_open(file, lua_tostring(self->L, -1), err);
        how->input = file;
    }
    lua_pop(self->L, 1);
    return ok;
}

static void
push_outcome(lua_State *L, const struct lm_outcome *outcome,
             const struct lm_err *err)
{
    lua_newtable(L);
    lmL_set_text(L, "state",
                 outcome->ending == LM_END_FAILED && err->kind == LM_ERR_KILLED
                     ? "killed"
                     : lm_outcome_state(outcome));
    lmL_set_bool(L, "begun", outcome->begun);
    lmL_set_integer(L, "rows", outcome->own_rows);
    lmL_set_integer(L, "batches", outcome->own_batches);
    lmL_set_integer(L, "retries", outcome->own_retries);
    lmL_set_integer(L, "failures", outcome->own_failures);
    if (outcome->ending != LM_END_FAILED || err->kind == LM_ERR_KILLED)
        return;
    lmL_push_error(L, err);
    if (err->traceback[0] != '\0')
        lmL_set_text(L, "traceback", err->traceback);
    lua_setfield(L, -2, "error");
}

/* The list of "name=value" in field args of the table at index; to be freed. */
static const char **
read_args(lua_State *L, int index, int *count)
{
    const char **args;

    lua_getfield(L, index, "args");
    *count = (int)lua_rawlen(L, -1);
    args = lm_calloc((size_t)*count + 1, sizeof *args);
    for (int i = 0; i < *count; i++) {
        lua_rawgeti(L, -1, i + 1);
        args[i] = lua_tostring(L, -1); /* the table keeps it alive */
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return args;
}

static bool
load(struct world_run *self, const char *path,
     const struct lm_observer *observer, int options, struct lm_err *err)
{
    struct lm_script_options how = {
        .secret_count = -1,
        .batch_size = lmL_integer_field(self->L, options, "batch_size", -1),
        .target_ms = -1,
        .throttle_ms = -1,
        .observer = observer};
    const char **args = read_args(self->L, options, &how.arg_count);
    bool ok;

    how.args = args;
    ok = lm_script_load(&self->script, path, &how, err);
    free(args);
    return ok;
}

/* The same account as of a run, of batches that were rolled back. */
static void
dry_run(const struct world_run *self, const struct lm_runner_options *how,
        struct lm_outcome *outcome, struct lm_err *err)
{
    struct lm_dry_report report;

    lm_runner_dry_run(&self->migration, how, &report, err);
    *outcome = (struct lm_outcome){.ending = report.ending,
                                   .begun = report.worked,
                                   .own_rows = report.rows,
                                   .own_batches = report.batches,
                                   .own_retries = report.retries};
    lm_dry_report_release(&report);
}

/* Runs the script; the error is one of the spec, or of luamig. */
static bool
run(struct world_run *self, const char *conninfo, int options,
    struct lm_outcome *outcome, struct lm_err *err)
{
    struct lm_witness by = {witness, self};
    struct lm_runner_options how = {
        .conninfo = conninfo,
        .journal_schema = journal_schema,
        .lease_ms = LEASE_MS,
        .silence_ms = SILENCE_MS,
        .limit = lmL_integer_field(self->L, options, "limit", 0),
        .witness = &by,
        .alone = true};
    struct lm_input_file file = {.name = NULL};
    struct lm_err ignored;

    how.again = lmL_bool_field(self->L, options, "again");
    how.prepare = lmL_bool_field(self->L, options, "prepare");
    lua_getfield(self->L, options, "source");
    if (!lua_isnil(self->L, -1))
        how.source_conninfo = lmL_database_conninfo(self->L, -1);
    lua_pop(self->L, 1);
    adapt(self);
    if (!open_input(self, options, &file, &how, err)) {
        lm_input_file_close(&file);
        *outcome = (struct lm_outcome){.ending = LM_END_FAILED};
        return false;
    }
    if (lmL_bool_field(self->L, options, "dry_run")) {
        dry_run(self, &how, outcome, err);
    } else {
        lm_runner_run(&self->migration, &how, outcome, err);
    }
    lm_input_file_close(&file);
    if (self->backend_pid > 0 && outcome->ending == LM_END_FAILED &&
        err->kind == LM_ERR_KILLED)
        return lm_session_end(self->admin, self->backend_pid, &ignored);
    return true;
}

/* database:run(path, options, watch) */
static int
l_run(lua_State *L)
{
    struct world_run self = {.L = L, .watch = 4};
    struct lm_observer observer = {&self, before_call, after_call, said};
    const char *conninfo = lmL_database_conninfo(L, 1);
    const char *path = luaL_checkstring(L, 2);
    struct lm_outcome outcome;
    struct lm_err err;

    self.admin = lmL_database_conn(L, 1);
    luaL_checktype(L, 3, LUA_TTABLE);
    luaL_checktype(L, 4, LUA_TFUNCTION);
    if (!load(&self, path, &observer, 3, &err))
        return lmL_raise(L, &err);
    (void)!run(&self, conninfo, 3, &outcome, &err);
    lm_script_free(self.script);
    lm_outcome_release(&outcome);
    if (self.watch_failed)
        return lmL_raise(L, &self.failure);
    push_outcome(L, &outcome, &err);
    return 1;
}

/* connect() */
static int
l_connect(lua_State *L)
{
    struct lm_scratch *scratch = lua_touserdata(L, lua_upvalueindex(1));
    char *conninfo = NULL;
    struct lm_err err;

    if (!lm_scratch_take(scratch, &conninfo, &err))
        return lmL_raise(L, &err);
    lua_pushstring(L, conninfo);
    free(conninfo);
    lmL_push_database(L, lua_tostring(L, -1), lm_scratch_drop, scratch);
    return 1;
}

static int
open_server(lua_State *L)
{
    lua_newtable(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushcclosure(L, l_connect, 1);
    lua_setfield(L, -2, "connect");
    return 1;
}

void
lmL_open_worlds(lua_State *L, struct lm_scratch *scratch,
                struct lm_sites *sites)
{
    lmL_open_databases(L, sites);
    lmL_add_database_method(L, "run", l_run, NULL);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushlightuserdata(L, scratch);
    lua_pushcclosure(L, open_server, 1);
    lua_setfield(L, -2, "luamig.pg_world.server");
    lua_pop(L, 1);
}
