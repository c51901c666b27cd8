/* SPDX-License-Identifier: MIT */
#ifndef LM_SCRIPT_VALUE_MARKS_H
#define LM_SCRIPT_VALUE_MARKS_H

/*
 * The tables that stand for one value of the database, made by the Lua module
 * luamig.marks: sentinels, decimals, JSON texts, bytes, what an update computes,
 * and the metatables that tell JSON arrays from objects.
 *
 * lm_ functions take no memory and so never raise; each needs three free
 * stack slots.
 */

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

/* The numbers of luamig.marks.kinds. */
enum lm_mark {
    LM_MARK_NONE = 0, /* no table, or a plain one */
    LM_MARK_NULL,
    LM_MARK_ALL,
    LM_MARK_JSON_NULL,
    LM_MARK_JSON,
    LM_MARK_ARRAY,
    LM_MARK_OBJECT,
    LM_MARK_BYTEA,
    LM_MARK_DECIMAL,
    LM_MARK_COLUMN,
    LM_MARK_ADD,
    LM_MARK_COUNT
};

/* Reads luamig.marks into the registry. [-0, +0, raises] */
void lmL_open_marks(lua_State *L);

enum lm_mark lm_mark_of(lua_State *L, int index);
/* The text that a JSON, BYTEA, DECIMAL or COLUMN value holds; owned by the
 * value. */
const char *lm_mark_text(lua_State *L, int index, size_t *len);
/* Pushes what a marked value holds: a text, or what an ADD adds. */
void lm_mark_push(lua_State *L, int index);
/* Is the table at index a list, with the keys 1 to *length and no others? */
bool lm_mark_is_list(lua_State *L, int index, lua_Integer *length);

/* A decimal of a text as numeric prints it. [-0, +1, memory] */
void lmL_push_decimal(lua_State *L, const char *text, size_t len);
/* Likewise a JSON, BYTEA, DECIMAL or COLUMN value that holds the text. */
void lmL_push_mark(lua_State *L, enum lm_mark mark, const char *text,
                   size_t len);
/* The value at the top becomes a marked one that holds it. [-1, +1, memory] */
void lmL_wrap_mark(lua_State *L, enum lm_mark mark);
/* luamig.NULL, luamig.ALL or luamig.json.null. [-0, +1, -] */
void lmL_push_sentinel(lua_State *L, enum lm_mark mark);
/* Gives the table at the top the metatable of a mark. [-0, +0, -] */
void lmL_set_mark(lua_State *L, enum lm_mark mark);

#endif
