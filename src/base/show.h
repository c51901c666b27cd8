/* SPDX-License-Identifier: MIT */
#ifndef LM_BASE_SHOW_H
#define LM_BASE_SHOW_H

/*
 * Foreign text, made fit for a terminal: values of rows, messages of servers
 * and scripts, names that others have chosen. Whatever could move the cursor,
 * begin a line, hide or turn around what stands beside it is written as what it
 * is: \n \r \t, \x1b, \u202e; a byte that is not UTF-8 as \xff. A secret is
 * masked (base/secret.h). Everything else stays as it stands.
 *
 * What goes to stderr passes through base/log, which does this with every line.
 * What goes to stdout is written by the functions below, and by nothing else
 * (tests/lint/sources.py).
 */

#include "base/mem.h"

/* May this character reach a terminal as it is? */
bool lm_show_is_harmless(uint32_t code);

/* Adds text on one line. */
void lm_show_add(struct lm_buf *buf, const char *text, size_t len);

/* Adds JSON with the same characters escaped as \uXXXX. They can only stand in
 * its strings, so it means what it meant. */
void lm_show_add_json(struct lm_buf *buf, const char *json);

/* Adds the source of a Lua chunk in which foreign names stand in strings and
 * comments: the same characters become escapes of Lua, so the strings mean what
 * they meant. Line breaks and tabs stay. */
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
/* Our own text, as it stands: help, colours. */
void lm_out_own(const char *text);
/* Foreign text of several lines, each as lm_out would write it; tabs stay. */
void lm_out_lines(const char *text);
/* JSON and a line break. */
void lm_out_json(const char *json);

#endif
