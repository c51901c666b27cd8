/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_BIND_PRIVATE_H
#define LM_SCRIPT_BIND_PRIVATE_H

/*
 * What only the files of this folder share.
 *
 * Inside a method, C acquires everything that it owns after the last Lua call
 * that may raise, or keeps it in a userdata with __gc and __close.
 */

#include "script/bind/bind.h"
#include "script/bind/sites.h"
#include "script/value/params.h"

#include <lauxlib.h>

/* -- bind.c ----------------------------------------------------------- */

/* A repo that is open. The userdata of the repo keeps the turn around it, as
 * a spec may look at a world in the middle of a script's call. */
struct lm_turn {
    struct lm_repo *repo; /* NULL: none is open */
    const void *box;      /* the userdata that stands for it */
    uint64_t number;      /* no two are the same */
};

/* What the methods of one state share. It is their first upvalue. */
struct lm_binding {
    struct lm_turn open;
    struct lm_turn source; /* likewise, of run.source */
    uint64_t turns;        /* how many there were */
    struct lm_sites *sites;
    struct lm_params params; /* of the call in progress */
    struct lm_buf text;      /* likewise: SQL that it makes */
};
struct lm_binding *lmL_binding_of(lua_State *L);

/* A call in progress, and the names for its messages. */
struct lm_call {
    struct lm_binding *binding;
    struct lm_repo *repo;
    struct lm_site *site;
    const char *where; /* the site's */
    bool every_row;    /* the script passed luamig.ALL */
};

/* The repo of a method call; raises when it is closed. */
void lmL_begin_call(lua_State *L, struct lm_call *call);

/* The table that keeps strings alive, in the registry. */
extern const char lm_bind_anchors_key;

/* Pushes the handle of a write. [-0, +1, memory] */
void lmL_push_handle(lua_State *L, const struct lm_call *call,
                     struct lm_write *write);

/* An empty box for a result, to be filled by C and then to be closed. [-0, +1,
 * memory] */
struct lm_result **lmL_push_result_box(lua_State *L);

/* -- bind/rows.c ------------------------------------------------------ */

/* All rows of a query's result, as those of a page. [-0, +1, raises] */
void lmL_push_result(lua_State *L, struct lm_repo *repo,
                     const struct lm_result *result);

/* The first value of the first row; nil when there is no row. The result has a
 * column. [-0, +1, raises] */
void lmL_push_scalar(lua_State *L, struct lm_repo *repo,
                     const struct lm_result *result);

/* -- bind/call.c ------------------------------------------------------ */

/* Writes the name of parameter i (from 0) for messages into text. */
typedef void (*lm_param_namer)(char *text, size_t size, int i, const void *arg);

/* How the parameters of a statement are to be called. */
struct lm_call_names {
    lm_param_namer namer;
    const void *arg;
};

/*
 * Prepares sql and executes it with the Lua values at first ... first + count
 * - 1, after everything that was posted. Never raises.
 */
bool lm_call_run(lua_State *L, struct lm_call *call, const char *sql, int first,
                 int count, struct lm_call_names names, struct lm_result **out,
                 struct lm_err *err) LM_MUSTCHECK;

/* The same for a write, which is posted if possible. *out is the write; if it
 * is not NULL already, the statement is added to it. shape (may be NULL) is
 * the shape of a structured write of one row; its key is the last parameters.
 */
bool lm_call_write(lua_State *L, struct lm_call *call, const char *sql,
                   int first, int count, struct lm_call_names names,
                   const struct lm_shape *shape, struct lm_write **out,
                   struct lm_err *err) LM_MUSTCHECK;

/* The same for a shape that may be combined: first ... are its columns. */
bool lm_call_combine(lua_State *L, struct lm_call *call, struct lm_shape *shape,
                     int first, struct lm_call_names names,
                     struct lm_write **out, struct lm_err *err) LM_MUSTCHECK;
/* The same with the parameters that have been encoded. */
bool lm_call_combine_params(struct lm_call *call, struct lm_shape *shape,
                            struct lm_write **out,
                            struct lm_err *err) LM_MUSTCHECK;

/* Adds the script's line to an error, also to the repo's failure. */
void lm_call_note(struct lm_call *call, struct lm_err *err);
/* The same, and raises it. */
int lmL_raise_noted(lua_State *L, struct lm_call *call, struct lm_err *err);
/* Fails: the table's name is malformed. */
bool lm_call_fail_table(struct lm_call *call, const char *table,
                        struct lm_err *err);

/* -- bind/write_args.c ------------------------------------------------ */

/* What tables of columns are called in messages, and by lm_site_note. */
extern const char lm_the_key[];
extern const char lm_the_changes[];

/* Raises if there is no table at index; luamig.NULL and luamig.ALL are not
 * tables here. */
void lmL_check_table(lua_State *L, int index, const char *method,
                     const char *what);

/* The sorted string keys of the table at index. The array is a userdata that
 * stays on the stack, its texts belong to the table. [-0, +1, raises] */
struct lm_names lmL_push_names(lua_State *L, int index, const char *what);

/* Pushes the values of the names, in order. [-0, +count, raises] */
void lmL_push_fields(lua_State *L, int index, struct lm_names names);

/* The changes of an update: at least one. */
void lmL_check_changes(lua_State *L, struct lm_names changes,
                       const char *method);

/* Puts the changes in the table at index, whose names are all, into the form:
 * those that have a parameter, and those that get an old value. What the form
 * refers to stays on the stack. [-0, +1, raises] */
void lmL_split_changes(lua_State *L, int index, struct lm_names all,
                       struct lm_form *form);
/* Pushes the values of the form's changes. [-0, +count, raises] */
void lmL_push_changes(lua_State *L, int index, const struct lm_form *form);

/* The key of a keyed write, at index: at least one column, and no NULL. */
void lmL_check_key(lua_State *L, int index, struct lm_names key,
                   const char *method);

/* Raises if a column is missing that this line has passed before; for changes,
 * warns once. */
void lmL_check_site(lua_State *L, const struct lm_call *call,
                    const char *method, const char *what,
                    struct lm_names names);

/* { missing = "ignore" }, or nothing, at index. [-0, +0, raises] */
bool lmL_read_missing(lua_State *L, int index, const char *method);

/* { on_conflict = ..., missing = "ignore" }, or nothing, at index; if may_return
 * also returning. What it finds stays on the stack, since the names live there.
 */
void lmL_push_insert_options(lua_State *L, int index, const char *method,
                             bool may_return, struct lm_form *form);

/* A condition for a statement: SQL, or columns that are equal to parameters or
 * NULL, or neither for every row. All texts are on the Lua stack. */
struct lm_condition {
    const char *sql;
    struct lm_names names;
    const bool *nulls; /* one for each of names */
    int count;         /* of parameters */
};

/* Reads the condition in the arguments from index to last, and compares it
 * with what this line has passed before. Pushes what it needs; the values of
 * the parameters come last. */
void lmL_push_condition(lua_State *L, struct lm_call *call, int index, int last,
                        const char *method, struct lm_condition *condition);

/* The condition as SQL; NULL for every row. where holds the text. How columns
 * of the table compare is what a shape with such a key knows. [-0, +0, raises]
 */
const char *lmL_condition_text(lua_State *L, struct lm_call *call,
                               const char *table,
                               const struct lm_condition *condition,
                               struct lm_buf *where);

/* { columns = {...} }, or nothing, at index; no names: all columns. What it
 * finds stays on the stack. [-0, +n, raises] */
struct lm_names lmL_push_columns(lua_State *L, int index, const char *method);

/* -- bind/write.c ----------------------------------------------------- */

/* The columns that parameters belong to, for messages. */
struct lm_columns {
    lua_State *L;
    const char *table;
    struct lm_names names;
    int offset; /* parameters before the first column */
    const struct lm_condition *condition; /* theirs; or NULL */
    struct lm_names key; /* of the row; also the last parameters */
    int key_table;       /* its stack index; 0: the row has no key */
    lua_Integer row;     /* number of the row in a list; 0: there is no list */
};
/* A namer; arg is a struct lm_columns. */
void lm_name_by_column(char *text, size_t size, int i, const void *arg);

/* The structured methods. */
extern const luaL_Reg lm_bind_write_methods[];

/* -- bind/read.c ------------------------------------------------------ */

/* The methods that read rows of a table. */
extern const luaL_Reg lm_bind_read_methods[];

#endif
