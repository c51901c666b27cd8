/* SPDX-License-Identifier: MIT */
/*
 * Creates and frees the Lua state, and calls Lua code.
 *
 * Everything that may raise runs below lm_vm_call, also the set-up. Two signals
 * set the count hook of the state that runs, which ends a loop that calls
 * nothing; a hook that is set all the time would make each instruction slower.
 * Coroutines have it from the beginning, since it is unknown which one runs.
 * Once the hook has raised, it raises again at every instruction, so a script
 * cannot catch it with pcall.
 *
 * lua_sethook is the one function that a signal handler may call, in the thread
 * that runs the state.
 */

#include "script/vm/vm.h"

#include "base/clock.h"
#include "base/stop.h"
#include "base/text.h"
#include "core/migration.h"
#include "script/value/fields.h"
#include "script/value/marks.h"
#include "script/vm/child.h"
#include "script/vm/embedded.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOOK_INSTRUCTIONS = 10000 };

/* Slots of a stack that are in use from the beginning, so that it is neither
 * grown nor shrunk below a script. Lua 5.4.4 goes on in the stack as it was
 * when that happens in a __concat between others: "a" .. decimal .. "b". */
enum { STACK_SLOTS = 4000, COROUTINE_SLOTS = 1000 };

/* More than any batch should need, less than what brings a host down. */
static const size_t memory_cap = (size_t)2 << 30;

const char lm_vm_handler_key;
const char lm_vm_new_error_key;
const char lm_vm_null_key;
const char lm_vm_all_key;

int luaopen_cjson(lua_State *L);

/* The sanitizers are to see each object by itself. */
#ifdef __SANITIZE_ADDRESS__
enum { POOLED = 0 };
#else
enum { POOLED = LM_POOL_MAX };
#endif

static void
give_back(struct lm_vm *self, void *ptr, size_t size)
{
    if (size > POOLED) {
        free(ptr);
    } else {
        lm_pool_give(&self->pool, ptr, size);
    }
}

/* Moves what crosses the bound between the pool and malloc, or changes its
 * size in the pool. */
static void *
move(struct lm_vm *self, void *ptr, size_t old_size, size_t size)
{
    void *moved =
        size <= POOLED ? lm_pool_take(&self->pool, size) : malloc(size);

    if (moved != NULL) {
        memcpy(moved, ptr, size < old_size ? size : old_size);
        give_back(self, ptr, old_size);
    }
    return moved;
}

static bool
has_room(const struct lm_vm *self, size_t more)
{
    return self->used + more <= self->cap;
}

static void *
allocate_new(struct lm_vm *self, size_t size)
{
    void *ptr;

    if (!has_room(self, size))
        return NULL;
    ptr = size <= POOLED ? lm_pool_take(&self->pool, size) : malloc(size);
    if (ptr != NULL)
        self->used += size;
    return ptr;
}

/* Rare: the other two stay short without it. */
static __attribute__((noinline)) void *
resize(struct lm_vm *self, void *ptr, size_t old_size, size_t size)
{
    void *other;

    if (size > old_size && !has_room(self, size - old_size))
        return NULL;
    other = size <= POOLED || old_size <= POOLED
                ? move(self, ptr, old_size, size)
                : realloc(ptr, size);
    if (other != NULL)
        self->used += size - old_size;
    return other;
}

static void *
allocate(void *arg, void *ptr, size_t old_size, size_t size)
{
    struct lm_vm *self = arg;

    if (ptr == NULL) /* old_size is a type tag then */
        return size > 0 ? allocate_new(self, size) : NULL;
    if (size > 0)
        return resize(self, ptr, old_size, size);
    self->used -= old_size;
    give_back(self, ptr, old_size);
    return NULL;
}

/* -- errors ----------------------------------------------------------- */

/* The texts of an error that are fields of the error object. */
#define TEXT(field)                             \
    {                                           \
#field, offsetof(struct lm_err, field), \
            sizeof((struct lm_err *)0)->field   \
    }
static const struct {
    const char *name;
    size_t at;
    size_t size;
} texts[] = {TEXT(message),  TEXT(detail),   TEXT(hint),   TEXT(where),
             TEXT(sqlstate), TEXT(table),    TEXT(column), TEXT(constraint),
             TEXT(sql),      TEXT(traceback)};

/* Copies a text field of the table at index 1. */
static void
read_field(lua_State *L, const char *name, char *field, size_t size)
{
    size_t len;
    const char *text;

    lua_pushstring(L, name);
    lua_rawget(L, 1);
    if (lua_type(L, -1) == LUA_TSTRING) {
        text = lua_tolstring(L, -1, &len);
        lm_err_copy(field, size, text, len);
    }
    lua_pop(L, 1);
}

static enum lm_err_kind
read_kind(lua_State *L)
{
    char kind[16] = "";

    read_field(L, "kind", kind, sizeof kind);
    if (strcmp(kind, "usage") == 0)
        return LM_ERR_USAGE;
    if (strcmp(kind, "database") == 0)
        return LM_ERR_DATABASE;
    return LM_ERR_FAILED;
}

/* Arguments: the error object, a table, and the struct lm_err to fill. */
static int
read_table(lua_State *L)
{
    struct lm_err *err = lua_touserdata(L, 2);

    err->kind = read_kind(L);
    for (size_t i = 0; i < LM_COUNT(texts); i++)
        read_field(L, texts[i].name, (char *)err + texts[i].at, texts[i].size);
    read_field(L, "traceback", err->traceback, sizeof err->traceback);
    return 0;
}

/* Fills err from the error object at the top. Protected, since the name of a
 * field may take memory. */
static void
read_error(lua_State *L, struct lm_err *err)
{
    lm_err_set(err, LM_ERR_FAILED, "%s",
               lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1)
                                              : "error without a message");
    if (lua_type(L, -1) != LUA_TTABLE)
        return;
    lua_pushcfunction(L, read_table);
    lua_pushvalue(L, -2);
    lua_pushlightuserdata(L, err);
    if (lua_pcall(L, 2, 0, 0) == LUA_OK)
        return;
    lm_err_set(err, LM_ERR_FAILED, "not enough memory to report an error");
    lua_pop(L, 1);
}

/* Scripts make messages of any bytes; the journal takes text. */
static void
make_text(struct lm_err *err)
{
    lm_text_make_utf8(err->message);
    lm_text_make_utf8(err->detail);
    lm_text_make_utf8(err->hint);
    lm_text_make_utf8(err->where);
}

/* -- interrupts ------------------------------------------------------- */

static struct lm_vm *
vm_of(lua_State *L)
{
    void *self;

    lua_getallocf(L, &self);
    return self;
}

/* Whose code the thread runs; NULL: none. */
static _Thread_local struct lm_vm *volatile running;

static void
on_count(lua_State *L, lua_Debug *info)
{
    const struct lm_vm *self = vm_of(L);
    bool interrupts = lm_stop_interrupts() && !self->is_deaf;
    bool late = self->deadline_ms > 0 && lm_clock_ms() > self->deadline_ms;

    (void)info;
    if (!interrupts && !late) {
        if (lua_gethookcount(L) == 1) /* it was late once, a coroutine say */
            lua_sethook(L, on_count, LUA_MASKCOUNT, HOOK_INSTRUCTIONS);
        return;
    }
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    luaL_error(L, interrupts ? "interrupted" : "the time is over");
}

static void
set_hook(lua_State *L)
{
    lua_sethook(L, on_count, LUA_MASKCOUNT, HOOK_INSTRUCTIONS);
}

static void
interrupt(void)
{
    struct lm_vm *self = running;

    if (self != NULL && !self->is_deaf && lua_gethook(self->L) != on_count)
        set_hook(self->L);
}

/* From now on, the thread runs the code of self. */
static void
turn_to(struct lm_vm *self)
{
    running = self;
    if (lm_stop_interrupts())
        interrupt();
}

void
lm_vm_ignore_signals(struct lm_vm *self, bool ignore)
{
    self->is_deaf = ignore;
    if (ignore)
        lua_sethook(self->L, NULL, 0, 0);
}

void
lm_vm_set_deadline(struct lm_vm *self, int64_t deadline_ms)
{
    self->deadline_ms = deadline_ms;
    if (deadline_ms > 0) {
        set_hook(self->L);
    } else {
        lua_sethook(self->L, NULL, 0, 0); /* a call sets it, if it must */
    }
}

/* -- calls ------------------------------------------------------------ */

bool
lm_vm_call(lua_State *L, int nargs, int nresults, struct lm_err *err)
{
    int base = lua_gettop(L) - nargs;
    struct lm_vm *before = running;
    int status;

    lua_rawgetp(L, LUA_REGISTRYINDEX, &lm_vm_handler_key);
    lua_insert(L, base);
    turn_to(vm_of(L));
    status = lua_pcall(L, nargs, nresults, base);
    turn_to(before);
    lua_remove(L, base);
    if (status == LUA_OK)
        return true;
    read_error(L, err);
    make_text(err);
    if (status == LUA_ERRMEM)
        LM_ERR_COPY(err->sqlstate, LM_SCRIPT_NO_MEMORY);
    lua_pop(L, 1);
    if (lm_stop_level() >= 2)
        err->kind = LM_ERR_INTERRUPT;
    return false;
}

void
lmL_where(lua_State *L, int level, char *where, size_t size)
{
    lua_Debug info;

    *where = '\0';
    for (; lua_getstack(L, level, &info) != 0; level++) {
        lua_getinfo(L, "Sl", &info);
        if (info.currentline <= 0)
            continue;
        snprintf(where, size, "%s:%d", info.short_src, info.currentline);
        return;
    }
}

static void
set_field(lua_State *L, const char *name, const char *text)
{
    if (*text == '\0')
        return;
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

static void
set_error_fields(lua_State *L, const struct lm_err *err)
{
    set_field(L, "kind", err->kind == LM_ERR_DATABASE ? "database" : "script");
    for (size_t i = 0; i < LM_COUNT(texts); i++)
        set_field(L, texts[i].name, (const char *)err + texts[i].at);
}

void
lmL_push_error(lua_State *L, const struct lm_err *err)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &lm_vm_new_error_key); /* new */
    lua_newtable(L);                                         /* new fields */
    set_error_fields(L, err);
    lua_call(L, 1, 1); /* error */
}

int
lmL_raise(lua_State *L, const struct lm_err *err)
{
    lmL_push_error(L, err);
    if (err->where[0] == '\0') {
        char where[sizeof err->where];

        lmL_where(L, 1, where, sizeof where);
        set_field(L, "where", where);
    }
    return lua_error(L);
}

/* -- set-up ----------------------------------------------------------- */

static int
load_embedded(lua_State *L)
{
    const struct lm_embedded *module = lua_touserdata(L, lua_upvalueindex(1));

    if (luaL_loadbufferx(L, module->source, module->len, module->chunk, "t") !=
        LUA_OK)
        return lua_error(L);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

/* luamig's modules and cjson are found before anything on package.path. */
static void
preload_modules(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (size_t i = 0; i < lm_embedded_count; i++) {
        lua_pushlightuserdata(L, (void *)&lm_embedded_modules[i]);
        lua_pushcclosure(L, load_embedded, 1);
        lua_setfield(L, -2, lm_embedded_modules[i].module);
    }
    lua_pushcfunction(L, luaopen_cjson);
    lua_setfield(L, -2, "cjson");
    lua_pop(L, 1);
}

/* Keeps a field of a module in the registry. */
static void
keep(lua_State *L, const char *module, const char *field, const void *key)
{
    lmL_require(L, module);
    lua_getfield(L, -1, field);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
    lua_pop(L, 1);
}

/* coroutine.create and coroutine.wrap, as the upvalue; the coroutine has room
 * on its stack, see STACK_SLOTS. */
static int
l_coroutine(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    if (lua_isthread(L, 1)) {
        lua_pushvalue(L, 1);
    } else {
        lua_getupvalue(L, 1, 1); /* what wrap has made resumes it */
    }
    if (!lua_checkstack(lua_tothread(L, 2), COROUTINE_SLOTS))
        luaL_error(L, "not enough memory");
    set_hook(lua_tothread(L, 2));
    lua_settop(L, 1);
    return 1;
}

static void
give_coroutines_room(lua_State *L)
{
    static const char *const names[] = {"create", "wrap"};

    lua_getglobal(L, LUA_COLIBNAME);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        lua_getfield(L, -1, names[i]);
        lua_pushcclosure(L, l_coroutine, 1);
        lua_setfield(L, -2, names[i]);
    }
    lua_pop(L, 1);
}

static int
set_up(lua_State *L)
{
    luaL_openlibs(L);
    lmL_open_children(L);
    give_coroutines_room(L);
    preload_modules(L);
    keep(L, "luamig.errors", "handler", &lm_vm_handler_key);
    keep(L, "luamig.errors", "new", &lm_vm_new_error_key);
    keep(L, "luamig", "NULL", &lm_vm_null_key);
    keep(L, "luamig", "ALL", &lm_vm_all_key);
    lmL_open_marks(L);
    return 0;
}

/* Takes the part of a path of package away. */
static void
leave(lua_State *L, const char *field, const char *part)
{
    lua_getfield(L, -1, field);
    luaL_gsub(L, lua_tostring(L, -1), part, "");
    lua_setfield(L, -3, field);
    lua_pop(L, 1);
}

void
lmL_leave_cwd(lua_State *L)
{
    lua_getglobal(L, LUA_LOADLIBNAME);
    if (getenv("LUA_PATH_5_4") == NULL && getenv("LUA_PATH") == NULL) {
        leave(L, "path", ";./?.lua");
        leave(L, "path", ";./?/init.lua");
    }
    if (getenv("LUA_CPATH_5_4") == NULL && getenv("LUA_CPATH") == NULL)
        leave(L, "cpath", ";./?.so");
    lua_pop(L, 1);
}

void
lmL_leave_locale(lua_State *L)
{
    lua_getglobal(L, LUA_OSLIBNAME);
    lua_pushnil(L);
    lua_setfield(L, -2, "setlocale");
    lua_pop(L, 1);
}

static int
on_panic(lua_State *L)
{
    const char *text = lua_tostring(L, -1);

    fprintf(stderr, "luamig: error: unprotected error in Lua: %s\n",
            text != NULL ? text : "(no message)");
    return 0; /* Lua aborts */
}

static size_t
find_cap(void)
{
#ifdef LUAMIG_FAULTS
    /* Filling so much takes a test too long. */
    const char *mib = getenv("LUAMIG_FAULT_LUA_MIB");

    if (mib != NULL)
        return (size_t)strtoull(mib, NULL, 10) << 20;
#endif
    return memory_cap;
}

bool
lm_vm_init(struct lm_vm *self, struct lm_err *err)
{
    lua_State *L;

    self->used = 0;
    self->cap = find_cap();
    self->is_deaf = false;
    self->deadline_ms = 0;
    memset(&self->pool, 0, sizeof self->pool);
    self->L = L = lua_newstate(allocate, self);
    if (L == NULL)
        return lm_err_set(err, LM_ERR_INTERNAL, "could not start Lua");
    lua_atpanic(L, on_panic);
    if (!lua_checkstack(L, STACK_SLOTS))
        return lm_err_set(err, LM_ERR_INTERNAL, "could not start Lua");
    lm_stop_on_interrupt(interrupt);
    lua_pushcfunction(L, set_up);
    return lm_vm_call(L, 0, 0, err);
}

void
lm_vm_release(struct lm_vm *self)
{
    if (self->L != NULL)
        lua_close(self->L);
    self->L = NULL;
    lm_pool_release(&self->pool);
}
