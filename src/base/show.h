/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_SHOW_H
#define LM_BASE_SHOW_H

/*
 * Makes foreign text safe for a terminal: values of rows, messages of servers
 * and scripts, names that others have chosen. Characters that could move the
 * cursor, begin a line, or hide or reverse text next to them are written as
 * escapes: \n \r \t, \x1b, \u202e; a byte that is not UTF-8 as \xff. A secret
 * is masked (base/secret.h). All other characters stay.
 *
 * base/log does this with every line on stderr. Only the functions below write
 * to stdout (tests/lint/sources.py).
 */

#include "base/mem.h"

/* Adds text on one line. */
void lm_show_add(struct lm_buf *buf, const char *text, size_t len);

/* Adds JSON with the same characters escaped as \uXXXX. They occur only in
 * strings, so the JSON keeps its meaning. */
void lm_show_add_json(struct lm_buf *buf, const char *json);

/* Adds the source of a Lua chunk with foreign names in its strings and
 * comments. The same characters become escapes of Lua, so the strings keep
 * their meaning. Line breaks and tabs stay. */
void lm_show_add_lua(struct lm_buf *buf, const char *source);

/*
 * printf to stdout, in which each %s is foreign text, on one line. The format
 * is our own and may have line breaks and escapes. Conversions: d i u x c s f %,
 * with "-", "0", width, precision and length.
 */
void lm_out(const char *format, ...) LM_PRINTF(1, 2);
/* The same, added to a buffer. */
void lm_show_printf(struct lm_buf *buf, const char *format, ...)
    LM_PRINTF(2, 3);
/* Writes luamig's own text unchanged: help, colours. */
void lm_out_own(const char *text);
/* Foreign text of several lines, each as lm_out would write it; tabs stay. */
void lm_out_lines(const char *text);
/* JSON and a line break. */
void lm_out_json(const char *json);

#endif
