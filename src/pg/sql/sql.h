/* SPDX-License-Identifier: MIT */
#ifndef LM_PG_SQL_SQL_H
#define LM_PG_SQL_SQL_H

/* Pieces of SQL text. Identifiers are quoted here and nowhere else; values are
 * never put into text. */

#include "base/mem.h"

/* Adds "name" with its quotes doubled. */
void lm_sql_add_identifier(struct lm_buf *buf, const char *name);

/* The same for people to read: without quotes where none are needed. */
void lm_sql_add_name(struct lm_buf *buf, const char *name);

/*
 * Adds a table name as scripts write it: users, public.users, or with quoted
 * parts "odd.name". Names are taken as they stand, without folding case.
 * False when the name is empty or malformed (buf is then unspecified).
 */
bool lm_sql_add_table(struct lm_buf *buf, const char *name) LM_MUSTCHECK;

/*
 * Adds a text array literal for a text[] parameter: {"a","b",NULL}.
 * texts[i] may be NULL.
 */
void lm_sql_add_array(struct lm_buf *buf, const char *const *texts, int count);

/* Adds bytes as the text of a bytea parameter: \\x6c75. */
void lm_sql_add_bytea(struct lm_buf *buf, const char *bytes, size_t len);

/* Reads a one-dimensional text[] as the server prints it. Returns the count, or
 * -1 when it is none; *out is an array of texts (NULL for NULL elements), freed
 * with lm_free_texts. */
int lm_sql_parse_array(const char *literal, char ***out);

#endif
